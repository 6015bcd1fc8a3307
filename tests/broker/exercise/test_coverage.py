from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import geodesy
from broker.exercise.coverage import line_of_sight_covariance, sees

if TYPE_CHECKING:
    from broker.exercise.motion import State
    from broker.plugin import Sensor


def above(lat_deg: float, lon_deg: float, height_m: float) -> State:
    return (*geodesy.ecef(lat_deg, lon_deg, height_m), 0.0, 0.0, 0.0)


def at_elevation(sensor: Sensor, elevation_deg: float, distance_m: float) -> State:
    """Return a body due east of a sensor."""
    east, _, up = geodesy.enu_axes(sensor.lat_deg, sensor.lon_deg)
    eye = geodesy.ecef(sensor.lat_deg, sensor.lon_deg, sensor.height_m)
    level, steep = math.cos(math.radians(elevation_deg)), math.sin(math.radians(elevation_deg))
    x, y, z = (at + distance_m * (level * e + steep * u) for at, e, u in zip(eye, east, up, strict=True))
    return x, y, z, 0.0, 0.0, 0.0


def test_a_sensor_sees_no_farther_than_its_range(radar: Sensor) -> None:
    assert sees(radar, at_elevation(radar, 45.0, radar.range_max_m - 1.0), burning=False)
    assert not sees(radar, at_elevation(radar, 45.0, radar.range_max_m + 1.0), burning=False)


def test_a_sensor_sees_nothing_below_its_least_elevation(radar: Sensor) -> None:
    assert sees(radar, at_elevation(radar, radar.elevation_min_deg + 0.001, 3e5), burning=False)
    assert not sees(radar, at_elevation(radar, radar.elevation_min_deg - 0.001, 3e5), burning=False)


def test_the_earth_hides_what_is_behind_the_horizon(radar: Sensor) -> None:
    """A bird at 9 km sees down to its own horizon, 2.9 degrees below the level, and then the ground."""
    bird = replace(radar, height_m=9_000.0, elevation_min_deg=-20.0, range_max_m=3e6)
    dip_deg = math.degrees(math.acos(1 / (1 + bird.height_m / 6.369e6)))
    assert sees(bird, at_elevation(bird, -dip_deg + 0.1, 6e5), burning=False)
    assert not sees(bird, at_elevation(bird, -dip_deg - 0.1, 6e5), burning=False)
    assert sees(bird, at_elevation(bird, -dip_deg - 0.1, 2e5), burning=False)  # before the ground


def test_space_infrared_sees_the_near_side_of_the_earth_while_the_motor_burns(infrared: Sensor) -> None:
    near, far = above(40.0, 126.0, 30_000.0), above(40.0, -30.0, 30_000.0)
    seeing = replace(infrared, range_max_m=1e8)
    assert sees(seeing, near, burning=True)
    assert not sees(seeing, near, burning=False)
    assert not sees(seeing, far, burning=True)


@given(elevation_deg=st.floats(1.0, 90.0), distance_m=st.floats(1e3, 2e6))
def test_a_look_is_as_exact_as_the_sensor_along_and_across_the_line_of_sight(
    radar: Sensor, elevation_deg: float, distance_m: float
) -> None:
    sensor = radar
    state = at_elevation(sensor, elevation_deg, distance_m)
    covariance = line_of_sight_covariance(sensor, state)
    eye = np.array(geodesy.ecef(sensor.lat_deg, sensor.lon_deg, sensor.height_m))
    sight = (np.array(state[:3]) - eye) / distance_m
    across_m = distance_m * math.radians(sensor.angle_sigma_deg)
    assert sight @ covariance @ sight == pytest.approx(sensor.range_sigma_m**2, rel=1e-6)
    assert np.trace(covariance) == pytest.approx(sensor.range_sigma_m**2 + 2 * across_m**2, rel=1e-6)
    assert np.allclose(covariance, covariance.T)
