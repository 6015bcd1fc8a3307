from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from broker import geodesy
from broker.fusion import estimate, impact
from broker.fusion.contribution import Report, contribution_of

if TYPE_CHECKING:
    from broker.fusion.estimate import Estimate

FLIGHTS = [
    {"burn_s": 60.0, "push_mps2": 40.0},
    {"burn_s": 80.0, "push_mps2": 60.0},
    {"burn_s": 110.0, "push_mps2": 60.0},
]


def known(world: Any, flight: Any, until_s: float, seed: int) -> Estimate:
    """Return the estimate of a radar that looks from 26 s to a time."""
    one: Estimate | None = None
    radar = world.nation("KOR").radar(flight, "k", seed=seed, first_s=26.0, last_s=until_s, sigma_m=250.0)
    for _, content in radar:
        contribution = contribution_of(content, epoch=0, lane=0, sequence=0)
        assert contribution is not None
        assert isinstance(contribution.body, Report)
        track = contribution.track_key
        body = contribution.body
        one = estimate.start(body, track) if one is None else estimate.absorb(one, body, track, common=False)
    assert one is not None
    return one


@pytest.mark.parametrize("settings", FLIGHTS)
def test_the_fall_agrees_with_an_exact_integration(world: Any, settings: dict[str, float]) -> None:
    flight = world.fly(**settings)
    for after_s in (1.0, 60.0):
        state = [float(value) for value in flight.at(flight.burn_s + after_s)]
        ground = impact.fall(state, 1.0)
        assert ground is not None
        assert ground.after_s == pytest.approx(flight.end_s - flight.burn_s - after_s, abs=0.05)
        assert geodesy.distance_azimuth(ground.lat_deg, ground.lon_deg, *flight.impact)[0] < 30.0


def test_what_never_comes_down_has_no_impact() -> None:
    position = geodesy.ecef(0.0, 0.0, 400_000.0)
    assert impact.fall([*position, 0.0, 7_300.0, 2_000.0], 1.0) is None


@pytest.mark.parametrize("settings", FLIGHTS)
def test_the_95_percent_ellipse_and_the_time_hold_the_truth(world: Any, settings: dict[str, float]) -> None:
    flight = world.fly(**settings)
    inside = []
    for seed in range(4):
        for after_s in (15.0, 60.0):
            found = impact.predict(known(world, flight, flight.burn_s + after_s, seed))
            assert found is not None
            place = found.place
            away_m, azimuth_deg = geodesy.distance_azimuth(place.lat_deg, place.lon_deg, *flight.impact)
            miss = away_m * np.array([math.sin(math.radians(azimuth_deg)), math.cos(math.radians(azimuth_deg))])
            spread = np.array([[place.east_m2, place.east_north_m2], [place.east_north_m2, place.north_m2]])
            inside.append(miss @ np.linalg.solve(spread, miss) < -2.0 * math.log(0.05))
            late_s = (found.time_ns - world.ns(flight.end_s)) / 1e9
            assert abs(late_s) < 3.0 * found.time_sigma_s
    assert np.mean(inside) >= 0.85


@pytest.mark.parametrize("coefficient_kgpm2", [2500.0, 10_000.0])
def test_a_body_unlike_the_nominal_one_still_comes_down_inside(world: Any, coefficient_kgpm2: float) -> None:
    flight = world.fly(coefficient_kgpm2=coefficient_kgpm2)
    found = impact.predict(known(world, flight, 260.0, 1))
    assert found is not None
    away_m, _ = geodesy.distance_azimuth(found.place.lat_deg, found.place.lon_deg, *flight.impact)
    major_m, _, _ = geodesy.ellipse_of_covariance(found.place.east_m2, found.place.east_north_m2, found.place.north_m2)
    assert 500.0 < away_m < major_m
    assert abs(found.time_ns - world.ns(flight.end_s)) / 1e9 < 2.0 * found.time_sigma_s


def test_the_area_shrinks_as_the_flight_goes_on(world: Any) -> None:
    flight = world.fly()
    spreads = []
    for after_s in (15.0, 40.0, 120.0):
        found = impact.predict(known(world, flight, flight.burn_s + after_s, 1))
        assert found is not None
        spreads.append(found.place.spread_m)
    assert spreads == sorted(spreads, reverse=True)


def test_while_the_motor_burns_there_is_no_prediction(world: Any) -> None:
    assert impact.predict(known(world, world.fly(), 70.0, 1)) is None


def test_the_apogee_is_told_before_and_after_it(world: Any) -> None:
    flight = world.fly()
    highest_m = max(geodesy.height_m(*flight.at(second)[:3]) for second in range(80, 420))
    for until_s in (180.0, 330.0):
        found = impact.predict(known(world, flight, until_s, 1))
        assert found is not None
        assert found.apogee_m == pytest.approx(highest_m, rel=0.01)


def test_braking_in_the_air_is_no_motor(world: Any) -> None:
    flight = world.fly()
    assert impact.predict(known(world, flight, flight.end_s, 1)) is not None


@pytest.mark.parametrize("seed", range(4))
def test_the_ascent_leads_back_to_the_launch(world: Any, seed: int) -> None:
    flight = world.fly()
    found = impact.ascent(known(world, flight, 32.0, seed))
    assert found is not None
    assert found.time_ns is not None
    assert found.place is not None
    assert abs(found.time_ns - world.ns(0.0)) / 1e9 < 3.0 * found.time_sigma_s
    away_m, _ = geodesy.distance_azimuth(found.place.lat_deg, found.place.lon_deg, flight.lat_deg, flight.lon_deg)
    assert away_m < 3.0 * found.place.spread_m
