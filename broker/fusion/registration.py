"""By how much one origin's clock and survey differ from another's: a regression over what both say of one object.

A report of an origin whose clock is ahead by tau carries too late a time: at that time the object is further on by
velocity * tau. A survey that is off by b moves every report by b. So what a report differs by from where another
origin's own track has the object is

    miss = b - velocity * tau + noise

with the same b (ECEF) and tau for as long as both follow it. The sums of this regression grow by one report at a time;
before the first, b and tau are what nations' surveys and clocks are expected to differ by. Where the velocity has not
changed yet, both explain the same miss, and the standard deviations say so.

Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001 (least squares in
information form); the expected offsets are judgement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from broker import geodesy

__all__ = ["NOTHING_KNOWN", "Offsets", "Spread", "Sums", "added", "inverse", "solved"]

SURVEY_SIGMA_M: Final = 300.0  # each axis, between two nations
CLOCK_SIGMA_S: Final = 0.5

Spread: TypeAlias = tuple[float, float, float, float, float, float]  # xx xy xz yy yz zz


@dataclass(frozen=True, slots=True)
class Sums:
    """The normal equations: information of position, position and clock, clock; and the right side (x, y, z, clock)."""

    place: Spread
    cross: tuple[float, float, float]
    clock: float
    right: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Offsets:
    """What the sums say: offsets and their covariances."""

    position_m: geodesy.Vector
    clock_s: float
    position_m2: Spread
    position_clock_ms: geodesy.Vector
    clock_s2: float

    def at(self, velocity_mps: geodesy.Vector) -> tuple[geodesy.Vector, Spread]:
        """Return the miss that is expected of an object at this velocity, m, and its covariance, m2."""
        u, v, w = velocity_mps
        (bx, by, bz), tau = self.position_m, self.clock_s
        xx, xy, xz, yy, yz, zz = self.position_m2
        (cx, cy, cz), tt = self.position_clock_ms, self.clock_s2
        return (bx - u * tau, by - v * tau, bz - w * tau), (
            xx - 2.0 * u * cx + u * u * tt,
            xy - u * cy - v * cx + u * v * tt,
            xz - u * cz - w * cx + u * w * tt,
            yy - 2.0 * v * cy + v * v * tt,
            yz - v * cz - w * cy + v * w * tt,
            zz - 2.0 * w * cz + w * w * tt,
        )


SURVEY_INFORMATION: Final = 1.0 / (SURVEY_SIGMA_M * SURVEY_SIGMA_M)
NOTHING_KNOWN: Final = Sums(
    (SURVEY_INFORMATION, 0.0, 0.0, SURVEY_INFORMATION, 0.0, SURVEY_INFORMATION),
    (0.0, 0.0, 0.0),
    1.0 / (CLOCK_SIGMA_S * CLOCK_SIGMA_S),
    (0.0, 0.0, 0.0, 0.0),
)


def added(sums: Sums, miss_m: geodesy.Vector, noise_m2: Spread, velocity_mps: geodesy.Vector) -> Sums:
    """Return the sums with one more report: its miss, the covariance of that, and how the object moved."""
    wxx, wxy, wxz, wyy, wyz, wzz = inverse(noise_m2)
    (u, v, w), (x, y, z) = velocity_mps, miss_m
    # The weight times the velocity, and times the miss.
    p, q, r = wxx * u + wxy * v + wxz * w, wxy * u + wyy * v + wyz * w, wxz * u + wyz * v + wzz * w
    a, b, c = wxx * x + wxy * y + wxz * z, wxy * x + wyy * y + wyz * z, wxz * x + wyz * y + wzz * z
    xx, xy, xz, yy, yz, zz = sums.place
    return Sums(
        (xx + wxx, xy + wxy, xz + wxz, yy + wyy, yz + wyz, zz + wzz),
        (sums.cross[0] - p, sums.cross[1] - q, sums.cross[2] - r),
        sums.clock + u * p + v * q + w * r,
        (sums.right[0] + a, sums.right[1] + b, sums.right[2] + c, sums.right[3] - (u * a + v * b + w * c)),
    )


def solved(sums: Sums) -> Offsets:
    """Return the offsets by the sums: the position is eliminated first, then the clock."""
    ixx, ixy, ixz, iyy, iyz, izz = inverse(sums.place)
    px, py, pz = sums.cross
    gx, gy, gz = ixx * px + ixy * py + ixz * pz, ixy * px + iyy * py + iyz * pz, ixz * px + iyz * py + izz * pz
    a, b, c, d = sums.right
    variance = 1.0 / (sums.clock - (px * gx + py * gy + pz * gz))
    clock_s = variance * (d - (gx * a + gy * b + gz * c))
    return Offsets(
        (
            ixx * a + ixy * b + ixz * c - gx * clock_s,
            ixy * a + iyy * b + iyz * c - gy * clock_s,
            ixz * a + iyz * b + izz * c - gz * clock_s,
        ),
        clock_s,
        (
            ixx + variance * gx * gx,
            ixy + variance * gx * gy,
            ixz + variance * gx * gz,
            iyy + variance * gy * gy,
            iyz + variance * gy * gz,
            izz + variance * gz * gz,
        ),
        (-variance * gx, -variance * gy, -variance * gz),
        variance,
    )


def inverse(spread: Spread) -> Spread:
    """Return the inverse of a symmetric positive matrix (by its cofactors, after scaling by its trace)."""
    scale = 3.0 / (spread[0] + spread[3] + spread[5])
    xx, xy, xz, yy, yz, zz = (scale * term for term in spread)
    cxx, cxy, cxz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    determinant = math.fsum((xx * cxx, xy * cxy, xz * cxz))
    factor = scale / determinant
    return (
        factor * cxx,
        factor * cxy,
        factor * cxz,
        factor * (xx * zz - xz * xz),
        factor * (xy * xz - xx * yz),
        factor * (xx * yy - xy * xy),
    )
