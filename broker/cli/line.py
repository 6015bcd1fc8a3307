"""A WatchResponse as one line for a watch officer: when, how urgent, from whom, which event, what, and what to doubt.

    12:00:53.120Z  EXERCISE  FLASH      KOR  launch   5a9aab7c/39f50c11  40.610 N 126.430 E within 3.0 km, at …

Ids are cut to eight figures: an event's, and after the stroke the message's, by which a later line corrects or cancels
it. The time in front is when our own gateway showed it; times of the event itself are the exercise's in an exercise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.clock import nanoseconds
from broker.geodesy import geodetic
from broker.limits import SECOND_NS
from broker.stages import mode_label, precedence_label
from vedette.v1 import content_pb2, measures_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.timestamp_pb2 import Timestamp

ID_FIGURES: Final = 8
REGIONS_SHOWN: Final = 8
RELATIONS: Final = {
    content_pb2.RELATION_CORRECTS: "corrects",
    content_pb2.RELATION_CANCELS: "CANCELS",
    content_pb2.RELATION_SUPERSEDES: "goes on from",
}
MARKS: Final = {
    national_pb2.MARK_LATE: "LATE",
    national_pb2.MARK_PENDING: "not yet durable at the hub",
    national_pb2.MARK_CATCHING_UP: "from before",
}


def line(response: national_pb2.WatchResponse) -> str:
    """Return one line for a person."""
    match response.WhichOneof("event"):
        case "warning":
            return _warning_line(response.warning)
        case "alarm":
            change = response.alarm
            what = "*** ALARM ***" if change.alarm == national_pb2.ALARM_RAISE else "alarm over"
            return f"{what}  {change.origin} event {_short(change.event_id)}, message {_short(change.message_id)}"
        case "gap":
            gap = response.gap
            count = gap.last_missing - gap.first_missing + 1
            if not gap.origin:
                return f"FORGOTTEN  positions {gap.first_missing} to {gap.last_missing}: longer ago than what is kept"
            return f"MISSING  {count} from {gap.origin}: numbers {gap.first_missing} to {gap.last_missing} never came"
        case _:
            state = "connected" if response.link.hub_connected else "NOT CONNECTED: nothing comes from other nations"
            return f"hub {state}, since {_time(response.link.since)}"


def _warning_line(warning: national_pb2.Warning) -> str:
    header, content = warning.header, warning.content
    body = content.WhichOneof("body") or ""
    columns = (
        _time(warning.stamps.delivered_at, parts_of_second=True),
        f"{mode_label(header.mode).upper():<8}",
        f"{precedence_label(header.precedence).upper():<9}",
        f"{header.origin:<3}",
        f"{_KINDS.get(body, body):<9}",
        f"{_short(_event_id(content))}/{_short(header.message_id)}",
        "; ".join(part for part in (_said(content), *_notes(warning)) if part),
    )
    return "  ".join(columns).rstrip()


_KINDS: Final = {"": "reference", "fused": "picture", "operator_ack": "seen"}


def _notes(warning: national_pb2.Warning) -> Iterator[str]:
    """Yield what it refers to, and why to look twice."""
    header, content = warning.header, warning.content
    for reference in content.header.references:
        yield f"{RELATIONS.get(reference.relation, 'see')} {_short(reference.message_id)}"
    for mark in warning.marks:
        yield MARKS.get(mark, "")
    if national_pb2.MARK_CATCHING_UP not in warning.marks:
        age_s = (nanoseconds(warning.stamps.delivered_at) - nanoseconds(header.released_at)) / SECOND_NS
        yield f"released {age_s:.3f} s before"
    if header.label.caveats:
        yield ", ".join(header.label.caveats)
    if content.header.disclosure.withheld:
        yield "withheld: " + ", ".join(content.header.disclosure.withheld)


def _said(content: content_pb2.Content) -> str:
    match content.WhichOneof("body"):
        case "launch":
            text = _launch(content.launch)
        case "track":
            text = _track(content.track)
        case "impact":
            text = _impact(content.impact)
        case "status":
            text = _status(content.status)
        case "fused":
            text = _picture(content.fused)
        case "operator_ack":
            text = f"a person has seen {_short(content.operator_ack.message_id)}"
        case "heartbeat":
            text = content_pb2.Health.Name(content.heartbeat.health).removeprefix("HEALTH_").lower()
        case "notice":
            notice = content.notice
            text = _joined("announced", _area(notice.launch_area), _window(notice.window), notice.reference)
        case _:
            text = ""
    return text


def _launch(launch: content_pb2.LaunchDetection) -> str:
    likely = max(launch.classes, key=lambda estimate: estimate.probability, default=None)
    kind = ""
    if likely is not None:
        name = measures_pb2.MissileClass.Name(likely.missile_class).removeprefix("MISSILE_CLASS_")
        kind = f"{name} {likely.probability:.0%}" if likely.probability else name
    towards = f"towards {launch.azimuth_deg:.0f} deg" if launch.HasField("azimuth_deg") else ""
    return _joined(_area(launch.launch_area), _window(launch.launch_time), towards, kind)


def _track(track: content_pb2.TrackUpdate) -> str:
    place = ""
    if len(track.state.position_m) == 3:  # noqa: PLR2004 - x, y, z
        lat_deg, lon_deg, height_m = geodetic(*track.state.position_m)
        place = f"{_place(lat_deg, lon_deg)}, {height_m / 1000:.0f} km high{_cell(track.state.cell)}"
    at = f"at {_time(track.state.valid_at, date=True)}" if track.state.HasField("valid_at") else ""
    phase = content_pb2.Phase.Name(track.phase).removeprefix("PHASE_").lower() if track.phase else ""
    return _joined(place, at, phase, "manoeuvres" if track.manoeuvre_suspected else "")


def _impact(impact: content_pb2.ImpactPrediction) -> str:
    what = "passes over" if impact.overflight_only else "comes down"
    threatened = f"in {'/'.join(impact.nations_affected)}" if impact.nations_affected else ""
    return _joined(f"{what} {_area(impact.area)}".rstrip(), _window(impact.time), threatened)


def _status(status: content_pb2.EventStatus) -> str:
    reason = ""
    if status.reason:
        reason = content_pb2.StatusReason.Name(status.reason).removeprefix("STATUS_REASON_").lower().replace("_", " ")
    return _joined(content_pb2.EventState.Name(status.state).removeprefix("EVENT_STATE_").replace("_", " "), reason)


def _picture(fused: content_pb2.FusedEvent) -> str:
    """Return the sharpest that the picture has: where it comes down, or else where it is, or else where it rose."""
    standing = content_pb2.Standing.Name(fused.standing).removeprefix("STANDING_")
    sources = "/".join(contribution.origin for contribution in fused.contributions)
    if fused.impacts:
        what = _impact(fused.impacts[0])
    elif fused.tracks:
        what = _track(fused.tracks[0])
    else:
        what = _launch(fused.launch)
    state = _status(fused.status) if fused.status.state else ""
    if len(fused.tracks) > 1:
        state = _joined(state, f"{len(fused.tracks)} objects")
    return _joined(f"no. {fused.revision} from {sources}", standing.lower(), state, what, *_assessed(fused))


def _assessed(fused: content_pb2.FusedEvent) -> Iterator[str]:
    """Yield what else is said of the objects: regions, what was flown over, and why to trust an area less."""
    touched = sorted({code for one in fused.objects for code in one.regions})
    over = list(dict.fromkeys(code for one in fused.objects for code in one.overflown))
    if touched:
        yield f"touches {_some(touched)}"
    if over:
        yield f"over {_some(over)}"
    if any(one.motion == content_pb2.MOTION_NON_BALLISTIC for one in fused.objects):
        yield "NOT BALLISTIC: the area is only how far it could get"
    if any(one.implausible for one in fused.objects):
        yield "IMPLAUSIBLE: apogee, range and time do not fit together"
    differing = sorted({origin for one in fused.disagreements for origin in one.origins})
    if differing:
        paths = dict.fromkeys(one.field_path.split(".")[0] for one in fused.disagreements)
        yield f"{'/'.join(differing)} differ in {', '.join(paths)}"


def _some(codes: list[str]) -> str:
    """Return the first of many."""
    more = len(codes) - REGIONS_SHOWN
    return " ".join(codes[:REGIONS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _area(area: measures_pb2.Area) -> str:
    if area.HasField("ellipse"):
        ellipse = area.ellipse
        centre = _place(ellipse.centre.lat_deg, ellipse.centre.lon_deg)
        within = f" within {ellipse.semi_major_m / 1000:.1f} km" if ellipse.semi_major_m else ""
        return centre + within + _cell(area.cell)
    if area.HasField("polygon") and area.polygon.ring:
        first = area.polygon.ring[0]
        return f"an area at {_place(first.lat_deg, first.lon_deg)}{_cell(area.cell)}"
    return ", ".join(area.iso_3166_2)


def _place(lat_deg: float, lon_deg: float) -> str:
    return f"{abs(lat_deg):.3f} {'N' if lat_deg >= 0 else 'S'} {abs(lon_deg):.3f} {'E' if lon_deg >= 0 else 'W'}"


def _cell(cell: measures_pb2.Cell) -> str:
    return f" (to {cell.space_m / 1000:g} km)" if cell.space_m else ""


def _window(window: measures_pb2.TimeWindow) -> str:
    for name in ("best", "earliest", "latest"):
        if window.HasField(name):
            word = "at" if name == "best" else f"{name} at"
            return f"{word} {_time(getattr(window, name), date=True)}"
    return ""


def _time(stamp: Timestamp, *, date: bool = False, parts_of_second: bool = False) -> str:
    text = stamp.ToJsonString()  # 2022-10-03T22:22:00.250Z
    day, _, rest = text.removesuffix("Z").partition("T")
    clock, _, fraction = rest.partition(".")
    return f"{day} " * date + clock + f".{fraction:0<3.3}" * parts_of_second + "Z"


def _event_id(content: content_pb2.Content) -> bytes:
    body = content.WhichOneof("body")
    return bytes(getattr(getattr(content, body), "event_id", b"")) if body else b""


def _short(identifier: bytes) -> str:
    return identifier.hex()[:ID_FIGURES] or "-" * ID_FIGURES
