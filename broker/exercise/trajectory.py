"""A simulated flight from launch to impact, and its state at any time in between.

`fly` takes a burn and follows it until it comes down: a burn in steps of half a second, the air in as many, the
emptiness above it in longer ones. What really flew may have manoeuvred; this does not.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.exercise.motion import BALLISTIC_COEFFICIENT_KGPM2, Motor, State, climb_mps, step

if TYPE_CHECKING:
    from collections.abc import Callable

FLIGHT_MAX_S: Final = 7_200.0  # longer than the highest flight ever announced
BURN_STEP_S: Final = 0.5
AIR_STEP_S: Final = 0.5
COAST_STEP_S: Final = 5.0  # a thousandth of an orbit
AIR_TOP_M: Final = 150_000.0  # below it steps are short; a long one from just above it ends in air that hardly brakes
HALVINGS: Final = 40  # of a step, to find a moment inside it to the nanosecond


class NoSuchFlight(ValueError):  # noqa: N818 - an answer about the numbers asked for
    """No ballistic flight does what was asked."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A flight from launch to impact. Times are seconds since launch."""

    times_s: tuple[float, ...]
    states: tuple[State, ...]
    motor: Motor
    ballistic_coefficient_kgpm2: float
    apogee_s: float
    apogee_m: float
    impact_s: float
    impact_lat_deg: float
    impact_lon_deg: float

    @property
    def burnout_s(self) -> float:
        """Return when the motor stopped."""
        return self.motor.burn_s

    def burning(self, elapsed_s: float) -> bool:
        """Return whether the motor burns at a time."""
        return 0.0 <= elapsed_s < self.burnout_s

    def at(self, elapsed_s: float) -> State:
        """Return the state at a time from 0 to `impact_s`; outside, the nearest of the two ends."""
        if elapsed_s >= self.impact_s:
            return self.states[-1]
        before = max(bisect.bisect_right(self.times_s, elapsed_s) - 1, 0)
        since_s = max(elapsed_s - self.times_s[before], 0.0)
        motor = self.motor if self.times_s[before] < self.burnout_s else None
        return step(
            self.states[before],
            self.times_s[before],
            since_s,
            motor=motor,
            ballistic_coefficient_kgpm2=self.ballistic_coefficient_kgpm2,
        )


def fly(
    site: tuple[float, float],
    azimuth_deg: float,
    *,
    burn_s: float,
    acceleration_mps2: float,
    elevation_deg: float,
    ballistic_coefficient_kgpm2: float = BALLISTIC_COEFFICIENT_KGPM2,
) -> Trajectory:
    """Return the flight of a burn from a site (latitude, longitude in degrees). Raises NoSuchFlight if it stays up."""
    east, north, up = geodesy.enu_axes(*site)
    sine, cosine = math.sin(math.radians(azimuth_deg)), math.cos(math.radians(azimuth_deg))
    forward = (
        sine * east[0] + cosine * north[0],
        sine * east[1] + cosine * north[1],
        sine * east[2] + cosine * north[2],
    )
    motor = Motor(burn_s, acceleration_mps2, elevation_deg, up, forward)
    at_rest = (*geodesy.ecef(*site), 0.0, 0.0, 0.0)
    return _until_impact(0.0, at_rest, motor, ballistic_coefficient_kgpm2)


def flown_on(flight: Trajectory, elapsed_s: float, state: State) -> Trajectory:
    """Return the flight as it would go on from another state at a time after burnout. Raises NoSuchFlight."""
    return _until_impact(elapsed_s, state, flight.motor, flight.ballistic_coefficient_kgpm2)


def _until_impact(elapsed_s: float, state: State, motor: Motor, ballistic_coefficient_kgpm2: float) -> Trajectory:
    """Return the flight from a state on, in steps, one of which ends exactly at burnout."""
    times_s, states = [elapsed_s], [state]
    while times_s[-1] < FLIGHT_MAX_S:
        elapsed_s, state = times_s[-1], states[-1]
        burning = elapsed_s < motor.burn_s
        duration_s = _step_s(motor, elapsed_s, state)
        after = step(
            state,
            elapsed_s,
            duration_s,
            motor=motor if burning else None,
            ballistic_coefficient_kgpm2=ballistic_coefficient_kgpm2,
        )
        times_s.append(elapsed_s + duration_s)
        states.append(after)
        if not burning and geodesy.height_m(*after[:3]) <= 0.0:
            return _landed(times_s, states, motor, ballistic_coefficient_kgpm2)
    raise NoSuchFlight("it does not come down")


def _step_s(motor: Motor, elapsed_s: float, state: State) -> float:
    if elapsed_s < motor.burn_s:
        return min(BURN_STEP_S, motor.burn_s - elapsed_s)
    return AIR_STEP_S if geodesy.height_m(*state[:3]) < AIR_TOP_M else COAST_STEP_S


def _landed(times_s: list[float], states: list[State], motor: Motor, ballistic_coefficient_kgpm2: float) -> Trajectory:
    """Return the trajectory whose last step went through the ground."""

    def within(index: int, holds: Callable[[State], bool]) -> tuple[float, State]:
        """Return the last moment of a step at which something holds that holds at its beginning."""
        low_s, high_s = 0.0, times_s[index + 1] - times_s[index]
        at = states[index]
        for _ in range(HALVINGS):
            middle_s = (low_s + high_s) / 2
            between = step(
                states[index],
                times_s[index],
                middle_s,
                motor=motor if times_s[index] < motor.burn_s else None,
                ballistic_coefficient_kgpm2=ballistic_coefficient_kgpm2,
            )
            if holds(between):
                low_s, at = middle_s, between
            else:
                high_s = middle_s
        return times_s[index] + low_s, at

    top = max(range(len(states)), key=lambda index: geodesy.height_m(*states[index][:3]))
    if climb_mps(states[top]) <= 0.0:
        top -= 1
    apogee_s, highest = within(top, lambda state: climb_mps(state) > 0.0)
    impact_s, lowest = within(len(states) - 2, lambda state: geodesy.height_m(*state[:3]) > 0.0)
    lat_deg, lon_deg, _ = geodesy.geodetic(*lowest[:3])
    return Trajectory(
        times_s=(*times_s[:-1], impact_s),
        states=(*states[:-1], lowest),
        motor=motor,
        ballistic_coefficient_kgpm2=ballistic_coefficient_kgpm2,
        apogee_s=apogee_s,
        apogee_m=geodesy.geodetic(*highest[:3])[2],
        impact_s=impact_s,
        impact_lat_deg=lat_deg,
        impact_lon_deg=lon_deg,
    )
