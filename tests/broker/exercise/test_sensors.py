"""What sensors say against the truth. Many seeds make the statistics; each claim has its chi-square bounds."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from broker import geodesy
from broker.exercise.coverage import sees
from broker.exercise.sensors import TRACK_PERIOD_S, sightings
from broker.plugin import Observation, Sensor, Sight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from broker.exercise.sensors import Launched

SEEDS = 12


def seen(sensor: Sensor, launched: Launched, seed: int = 1) -> list[Observation]:
    return list(sightings(sensor, launched, Random(seed)))  # noqa: S311 - repeatable, not secret


def of(sight: Sight, observations: list[Observation]) -> list[Observation]:
    return [observation for observation in observations if observation.sight is sight]


def after_s(observation: Observation, launched: Launched) -> float:
    return (observation.time_ns - launched.time_ns) / 1e9


def full(terms: tuple[float, ...]) -> NDArray[np.float64]:
    matrix = np.zeros((6, 6))
    matrix[np.triu_indices(6)] = terms
    return np.asarray(matrix + matrix.T - np.diag(np.diag(matrix)))


@pytest.fixture(scope="module")
def many(radar: Sensor, launched: Launched) -> list[Observation]:
    return [observation for seed in range(SEEDS) for observation in seen(radar, launched, seed)]


def test_errors_are_as_large_as_the_covariance_claims(many: list[Observation], launched: Launched) -> None:
    squares = []
    for track in of(Sight.TRACK, many):
        assert track.position_m
        assert track.velocity_mps
        error = np.array((*track.position_m, *track.velocity_mps)) - launched.flight.at(after_s(track, launched))
        squares.append(float(error @ np.linalg.solve(full(track.covariance), error)))
    assert len(squares) > 500
    total = len(squares) * 6
    least, most = chi2.ppf((0.001, 0.999), total)
    assert least < sum(squares) < most


def test_errors_of_two_looks_have_nothing_in_common(radar: Sensor, launched: Launched) -> None:
    tracks = of(Sight.TRACK, seen(radar, launched))
    errors = np.array([
        np.subtract(track.position_m or (), launched.flight.at(after_s(track, launched))[:3]) for track in tracks
    ])  # fmt: skip
    for axis in range(3):
        correlation = np.corrcoef(errors[:-1, axis], errors[1:, axis])[0, 1]
        assert abs(correlation) < 4 / math.sqrt(len(errors))


def test_the_impact_lies_in_its_area_as_often_as_claimed(many: list[Observation], launched: Launched) -> None:
    flight, inside, late = launched.flight, 0, []
    impacts = of(Sight.IMPACT, many)
    for impact in impacts:
        assert impact.lat_deg is not None
        assert impact.lon_deg is not None
        aside_m, bearing_deg = geodesy.distance_azimuth(
            impact.lat_deg, impact.lon_deg, flight.impact_lat_deg, flight.impact_lon_deg
        )
        turn = math.radians(bearing_deg - impact.area_orientation_deg)
        along = aside_m * math.cos(turn) / impact.area_semi_major_m
        across = aside_m * math.sin(turn) / impact.area_semi_minor_m
        inside += along**2 + across**2 <= 1.0
        assert impact.impact_time_ns is not None
        late.append((impact.impact_time_ns - launched.ns(flight.impact_s)) / 1e9 / impact.impact_time_sigma_s)
    assert len(impacts) > 100
    assert binomtest(inside, len(impacts), 0.95).pvalue > 0.001
    assert 0.001 < chi2.cdf(sum(value**2 for value in late), len(late)) < 0.999


def test_predictions_sharpen_with_time(radar: Sensor, launched: Launched) -> None:
    sizes = [impact.area_semi_major_m for impact in of(Sight.IMPACT, seen(radar, launched))]
    assert len(sizes) > 20
    assert sizes[0] > 5 * sizes[-1]


def test_the_launch_lies_in_its_area_as_often_as_claimed(infrared: Sensor, launched: Launched) -> None:
    site = geodesy.geodetic(*launched.flight.states[0][:3])
    inside, late, turned, count = 0, 0.0, 0.0, 150
    _, truly_deg = geodesy.distance_azimuth(*site[:2], launched.flight.impact_lat_deg, launched.flight.impact_lon_deg)
    for seed in range(count):
        launch = of(Sight.LAUNCH, seen(infrared, launched, seed))[0]
        assert launch.lat_deg is not None
        assert launch.lon_deg is not None
        aside_m, _ = geodesy.distance_azimuth(launch.lat_deg, launch.lon_deg, *site[:2])
        inside += aside_m <= launch.area_semi_major_m
        late += ((launch.launch_time_ns or 0) - launched.time_ns) ** 2 / (launch.launch_time_sigma_s * 1e9) ** 2
        difference_deg = ((launch.azimuth_deg or 0.0) - truly_deg + 180) % 360 - 180
        turned += abs(difference_deg) <= 1.96 * (launch.azimuth_sigma_deg or 0.0)
    assert binomtest(inside, count, 0.95).pvalue > 0.001
    assert 0.001 < chi2.cdf(late, count) < 0.999
    assert turned >= 0.9 * count


def test_nothing_is_seen_outside_coverage(radar: Sensor, launched: Launched) -> None:
    for observation in seen(radar, launched):
        if observation.sight is not Sight.LOST:
            elapsed_s = after_s(observation, launched)
            assert sees(radar, launched.flight.at(elapsed_s), burning=launched.flight.burning(elapsed_s))


def test_nothing_is_seen_before_the_first_look(radar: Sensor, launched: Launched) -> None:
    late = replace(radar, first_look_s=400.0)
    assert min(after_s(observation, launched) for observation in seen(late, launched)) >= 400.0


def test_an_object_that_leaves_coverage_is_lost_once(radar: Sensor, launched: Launched) -> None:
    observations = seen(radar, launched)
    assert [observation.sight for observation in observations].count(Sight.LOST) == 1
    assert observations[-1].sight is Sight.LOST
    assert len({observation.track_number for observation in observations}) == 1


def test_an_object_that_comes_back_gets_a_new_number(radar: Sensor, launched: Launched) -> None:
    """Dropping most looks loses the track again and again."""
    observations = seen(replace(radar, dropout=0.7), launched)
    numbers = [observation.track_number for observation in observations]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 1
    lost = Counter(observation.track_number for observation in of(Sight.LOST, observations))
    assert set(lost.values()) == {1}


def test_dropouts_are_as_frequent_as_the_sensor_says(radar: Sensor, launched: Launched) -> None:
    slow = replace(radar, period_s=TRACK_PERIOD_S)
    whole = sum(len(of(Sight.TRACK, seen(slow, launched, seed))) for seed in range(SEEDS))
    some = sum(len(of(Sight.TRACK, seen(replace(slow, dropout=0.25), launched, seed))) for seed in range(SEEDS))
    assert binomtest(whole - some, whole, 0.25).pvalue > 0.001


def test_tracks_are_no_closer_than_four_seconds(radar: Sensor, launched: Launched) -> None:
    times_s = [after_s(track, launched) for track in of(Sight.TRACK, seen(replace(radar, period_s=1.0), launched))]
    assert min(np.diff(times_s)) > TRACK_PERIOD_S - 0.01
    assert len(times_s) > 100


def test_infrared_sees_the_motor_and_nothing_after_it(infrared: Sensor, launched: Launched) -> None:
    observations = seen(infrared, launched)
    assert max(after_s(observation, launched) for observation in observations) < launched.flight.burnout_s
    assert {observation.sight for observation in observations} == {Sight.LAUNCH, Sight.TRACK}
    assert all(observation.burning for observation in observations)
    assert of(Sight.LAUNCH, observations)[0].missile_class == launched.missile_class


def test_a_sensor_that_predicts_nothing_says_no_impact(radar: Sensor, launched: Launched) -> None:
    blunt = seen(replace(radar, predicts_impact=False), launched)
    assert of(Sight.TRACK, blunt)
    assert not of(Sight.IMPACT, blunt)


def test_a_late_sensor_does_not_guess_the_launch(radar: Sensor, launched: Launched) -> None:
    assert of(Sight.LAUNCH, seen(replace(radar, first_look_s=100.0), launched))
    assert not of(Sight.LAUNCH, seen(replace(radar, first_look_s=200.0), launched))


def test_the_same_seed_sees_the_same_and_another_does_not(radar: Sensor, launched: Launched) -> None:
    assert seen(radar, launched, 5) == seen(radar, launched, 5)
    assert seen(radar, launched, 5) != seen(radar, launched, 6)
