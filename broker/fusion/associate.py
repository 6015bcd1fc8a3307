"""Which messages speak of the same event and of the same object.

Decisions are a function of the set of messages, never of their arrival:

* Two tracks are compared where the later one begins: its first reports against what the earlier one's reports just
  before each of them predict. After `SAMPLES` of them, a second apart, the decision stands unless those reports change.
* Without tracks on both sides, the event is compared: time, place and direction of launch; area and time of impact.
* Events are built in fold order: each node joins the best one that nothing in it contradicts, or begins another.
  Kinematics go before launch and impact, and an operator's word (SAME_EVENT_AS, NOT_SAME_EVENT_AS) before everything.
* Within an event, a coarse track that nothing tells apart from an exact one is no object of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from broker.fusion.compare import (
    COARSE_BIAS_M,
    UNKNOWN,
    Evidence,
    Sample,
    Verdict,
    compare_events,
    compare_tracks,
    version,
)
from broker.fusion.overlap import Overlap
from broker.fusion.verdict import COUNT_MOST, are_alike, judged, judged_alike

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable, Sequence

    from broker.fusion.contribution import Key, NodeKey, TrackKey
    from broker.fusion.node import LocalTrack, Node

__all__ = ["Matcher", "with_coarse"]

K = TypeVar("K", bound="Hashable")


@dataclass(slots=True)
class _Comparison:
    """Two tracks, as far as they have been compared. `settled_at`: what comes after it changes nothing."""

    evidence: Evidence | None = None
    settled_at: Key | None = None
    distances: tuple[float, ...] = ()
    samples: dict[Key, tuple[tuple[Key, ...], Sample]] = field(default_factory=dict)
    overlap: Overlap = field(default_factory=Overlap)


class Matcher:
    """Compares tracks and nodes, and remembers the answers for as long as they hold."""

    def __init__(self) -> None:
        """Start with no comparison made."""
        self._tracks: dict[tuple[TrackKey, TrackKey], _Comparison] = {}
        self._partners: dict[TrackKey, set[tuple[TrackKey, TrackKey]]] = {}
        self._nodes: dict[tuple[NodeKey, NodeKey], tuple[tuple[object, ...], Evidence]] = {}

    def changed(self, track: TrackKey, key: Key) -> bool:
        """Forget the comparisons of a track that a report at this place may change; say whether there were any."""
        is_any = False
        for pair in list(self._partners.get(track, ())):
            known = self._tracks[pair]
            for sample in [sample for sample, (window, _) in known.samples.items() if key == sample or key in window]:
                del known.samples[sample]
            if known.settled_at is None or key <= known.settled_at:
                known.evidence = None
                is_any = True
        return is_any

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
            known.settled_at, known.evidence, known.distances = compare_tracks(early, late, known.samples)
        if one.is_coarser_than(COARSE_BIAS_M) or two.is_coarser_than(COARSE_BIAS_M):
            return replace(known.evidence, count=COUNT_MOST)  # more will never be known of them
        whole = known.overlap.of(*((one, two) if one.key < two.key else (two, one)))
        is_own = one.key[0] == two.key[0]
        if is_own and are_alike(one, two):
            return judged_alike(known.evidence, known.distances, whole)
        first, second = (one, two) if one.key < two.key else (two, one)
        return judged(known.evidence, whole, lambda: known.overlap.began_as_one(first, second), own=is_own)

    def nodes(self, one: Node, two: Node) -> Evidence:
        """Compare what two origins (or two systems of one) say of an event."""
        kinematic = self._kinematic(one, two)
        if kinematic.verdict is not Verdict.UNKNOWN:
            return kinematic
        pair = (one.key, two.key) if one.key < two.key else (two.key, one.key)
        first, second = (one, two) if one.key < two.key else (two, one)
        versions = (*version(first), *version(second))
        known = self._nodes.get(pair)
        if known is None or known[0] != versions:
            known = self._nodes[pair] = (versions, compare_events(first, second))
        return known[1]

    def _kinematic(self, one: Node, two: Node) -> Evidence:
        """Compare all tracks of two nodes: one pair that fits is enough, and all must differ for them to differ."""
        best = Evidence(Verdict.DIFFERENT) if one.tracks and two.tracks else UNKNOWN
        for track in one.tracks.values():
            for other in two.tracks.values():
                best = min(best, self.tracks(track, other))
        return best


def with_coarse(groups: Sequence[list[K]], coarse: Container[K], compare: Callable[[K, K], Evidence]) -> list[list[K]]:
    """Return the groups; those of coarse members alone go into the sharp one that they fit best and do not contradict.

    The coarse members of a group come last in it: whose name it has does not change when they come.
    """
    sharp = [sorted(group, key=coarse.__contains__) for group in groups if not all(one in coarse for one in group)]
    alone = []
    for group in groups:
        if any(one not in coarse for one in group):
            continue
        fits = []
        for index, other in enumerate(sharp):
            found = [compare(one, two) for one in group for two in other]
            if max(found).verdict is not Verdict.DIFFERENT:
                fits.append((min(found), index))
        if fits:
            sharp[min(fits)[1]].extend(group)
        else:
            alone.append(group)
    return sharp + alone
