"""Whether two tracks are one object, by all the time in which both were followed.

Both tracks' own estimates are compared at common times (`tracklet`), never more than `COMPARED_MAX` of them: twice as
far apart whenever there would be more. So what a pair costs is bounded, and the answer changes only when both have been
heard of behind one more common time.

Two questions, two floors under the distance:

* *Which of several?* The score is the mean of d² + log det S with hardly a floor: what all tracks of a nation are
  off by is off alike, and only the differences between the scores count. They go to the assignment (`associate`).
* *One at all?* Half of the common times must be nearer than the gate, with a floor as wide as survey, clocks and a lie
  may be: a track that leaves what it belonged to is a contradiction to be shown and not another launch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median_high
from typing import TYPE_CHECKING, Final, TypeAlias

from broker.fusion import kalman

if TYPE_CHECKING:
    from broker.fusion.node import LocalTrack
    from broker.fusion.tracklet import Said

__all__ = ["COMPARED_MAX", "Overlap", "Whole"]

COMPARED_MAX: Final = 24
BEGINNING: Final = 8  # common times from the first on, each of them
BEGAN_LEAST: Final = 4  # of them, the first at which both speak
BEGAN_LOG_DET: Final = 6.0 * math.log(700.0)  # vaguer than this they would look like one in any case
SHARP_FLOOR_M: Final = 50.0
NARROW_FLOOR_M: Final = 300.0  # survey and clocks of different nations: 0.1 s at 3 km/s
WIDE_FLOOR_M: Final = 1_000.0  # with a fault or a lie that is seen as one
LATEST: Final = 2
FAR: Final = 1e4  # squared distance from which nobody needs to know it exactly
BEGAN_GATE: Final = 21.0  # chi square, 3 terms, 1e-4

Sample: TypeAlias = "tuple[float, float, float, float, float]"


@dataclass(frozen=True, slots=True)
class Whole:
    """What an overlap says: at how many common times, and squared distances (3 terms) with each floor."""

    count: int
    sharp: float  # mean
    score: float  # mean, with the logarithm of the determinant
    narrow: float  # median
    wide: float  # median
    latest: float  # with the narrow floor, the least of the newest LATEST: whether they part
    apart_m: float  # median


@dataclass(slots=True)
class Overlap:
    """Two tracks at their common times, as far as they were compared."""

    generations: tuple[int, int] = (0, 0)
    compared: tuple[int, int, int] | None = None  # first, last and level
    whole: Whole | None = None
    _samples: dict[int, Sample | None] = field(default_factory=dict)
    _began: tuple[tuple[int, int], bool] | None = None  # by generations, once it can be said

    def of(self, one: LocalTrack, two: LocalTrack) -> Whole | None:
        """Return what the overlap says; None if there is none. The same tracks in the same order each time."""
        (first, last), (other_first, other_last) = one.slots, two.slots
        first, last = max(first, other_first), min(last, other_last)
        if last < first:
            return None
        level = max((last - first) // COMPARED_MAX, 0).bit_length()
        step = 1 << level
        compared = (-(-first // step), last // step, level)
        generations = (one.generation, two.generation)
        if generations != self.generations:
            self._samples.clear()
        elif compared == self.compared:
            return self.whole
        slots = range(compared[0] * step, compared[1] * step + 1, step)
        self._samples = {slot: self._samples.get(slot) or _sample(one.at(slot), two.at(slot)) for slot in slots}
        # Asking may have been the first time that anything was said there: that is no change.
        self.generations, self.compared = (one.generation, two.generation), compared
        self.whole = _whole([sample for sample in self._samples.values() if sample is not None])
        return self.whole

    def began_as_one(self, one: LocalTrack, two: LocalTrack) -> bool:
        """Say whether both were exactly the same at their first common times, whatever became of them."""
        first, last = max(one.slots[0], two.slots[0]), min(one.slots[1], two.slots[1])
        if self._began is not None and self._began[0] == (one.generation, two.generation):
            return self._began[1]
        slots = range(first, min(first + BEGINNING - 1, last) + 1)
        found = [sample for slot in slots if (sample := _sample(one.at(slot), two.at(slot))) is not None]
        found = found[:BEGAN_LEAST]
        is_one = len(found) == BEGAN_LEAST and all(
            sample[0] <= BEGAN_LOG_DET and sample[2] <= BEGAN_GATE for sample in found
        )
        if len(found) == BEGAN_LEAST or last >= first + BEGINNING - 1:
            self._began = (one.generation, two.generation), is_one
        return is_one


def _sample(one: Said | None, two: Said | None) -> Sample | None:
    """Return log det S, the squared distances with the sharp, the narrow and the wide floor, and the distance, m."""
    if one is None or two is None:
        return None
    miss = [a - b for a, b in zip(one.position_m, two.position_m, strict=True)]
    spread = [[a + b for a, b in zip(row, other, strict=True)] for row, other in zip(one.noise, two.noise, strict=True)]
    apart_m2 = miss[0] * miss[0] + miss[1] * miss[1] + miss[2] * miss[2]
    width_m2 = spread[0][0] + spread[1][1] + spread[2][2] + 3.0 * WIDE_FLOOR_M * WIDE_FLOOR_M
    if apart_m2 > FAR * width_m2:
        return 0.0, FAR, FAR, FAR, math.sqrt(apart_m2)
    sharp, log_det = _distance(miss, spread, SHARP_FLOOR_M)
    return (
        log_det,
        min(sharp, FAR),
        min(_distance(miss, spread, NARROW_FLOOR_M)[0], FAR),
        min(_distance(miss, spread, WIDE_FLOOR_M)[0], FAR),
        math.sqrt(apart_m2),
    )


def _distance(miss: list[float], spread: list[list[float]], floor_m: float) -> tuple[float, float]:
    """Return the squared distance and the logarithm of the determinant, with a floor in all directions."""
    floor_m2 = floor_m * floor_m
    wide = [[a + (floor_m2 if i == j else 0.0) for j, a in enumerate(row)] for i, row in enumerate(spread)]
    return kalman.distance_squared(miss, wide)


def _whole(samples: list[Sample]) -> Whole | None:
    """Return what the samples add up to."""
    if not samples:
        return None
    count = len(samples)
    sharp = math.fsum(sample[1] for sample in samples) / count
    return Whole(
        count=count,
        sharp=sharp,
        score=sharp + math.fsum(sample[0] for sample in samples) / count,
        narrow=median_high(sample[2] for sample in samples),
        wide=median_high(sample[3] for sample in samples),
        latest=min(sample[2] for sample in samples[-LATEST:]),
        apart_m=median_high(sample[4] for sample in samples),
    )
