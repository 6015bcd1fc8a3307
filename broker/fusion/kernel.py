"""What an estimate's numbers do when time passes and when a report comes: the part that is worth compiling.

The numbers of an estimate are bytes, one double behind the other (`unrolled` says where each stands), so that an
estimate is a value: equal if every bit is. Here they are read into a row, a list or an array, changed in place by the
sums that are written out, and packed again.

The same functions run in two ways with the same bits: as they are, or compiled (broker/jit.py puts `Runs` of its own in
the place of `runs`, once, at the start of a process). Nothing else than speed depends on which: no sum is reordered, no
multiplication is fused with an addition, no library is asked but for exp, log and sqrt, which both take from the same
place.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

from broker.fusion.models import COAST_DENSITY, JERK_DENSITY, burning_moved, falling_flow, falling_moved
from broker.fusion.unrolled import (
    FALLING_AT,
    LINK,
    SIZE,
    blend,
    blend_links,
    burning_3,
    burning_6,
    burning_own,
    falling_3,
    falling_6,
    falling_own,
    flow_links,
    merged,
    spread_along,
    spread_burning,
    spread_falling,
)
from broker.geodesy import height_m
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.fusion.unrolled import Row

__all__ = ["DOUBLE", "MERGED_SIZE", "Interpreted", "Runs", "folded", "install", "packing", "runs"]

BURNOUT_RATE_PS: Final = 1.0 / 80.0
# Who knows the push well is sure of itself, and must expect its end sooner than it comes: or burnout is a surprise, and
# what is claimed in its first seconds too much. Who does not know it would take the expectation for the fact.
BURNOUT_RATE_KNOWN_PS: Final = 1.0 / 20.0
PUSH_KNOWN_MPS2: Final = 12.0  # one standard deviation of each axis
REIGNITION_RATE_PS: Final = 1e-4
REIGNITION_SIGMA_MPS2: Final = 20.0
AIR_STEP_NS: Final = SECOND_NS
VACUUM_STEP_NS: Final = 10 * SECOND_NS
AIR_TOP_M: Final = 100_000.0
HEIGHT_KNOWN_M: Final = 20_000.0  # one standard deviation: beyond it no density of the air means anything
PROBABILITY_LEAST: Final = 1e-6
BLEND_LEAST: Final = 1e-3  # a smaller part of the burning model blurs nothing of what falls
BURNING_PUSH: Final = 49  # where the triangle of the push's covariance begins
GATE_3: Final = 45.0  # squared normalised distance that chance does not reach, of a position
GATE_6: Final = 60.0  # and with a velocity
ODDS_MOST: Final = 700.0  # of the logarithm: beyond, there is no such number

DOUBLE: Final = 8  # bytes
MERGED_SIZE: Final = 27  # six terms and their covariance's triangle


# --- what is compiled -------------------------------------------------------------------------------------------------


def folded(s: Row, before: Row, z: Row, count: int, gap_ns: int, variance: float, common: bool) -> bool:  # noqa: FBT001 - compiled
    """Let time pass, and then both models take a report if there is one (`z` is not empty); say whether they did."""
    advanced(s, count, gap_ns)
    return len(z) > 0 and taken(s, before, z, count, variance, common)


def advanced(s: Row, count: int, gap_ns: int) -> None:
    """Let time pass, in steps that are short in the air. `count` biases are behind the two models."""
    while gap_ns > 0:
        longest_ns = VACUUM_STEP_NS
        if height_m(s[FALLING_AT], s[FALLING_AT + 1], s[FALLING_AT + 2]) < AIR_TOP_M:
            longest_ns = AIR_STEP_NS
        step_ns = min(gap_ns, longest_ns)
        step_s = step_ns / SECOND_NS
        mixed(s, count, step_s)
        moved(s, count, step_s)
        gap_ns -= step_ns


def mixed(s: Row, count: int, step_s: float) -> None:
    """Let the motor burn out or start again with its probability in this time."""
    # The variances of the push are the last three of the triangle's diagonal.
    is_known = s[BURNING_PUSH] + s[BURNING_PUSH + 3] + s[BURNING_PUSH + 5] < 3.0 * PUSH_KNOWN_MPS2 * PUSH_KNOWN_MPS2
    rate_ps = BURNOUT_RATE_KNOWN_PS if is_known else BURNOUT_RATE_PS
    out, back = 1.0 - math.exp(-step_s * rate_ps), 1.0 - math.exp(-step_s * REIGNITION_RATE_PS)
    burning, falling = s[0], 1.0 - s[0]
    after = burning * (1.0 - out) + falling * back
    stays, comes = burning * (1.0 - out) / after, burning * out / (1.0 - after)
    # A motor that may have started again, which nothing confirms, blurs nothing of what falls.
    comes = comes if comes > BLEND_LEAST else 0.0
    blend(s, stays, comes, REIGNITION_SIGMA_MPS2 * REIGNITION_SIGMA_MPS2)
    if count > 0:
        blend_links(s, count, stays, comes)
    s[0] = within(after)


def moved(s: Row, count: int, step_s: float) -> None:
    """Move both models on by one step."""
    f = FALLING_AT
    # The variances of the place are the first, seventh and twelfth of the triangle.
    unknown = s[f + 6] + s[f + 12] + s[f + 17] > 3.0 * HEIGHT_KNOWN_M * HEIGHT_KNOWN_M
    u, v, w = s[f + 3], s[f + 4], s[f + 5]
    flow, braking = falling_flow((s[f], s[f + 1], s[f + 2], u, v, w), step_s, 0.0 if unknown else 1.0)
    place, cross, speed = step_s * step_s * step_s / 3.0, step_s * step_s / 2.0, step_s
    spread_falling(s, flow, COAST_DENSITY * place, COAST_DENSITY * cross, COAST_DENSITY * speed)
    if braking > 0.0:
        along = braking / (u * u + v * v + w * w)
        spread_along(s, u, v, w, along * place, along * cross, along * speed)
    spread_burning(s, step_s, JERK_DENSITY * step_s)
    if count > 0:
        flow_links(s, count, step_s, flow)
    burning = burning_moved((s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9]), step_s)
    s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9] = burning
    falling = falling_moved((s[f], s[f + 1], s[f + 2], u, v, w), step_s)
    s[f], s[f + 1], s[f + 2], s[f + 3], s[f + 4], s[f + 5] = falling


def taken(s: Row, before: Row, z: Row, count: int, variance: float, common: bool) -> bool:  # noqa: FBT001 - compiled
    """Let both models take a report, and say so; if neither can explain it, leave everything as it is.

    `z` is what was measured (3 or 6 terms) and its covariance's triangle. With a `variance`, the last of the biases is
    the reporting track's, and that is its variance. `before` is room for as many numbers as there are.
    """
    for place in range(len(s)):
        before[place] = s[place]
    one = two = 1.0
    if common:
        one, two = intersected(s, z, 10, 19, 27), intersected(s, z, 61, 67, 72)
    if variance > 0.0:
        near, det = burning_own(s, count - 1, z, one, variance)
        far, other = falling_own(s, count - 1, z, two, variance)
        gate = GATE_3
    elif len(z) == 9:  # noqa: PLR2004 - a position and its covariance's triangle
        near, det = burning_3(s, count, z, one, 0.0)
        far, other = falling_3(s, count, z, two, 0.0)
        gate = GATE_3
    else:
        near, det = burning_6(s, count, z, one, 0.0)
        far, other = falling_6(s, count, z, two, 0.0)
        gate = GATE_6
    if near > gate and far > gate:
        for place in range(len(s)):
            s[place] = before[place]
        return False
    s[0] = favoured(s[0], 0.5 * (far - near) + 0.5 * math.log(other / det))
    return True


def intersected(s: Row, z: Row, x: int, y: int, w: int) -> float:
    """Widen a model's covariance so that nothing is counted twice, whatever it has in common with the report.

    The three numbers are the places of the position's variances. Returns what widens the report's covariance (fast
    covariance intersection).
    """
    own = s[x] + s[y] + s[w]
    other = z[3] + z[6] + z[8] if len(z) == 9 else z[6] + z[12] + z[17]  # noqa: PLR2004 - as above
    weight = other / (own + other)
    if weight < 0.05:  # noqa: PLR2004 - neither counts for nothing
        weight = 0.05
    elif weight > 0.999:  # noqa: PLR2004 - as above
        weight = 0.999
    widened = 1.0 / weight
    for place in range(x, FALLING_AT if x < FALLING_AT else SIZE):
        s[place] = widened * s[place]
    return 1.0 / (1.0 - weight)


def favoured(before: float, log_ratio: float) -> float:
    """Return the probability of burning after a report that favours it by so much."""
    log_odds = math.log(before / (1.0 - before)) + log_ratio
    if log_odds > 0.0:
        after = 1.0 if log_odds > ODDS_MOST else 1.0 / (1.0 + math.exp(-log_odds))
    else:
        odds = 0.0 if log_odds < -ODDS_MOST else math.exp(log_odds)
        after = odds / (1.0 + odds)
    return within(after)


def within(probability: float) -> float:
    """Return a probability that is never quite certain."""
    if probability < PROBABILITY_LEAST:
        return PROBABILITY_LEAST
    if probability > 1.0 - PROBABILITY_LEAST:
        return 1.0 - PROBABILITY_LEAST
    return probability


# --- how it is run ----------------------------------------------------------------------------------------------------


class Runs(Protocol):
    """The functions above on packed numbers."""

    def folded(
        self, numbers: bytes, z: Sequence[float], gap_ns: int, variance: float, *, common: bool
    ) -> tuple[bool, bytes]:
        """Return whether a report so much later was taken, and the numbers then. An empty `z`: time passes only."""

    def merged(self, numbers: bytes) -> list[float]:
        """Return position and velocity and their covariance's triangle, both models weighed."""


@cache
def packing(size: int) -> struct.Struct:
    """Return how so many numbers are packed."""
    return struct.Struct(f"={size}d")


class Interpreted:
    """As they are."""

    def folded(
        self, numbers: bytes, z: Sequence[float], gap_ns: int, variance: float, *, common: bool
    ) -> tuple[bool, bytes]:
        """Return whether a report so much later was taken, and the numbers then. An empty `z`: time passes only."""
        row = list(packing(len(numbers) // DOUBLE).unpack(numbers))
        count = (len(row) - SIZE) // LINK
        is_taken = folded(row, row[:], z, count, gap_ns, variance, common)  # type: ignore[arg-type] # z is only read
        return is_taken, packing(len(row)).pack(*row)

    def merged(self, numbers: bytes) -> list[float]:
        """Return position and velocity and their covariance's triangle, both models weighed."""
        row = list(packing(len(numbers) // DOUBLE).unpack(numbers))
        out = [0.0] * MERGED_SIZE
        merged(row, out)
        return out


runs: Runs = Interpreted()


def install(other: Runs) -> None:
    """Let another run them from now on, in this process. It must give the same bits."""
    global runs  # noqa: PLW0603 - a property of the process, like its interpreter
    runs = other
