"""A flight that agrees with what was announced: from a site, along an azimuth, so far and so high.

`fit` looks for the burn (its strength, its elevation, its azimuth) whose flight comes down at the announced range along
the announced azimuth after reaching the announced apogee: three numbers found from three, by Newton's method. The same
announcement always gives the same flight, to the last bit. The time of flight is then a prediction, which agrees with
announced ones within a few percent; how it compares is a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.exercise.motion import BALLISTIC_COEFFICIENT_KGPM2, BURNT_SHARE
from broker.exercise.trajectory import NoSuchFlight, fly
from vedette.v1.measures_pb2 import MissileClass

if TYPE_CHECKING:
    from broker.exercise.trajectory import Trajectory

# Seconds from ignition to burnout, by class: round figures from no missile in particular.
BURN_S: Final = {
    MissileClass.MISSILE_CLASS_SRBM: 60.0,
    MissileClass.MISSILE_CLASS_MRBM: 90.0,
    MissileClass.MISSILE_CLASS_IRBM: 140.0,
    MissileClass.MISSILE_CLASS_ICBM: 240.0,
}
TOLERANCE_M: Final = 10.0  # of the fit: announced values are rounded to kilometres at best
FIT_STEPS_MAX: Final = 20  # 3 to 7 are usual


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is known in public of a flight: enough to make one like it."""

    lat_deg: float
    lon_deg: float
    azimuth_deg: float
    range_m: float  # over ground
    apogee_m: float
    missile_class: MissileClass.ValueType


def fit(announced: Announcement, *, ballistic_coefficient_kgpm2: float = BALLISTIC_COEFFICIENT_KGPM2) -> Trajectory:
    """Return the flight that does what was announced. Raises NoSuchFlight."""
    goal = geodesy.destination(announced.lat_deg, announced.lon_deg, announced.azimuth_deg, announced.range_m)
    burn = _first_guess(announced)
    for _ in range(FIT_STEPS_MAX):
        miss, flight = _miss(announced, goal, burn, ballistic_coefficient_kgpm2)
        if max(map(abs, miss)) < TOLERANCE_M:
            return flight
        columns = []
        for index, change in enumerate((1e-3 * burn[0], 1e-2, 1e-2)):
            varied = tuple(value + change * (place == index) for place, value in enumerate(burn))
            other, _ = _miss(announced, goal, varied, ballistic_coefficient_kgpm2)
            columns.append(tuple((there - here) / change for there, here in zip(other, miss, strict=True)))
        move = _solve(columns, miss)
        # Far from the goal a full step may leave the flights that come down at all.
        shortened = max(
            1.0, *(abs(change) / most for change, most in zip(move, (0.1 * burn[0], 4.0, 10.0), strict=True))
        )
        burn = tuple(value - change / shortened for value, change in zip(burn, move, strict=True))
    raise NoSuchFlight(f"no burn found for {announced.range_m / 1e3:.0f} km at {announced.apogee_m / 1e3:.0f} km")


Burn = tuple[float, ...]  # acceleration m/s2, elevation deg, azimuth deg


def _first_guess(announced: Announcement) -> Burn:
    """Return the burn that an ellipse over a round and resting Earth asks for."""
    radius_m = geodesy.EQUATORIAL_RADIUS_M
    top_m = radius_m + announced.apogee_m
    half = math.cos(announced.range_m / radius_m / 2)
    eccentricity = (top_m - radius_m) / (top_m - radius_m * half)
    parameter_m = top_m * (1 - eccentricity)
    speed_mps = math.sqrt(geodesy.GM_M3PS2 * (2 / radius_m - (1 - eccentricity**2) / parameter_m))
    level = min(math.sqrt(geodesy.GM_M3PS2 * parameter_m) / radius_m / speed_mps, 1.0)
    burn_s = BURN_S[announced.missile_class]
    mean_mps2 = speed_mps / burn_s + 9.8 * math.sqrt(1 - level**2)
    # The mean of the growing acceleration over its first value.
    growth = -math.log(1 - BURNT_SHARE) / BURNT_SHARE
    return (mean_mps2 / growth, math.degrees(math.acos(level)), announced.azimuth_deg)


def _miss(
    announced: Announcement, goal: tuple[float, float], burn: Burn, ballistic_coefficient_kgpm2: float
) -> tuple[tuple[float, float, float], Trajectory]:
    """Return how far east and north of the goal and how far above the apogee a burn's flight goes, in metres."""
    acceleration_mps2, elevation_deg, azimuth_deg = burn
    flight = fly(
        (announced.lat_deg, announced.lon_deg),
        azimuth_deg,
        burn_s=BURN_S[announced.missile_class],
        acceleration_mps2=acceleration_mps2,
        elevation_deg=elevation_deg,
        ballistic_coefficient_kgpm2=ballistic_coefficient_kgpm2,
    )
    aside_m, bearing_deg = geodesy.distance_azimuth(*goal, flight.impact_lat_deg, flight.impact_lon_deg)
    bearing = math.radians(bearing_deg)
    above_m = flight.apogee_m - announced.apogee_m
    return (aside_m * math.sin(bearing), aside_m * math.cos(bearing), above_m), flight


def _solve(columns: list[tuple[float, ...]], right: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the solution of three linear equations, given by the columns of their matrix (Cramer's rule)."""
    first, second, third = columns
    size = _determinant(first, second, third)
    if size == 0.0:
        raise NoSuchFlight("the burn makes no difference to the flight")
    return (
        _determinant(right, second, third) / size,
        _determinant(first, right, third) / size,
        _determinant(first, second, right) / size,
    )


def _determinant(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - b[0] * (a[1] * c[2] - a[2] * c[1]) + c[0] * (a[1] * b[2] - a[2] * b[1])
