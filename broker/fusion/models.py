"""How an object moves on between two reports: while its motor burns, and while it falls.

    burning   position, velocity and the motor's acceleration, which wanders (white jerk); nine terms
    falling   position and velocity under gravity with J2, the Earth's rotation and nominal drag; six terms

The covariance of the falling model goes along with the gradient of gravity; its white noise is what gravity with J2
leaves out, and in the air the doubt about the drag, along the flight. Where the height is not known within a few scale
heights of the air, drag takes nothing from the doubt about the speed: the density at one height would make it seem
known, and is nonsense.

What is here is compiled where a compiler is at hand (broker/jit.py): numbers, tuples of numbers, and functions of this
kind that are imported by name; nothing that has no meaning for a processor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from broker.geodesy import EARTH_RATE_RADPS, GM_M3PS2, ballistic_acceleration, drag_per_speed, gravity

if TYPE_CHECKING:
    from broker.fusion.kalman import State
    from broker.geodesy import Vector

__all__ = ["COAST_DENSITY", "JERK_DENSITY", "burning_moved", "falling_flow", "falling_moved"]

JERK_DENSITY: Final = 6.0  # m2/s5: about 2.5 m/s2 of change in a second
COAST_DENSITY: Final = 1e-6  # m2/s3: what gravity with J2 leaves out
DRAG_DOUBT: Final = 0.7  # of the drag: nobody knows the body's
DRAG_DOUBT_S: Final = 10.0  # for so long it stays wrong in the same direction


def burning_moved(state: State, step_s: float) -> State:
    """Return the burning model's mean: gravity and the motor's push, taken at the middle of the step."""
    x, y, z, u, v, w, a, b, c = state
    half = 0.5 * step_s
    gx, gy, gz = _without_air((x, y, z), (u, v, w))
    middle = (x + half * u, y + half * v, z + half * w)
    gx, gy, gz = _without_air(middle, (u + half * (gx + a), v + half * (gy + b), w + half * (gz + c)))
    a_, b_, c_ = gx + a, gy + b, gz + c
    bend = half * step_s
    return (
        x + step_s * u + bend * a_,
        y + step_s * v + bend * b_,
        z + step_s * w + bend * c_,
        u + step_s * a_,
        v + step_s * b_,
        w + step_s * c_,
        a,
        b,
        c,
    )


def _without_air(position: Vector, velocity: Vector) -> Vector:
    """Return gravity, Coriolis and centrifugal acceleration: drag is part of the motor's push."""
    gx, gy, gz = gravity(*position)
    turn = EARTH_RATE_RADPS
    return (
        gx + turn * (turn * position[0] + 2.0 * velocity[1]),
        gy + turn * (turn * position[1] - 2.0 * velocity[0]),
        gz,
    )


def falling_moved(state: State, step_s: float) -> State:
    """Return the falling model's mean (Runge-Kutta of fourth order)."""
    x, y, z, u, v, w = state
    half = 0.5 * step_s
    a1, b1, c1 = ballistic_acceleration((x, y, z), (u, v, w))
    u2, v2, w2 = u + half * a1, v + half * b1, w + half * c1
    a2, b2, c2 = ballistic_acceleration((x + half * u, y + half * v, z + half * w), (u2, v2, w2))
    u3, v3, w3 = u + half * a2, v + half * b2, w + half * c2
    a3, b3, c3 = ballistic_acceleration((x + half * u2, y + half * v2, z + half * w2), (u3, v3, w3))
    u4, v4, w4 = u + step_s * a3, v + step_s * b3, w + step_s * c3
    a4, b4, c4 = ballistic_acceleration((x + step_s * u3, y + step_s * v3, z + step_s * w3), (u4, v4, w4))
    sixth = step_s / 6.0
    return (
        x + sixth * (u + 2.0 * (u2 + u3) + u4),
        y + sixth * (v + 2.0 * (v2 + v3) + v4),
        z + sixth * (w + 2.0 * (w2 + w3) + w4),
        u + sixth * (a1 + 2.0 * (a2 + a3) + a4),
        v + sixth * (b1 + 2.0 * (b2 + b3) + b4),
        w + sixth * (c1 + 2.0 * (c2 + c3) + c4),
    )


def falling_flow(state: State, step_s: float, slows: float) -> tuple[State, float]:
    """Return how the falling model's later state depends on its earlier one (6x6, row by row), and what drag adds.

    That is the density of white noise along the flight, m2/s3: the doubt about the drag. `slows`: 1, or 0 where the
    height is not known, so that no drag makes the speed seem known.
    """
    x, y, z, u, v, w = state
    squared = x * x + y * y + z * z
    pull = GM_M3PS2 / (squared * math.sqrt(squared))
    turn = EARTH_RATE_RADPS
    three = 3.0 * pull / squared
    spin = turn * turn - pull
    g_xx, g_yy, g_zz = three * x * x + spin, three * y * y + spin, three * z * z - pull
    g_xy, g_xz, g_yz = three * x * y, three * x * z, three * y * z
    speed = math.sqrt(u * u + v * v + w * w)
    drag = drag_per_speed((x, y, z), speed)
    half, cube = 0.5 * step_s * step_s, step_s * step_s * step_s / 6.0
    turned, slowed = 2.0 * turn, -slows * drag
    flow = (
        1.0 + half * g_xx, half * g_xy, half * g_xz,
        step_s + half * slowed + cube * g_xx, half * turned + cube * g_xy, cube * g_xz,
        half * g_xy, 1.0 + half * g_yy, half * g_yz,
        cube * g_xy - half * turned, step_s + half * slowed + cube * g_yy, cube * g_yz,
        half * g_xz, half * g_yz, 1.0 + half * g_zz,
        cube * g_xz, cube * g_yz, step_s + half * slowed + cube * g_zz,
        step_s * g_xx, step_s * g_xy, step_s * g_xz,
        1.0 + step_s * slowed + half * g_xx, step_s * turned + half * g_xy, half * g_xz,
        step_s * g_xy, step_s * g_yy, step_s * g_yz,
        half * g_xy - step_s * turned, 1.0 + step_s * slowed + half * g_yy, half * g_yz,
        step_s * g_xz, step_s * g_yz, step_s * g_zz,
        half * g_xz, half * g_yz, 1.0 + step_s * slowed + half * g_zz,
    )  # fmt: skip
    doubt = DRAG_DOUBT * drag * speed
    return flow, doubt * doubt * DRAG_DOUBT_S
