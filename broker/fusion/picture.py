"""The FusedEvent of one event: what is believed, by whom, and where they differ. Made from the board, without memory.

What an origin said stands in `contributions` as it said it. What is fused stands above: tracks and impact areas from
the histories, launch and counts from the best of the words. Counts are intervals that hold all that was said, classes
are weighted by the origins' own weights, positions and times are never averaged between words.

Whatever origins may say, the picture keeps the bounds of its fields and of a message, or nobody would see any of it: a
number beyond its bound is that bound, a state beyond is no track, and what does not fit is left out by its weight.

Published numbers are rounded (1 mm, 1 mm/s, 1e-7 degrees, 1 ms; covariances to a millionth), so that the last bits of a
processor's arithmetic do not show.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from broker import geodesy, limits
from broker.fusion.assessment import assessment, is_implausible
from broker.fusion.contribution import place_of
from broker.fusion.disagreement import disagreements
from broker.fusion.estimate import merged
from broker.fusion.impact import BURNING_MOST, is_descending
from broker.fusion.naming import NO_NAMES
from broker.fusion.outcome import flying, outcome
from broker.fusion.parting import kinship
from broker.fusion.regions import nations_of, nearest, touched
from broker.fusion.reliance import tell_reliance
from broker.instant import timestamp
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.fusion.board import Event, TrackedObject
    from broker.fusion.contribution import Key, NodeKey, Place, TrackKey
    from broker.fusion.impact import Prediction
    from broker.fusion.kalman import Matrix, State
    from broker.fusion.naming import Named, Names
    from broker.fusion.node import Node

__all__ = ["fused_event"]

CONFIRMED_REPORTS: Final = 3
MILLISECOND_NS: Final = 1_000_000
FUSED_BYTES_MAX: Final = limits.BODY_BYTES_MAX - 1024  # the content's header comes on top
TRACKS_MAX: Final = 16
# A launch or an impact stays the same over many revisions. What is remembered of them is copied by whoever takes it.
REMEMBERED_MAX: Final = 1_024
CONTRIBUTIONS_MAX: Final = limits.FIELD_ITEMS_MAX
# The bounds of these fields in measures.proto; tests compare what comes out with them.
AXIS_MOST_M: Final = 20_000_000.0
AREA_REGIONS_MAX: Final = 128
LENGTH_MOST_M: Final = 100_000_000.0
SPEED_MOST_MPS: Final = 15_000.0
COVARIANCE_MOST: Final = 1e15
TIME_MOST_NS: Final = (limits.TIME_MAX_S - 1) * SECOND_NS


def fused_event(
    number: bytes,
    event: Event,
    nodes: Mapping[NodeKey, Node],
    now_ns: int,
    merged_numbers: Iterable[bytes],
    names: Names = NO_NAMES,
) -> content_pb2.FusedEvent:
    """Return the picture of an event under its track number, without revision and basis."""
    live = [nodes[key] for key in event.nodes]
    gone = [nodes[key] for key in event.retracted if key in nodes]
    refused = _refused(event.objects)
    standing = _standing(live, gone, refused)
    state, reason = outcome(event, nodes, now_ns, is_confirmed=standing != content_pb2.STANDING_UNCONFIRMED)
    objects = flying(event, nodes)
    launch = _launch(number, live, event.objects)
    called = {one.key: names.of(number, one.key) for one in event.objects}
    told = [
        (one, track)
        for one in objects[:TRACKS_MAX]
        if (track := _track(number, called[one.key].name, one, launch)) is not None
    ]
    fused = content_pb2.FusedEvent(
        event_id=number,
        standing=standing,
        status=content_pb2.EventStatus(event_id=number, state=state, reason=reason),
        launch=launch,
        tracks=[track for _, track in told],
        impacts=_impacts(number, live, objects, called),
        contributions=_contributions(live, gone, event.objects)[:CONTRIBUTIONS_MAX],
        disagreements=disagreements(live, gone, refused, event.objects),
        merged_event_ids=sorted(merged_numbers),
        objects=_assessments(event, nodes, told, launch, called),
        parted_from_event_id=names.parted_from,
    )
    return _fitted(fused)


def _assessments(
    event: Event,
    nodes: Mapping[NodeKey, Node],
    told: Sequence[tuple[TrackedObject, content_pb2.TrackUpdate]],
    launch: content_pb2.LaunchDetection | None,
    called: Mapping[TrackKey, Named],
) -> list[content_pb2.ObjectAssessment]:
    """Return what is said of the objects that have a track, in the tracks' order, then of those that have ended."""
    shown = {one.key for one, _ in told}
    ended = [(one, None) for one in event.objects if one.key not in shown][: TRACKS_MAX - len(told)]
    return [
        assessment(
            called[one.key].name,
            one,
            implausible=is_implausible(one, nodes, track, launch),
            kinship=kinship(event, one, called),
        )
        for one, track in (*told, *ended)
    ]


# --- standing ---------------------------------------------------------------------------------------------------------


def _standing(
    live: Sequence[Node], gone: Sequence[Node], refused: Mapping[str, bool]
) -> content_pb2.Standing.ValueType:
    """Return how far the event can be relied upon."""
    if (live and gone) or any(refused.values()):
        return content_pb2.STANDING_CONFLICT
    origins = {node.key[0] for node in live if any(node.count(field) for field in ("launch", "track", "impact"))}
    reports = sum(node.count(field) for node in live for field in ("launch", "track", "impact"))
    said = any(
        (status := node.shown("status")) is not None and status[1].status.state == content_pb2.EVENT_STATE_CONFIRMED
        for node in live
    )
    if len(origins) > 1 or reports >= CONFIRMED_REPORTS or said:
        return content_pb2.STANDING_CONFIRMED
    return content_pb2.STANDING_UNCONFIRMED


def _refused(objects: Sequence[TrackedObject]) -> dict[str, bool]:
    """Return the origins in objects followed by several, each with whether it contradicts another."""
    found: dict[str, bool] = {}
    for one in objects:
        findings = one.scrutiny.findings
        contradicting = findings.contradicting
        for origin in findings.own:
            found[origin] = found.get(origin, False) or origin in contradicting
    return found


# --- what is fused ----------------------------------------------------------------------------------------------------


def _launch(
    number: bytes, live: Sequence[Node], objects: Sequence[TrackedObject]
) -> content_pb2.LaunchDetection | None:
    """Return the launch: the most exact place that was said or can be read back, and the best direction."""
    said = [found for node in live if (found := node.launch()) is not None]
    read = [found for one in objects if (found := one.ascent()) is not None]
    every = said or read
    if not every:
        return None
    best = min(every, key=lambda launch: (launch.place is None, launch.place.spread_m if launch.place else 0.0))
    directed = [launch for launch in (*said, *read) if launch.azimuth_deg is not None]
    fused = content_pb2.LaunchDetection(event_id=number)
    if best.time_ns is not None:
        fused.launch_time.CopyFrom(_window(best.time_ns, best.time_sigma_s))
    if best.place is not None:
        fused.launch_area.CopyFrom(_area(best.place))
    if directed:
        sharpest = min(directed, key=lambda launch: launch.azimuth_sigma_deg)
        fused.azimuth_deg = round(sharpest.azimuth_deg or 0.0, 3)
        fused.azimuth_sigma_deg = round(min(sharpest.azimuth_sigma_deg, 180.0), 3)
    words = [shown[1].launch for node in live if (shown := node.shown("launch")) is not None]
    fused.classes.extend(_classes(words))
    counts = [word.count for word in words if word.HasField("count")]
    if counts:
        fused.count.least = min(count.least for count in counts)
        fused.count.most = max(count.most for count in counts)
    return fused


def _classes(words: Sequence[content_pb2.LaunchDetection]) -> list[measures_pb2.ClassEstimate]:
    """Return the mean of the origins' weights."""
    words = [word for word in words if word.classes]
    weights: dict[measures_pb2.MissileClass.ValueType, float] = {}
    for word in words:
        for estimate in word.classes:
            weights[estimate.missile_class] = weights.get(estimate.missile_class, 0.0) + estimate.probability
    return [
        measures_pb2.ClassEstimate(missile_class=missile_class, probability=round(min(weight / len(words), 1.0), 3))
        for missile_class, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    ][:16]


def _track(
    number: bytes, name: bytes, one: TrackedObject, launch: content_pb2.LaunchDetection | None
) -> content_pb2.TrackUpdate | None:
    """Return an object's state; None where there is none that could be true."""
    estimate = one.history.newest
    state, noise = merged(estimate)
    if not _is_bounded(state, noise):
        return None
    track = content_pb2.TrackUpdate(
        event_id=number,
        object_id=name,
        state=measures_pb2.State(
            frame=measures_pb2.FRAME_ECEF_WGS84,
            valid_at=timestamp(estimate.time_ns),
            position_m=[round(value, 3) for value in state[:3]],
            velocity_mps=[round(value, 3) for value in state[3:]],
            covariance=[_rounded(noise[row][column]) for row in range(6) for column in range(row, 6)],
        ),
        manoeuvre_suspected=estimate.restarts > 0,
        phase=_phase(estimate.burning_probability, state, noise),
    )
    if one.prediction is not None:
        track.apogee_m.value = round(min(max(one.prediction.apogee_m, 0.0), LENGTH_MOST_M), 0)
        if launch is not None and launch.launch_area.HasField("ellipse"):
            start = launch.launch_area.ellipse.centre
            place = one.prediction.place
            track.ground_range_m.value = _range_m(start.lat_deg, start.lon_deg, place.lat_deg, place.lon_deg)
    return track


@lru_cache(maxsize=REMEMBERED_MAX)
def _range_m(from_lat_deg: float, from_lon_deg: float, to_lat_deg: float, to_lon_deg: float) -> float:
    """Return the length of the way over the ground."""
    return round(geodesy.distance_azimuth(from_lat_deg, from_lon_deg, to_lat_deg, to_lon_deg)[0], 0)


def _is_bounded(state: State, noise: Matrix) -> bool:
    """Say whether a state can be published: reports that contradict each other may lead to one that is none."""
    return (
        all(abs(value) <= LENGTH_MOST_M for value in state[:3])
        and all(abs(value) <= SPEED_MOST_MPS for value in state[3:])
        and all(0.0 <= noise[k][k] <= COVARIANCE_MOST for k in range(6))
    )


def _rounded(term: float) -> float:
    """Return a covariance without the digits that mean nothing."""
    return round(term, 6 if -1e6 < term < 1e6 else 0)  # noqa: PLR2004 - from here on, a millionth is noise


def _phase(burning: float, state: State, noise: Matrix) -> content_pb2.Phase.ValueType:
    """Return the phase of flight; not known between burning and falling."""
    if is_descending(state, noise):
        return content_pb2.PHASE_DESCENT
    if burning <= BURNING_MOST:
        return content_pb2.PHASE_COAST
    return content_pb2.PHASE_BOOST if burning > 0.5 else content_pb2.PHASE_UNSPECIFIED  # noqa: PLR2004 - more likely than not


def _impacts(
    number: bytes, live: Sequence[Node], objects: Sequence[TrackedObject], called: Mapping[TrackKey, Named]
) -> list[content_pb2.ImpactPrediction]:
    """Return our own predictions; where there are none, the most exact that an origin made."""
    own = [
        _impact(number, called[one.key].name, one.prediction, *one.forecast.affected())
        for one in objects[:TRACKS_MAX]
        if one.prediction is not None
    ]
    if own:
        return own
    said = [shown for node in live if (shown := node.shown("impact")) is not None]
    if not said:
        return []
    _, best = min(said, key=lambda shown: (_spread_m(shown[1].impact.area), shown[0]))
    passed_on = content_pb2.ImpactPrediction()
    passed_on.CopyFrom(best.impact)
    passed_on.event_id = number
    passed_on.ClearField("object_id")
    passed_on.ClearField("source")
    place = place_of(passed_on.area)
    if place is not None and not passed_on.area.iso_3166_2:
        passed_on.area.iso_3166_2.extend(nearest(touched(place), place, AREA_REGIONS_MAX))
    if not passed_on.nations_affected:
        passed_on.nations_affected.extend(nations_of(touched(place)) if place is not None else ())
    return [passed_on]


@lru_cache(maxsize=REMEMBERED_MAX)
def _impact(
    number: bytes,
    name: bytes,
    prediction: Prediction,
    nations: tuple[str, ...],
    overflight_only: bool,  # noqa: FBT001 - goes with the nations
) -> content_pb2.ImpactPrediction:
    """Return the area that holds the impact with 95 %, the time, and whom it concerns."""
    return content_pb2.ImpactPrediction(
        event_id=number,
        object_id=name,
        area=_area(prediction.place),
        time=_window(prediction.time_ns, prediction.time_sigma_s),
        overflight_only=overflight_only,
        nations_affected=nations,
    )


def _spread_m(area: measures_pb2.Area) -> float:
    """Return how wide an area is; infinite if it has no shape."""
    place = place_of(area)
    return place.spread_m if place else math.inf


@lru_cache(maxsize=REMEMBERED_MAX)
def _area(place: Place) -> measures_pb2.Area:
    """Return the ellipse of 95 %."""
    major_m, minor_m, orientation_deg = geodesy.ellipse_of_covariance(
        place.east_m2, place.east_north_m2, place.north_m2
    )
    return measures_pb2.Area(
        ellipse=measures_pb2.Ellipse(
            # Never -0.0: it is the same place to the cache, which all Views share, and other bytes.
            centre=measures_pb2.GeoPoint(lat_deg=round(place.lat_deg, 7) + 0.0, lon_deg=round(place.lon_deg, 7) + 0.0),
            semi_major_m=min(round(major_m, 3), AXIS_MOST_M),
            semi_minor_m=min(round(minor_m, 3), AXIS_MOST_M),
            orientation_deg=round(orientation_deg, 3) + 0.0,
            probability=0.95,
        )
    )


@lru_cache(maxsize=REMEMBERED_MAX)
def _window(best_ns: int, sigma_s: float) -> measures_pb2.TimeWindow:
    """Return a time and two standard deviations either way, to the millisecond."""
    reach_ns = round(2.0 * sigma_s * SECOND_NS)
    earliest, best, latest = (
        timestamp(min(max(ns // MILLISECOND_NS * MILLISECOND_NS, 0), TIME_MOST_NS))
        for ns in (best_ns - reach_ns, best_ns, best_ns + reach_ns)
    )
    return measures_pb2.TimeWindow(earliest=earliest, latest=latest, best=best)


# --- who said what ----------------------------------------------------------------------------------------------------


def _contributions(
    live: Sequence[Node], gone: Sequence[Node], objects: Sequence[TrackedObject]
) -> list[content_pb2.Contribution]:
    """Return what each origin says, its newest of every kind. What it took back is not shown, only that it did."""
    by_origin: dict[str, list[Node]] = {}
    for node in (*live, *gone):
        by_origin.setdefault(node.key[0], []).append(node)
    found = []
    for origin, nodes in sorted(by_origin.items()):
        standing = [node for node in nodes if not node.is_retracted]
        contribution = content_pb2.Contribution(
            origin=origin,
            message_count=sum(len(node.order) for node in nodes),
        )
        tell_reliance(contribution, objects, _area)
        for field, among in (("launch", standing), ("track", standing), ("impact", standing), ("status", nodes)):
            newest = _newest(among, field)
            if newest is not None:
                getattr(contribution, field).CopyFrom(getattr(newest, field))
        found.append(contribution)
    return found


def _newest(nodes: Sequence[Node], field: str) -> content_pb2.Content | None:
    """Return the newest message with that body."""
    shown = [found for node in nodes if (found := node.shown(field)) is not None]
    return max(shown, key=_place)[1] if shown else None


def _place(shown: tuple[Key, content_pb2.Content]) -> Key:
    return shown[0]


def _fitted(fused: content_pb2.FusedEvent) -> content_pb2.FusedEvent:
    """Leave out what does not go into one message: first the origins' own words, largest first, never who spoke.

    Then tracks and impacts, the last first, and one of each stays; then what explains the rest.
    """
    while fused.ByteSize() > FUSED_BYTES_MAX:
        parts = [
            (getattr(contribution, field).ByteSize(), index, field)
            for index, contribution in enumerate(fused.contributions)
            for field in ("launch", "track", "impact")
            if contribution.HasField(field)
        ]
        if parts:
            _, index, field = max(parts)
            contribution = fused.contributions[index]
            contribution.ClearField(field)  # type: ignore[arg-type] # one of the three above
        elif not _shortened(fused):
            break
    return fused


def _shortened(fused: content_pb2.FusedEvent) -> bool:
    """Leave out the least important part; False if there is nothing more that can be spared."""
    least = next((part for part in (fused.tracks, fused.objects, fused.impacts) if len(part) > 1), None)
    spare = (fused.merged_event_ids, fused.disagreements, fused.contributions, fused.objects, fused.impacts)
    part = least if least is not None else next((part for part in spare if part), None)
    if part is None:
        return False
    del part[-1]
    return True
