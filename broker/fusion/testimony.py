"""What one origin's reports say against another's own track of the same object.

Each report is compared with where the other origin's own track has the object at that time. Two things may make it
miss: an offset that stays the same (survey, clock; see `registration`), which is no contradiction as long as it is one
that nations have, and a lie or a fault. So the mean miss of the newest reports is held against the offset that all
reports before them have shown. If it is further off than chance, both tracks' doubt and that offset's own doubt
explain, the two contradict each other, and go on doing so until the mean miss is back at the offset from before: what
contradicts is never learnt as an offset. Velocities that are reported are compared for themselves; no survey
changes them.

Rules:
* one report says nothing, however far off: `LEAST` of them do, the newest ones, or all of `WINDOW_NS`;
* a track that is old or vague says nothing against anybody;
* reports that scatter far wider than they and the other's track claim contradict it too: a claim to know better than
  one does would make the fused track follow noise as if it were a motor;
* a claimed covariance counts only against who claims it: the doubt of a comparison never falls below `FLOOR_M`, so a
  liar who claims a millimetre does not make everybody else contradict themselves, only himself.

Sources of the gates: chi square with three terms is beyond 18 four times in 10,000 and beyond 26 once in 100,000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker.fusion import estimate
from broker.fusion.registration import CLOCK_SIGMA_S, NOTHING_KNOWN, SURVEY_SIGMA_M, Sums, added, inverse, solved
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from broker import geodesy
    from broker.fusion.contribution import Report
    from broker.fusion.estimate import Estimate
    from broker.fusion.kalman import Matrix, State
    from broker.fusion.registration import Offsets, Spread

__all__ = ["SILENT", "Testimony", "heard"]

GATES: Final = (18.0, 26.0)  # squared normalised distance from which two differ, and from which they contradict
BACK: Final = 6.0  # under this again, it is over
STRIKES: Final = 2  # reports in a row beyond the gate
OFFSET_MOST: Final = 36.0  # squared normalised offset that nations do not have (four terms; once in 3 million)
SCATTER_MOST: Final = 6.0  # of the variance that was claimed: two and a half times the noise
SCATTER_LEAST: Final = 6  # reports from which a scatter is told
WINDOW_NS: Final = 14 * SECOND_NS
LEARN_NS: Final = 30 * SECOND_NS  # older reports go into the offset: a drift must not become what is expected of it
LEAST: Final = 3
FLOOR_M: Final = 50.0  # how well two tracks of one object agree at best: their models are not the truth
FLOOR_MPS: Final = 15.0
TOGETHER: Final = 8.0  # reports in a row of which the other's track is off in the same way: it teaches as much as one
STALE_NS: Final = 30 * SECOND_NS
VAGUE_M: Final = 5_000.0
VAGUE_MPS: Final = 500.0
DISTANCE_MOST: Final = 1e9


@dataclass(frozen=True, slots=True)
class Miss:
    """How far one report is from the other's track. Covariances: what the report says itself, and the track."""

    time_ns: int
    velocity_mps: geodesy.Vector
    place_m: geodesy.Vector
    said_m2: Spread
    known_m2: Spread
    speed_mps: geodesy.Vector | None
    said_m2ps2: Spread
    known_m2ps2: Spread


@dataclass(frozen=True, slots=True)
class Testimony:
    """What was heard of one origin against another. `distance`: squared, normalised, over three terms."""

    sums: Sums = NOTHING_KNOWN
    newest: tuple[Miss, ...] = ()
    strikes: tuple[int, int] = (0, 0)  # how many reports in a row were beyond each gate
    grade: int = 0  # 1: they differ; 2: they contradict each other
    distance: float | None = None

    def offsets(self) -> Offsets:
        """Return the offset of all but the newest reports."""
        return solved(self.sums)


SILENT: Final = Testimony()


def heard(before: Testimony, report: Report, track: Estimate) -> Testimony:
    """Return the testimony with one more report, which is not older than the other's track."""
    found = None
    if report.time_ns - track.time_ns <= STALE_NS:
        found = _miss(report, *estimate.merged(estimate.advance(track, report.time_ns)))
    if found is None:
        newest = tuple(one for one in before.newest if report.time_ns - one.time_ns <= LEARN_NS)
        return replace(before, newest=newest, strikes=(0, 0), grade=before.grade if newest else 0)
    newest, sums = (*before.newest, found), before.sums
    while len(newest) > LEAST and found.time_ns - newest[0].time_ns > LEARN_NS:
        oldest, newest = newest[0], newest[1:]
        if not before.grade:
            sums = added(sums, oldest.place_m, _doubt(oldest, TOGETHER), oldest.velocity_mps)
    return _judged(replace(before, sums=sums, newest=newest))


def _judged(one: Testimony) -> Testimony:
    """Return the testimony with what its newest reports say of it."""
    if len(one.newest) < LEAST:
        return one
    offsets, since_ns = one.offsets(), one.newest[-1].time_ns - WINDOW_NS
    newest = tuple([miss for miss in one.newest if miss.time_ns >= since_ns])
    newest = newest if len(newest) >= LEAST else one.newest[-LEAST:]
    distance = _distance(newest, offsets)
    if _is_no_offset(offsets) or _scatter(one.newest[-max(len(newest), SCATTER_LEAST) :]) > SCATTER_MOST:
        farthest = math.inf
    else:
        farthest = max(distance, _speed_distance(newest))
    strikes = tuple([count + 1 if farthest > gate else 0 for count, gate in zip(one.strikes, GATES, strict=True)])
    grade = sum([count >= STRIKES for count in strikes])
    if farthest >= BACK:
        grade = max(grade, one.grade)
    # Once it is over, what came while it lasted is not learnt.
    kept = newest if one.grade and not grade else one.newest
    return replace(one, newest=kept, strikes=(strikes[0], strikes[1]), grade=grade, distance=distance / 3.0)


def _is_no_offset(offsets: Offsets) -> bool:
    """Say whether an offset is greater than those that nations' surveys and clocks have."""
    x, y, z = offsets.position_m
    place = (x * x + y * y + z * z) / (SURVEY_SIGMA_M * SURVEY_SIGMA_M)
    return place + offsets.clock_s * offsets.clock_s / (CLOCK_SIGMA_S * CLOCK_SIGMA_S) > OFFSET_MOST


def _scatter(newest: tuple[Miss, ...]) -> float:
    """Return the variance of the misses around their mean over the variance that was claimed; 0 if they are too few."""
    count = len(newest)
    if count < SCATTER_LEAST:
        return 0.0
    x, y, z = _mean([one.place_m for one in newest])
    seen = sum([(a - x) * (a - x) + (b - y) * (b - y) + (c - z) * (c - z) for a, b, c in [o.place_m for o in newest]])
    claimed = sum([sum([_doubt(one)[axis] for axis in (0, 3, 5)]) for one in newest])
    return seen / claimed * count / (count - 1)


def _miss(report: Report, state: State, noise: Matrix) -> Miss | None:
    """Return a report's miss; None if either is too vague to say anything."""
    if not noise[0][0] + noise[1][1] + noise[2][2] <= 3.0 * VAGUE_M * VAGUE_M:  # nor what is no number
        return None
    said, bias_m2 = report.noise, report.bias_m * report.bias_m
    if said[0][0] + said[1][1] + said[2][2] + 3.0 * bias_m2 > 3.0 * VAGUE_M * VAGUE_M:
        return None
    a, b = report.position_m, report.velocity_mps
    if b is not None and (bias_m2 > 0.0 or said[3][3] + said[4][4] + said[5][5] > 3.0 * VAGUE_MPS * VAGUE_MPS):
        b = None
    return Miss(
        report.time_ns,
        (state[3], state[4], state[5]),
        (a[0] - state[0], a[1] - state[1], a[2] - state[2]),
        _block(said, 0, bias_m2),
        _block(noise, 0, 0.0),
        None if b is None else (b[0] - state[3], b[1] - state[4], b[2] - state[5]),
        _block(said, 3, 0.0) if b is not None else NO_SPREAD,
        _block(noise, 3, 0.0),
    )


NO_SPREAD: Final[Spread] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _block(noise: Matrix, first: int, more: float) -> Spread:
    """Return a block of the diagonal, with so much more on its own."""
    i, j, k = first, first + 1, first + 2
    return (noise[i][i] + more, noise[i][j], noise[i][k], noise[j][j] + more, noise[j][k], noise[k][k] + more)


def _doubt(one: Miss, together: float = 1.0) -> Spread:
    """Return the covariance of one miss, if the track's part of it is the same for so many."""
    said, known, floor = one.said_m2, one.known_m2, FLOOR_M * FLOOR_M
    return (
        said[0] + together * (known[0] + floor),
        said[1] + together * known[1],
        said[2] + together * known[2],
        said[3] + together * (known[3] + floor),
        said[4] + together * known[4],
        said[5] + together * (known[5] + floor),
    )


def _distance(newest: tuple[Miss, ...], offsets: Offsets) -> float:
    """Return the squared normalised distance of the mean miss from the offset that was known before."""
    count = float(len(newest))
    velocity = _mean([one.velocity_mps for one in newest])
    miss = _mean([one.place_m for one in newest])
    expected, doubt = offsets.at(velocity)
    floor = FLOOR_M * FLOOR_M
    spread = [
        (said / count + known) / count + more
        for said, known, more in zip(
            [sum([one.said_m2[term] for one in newest]) for term in range(6)],
            [sum([one.known_m2[term] for one in newest]) for term in range(6)],
            doubt,
            strict=True,
        )
    ]
    spread[0] += floor
    spread[3] += floor
    spread[5] += floor
    return _form((miss[0] - expected[0], miss[1] - expected[1], miss[2] - expected[2]), spread)


def _speed_distance(newest: tuple[Miss, ...]) -> float:
    """Return the squared normalised distance of the mean miss of the velocities; 0 if too few were said."""
    told = [(one, one.speed_mps) for one in newest if one.speed_mps is not None]
    if len(told) < LEAST:
        return 0.0
    count = float(len(told))
    miss = _mean([speed for _, speed in told])
    spread = [sum([one.said_m2ps2[k] / count + one.known_m2ps2[k] for one, _ in told]) / count for k in range(6)]
    floor = FLOOR_MPS * FLOOR_MPS
    spread[0] += floor
    spread[3] += floor
    spread[5] += floor
    return _form(miss, spread)


def _mean(vectors: list[geodesy.Vector]) -> geodesy.Vector:
    """Return the mean of vectors."""
    count = float(len(vectors))
    return (
        sum([one[0] for one in vectors]) / count,
        sum([one[1] for one in vectors]) / count,
        sum([one[2] for one in vectors]) / count,
    )


def _form(miss: geodesy.Vector, spread: list[float]) -> float:
    """Return the squared distance normalised by a covariance."""
    xx, xy, xz, yy, yz, zz = inverse((spread[0], spread[1], spread[2], spread[3], spread[4], spread[5]))
    x, y, z = miss
    found = xx * x * x + yy * y * y + zz * z * z + 2.0 * (xy * x * y + xz * x * z + yz * y * z)
    return min(DISTANCE_MOST, found)
