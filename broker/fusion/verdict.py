"""What the first reports of two tracks and their whole overlap say together.

The first reports decide at once, for a warning does not wait. From `WHOLE_LEAST` common times on the overlap decides
which of several it is; that it is the same at all, it takes back only where both tracks are further apart than any
fault, or were apart from the beginning and still are.

Two names by one origin are likelier two objects than one. If one and the same kind of sensor follows both at the same
time, they are one by themselves only if that sensor could tell two launches apart and sees no difference at all; where
it could not, they are UNLIKELY one, and `grouping` asks what others see there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from broker.fusion.compare import COARSE_BIAS_M, GATE, SEEN_KIND, VAGUE_KIND, Evidence, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.fusion.node import LocalTrack
    from broker.fusion.overlap import Whole

__all__ = ["COUNT_MOST", "are_alike", "judged", "judged_alike"]

CONTRARY: Final = Evidence(Verdict.CONTRARY)
CONTRARY_MOST_M: Final = 12_000.0  # what is further away from its beginning is somewhere else
APART: Final = Evidence(Verdict.DIFFERENT)  # by how much is nobody's question, and would be asked again and again
WHOLE_LEAST: Final = 3
COUNT_MOST: Final = 16  # common times beyond which it makes no difference how many
SCORE_MOST: Final = 900.0  # who left what it long belonged to: still kinematics, and less than to be alone (`grouping`)
SCORE_STEP: Final = 0.5  # a smaller difference decides nothing, and who is compared is not asked again for it
ALIKE_MOST: Final = 3.0  # times the variance
TELLS_APART_SIGMA_M: Final = 700.0  # launchers are seldom nearer to one another
TELLS_APART: Final = 6.0 * math.log(TELLS_APART_SIGMA_M)  # as the logarithm of a determinant
TERMS: Final = 3
SURE: Final = 3.0  # standard deviations
EARLY_PER_WHOLE: Final = 3  # first reports say as much as one that is independent
PER_INDEPENDENT: Final = 4  # common times: an estimate remembers


def judged(early: Evidence, whole: Whole | None, began_as_one: Callable[[], bool], *, own: bool) -> Evidence:
    """Return what tracks of two nations, or of two kinds of sensor, say. `began_as_one` is asked only if they part."""
    if whole is None or whole.count < WHOLE_LEAST:
        if early.verdict is not Verdict.DIFFERENT:
            return early
        is_near = whole is not None and whole.apart_m <= CONTRARY_MOST_M
        return CONTRARY if is_near and not own else APART
    apart = whole.narrow > GATE and (own or early.verdict is Verdict.DIFFERENT)
    if apart or whole.wide > GATE:
        return CONTRARY if not own and (whole.apart_m <= CONTRARY_MOST_M or began_as_one()) else APART
    return Evidence(Verdict.SAME, 0, _rounded(min(whole.score, SCORE_MOST)), min(whole.count, COUNT_MOST))


def judged_alike(early: Evidence, distances: Sequence[float], whole: Whole | None) -> Evidence:
    """Return what two tracks by one kind of sensor of one nation say, both followed at the same time.

    `distances`: of the first reports.
    """
    if whole is not None:
        if max(whole.narrow, whole.latest) > GATE:
            return APART
        count = min(whole.count, COUNT_MOST)
        return _tight(whole.sharp, whole.score, max(whole.count // PER_INDEPENDENT, 1), count)
    if early.verdict is not Verdict.SAME:
        return APART if early.verdict is Verdict.DIFFERENT else early
    mean = math.fsum(distances) / len(distances)
    return _tight(mean, early.score, max(len(distances) // EARLY_PER_WHOLE, 1), 0)


def are_alike(one: LocalTrack, two: LocalTrack) -> bool:
    """Say whether one kind of sensor may have made both tracks, both exact, and followed both at the same time."""
    first, second = one.first.report, two.first.report
    if one.is_coarser_than(COARSE_BIAS_M) or two.is_coarser_than(COARSE_BIAS_M):
        return False
    if first.space_m != second.space_m or (first.velocity_mps is None) != (second.velocity_mps is None):
        return False
    traces = [sum(report.noise[axis][axis] for axis in range(TERMS)) for report in (first, second)]
    if max(traces) > ALIKE_MOST * min(traces):
        return False
    return max(one.order[0], two.order[0]) < min(one.order[-1], two.order[-1])


def _tight(distance: float, score: float, independent: int, count: int) -> Evidence:
    """Say whether there is no difference at all, by so many independent comparisons, and would have been seen."""
    most = TERMS + SURE * math.sqrt(2.0 * TERMS / independent)
    is_same = distance <= most and score - distance <= TELLS_APART
    if is_same:
        return Evidence(Verdict.SAME, 0, _rounded(score), count)
    return Evidence(Verdict.UNLIKELY, SEEN_KIND if distance > most else VAGUE_KIND)


def _rounded(score: float) -> float:
    """Return a score without what decides nothing."""
    return SCORE_STEP * round(score / SCORE_STEP)
