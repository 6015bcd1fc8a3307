"""The American feed: one XML event a line, from space infrared and from ship radars.

Invented for Vedette, in the manner of Cursor on Target but with a vocabulary of its own that can only warn; no real
system's. `samples/` shows every kind of line, README.md explains each attribute. What is peculiar to it: times are UTC
(`Z`), lengths metres; launches, impacts and ships are latitude, longitude and height above the ellipsoid (`hae`),
tracks are ECEF with their covariance in ECEF. An infrared event has no site: where a satellite is stays at home.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.plugin import UnreadableLine
from nations import bodies, fields, motion
from nations.session import Head, Retraction, Session, Statement
from nations.usa.event_xml import Event, event_of
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from broker.plugin import Memory
    from nations.session import Body

__all__ = ["ACCESS", "HOW", "open_session", "parse"]

TIME: Final = re.compile(r"(20[0-9]{2})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.([0-9]{3})Z")
VERSION: Final = re.compile("1")
POSITION_M: Final = (-1e8, 1e8)
HOW: Final = {
    "infrared-space": measures_pb2.SENSOR_KIND_SPACE_INFRARED,
    "radar-ship": measures_pb2.SENSOR_KIND_SEA_RADAR,
}
ACCESS: Final = {
    "unclassified": envelope_pb2.CLASSIFICATION_UNCLASSIFIED,
    "restricted": envelope_pb2.CLASSIFICATION_RESTRICTED,
    "confidential": envelope_pb2.CLASSIFICATION_CONFIDENTIAL,
    "secret": envelope_pb2.CLASSIFICATION_SECRET,
    "top-secret": envelope_pb2.CLASSIFICATION_TOP_SECRET,
}
CAVEATS: Final = frozenset({"NOFORN", "ORCON"})
YES_NO: Final = {"true": True, "false": False}


def open_session(memory: Memory) -> Session:
    """Return an adapter that goes on where the memory ends."""
    return Session(parse, memory)


def parse(line: bytes) -> Statement | Retraction:
    """Return what one line says. Raises UnreadableLine."""
    event = event_of(line)
    said = event.attributes
    said.text("version", VERSION)
    kind = said.text("type", fields.WORD)
    sensor = said.text("sensor", fields.SENSOR_NAME)
    source = _source(event, sensor)
    head = Head(sensor, said.text("uid", fields.IDENTIFIER), _time(said, "time"), _clock_error_s(said), _label(said))
    if kind == "cancel":
        retraction = Retraction(head, said.text("cancels", fields.IDENTIFIER))
        event.close()
        return retraction
    track = said.integer("track", *fields.TRACK)
    corrects = said.maybe_text("corrects", fields.IDENTIFIER)
    body = _body(kind, event, head.time_ns)
    if not isinstance(body, content_pb2.EventStatus):
        body.source.CopyFrom(source)
    event.close()
    return Statement(head, track, body, corrects)


def _body(kind: str, event: Event, time_ns: int) -> Body:
    match kind:
        case "launch":
            return _launch(event)
        case "track":
            return _track(event, time_ns)
        case "impact":
            return _impact(event)
        case "status":
            said = event.child("status")
            status = bodies.status(
                said.choice("state", bodies.STATES),
                said.maybe_choice("reason", bodies.REASONS, content_pb2.STATUS_REASON_UNSPECIFIED),
            )
            said.close()
            return status
        case _:
            raise UnreadableLine("type: not one of launch, track, impact, status, cancel")


def _launch(event: Event) -> content_pb2.LaunchDetection:
    said = event.child("launch")
    body = content_pb2.LaunchDetection(
        azimuth_deg=said.maybe_number("azimuth", *fields.ANGLE_DEG),
        azimuth_sigma_deg=said.maybe_number("azimuth-sigma", *fields.ANGLE_SPREAD_DEG),
        confidence=said.maybe_number("confidence", *fields.FRACTION),
        launch_area=_area(event),
        launch_time=_window(said),
    )
    missile_class = said.maybe_choice("class", bodies.CLASSES, measures_pb2.MISSILE_CLASS_UNSPECIFIED)
    if missile_class:
        body.classes.add(missile_class=missile_class, probability=said.number("class-probability", *fields.FRACTION))
    said.close()
    return body


def _track(event: Event, time_ns: int) -> content_pb2.TrackUpdate:
    at, said = event.child("ecef"), event.child("motion")
    position = [at.number(axis, *POSITION_M) for axis in ("x", "y", "z")]
    velocity = [at.maybe_number(axis, *fields.SPEED_MPS) for axis in ("vx", "vy", "vz")]
    known = [component for component in velocity if component is not None]
    if len(known) not in (0, len(velocity)):
        raise UnreadableLine("ecef: a velocity with less than three components")
    body = content_pb2.TrackUpdate(
        state=bodies.state(time_ns, position, known, at.numbers("covariance", tuple(motion.SIZES), 1e15)),
        apogee_m=bodies.quantity(said.maybe_number("apogee", *fields.LENGTH_M)),
        ground_range_m=bodies.quantity(said.maybe_number("range", *fields.LENGTH_M)),
        manoeuvre_suspected=said.maybe_choice("manoeuvre", YES_NO, otherwise=False),
        phase=said.maybe_choice("phase", bodies.PHASES, content_pb2.PHASE_UNSPECIFIED),
        confidence=said.maybe_number("confidence", *fields.FRACTION),
    )
    at.close()
    said.close()
    return body


def _impact(event: Event) -> content_pb2.ImpactPrediction:
    said = event.child("impact")
    nations = said.words("nations")
    for nation in nations:
        fields.matching(nation, "impact.nations", fields.CODE)
    body = content_pb2.ImpactPrediction(
        area=_area(event),
        time=_window(said),
        overflight_only=said.maybe_choice("overflight", YES_NO, otherwise=False),
        nations_affected=nations,
        confidence=said.maybe_number("confidence", *fields.FRACTION),
    )
    said.close()
    return body


def _window(said: fields.TextFields) -> measures_pb2.TimeWindow | None:
    """Return the time `at` with its `plus-minus` seconds (95 %)."""
    at = said.maybe("at")
    if not at:
        return None
    best_ns = fields.nanoseconds(at, "at", TIME, offset_h=0)
    return bodies.window(best_ns, said.number("plus-minus", *fields.SPREAD_S))


def _area(event: Event) -> measures_pb2.Area | None:
    """Return the place `point` with its 95 % ellipse."""
    if not event.has("point"):
        return None
    point = event.child("point")
    area = bodies.ellipse(
        point.number("lat", *fields.LAT_DEG),
        point.number("lon", *fields.LON_DEG),
        point.number("major", *fields.LENGTH_M),
        point.number("minor", *fields.LENGTH_M),
        point.number("orientation", *fields.ANGLE_DEG),
    )
    height_m = point.maybe_number("hae", *fields.HEIGHT_M)
    if height_m is not None:
        area.ellipse.centre.height_m = height_m
    point.close()
    return area


def _source(event: Event, sensor: str) -> measures_pb2.Source:
    kind = event.attributes.choice("how", HOW)
    if not event.has("site"):
        return bodies.source(kind, sensor, None)
    if kind == measures_pb2.SENSOR_KIND_SPACE_INFRARED:
        raise UnreadableLine("site: an infrared event has none")
    site = event.child("site")
    at = (
        site.number("lat", *fields.LAT_DEG),
        site.number("lon", *fields.LON_DEG),
        site.number("hae", *fields.HEIGHT_M),
    )
    site.close()
    return bodies.source(kind, sensor, at)


def _label(said: fields.TextFields) -> envelope_pb2.SecurityLabel:
    return bodies.label(
        "USA",
        said.choice("access", ACCESS),
        said.words("releasable-to"),
        said.words("caveats"),
        known_caveats=CAVEATS,
    )


def _clock_error_s(said: fields.TextFields) -> float | None:
    error_ms = said.maybe_number("clock-error-ms", *fields.CLOCK_ERROR_MS)
    return None if error_ms is None else error_ms / 1_000.0


def _time(said: fields.TextFields, name: str) -> int:
    return fields.nanoseconds(said.text(name, fields.TEXT), name, TIME, offset_h=0)
