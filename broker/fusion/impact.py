"""Where and when a falling object comes down, and where a rising one came from.

The fall is integrated to the ellipsoid with gravity, rotation and drag (Runge-Kutta of fourth order; steps of a minute
above the air, where that is good to a metre, and of seconds within it). The uncertainty goes along by divided
differences of second order, in the state and in the ballistic coefficient, which nobody knows (Nørgaard, Poulsen and
Ravn 2000: a covariance that is a sum of squares, whatever bends). While the motor burns there is no point of impact,
and none is given.

The ascent is read backwards from the first estimates of a burning object, with the proportions that rising with a
growing acceleration has. It is rough, and its spread says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from broker import geodesy
from broker.fusion.contribution import Launch, Place
from broker.fusion.estimate import merged
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.fusion.estimate import Estimate
    from broker.fusion.kalman import Matrix, State

__all__ = ["BURNING_MOST", "Ground", "Prediction", "ascent", "fall", "is_descending", "predict"]

BURNING_MOST: Final = 0.01  # above this probability of a burning motor there is no prediction
FLIGHT_MAX_S: Final = 5_400.0  # the longest flights reported took under 90 minutes
AXIS_MAX_M: Final = 2_000_000.0  # a wider area says nothing
AIR_M: Final = 110_000.0
VACUUM_STEP_S: Final = 60.0
AIR_STEP_MIN_S: Final = 1.0
AIR_STEP_MAX_S: Final = 8.0
BRAKING_MAX: Final = 0.7  # of the speed in one step
STEPS_MAX: Final = 4_000
COEFFICIENT_SIGMA: Final = 0.7  # of the logarithm: a factor of two either way
REACH_SQUARED: Final = 3.0  # of the differences, in variances: the kurtosis of a Gaussian
GROUND_TOLERANCE_M: Final = 0.01
SCALE_HEIGHTS_PER_STEP: Final = 0.8
NEAR_APOGEE_S: Final = 5.0  # there the parabola is good to a centimetre
APOGEE_STEPS_MAX: Final = 100
VACUUM: Final = 1e30  # a ballistic coefficient that no air can slow down

ASCENT_HEIGHT_MAX_M: Final = 80_000.0
ASCENT_SPEED_LEAST_MPS: Final = 30.0
ASCENT_TIME_FACTOR: Final = 2.3  # 2 at constant acceleration, 3 at one that grows from nothing
ASCENT_TIME_DOUBT: Final = 0.2
ASCENT_ACROSS_FACTOR: Final = 2.5
ASCENT_ACROSS_DOUBT: Final = 0.4
AZIMUTH_DOUBT_DEG: Final = 2.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """An impact: place and time with their uncertainty, and the highest point on the way."""

    time_ns: int
    time_sigma_s: float
    place: Place
    apogee_m: float
    based_on_ns: int


@dataclass(frozen=True, slots=True)
class Ground:
    """Where one trajectory ends."""

    after_s: float
    lat_deg: float
    lon_deg: float


def predict(estimate: Estimate) -> Prediction | None:
    """Return the impact; None while the motor may burn, or where the uncertainty is too great to say anything."""
    state, noise = merged(estimate)
    if estimate.burning_probability > BURNING_MOST and not is_descending(state, noise):
        return None
    middle = fall(state, 1.0)
    if middle is None:
        return None
    points: list[tuple[Ground, Ground]] = []
    for offset in _offsets(noise):
        pair = [
            fall(tuple([a + sign * b for a, b in zip(state, offset[:6], strict=True)]), math.exp(sign * offset[6]))
            for sign in (1.0, -1.0)
        ]
        if pair[0] is None or pair[1] is None:
            return None
        points.append((pair[0], pair[1]))
    return _prediction(estimate.time_ns, middle, points, runs.apogee_m(state))


def is_descending(state: State, noise: Matrix) -> bool:
    """Say whether an object certainly comes down through the air, where braking looks like a motor and is none."""
    x, y, z, u, v, w = state
    radius = math.sqrt(x * x + y * y + z * z)
    falling_mps = -(x * u + y * v + z * w) / radius
    sigma_mps = math.sqrt(noise[3][3] + noise[4][4] + noise[5][5])
    return falling_mps > 3.0 * sigma_mps and geodesy.height_m(x, y, z) < AIR_M


def fall(state: Sequence[float], coefficient_factor: float) -> Ground | None:
    """Return where a body in this state reaches the ground; None if it does not within 90 minutes.

    `coefficient_factor` multiplies the nominal ballistic coefficient.
    """
    after_s, end = runs.fallen(tuple(state), geodesy.BALLISTIC_COEFFICIENT_KGPM2 * coefficient_factor)
    if after_s < 0.0:
        return None
    lat_deg, lon_deg, _ = geodesy.geodetic(*end[:3])
    return Ground(after_s, lat_deg, lon_deg)


def fallen(state: State, coefficient: float) -> tuple[float, State]:
    """Return when a body in this state reaches the ground, and its state there; a time below 0 if it does not."""
    now, height_m, passed_s = state, geodesy.height_m(*state[:3]), 0.0
    for _ in range(STEPS_MAX):
        if height_m <= 0.0:
            break
        step_s = _step_s(now, height_m, coefficient)
        after = _moved(now, step_s, coefficient)
        after_m = geodesy.height_m(*after[:3])
        if after_m <= 0.0:
            step_s, after = _to_ground(now, step_s, coefficient)
            after_m = 0.0
        passed_s += step_s
        now, height_m = after, after_m
        if passed_s > FLIGHT_MAX_S:
            return -1.0, now
    return (passed_s, now) if height_m <= 0.0 else (-1.0, now)


class Runs(Protocol):
    """What of this module is worth compiling, as in `kernel`."""

    @property
    def fallen(self) -> Callable[[State, float], tuple[float, State]]:
        """Return `fallen`."""

    @property
    def apogee_m(self) -> Callable[[State], float]:
        """Return `apogee_m`."""


def ascent(estimate: Estimate) -> Launch | None:
    """Return when, where and in which direction a burning object left the ground; None if that cannot be told."""
    state, noise = merged(estimate)
    lat_deg, lon_deg, height_m = geodesy.geodetic(*state[:3])
    east, north, up = geodesy.enu_axes(lat_deg, lon_deg)
    velocity = state[3:]
    rising_mps = _dot(up, velocity)
    if not 0.0 < height_m < ASCENT_HEIGHT_MAX_M or rising_mps < ASCENT_SPEED_LEAST_MPS:
        return None
    if estimate.burning_probability < 0.5:  # noqa: PLR2004 - more likely than not
        return None
    taken_s = ASCENT_TIME_FACTOR * height_m / rising_mps
    rising_sigma = math.sqrt(max(_variance(noise, up, 3), 0.0))
    time_sigma_s = math.hypot(ASCENT_TIME_DOUBT * taken_s, taken_s * min(rising_sigma / rising_mps, 1.0))
    across_mps = math.hypot(_dot(east, velocity), _dot(north, velocity))
    back_m = across_mps * taken_s / ASCENT_ACROSS_FACTOR
    azimuth_deg = math.degrees(math.atan2(_dot(east, velocity), _dot(north, velocity))) % 360.0
    from_lat_deg, from_lon_deg = geodesy.destination(lat_deg, lon_deg, azimuth_deg + 180.0, back_m)
    across_m2 = max(_variance(noise, east, 3), _variance(noise, north, 3))
    spread_m2 = (
        (ASCENT_ACROSS_DOUBT * back_m) ** 2
        + across_m2 * (taken_s / ASCENT_ACROSS_FACTOR) ** 2
        + max(_variance(noise, east, 0), _variance(noise, north, 0))
    )
    known = across_mps * across_mps > 9.0 * across_m2
    return Launch(
        time_ns=estimate.time_ns - round(taken_s * SECOND_NS),
        time_sigma_s=time_sigma_s,
        place=Place(from_lat_deg, from_lon_deg, spread_m2, 0.0, spread_m2),
        azimuth_deg=azimuth_deg if known else None,
        azimuth_sigma_deg=AZIMUTH_DOUBT_DEG + math.degrees(math.sqrt(across_m2) / across_mps) if known else 180.0,
    )


def _prediction(
    time_ns: int, middle: Ground, points: Sequence[tuple[Ground, Ground]], apogee_m: float
) -> Prediction | None:
    """Return mean and spread of the impacts of pairs of points, in the plane at the middle one."""
    slopes, bends = [], []
    for one, other in points:
        ahead, behind = _from(middle, one), _from(middle, other)
        slopes.append([0.5 * (a - b) for a, b in zip(ahead, behind, strict=True)])
        bends.append([0.5 * (a + b) for a, b in zip(ahead, behind, strict=True)])
    east, north, after_s = (math.fsum([bend[axis] for bend in bends]) / REACH_SQUARED for axis in range(3))

    def spread(a: int, b: int) -> float:
        straight = math.fsum([slope[a] * slope[b] for slope in slopes])
        bent = math.fsum([bend[a] * bend[b] for bend in bends])
        return (straight + bent * (REACH_SQUARED - 1.0) / REACH_SQUARED) / REACH_SQUARED

    place = Place(
        *geodesy.destination(
            middle.lat_deg, middle.lon_deg, math.degrees(math.atan2(east, north)), math.hypot(east, north)
        ),
        east_m2=spread(0, 0) + 1.0,
        east_north_m2=spread(0, 1),
        north_m2=spread(1, 1) + 1.0,
    )
    major_m, _, _ = geodesy.ellipse_of_covariance(place.east_m2, place.east_north_m2, place.north_m2)
    if major_m > AXIS_MAX_M:
        return None
    return Prediction(
        time_ns=time_ns + round((middle.after_s + after_s) * SECOND_NS),
        time_sigma_s=math.sqrt(spread(2, 2)),
        place=place,
        apogee_m=apogee_m,
        based_on_ns=time_ns,
    )


def _from(middle: Ground, point: Ground) -> tuple[float, float, float]:
    """Return how far east, north and later than the middle a trajectory ends."""
    distance_m, azimuth_deg = geodesy.distance_azimuth(middle.lat_deg, middle.lon_deg, point.lat_deg, point.lon_deg)
    azimuth = math.radians(azimuth_deg)
    return distance_m * math.sin(azimuth), distance_m * math.cos(azimuth), point.after_s - middle.after_s


def _offsets(noise: Matrix) -> list[list[float]]:
    """Return the columns of a covariance's square root, as far as we look, with the coefficient's logarithm as last."""
    size = len(noise) + 1
    scale = math.sqrt(REACH_SQUARED)
    lower: list[list[float]] = []
    for row in range(size - 1):
        line: list[float] = []
        for column in range(row):
            rest = noise[row][column]
            for k in range(column):
                rest -= line[k] * lower[column][k]
            line.append(rest / lower[column][column])
        pivot = noise[row][row]
        for term in line:
            pivot -= term * term
        line.append(math.sqrt(max(pivot, 1e-9)))
        lower.append(line)
    columns = [
        [scale * lower[row][column] if row >= column else 0.0 for row in range(size - 1)] + [0.0]
        for column in range(size - 1)
    ]
    return [*columns, [0.0] * (size - 1) + [scale * COEFFICIENT_SIGMA]]


def _step_s(state: State, height_m: float, coefficient: float) -> float:
    """Return a step that is as long as the air allows, and does not fall deep into it from above."""
    x, y, z, u, v, w = state
    rising_mps = (x * u + y * v + z * w) / math.sqrt(x * x + y * y + z * z)
    if height_m > AIR_M:
        # Time to reach the air from above at this height and speed, as in a uniform field a little too strong.
        depth_m = height_m - AIR_M
        to_air_s = (rising_mps + math.sqrt(rising_mps * rising_mps + 20.0 * depth_m)) / 10.0
        return min(VACUUM_STEP_S, max(to_air_s, AIR_STEP_MIN_S))
    scale_m = SCALE_HEIGHTS_PER_STEP * geodesy.AIR_SCALE_M
    longest_s = min(max(scale_m / max(abs(rising_mps), 1.0), AIR_STEP_MIN_S), AIR_STEP_MAX_S)
    # So much braking in a step that the integration would swing is never needed.
    braking_ps = geodesy.drag_per_speed((x, y, z), math.sqrt(u * u + v * v + w * w), coefficient)
    return longest_s if braking_ps * longest_s <= BRAKING_MAX else BRAKING_MAX / braking_ps


def _moved(state: State, step_s: float, coefficient: float) -> State:
    """Return the state one step later."""
    x, y, z, u, v, w = state
    half = 0.5 * step_s
    a1, b1, c1 = geodesy.ballistic_acceleration((x, y, z), (u, v, w), coefficient)
    u2, v2, w2 = u + half * a1, v + half * b1, w + half * c1
    a2, b2, c2 = geodesy.ballistic_acceleration((x + half * u, y + half * v, z + half * w), (u2, v2, w2), coefficient)
    u3, v3, w3 = u + half * a2, v + half * b2, w + half * c2
    a3, b3, c3 = geodesy.ballistic_acceleration(
        (x + half * u2, y + half * v2, z + half * w2), (u3, v3, w3), coefficient
    )
    u4, v4, w4 = u + step_s * a3, v + step_s * b3, w + step_s * c3
    a4, b4, c4 = geodesy.ballistic_acceleration(
        (x + step_s * u3, y + step_s * v3, z + step_s * w3), (u4, v4, w4), coefficient
    )
    sixth = step_s / 6.0
    return (
        x + sixth * (u + 2.0 * (u2 + u3) + u4),
        y + sixth * (v + 2.0 * (v2 + v3) + v4),
        z + sixth * (w + 2.0 * (w2 + w3) + w4),
        u + sixth * (a1 + 2.0 * (a2 + a3) + a4),
        v + sixth * (b1 + 2.0 * (b2 + b3) + b4),
        w + sixth * (c1 + 2.0 * (c2 + c3) + c4),
    )


def _to_ground(state: State, step_s: float, coefficient: float) -> tuple[float, State]:
    """Return the shorter step that ends on the ground (regula falsi, Illinois), and the state there."""
    early, late = 0.0, step_s
    early_m = geodesy.height_m(*state[:3])
    late_m = geodesy.height_m(*_moved(state, step_s, coefficient)[:3])
    after = state
    for _ in range(30):
        step_s = late - late_m * (late - early) / (late_m - early_m)
        after = _moved(state, step_s, coefficient)
        after_m = geodesy.height_m(*after[:3])
        if abs(after_m) < GROUND_TOLERANCE_M:
            break
        if after_m < 0.0:
            late, late_m, early_m = step_s, after_m, early_m * 0.5
        else:
            early, early_m, late_m = step_s, after_m, late_m * 0.5
    return step_s, after


def apogee_m(state: State) -> float:
    """Return the height of the highest point of a trajectory without air, ahead or behind."""
    step_s = 0.0
    for _ in range(APOGEE_STEPS_MAX):
        state = _moved(state, step_s, VACUUM) if step_s else state
        x, y, z, u, v, w = state
        radius = math.sqrt(x * x + y * y + z * z)
        rising_mps = (x * u + y * v + z * w) / radius
        a, b, c = geodesy.ballistic_acceleration((x, y, z), (u, v, w), VACUUM)
        across = u * u + v * v + w * w - rising_mps * rising_mps
        pull = -(x * a + y * b + z * c + across) / radius
        if pull <= 0.0:
            break
        to_top_s = rising_mps / pull
        if abs(to_top_s) < NEAR_APOGEE_S:
            return geodesy.height_m(x, y, z) + 0.5 * rising_mps * to_top_s
        step_s = math.copysign(min(abs(to_top_s), VACUUM_STEP_S), to_top_s)
    return geodesy.height_m(*state[:3])


def _dot(axis: geodesy.Vector, vector: Sequence[float]) -> float:
    """Return the part along an axis."""
    return axis[0] * vector[0] + axis[1] * vector[1] + axis[2] * vector[2]


def _variance(noise: Matrix, axis: geodesy.Vector, first: int) -> float:
    """Return the variance along an axis, of the position (first = 0) or the velocity (3)."""
    return math.fsum([axis[i] * axis[j] * noise[first + i][first + j] for i in range(3) for j in range(3)])


@dataclass(frozen=True, slots=True)
class Interpreted:
    """As they are."""

    fallen: Callable[[State, float], tuple[float, State]] = fallen
    apogee_m: Callable[[State], float] = apogee_m


runs: Runs = Interpreted()


def install(other: Runs) -> None:
    """Let another run them from now on, in this process. It must give the same bits."""
    global runs  # noqa: PLW0603 - a property of the process, like its interpreter
    runs = other
