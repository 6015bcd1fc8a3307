"""Where an object is and how it moves: an interacting multiple model of two extended Kalman filters in ECEF.

    burning   position, velocity and the motor's acceleration, which wanders (white jerk); nine terms
    falling   position and velocity under gravity with J2, the Earth's rotation and nominal drag; six terms

Everything is scalar arithmetic in a fixed order, one object at a time: no linear algebra library is asked, because
libraries change the last bits with the number of objects in a call and with the processor. An Estimate is a value;
every step returns a new one, so any of them can be kept and continued from. Its numbers are packed; what they do when
time passes and when a report comes is in `kernel`.

Rules:
* a report that is not independent of what is already in (lineage) goes in by covariance intersection;
* a coarse track carries a bias that is *considered* and never estimated (Schmidt-Kalman): however many of its reports
  come, the position does not become better than that bias;
* a coarse report of what is known much better than its cell changes nothing, and what only coarse reports have said
  counts for nothing once a much better one says all: they could teach nothing, and must not make worse what is exact;
* a report that no model can explain is not taken; five in a row, and the estimate begins again at the newest.

Sources: Blom and Bar-Shalom 1988 (interacting models), Schmidt 1966 (consider states), Niehsen 2002 (fast covariance
intersection). The figures below are judgement, tried on invented trajectories; see tests/broker/fusion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion import kernel
from broker.fusion.unrolled import FALLING_AT, LINK, SIZE, triangle
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.fusion.contribution import Report, TrackKey
    from broker.fusion.kalman import Matrix, State

__all__ = [
    "Estimate",
    "absorb",
    "advance",
    "merged",
    "merged_diagonal",
    "position_variance",
    "start",
    "velocity_variance",
    "without_biases",
]

GAP_MAX_S: Final = 600.0  # after a longer silence an object begins anew
START_SPEED_SIGMA_MPS: Final = 2_500.0
START_PUSH_MPS2: Final = 22.0  # upwards: gravity and a little more
START_PUSH_SIGMA_MPS2: Final = 25.0
START_BURNING: Final = {content_pb2.PHASE_BOOST: 0.95, content_pb2.PHASE_COAST: 0.05, content_pb2.PHASE_DESCENT: 0.02}
START_BURNING_LOW: Final = 0.8  # phase unknown, below 80 km
START_BURNING_HIGH: Final = 0.4
LOW_M: Final = 80_000.0
REFUSED_IN_A_ROW_MAX: Final = 5
MUCH_BETTER: Final = 0.1  # of a coarse report's bias: nothing is learnt of what is known within this
QUIET_NS: Final = 10 * SECOND_NS  # an object that only coarse reports are heard of for longer is moved on by them
NO_LINKS: Final = bytes(LINK * kernel.DOUBLE)
# Where the numbers are that are asked for by themselves.
_BURNING_NOISE: Final = 10
_FALLING_NOISE: Final = 61
_DIAGONAL: Final = tuple(triangle(6, axis, axis) for axis in range(6))
_NESTED: Final = tuple(tuple(6 + triangle(6, row, column) for column in range(6)) for row in range(6))


@dataclass(frozen=True, slots=True)
class Bias:
    """What a coarse track may be off by. How both models' states depend on it stands behind them in the numbers."""

    track: TrackKey
    variance: float
    last_ns: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Both models after one report, at that report's time. `numbers`: see `unrolled`; the biases in their order."""

    time_ns: int
    numbers: bytes
    biases: tuple[Bias, ...] = ()
    refused_in_a_row: int = 0
    taken: bool = True  # whether the newest report went in
    restarts: int = 0

    @property
    def burning_probability(self) -> float:
        """Return the probability that the motor burns."""
        return _part(self.numbers, 0, 1)[0]

    @property
    def burning_noise(self) -> Matrix:
        """Return the burning model's covariance, row by row."""
        return _nested(_part(self.numbers, _BURNING_NOISE, 45), 9)

    @property
    def falling_state(self) -> State:
        """Return position and velocity of the falling model."""
        return _part(self.numbers, FALLING_AT, 6)

    @property
    def falling_noise(self) -> Matrix:
        """Return the falling model's covariance, row by row."""
        return _nested(_part(self.numbers, _FALLING_NOISE, 21), 6)


def start(report: Report, track: TrackKey) -> Estimate:
    """Begin an object at its first report. What the report does not say is unknown within physical bounds."""
    velocity = report.velocity_mps or (0.0, 0.0, 0.0)
    given = len(report.noise)
    spread = [[0.0] * 9 for _ in range(9)]
    for row in range(given):
        spread[row][:given] = report.noise[row]
    variance = report.bias_m * report.bias_m
    for axis in range(3):
        spread[axis][axis] += variance
        if report.velocity_mps is None:
            spread[3 + axis][3 + axis] = START_SPEED_SIGMA_MPS * START_SPEED_SIGMA_MPS
        spread[6 + axis][6 + axis] = START_PUSH_SIGMA_MPS2 * START_PUSH_SIGMA_MPS2
    lat_deg, lon_deg, height_m = geodesy.geodetic(*report.position_m)
    up = geodesy.enu_axes(lat_deg, lon_deg)[2]
    burning = START_BURNING.get(report.phase, START_BURNING_LOW if height_m < LOW_M else START_BURNING_HIGH)
    state = (*report.position_m, *velocity)
    numbers = [burning, *state, START_PUSH_MPS2 * up[0], START_PUSH_MPS2 * up[1], START_PUSH_MPS2 * up[2]]
    numbers += [spread[row][column] for row in range(9) for column in range(row, 9)]
    numbers += state
    numbers += [spread[row][column] for row in range(6) for column in range(row, 6)]
    biases: tuple[Bias, ...] = ()
    if report.bias_m > 0.0:
        numbers += [variance if row == axis else 0.0 for terms in (9, 6) for row in range(terms) for axis in range(3)]
        biases = (Bias(track, variance, report.time_ns),)
    return Estimate(report.time_ns, kernel.packing(len(numbers)).pack(*numbers), biases)


def merged(estimate: Estimate) -> tuple[State, Matrix]:
    """Return position and velocity with their covariance (6, 6x6), both models weighed."""
    found = kernel.runs.merged(estimate.numbers)
    return tuple(found[:6]), tuple([tuple([found[place] for place in row]) for row in _NESTED])


def merged_diagonal(estimate: Estimate) -> State:
    """Return the variances of position and velocity, both models weighed."""
    found = kernel.runs.merged(estimate.numbers)
    return tuple([found[6 + place] for place in _DIAGONAL])


def position_variance(estimate: Estimate) -> float:
    """Return how well the position is known by the falling model, m2."""
    noise = _part(estimate.numbers, _FALLING_NOISE, 21)
    return noise[_DIAGONAL[0]] + noise[_DIAGONAL[1]] + noise[_DIAGONAL[2]]


def velocity_variance(estimate: Estimate) -> float:
    """Return how well the velocity is known by the falling model, m2/s2: what decides where it comes down."""
    noise = _part(estimate.numbers, _FALLING_NOISE, 21)
    return noise[_DIAGONAL[3]] + noise[_DIAGONAL[4]] + noise[_DIAGONAL[5]]


def without_biases(estimate: Estimate) -> Estimate:
    """Return an estimate that is only looked at, and takes no further report: what follows from biases is left out."""
    if not estimate.biases:
        return estimate
    return replace(estimate, numbers=estimate.numbers[: SIZE * kernel.DOUBLE], biases=())


def advance(estimate: Estimate, time_ns: int) -> Estimate:
    """Return the estimate at a later time; unchanged if it is not later."""
    gap_ns = time_ns - estimate.time_ns
    if gap_ns <= 0:
        return estimate
    _, numbers = kernel.runs.folded(estimate.numbers, (), gap_ns, 0.0, common=False)
    return Estimate(time_ns, numbers, estimate.biases, estimate.refused_in_a_row, estimate.taken, estimate.restarts)


def absorb(estimate: Estimate, report: Report, track: TrackKey, *, common: bool) -> Estimate:
    """Return the estimate after the next report of the object. `common`: made from what may already be in."""
    if report.time_ns - estimate.time_ns > GAP_MAX_S * SECOND_NS:
        return _again(estimate, report, track)
    if not estimate.biases and not report.bias_m > 0.0:
        gap_ns = max(report.time_ns - estimate.time_ns, 0)
        is_taken, numbers = kernel.runs.folded(estimate.numbers, _measured(report), gap_ns, 0.0, common=common)
        time_ns = estimate.time_ns + gap_ns
        if is_taken:
            return Estimate(time_ns, numbers, restarts=estimate.restarts)
        return _refused(estimate, Estimate(time_ns, numbers, restarts=estimate.restarts), report, track)
    return _absorb_coarse(estimate, report, track, common=common)


def _absorb_coarse(estimate: Estimate, report: Report, track: TrackKey, *, common: bool) -> Estimate:
    """Return the same where coarse reports have been, or this is one."""
    bias = next((bias for bias in estimate.biases if bias.track == track), None)
    if bias is not None and report.time_ns - bias.last_ns < report.spacing_ns:
        return replace(estimate, refused_in_a_row=0, taken=True)  # the same information once more
    predicted = advance(estimate, report.time_ns)
    if estimate.biases and report.velocity_mps is not None and _says_better(report, predicted):
        return replace(start(report, track), restarts=estimate.restarts)
    if report.bias_m > 0.0:
        predicted = _considered(predicted, report, track)
    taken = _update(predicted, report, common=common)
    if taken is None:
        return _refused(estimate, predicted, report, track)
    if report.bias_m > 0.0 and _is_known_better(predicted, report):
        taken = predicted if report.time_ns - estimate.time_ns > QUIET_NS else estimate
    return taken if taken.taken else replace(taken, taken=True)


def _refused(estimate: Estimate, predicted: Estimate, report: Report, track: TrackKey) -> Estimate:
    """Return what is left where a report was not taken: time has passed, or the object begins again at it."""
    refused = estimate.refused_in_a_row + 1
    if refused >= REFUSED_IN_A_ROW_MAX:
        return _again(estimate, report, track)
    return replace(predicted, refused_in_a_row=refused, taken=False)


def _is_known_better(predicted: Estimate, report: Report) -> bool:
    """Say whether a coarse report speaks of what is known much better than it can say."""
    least_m = MUCH_BETTER * report.bias_m
    known = merged_diagonal(predicted)
    return known[0] + known[1] + known[2] < 3.0 * least_m * least_m


def _says_better(report: Report, predicted: Estimate) -> bool:
    """Say whether a report is much better than all that coarse ones have said before it, its velocity no worse."""
    known, said = merged_diagonal(predicted), report.noise
    said_m2 = said[0][0] + said[1][1] + said[2][2] + 3.0 * report.bias_m * report.bias_m
    if said_m2 >= MUCH_BETTER * MUCH_BETTER * (known[0] + known[1] + known[2]):
        return False
    return said[3][3] + said[4][4] + said[5][5] <= known[3] + known[4] + known[5]


def _again(estimate: Estimate, report: Report, track: TrackKey) -> Estimate:
    """Begin again at a report."""
    return replace(start(report, track), restarts=estimate.restarts + 1)


def _considered(estimate: Estimate, report: Report, track: TrackKey) -> Estimate:
    """Note the bias of a coarse track as the last of all, or that it has just been used again."""
    size = LINK * kernel.DOUBLE
    models, links = estimate.numbers[: SIZE * kernel.DOUBLE], estimate.numbers[SIZE * kernel.DOUBLE :]
    link, variance = NO_LINKS, report.bias_m * report.bias_m
    others = []
    for index, bias in enumerate(estimate.biases):
        part = links[index * size : (index + 1) * size]
        if bias.track == track:
            link, variance = part, bias.variance
        else:
            models += part
            others.append(bias)
    return replace(estimate, numbers=models + link, biases=(*others, Bias(track, variance, report.time_ns)))


def _update(estimate: Estimate, report: Report, *, common: bool) -> Estimate | None:
    """Let both models take a report; None if neither can explain it. The bias of a coarse one is the last of all."""
    variance = estimate.biases[-1].variance if report.bias_m > 0.0 else 0.0
    is_taken, numbers = kernel.runs.folded(estimate.numbers, _measured(report), 0, variance, common=common)
    if not is_taken:
        return None
    return Estimate(estimate.time_ns, numbers, estimate.biases, restarts=estimate.restarts)


def _measured(report: Report) -> Sequence[float]:
    """Return what a report measures, and its covariance's triangle, as one row."""
    noise = report.noise
    # A coarse velocity is of use for a beginning only: its rounding does not average out.
    if report.velocity_mps is None or report.bias_m > 0.0:
        return [*report.position_m, *noise[0][:3], *noise[1][1:3], noise[2][2]]
    one, two, three, four, five, six = noise
    return [*report.position_m, *report.velocity_mps, *one, *two[1:], *three[2:], *four[3:], *five[4:], six[5]]


def _nested(upper: State, size: int) -> Matrix:
    """Return a symmetric matrix row by row."""
    return tuple(tuple(upper[triangle(size, row, column)] for column in range(size)) for row in range(size))


def _part(numbers: bytes, first: int, count: int) -> State:
    """Return some of the numbers."""
    return kernel.packing(count).unpack_from(numbers, first * kernel.DOUBLE)
