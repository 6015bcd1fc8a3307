"""Where an object is and how it moves: an interacting multiple model of two extended Kalman filters in ECEF.

    burning   position, velocity and the motor's acceleration, which wanders (white jerk); nine terms
    falling   position and velocity under gravity with J2, the Earth's rotation and nominal drag; six terms

Everything is scalar arithmetic in a fixed order, one object at a time: no linear algebra library is asked, because
libraries change the last bits with the number of objects in a call and with the processor. Matrices are tuples of rows.
An Estimate is a value; every step returns a new one, so any of them can be kept and continued from.

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

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion import models
from broker.fusion.kalman import Links, corrected
from broker.fusion.unrolled import BURNING, FALLING, TIMES, WEIGHED, mixture_of
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.fusion.contribution import Report, TrackKey
    from broker.fusion.kalman import Matrix, State

__all__ = ["Estimate", "absorb", "advance", "merged", "start", "velocity_variance"]

BURNOUT_RATE_PS: Final = 1.0 / 80.0
REIGNITION_RATE_PS: Final = 1.0 / 3000.0
REIGNITION_SIGMA_MPS2: Final = 20.0
AIR_STEP_S: Final = 1.0
VACUUM_STEP_S: Final = 10.0
AIR_TOP_M: Final = 100_000.0
GAP_MAX_S: Final = 600.0  # after a longer silence an object begins anew
START_SPEED_SIGMA_MPS: Final = 2_500.0
START_PUSH_MPS2: Final = 22.0  # upwards: gravity and a little more
START_PUSH_SIGMA_MPS2: Final = 25.0
START_BURNING: Final = {content_pb2.PHASE_BOOST: 0.95, content_pb2.PHASE_COAST: 0.05, content_pb2.PHASE_DESCENT: 0.02}
START_BURNING_LOW: Final = 0.8  # phase unknown, below 80 km
START_BURNING_HIGH: Final = 0.4
LOW_M: Final = 80_000.0
PROBABILITY_LEAST: Final = 1e-6
GATE: Final = {3: 45.0, 6: 60.0}  # squared normalised distance that chance does not reach
REFUSED_IN_A_ROW_MAX: Final = 5
MUCH_BETTER: Final = 0.1  # of a coarse report's bias: nothing is learnt of what is known within this
QUIET_NS: Final = 10 * SECOND_NS  # an object that only coarse reports are heard of for longer is moved on by them


@dataclass(frozen=True, slots=True)
class Bias:
    """What a coarse track may be off by, and how both models' states depend on it (rows of three)."""

    track: TrackKey
    variance: float
    last_ns: int
    burning: Matrix
    falling: Matrix


@dataclass(frozen=True, slots=True)
class Estimate:
    """Both models after one report, at that report's time."""

    time_ns: int
    burning_state: State
    burning_noise: Matrix
    falling_state: State
    falling_noise: Matrix
    burning_probability: float
    biases: tuple[Bias, ...] = ()
    refused_in_a_row: int = 0
    taken: bool = True  # whether the newest report went in
    restarts: int = 0


def start(report: Report, track: TrackKey) -> Estimate:
    """Begin an object at its first report. What the report does not say is unknown within physical bounds."""
    velocity = report.velocity_mps or (0.0, 0.0, 0.0)
    given = len(report.noise)
    spread = [[0.0] * 9 for _ in range(9)]
    for row in range(given):
        spread[row][:given] = report.noise[row]
    for axis in range(3):
        spread[axis][axis] += report.bias_m * report.bias_m
        if report.velocity_mps is None:
            spread[3 + axis][3 + axis] = START_SPEED_SIGMA_MPS * START_SPEED_SIGMA_MPS
        spread[6 + axis][6 + axis] = START_PUSH_SIGMA_MPS2 * START_PUSH_SIGMA_MPS2
    lat_deg, lon_deg, height_m = geodesy.geodetic(*report.position_m)
    up = geodesy.enu_axes(lat_deg, lon_deg)[2]
    burning = START_BURNING.get(report.phase, START_BURNING_LOW if height_m < LOW_M else START_BURNING_HIGH)
    state = (*report.position_m, *velocity)
    biases: tuple[Bias, ...] = ()
    if report.bias_m > 0.0:
        variance = report.bias_m * report.bias_m
        link = tuple(tuple(variance if row == axis else 0.0 for axis in range(3)) for row in range(9))
        biases = (Bias(track, variance, report.time_ns, link, link[:6]),)
    return Estimate(
        time_ns=report.time_ns,
        burning_state=(*state, START_PUSH_MPS2 * up[0], START_PUSH_MPS2 * up[1], START_PUSH_MPS2 * up[2]),
        burning_noise=tuple(tuple(row) for row in spread),
        falling_state=state,
        falling_noise=tuple(tuple(row[:6]) for row in spread[:6]),
        burning_probability=burning,
        biases=biases,
    )


def merged(estimate: Estimate) -> tuple[State, Matrix]:
    """Return position and velocity with their covariance (6, 6x6), both models weighed."""
    burning = estimate.burning_probability
    return mixture_of(
        burning,
        estimate.burning_state[:6],
        tuple(row[:6] for row in estimate.burning_noise[:6]),
        estimate.falling_state,
        estimate.falling_noise,
    )


def velocity_variance(estimate: Estimate) -> float:
    """Return how well the velocity is known by the falling model, m2/s2: what decides where it comes down."""
    noise = estimate.falling_noise
    return noise[3][3] + noise[4][4] + noise[5][5]


def advance(estimate: Estimate, time_ns: int) -> Estimate:
    """Return the estimate at a later time; unchanged if it is not later."""
    while estimate.time_ns < time_ns:
        low = geodesy.height_m(*estimate.falling_state[:3]) < AIR_TOP_M
        longest_ns = int((AIR_STEP_S if low else VACUUM_STEP_S) * SECOND_NS)
        step_ns = min(time_ns - estimate.time_ns, longest_ns)
        estimate = _step(_mix(estimate, step_ns / SECOND_NS), step_ns)
    return estimate


def absorb(estimate: Estimate, report: Report, track: TrackKey, *, common: bool) -> Estimate:
    """Return the estimate after the next report of the object. `common`: made from what may already be in."""
    if report.time_ns - estimate.time_ns > GAP_MAX_S * SECOND_NS:
        return _again(estimate, report, track)
    bias = next((bias for bias in estimate.biases if bias.track == track), None)
    if bias is not None and report.time_ns - bias.last_ns < report.spacing_ns:
        return replace(estimate, refused_in_a_row=0, taken=True)  # the same information once more
    predicted = advance(estimate, report.time_ns)
    if estimate.biases and report.velocity_mps is not None and _says_better(report, predicted):
        return replace(start(report, track), restarts=estimate.restarts)
    if report.bias_m > 0.0:
        predicted = _considered(predicted, report, track)
    taken = _update(predicted, report, track, common=common)
    if taken is not None:
        if report.bias_m > 0.0 and _is_known_better(predicted, report):
            taken = predicted if report.time_ns - estimate.time_ns > QUIET_NS else estimate
        return taken if taken.taken else replace(taken, taken=True)
    refused = estimate.refused_in_a_row + 1
    if refused >= REFUSED_IN_A_ROW_MAX:
        return _again(estimate, report, track)
    return replace(predicted, refused_in_a_row=refused, taken=False)


def _is_known_better(predicted: Estimate, report: Report) -> bool:
    """Say whether a coarse report speaks of what is known much better than it can say."""
    least_m = MUCH_BETTER * report.bias_m
    return _spread_m2(merged(predicted)[1]) < 3.0 * least_m * least_m


def _says_better(report: Report, predicted: Estimate) -> bool:
    """Say whether a report is much better than all that coarse ones have said before it, its velocity no worse."""
    noise, said = merged(predicted)[1], report.noise
    said_m2 = _spread_m2(said) + 3.0 * report.bias_m * report.bias_m
    if said_m2 >= MUCH_BETTER * MUCH_BETTER * _spread_m2(noise):
        return False
    return said[3][3] + said[4][4] + said[5][5] <= noise[3][3] + noise[4][4] + noise[5][5]


def _spread_m2(noise: Matrix) -> float:
    """Return the sum of a position's variances."""
    return noise[0][0] + noise[1][1] + noise[2][2]


def _again(estimate: Estimate, report: Report, track: TrackKey) -> Estimate:
    """Begin again at a report."""
    return replace(start(report, track), restarts=estimate.restarts + 1)


def _considered(estimate: Estimate, report: Report, track: TrackKey) -> Estimate:
    """Note the bias of a coarse track, or that it has just been used again."""
    nine: Matrix = ((0.0, 0.0, 0.0),) * 9
    found = next((bias for bias in estimate.biases if bias.track == track), None)
    burning, falling = (nine, nine[:6]) if found is None else (found.burning, found.falling)
    variance = report.bias_m * report.bias_m if found is None else found.variance
    others = tuple(bias for bias in estimate.biases if bias.track != track)
    return replace(estimate, biases=(*others, Bias(track, variance, report.time_ns, burning, falling)))


# --- time passes ------------------------------------------------------------------------------------------------------


def _mix(estimate: Estimate, step_s: float) -> Estimate:
    """Let the motor burn out or start again with its probability in this time."""
    out, back = 1.0 - math.exp(-step_s * BURNOUT_RATE_PS), 1.0 - math.exp(-step_s * REIGNITION_RATE_PS)
    burning, falling = estimate.burning_probability, 1.0 - estimate.burning_probability
    after = burning * (1.0 - out) + falling * back
    stays, comes = burning * (1.0 - out) / after, burning * out / (1.0 - after)
    padded_state, padded_noise = _with_push(estimate)
    burning_state, burning_noise = mixture_of(
        stays, estimate.burning_state, estimate.burning_noise, padded_state, padded_noise
    )
    falling_state, falling_noise = mixture_of(
        comes,
        estimate.burning_state[:6],
        tuple(row[:6] for row in estimate.burning_noise[:6]),
        estimate.falling_state,
        estimate.falling_noise,
    )
    nothing = ((0.0, 0.0, 0.0),) * 3
    biases = tuple(
        replace(
            bias,
            burning=WEIGHED[BURNING](stays, bias.burning, bias.falling + nothing),
            falling=WEIGHED[FALLING](comes, bias.burning[:6], bias.falling),
        )
        for bias in estimate.biases
    )
    return Estimate(
        estimate.time_ns,
        burning_state,
        burning_noise,
        falling_state,
        falling_noise,
        min(max(after, PROBABILITY_LEAST), 1.0 - PROBABILITY_LEAST),
        biases,
        estimate.refused_in_a_row,
        estimate.taken,
        estimate.restarts,
    )


def _with_push(estimate: Estimate) -> tuple[State, Matrix]:
    """Return the falling model as a burning one whose motor has just started."""
    push = REIGNITION_SIGMA_MPS2 * REIGNITION_SIGMA_MPS2
    rows = [(*row, 0.0, 0.0, 0.0) for row in estimate.falling_noise]
    zeros = (0.0,) * 6
    rows += [(*zeros, push, 0.0, 0.0), (*zeros, 0.0, push, 0.0), (*zeros, 0.0, 0.0, push)]
    return (*estimate.falling_state, 0.0, 0.0, 0.0), tuple(rows)


def _step(estimate: Estimate, step_ns: int) -> Estimate:
    """Move both models on by one step."""
    step_s = step_ns / SECOND_NS
    flow, doubt = models.falling_flow(estimate.falling_state, step_s)
    falling_noise = models.falling_spread(flow, estimate.falling_noise, doubt, step_s)
    biases = tuple(
        replace(
            bias,
            burning=TIMES[BURNING](models.burning_flow(step_s), bias.burning),
            falling=TIMES[FALLING](flow, bias.falling),
        )
        for bias in estimate.biases
    )
    return Estimate(
        estimate.time_ns + step_ns,
        models.burning_moved(estimate.burning_state, step_s),
        models.burning_spread(estimate.burning_noise, step_s),
        models.falling_moved(estimate.falling_state, step_s),
        falling_noise,
        estimate.burning_probability,
        biases,
        estimate.refused_in_a_row,
        estimate.taken,
        estimate.restarts,
    )


# --- a report comes ---------------------------------------------------------------------------------------------------


def _update(estimate: Estimate, report: Report, track: TrackKey, *, common: bool) -> Estimate | None:
    """Let both models take a report; None if neither can explain it."""
    # A coarse velocity is of use for a beginning only: its rounding does not average out.
    size = 3 if report.velocity_mps is None or report.bias_m > 0.0 else 6
    measured = (*report.position_m, *(report.velocity_mps or ()))[:size]
    noise = tuple([row[:size] for row in report.noise[:size]])
    is_coarse = report.bias_m > 0.0
    own = next((bias for bias in estimate.biases if is_coarse and bias.track == track), None)
    others = [bias for bias in estimate.biases if bias is not own]
    variance = own.variance if own else 0.0
    burning = corrected(
        estimate.burning_state,
        estimate.burning_noise,
        measured,
        noise,
        Links([bias.burning for bias in others], own.burning if own else None, variance),
        common=common,
    )
    falling = corrected(
        estimate.falling_state,
        estimate.falling_noise,
        measured,
        noise,
        Links([bias.falling for bias in others], own.falling if own else None, variance),
        common=common,
    )
    if min(burning.distance, falling.distance) > GATE[size]:
        return None
    biases = [*others, own] if own else others
    return Estimate(
        estimate.time_ns,
        burning.state,
        burning.noise,
        falling.state,
        falling.noise,
        _probability(estimate.burning_probability, burning.log_likelihood - falling.log_likelihood),
        tuple(
            replace(bias, burning=one, falling=two)
            for bias, one, two in zip(biases, burning.links, falling.links, strict=True)
        ),
        0,
        True,
        estimate.restarts,
    )


def _probability(before: float, log_ratio: float) -> float:
    """Return the probability of burning after a report that favours it by so much."""
    log_odds = math.log(before / (1.0 - before)) + log_ratio
    if log_odds > 0.0:
        after = 1.0 / (1.0 + math.exp(-min(log_odds, 700.0)))
    else:
        odds = math.exp(max(log_odds, -700.0))
        after = odds / (1.0 + odds)
    return min(max(after, PROBABILITY_LEAST), 1.0 - PROBABILITY_LEAST)
