"""The events of one View as they follow from the messages that stand: nodes, groups, objects and their histories.

What is on the board is a function of the set of standing messages. It is kept up to date one message at a time, but it
could be thrown away and made anew from the set at any moment with the same result, which is what happens when
something fails half way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from broker.fusion import estimate, impact, reach
from broker.fusion.associate import Matcher, with_coarse
from broker.fusion.compare import COARSE_BIAS_M, Evidence, Verdict, version
from broker.fusion.contribution import Report
from broker.fusion.grouping import Links, grouped
from broker.fusion.history import Entry, History
from broker.fusion.influence import shares
from broker.fusion.node import Node
from broker.fusion.parting import parents, with_parts
from broker.fusion.path import ground_track
from broker.fusion.regions import nations_of, overflown, region_at, touched
from broker.fusion.scrutiny import Scrutiny
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.fusion.contribution import Contribution, Key, Launch, MessageKey, NodeKey, TrackKey
    from broker.fusion.grouping import Solved
    from broker.fusion.impact import Prediction
    from broker.fusion.influence import Share

__all__ = ["Board", "Event", "Forecast", "TrackedObject"]

EARLY_REPORTS: Final = 4  # from which the launch is read back
PREDICT_EVERY_NS: Final = 10 * SECOND_NS
PREDICT_SILENT_NS: Final = 3 * SECOND_NS
LEARNT_LEAST: Final = 0.8  # of the variance before
NO_LINKS: Links[TrackKey] = Links()  # operators speak of events, not of objects


@dataclass(frozen=True, slots=True)
class Forecast:
    """The impact as it was last predicted: the only thing on the board that depends on when it was asked for."""

    prediction: Prediction | None = None
    is_stale: bool = True  # the history has moved on since
    tried_ns: int | None = None  # the newest report when it was last tried
    doubt_m2ps2: float = 0.0  # variance of the velocity then
    shares: tuple[Share, ...] = ()  # of the origins in it
    overflown: tuple[str, ...] = ()  # regions, in the order of flight
    home: str = ""  # the region that it rose from, if that can be told
    is_ballistic: bool = True  # predicted as of a falling body
    silent_ns: int = 0  # of a lost object: for how long it had not been reported when the area was widened last

    def affected(self) -> tuple[tuple[str, ...], bool]:
        """Return the nations (ISO 3166-1) that the impact area touches; if none, those flown over, and that it is so.

        Where it is known to have risen is not flown over.
        """
        if self.prediction is None:
            return (), False
        below = nations_of(touched(self.prediction.place))
        if below or not self.is_ballistic:
            return below, False
        home = nations_of([self.home] if self.home else [])
        over = tuple(nation for nation in nations_of(self.overflown) if nation not in home)
        return over, bool(over)


@dataclass(slots=True)
class TrackedObject:
    """One object: what every origin calls it, and its history."""

    tracks: tuple[TrackKey, ...]
    history: History  # of the reports that count
    forecast: Forecast = Forecast()
    scrutiny: Scrutiny = field(default_factory=Scrutiny)  # of all
    counted_from: Mapping[str, int] = field(default_factory=dict)  # as the history was made
    _ascent: tuple[tuple[Key, ...], Launch | None] = ((), None)

    @property
    def key(self) -> TrackKey:
        """Return the track that was first."""
        return self.tracks[0]

    @property
    def prediction(self) -> Prediction | None:
        """Return the impact as it was last predicted."""
        return self.forecast.prediction

    def refresh(self) -> None:
        """Predict the impact anew from what is known now."""
        newest = self.history.newest
        doubt = estimate.velocity_variance(newest)
        prediction = impact.predict(newest)
        parts = shares(self.scrutiny.findings, newest.time_ns) if prediction is not None else ()
        is_ballistic = self.history.motion.is_ballistic
        over, home = (
            ((), "") if prediction is None and is_ballistic else self._way(prediction if is_ballistic else None)
        )
        if not is_ballistic:
            prediction = reach.glided(newest, 0.0 if prediction is None else prediction.apogee_m)
        self.forecast = Forecast(
            prediction,
            is_stale=False,
            tried_ns=newest.time_ns,
            doubt_m2ps2=doubt,
            shares=parts,
            overflown=over,
            home=home,
            is_ballistic=is_ballistic,
        )

    def _way(self, prediction: Prediction | None) -> tuple[tuple[str, ...], str]:
        """Return the regions that it flies over, and the one that it rose from; empty if that cannot be told."""
        launch = self.ascent()
        place = launch.place if launch is not None else None
        start = None if place is None else (place.lat_deg, place.lon_deg)
        over = overflown(ground_track(start, self.history, prediction))
        return over, (start is not None and region_at(*start)) or ""

    def change(self, *, added: Iterable[Entry], removed: Iterable[Key]) -> None:
        """Take reports in and out. Those of an origin that contradicts the others do not count."""
        added, removed = list(added), list(removed)
        self.scrutiny.change(added=added, removed=removed)
        found, every = self.scrutiny.findings, self.scrutiny.entries
        if found.counts_from != self.counted_from or (found.counts_from and not len(self.history)):
            have = {entry.key: entry for entry in self.history.entries}
            wanted = {key: entry for key, entry in every.items() if found.counts(entry)} or every
            added = [entry for key, entry in wanted.items() if have.get(key) != entry]
            removed = [key for key in have if key not in wanted]
            self.counted_from = found.counts_from if wanted is not every else {}
        else:
            added = [entry for entry in added if found.counts(entry)]
        self.history.change(added=added, removed=removed)
        self.forecast = replace(self.forecast, is_stale=True)

    @property
    def is_misjudged(self) -> bool:
        """Say whether what is predicted takes it for a falling body, and it is none (or the other way round)."""
        known = self.forecast
        return known.prediction is not None and known.is_ballistic != self.history.motion.is_ballistic

    def fade(self, silent_ns: int) -> bool:
        """Let the impact area of a lost object grow with its silence, in whole steps; say whether it is another now."""
        known = self.forecast
        silent_ns -= silent_ns % reach.FADING_NS
        if known.prediction is None or known.is_stale or not known.is_ballistic or silent_ns <= known.silent_ns:
            return False
        # From what the reports say alone, so that it does not show how often it was asked.
        sharp = impact.predict(self.history.newest)
        wider = known.prediction if sharp is None else reach.faded(sharp, self.history.newest, silent_ns)
        self.forecast = replace(known, prediction=wider, silent_ns=silent_ns)
        return wider != known.prediction

    def is_due(self, now_ns: int) -> bool:
        """Say whether the impact should be predicted anew on a Tick.

        So it should where there is none, where as much has been learnt since as shows (or forgotten), every few
        seconds, near the end more often, and where no more reports come: so that what stands in the end depends on
        the reports alone.
        """
        known, newest = self.forecast, self.history.newest
        if not known.is_stale:
            return False
        if known.prediction is None or known.tried_ns is None:
            return True
        left_ns = max(known.prediction.time_ns - newest.time_ns, 0)
        aged = abs(newest.time_ns - known.tried_ns) >= min(PREDICT_EVERY_NS, left_ns // 5)
        doubt = estimate.velocity_variance(newest)
        learnt = not LEARNT_LEAST <= doubt / known.doubt_m2ps2 <= 1.0 / LEARNT_LEAST
        return aged or learnt or now_ns - newest.time_ns > PREDICT_SILENT_NS

    def ascent(self) -> Launch | None:
        """Return where the first reports say that it came from."""
        early = self.history.first(EARLY_REPORTS)
        keys = tuple(entry.key for entry in early)
        if self._ascent[0] != keys:
            self._ascent = (keys, impact.ascent(History(early).newest))
        return self._ascent[1]


@dataclass(slots=True)
class Event:
    """Nodes that speak of one event, in fold order; those that were taken back apart."""

    nodes: tuple[NodeKey, ...]
    retracted: tuple[NodeKey, ...]
    objects: list[TrackedObject] = field(default_factory=list)
    open: frozenset[NodeKey] = frozenset()  # may belong elsewhere: shown, and in no object
    parents: dict[TrackKey, TrackKey] = field(default_factory=dict)  # objects that began at another, by first tracks


@dataclass(slots=True)
class _Delta:
    """What became of one track's reports in one step."""

    added: list[Entry] = field(default_factory=list)
    removed: list[Key] = field(default_factory=list)


class Board:
    """All events. `recipient` is whose word on what belongs together counts."""

    def __init__(self, recipient: str) -> None:
        """Start empty."""
        self.recipient = recipient
        self.nodes: dict[NodeKey, Node] = {}
        self.events: list[Event] = []
        self._event_of: dict[NodeKey, Event] = {}
        self._matcher = Matcher()
        self._evidence: dict[tuple[NodeKey, NodeKey], Evidence] = {}
        self._standing: dict[bytes, list[Contribution]] = {}  # by message_id
        self._made_from: dict[bytes, dict[MessageKey, Contribution]] = {}
        self._linking: dict[MessageKey, Contribution] = {}
        self._links: Links[NodeKey] = Links()
        self._solved: Solved[NodeKey] = {}
        self._deltas: dict[TrackKey, _Delta] = {}
        self._asked: dict[NodeKey, tuple[object, ...]] = {}  # how a node was when it was last compared with all others
        self._is_late = False  # whether a report came or went that is not the newest of its track
        self._object_of: dict[TrackKey, TrackedObject] = {}

    def forecasts(self) -> dict[TrackKey, Forecast]:
        """Return what was predicted of each object."""
        return {one.key: one.forecast for event in self.events for one in event.objects}

    def set_forecasts(self, forecasts: Mapping[TrackKey, Forecast]) -> None:
        """Put back what was predicted of each object."""
        for event in self.events:
            for one in event.objects:
                one.forecast = forecasts.get(one.key, one.forecast)

    def apply(self, stands: Sequence[Contribution], falls: Sequence[Contribution]) -> set[NodeKey]:
        """Take in what stands now and what no longer does; return the nodes of every event that may look different."""
        self._deltas, self._is_late = {}, False
        before = {contribution.node_key: self._outline(contribution.node_key) for contribution in (*stands, *falls)}
        for contribution in falls:
            self._fall(contribution)
        for contribution in stands:
            self._stand(contribution)
        touched = {key for key in before if key[1]} | {key[:2] for key in self._deltas}
        regroup = self._relink()
        regroup = regroup or self._is_late
        is_quiet = True
        for key in touched:
            node = self.nodes.get(key)
            if node is not None and not node.order:
                del self.nodes[key]
                self._matcher.forget(key)
                self._asked.pop(key, None)
                self._evidence = {pair: found for pair, found in self._evidence.items() if key not in pair}
            is_quiet = is_quiet and self._is_as_asked(key)
            regroup = self._compare(key) or self._outline(key) != before.get(key) or regroup
        if regroup:
            touched |= self._regroup()
        for event in self.events_of(touched):
            if is_quiet and not regroup:  # reports came behind the others, and nothing else
                for one in event.objects:
                    self._advance(one)
            else:
                self._reobject(event)
        return touched

    def events_of(self, *keys: Iterable[NodeKey]) -> list[Event]:
        """Return the events of these nodes, each once: in the order of the arguments, then of the nodes."""
        found: dict[int, Event] = {}
        for group in keys:
            for key in sorted(group):
                event = self._event_of.get(key)
                if event is not None:
                    found.setdefault(id(event), event)
        return list(found.values())

    def _outline(self, key: NodeKey) -> tuple[Key, bool] | None:
        """Return what of a node matters for grouping beside the comparisons."""
        node = self.nodes.get(key)
        return (node.first_key, node.is_retracted) if node is not None and node.order else None

    # --- messages ---------------------------------------------------------------------------------------------------

    def _stand(self, contribution: Contribution) -> None:
        """Take in a message."""
        identity = contribution.key[5]
        self._standing.setdefault(identity, []).append(contribution)
        for source in self._sources(contribution):
            self._made_from.setdefault(source, {})[contribution.message_key] = contribution
        if contribution.event_id:
            node = self.nodes.get(contribution.node_key)
            if node is None:
                node = self.nodes[contribution.node_key] = Node(contribution.node_key)
            entry = self._entry(contribution)
            node.add(contribution, entry)
            if entry is not None:
                self._note(contribution, entry)
        if (contribution.same or contribution.not_same) and contribution.origin == self.recipient:
            self._linking[contribution.message_key] = contribution
        self._reconsider(contribution)

    def _fall(self, contribution: Contribution) -> None:
        """Let go of a message."""
        identity = contribution.key[5]
        others = [other for other in self._standing.get(identity, ()) if other.key != contribution.key]
        self._standing[identity] = others
        if not others:
            del self._standing[identity]
        for source in self._sources(contribution):
            self._made_from.get(source, {}).pop(contribution.message_key, None)
        node = self.nodes.get(contribution.node_key)
        if node is not None:
            node.remove(contribution)
            self._note(contribution, None)
        self._linking.pop(contribution.message_key, None)
        self._reconsider(contribution)

    def _entry(self, contribution: Contribution) -> Entry | None:
        """Return the report as it counts: not at all if all that it was made from is counted already.

        What was made from more, and a source that comes in fold order behind what was made from it, may be in already.
        """
        if not isinstance(contribution.body, Report):
            return None
        if self._is_redundant(contribution):
            return None
        derived = self._made_from.get(contribution.key[5], {}).values()
        common = contribution.lineage != content_pb2.LINEAGE_KIND_RAW or any(
            one.key < contribution.key and not self._is_redundant(one) for one in derived
        )
        return Entry(contribution.key, contribution.track_key, contribution.body, common=common)

    def _sources(self, contribution: Contribution) -> tuple[bytes, ...]:
        """Return what a message was made from; what an origin calls raw was made from nothing."""
        return () if contribution.lineage == content_pb2.LINEAGE_KIND_RAW else contribution.made_from

    def _is_redundant(self, contribution: Contribution) -> bool:
        """Say whether a message was made from exactly what is held."""
        if contribution.lineage != content_pb2.LINEAGE_KIND_COMPLETE or not contribution.made_from:
            return False
        return all(source in self._standing for source in contribution.made_from)

    def _reconsider(self, contribution: Contribution) -> None:
        """Look again at what was made from a message that has come or gone, and at what it was made from."""
        related = list(self._made_from.get(contribution.key[5], {}).values())
        related += [one for source in self._sources(contribution) for one in self._standing.get(source, ())]
        for one in related:
            node = self.nodes.get(one.node_key)
            if node is None or one.key not in node.standing or not isinstance(one.body, Report):
                continue
            entry = self._entry(one)
            if entry is None:
                node.withdraw(one.track_key, one.key)
            else:
                node.add(one, entry)
            self._note(one, entry)

    def _note(self, contribution: Contribution, entry: Entry | None) -> None:
        """Note what became of a report, for the comparisons and the histories."""
        if not isinstance(contribution.body, Report):
            return
        if self._matcher.changed(contribution.track_key, contribution.key):
            self._asked.pop(contribution.node_key, None)
        track = self.nodes[contribution.node_key].tracks.get(contribution.track_key)
        self._is_late = self._is_late or track is None or track.order[-1] != contribution.key
        delta = self._deltas.setdefault(contribution.track_key, _Delta())
        if entry is None:
            delta.removed.append(contribution.key)
            delta.added = [other for other in delta.added if other.key != contribution.key]
        else:
            delta.added.append(entry)

    # --- groups -----------------------------------------------------------------------------------------------------

    def _relink(self) -> bool:
        """Read the operators' words anew; say whether they changed."""
        if not self._linking and not self._links.same and not self._links.apart:
            return False
        said: dict[frozenset[NodeKey], bool] = {}  # the newest word on each pair, newest first
        for contribution in sorted(self._linking.values(), key=lambda one: one.key, reverse=True):
            own = contribution.node_key
            for identities, is_same in ((contribution.not_same, False), (contribution.same, True)):
                for identity in identities:
                    others = {other.node_key for other in self._standing.get(identity, ()) if other.event_id}
                    for other in sorted(others - {own}):
                        said.setdefault(frozenset((own, other)), is_same)
        links = Links(
            tuple(pair for pair, is_same in said.items() if is_same),
            frozenset(pair for pair, is_same in said.items() if not is_same),
        )
        changed, self._links = links != self._links, links
        return changed

    def _compare(self, key: NodeKey) -> bool:
        """Compare a node with all others; say whether any answer is another than before."""
        node = self.nodes.get(key)
        changed = False
        if self._is_as_asked(key):
            return False
        if node is not None:
            self._asked[key] = _asked(node)
        for other in self.nodes.values() if node is not None else ():
            if node is None or other is node:
                continue
            pair = (key, other.key) if key < other.key else (other.key, key)
            found = self._matcher.nodes(node, other)
            if self._evidence.get(pair) != found:
                self._evidence[pair] = found
                changed = True
        return changed

    def _is_as_asked(self, key: NodeKey) -> bool:
        """Say whether nothing of a node is new that anybody is asked by: what nearly always happens."""
        node = self.nodes.get(key)
        return node is not None and self._asked.get(key) == _asked(node)

    def _between(self, one: NodeKey, two: NodeKey) -> Evidence:
        """Return the evidence on two nodes, as it was when one of them last changed."""
        known = self._evidence.get((one, two) if one < two else (two, one))
        return self._matcher.nodes(self.nodes[one], self.nodes[two]) if known is None else known

    def _regroup(self) -> set[NodeKey]:
        """Make the groups anew; return the nodes of those that changed."""
        old = self.events
        nodes = sorted(self.nodes.values(), key=lambda node: node.first_key)
        live = [node.key for node in nodes if not node.is_retracted]
        grouping = grouped(live, self._between, self._links, self._solved, itemgetter(0))
        groups = with_parts(grouping.groups, self.nodes)
        retracted: list[list[NodeKey]] = [[] for _ in groups]
        # What was taken back is shown where it would belong, and decides nothing.
        alone: list[NodeKey] = []
        for node in nodes:
            if node.is_retracted:
                best = self._best(node.key, groups)
                (alone if best is None else retracted[best]).append(node.key)
        for group in grouped(alone, self._between, self._links).groups:
            groups.append([])
            retracted.append(group)
        unchanged = {(event.nodes, event.retracted, event.open): event for event in old}
        self.events = []
        for group, gone in zip(groups, retracted, strict=True):
            of = (tuple(group), tuple(gone), grouping.open.intersection(group))
            self.events.append(unchanged.get(of) or Event(of[0], of[1], open=of[2]))
        self._event_of = {key: event for event in self.events for key in (*event.nodes, *event.retracted)}
        kept = {(event.nodes, event.retracted, event.open) for event in self.events} & set(unchanged)
        moved = [event for event in (*old, *self.events) if (event.nodes, event.retracted, event.open) not in kept]
        changed = {key for event in moved for key in (*event.nodes, *event.retracted)}
        self._object_of = {track: one for event in old for one in event.objects for track in one.tracks}
        return changed

    def _best(self, key: NodeKey, groups: Sequence[Sequence[NodeKey]]) -> int | None:
        """Return the group that a node goes with best; None if with none."""
        found = [(min(self._between(key, other) for other in group), index) for index, group in enumerate(groups)]
        best = min(found, default=None)
        return best[1] if best is not None and best[0].verdict is Verdict.SAME else None

    def _reobject(self, event: Event) -> None:
        """Bring the objects of an event up to date."""
        tracks = sorted(
            (track for key in event.nodes if key not in event.open for track in self.nodes[key].tracks.values()),
            key=lambda track: track.order[0],
        )
        by_key = {track.key: track for track in tracks}
        coarse = {key for key, track in by_key.items() if track.is_coarser_than(COARSE_BIAS_M)}

        def compare(one: TrackKey, two: TrackKey) -> Evidence:
            return self._matcher.tracks(by_key[one], by_key[two])

        groups = with_coarse(grouped(list(by_key), compare, NO_LINKS, None, itemgetter(0)).groups, coarse, compare)
        known = {one.tracks: one for one in event.objects}
        objects = []
        for group in groups:
            one = known.get(tuple(group))
            if one is not None:
                self._advance(one)
            else:
                wanted = {key: entry for track in group for key, entry in by_key[track].entries.items()}
                one = self._object(tuple(group), wanted)
            objects.append(one)
        event.objects = objects
        event.parents = parents(objects, self.nodes) if len(objects) > 1 else {}
        self._object_of.update((track, one) for one in objects for track in one.tracks)

    def _advance(self, one: TrackedObject) -> None:
        """Take what changed into an object whose tracks are the same as before."""
        deltas = [self._deltas[track] for track in one.tracks if track in self._deltas]
        if deltas:
            one.change(
                added=[entry for delta in deltas for entry in delta.added],
                removed=[key for delta in deltas for key in delta.removed],
            )

    def _object(self, tracks: tuple[TrackKey, ...], wanted: dict[Key, Entry]) -> TrackedObject:
        """Return an object of these tracks, made from the one that had most of them, if any had."""
        before = next((self._object_of[track] for track in tracks if track in self._object_of), None)
        if before is None:
            one = TrackedObject(tracks, History())
        else:
            one = TrackedObject(
                tracks, before.history.copy(), before.forecast, before.scrutiny.copy(), before.counted_from
            )
        have = one.scrutiny.entries
        one.change(
            added=[entry for key, entry in wanted.items() if have.get(key) != entry],
            removed=[key for key in have if key not in wanted],
        )
        return one


def _asked(node: Node) -> tuple[object, ...]:
    """Return what changes when a comparison of this node with another may say something else."""
    return version(node), tuple((track.slots, track.generation) for track in node.tracks.values())
