"""How an object moved, report after report: when its motor burnt out, and whether it flew as a thrown stone does.

A Motion is what is remembered of all estimates up to a report; like an estimate it follows from the reports up to that
one and from nothing else. Above the air it is a few comparisons. Within the air, where alone there is lift, an object
that had been falling freely is compared every few seconds with where it would be had it gone on falling: drag leaves it
behind on its path, and nobody knows by how much, but nothing except lift takes it across its path, and far beyond the
uncertainty. An object that has glided can glide again, so it stays marked.

Above the air what pushes is a motor: there the impact disappears until it burns out again (`impact.BURNING_MOST`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.estimate import merged
from broker.fusion.impact import AIR_M, BURNING_MOST
from broker.fusion.path import fallen
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.fusion.estimate import Estimate

__all__ = ["BURNING_LIKELY", "UNSEEN", "Motion", "followed"]

BURNING_LIKELY: Final = 0.5
COAST_LEAST_NS: Final = 15 * SECOND_NS  # longer than the gap between two stages
LIFT_TOP_M: Final = 80_000.0  # above it there is not enough air to be carried by
LIFT_BOTTOM_M: Final = 12_000.0  # below it an object is down before anybody is told
COMPARED_NS: Final = 12 * SECOND_NS  # lift of 3 m/s2 is 200 m by then
COMPARED_MOST_NS: Final = 30 * SECOND_NS
LIFT_LEAST_MPS2: Final = 2.0
LIFT_SIGMAS: Final = 4.5
STEP_S: Final = 1.5
LEFT_BEHIND: Final = 0.25  # of what drag did along the path, which bends meanwhile


@dataclass(frozen=True, slots=True)
class Motion:
    """What is remembered of an object's motion up to a report."""

    burnt: bool = False  # it was seen burning
    below_ns: int | None = None  # since when it has been likelier falling than burning
    falling_ns: int | None = None  # since when it has certainly been falling
    coasted: bool = False  # for long enough that what pushes it now is no next stage
    anchor: Estimate | None = None  # within the air: what it is compared with next
    glided_ns: int | None = None  # when it was first seen to be carried

    @property
    def burnout_ns(self) -> int | None:
        """Return when the motor burnt out; None if it was not seen burning, or may still burn."""
        return self.below_ns if self.burnt and (self.falling_ns is not None or self.coasted) else None

    @property
    def is_ballistic(self) -> bool:
        """Say whether nothing has been seen that a falling body does not do."""
        return self.glided_ns is None


UNSEEN: Final = Motion()


def followed(before: Motion, previous: Estimate | None, estimate: Estimate) -> Motion:
    """Return what is remembered after one more report."""
    if estimate is previous:
        return before  # it taught nothing
    burning = estimate.burning_probability
    if before.coasted:
        return _coasting(before, estimate)
    if burning <= BURNING_MOST:
        return _falling(before, estimate.time_ns)
    if burning > BURNING_LIKELY:
        return before if before.burnt and before.below_ns is None else replace(UNSEEN, burnt=True)
    return before if before.below_ns is not None else replace(before, below_ns=estimate.time_ns)


def _falling(before: Motion, time_ns: int) -> Motion:
    """Return the motion of what certainly falls, and perhaps for long enough."""
    if before.falling_ns is None:
        since_ns = time_ns if before.below_ns is None else before.below_ns
        return replace(before, below_ns=since_ns, falling_ns=time_ns)
    return before if time_ns - before.falling_ns < COAST_LEAST_NS else replace(before, coasted=True)


def _coasting(before: Motion, estimate: Estimate) -> Motion:
    """Return the motion of what fell freely: in the air it may be carried, above it a motor may start again."""
    height_m = geodesy.height_m(*estimate.falling_state[:3])
    if before.glided_ns is not None or height_m < LIFT_BOTTOM_M:
        return before
    if height_m > LIFT_TOP_M:
        if height_m > AIR_M and estimate.burning_probability > BURNING_LIKELY:
            return replace(UNSEEN, burnt=True)
        return before if before.anchor is None else replace(before, anchor=None)
    since_ns = COMPARED_MOST_NS + 1 if before.anchor is None else estimate.time_ns - before.anchor.time_ns
    if since_ns < COMPARED_NS:
        return before
    if before.anchor is not None and since_ns <= COMPARED_MOST_NS and _is_carried(before.anchor, estimate):
        return replace(before, anchor=None, glided_ns=estimate.time_ns)
    return replace(before, anchor=estimate)


def _is_carried(anchor: Estimate, estimate: Estimate) -> bool:
    """Say whether an object has been taken across its path, far beyond the uncertainty."""
    state, noise = anchor.falling_state, anchor.falling_noise
    passed_s = (estimate.time_ns - anchor.time_ns) / SECOND_NS
    there = fallen(state, passed_s, STEP_S)
    here, _ = merged(estimate)
    speed = math.sqrt(_dot(there[3:], there[3:]))
    if speed <= 0.0:
        return False
    along = [0.5 * (one + two) / speed for one, two in zip(state[3:], there[3:], strict=True)]
    apart = [one - two for one, two in zip(here[:3], there[:3], strict=True)]
    left_behind_m = _dot(apart, along)
    across = [one - left_behind_m * part for one, part in zip(apart, along, strict=True)]
    across_m = math.sqrt(_dot(across, across))
    if across_m < 0.5 * LIFT_LEAST_MPS2 * passed_s * passed_s:
        return False
    axis = [one / across_m for one in across]
    variance = math.fsum(
        axis[i]
        * axis[j]
        * (noise[i][j] + passed_s * (noise[i][3 + j] + noise[3 + i][j]) + passed_s * passed_s * noise[3 + i][3 + j])
        for i in range(3)
        for j in range(3)
    )
    variance = max(variance, 0.0) + (LEFT_BEHIND * left_behind_m) ** 2
    return across_m * across_m > LIFT_SIGMAS * LIFT_SIGMAS * variance


def _dot(one: Sequence[float], two: Sequence[float]) -> float:
    """Return the scalar product."""
    return one[0] * two[0] + one[1] * two[1] + one[2] * two[2]
