"""Which messages speak of the same event and of the same object.

Decisions are a function of the set of messages, never of their arrival:

* Two tracks are compared where the later one begins: its first reports against what the earlier one's reports just
  before each of them predict. After `SAMPLES` of them, a second apart, the decision stands unless those reports change.
* Without tracks on both sides, the event is compared: time, place and direction of launch; area and time of impact.
* Events are built in fold order: each node joins the best one that nothing in it contradicts, or begins another.
  Kinematics go before launch and impact, and an operator's word (SAME_EVENT_AS, NOT_SAME_EVENT_AS) before everything.

Distances are squared and normalised (chi square); the gates are wide (1e-4), for splitting one launch into two is as bad
as joining two into one, and errors between nations (survey, clocks) are larger than within one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from broker import geodesy
from broker.fusion import estimate, impact, kalman
from broker.fusion.node import SAMPLES
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from broker.fusion.contribution import Impact, Key, Launch, NodeKey, Place, TrackKey
    from broker.fusion.history import Entry
    from broker.fusion.node import LocalTrack, Node

__all__ = ["Evidence", "Links", "Matcher", "Verdict", "grouped"]

K = TypeVar("K", bound="Hashable")

GATE: Final = 21.0  # chi square, 3 terms, 1e-4
REGISTRATION_SIGMA_M: Final = 300.0  # survey and clocks of different nations: 0.1 s at 3 km/s
FAR_M: Final = 15_000.0
FAR_SPEED_MPS: Final = 12_000.0
VAGUE_SIGMA_M: Final = 100_000.0  # a prediction wider than this decides nothing
# Two names by one origin are likelier two objects than one: there, only what is sharp says that they are the same.
VAGUE_SIGMA_OWN_M: Final = 10_000.0
GAP_MAX_NS: Final = 600 * SECOND_NS
FAR_DISTANCE: Final = 1e6

LAUNCH_TIME_SIGMA_S: Final = 5.0
LAUNCH_PLACE_SIGMA_M: Final = 3_000.0
LAUNCH_TIME_SIGMA_OWN_S: Final = 1.0  # between two words of one origin
LAUNCH_PLACE_SIGMA_OWN_M: Final = 500.0
UNPLACED_PENALTY: Final = 9.0
PUSH_MOST_MPS2: Final = 70.0  # how fast anything gets away from its launch point
SPEED_MOST_MPS: Final = 7_500.0
FLIGHT_MAX_S: Final = 5_400.0
IMPACT_TIME_SIGMA_S: Final = 30.0
IMPACT_PLACE_SIGMA_M: Final = 30_000.0
BEARING_SIGMA_DEG: Final = 5.0
NEAR_M: Final = 20_000.0  # nearer than this a direction says nothing
EARLY_REPORTS: Final = 4  # from which the ascent is read back
FALL_EVERY: Final = 8  # reports of a track per comparison of its fall with an impact prediction


class Verdict(IntEnum):
    """What a comparison says."""

    SAME = 0
    UNKNOWN = 1
    DIFFERENT = 2


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """A verdict and its strength: kind 0 is kinematic, 1 of launch or impact, 2 of reach alone; a low score is good."""

    verdict: Verdict
    kind: int = 0
    score: float = 0.0


UNKNOWN: Final = Evidence(Verdict.UNKNOWN)
Sample: TypeAlias = "tuple[float, float] | None"  # squared distance and log determinant; None: says nothing


@dataclass(slots=True)
class _Comparison:
    """Two tracks, as far as they have been compared. `settled_at`: what comes after it changes nothing."""

    evidence: Evidence | None = None
    settled_at: Key | None = None
    samples: dict[Key, tuple[tuple[Key, ...], Sample]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Links(Generic[K]):
    """What operators said of pairs."""

    same: frozenset[frozenset[K]] = frozenset()
    apart: frozenset[frozenset[K]] = frozenset()


class Matcher:
    """Compares tracks and nodes, and remembers the answers for as long as they hold."""

    def __init__(self) -> None:
        """Start with no comparison made."""
        self._tracks: dict[tuple[TrackKey, TrackKey], _Comparison] = {}
        self._partners: dict[TrackKey, set[tuple[TrackKey, TrackKey]]] = {}
        self._nodes: dict[tuple[NodeKey, NodeKey], tuple[tuple[object, ...], Evidence]] = {}

    def changed(self, track: TrackKey, key: Key) -> None:
        """Forget the comparisons of a track that a report at this place in the order may change."""
        for pair in list(self._partners.get(track, ())):
            known = self._tracks[pair]
            for sample in [sample for sample, (window, _) in known.samples.items() if key == sample or key in window]:
                del known.samples[sample]
            if known.settled_at is None or key <= known.settled_at:
                known.evidence = None

    def forget(self, node: NodeKey) -> None:
        """Forget everything about a node that is gone."""
        for pair in [pair for pair in self._nodes if node in pair]:
            del self._nodes[pair]
        for track in [track for track in self._partners if track[:2] == node]:
            for compared in self._partners.pop(track):
                self._tracks.pop(compared, None)
                for one in compared:
                    if one != track:
                        self._partners[one].discard(compared)

    def tracks(self, one: LocalTrack, two: LocalTrack) -> Evidence:
        """Compare two tracks."""
        if one.key[:2] == two.key[:2]:
            return Evidence(Verdict.DIFFERENT)  # its origin calls them two objects of one event
        pair = (one.key, two.key) if one.key < two.key else (two.key, one.key)
        known = self._tracks.get(pair)
        if known is None:
            known = self._tracks[pair] = _Comparison()
            for key in pair:
                self._partners.setdefault(key, set()).add(pair)
        if known.evidence is None:
            early, late = (one, two) if one.order[0] < two.order[0] else (two, one)
            known.settled_at, known.evidence = _compare_tracks(early, late, known.samples)
        return known.evidence

    def nodes(self, one: Node, two: Node) -> Evidence:
        """Compare what two origins (or two systems of one) say of an event."""
        kinematic = self._kinematic(one, two)
        if kinematic.verdict is not Verdict.UNKNOWN:
            return kinematic
        pair = (one.key, two.key) if one.key < two.key else (two.key, one.key)
        first, second = (one, two) if one.key < two.key else (two, one)
        version = (*_version(first), *_version(second))
        known = self._nodes.get(pair)
        if known is None or known[0] != version:
            known = self._nodes[pair] = (version, _compare_events(first, second))
        return known[1]

    def _kinematic(self, one: Node, two: Node) -> Evidence:
        """Compare all tracks of two nodes: one pair that fits is enough, and all must differ for them to differ."""
        best = Evidence(Verdict.DIFFERENT) if one.tracks and two.tracks else UNKNOWN
        for track in one.tracks.values():
            for other in two.tracks.values():
                best = min(best, self.tracks(track, other))
        return best


def grouped(members: Sequence[K], compare: Callable[[K, K], Evidence], links: Links[K]) -> list[list[K]]:
    """Return the members, given in fold order, in groups that belong together; the operators' word holds always."""
    groups: list[list[K]] = []
    for unit in _linked(members, links.same):
        best: tuple[Evidence, int] | None = None
        for index, group in enumerate(groups):
            if any(frozenset((one, other)) in links.apart for one in unit for other in group):
                continue
            found = [compare(one, other) for one in unit for other in group]
            if max(found).verdict is Verdict.DIFFERENT or min(found).verdict is not Verdict.SAME:
                continue
            if best is None or min(found) < best[0]:
                best = (min(found), index)
        if best is None:
            groups.append(list(unit))
        else:
            groups[best[1]].extend(unit)
    return groups


def _linked(members: Sequence[K], same: Iterable[frozenset[K]]) -> list[list[K]]:
    """Return the members in order; those that an operator called the same as one unit, where the first stands."""
    unit_of: dict[K, list[K]] = {member: [member] for member in members}
    for link in same:
        units = [unit_of[key] for key in link if key in unit_of]
        for unit in units[1:]:
            if unit is not units[0]:
                units[0].extend(unit)
                for key in unit:
                    unit_of[key] = units[0]
    place = {member: index for index, member in enumerate(members)}
    result: list[list[K]] = []
    for member in members:
        unit = unit_of[member]
        if min(unit, key=place.__getitem__) == member:
            result.append(sorted(unit, key=place.__getitem__))
    return result


# --- tracks -----------------------------------------------------------------------------------------------------------


def _compare_tracks(
    early: LocalTrack, late: LocalTrack, done: dict[Key, tuple[tuple[Key, ...], Sample]]
) -> tuple[Key | None, Evidence]:
    """Return the last place in the order on which the evidence depends, if it is final, and the evidence.

    `done` holds the samples compared before, each with the earlier track's reports that went in.
    """
    samples, is_own = late.samples(), early.key[0] == late.key[0]
    settled_at = samples[-1].key if len(samples) == SAMPLES else None
    distances: list[float] = []
    scores: list[float] = []
    for sample in samples:
        window = early.window(sample.key)
        known = done.get(sample.key)
        if known is None or known[0] != window:
            found = _compare_sample(early, sample, vague_m=VAGUE_SIGMA_OWN_M if is_own else VAGUE_SIGMA_M)
            known = done[sample.key] = (window, found)
        if known[1] is not None:
            distances.append(known[1][0])
            scores.append(known[1][0] + known[1][1])
    if not distances:
        return settled_at, UNKNOWN
    mean = sum(distances) / len(distances)
    verdict = Verdict.SAME if mean <= GATE else Verdict.DIFFERENT
    return settled_at, Evidence(verdict, 0, sum(scores) / len(scores))


def _compare_sample(early: LocalTrack, sample: Entry, *, vague_m: float) -> Sample:
    """Return squared distance and log determinant of a report against the other track; None if that is too vague."""
    known = early.state_before(sample.key)
    if known is None or sample.report.time_ns - known.time_ns > GAP_MAX_NS:
        return None
    report = sample.report
    gap_s = (report.time_ns - known.time_ns) / SECOND_NS
    apart_m = math.dist(report.position_m, known.falling_state[:3])
    width_m = math.sqrt(known.falling_noise[0][0] + known.falling_noise[1][1] + known.falling_noise[2][2])
    width_m += math.sqrt(report.noise[0][0] + report.noise[1][1] + report.noise[2][2]) + 2.0 * report.bias_m
    if apart_m > FAR_M + FAR_SPEED_MPS * gap_s + 6.0 * width_m:
        return FAR_DISTANCE, 0.0
    state, noise = estimate.merged(estimate.advance(known, report.time_ns))
    extra = report.bias_m * report.bias_m + REGISTRATION_SIGMA_M * REGISTRATION_SIGMA_M
    spread = [[noise[i][j] + report.noise[i][j] + (extra if i == j else 0.0) for j in range(3)] for i in range(3)]
    if spread[0][0] + spread[1][1] + spread[2][2] > 3.0 * vague_m * vague_m:
        return None
    miss = [a - b for a, b in zip(report.position_m, state[:3], strict=True)]
    return kalman.distance_squared(miss, spread)


# --- launches and impacts ---------------------------------------------------------------------------------------------


def _version(node: Node) -> tuple[object, ...]:
    """Return what changes when `_compare_events` may say something else of this node."""
    tracks = [(tuple(track.order[:EARLY_REPORTS]), len(track.order) // FALL_EVERY) for track in node.tracks.values()]
    return (node.features_version, tuple(tracks))


def _compare_events(one: Node, two: Node) -> Evidence:
    """Compare launches, impacts and tracks of two nodes with each other. What contradicts, decides; else the best."""
    own = one.key[0] == two.key[0]
    found: list[Evidence] = []
    launches, others = _launches(one), _launches(two)
    found += [_compare_launches(a, b, own=own) for a in launches for b in others]
    impacts = (one.impact(), two.impact())
    if impacts[0] is not None and impacts[1] is not None:
        found.append(_compare_impacts(impacts[0], impacts[1]))
    for node, other in ((one, two), (two, one)):
        launch, ending = node.launch(), other.impact()
        if launch is not None and not (launches and others):
            found += [_compare_reach(launch, track.first) for track in other.tracks.values()]
        if launch is not None and ending is not None and other.launch() is None:
            found.append(_compare_course(launch, ending))
        if ending is not None and node.impact() is None:
            found += [_compare_fall(track, ending) for track in node.tracks.values()]
    decided = [evidence for evidence in found if evidence.verdict is not Verdict.UNKNOWN]
    against = [evidence for evidence in decided if evidence.verdict is Verdict.DIFFERENT]
    return min(against or decided, default=UNKNOWN)


def _launches(node: Node) -> list[Launch]:
    """Return the node's launch, or where its tracks came from."""
    launch = node.launch()
    if launch is not None:
        return [launch]
    risen = []
    for track in node.tracks.values():
        early = track.state_before(track.order[min(len(track.order), EARLY_REPORTS) - 1])
        from_ground = impact.ascent(early) if early is not None else None
        if from_ground is not None:
            risen.append(from_ground)
    return risen


def _compare_launches(one: Launch, two: Launch, *, own: bool) -> Evidence:
    """Compare time, place and direction of two launches."""
    if one.time_ns is None or two.time_ns is None:
        return UNKNOWN
    floor_s = LAUNCH_TIME_SIGMA_OWN_S if own else LAUNCH_TIME_SIGMA_S
    apart_s = (one.time_ns - two.time_ns) / SECOND_NS
    score = apart_s * apart_s / (one.time_sigma_s**2 + two.time_sigma_s**2 + floor_s * floor_s)
    if score > GATE:
        return Evidence(Verdict.DIFFERENT, 1, score)
    if one.place is None or two.place is None:
        return Evidence(Verdict.SAME, 1, score + UNPLACED_PENALTY)
    score += _places_apart(one.place, two.place, LAUNCH_PLACE_SIGMA_OWN_M if own else LAUNCH_PLACE_SIGMA_M)
    if score > GATE:
        return Evidence(Verdict.DIFFERENT, 1, score)
    vague = max(one.place.spread_m, two.place.spread_m) > (VAGUE_SIGMA_OWN_M if own else VAGUE_SIGMA_M)
    return UNKNOWN if vague else Evidence(Verdict.SAME, 1, score)


def _compare_reach(launch: Launch, first: Entry) -> Evidence:
    """Say whether an object first seen there can have come from this launch. Time alone proves little."""
    if launch.time_ns is None or launch.place is None:
        return UNKNOWN
    report = first.report
    flown_s = (report.time_ns - launch.time_ns) / SECOND_NS + 3.0 * launch.time_sigma_s
    if flown_s < 0.0:
        return Evidence(Verdict.DIFFERENT, 2)
    if flown_s > FLIGHT_MAX_S:
        return UNKNOWN
    lat_deg, lon_deg, _ = geodesy.geodetic(*report.position_m)
    away_m, azimuth_deg = geodesy.distance_azimuth(launch.place.lat_deg, launch.place.lon_deg, lat_deg, lon_deg)
    doubt_m = 3.0 * (launch.place.spread_m + math.sqrt(report.noise[0][0]) + report.bias_m) + LAUNCH_PLACE_SIGMA_M
    reach_m = min(0.5 * PUSH_MOST_MPS2 * flown_s * flown_s, SPEED_MOST_MPS * flown_s) + doubt_m
    if away_m > reach_m:
        return Evidence(Verdict.DIFFERENT, 2)
    turned = _turned(launch, azimuth_deg, away_m)
    if turned > GATE:
        return Evidence(Verdict.DIFFERENT, 2)
    return Evidence(Verdict.SAME, 2, turned + GATE * (away_m / reach_m) ** 2 + flown_s / 60.0)


def _compare_course(launch: Launch, ending: Impact) -> Evidence:
    """Say whether a launch can lead to an impact: only a direction tells."""
    if launch.time_ns is None or ending.time_ns is None or launch.azimuth_deg is None:
        return UNKNOWN
    if launch.place is None or ending.place is None:
        return UNKNOWN
    flown_s = (ending.time_ns - launch.time_ns) / SECOND_NS
    if not 0.0 < flown_s < FLIGHT_MAX_S:
        return Evidence(Verdict.DIFFERENT, 2)
    away_m, azimuth_deg = geodesy.distance_azimuth(
        launch.place.lat_deg, launch.place.lon_deg, ending.place.lat_deg, ending.place.lon_deg
    )
    turned = _turned(launch, azimuth_deg, away_m)
    if turned > GATE or away_m > SPEED_MOST_MPS * flown_s:
        return Evidence(Verdict.DIFFERENT, 2)
    return Evidence(Verdict.SAME, 2, turned + flown_s / 60.0)


def _turned(launch: Launch, azimuth_deg: float, away_m: float) -> float:
    """Return the squared normalised difference between a launch's direction and a bearing."""
    if launch.azimuth_deg is None or launch.place is None or away_m < NEAR_M:
        return 0.0
    apart_deg = (azimuth_deg - launch.azimuth_deg + 180.0) % 360.0 - 180.0
    seen_deg = math.degrees(launch.place.spread_m / away_m)
    return apart_deg * apart_deg / (launch.azimuth_sigma_deg**2 + BEARING_SIGMA_DEG**2 + seen_deg**2)


def _compare_impacts(one: Impact, two: Impact) -> Evidence:
    """Compare two predictions of an impact."""
    if one.time_ns is None or two.time_ns is None or one.place is None or two.place is None:
        return UNKNOWN
    apart_s = (one.time_ns - two.time_ns) / SECOND_NS
    score = apart_s * apart_s / (one.time_sigma_s**2 + two.time_sigma_s**2 + IMPACT_TIME_SIGMA_S**2)
    score += _places_apart(one.place, two.place, IMPACT_PLACE_SIGMA_M)
    # Two predictions may differ and speak of one launch: that is a disagreement, not a second event.
    return Evidence(Verdict.SAME, 1, score) if score <= GATE else UNKNOWN


def _compare_fall(track: LocalTrack, ending: Impact) -> Evidence:
    """Compare where a track leads with where somebody expects an impact."""
    count = len(track.order) - len(track.order) % FALL_EVERY
    if count == 0 or ending.time_ns is None or ending.place is None:
        return UNKNOWN
    known = track.state_before(track.order[count - 1])
    if known is None or known.burning_probability > 0.5:  # noqa: PLR2004 - more likely than not
        return UNKNOWN
    ground = impact.fall(estimate.merged(known)[0], 1.0)
    if ground is None:
        return UNKNOWN
    apart_s = (known.time_ns - ending.time_ns) / SECOND_NS + ground.after_s
    score = apart_s * apart_s / (ending.time_sigma_s**2 + IMPACT_TIME_SIGMA_S**2)
    away_m, _ = geodesy.distance_azimuth(ground.lat_deg, ground.lon_deg, ending.place.lat_deg, ending.place.lon_deg)
    score += away_m * away_m / (ending.place.spread_m**2 + IMPACT_PLACE_SIGMA_M**2)
    return Evidence(Verdict.SAME, 1, score) if score <= GATE else UNKNOWN


def _places_apart(one: Place, two: Place, floor_m: float) -> float:
    """Return the squared normalised distance of two places."""
    away_m, azimuth_deg = geodesy.distance_azimuth(one.lat_deg, one.lon_deg, two.lat_deg, two.lon_deg)
    east, north = away_m * math.sin(math.radians(azimuth_deg)), away_m * math.cos(math.radians(azimuth_deg))
    e = one.east_m2 + two.east_m2 + floor_m * floor_m
    n = one.north_m2 + two.north_m2 + floor_m * floor_m
    en = one.east_north_m2 + two.east_north_m2
    return (n * east * east - 2.0 * en * east * north + e * north * north) / max(e * n - en * en, 1.0)
