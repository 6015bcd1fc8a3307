"""A timeline in words: what flies, who sees it when, what is said of it, what goes wrong."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.limits import SECOND_NS
from broker.plugin import Sight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.exercise.timeline import Reported, Timeline

SAID = {Sight.NOT_A_LAUNCH: "says: not a launch", Sight.ALL_CLEAR: "says: all clear"}


def describe(timeline: Timeline) -> Iterator[str]:
    """Yield the lines of a text: the launches, then what happens in order of time, then how much it is."""
    scenario = timeline.scenario
    yield f"{scenario.name}: {scenario.shows}"
    yield f"seed {scenario.seed}, rate {scenario.rate:g}, from {_utc(scenario.start_ns)}, nations " + ", ".join(
        scenario.nations
    )
    yield ""
    for name, launched in timeline.launched.items():
        flight, asked = launched.flight, scenario.launches[name].announcement
        what = "looks like" if scenario.launches[name].artefact else "flies"
        yield (
            f"{name} {what} {asked.range_m / 1e3:.0f} km at {asked.apogee_m / 1e3:.0f} km, azimuth"
            f" {asked.azimuth_deg:.0f}: burnout after {flight.burnout_s:.0f} s, apogee {flight.apogee_s:.0f} s,"
            f" impact {flight.impact_s:.0f} s"
        )
    yield ""
    for at_ns, text in sorted(_moments(timeline)):
        yield f"{(at_ns - scenario.start_ns) / SECOND_NS:7.1f} s  {text}"
    yield ""
    counts = Counter(report.nation for report in timeline.reports)
    yield ", ".join(f"{code} {counts[code]} lines" for code in scenario.nations) + f"; in all {counts.total()}"


def _moments(timeline: Timeline) -> Iterator[tuple[int, str]]:
    """Yield the moments worth telling: first and last sights, what is said, launches, impacts, outages."""
    scenario = timeline.scenario
    for name, launched in timeline.launched.items():
        if not scenario.launches[name].artefact:
            yield launched.time_ns, f"{name} is launched"
            yield launched.ns(launched.flight.impact_s), f"{name} comes down"
    for outage in scenario.outages:
        yield scenario.start_ns + round(outage.from_s * SECOND_NS), f"{outage.nation} is cut off from the hub"
        yield scenario.start_ns + round(outage.to_s * SECOND_NS), f"{outage.nation} is connected again"
    for silence in scenario.silences:
        yield scenario.start_ns + round(silence.from_s * SECOND_NS), f"{silence.nation}'s sensors fall silent"
        yield scenario.start_ns + round(silence.to_s * SECOND_NS), f"{silence.nation}'s sensors report again"
    for falsehood in scenario.falsehoods:
        how = f"{falsehood.jump_m / 1e3:g} km off, and {falsehood.drift_mps:g} m/s further"
        at_ns = timeline.launched[falsehood.launch].ns(falsehood.from_s)
        yield at_ns, f"{falsehood.nation} begins to see {falsehood.launch} where it is not: {how}"
    seen: set[tuple[str, str, int]] = set()
    for report in timeline.reports:
        text = _told(report, first=(key := _key(report)) not in seen)
        seen.add(key)
        if text:
            yield report.due_ns, f"{report.nation} {report.sensor.name} {text}"


def _key(report: Reported) -> tuple[str, str, int]:
    return report.nation, report.sensor.name, report.observation.track_number


def _told(report: Reported, *, first: bool) -> str:
    sighted = report.observation
    if sighted.sight in SAID:
        return f"{SAID[sighted.sight]} ({report.launch})"
    if sighted.sight is Sight.LOST:
        return f"loses {report.launch}"
    if first:
        return f"sees {report.launch} for the first time, as track {sighted.track_number}"
    if sighted.sight is Sight.LAUNCH and sighted.ground_range_m is not None:
        again = "corrects itself and " if sighted.corrects is not None else ""
        return f"{again}announces {report.launch}: {sighted.ground_range_m / 1e3:.0f} km"
    if sighted.overflight:
        return f"says that {report.launch} passes over {' and '.join(sighted.nations_affected)}"
    return ""


def _utc(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // SECOND_NS, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
