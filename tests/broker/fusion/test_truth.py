"""The truth that the estimator is measured against must be true itself, and shared with nothing that is measured."""

from __future__ import annotations

import math

import numpy as np
import pymap3d
import pytest
from scipy.integrate import solve_ivp

from broker.fusion.contribution import contribution_of
from tests import truth


@pytest.mark.parametrize("name", truth.MISSILES)
def test_what_falls_without_air_keeps_its_energy(name: str) -> None:
    flight = truth.fly(truth.MISSILES[name])
    start = flight.at(flight.burnout_s + 60.0)

    def energy(state: truth.Floats) -> float:
        x, y, z = state[:3]
        squared = float(state[:3] @ state[:3])
        radius = math.sqrt(squared)
        flat = 0.5 * truth.J2 * truth.MAJOR_M**2 / squared * (3.0 * z * z / squared - 1.0)
        turning = truth.TURN_RADPS**2 * float(x * x + y * y)
        return float(0.5 * (state[3:] @ state[3:] - turning) - truth.GM / radius * (1.0 - flat))

    found = solve_ivp(
        lambda _, state: np.concatenate([state[3:], truth.fall(state, None)]),
        (0.0, 100.0), start, method="DOP853", rtol=1e-11, atol=1e-6,
    )  # fmt: skip
    assert energy(found.y[:, -1]) == pytest.approx(energy(start), rel=1e-10)


@pytest.mark.parametrize("name", truth.MISSILES)
def test_a_flight_ends_on_the_ground_and_is_smooth_where_motors_change(name: str) -> None:
    flight = truth.fly(truth.MISSILES[name])
    lat_deg, lon_deg, height_m = pymap3d.ecef2geodetic(*flight.at(flight.impact_s)[:3])
    assert abs(float(height_m)) < 0.01
    assert (float(lat_deg), float(lon_deg)) == pytest.approx((flight.impact_lat_deg, flight.impact_lon_deg), abs=1e-7)
    for edge_s in flight.missile.edges_s[1:]:
        assert np.allclose(flight.at(edge_s - 1e-6), flight.at(edge_s + 1e-6), rtol=0.0, atol=0.02)


@pytest.mark.parametrize("sensor", [*truth.FIXES.values(), truth.RADARS["KOR"]], ids=lambda one: type(one).__name__)
def test_a_sensor_errs_as_its_covariance_says(sensor: truth.Sensor) -> None:
    flight = truth.fly(truth.MISSILES["medium"])
    squared = []
    for seed in range(2):
        for one in truth.look(sensor, flight, truth.chance(seed), from_s=100.0, until_s=300.0):
            miss = np.array(one.measured) - flight.at(one.time_s)[: len(one.measured)]
            squared.append(miss @ np.linalg.solve(np.array(one.noise), miss) / len(miss))
    assert np.mean(squared) == pytest.approx(1.0, abs=4.0 * math.sqrt(2.0 / 3.0 / len(squared)))


def test_the_same_chance_gives_the_same_words() -> None:
    flight = truth.fly(truth.MISSILES["short"])
    one, two = (
        [
            look.content("k")
            for look in truth.look(truth.FIXES["fine"], flight, truth.chance(3), from_s=40.0, until_s=60.0)
        ]
        for _ in range(2)
    )
    assert one == two
    assert len({content.header.message_id for content in one}) == len(one)


@pytest.mark.parametrize("cell", [(1_000.0, 0.0), (10_000.0, 10.0)])
def test_a_coarse_word_is_the_middle_of_its_cell(cell: tuple[float, float]) -> None:
    flight = truth.fly(truth.MISSILES["short"])
    for one in truth.look(truth.FIXES["moving"], flight, truth.chance(3), from_s=40.0, until_s=60.0):
        content = one.content("k")
        shown = truth.coarse(content, *cell, shows_velocity=True)
        assert all(abs(a - b) <= cell[0] / 2 for a, b in zip(shown.track.state.position_m, one.measured, strict=False))
        assert truth.coarse(shown, *cell, shows_velocity=True).track.state.position_m == shown.track.state.position_m
        known = contribution_of(shown, epoch=0, lane=0, sequence=0)
        assert known is not None
        assert abs(known.key[0] - one.time_ns) <= cell[1] * 1e9 / 2
        assert content.track.state.position_m == list(one.measured[:3])
