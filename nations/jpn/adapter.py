"""The Japanese feed: one row of comma-separated values a line, from Aegis ships and ground radars.

Invented for Vedette; no real system's. `samples/` shows every kind of line, README.md explains each column. What is
peculiar to it: times are Japan Standard Time without saying so, angles are degrees, minutes and seconds, uncertainty is
standard deviations and correlations in east-north-up, lengths are kilometres and may be "at least" so much (`>=500`),
and an impact area names prefectures.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.plugin import UnreadableLine
from nations import bodies, fields, motion
from nations.jpn.columns import columns_of, length_m, place
from nations.session import Body, Head, Retraction, Session, Statement
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from broker.plugin import Memory

__all__ = ["GRADES", "KINDS", "OFFSET_H", "open_session", "parse"]

TIME: Final = re.compile(r"(20[0-9]{2})/([0-9]{2})/([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})\.([0-9]{3})")
OFFSET_H: Final = 9
PREFECTURE: Final = re.compile("JP-(0[1-9]|[1-3][0-9]|4[0-7])")
DEVIATION_MAX: Final = 1e7  # metres, or metres a second
KINDS: Final = {
    "AEGIS": measures_pb2.SENSOR_KIND_SEA_RADAR,
    "GROUND": measures_pb2.SENSOR_KIND_GROUND_RADAR,
}
GRADES: Final = {
    "OPEN": envelope_pb2.CLASSIFICATION_UNCLASSIFIED,
    "CAUTION": envelope_pb2.CLASSIFICATION_RESTRICTED,
    "HI": envelope_pb2.CLASSIFICATION_CONFIDENTIAL,
    "GOKUHI": envelope_pb2.CLASSIFICATION_SECRET,
    "KIMITSU": envelope_pb2.CLASSIFICATION_TOP_SECRET,
}
CAVEATS: Final = frozenset({"JPN-ONLY", "ORCON"})
FLAG: Final = {"1": True, "0": False}


def open_session(memory: Memory) -> Session:
    """Return an adapter that goes on where the memory ends."""
    return Session(parse, memory)


def parse(line: bytes) -> Statement | Retraction:
    """Return what one line says. Raises UnreadableLine."""
    said = columns_of(line)
    record = said.text("record", fields.WORD)
    sensor = said.text("sensor", fields.SENSOR_NAME)
    source = bodies.source(said.choice("kind", KINDS), sensor, _site(said))
    head = Head(sensor, said.text("serial", fields.IDENTIFIER), _time(said, "time"), _clock_error_s(said), _label(said))
    if record == "C":
        retraction = Retraction(head, said.text("cancels", fields.IDENTIFIER))
        said.close()
        return retraction
    track = said.integer("track", *fields.TRACK)
    corrects = said.maybe_text("corrects", fields.IDENTIFIER)
    body = _body(record, said, head.time_ns)
    if not isinstance(body, content_pb2.EventStatus):
        body.source.CopyFrom(source)
    said.close()
    return Statement(head, track, body, corrects)


def _body(record: str, said: fields.TextFields, time_ns: int) -> Body:
    match record:
        case "L":
            return _launch(said)
        case "T":
            return _track(said, time_ns)
        case "I":
            return _impact(said)
        case _:
            none = content_pb2.STATUS_REASON_UNSPECIFIED
            return bodies.status(said.choice("state", bodies.STATES), said.maybe_choice("reason", bodies.REASONS, none))


def _launch(said: fields.TextFields) -> content_pb2.LaunchDetection:
    body = content_pb2.LaunchDetection(
        launch_time=_window(said, "launched", "launched_pm_s"),
        launch_area=_area(said),
        azimuth_deg=said.maybe_number("azimuth", *fields.ANGLE_DEG),
        azimuth_sigma_deg=said.maybe_number("azimuth_sd", *fields.ANGLE_SPREAD_DEG),
        confidence=said.maybe_number("confidence", *fields.FRACTION),
    )
    missile_class = said.maybe_choice("class", bodies.CLASSES, measures_pb2.MISSILE_CLASS_UNSPECIFIED)
    if missile_class:
        body.classes.add(missile_class=missile_class, probability=1.0)
    return body


def _track(said: fields.TextFields, time_ns: int) -> content_pb2.TrackUpdate:
    apogee_m, apogee_at_least = length_m(said, "apogee_km")
    range_m, range_at_least = length_m(said, "range_km")
    return content_pb2.TrackUpdate(
        state=bodies.state(time_ns, *motion.to_ecef(_local(said))),
        apogee_m=bodies.quantity(apogee_m, at_least=apogee_at_least),
        ground_range_m=bodies.quantity(range_m, at_least=range_at_least),
        manoeuvre_suspected=said.maybe_choice("manoeuvre", FLAG, otherwise=False),
        phase=said.maybe_choice("phase", bodies.PHASES, content_pb2.PHASE_UNSPECIFIED),
        confidence=said.maybe_number("confidence", *fields.FRACTION),
    )


def _impact(said: fields.TextFields) -> content_pb2.ImpactPrediction:
    body = content_pb2.ImpactPrediction(
        time=_window(said, "falls", "falls_pm_s"),
        area=_area(said),
        overflight_only=said.maybe_choice("passes", FLAG, otherwise=False),
        nations_affected=[fields.matching(word, "nations", fields.CODE) for word in said.words("nations")],
        confidence=said.maybe_number("confidence", *fields.FRACTION),
    )
    prefectures = [fields.matching(word, "prefectures", PREFECTURE) for word in said.words("prefectures")]
    if prefectures and not body.HasField("area"):
        raise UnreadableLine("prefectures: of an area that is not there")
    if prefectures:
        body.area.iso_3166_2.extend(prefectures)
    return body


def _local(said: fields.TextFields) -> motion.Local:
    """Return the state: a place, a velocity of three components or none, and as many deviations as are known."""
    below = place(said, "lat", "lon")
    if below is None:
        raise UnreadableLine("lat, lon: missing")
    least_m, most_m = fields.HEIGHT_M
    height_m = said.number("height_km", least_m / 1_000.0, most_m / 1_000.0) * 1_000.0
    velocity = said.numbers("velocity", (3, 0), fields.SPEED_MPS[1])
    deviations = said.numbers("deviations", (6, 3, 0), DEVIATION_MAX)
    correlations = said.numbers("correlations", (15, 3, 0), 1.0)
    if len(correlations) != len(deviations) * (len(deviations) - 1) // 2:
        raise UnreadableLine("correlations: not as many as the deviations need")
    if any(deviation < 0.0 for deviation in deviations):
        raise UnreadableLine("deviations: one below zero")
    covariance = motion.of_correlations(deviations, correlations)
    east_north_up = (velocity[0], velocity[1], velocity[2]) if velocity else None
    return motion.Local(*below, height_m, east_north_up, covariance)


def _window(said: fields.TextFields, name: str, spread_name: str) -> measures_pb2.TimeWindow | None:
    text = said.maybe(name)
    if not text:
        return None
    best_ns = fields.nanoseconds(text, name, TIME, offset_h=OFFSET_H)
    return bodies.window(best_ns, said.number(spread_name, *fields.SPREAD_S))


def _area(said: fields.TextFields) -> measures_pb2.Area | None:
    centre = place(said, "lat", "lon")
    if centre is None:
        return None
    most_km = fields.LENGTH_M[1] / 1_000.0
    major_km, minor_km = said.number("major_km", 0.0, most_km), said.number("minor_km", 0.0, most_km)
    orientation_deg = said.number("orientation", *fields.ANGLE_DEG)
    return bodies.ellipse(*centre, major_km * 1_000.0, minor_km * 1_000.0, orientation_deg)


def _site(said: fields.TextFields) -> motion.Vector | None:
    at = place(said, "own_lat", "own_lon")
    return None if at is None else (*at, said.number("own_height_m", *fields.HEIGHT_M))


def _label(said: fields.TextFields) -> envelope_pb2.SecurityLabel:
    return bodies.label(
        "JPN", said.choice("grade", GRADES), said.words("releasable"), said.words("caveats"), known_caveats=CAVEATS
    )


def _clock_error_s(said: fields.TextFields) -> float | None:
    error_ms = said.maybe_number("clock_ms", *fields.CLOCK_ERROR_MS)
    return None if error_ms is None else error_ms / 1_000.0


def _time(said: fields.TextFields, name: str) -> int:
    return fields.nanoseconds(said.text(name, fields.TEXT), name, TIME, offset_h=OFFSET_H)
