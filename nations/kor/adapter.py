"""The Korean feed: one JSON object a line, from Aegis destroyers, airborne early warning and ground radars.

Invented for Vedette; no real system's. `samples/` shows every kind of line, README.md explains each field. What is
peculiar to it: times are local with their offset (+09:00), a line says in which units it is (`metric`: km and m/s;
`nautical`: NM and knots), motion is speed over ground, course and climb, and uncertainty is a covariance in
east-north-up. The sensor's own position is always in degrees and metres.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from broker.plugin import UnreadableLine
from nations import bodies, fields, motion
from nations.kor.json_object import JsonObject, object_of
from nations.kor.units import UNITS, Units
from nations.session import Head, Retraction, Session, Statement
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from broker.plugin import Memory
    from nations.session import Body

__all__ = ["GRADES", "KINDS", "OFFSET_H", "open_session", "parse"]

TIME: Final = re.compile(r"(20[0-9]{2})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.([0-9]{3})\+09:00")
OFFSET_H: Final = 9
COUNT_MAX: Final = 1_000
KINDS: Final = {
    "AEGIS": measures_pb2.SENSOR_KIND_SEA_RADAR,
    "AEW": measures_pb2.SENSOR_KIND_AIRBORNE_RADAR,
    "GROUND": measures_pb2.SENSOR_KIND_GROUND_RADAR,
}
GRADES: Final = {
    "OPEN": envelope_pb2.CLASSIFICATION_UNCLASSIFIED,
    "RESTRICTED": envelope_pb2.CLASSIFICATION_RESTRICTED,
    "GRADE-3": envelope_pb2.CLASSIFICATION_CONFIDENTIAL,
    "GRADE-2": envelope_pb2.CLASSIFICATION_SECRET,
    "GRADE-1": envelope_pb2.CLASSIFICATION_TOP_SECRET,
}
CAVEATS: Final = frozenset({"KOR-ONLY", "ORCON"})


def open_session(memory: Memory) -> Session:
    """Return an adapter that goes on where the memory ends."""
    return Session(parse, memory)


def parse(line: bytes) -> Statement | Retraction:
    """Return what one line says. Raises UnreadableLine."""
    said = object_of(line)
    units = said.choice("units", UNITS)
    sensor = said.text("sensor", fields.SENSOR_NAME)
    source = bodies.source(said.choice("type", KINDS), sensor, _site(said))
    head = Head(sensor, said.text("no", fields.IDENTIFIER), _time(said, "time"), _clock_error_s(said), _label(said))
    kind = said.text("kind", fields.WORD)
    if kind == "CANCEL":
        retraction = Retraction(head, said.text("cancels", fields.IDENTIFIER))
        said.close()
        return retraction
    track = said.integer("track", *fields.TRACK)
    corrects = said.text("corrects", fields.IDENTIFIER) if said.has("corrects") else ""
    body = _body(kind, said, units, head.time_ns)
    if not isinstance(body, content_pb2.EventStatus):
        body.source.CopyFrom(source)
    said.close()
    return Statement(head, track, body, corrects)


def _body(kind: str, said: JsonObject, units: Units, time_ns: int) -> Body:
    match kind:
        case "LAUNCH":
            return _launch(said, units)
        case "TRACK":
            return _track(said, units, time_ns)
        case "IMPACT":
            return _impact(said, units)
        case "STATUS":
            reason = said.maybe_choice("reason", bodies.REASONS, content_pb2.STATUS_REASON_UNSPECIFIED)
            return bodies.status(said.choice("state", bodies.STATES), reason)
        case _:
            raise UnreadableLine("kind: not one of LAUNCH, TRACK, IMPACT, STATUS, CANCEL")


def _launch(said: JsonObject, units: Units) -> content_pb2.LaunchDetection:
    body = content_pb2.LaunchDetection(
        azimuth_deg=said.maybe_number("azimuth", *fields.ANGLE_DEG),
        azimuth_sigma_deg=said.maybe_number("azimuth_sd", *fields.ANGLE_SPREAD_DEG),
        confidence=said.maybe_number("confidence", *fields.FRACTION),
        launch_area=_area(said, units),
    )
    if said.has("launched"):
        body.launch_time.CopyFrom(
            bodies.window(_time(said, "launched"), said.number("launched_pm_s", *fields.SPREAD_S))
        )
    if said.has("classes"):
        for missile_class, probability in said.weights("classes", bodies.CLASSES):
            body.classes.add(missile_class=missile_class, probability=probability)
    if said.has("count"):
        least, most = said.numbers("count", (1, COUNT_MAX), (1, COUNT_MAX))
        if not least.is_integer() or not most.is_integer() or least > most:
            raise UnreadableLine("count: not a whole number and one at least as large")
        body.count.least, body.count.most = int(least), int(most)
    return body


def _track(said: JsonObject, units: Units, time_ns: int) -> content_pb2.TrackUpdate:
    height = units.lengths(fields.HEIGHT_M)
    lat_deg, lon_deg, height_native = said.numbers("at", fields.LAT_DEG, fields.LON_DEG, height)
    covariance = said.any_numbers("cov", 1e12) if said.has("cov") else ()
    if len(covariance) not in motion.SIZES:
        raise UnreadableLine("cov: neither 21 nor 6 numbers")
    local = motion.Local(
        lat_deg, lon_deg, height_native * units.length_m, _velocity(said, units), units.covariance_si(covariance)
    )
    return content_pb2.TrackUpdate(
        state=bodies.state(time_ns, *motion.to_ecef(local)),
        apogee_m=bodies.quantity(_length_m(said, "apogee", units)),
        ground_range_m=bodies.quantity(_length_m(said, "range", units)),
        manoeuvre_suspected=said.flag("manoeuvre"),
        phase=said.maybe_choice("phase", bodies.PHASES, content_pb2.PHASE_UNSPECIFIED),
        confidence=said.maybe_number("confidence", *fields.FRACTION),
    )


def _impact(said: JsonObject, units: Units) -> content_pb2.ImpactPrediction:
    body = content_pb2.ImpactPrediction(
        area=_area(said, units),
        overflight_only=said.flag("overflight"),
        nations_affected=said.texts("nations", fields.CODE) if said.has("nations") else (),
        confidence=said.maybe_number("confidence", *fields.FRACTION),
    )
    if said.has("falls"):
        body.time.CopyFrom(bodies.window(_time(said, "falls"), said.number("falls_pm_s", *fields.SPREAD_S)))
    return body


def _velocity(said: JsonObject, units: Units) -> motion.Vector | None:
    """Return east, north and up in m/s of speed over ground, course and climb."""
    if not said.has("moves"):
        return None
    most = fields.SPEED_MPS[1] / units.speed_mps
    speed, course_deg, climb = said.numbers("moves", (0.0, most), fields.ANGLE_DEG, (-most, most))
    course, ground_mps = math.radians(course_deg), speed * units.speed_mps
    return ground_mps * math.sin(course), ground_mps * math.cos(course), climb * units.speed_mps


def _area(said: JsonObject, units: Units) -> measures_pb2.Area | None:
    """Return the ellipse of a line: `place` [lat, lon], `ellipse` [semi-major, semi-minor, degrees from north]."""
    if not said.has("place"):
        return None
    axis = units.lengths(fields.LENGTH_M)
    lat_deg, lon_deg = said.numbers("place", fields.LAT_DEG, fields.LON_DEG)
    major, minor, orientation_deg = said.numbers("ellipse", axis, axis, fields.ANGLE_DEG)
    return bodies.ellipse(lat_deg, lon_deg, major * units.length_m, minor * units.length_m, orientation_deg)


def _length_m(said: JsonObject, name: str, units: Units) -> float | None:
    value = said.maybe_number(name, *units.lengths(fields.LENGTH_M))
    return None if value is None else value * units.length_m


def _site(said: JsonObject) -> motion.Vector | None:
    if not said.has("own"):
        return None
    lat_deg, lon_deg, height_m = said.numbers("own", fields.LAT_DEG, fields.LON_DEG, fields.HEIGHT_M)
    return lat_deg, lon_deg, height_m


def _clock_error_s(said: JsonObject) -> float | None:
    error_ms = said.maybe_number("clock_ms", *fields.CLOCK_ERROR_MS)
    return None if error_ms is None else error_ms / 1_000.0


def _label(said: JsonObject) -> envelope_pb2.SecurityLabel:
    mark = said.inside("mark")
    grade, to, caveats = (
        mark.choice("grade", GRADES),
        mark.texts("to", fields.CODE),
        mark.texts("caveats", fields.WORD),
    )
    mark.close()
    return bodies.label("KOR", grade, to, caveats, known_caveats=CAVEATS)


def _time(said: JsonObject, name: str) -> int:
    return fields.nanoseconds(said.text(name, fields.TEXT), name, TIME, offset_h=OFFSET_H)
