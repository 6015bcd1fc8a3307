"""What the demo found, as data and as lines; and whether every promise held."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from math import hypot, inf, pi
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final

from broker.clock import nanoseconds, wall_of_exercise_ns
from broker.demo.floor import LEGS
from broker.demo.story import LIAR
from broker.geodesy import ecef
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.demo.floor import Floor, Picture
    from broker.demo.story import Story
    from vedette.v1 import content_pb2

ELLIPSE_SAMPLES: Final = 8  # of the many revisions of a picture
GOOD_ERROR_M: Final = 5_000.0  # of a fused position in the middle of the flight


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that must hold, and whether it did."""

    text: str
    held: bool


def summarise(story: Story) -> dict[str, Any]:
    """Return everything that was measured, as JSON has it."""
    return {
        "exercise": story.exercise.exercise_id,
        "rate": story.exercise.rate,
        "lines_reported": len(story.played.sent) if story.played else 0,
        "lines_not_reported": dict(story.played.unreported) if story.played else {},
        "pairs": {f"{origin}->{recipient}": _pair(story, origin, recipient) for origin, recipient in story.sealed},
        "legs_ms": _legs(story),
        "refusals": dict(Counter(attempt.answer for attempt in story.attempts)),
        "attacks": [
            {"what": attempt.what, "expected": attempt.expected, "answer": attempt.answer} for attempt in story.attempts
        ],
        "recipients": {nation: _recipient(story, floor) for nation, floor in story.floors.items()},
        "cut_off": {
            "nation": story.cut_off,
            "had_everything_after_s": round(story.behind_s, 2),
            "waited_in_its_outbox": sum(floor.waited for floor in story.floors.values()),  # and count in no leg
        },
        "withheld": _decisions(story),
        "promises": [{"text": promise.text, "held": promise.held} for promise in promises(story)],
    }


def promises(story: Story) -> list[Promise]:
    """Return what must hold, and whether it did."""
    floors = story.floors.values()
    missing = sum(len(story.missing(*pair)) for pair in story.sealed)
    count = sum(len(ids) for ids in story.sealed.values())
    twice = sum(times - 1 for floor in floors for times in floor.shown.values() if times > 1)
    back = story.floors.get(story.cut_off)
    return [
        Promise(f"all {count} messages between nations arrived", missing == 0 and count > 0),
        Promise("the hub took everything that the gateways sealed", _refused_by_hub(story) == 0),
        Promise("no message was shown twice", twice == 0),
        Promise("no leaf was shown that its origin says is withheld", not any(floor.leaks for floor in floors)),
        Promise("no foreign sensor was named", not any(_named_sensors(floor) for floor in floors)),
        Promise(
            f"every attack was refused for its own reason ({len(story.attempts)})",
            bool(story.attempts) and all(attempt.held for attempt in story.attempts),
        ),
        Promise("the cancellation reached everybody", all(_was_cancelled(story, floor) for floor in floors)),
        Promise(
            f"{story.cut_off} was cut off, caught up, and heard no siren for what was cancelled meanwhile",
            back is not None and sum(back.caught_up.values()) > 0 and story.sirens_after_return == 0,
        ),
        Promise("every nation had a fused picture", all(floor.pictures for floor in floors)),
        Promise(
            f"the fused track came within {GOOD_ERROR_M / 1000:g} km of the truth",
            all(_best_error_m(story, floor) <= GOOD_ERROR_M for floor in floors),
        ),
        Promise("every line of every sensor was taken", story.played is not None and not story.played.unreported),
    ]


def lines(story: Story) -> Iterator[str]:
    """Yield the summary for people."""
    found = summarise(story)
    yield ""
    yield "between nations (messages of the exercise)"
    for pair, facts in found["pairs"].items():
        yield (
            f"  {pair}: sent {facts['sent']}, delivered {facts['delivered']}, missing {facts['missing']}, "
            f"twice {facts['duplicates']}; withheld: {', '.join(facts['groups_withheld']) or 'nothing'}"
        )
    yield "legs, in ms (p50 / p99)"
    for leg, facts in found["legs_ms"].items():
        yield f"  {leg}: {facts['p50']} / {facts['p99']}  ({facts['count']})"
    if waited := found["cut_off"]["waited_in_its_outbox"]:
        yield f"  without {waited} that lay in the outbox of {story.cut_off}'s gateway while it was killed"
    yield "what each nation had"
    for nation, facts in found["recipients"].items():
        area = facts["impact_ellipse_km2"]
        shown = f", impact area {area[0]['km2']:.0f} -> {area[-1]['km2']:.0f} km2" if area else ""
        yield (
            f"  {nation}: first report {_seconds(facts['first_report_s'])}, first fused track "
            f"{_seconds(facts['first_fused_track_s'])} after the launch{shown}, "
            f"position error {_kilometres(facts['position_error_m_median'])} (median)"
        )
    yield "promises"
    for promise in promises(story):
        yield f"  {'held' if promise.held else 'BROKEN'}: {promise.text}"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} s"


def _kilometres(value_m: float | None) -> str:
    return "unknown" if value_m is None else f"{value_m / 1000:.2f} km"


def _pair(story: Story, origin: str, recipient: str) -> dict[str, Any]:
    floor = story.floors[recipient]
    shown = {key: times for key, times in floor.shown.items() if key.origin == origin}
    sealed = story.sealed[origin, recipient]
    return {
        "sent": len(sealed),
        "delivered": sum(1 for key in shown if key.message_id in sealed),
        "duplicates": sum(times - 1 for times in shown.values()),
        "missing": len(story.missing(origin, recipient)),
        "groups_withheld": sorted(_decisions(story).get(f"{origin}->{recipient}", {}).get("groups", [])),
    }


def _decisions(story: Story) -> dict[str, dict[str, list[str]]]:
    """Return, from the origins' audit trails, which groups were withheld or made coarse, and by which rules."""
    groups: dict[str, set[str]] = defaultdict(set)
    coarse: dict[str, set[str]] = defaultdict(set)
    rules: dict[str, set[str]] = defaultdict(set)
    for origin in story.floors:
        for entry in audit_entries(story, origin):
            pair = f"{origin}->{entry['recipient']}"
            rules[pair].update(entry["rules"])
            for group, level in entry["levels"].items():
                if level == "withheld" and entry["outcome"] != "withheld":
                    groups[pair].add(group)
                elif level != "exact" and entry["outcome"] != "withheld":
                    coarse[pair].add(f"{group} at {level}")
    return {
        pair: {"groups": sorted(groups[pair]), "coarse": sorted(coarse[pair]), "rules": sorted(rules[pair])}
        for pair in sorted(rules)
    }


def audit_entries(story: Story, origin: str, event: str = "decided") -> Iterator[dict[str, Any]]:
    """Yield what a nation's gateway decided, or another kind of event, from its audit trail."""
    path = story.world.folder / origin.lower() / "data" / "audit.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # torn by the kill; the trail itself marks it
        fields = entry.get("fields", entry)
        if entry.get("event") == event:
            yield fields


def _refused_by_hub(story: Story) -> int:
    return sum(1 for origin in story.floors for _ in audit_entries(story, origin, "refused-by-hub"))


def _legs(story: Story) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for leg in LEGS:
        durations = [value for floor in story.floors.values() for value in floor.latencies_s.get(leg, ())]
        if len(durations) >= 2:  # noqa: PLR2004 - quantiles need two
            cuts = quantiles(durations, n=100, method="inclusive")
            found[leg] = {
                "p50": round(cuts[49] * 1000, 2),
                "p99": round(cuts[98] * 1000, 2),
                "count": len(durations),
            }
    return found


def _recipient(story: Story, floor: Floor) -> dict[str, Any]:
    launch_ns = min(launched.time_ns for launched in story.timeline.launched.values())
    launch_wall_ns = wall_of_exercise_ns(story.exercise, launch_ns)

    def since_launch_s(wall_ns: int) -> float | None:
        return round((wall_ns - launch_wall_ns) / SECOND_NS * story.exercise.rate, 1) if wall_ns else None

    tracked = [picture.at_ns for pictures in floor.pictures.values() for picture in pictures if picture.event.tracks]
    errors = sorted(_errors_m(story, floor))
    revisions = sorted((picture for pictures in floor.pictures.values() for picture in pictures), key=_shown_at)
    areas = [
        {"at_s": since_launch_s(picture.at_ns), "km2": round(km2, 1)}
        for picture in revisions
        for km2 in _areas_km2(picture.event)
    ]
    step = max(1, len(areas) // ELLIPSE_SAMPLES)
    return {
        "first_report_s": since_launch_s(floor.first_report_ns),
        "first_fused_track_s": since_launch_s(min(tracked, default=0)),
        "fused_events": len(floor.pictures),
        "revisions": sum(len(pictures) for pictures in floor.pictures.values()),
        "impact_ellipse_km2": [*areas[::step], *areas[-1:]],
        "position_error_m_median": round(errors[len(errors) // 2]) if errors else None,
        "position_error_m_least": round(errors[0]) if errors else None,
        "impact_error_m": _impact_error_m(story, floor),
        "alarms": len(floor.alarms),
        "caught_up": dict(floor.caught_up),
    }


def _shown_at(picture: Picture) -> int:
    return picture.at_ns


def _areas_km2(event: content_pb2.FusedEvent) -> Iterator[float]:
    for impact in event.impacts:
        if impact.area.HasField("ellipse"):
            yield pi * impact.area.ellipse.semi_major_m * impact.area.ellipse.semi_minor_m / 1e6


def _errors_m(story: Story, floor: Floor) -> Iterator[float]:
    """Yield how far each fused position was from the nearest true one at its own time."""
    for pictures in floor.pictures.values():
        for picture in pictures:
            for track in picture.event.tracks:
                error_m = _error_m(story, track)
                if error_m < inf:
                    yield error_m


def _error_m(story: Story, track: content_pb2.TrackUpdate) -> float:
    if len(track.state.position_m) != 3:  # noqa: PLR2004 - x, y, z
        return inf
    at_ns = nanoseconds(track.state.valid_at)
    truths = [story.timeline.position_m(name, at_ns) for name in story.timeline.launched]
    return min((_distance_m(track.state.position_m, truth) for truth in truths if truth is not None), default=inf)


def _distance_m(one: Any, other: Any) -> float:  # noqa: ANN401 - any three numbers
    return hypot(*(a - b for a, b in zip(one, other, strict=True)))


def _best_error_m(story: Story, floor: Floor) -> float:
    errors = sorted(_errors_m(story, floor))
    return errors[len(errors) // 2] if errors else inf


def _impact_error_m(story: Story, floor: Floor) -> float | None:
    """Return how far the last predicted impact point was from the true one."""
    impacts = [impact for name in story.timeline.launched if (impact := story.timeline.impact(name)) is not None]
    last = [
        impact.area.ellipse.centre
        for pictures in floor.pictures.values()
        for picture in pictures
        for impact in picture.event.impacts
        if impact.area.HasField("ellipse")
    ][-1:]
    if not last or not impacts:
        return None
    found = ecef(last[0].lat_deg, last[0].lon_deg, 0.0)
    return round(min(_distance_m(found, ecef(lat_deg, lon_deg, 0.0)) for lat_deg, lon_deg, _ in impacts))


def _was_cancelled(story: Story, floor: Floor) -> bool:
    """Return whether the floor that got the false launch also got its cancellation, and no alarm of it stands."""
    if floor.nation == LIAR:
        return True  # its own false alarm: nothing of it comes back to it
    false_events = story.false_events(floor)
    ids = {message_id for event in false_events for message_id in floor.events[event]}
    return bool(ids) and ids <= floor.cancelled and not false_events & floor.raised


def _named_sensors(floor: Floor) -> list[str]:
    return [
        getattr(content, body).source.name
        for content in floor.newest.values()
        if (body := content.WhichOneof("body")) in {"launch", "track", "impact"} and getattr(content, body).source.name
    ]
