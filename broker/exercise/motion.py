"""How a simulated missile moves: a motor's push on top of the forces that `broker.geodesy` knows, one step at a time.

The motor is a constant thrust on a mass that burns away, straight up at first and then pitched over once: a textbook's,
and no real missile's. State vectors are ECEF tuples, metres and metres per second, times seconds since launch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

from broker import geodesy

State: TypeAlias = tuple[float, float, float, float, float, float]  # position m, velocity m/s

# Not the coefficient that fusion assumes of an unknown body: a simulation that shared its model would flatter it.
BALLISTIC_COEFFICIENT_KGPM2: Final = 8_000.0
BURNT_SHARE: Final = 0.7  # of the mass at launch
TURN_BEGINS: Final = 0.06  # as a share of the burn
TURN_ENDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Motor:
    """A burn: thrust straight up, then turned evenly down to an elevation and held there until burnout."""

    burn_s: float
    acceleration_mps2: float  # at ignition; it grows as the mass burns away
    elevation_deg: float  # of the thrust in the end, above the horizontal of the launch site
    up: geodesy.Vector  # unit vectors at the launch site
    forward: geodesy.Vector

    def push(self, elapsed_s: float) -> geodesy.Vector:
        """Return the motor's acceleration, m/s2 ECEF, for a time of the burn."""
        share = min(elapsed_s / self.burn_s, 1.0)
        size_mps2 = self.acceleration_mps2 / (1 - BURNT_SHARE * share)
        turned = min(max((share - TURN_BEGINS) / (TURN_ENDS - TURN_BEGINS), 0.0), 1.0)
        elevation = math.radians(90 + (self.elevation_deg - 90) * turned)
        upward, onward = size_mps2 * math.sin(elevation), size_mps2 * math.cos(elevation)
        (up_x, up_y, up_z), (on_x, on_y, on_z) = self.up, self.forward
        return upward * up_x + onward * on_x, upward * up_y + onward * on_y, upward * up_z + onward * on_z


def step(
    state: State,
    elapsed_s: float,
    duration_s: float,
    *,
    motor: Motor | None = None,
    ballistic_coefficient_kgpm2: float = BALLISTIC_COEFFICIENT_KGPM2,
) -> State:
    """Return the state `duration_s` later (it may be negative): one step of the classical Runge-Kutta method.

    With a motor the whole step must lie in its burn. An infinite coefficient takes the air away.
    """

    def slope(at: State, when_s: float) -> State:
        velocity = at[3:]
        ax, ay, az = geodesy.ballistic_acceleration(at[:3], velocity, ballistic_coefficient_kgpm2)
        if motor is not None:
            push_x, push_y, push_z = motor.push(when_s)
            ax, ay, az = ax + push_x, ay + push_y, az + push_z
        return (*velocity, ax, ay, az)

    half_s = duration_s / 2
    first = slope(state, elapsed_s)
    second = slope(_moved(state, first, half_s), elapsed_s + half_s)
    third = slope(_moved(state, second, half_s), elapsed_s + half_s)
    fourth = slope(_moved(state, third, duration_s), elapsed_s + duration_s)
    sixth_s = duration_s / 6
    return (
        state[0] + sixth_s * (first[0] + 2 * (second[0] + third[0]) + fourth[0]),
        state[1] + sixth_s * (first[1] + 2 * (second[1] + third[1]) + fourth[1]),
        state[2] + sixth_s * (first[2] + 2 * (second[2] + third[2]) + fourth[2]),
        state[3] + sixth_s * (first[3] + 2 * (second[3] + third[3]) + fourth[3]),
        state[4] + sixth_s * (first[4] + 2 * (second[4] + third[4]) + fourth[4]),
        state[5] + sixth_s * (first[5] + 2 * (second[5] + third[5]) + fourth[5]),
    )


def climb_mps(state: State) -> float:
    """Return the speed at which a body rises above the ellipsoid."""
    x_m, y_m, z_m, u_mps, v_mps, w_mps = state
    z_m /= 1 - geodesy.ECCENTRICITY_SQUARED  # along the ellipsoid's normal, not along the radius
    return (x_m * u_mps + y_m * v_mps + z_m * w_mps) / math.sqrt(x_m * x_m + y_m * y_m + z_m * z_m)


def _moved(state: State, slope: State, duration_s: float) -> State:
    return (
        state[0] + duration_s * slope[0],
        state[1] + duration_s * slope[1],
        state[2] + duration_s * slope[2],
        state[3] + duration_s * slope[3],
        state[4] + duration_s * slope[4],
        state[5] + duration_s * slope[5],
    )
