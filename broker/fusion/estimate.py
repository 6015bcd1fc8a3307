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
* a report that no model can explain is not taken; five in a row, and the estimate begins again at the newest.

Sources: Blom and Bar-Shalom 1988 (interacting models), Schmidt 1966 (consider states), Niehsen 2002 (fast covariance
intersection). The figures below are judgement, tried on invented trajectories; see tests/broker/fusion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from broker import geodesy
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.fusion.contribution import Report, TrackKey

__all__ = ["Estimate", "Matrix", "State", "absorb", "advance", "merged", "start"]

State: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[tuple[float, ...], ...]

BURNOUT_RATE_PS: Final = 1.0 / 80.0
REIGNITION_RATE_PS: Final = 1.0 / 3000.0
REIGNITION_SIGMA_MPS2: Final = 20.0
JERK_DENSITY: Final = 4.0  # m2/s5: about 2 m/s2 of change in a second
COAST_DENSITY: Final = 1e-6  # m2/s3: what gravity with J2 leaves out
DRAG_DOUBT: Final = 0.5  # of the drag: nobody knows the body's
DRAG_DOUBT_S: Final = 10.0  # for so long it stays wrong in the same direction
AIR_STEP_S: Final = 1.0
VACUUM_STEP_S: Final = 10.0
AIR_TOP_M: Final = 100_000.0
GAP_MAX_S: Final = 1_800.0  # after a longer silence an object begins anew
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
    return _mixture(
        burning,
        estimate.burning_state[:6],
        tuple(row[:6] for row in estimate.burning_noise[:6]),
        estimate.falling_state,
        estimate.falling_noise,
    )


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
        return _kept(estimate, refused=0, taken=True)  # the same information once more
    predicted = advance(estimate, report.time_ns)
    if report.bias_m > 0.0:
        predicted = _considered(predicted, report, track)
    taken = _update(predicted, report, track, common=common)
    if taken is not None:
        return taken
    refused = estimate.refused_in_a_row + 1
    if refused >= REFUSED_IN_A_ROW_MAX:
        return _again(estimate, report, track)
    return _kept(predicted, refused=refused, taken=False)


def _again(estimate: Estimate, report: Report, track: TrackKey) -> Estimate:
    """Begin again at a report."""
    fresh = start(report, track)
    return Estimate(
        fresh.time_ns,
        fresh.burning_state,
        fresh.burning_noise,
        fresh.falling_state,
        fresh.falling_noise,
        fresh.burning_probability,
        fresh.biases,
        restarts=estimate.restarts + 1,
    )


def _kept(estimate: Estimate, *, refused: int, taken: bool) -> Estimate:
    """Return the estimate with another word on its newest report."""
    return Estimate(
        estimate.time_ns,
        estimate.burning_state,
        estimate.burning_noise,
        estimate.falling_state,
        estimate.falling_noise,
        estimate.burning_probability,
        estimate.biases,
        refused,
        taken,
        estimate.restarts,
    )


def _considered(estimate: Estimate, report: Report, track: TrackKey) -> Estimate:
    """Note the bias of a coarse track, or that it has just been used again."""
    nine: Matrix = ((0.0, 0.0, 0.0),) * 9
    found = next((bias for bias in estimate.biases if bias.track == track), None)
    burning, falling = (nine, nine[:6]) if found is None else (found.burning, found.falling)
    variance = report.bias_m * report.bias_m if found is None else found.variance
    others = tuple(bias for bias in estimate.biases if bias.track != track)
    return Estimate(
        estimate.time_ns,
        estimate.burning_state,
        estimate.burning_noise,
        estimate.falling_state,
        estimate.falling_noise,
        estimate.burning_probability,
        (*others, Bias(track, variance, report.time_ns, burning, falling)),
        estimate.refused_in_a_row,
        estimate.taken,
        estimate.restarts,
    )


# --- time passes ------------------------------------------------------------------------------------------------------


def _mix(estimate: Estimate, step_s: float) -> Estimate:
    """Let the motor burn out or start again with its probability in this time."""
    out, back = 1.0 - math.exp(-step_s * BURNOUT_RATE_PS), 1.0 - math.exp(-step_s * REIGNITION_RATE_PS)
    burning, falling = estimate.burning_probability, 1.0 - estimate.burning_probability
    after = burning * (1.0 - out) + falling * back
    stays, comes = burning * (1.0 - out) / after, burning * out / (1.0 - after)
    padded_state, padded_noise = _with_push(estimate)
    burning_state, burning_noise = _mixture(
        stays, estimate.burning_state, estimate.burning_noise, padded_state, padded_noise
    )
    falling_state, falling_noise = _mixture(
        comes,
        estimate.burning_state[:6],
        tuple(row[:6] for row in estimate.burning_noise[:6]),
        estimate.falling_state,
        estimate.falling_noise,
    )
    nothing = ((0.0, 0.0, 0.0),) * 3
    biases = tuple(
        Bias(
            bias.track,
            bias.variance,
            bias.last_ns,
            _weighed(stays, bias.burning, bias.falling + nothing),
            _weighed(comes, bias.burning[:6], bias.falling),
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


def _mixture(weight: float, one: State, one_noise: Matrix, two: State, two_noise: Matrix) -> tuple[State, Matrix]:
    """Return mean and covariance of two Gaussians, the first weighted so."""
    rest = 1.0 - weight
    between = weight * rest
    apart = [a - b for a, b in zip(one, two, strict=True)]
    noise = tuple(
        tuple(
            [weight * a + rest * b + between * away * d for a, b, d in zip(row_one, row_two, apart, strict=True)],
        )
        for row_one, row_two, away in zip(one_noise, two_noise, apart, strict=True)
    )
    return tuple([weight * a + rest * b for a, b in zip(one, two, strict=True)]), noise


def _weighed(weight: float, one: Matrix, two: Matrix) -> Matrix:
    """Return the weighted mean of two matrices."""
    rest = 1.0 - weight
    return tuple(
        tuple([weight * a + rest * b for a, b in zip(row_one, row_two, strict=True)])
        for row_one, row_two in zip(one, two, strict=True)
    )


def _step(estimate: Estimate, step_ns: int) -> Estimate:
    """Move both models on by one step."""
    step_s = step_ns / SECOND_NS
    flow, doubt = _falling_flow(estimate.falling_state, step_s)
    falling_noise = _plus_white(_sandwich(flow, estimate.falling_noise), doubt, step_s)
    biases = tuple(
        Bias(
            bias.track,
            bias.variance,
            bias.last_ns,
            _times(_burning_flow(step_s), bias.burning),
            _times(flow, bias.falling),
        )
        for bias in estimate.biases
    )
    return Estimate(
        estimate.time_ns + step_ns,
        _burning_moved(estimate.burning_state, step_s),
        _burning_spread(estimate.burning_noise, step_s),
        _falling_moved(estimate.falling_state, step_s),
        falling_noise,
        estimate.burning_probability,
        biases,
        estimate.refused_in_a_row,
        estimate.taken,
        estimate.restarts,
    )


def _burning_moved(state: State, step_s: float) -> State:
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


def _without_air(position: geodesy.Vector, velocity: geodesy.Vector) -> geodesy.Vector:
    """Return gravity, Coriolis and centrifugal acceleration: drag is part of the motor's push."""
    gx, gy, gz = geodesy.gravity(*position)
    turn = geodesy.EARTH_RATE_RADPS
    return (
        gx + turn * (turn * position[0] + 2.0 * velocity[1]),
        gy + turn * (turn * position[1] - 2.0 * velocity[0]),
        gz,
    )


def _burning_spread(noise: Matrix, step_s: float) -> Matrix:
    """Return the burning model's covariance: three integrations and white jerk."""
    half = 0.5 * step_s * step_s
    moved = [
        *(
            [p + step_s * v + half * a for p, v, a in zip(noise[k], noise[k + 3], noise[k + 6], strict=True)]
            for k in range(3)
        ),
        *([v + step_s * a for v, a in zip(noise[k + 3], noise[k + 6], strict=True)] for k in range(3)),
        *(list(noise[k + 6]) for k in range(3)),
    ]
    rows = [
        [
            r[0] + step_s * r[3] + half * r[6],
            r[1] + step_s * r[4] + half * r[7],
            r[2] + step_s * r[5] + half * r[8],
            r[3] + step_s * r[6],
            r[4] + step_s * r[7],
            r[5] + step_s * r[8],
            r[6],
            r[7],
            r[8],
        ]
        for r in moved
    ]
    jerk = JERK_DENSITY * step_s
    squared = step_s * step_s
    for k in range(3):
        rows[k][k] += jerk * squared * squared / 20.0
        rows[k + 3][k + 3] += jerk * squared / 3.0
        rows[k + 6][k + 6] += jerk
        for row, column, term in (
            (k, k + 3, jerk * squared * step_s / 8.0),
            (k, k + 6, jerk * squared / 6.0),
            (k + 3, k + 6, jerk * step_s / 2.0),
        ):
            rows[row][column] += term
            rows[column][row] += term
    return tuple([tuple(row) for row in rows])


def _burning_flow(step_s: float) -> Matrix:
    """Return how the burning model's later state depends on its earlier one."""
    half = 0.5 * step_s * step_s
    rows = []
    for k in range(9):
        row = [0.0] * 9
        row[k] = 1.0
        if k + 3 < 9:  # noqa: PLR2004 - nine terms
            row[k + 3] = step_s
        if k + 6 < 9:  # noqa: PLR2004 - nine terms
            row[k + 6] = half
        rows.append(tuple(row))
    return tuple(rows)


def _falling_moved(state: State, step_s: float) -> State:
    """Return the falling model's mean (Runge-Kutta of fourth order)."""
    x, y, z, u, v, w = state
    half = 0.5 * step_s
    a1, b1, c1 = geodesy.ballistic_acceleration((x, y, z), (u, v, w))
    u2, v2, w2 = u + half * a1, v + half * b1, w + half * c1
    a2, b2, c2 = geodesy.ballistic_acceleration((x + half * u, y + half * v, z + half * w), (u2, v2, w2))
    u3, v3, w3 = u + half * a2, v + half * b2, w + half * c2
    a3, b3, c3 = geodesy.ballistic_acceleration((x + half * u2, y + half * v2, z + half * w2), (u3, v3, w3))
    u4, v4, w4 = u + step_s * a3, v + step_s * b3, w + step_s * c3
    a4, b4, c4 = geodesy.ballistic_acceleration((x + step_s * u3, y + step_s * v3, z + step_s * w3), (u4, v4, w4))
    sixth = step_s / 6.0
    return (
        x + sixth * (u + 2.0 * (u2 + u3) + u4),
        y + sixth * (v + 2.0 * (v2 + v3) + v4),
        z + sixth * (w + 2.0 * (w2 + w3) + w4),
        u + sixth * (a1 + 2.0 * (a2 + a3) + a4),
        v + sixth * (b1 + 2.0 * (b2 + b3) + b4),
        w + sixth * (c1 + 2.0 * (c2 + c3) + c4),
    )


def _falling_flow(state: State, step_s: float) -> tuple[Matrix, float]:
    """Return how the falling model's later state depends on its earlier one, and the density of its white noise."""
    x, y, z, u, v, w = state
    squared = x * x + y * y + z * z
    pull = geodesy.GM_M3PS2 / (squared * math.sqrt(squared))
    turn = geodesy.EARTH_RATE_RADPS
    three = 3.0 * pull / squared
    spin = turn * turn - pull
    g_xx, g_yy, g_zz = three * x * x + spin, three * y * y + spin, three * z * z - pull
    g_xy, g_xz, g_yz = three * x * y, three * x * z, three * y * z
    speed = math.sqrt(u * u + v * v + w * w)
    drag = geodesy.drag_per_speed((x, y, z), speed)
    half, cube = 0.5 * step_s * step_s, step_s * step_s * step_s / 6.0
    turned, slowed = 2.0 * turn, -drag
    flow = (
        (1.0 + half * g_xx, half * g_xy, half * g_xz,
         step_s + half * slowed + cube * g_xx, half * turned + cube * g_xy, cube * g_xz),
        (half * g_xy, 1.0 + half * g_yy, half * g_yz,
         cube * g_xy - half * turned, step_s + half * slowed + cube * g_yy, cube * g_yz),
        (half * g_xz, half * g_yz, 1.0 + half * g_zz,
         cube * g_xz, cube * g_yz, step_s + half * slowed + cube * g_zz),
        (step_s * g_xx, step_s * g_xy, step_s * g_xz,
         1.0 + step_s * slowed + half * g_xx, step_s * turned + half * g_xy, half * g_xz),
        (step_s * g_xy, step_s * g_yy, step_s * g_yz,
         half * g_xy - step_s * turned, 1.0 + step_s * slowed + half * g_yy, half * g_yz),
        (step_s * g_xz, step_s * g_yz, step_s * g_zz,
         half * g_xz, half * g_yz, 1.0 + step_s * slowed + half * g_zz),
    )  # fmt: skip
    doubt = DRAG_DOUBT * drag * speed
    return flow, COAST_DENSITY + doubt * doubt * DRAG_DOUBT_S


def _sandwich(flow: Matrix, noise: Matrix) -> Matrix:
    """Return flow * noise * flow', six by six."""
    n0, n1, n2, n3, n4, n5 = noise
    half = [
        [
            f0 * a + f1 * b + f2 * c + f3 * d + f4 * e + f5 * g
            for a, b, c, d, e, g in zip(n0, n1, n2, n3, n4, n5, strict=True)
        ]
        for f0, f1, f2, f3, f4, f5 in flow
    ]
    return tuple(
        [
            tuple([f0 * a + f1 * b + f2 * c + f3 * d + f4 * e + f5 * g for f0, f1, f2, f3, f4, f5 in flow])
            for a, b, c, d, e, g in half
        ]
    )


def _times(flow: Matrix, rows: Matrix) -> Matrix:
    """Return flow * rows, where rows have three columns."""
    return tuple(
        [
            tuple([sum([f * row[axis] for f, row in zip(weights, rows, strict=True)]) for axis in range(3)])
            for weights in flow
        ]
    )


def _plus_white(noise: Matrix, density: float, step_s: float) -> Matrix:
    """Add what white acceleration of that density does to six terms."""
    rows = [list(row) for row in noise]
    place, cross, speed = density * step_s * step_s * step_s / 3.0, density * step_s * step_s / 2.0, density * step_s
    for k in range(3):
        rows[k][k] += place
        rows[k + 3][k + 3] += speed
        rows[k][k + 3] += cross
        rows[k + 3][k] += cross
    return tuple([tuple(row) for row in rows])


# --- a report comes ---------------------------------------------------------------------------------------------------


def _update(estimate: Estimate, report: Report, track: TrackKey, *, common: bool) -> Estimate | None:
    """Let both models take a report; None if neither can explain it."""
    # A coarse velocity is of use for a beginning only: its rounding does not average out.
    size = 3 if report.velocity_mps is None or report.bias_m > 0.0 else 6
    measured = (*report.position_m, *(report.velocity_mps or ()))[:size]
    noise = tuple([row[:size] for row in report.noise[:size]])
    bias = next((bias for bias in estimate.biases if bias.track == track), None)
    others = tuple([other for other in estimate.biases if other.track != track])
    burning = _corrected(
        estimate.burning_state,
        estimate.burning_noise,
        measured,
        noise,
        _links([other.burning for other in others], bias.burning if bias else None, bias.variance if bias else 0.0),
        common=common,
    )
    falling = _corrected(
        estimate.falling_state,
        estimate.falling_noise,
        measured,
        noise,
        _links([other.falling for other in others], bias.falling if bias else None, bias.variance if bias else 0.0),
        common=common,
    )
    if min(burning.distance, falling.distance) > GATE[size]:
        return None
    links = list(zip(burning.links, falling.links, strict=True))
    biases = [
        Bias(other.track, other.variance, other.last_ns, *link)
        for other, link in zip((*others, bias) if bias else others, links, strict=True)
        if other is not None
    ]
    return Estimate(
        estimate.time_ns,
        burning.state,
        burning.noise,
        falling.state,
        falling.noise,
        _probability(estimate.burning_probability, burning.log_likelihood - falling.log_likelihood),
        tuple(biases),
        restarts=estimate.restarts,
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


@dataclass(frozen=True, slots=True)
class _Links:
    """How a model depends on the biases of other tracks, and on the one of the track that reports (last)."""

    others: list[Matrix]
    own: Matrix | None
    variance: float


def _links(others: list[Matrix], own: Matrix | None, variance: float) -> _Links:
    return _Links(others, own, variance)


@dataclass(frozen=True, slots=True)
class _Corrected:
    """One model after a report."""

    state: State
    noise: Matrix
    links: list[Matrix]
    distance: float
    log_likelihood: float


def _corrected(
    state: State, noise: Matrix, measured: Sequence[float], measured_noise: Matrix, links: _Links, *, common: bool
) -> _Corrected:
    """Return one model after a measurement of its first three or six terms (Cholesky, no inverse)."""
    size, terms = len(measured), len(state)
    if common:
        noise, measured_noise = _intersected(noise, measured_noise)
    # Column by column: how each term of the state goes with each term measured.
    columns = [list(noise[k]) for k in range(size)]
    spread = [[p + r for p, r in zip(noise[k], measured_noise[k], strict=False)] for k in range(size)]
    if links.own is not None:
        for k in range(3):
            columns[k] = [a + row[k] for a, row in zip(columns[k], links.own, strict=True)]
            for j in range(3):
                spread[k][j] += links.own[k][j] + links.own[j][k]
            spread[k][k] += links.variance
    lower, log_det = _cholesky(spread)
    distance = 0.0
    whitened: list[float] = []
    gains: list[list[float]] = []
    for k in range(size):
        row = lower[k]
        miss, column = measured[k] - state[k], columns[k]
        for j in range(k):
            factor = row[j]
            miss -= factor * whitened[j]
            column = [a - factor * b for a, b in zip(column, gains[j], strict=True)]
        inverse = 1.0 / row[k]
        miss *= inverse
        whitened.append(miss)
        gains.append([a * inverse for a in column])
        distance += miss * miss
    after = list(state)
    for miss, gain in zip(whitened, gains, strict=True):
        after = [a + miss * b for a, b in zip(after, gain, strict=True)]
    return _Corrected(
        tuple(after),
        _reduced(noise, gains, terms),
        _relinked(links, lower, gains, size),
        distance,
        -0.5 * (distance + log_det),
    )


def _intersected(noise: Matrix, measured_noise: Matrix) -> tuple[Matrix, Matrix]:
    """Weigh both so that nothing is counted twice, whatever they have in common (fast covariance intersection)."""
    own = noise[0][0] + noise[1][1] + noise[2][2]
    other = measured_noise[0][0] + measured_noise[1][1] + measured_noise[2][2]
    weight = min(max(other / (own + other), 0.05), 0.999)
    one, two = 1.0 / weight, 1.0 / (1.0 - weight)
    return (
        tuple([tuple([one * a for a in row]) for row in noise]),
        tuple([tuple([two * a for a in row]) for row in measured_noise]),
    )


def _cholesky(matrix: list[list[float]]) -> tuple[list[list[float]], float]:
    """Return the lower factor and the logarithm of the determinant. A pivot that rounding has eaten is made 1 m2."""
    lower: list[list[float]] = []
    log_det = 0.0
    for row in range(len(matrix)):
        line: list[float] = []
        for column in range(row):
            rest, above = matrix[row][column], lower[column]
            for k in range(column):
                rest -= line[k] * above[k]
            line.append(rest / above[column])
        pivot = matrix[row][row]
        for term in line:
            pivot -= term * term
        if pivot <= 0.0:
            pivot = 1.0
        log_det += math.log(pivot)
        line.append(math.sqrt(pivot))
        lower.append(line)
    return lower, log_det


def _reduced(noise: Matrix, gains: list[list[float]], terms: int) -> Matrix:
    """Return the covariance less what the measurement explained."""
    if len(gains) == 3:  # noqa: PLR2004 - a position
        g0, g1, g2 = gains
        return tuple(
            [
                tuple([p - a * x - b * y - c * z for p, x, y, z in zip(noise[k], g0, g1, g2, strict=True)])
                for k, a, b, c in zip(range(terms), g0, g1, g2, strict=True)
            ]
        )
    g0, g1, g2, g3, g4, g5 = gains
    return tuple(
        [
            tuple(
                [
                    p - a * x - b * y - c * z - d * u - e * v - f * w
                    for p, x, y, z, u, v, w in zip(noise[k], g0, g1, g2, g3, g4, g5, strict=True)
                ]
            )
            for k, a, b, c, d, e, f in zip(range(terms), g0, g1, g2, g3, g4, g5, strict=True)
        ]
    )


def _relinked(links: _Links, lower: list[list[float]], gains: list[list[float]], size: int) -> list[Matrix]:
    """Return how the corrected model depends on the biases: others first, the reporting track's own last."""
    every = [*links.others] if links.own is None else [*links.others, links.own]
    after = []
    for index, link in enumerate(every):
        is_own = index == len(links.others)
        felt: list[list[float]] = []  # the whitened measurement's dependence on this bias
        for k in range(size):
            line = list(link[k])
            if is_own and k < 3:  # noqa: PLR2004 - a vector
                line[k] += links.variance
            for j in range(k):
                line = [a - lower[k][j] * b for a, b in zip(line, felt[j], strict=True)]
            felt.append([a / lower[k][k] for a in line])
        after.append(
            tuple(
                tuple(
                    row[axis] - sum([gain[k] * line[axis] for gain, line in zip(gains, felt, strict=True)])
                    for axis in range(3)
                )
                for k, row in enumerate(link)
            )
        )
    return after


def distance_squared(miss: Sequence[float], spread: list[list[float]]) -> tuple[float, float]:
    """Return the squared distance normalised by a covariance, and the logarithm of its determinant."""
    lower, log_det = _cholesky(spread)
    distance, whitened = 0.0, []
    for k, row in enumerate(lower):
        rest = miss[k]
        for j in range(k):
            rest -= row[j] * whitened[j]
        whitened.append(rest / row[k])
        distance += whitened[-1] * whitened[-1]
    return distance, log_det
