"""The truth: flights by scipy's DOP853 in ECEF, and generic sensors that look at them. All invented, nobody's.

Nothing here is shared with what is tested: neither `broker.geodesy` nor `broker.exercise` is asked. Gravity with J2,
Coriolis and centrifugal force stand here once more; the air is the US Standard Atmosphere 1976 in pieces (Vallado 2013,
table 8-4), while the estimate believes in one exponential; a body's ballistic coefficient is drawn from what nobody
knows (`drawn_coefficients`). Angles are degrees, lengths metres, times seconds after launch, vectors ECEF.

    flight = fly(MISSILES["medium"])
    looks = look(FIXES["fine"], flight, chance("medium", 7), from_s=40.0, until_s=200.0)
    reports = [one.report() for one in looks]           # what broker.fusion.estimate takes
    contents = [one.content("k") for one in looks]      # what View.fold takes; the same numbers
    contents = [coarse(one, 10_000.0, 10.0) for one in contents]

All chance is a `random.Random` that the caller gives; `chance` makes one from any name.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from random import Random
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np
from scipy.integrate import solve_ivp

from broker.fusion.contribution import Report, contribution_of
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

ZERO_NS: Final = 1_700_000_000 * 10**9  # when every flight here is launched, unless a look is told otherwise
MAJOR_M: Final = 6_378_137.0
FLATNESS: Final = 1.0 / 298.257223563
GM: Final = 3.986004418e14
J2: Final = 1.082629821e-3
TURN_RADPS: Final = 7.292115e-5
TURN: Final = np.array([0.0, 0.0, TURN_RADPS])
COEFFICIENT_KGPM2: Final = 5_000.0  # the middle of what is drawn
COEFFICIENT_SIGMA: Final = 0.7  # of its logarithm
# Height (m), density (kg/m3) and scale height (m) of each piece.
AIR: Final = (
    *((0.0, 1.225, 7_249.0), (25e3, 3.899e-2, 6_349.0), (30e3, 1.774e-2, 6_682.0), (40e3, 3.972e-3, 7_554.0)),
    *((50e3, 1.057e-3, 8_382.0), (60e3, 3.206e-4, 7_714.0), (70e3, 8.770e-5, 6_549.0), (80e3, 1.905e-5, 5_799.0)),
    *((90e3, 3.396e-6, 5_382.0), (100e3, 5.297e-7, 5_877.0), (110e3, 9.661e-8, 7_263.0), (120e3, 2.438e-8, 9_473.0)),
    *(
        (130e3, 8.484e-9, 12_636.0),
        (140e3, 3.845e-9, 16_149.0),
        (150e3, 2.070e-9, 22_523.0),
        (180e3, 5.464e-10, 29_740.0),
    ),
    *((200e3, 2.789e-10, 37_105.0), (250e3, 7.248e-11, 45_546.0), (300e3, 2.418e-11, 53_628.0)),
)
AIR_FLOORS_M: Final = np.array([piece[0] for piece in AIR])


@dataclass(frozen=True, slots=True)
class Stage:
    """A motor: its push grows while its fuel burns away; then a while of nothing, before the next one."""

    burn_s: float
    first_mps2: float
    last_mps2: float
    gap_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Missile:
    """A generic missile: straight up at first, then its push is turned to an elevation and stays there."""

    name: str
    stages: tuple[Stage, ...]
    elevation_deg: float
    turn_s: float  # when it is turned
    lat_deg: float = 40.0
    lon_deg: float = 126.0
    azimuth_deg: float = 85.0

    @property
    def burnout_s(self) -> float:
        """Return when the last motor stops."""
        return sum(stage.burn_s + stage.gap_s for stage in self.stages) - self.stages[-1].gap_s

    @property
    def edges_s(self) -> list[float]:
        """Return when motors start and stop."""
        edges = [0.0]
        for stage in self.stages:
            edges.append(edges[-1] + stage.burn_s)
            if stage.gap_s:
                edges.append(edges[-1] + stage.gap_s)
        return edges

    def push_mps2(self, time_s: float) -> float:
        """Return how strongly it is pushed."""
        for stage in self.stages:
            if time_s < stage.burn_s:
                return stage.first_mps2 + (stage.last_mps2 - stage.first_mps2) * time_s / stage.burn_s
            time_s -= stage.burn_s + stage.gap_s
            if time_s < 0.0:
                break
        return 0.0


MISSILES: Final = {
    one.name: one
    for one in (
        Missile("short", (Stage(60.0, 25.0, 65.0),), elevation_deg=45.0, turn_s=30.0),
        Missile("medium", (Stage(90.0, 20.0, 60.0),), elevation_deg=42.0, turn_s=40.0),
        Missile("lofted", (Stage(70.0, 18.0, 55.0, 2.0), Stage(65.0, 20.0, 75.0)), elevation_deg=77.0, turn_s=50.0),
        Missile("intermediate", (Stage(80.0, 18.0, 55.0), Stage(75.0, 20.0, 75.0)), elevation_deg=34.0, turn_s=60.0),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flight:
    """A true flight from launch to impact."""

    missile: Missile
    coefficient_kgpm2: float
    rising: tuple[tuple[float, float, Callable[[float], Floats]], ...]
    impact_s: float
    impact_lat_deg: float
    impact_lon_deg: float
    apogee_m: float

    @property
    def burnout_s(self) -> float:
        """Return when the last motor stopped."""
        return self.missile.burnout_s

    def at(self, time_s: float) -> Floats:
        """Return position and velocity (6)."""
        for _, until_s, piece in self.rising:
            if time_s <= until_s:
                return np.asarray(piece(max(time_s, 0.0)))
        return np.asarray(self.rising[-1][2](self.impact_s))

    def burning(self, time_s: float) -> bool:
        """Return whether a motor burns."""
        return time_s >= 0.0 and self.missile.push_mps2(time_s) > 0.0


@cache
def fly(missile: Missile, coefficient_kgpm2: float = COEFFICIENT_KGPM2) -> Flight:
    """Integrate a flight, piece by piece between the moments at which a motor starts or stops."""
    east, north, up = axes(missile.lat_deg, missile.lon_deg)
    azimuth = math.radians(missile.azimuth_deg)
    along = math.sin(azimuth) * east + math.cos(azimuth) * north

    def move(time_s: float, state: Floats) -> Floats:
        pull = fall(state, coefficient_kgpm2)
        push = missile.push_mps2(time_s)
        if push:
            turned = min(max(time_s - 5.0, 0.0) / missile.turn_s, 1.0)
            pitch = math.radians(90.0 + (missile.elevation_deg - 90.0) * turned)
            pull += push * (math.sin(pitch) * up + math.cos(pitch) * along)
        return np.concatenate([state[3:], pull])

    def ground(_time_s: float, state: Floats) -> float:
        return float(height(state[:3]))

    ground.terminal, ground.direction = True, -1.0  # type: ignore[attr-defined]
    state = np.array([*ecef(missile.lat_deg, missile.lon_deg, 50.0), 0.0, 0.0, 0.0])
    pieces = []
    edges = [*missile.edges_s, missile.burnout_s + 7_200.0]
    for from_s, until_s in pairwise(edges):
        # A motor that stops just at an edge must not be asked beyond it.
        found = solve_ivp(
            lambda time_s, state, last_s=until_s - 1e-9: move(min(time_s, last_s), state),
            (from_s, until_s), state, method="DOP853", rtol=1e-10, atol=1e-5, dense_output=True,
            events=ground if from_s >= missile.burnout_s else None,
        )  # fmt: skip
        state = found.y[:, -1]
        pieces.append((from_s, float(found.t[-1]), found.sol))
    impact_s, sol = pieces[-1][1], pieces[-1][2]
    lat_deg, lon_deg, _ = geodetic(state[:3])
    apogee_m = max(height(sol(time_s)[:3]) for time_s in np.linspace(missile.burnout_s, impact_s, 400))
    return Flight(missile, coefficient_kgpm2, tuple(pieces), impact_s, lat_deg, lon_deg, float(apogee_m))


def drawn_coefficients(count: int) -> list[float]:
    """Return so many ballistic coefficients that stand for what may come: the quantiles of their distribution."""
    normal = NormalDist(math.log(COEFFICIENT_KGPM2), COEFFICIENT_SIGMA)
    return [math.exp(normal.inv_cdf((index + 0.5) / count)) for index in range(count)]


def fall(state: Floats, coefficient_kgpm2: float | None) -> Floats:
    """Return the acceleration (m/s2) of a body that no motor pushes; without air if it has no coefficient."""
    position, velocity = state[:3], state[3:]
    squared = float(position @ position)
    radius = math.sqrt(squared)
    polar = 5.0 * position[2] * position[2] / squared
    flat = 1.5 * J2 * MAJOR_M * MAJOR_M / squared
    stretched = position * (1.0 + flat * (np.array([1.0, 1.0, 3.0]) - polar))
    pull = -GM / (squared * radius) * stretched
    pull += TURN_RADPS**2 * np.array([position[0], position[1], 0.0])
    pull += 2.0 * TURN_RADPS * np.array([velocity[1], -velocity[0], 0.0])
    if coefficient_kgpm2 is not None:
        speed = math.sqrt(float(velocity @ velocity))
        pull -= 0.5 * air(float(height(position))) * speed / coefficient_kgpm2 * velocity
    return np.asarray(pull)


def air(height_m: float) -> float:
    """Return the density of the air, kg/m3."""
    floor_m, density, scale_m = AIR[max(int(np.searchsorted(AIR_FLOORS_M, height_m, side="right")) - 1, 0)]
    return density * math.exp(-(height_m - floor_m) / scale_m)


# --- sensors ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """What one sensor measured: a position, perhaps a velocity, and their covariance (3x3 or 6x6)."""

    nation: str
    time_s: float
    measured: tuple[float, ...]
    noise: tuple[tuple[float, ...], ...]
    phase: content_pb2.Phase.ValueType = content_pb2.PHASE_UNSPECIFIED
    zero_ns: int = ZERO_NS

    @property
    def time_ns(self) -> int:
        """Return the time in nanoseconds since 1970."""
        return self.zero_ns + round(self.time_s * 1e9)

    def report(self) -> Report:
        """Return what the estimate takes."""
        return report_of(self.content("report"))

    def content(self, event: str) -> content_pb2.Content:
        """Return the Content by which a gateway would tell of it; its ids follow from nation, event and time."""
        content = content_pb2.Content()
        content.header.message_id = named(self.nation, event, self.time_ns)
        content.header.origin = self.nation
        content.header.mode = content_pb2.MODE_TEST
        content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        content.header.observed_at.FromNanoseconds(self.time_ns)
        track = content.track
        track.event_id, track.object_id = named(self.nation, event), named(self.nation, event, "object")
        track.phase = self.phase
        track.state.frame = measures_pb2.FRAME_ECEF_WGS84
        track.state.valid_at.FromNanoseconds(self.time_ns)
        track.state.position_m.extend(self.measured[:3])
        track.state.velocity_mps.extend(self.measured[3:])
        size = len(self.noise)
        track.state.covariance.extend(self.noise[row][column] for row in range(size) for column in range(row, size))
        return content


class Sensor(Protocol):
    """Something that looks. `measure` returns what it measured and the covariance, or None where it sees nothing."""

    @property
    def nation(self) -> str: ...
    @property
    def every_s(self) -> float: ...
    def measure(self, state: Floats, luck: Random) -> tuple[Floats, Floats] | None: ...


@dataclass(frozen=True, slots=True)
class Fixer:
    """A sensor that gives positions, and velocities if it has an error for them, with the same error in every axis."""

    nation: str
    sigma_m: float
    sigma_mps: float | None = None
    every_s: float = 1.0

    def measure(self, state: Floats, luck: Random) -> tuple[Floats, Floats] | None:
        """Return the true state and noise."""
        sigmas = np.array([self.sigma_m] * 3 + ([] if self.sigma_mps is None else [self.sigma_mps] * 3))
        noise = sigmas * np.array([luck.gauss(0.0, 1.0) for _ in sigmas])
        return state[: len(sigmas)] + noise, np.diag(sigmas**2)


@dataclass(frozen=True, slots=True)
class Radar:
    """A radar: measures range, azimuth and elevation, and tells a position with the covariance that follows."""

    nation: str
    lat_deg: float
    lon_deg: float
    range_sigma_m: float
    angle_sigma_deg: float
    range_max_m: float = 5_000e3
    elevation_min_deg: float = 1.5
    every_s: float = 1.0

    def measure(self, state: Floats, luck: Random) -> tuple[Floats, Floats] | None:
        """Return the position that was measured, and its covariance at the measured place."""
        eye, turn = ecef(self.lat_deg, self.lon_deg), np.array(axes(self.lat_deg, self.lon_deg))
        e, n, u = turn @ (state[:3] - eye)
        distance = math.sqrt(e * e + n * n + u * u)
        elevation = math.asin(u / distance)
        if distance > self.range_max_m or math.degrees(elevation) < self.elevation_min_deg:
            return None
        angle = math.radians(self.angle_sigma_deg)
        r = distance + luck.gauss(0.0, self.range_sigma_m)
        # The azimuth's error is one across the line of sight: it grows with the elevation.
        az = math.atan2(e, n) + luck.gauss(0.0, angle / max(math.cos(elevation), 0.05))
        el = elevation + luck.gauss(0.0, angle)
        sight = np.array([math.cos(el) * math.sin(az), math.cos(el) * math.cos(az), math.sin(el)])
        above = np.array([-math.sin(el) * math.sin(az), -math.sin(el) * math.cos(az), math.cos(el)])
        aside = np.array([math.cos(az), -math.sin(az), 0.0])
        columns = np.array([self.range_sigma_m * sight, r * angle * above, r * angle * aside]) @ turn
        return eye + r * sight @ turn, columns.T @ columns


FIXES: Final = {
    "fine": Fixer("KOR", 250.0),
    "moving": Fixer("JPN", 250.0, 50.0),
    "rough": Fixer("USA", 1_500.0, every_s=2.0),
}
RADARS: Final = {
    "KOR": Radar("KOR", 37.0, 127.5, 30.0, 0.08, range_max_m=1_500e3),
    "JPN": Radar("JPN", 40.0, 140.0, 50.0, 0.08, range_max_m=2_000e3),
    "USA": Radar("USA", 41.0, 141.0, 40.0, 0.06, range_max_m=3_000e3, every_s=2.0),
}


def look(
    sensor: Sensor,
    flight: Flight,
    luck: Random,
    *,
    from_s: float,
    until_s: float,
    zero_ns: int = ZERO_NS,
) -> list[Look]:
    """Return what a sensor measures from a time (included) to another, or to impact."""
    found: list[Look] = []
    count = 0
    while (time_s := from_s + count * sensor.every_s) <= min(until_s, flight.impact_s - 1.0):
        count += 1
        seen = sensor.measure(flight.at(time_s), luck)
        if seen is not None:
            measured, noise = seen
            noise = 0.5 * (noise + noise.T)
            rows = tuple(tuple(row) for row in noise.tolist())
            found.append(Look(sensor.nation, time_s, tuple(measured.tolist()), rows, zero_ns=zero_ns))
    return found


def in_order(*looks: Sequence[Look]) -> list[Look]:
    """Return the looks of several sensors in the order of the fold: by time, then by nation."""
    return sorted((one for some in looks for one in some), key=lambda one: (one.time_ns, one.nation))


def moved(looks: Sequence[Look], offset_m: Sequence[float] = (0.0, 0.0, 0.0), late_s: float = 0.0) -> list[Look]:
    """Return the looks of a sensor that stands wrong by so much, or whose clock is."""
    add = [*offset_m, 0.0, 0.0, 0.0]
    return [
        replace(
            one,
            measured=tuple(a + b for a, b in zip(one.measured, add, strict=False)),
            time_s=one.time_s + late_s,
        )
        for one in looks
    ]


# --- how it is told ---------------------------------------------------------------------------------------------------


def report_of(content: content_pb2.Content) -> Report:
    """Return the numbers of a track update. It must have some."""
    found = contribution_of(content, epoch=0, lane=0, sequence=0)
    assert found is not None
    assert isinstance(found.body, Report)
    return found.body


def coarse(
    content: content_pb2.Content, cell_m: float, cell_s: float = 0.0, *, shows_velocity: bool = False
) -> content_pb2.Content:
    """Return a track update as a policy shows it: middles of cubes, time rounded down, the same error in every axis.

    Written after `Coarsening` in options.proto, not after the code that does it.
    """
    found = content_pb2.Content()
    found.CopyFrom(content)
    state = found.track.state
    velocity = list(state.velocity_mps)
    del state.covariance[:], state.velocity_mps[:]
    state.position_m[:] = [(math.floor(value / cell_m) + 0.5) * cell_m for value in state.position_m]
    if cell_s:
        cell_ns = round(cell_s * 1e9)
        valid_ns = state.valid_at.ToNanoseconds()
        state.valid_at.FromNanoseconds(valid_ns - valid_ns % cell_ns)
        observed_ns = found.header.observed_at.ToNanoseconds()
        found.header.observed_at.FromNanoseconds(observed_ns - observed_ns % cell_ns)
        state.cell.time.FromNanoseconds(cell_ns)
    state.cell.space_m = cell_m
    speed_mps, sigmas = 7_500.0, [0.0] * 3
    if shows_velocity and velocity and cell_s:
        step_mps = cell_m / cell_s
        state.velocity_mps.extend((math.floor(value / step_mps) + 0.5) * step_mps for value in velocity)
        speed_mps = math.hypot(*state.velocity_mps) + 0.5 * math.sqrt(3.0) * step_mps
        sigmas += [step_mps] * 3
    sigmas[:3] = [cell_m + speed_mps * cell_s] * 3
    size = len(sigmas)
    state.covariance.extend(
        sigmas[row] ** 2 if row == column else 0.0 for row in range(size) for column in range(row, size)
    )
    return found


def isotropic(content: content_pb2.Content) -> content_pb2.Content:
    """Return a track update whose covariance hides the line of sight: its greatest spread in every axis."""
    found = content_pb2.Content()
    found.CopyFrom(content)
    terms = found.track.state.covariance
    assert len(terms) == 6, "a position's"
    largest = max(terms[0], terms[3], terms[5])
    terms[:] = [largest, 0.0, 0.0, largest, 0.0, largest]
    return found


def chance(*seed: object) -> Random:
    """Return the chance of that name: the same everywhere."""
    return Random(repr(seed))  # noqa: S311 - noise, no secrets


def named(*parts: object) -> bytes:
    """Return an id of 16 bytes."""
    return hashlib.sha256(repr(parts).encode()).digest()[:16]


# --- the Earth --------------------------------------------------------------------------------------------------------


def ecef(lat_deg: float, lon_deg: float, height_m: float = 0.0) -> Floats:
    """Return a geodetic place as a vector."""
    lat, lon = math.radians(lat_deg), math.radians(lon_deg)
    square = FLATNESS * (2.0 - FLATNESS)
    normal = MAJOR_M / math.sqrt(1.0 - square * math.sin(lat) ** 2)
    return np.array(
        [
            (normal + height_m) * math.cos(lat) * math.cos(lon),
            (normal + height_m) * math.cos(lat) * math.sin(lon),
            (normal * (1.0 - square) + height_m) * math.sin(lat),
        ]
    )


def axes(lat_deg: float, lon_deg: float) -> tuple[Floats, Floats, Floats]:
    """Return east, north and up at a place."""
    lat, lon = math.radians(lat_deg), math.radians(lon_deg)
    east = np.array([-math.sin(lon), math.cos(lon), 0.0])
    up = np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])
    return east, np.cross(up, east), up


def geodetic(position: Floats) -> tuple[float, float, float]:
    """Return latitude, longitude and height (fixed point; far below a millimetre here)."""
    square = FLATNESS * (2.0 - FLATNESS)
    across = math.hypot(position[0], position[1])
    lat = math.atan2(position[2], across * (1.0 - square))
    above = 0.0
    for _ in range(8):
        normal = MAJOR_M / math.sqrt(1.0 - square * math.sin(lat) ** 2)
        above = across * math.cos(lat) + position[2] * math.sin(lat) - MAJOR_M**2 / normal
        lat = math.atan2(position[2], across * (1.0 - square * normal / (normal + above)))
    return math.degrees(lat), math.degrees(math.atan2(position[1], position[0])), above


def height(position: Floats) -> float:
    """Return the height above the ellipsoid."""
    return geodetic(position)[2]
