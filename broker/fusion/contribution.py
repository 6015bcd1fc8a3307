"""What one message contributes to a picture: Content in, plain numbers out.

Content has passed intake, so its fields are bounded and finite; what is still impossible (a covariance that is none, a
state inside the Earth) is kept for display and contributes no numbers. A coarse value is never trusted beyond its cell:
its stated covariance is widened to the whole cell, and `bias_m` says how far all reports of this track may be off in
the same direction, which no number of reports averages away.

The order of everything is the fold key (validity time, origin, epoch, lane, sequence, message_id). The validity time
of a value with a coarse time is the middle of its time cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from broker import geodesy
from broker.instant import nanoseconds
from broker.limits import SECOND_NS, TIME_MAX_S
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Contribution",
    "Impact",
    "Key",
    "Launch",
    "MessageKey",
    "NodeKey",
    "Place",
    "Report",
    "Status",
    "TrackKey",
    "contribution_of",
    "place_of",
    "unusable",
]

Key: TypeAlias = tuple[int, str, int, int, int, bytes]
MessageKey: TypeAlias = tuple[str, bytes]  # origin, message_id
NodeKey: TypeAlias = tuple[str, bytes]  # origin, the origin's event_id: what one origin calls one event
TrackKey: TypeAlias = tuple[str, bytes, bytes]  # origin, event_id, object_id

POSITION_SIGMA_UNKNOWN_M: Final = 5_000.0  # where the origin says nothing of its accuracy
VELOCITY_SIGMA_UNKNOWN_MPS: Final = 200.0
VARIANCE_LEAST: Final = 1.0  # m2: no radar knows better
VELOCITY_VARIANCE_LEAST: Final = 0.01  # m2/s2
VARIANCE_MOST: Final = 1e12
SPEED_MOST_MPS: Final = 12_000.0
HEIGHT_LEAST_M: Final = -20_000.0
HEIGHT_MOST_M: Final = 20_000_000.0
RANGE_SIGMA_UNKNOWN_S: Final = 60.0
AZIMUTH_SIGMA_UNKNOWN_DEG: Final = 20.0
POSITION_TERMS: Final = 6  # of an upper triangle
STATE_TERMS: Final = 21
# Where in an upper triangle, written row by row, each term of a full matrix is: by the terms and the matrix's size.
_PLACES: Final = {
    (terms, size): tuple(
        tuple(min(a, b) * of - min(a, b) * (min(a, b) - 1) // 2 + abs(a - b) for b in range(size)) for a in range(size)
    )
    for terms, of, size in ((POSITION_TERMS, 3, 3), (STATE_TERMS, 6, 3), (STATE_TERMS, 6, 6))
}


@dataclass(frozen=True, slots=True)
class Report:
    """A measured state. `noise` is the full covariance, row by row: 3x3 without velocity, 6x6 with it."""

    time_ns: int
    position_m: geodesy.Vector
    velocity_mps: geodesy.Vector | None
    noise: tuple[tuple[float, ...], ...]
    bias_m: float  # 0 = exact; else one standard deviation of an error common to all reports of the track
    space_m: float  # the cell of a coarse position; 0 = exact
    spacing_ns: int  # of a coarse track: reports nearer in time than this are the same information
    silence_ns: int  # how long this track may be quiet by its own policy
    phase: content_pb2.Phase.ValueType
    claims: bool = False  # an apogee or a range is stated beside the state


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the ground and the Gaussian around it (east, east-north, north; m2)."""

    lat_deg: float
    lon_deg: float
    east_m2: float
    east_north_m2: float
    north_m2: float

    @property
    def spread_m(self) -> float:
        """Return the geometric mean of the two standard deviations."""
        return math.sqrt(math.sqrt(max(self.east_m2 * self.north_m2 - self.east_north_m2 * self.east_north_m2, 0.0)))


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch as one origin saw it."""

    time_ns: int | None
    time_sigma_s: float
    place: Place | None
    azimuth_deg: float | None
    azimuth_sigma_deg: float


@dataclass(frozen=True, slots=True)
class Impact:
    """Where and when one origin expects it to come down."""

    time_ns: int | None
    latest_ns: int | None
    time_sigma_s: float
    place: Place | None
    overflight_only: bool


@dataclass(frozen=True, slots=True)
class Status:
    """What an origin says of the event as a whole."""

    state: content_pb2.EventState.ValueType
    reason: content_pb2.StatusReason.ValueType


@dataclass(frozen=True, slots=True)
class Contribution:
    """One message of one origin, as far as fusion is concerned."""

    key: Key
    field: str  # of the Content's body; empty: none, speaks of messages only
    event_id: bytes
    object_id: bytes
    body: Report | Launch | Impact | Status | None
    corrects: tuple[bytes, ...]
    cancels: tuple[bytes, ...]
    same: tuple[bytes, ...]
    not_same: tuple[bytes, ...]
    lineage: content_pb2.LineageKind.ValueType
    made_from: tuple[bytes, ...]
    content: bytes  # the Content, as serialised deterministically

    @property
    def origin(self) -> str:
        """Return who said it."""
        return self.key[1]

    @property
    def message_key(self) -> MessageKey:
        """Return the identity by which duplicates are known."""
        return (self.key[1], self.key[5])

    @property
    def node_key(self) -> NodeKey:
        """Return what the origin calls the event."""
        return (self.key[1], self.event_id)

    @property
    def track_key(self) -> TrackKey:
        """Return what the origin calls the object."""
        return (self.key[1], self.event_id, self.object_id)


def contribution_of(content: content_pb2.Content, *, epoch: int, lane: int, sequence: int) -> Contribution | None:
    """Return what a message contributes; None for what is never folded: fused, tick, canary, heartbeat, ack, notice."""
    header = content.header
    which = content.WhichOneof("body")
    event_id, object_id = b"", b""
    body: Report | Launch | Impact | Status | None = None
    match which:
        case "launch":
            event_id, body = content.launch.event_id, _launch(content.launch)
        case "track":
            event_id, object_id, body = content.track.event_id, content.track.object_id, _report(content.track)
        case "impact":
            event_id, object_id, body = content.impact.event_id, content.impact.object_id, _impact(content.impact)
        case "status":
            status = content.status
            event_id, object_id, body = status.event_id, status.object_id, Status(status.state, status.reason)
        case None:
            pass
        case _:
            return None
    named: dict[int, list[bytes]] = {}
    for reference in header.references:
        named.setdefault(reference.relation, []).append(reference.message_id)
    return Contribution(
        key=(_validity_ns(header, body), header.origin, epoch, lane, sequence, header.message_id),
        field=which or "",
        event_id=event_id,
        object_id=object_id,
        body=body,
        corrects=tuple(named.get(content_pb2.RELATION_CORRECTS, ())),
        cancels=tuple(named.get(content_pb2.RELATION_CANCELS, ())),
        same=tuple(named.get(content_pb2.RELATION_SAME_EVENT_AS, ())),
        not_same=tuple(named.get(content_pb2.RELATION_NOT_SAME_EVENT_AS, ())),
        lineage=header.lineage.kind,
        made_from=tuple(header.lineage.message_ids),
        content=content.SerializeToString(deterministic=True),
    )


def place_of(area: measures_pb2.Area) -> Place | None:
    """Return an area as a point and a Gaussian; None if it has no shape. A coarse area is as wide as its cell."""
    match area.WhichOneof("shape"):
        case "ellipse":
            place = _place_of_ellipse(area.ellipse)
        case "polygon" if area.polygon.ring:
            place = _place_of_ring(area.polygon.ring)
        case _:
            return None
    cell_m2 = area.cell.space_m * area.cell.space_m
    return Place(place.lat_deg, place.lon_deg, place.east_m2 + cell_m2, place.east_north_m2, place.north_m2 + cell_m2)


def unusable(contribution: Contribution) -> Contribution:
    """Return the same message without its numbers: it is shown, and counts for nothing."""
    return replace(contribution, body=None)


def _validity_ns(header: content_pb2.ContentHeader, body: Report | Launch | Impact | Status | None) -> int:
    """Return when the message was true. What names no time at all sorts first."""
    if isinstance(body, Report):
        return body.time_ns
    if header.HasField("observed_at"):
        return nanoseconds(header.observed_at) + _duration_ns(header.observed_cell) // 2
    if isinstance(body, Launch) and body.time_ns is not None:
        return body.time_ns
    return 0


def _duration_ns(cell: measures_pb2.Cell) -> int:
    """Return a cell's extent in time."""
    return cell.time.seconds * SECOND_NS + cell.time.nanos


def _report(track: content_pb2.TrackUpdate) -> Report | None:
    """Return the state, or None where there is none that could be true."""
    state = track.state
    if state.frame != measures_pb2.FRAME_ECEF_WGS84 or len(state.position_m) != 3 or not state.HasField("valid_at"):  # noqa: PLR2004 - a vector
        return None
    position: geodesy.Vector = (state.position_m[0], state.position_m[1], state.position_m[2])
    if not HEIGHT_LEAST_M < geodesy.height_m(*position) < HEIGHT_MOST_M:
        return None
    velocity: geodesy.Vector | None = None
    if len(state.velocity_mps) == 3:  # noqa: PLR2004 - a vector
        velocity = (state.velocity_mps[0], state.velocity_mps[1], state.velocity_mps[2])
        if not math.hypot(*velocity) <= SPEED_MOST_MPS:
            return None
    noise = _noise(state.covariance, has_velocity=velocity is not None)
    if noise is None:
        return None
    time_cell_ns = _duration_ns(state.cell)
    time_ns = nanoseconds(state.valid_at) + time_cell_ns // 2
    if time_ns >= TIME_MAX_S * SECOND_NS:
        return None  # a picture of then could not be sent
    interval = state.cell.minimum_interval
    interval_ns = interval.seconds * SECOND_NS + interval.nanos
    bias_m = 0.0
    if state.cell.space_m > 0.0 or time_cell_ns > 0:
        noise, bias_m = _coarse(state.cell.space_m, time_cell_ns / SECOND_NS, velocity, noise)
    return Report(
        time_ns=time_ns,
        position_m=position,
        velocity_mps=velocity,
        noise=noise,
        bias_m=bias_m,
        space_m=state.cell.space_m,
        spacing_ns=time_cell_ns,
        silence_ns=time_cell_ns + 2 * interval_ns,
        phase=track.phase,
        claims=track.HasField("apogee_m") or track.HasField("ground_range_m"),
    )


def _noise(terms: Sequence[float], *, has_velocity: bool) -> tuple[tuple[float, ...], ...] | None:
    """Return the full covariance of an upper triangle, with what was not said filled in; None if it is none."""
    size = 6 if has_velocity else 3
    places = _PLACES.get((len(terms), size))
    if places is not None:
        said = list(terms)
        full = [[said[place] for place in row] for row in places]
    else:
        full = _unsaid(size)
        if len(terms) == POSITION_TERMS:
            for row, column, term in zip((0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2), terms, strict=True):
                full[row][column] = full[column][row] = term
    for index in range(size):
        least = VARIANCE_LEAST if index < 3 else VELOCITY_VARIANCE_LEAST  # noqa: PLR2004 - a vector
        if not 0.0 <= full[index][index] <= VARIANCE_MOST:
            return None
        full[index][index] = full[index][index] * (1.0 + 1e-9) + least
    return tuple(tuple(row) for row in full) if _is_positive(full) else None


def _unsaid(size: int) -> list[list[float]]:
    """Return what is assumed where an origin says nothing of its accuracy."""
    full = [[0.0] * size for _ in range(size)]
    for index in range(size):
        sigma = POSITION_SIGMA_UNKNOWN_M if index < 3 else VELOCITY_SIGMA_UNKNOWN_MPS  # noqa: PLR2004 - a vector
        full[index][index] = sigma * sigma
    return full


def _is_positive(matrix: list[list[float]]) -> bool:
    """Say whether a symmetric matrix with a positive diagonal is positive definite (Cholesky without the roots)."""
    if not any(term for row, line in enumerate(matrix) for term in line[row + 1 :]):
        return True
    rows = [list(row) for row in matrix]
    for pivot, row in enumerate(rows):
        if row[pivot] <= 0.0:
            return False
        for below in rows[pivot + 1 :]:
            factor = below[pivot] / row[pivot]
            for column in range(pivot, len(row)):
                below[column] -= factor * row[column]
    return True


def _coarse(
    space_m: float, time_s: float, velocity: geodesy.Vector | None, noise: tuple[tuple[float, ...], ...]
) -> tuple[tuple[tuple[float, ...], ...], float]:
    """Return the noise of a coarse state, the whole cell in all directions, and the bias that may stay for ever.

    The cell of a velocity is a space cell per time cell; where no velocity is shown, any speed is possible.
    """
    speed_mps = SPEED_MOST_MPS / 2.0 if velocity is None else math.hypot(*velocity)
    cell_m2 = space_m * space_m + (speed_mps * time_s) ** 2
    position_m2 = max(cell_m2, noise[0][0], noise[1][1], noise[2][2])
    variances = [position_m2] * 3
    if velocity is not None:
        velocity_cell = space_m / time_s if time_s > 0.0 else SPEED_MOST_MPS / 2.0
        velocity_m2 = max(velocity_cell * velocity_cell, noise[3][3], noise[4][4], noise[5][5])
        variances += [velocity_m2] * 3
    full = tuple(
        tuple(variance if row == column else 0.0 for column in range(len(variances)))
        for row, variance in enumerate(variances)
    )
    return full, 0.5 * math.sqrt(cell_m2)


def _launch(launch: content_pb2.LaunchDetection) -> Launch:
    """Return a launch detection's numbers."""
    time_ns, sigma_s, _ = _window(launch.launch_time)
    return Launch(
        time_ns=time_ns,
        time_sigma_s=sigma_s,
        place=place_of(launch.launch_area),
        azimuth_deg=launch.azimuth_deg if launch.HasField("azimuth_deg") else None,
        azimuth_sigma_deg=launch.azimuth_sigma_deg if launch.azimuth_sigma_deg > 0.0 else AZIMUTH_SIGMA_UNKNOWN_DEG,
    )


def _impact(impact: content_pb2.ImpactPrediction) -> Impact:
    """Return an impact prediction's numbers."""
    time_ns, sigma_s, latest_ns = _window(impact.time)
    return Impact(time_ns, latest_ns, sigma_s, place_of(impact.area), impact.overflight_only)


def _window(window: measures_pb2.TimeWindow) -> tuple[int | None, float, int | None]:
    """Return best time, standard deviation in seconds and latest time of a window; rounded times are widened."""
    cell_ns = _duration_ns(window.cell)
    stamps = [
        nanoseconds(stamp)
        for name, stamp in (("earliest", window.earliest), ("latest", window.latest), ("best", window.best))
        if window.HasField(name)  # type: ignore[arg-type] # the three names stand above
    ]
    if not stamps:
        return None, RANGE_SIGMA_UNKNOWN_S, None
    best_ns = nanoseconds(window.best) if window.HasField("best") else (min(stamps) + max(stamps)) // 2
    # Earliest and latest are read as two standard deviations either way.
    sigma_s = (max(stamps) - min(stamps)) / (4.0 * SECOND_NS)
    cell_s = cell_ns / SECOND_NS
    if len(stamps) == 1:
        sigma_s = max(sigma_s, 5.0)
    return best_ns + cell_ns // 2, math.hypot(sigma_s, cell_s), max(stamps) + cell_ns


def _place_of_ellipse(ellipse: measures_pb2.Ellipse) -> Place:
    """Return the Gaussian whose ellipse of that probability it is."""
    probability = ellipse.probability if 0.0 < ellipse.probability < 1.0 else 0.95
    reach = -2.0 * math.log(1.0 - probability)
    major_m2 = ellipse.semi_major_m * ellipse.semi_major_m / reach + VARIANCE_LEAST
    minor_m2 = ellipse.semi_minor_m * ellipse.semi_minor_m / reach + VARIANCE_LEAST
    angle = math.radians(ellipse.orientation_deg)
    sin, cos = math.sin(angle), math.cos(angle)
    return Place(
        lat_deg=ellipse.centre.lat_deg,
        lon_deg=ellipse.centre.lon_deg,
        east_m2=major_m2 * sin * sin + minor_m2 * cos * cos,
        east_north_m2=(major_m2 - minor_m2) * sin * cos,
        north_m2=major_m2 * cos * cos + minor_m2 * sin * sin,
    )


def _place_of_ring(ring: Sequence[measures_pb2.GeoPoint]) -> Place:
    """Return the middle of a polygon's corners and their spread, as if its edge were an ellipse of 95 %."""
    corners = [geodesy.ecef(point.lat_deg, point.lon_deg) for point in ring]
    middle = [math.fsum(corner[axis] for corner in corners) / len(corners) for axis in range(3)]
    lat_deg, lon_deg, _ = geodesy.geodetic(middle[0], middle[1], middle[2])
    far_m = max(geodesy.distance_azimuth(lat_deg, lon_deg, point.lat_deg, point.lon_deg)[0] for point in ring)
    variance = far_m * far_m / -(2.0 * math.log(0.05)) + VARIANCE_LEAST
    return Place(lat_deg, lon_deg, variance, 0.0, variance)
