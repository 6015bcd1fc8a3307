"""The steps of redaction: how one leaf moves from the original into the new message, exactly or through its cell.

A step is compiled once and run for every message. Most leaves move by themselves; where fields owe each other
something (a longitude's grid depends on the latitude, a coarse ellipse is a circle, a coarse position carries the
covariance of its full cell) `together` adds a step that runs after them.

An instant that has no coarse form (stamps, provenance) would give away a time that is coarse or withheld. Unless every
time is shown exactly, such instants are the release instant, which is known to whoever gets the message, or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.gateway.release import coarsen
from broker.gateway.release.lattice import Level
from broker.gateway.release.shown import TIMES, Shown, is_place
from broker.leaves import LEAVES, Node
from broker.limits import SECOND_NS
from vedette.v1 import measures_pb2, options_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    # Moves one field of the first message into the second. The number is the release instant in ns; 0 = not known.
    Step = Callable[[Message, Message, int], None]

__all__ = ["cell_step", "copy_step", "leaf_step", "together"]

# Written by `together`: they depend on their neighbours.
BY_NEIGHBOURS: Final = frozenset({Coarsening.COARSENING_LONGITUDE, Coarsening.COARSENING_COVARIANCE})


def leaf_step(node: Node, level: Level, *, hides_instants: bool) -> Step | None:
    """Return the step of a leaf that is shown; None where `together` writes it."""
    field = node.field
    if is_told_anew(node, hides_instants=hides_instants):
        return _released_instant(field)
    if node.coarsening == Coarsening.COARSENING_COVARIANCE or (level.is_coarse and node.coarsening in BY_NEIGHBOURS):
        return None
    if not level.is_coarse:
        return copy_step(field)
    if _is_instant(node):
        return _coarse_instant(field, level)
    return _coarse_number(field, _rounding(node, level))


def is_told_anew(node: Node, *, hides_instants: bool) -> bool:
    """Say whether a leaf is an instant that would give away a time which is not shown exactly."""
    return hides_instants and _is_instant(node) and node.coarsening != Coarsening.COARSENING_TIME


def _is_instant(node: Node) -> bool:
    inner = node.field.message_type
    return inner is not None and inner.full_name == "google.protobuf.Timestamp"


def copy_step(field: FieldDescriptor) -> Step:
    """Return the step that moves a leaf as it is."""
    name = field.name

    def plain(source: Message, target: Message, _released_ns: int) -> None:
        setattr(target, name, getattr(source, name))

    def optional(source: Message, target: Message, _released_ns: int) -> None:
        if source.HasField(name):
            setattr(target, name, getattr(source, name))

    def listed(source: Message, target: Message, _released_ns: int) -> None:
        getattr(target, name).extend(getattr(source, name))

    def timed(source: Message, target: Message, _released_ns: int) -> None:
        if source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))

    if field.is_repeated:
        return listed
    if field.message_type is not None:
        return timed  # a Timestamp or a Duration: `redact` drops what either might carry unseen
    return optional if field.has_presence else plain


def _write(target: Timestamp | Duration, seconds: int, nanos: int) -> None:
    target.SetInParent()
    target.seconds = seconds
    target.nanos = nanos


def _coarse_instant(field: FieldDescriptor, level: Level) -> Step:
    name, cell_ns = field.name, level.time_ns

    def step(source: Message, target: Message, _released_ns: int) -> None:
        if source.HasField(name):
            stamp = getattr(source, name)
            floor_ns = coarsen.time_ns(stamp.seconds * SECOND_NS + stamp.nanos, cell_ns)
            _write(getattr(target, name), floor_ns // SECOND_NS, floor_ns % SECOND_NS)

    return step


def _released_instant(field: FieldDescriptor) -> Step:
    name = field.name

    def step(source: Message, target: Message, released_ns: int) -> None:
        if released_ns and source.HasField(name):
            _write(getattr(target, name), released_ns // SECOND_NS, released_ns % SECOND_NS)

    return step


def _coarse_number(field: FieldDescriptor, rounding: Callable[[float], float]) -> Step:
    name = field.name

    def plain(source: Message, target: Message, _released_ns: int) -> None:
        setattr(target, name, rounding(getattr(source, name)))

    def optional(source: Message, target: Message, _released_ns: int) -> None:
        if source.HasField(name):
            setattr(target, name, rounding(getattr(source, name)))

    def listed(source: Message, target: Message, _released_ns: int) -> None:
        getattr(target, name).extend([rounding(value) for value in getattr(source, name)[:]])

    if field.is_repeated:
        return listed
    return optional if field.has_presence else plain


def _rounding(node: Node, level: Level) -> Callable[[float], float]:  # noqa: PLR0911 - one line for each form
    """Return how the values of a leaf are made coarse by themselves; `together` does the rest."""
    bounds = node.field.GetOptions().Extensions[options_pb2.bounds]
    least, most = bounds.least, bounds.most
    space_m, speed_mps, width_deg = level.space_m, level.speed_mps, level.sector_deg
    match node.coarsening:
        case Coarsening.COARSENING_LATITUDE:
            return lambda value: coarsen.latitude_deg(value, space_m)
        case Coarsening.COARSENING_HEIGHT | Coarsening.COARSENING_ECEF_POSITION:
            return lambda value: coarsen.centre(value, space_m, least, most)
        case Coarsening.COARSENING_ECEF_VELOCITY:
            return lambda value: coarsen.centre(value, speed_mps, least, most)
        case Coarsening.COARSENING_LENGTH:
            return lambda value: coarsen.length_m(value, space_m)
        case Coarsening.COARSENING_SPREAD:
            return lambda value: coarsen.spread(value, space_m)
        case Coarsening.COARSENING_ANGLE:
            return lambda value: coarsen.sector_deg(value, width_deg)
        case Coarsening.COARSENING_ANGLE_SPREAD:
            return lambda value: coarsen.sector_spread_deg(value, width_deg)
        case Coarsening.COARSENING_FRACTION:
            return coarsen.fraction
        case Coarsening.COARSENING_ORIENTATION:
            return lambda _value: 0.0  # a circle has none
        case _:
            raise ValueError(f"{node.path} has no coarse form")  # `shown` lets none come here


# --- what is written for a message and not for a leaf -----------------------------------------------------------------


def cell_step(node: Node, shown: Shown, minimum_interval_ns: int) -> Step | None:
    """Return the step that writes how coarse the values beside this Cell are: as coarse as they came, or coarser."""
    beside = node.path.rpartition(".")[0] + "."
    levels = {path: level for path, level in shown.levels.items() if path.startswith(beside)}
    places = [level for path, level in levels.items() if is_place(LEAVES[path].coarsening)]
    times = [level for path, level in levels.items() if path in TIMES]
    if not places and not times:
        return None
    space_m = max((level.space_m for level in places), default=0.0)
    time_ns = max((level.time_ns for level in times), default=0)
    interval_ns = minimum_interval_ns if space_m or time_ns else 0
    name = node.field.name

    ours = _cell(space_m, time_ns, interval_ns)
    says_something = bool(space_m or time_ns or interval_ns)

    def step(source: Message, target: Message, _released_ns: int) -> None:
        if not source.HasField(name):  # almost always: what comes from a sensor is exact
            if says_something:
                getattr(target, name).CopyFrom(ours)
            return
        before: measures_pb2.Cell = getattr(source, name)
        cell = (max(before.space_m, space_m), max(_ns(before.time), time_ns))
        interval = max(_ns(before.minimum_interval), interval_ns)
        if any(cell) or interval:
            getattr(target, name).CopyFrom(_cell(*cell, interval))

    return step


def _cell(space_m: float, time_ns: int, interval_ns: int) -> measures_pb2.Cell:
    made = measures_pb2.Cell(space_m=space_m)
    if time_ns:
        _write(made.time, time_ns // SECOND_NS, time_ns % SECOND_NS)
    if interval_ns:
        _write(made.minimum_interval, interval_ns // SECOND_NS, interval_ns % SECOND_NS)
    return made


def _ns(duration: Duration) -> int:
    return duration.seconds * SECOND_NS + duration.nanos


def together(node: Node, shown: Shown) -> Iterator[Step]:
    """Yield the steps for what the fields of one message owe each other."""
    level = {each.field.name: shown.levels.get(each.path, Level.WITHHELD) for each in node.below.values()}
    kinds = {each.coarsening: each.field.name for each in node.below.values() if each.leaf is not None}
    message = node.field.message_type
    if message == measures_pb2.GeoPoint.DESCRIPTOR and level["lon_deg"].is_coarse:
        yield _longitude_step(level["lon_deg"])
    elif message == measures_pb2.Ellipse.DESCRIPTOR and level["semi_major_m"].is_coarse:
        yield _circle_step
    elif message == measures_pb2.Polygon.DESCRIPTOR:
        yield _ring_step
    elif message == measures_pb2.State.DESCRIPTOR:
        yield _covariance_step(level)
    angle, spread = (kinds.get(kind, "") for kind in (Coarsening.COARSENING_ANGLE, Coarsening.COARSENING_ANGLE_SPREAD))
    if angle and spread and level[angle].is_coarse:
        yield _direction_step(angle, spread, level[spread])  # never finer than the angle's own


def _longitude_step(level: Level) -> Step:
    space_m = level.space_m

    def step(source: Message, target: Message, _released_ns: int) -> None:
        exact: measures_pb2.GeoPoint = source  # type: ignore[assignment] # a step knows its message
        made: measures_pb2.GeoPoint = target  # type: ignore[assignment]
        made.lon_deg = coarsen.longitude_deg(exact.lon_deg, made.lat_deg, space_m)

    return step


def _circle_step(_source: Message, target: Message, _released_ns: int) -> None:
    made: measures_pb2.Ellipse = target  # type: ignore[assignment] # a step knows its message
    made.semi_major_m = made.semi_minor_m = max(made.semi_major_m, made.semi_minor_m)


def _ring_step(_source: Message, target: Message, _released_ns: int) -> None:
    """Keep one of neighbouring corners that are the same: how many there were in a cell would tell of its inside."""
    made: measures_pb2.Polygon = target  # type: ignore[assignment] # a step knows its message
    corners = list(made.ring)
    kept = [corner for before, corner in zip([None, *corners], corners, strict=False) if corner != before]
    if len(kept) < len(corners):
        ring = [measures_pb2.GeoPoint.FromString(corner.SerializeToString()) for corner in kept]
        del made.ring[:]
        made.ring.extend(ring)


def _covariance_step(level: dict[str, Level]) -> Step:
    place, time, motion = level["position_m"], level["valid_at"], level["velocity_mps"]
    covariance = coarsen.covariance_at(place=place, time=time, motion=motion, own=level["covariance"])

    def step(source: Message, target: Message, _released_ns: int) -> None:
        exact: measures_pb2.State = source  # type: ignore[assignment] # a step knows its message
        made: measures_pb2.State = target  # type: ignore[assignment]
        made.covariance.extend(covariance(exact.covariance, made.velocity_mps))

    return step


def _direction_step(angle: str, spread: str, level: Level) -> Step:
    """Let a coarse direction say how coarse it is in its spread, also where the origin gave none."""

    def step(_source: Message, target: Message, _released_ns: int) -> None:
        if target.HasField(angle) and not target.HasField(spread):
            setattr(target, spread, level.sector_deg)

    return step
