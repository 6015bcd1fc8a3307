"""What a generic sensor can see, and how exactly: its place, its range, its least elevation, its two errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from broker import geodesy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from broker.exercise.motion import State
    from broker.plugin import Sensor


def sees(sensor: Sensor, state: State, *, burning: bool) -> bool:
    """Return whether an object is where the sensor can see it."""
    if sensor.boost_only and not burning:
        return False
    eye = geodesy.ecef(sensor.lat_deg, sensor.lon_deg, sensor.height_m)
    sight = (state[0] - eye[0], state[1] - eye[1], state[2] - eye[2])
    distance_m = math.hypot(*sight)
    if distance_m > sensor.range_max_m:
        return False
    up = geodesy.enu_axes(sensor.lat_deg, sensor.lon_deg)[2]
    upward = (sight[0] * up[0] + sight[1] * up[1] + sight[2] * up[2]) / distance_m
    elevation_deg = math.degrees(math.asin(max(-1.0, min(1.0, upward))))
    return elevation_deg >= sensor.elevation_min_deg and not _earth_between(eye, sight)


def line_of_sight_covariance(sensor: Sensor, state: State) -> NDArray[np.float64]:
    """Return the 3 x 3 covariance (m2) of one look's position."""
    sight = _sight(sensor, state)
    distance_m = float(np.linalg.norm(sight))
    along = np.outer(sight, sight) / distance_m**2
    across_m = distance_m * math.radians(sensor.angle_sigma_deg)
    covariance: NDArray[np.float64] = sensor.range_sigma_m**2 * along + across_m**2 * (np.eye(3) - along)
    return covariance


def _sight(sensor: Sensor, state: State) -> NDArray[np.float64]:
    sight: NDArray[np.float64] = np.subtract(state[:3], geodesy.ecef(sensor.lat_deg, sensor.lon_deg, sensor.height_m))
    return sight


def _earth_between(eye: geodesy.Vector, sight: geodesy.Vector) -> bool:
    """Return whether the straight line goes through the ellipsoid, which scaled along its axis is a unit ball."""
    scale = (geodesy.EQUATORIAL_RADIUS_M, geodesy.EQUATORIAL_RADIUS_M, geodesy.POLAR_RADIUS_M)
    start = [value / length for value, length in zip(eye, scale, strict=True)]
    way = [value / length for value, length in zip(sight, scale, strict=True)]
    way2 = math.fsum(value * value for value in way)
    nearest = -math.fsum(at * on for at, on in zip(start, way, strict=True)) / way2
    if not 0.0 < nearest < 1.0:
        return False
    return math.hypot(*(at + nearest * on for at, on in zip(start, way, strict=True))) < 1.0
