"""A feed of words: `kind=track no=17 radar=coast-1 track=42 t=1664835780.123 x=… y=… z=… vx=… vy=… vz=… sd=200`.

Times are seconds since 1970, everything else is SI, positions are ECEF. A state has one standard deviation for all
axes of its position; the writer takes the largest, so that the radar never looks better than it is.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from broker.plugin import Observation, Sensor, Sight, UnreadableLine
from nations import bodies, fields
from nations.session import Body, Head, Retraction, Session, Statement, line_number
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from broker.plugin import Memory

__all__ = ["open_session", "write"]

TIME: Final = re.compile(r"([0-9]{9,10})\.([0-9]{3})")
POSITION_M: Final = (-1e8, 1e8)
AXES: Final = ("x", "y", "z")
DIAGONAL: Final = (0, 6, 11)  # of the position, in a covariance of 21 terms
STATES: Final = {
    "lost": content_pb2.EVENT_STATE_TRACK_LOST,
    "false": content_pb2.EVENT_STATE_NOT_A_LAUNCH,
    "over": content_pb2.EVENT_STATE_ALL_CLEAR,
}
STATE_WORDS: Final = {state: word for word, state in STATES.items()}


def open_session(memory: Memory) -> Session:
    """Return an adapter that goes on where the memory ends."""
    return Session(parse, memory)


def parse(line: bytes) -> Statement | Retraction:
    """Return what one line says. Raises UnreadableLine."""
    said = _words(fields.text_of(line))
    kind = said.text("kind", fields.WORD)
    sensor = said.text("radar", fields.SENSOR_NAME)
    time_ns = _time(said, "t")
    label = bodies.label(
        "AUS",
        envelope_pb2.CLASSIFICATION_RESTRICTED,
        _listed(said, "to"),
        (),
        known_caveats=frozenset(),
    )
    head = Head(sensor, said.text("no", fields.IDENTIFIER), time_ns, None, label)
    if kind == "cancel":
        retraction = Retraction(head, said.text("cancels", fields.IDENTIFIER))
        said.close()
        return retraction
    track = said.integer("track", *fields.TRACK)
    body = _body(kind, said, time_ns)
    if not isinstance(body, content_pb2.EventStatus):
        body.source.CopyFrom(bodies.source(measures_pb2.SENSOR_KIND_GROUND_RADAR, sensor, None))
    corrects = said.maybe_text("corrects", fields.IDENTIFIER)
    said.close()
    return Statement(head, track, body, corrects)


def write(observation: Observation, sensor: Sensor) -> bytes:
    """Return the line in which the radar reports the sighting. Raises ValueError where a track has no position."""
    words = {
        "no": line_number(observation),
        "radar": sensor.name,
        "track": str(observation.track_number),
        "t": _written(observation.time_ns),
        "to": "JPN+KOR+USA",
    }
    match observation.sight:
        case Sight.LAUNCH:
            words |= {"kind": "launch"} | _place(observation)
            words |= {"class": bodies.CLASS_NAMES[observation.missile_class]} if observation.missile_class else {}
            words |= {} if observation.azimuth_deg is None else {"azimuth": f"{observation.azimuth_deg:.3f}"}
            words |= _when(observation.launch_time_ns, observation.launch_time_sigma_s)
        case Sight.TRACK:
            words |= {"kind": "track"} | _state(observation)
        case Sight.IMPACT:
            words |= {"kind": "impact", "falls-on": "+".join(observation.nations_affected)} | _place(observation)
            words |= _when(observation.impact_time_ns, observation.impact_time_sigma_s)
        case Sight.LOST | Sight.NOT_A_LAUNCH | Sight.ALL_CLEAR:
            words |= {"kind": "status", "state": STATE_WORDS[bodies.SIGHTED[observation.sight]]}
    return " ".join(f"{name}={word}" for name, word in words.items() if word).encode()


def _words(text: str) -> fields.TextFields:
    found: dict[str, str] = {}
    for word in text.split(" "):
        name, is_pair, value = word.partition("=")
        if not is_pair or name in found:
            raise UnreadableLine("a word that is not name=value, or a name twice")
        found[name] = value
    return fields.TextFields(found)


def _body(kind: str, said: fields.TextFields, time_ns: int) -> Body:
    match kind:
        case "launch":
            launch = content_pb2.LaunchDetection(launch_time=_window(said), launch_area=_area(said))
            launch.azimuth_deg = said.number("azimuth", *fields.ANGLE_DEG)
            launch.classes.add(missile_class=said.choice("class", bodies.CLASSES), probability=1.0)
            return launch
        case "track":
            phase = said.maybe_choice("phase", bodies.PHASES, content_pb2.PHASE_UNSPECIFIED)
            return content_pb2.TrackUpdate(state=_read_state(said, time_ns), phase=phase)
        case "impact":
            nations = [fields.matching(code, "falls-on", fields.CODE) for code in _listed(said, "falls-on")]
            return content_pb2.ImpactPrediction(area=_area(said), time=_window(said), nations_affected=nations)
        case "status":
            return bodies.status(said.choice("state", STATES), content_pb2.STATUS_REASON_UNSPECIFIED)
        case _:
            raise UnreadableLine("kind: not one of launch, track, impact, status, cancel")


def _read_state(said: fields.TextFields, time_ns: int) -> measures_pb2.State:
    position = [said.number(axis, *POSITION_M) for axis in AXES]
    velocity = [said.number(f"v{axis}", *fields.SPEED_MPS) for axis in AXES]
    variance = said.number("sd", *fields.LENGTH_M) ** 2
    return bodies.state(time_ns, position, velocity, (variance, 0.0, 0.0, variance, 0.0, variance))


def _state(observation: Observation) -> dict[str, str]:
    if observation.position_m is None:
        raise ValueError("a track without a position")
    words = {axis: f"{value:.1f}" for axis, value in zip(AXES, observation.position_m, strict=True)}
    velocity = observation.velocity_mps or (0.0, 0.0, 0.0)
    words |= {f"v{axis}": f"{value:.2f}" for axis, value in zip(AXES, velocity, strict=True)}
    variance = (
        max((observation.covariance[place] for place in DIAGONAL), default=0.0) if observation.covariance else 0.0
    )
    phase = bodies.phase_of(observation)
    return words | {"sd": f"{math.sqrt(variance) + 0.05:.1f}", "phase": bodies.PHASE_NAMES.get(phase, "")}


def _place(observation: Observation) -> dict[str, str]:
    return {
        "lat": f"{observation.lat_deg:.5f}",
        "lon": f"{observation.lon_deg:.5f}",
        "major": f"{observation.area_semi_major_m:.0f}",
        "minor": f"{observation.area_semi_minor_m:.0f}",
        "axis": f"{observation.area_orientation_deg:.2f}",
    }


def _area(said: fields.TextFields) -> measures_pb2.Area:
    return bodies.ellipse(
        said.number("lat", *fields.LAT_DEG),
        said.number("lon", *fields.LON_DEG),
        said.number("major", *fields.LENGTH_M),
        said.number("minor", *fields.LENGTH_M),
        said.number("axis", *fields.ANGLE_DEG),
    )


def _when(best_ns: int | None, sigma_s: float) -> dict[str, str]:
    return {} if best_ns is None else {"at": _written(best_ns), "pm": f"{bodies.SIGMAS * sigma_s:.3f}"}


def _window(said: fields.TextFields) -> measures_pb2.TimeWindow:
    return bodies.window(_time(said, "at"), said.number("pm", *fields.SPREAD_S))


def _listed(said: fields.TextFields, name: str) -> list[str]:
    text = said.maybe(name)
    return text.split("+") if text else []


def _time(said: fields.TextFields, name: str) -> int:
    seconds, milliseconds = said.text(name, TIME).split(".")
    return int(seconds) * 1_000_000_000 + int(milliseconds) * 1_000_000


def _written(time_ns: int) -> str:
    time_ms = round(time_ns / 1_000_000)
    return f"{time_ms // 1000}.{time_ms % 1000:03d}"
