"""What one origin says of one event: the unit that is matched with what others say.

An origin's own ids are trusted to hold together what it says of one event and one object; whether two origins, or two
systems of one origin, mean the same is for `associate` to find out. A node that its origin took back (NOT_A_LAUNCH)
stays, so that the disagreement can be shown, but its numbers count for nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Final

from broker.fusion import estimate
from broker.fusion.contribution import Impact, Launch, Report, Status
from broker.fusion.tracklet import SLOT_NS, Tracklet
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.fusion.contribution import Contribution, Key, NodeKey, TrackKey
    from broker.fusion.estimate import Estimate
    from broker.fusion.history import Entry
    from broker.fusion.tracklet import Said

__all__ = ["SAMPLES", "LocalTrack", "Node"]

SAMPLES: Final = 8  # reports of the later track that are compared; then the decision stands
SAMPLE_SPACING_NS: Final = SECOND_NS
WINDOW: Final = 6  # reports from which the earlier track's state at a sample is estimated


class LocalTrack:
    """One object as one system of one origin follows it."""

    def __init__(self, key: TrackKey) -> None:
        """Start without reports."""
        self.key = key
        self.entries: dict[Key, Entry] = {}
        self.order: list[Key] = []
        self._windows: dict[Key, Estimate] = {}
        self._tracklet = Tracklet(key)

    def put(self, entry: Entry) -> None:
        """Take a report in, or replace it."""
        index = bisect_left(self.order, entry.key)
        if entry.key not in self.entries:
            self.order.insert(index, entry.key)
        self.entries[entry.key] = entry
        self._forget_windows(index)
        self._tracklet.changed(entry.key[0])

    def drop(self, key: Key) -> bool:
        """Take a report out; say whether it was there."""
        if self.entries.pop(key, None) is None:
            return False
        index = bisect_left(self.order, key)
        del self.order[index]
        self._forget_windows(index)
        self._tracklet.changed(key[0])
        return True

    @property
    def first(self) -> Entry:
        """Return the oldest report."""
        return self.entries[self.order[0]]

    @property
    def slots(self) -> tuple[int, int]:
        """Return the first and the last common time at which the track may speak; the last is less if at none."""
        return -(-self.order[0][0] // SLOT_NS), (self.order[-1][0] - 1) // SLOT_NS

    @property
    def generation(self) -> int:
        """Return how often it has changed what it said before."""
        return self._tracklet.generation

    def at(self, slot: int) -> Said | None:
        """Return where its own estimate has the object at a common time."""
        return self._tracklet.at(slot, self.order, self.entries)

    def is_coarser_than(self, bias_m: float) -> bool:
        """Say whether the track is coarse, by more than so much."""
        return self.first.report.bias_m > bias_m

    def samples(self, after: Key | None = None) -> list[Entry]:
        """Return the first reports (after a place in the order), a second apart: they decide what it belongs to."""
        found: list[Entry] = []
        for key in self.order if after is None else self.order[bisect_right(self.order, after) :]:
            if not found or key[0] - found[-1].key[0] >= SAMPLE_SPACING_NS:
                found.append(self.entries[key])
                if len(found) == SAMPLES:
                    break
        return found

    def window(self, key: Key) -> tuple[Key, ...]:
        """Return the few reports before a key."""
        end = bisect_right(self.order, key)
        return tuple(self.order[max(0, end - WINDOW) : end])

    def state_before(self, key: Key) -> Estimate | None:
        """Return what the few reports before a key say on their own."""
        window = self.window(key)
        if not window:
            return None
        known = self._windows.get(window[-1])
        if known is None:
            first = self.entries[window[0]]
            known = estimate.start(first.report, self.key)
            for one in window[1:]:
                entry = self.entries[one]
                known = estimate.absorb(known, entry.report, self.key, common=entry.common)
            self._windows[window[-1]] = known
            while len(self._windows) > 4 * SAMPLES:
                del self._windows[next(iter(self._windows))]
        return known

    def _forget_windows(self, index: int) -> None:
        """Forget what was computed from reports at or after a place in the order."""
        if index < len(self.order) - 1:
            self._windows.clear()
        elif self._windows and index < len(self.order):
            self._windows.pop(self.order[index], None)


class Node:
    """Everything that stands of one origin's word on one event."""

    def __init__(self, key: NodeKey) -> None:
        """Start with nothing."""
        self.key = key
        self.standing: dict[Key, Contribution] = {}
        self.order: list[Key] = []
        self.tracks: dict[TrackKey, LocalTrack] = {}
        # What `associate` looks at beside tracks; changes of it are counted, so that pairs are compared again.
        self.launches: dict[Key, Launch] = {}
        self.impacts: dict[Key, Impact] = {}
        self.features_version = 0
        self._retractions: set[Key] = set()
        self._kinds: dict[type, list[Key]] = {}
        self._words: dict[bytes, list[Key]] = {}  # statuses by the object that they name; empty: the event
        self._fields: dict[str, list[Key]] = {}
        self._shown: dict[str, tuple[Key, content_pb2.Content]] = {}

    def add(self, contribution: Contribution, entry: Entry | None) -> None:
        """Take a message in that stands now; `entry` if its report counts."""
        key = contribution.key
        if key not in self.standing:
            for keys in self._lists(contribution):
                insort(keys, key)
        self.standing[key] = contribution
        match contribution.body:
            case Launch() as launch:
                self.launches[key] = launch
                self.features_version += 1
            case Impact() as impact:
                self.impacts[key] = impact
                self.features_version += 1
            case Status(state=content_pb2.EVENT_STATE_NOT_A_LAUNCH):
                self._retractions.add(key)
            case Report() if entry is not None:
                self._track(contribution.track_key).put(entry)
            case _:
                pass

    def remove(self, contribution: Contribution) -> None:
        """Take a message out that stands no longer."""
        key = contribution.key
        if self.standing.pop(key, None) is None:
            return
        for keys in self._lists(contribution):
            del keys[bisect_left(keys, key)]
        if self.launches.pop(key, None) is not None or self.impacts.pop(key, None) is not None:
            self.features_version += 1
        self._retractions.discard(key)
        self.withdraw(contribution.track_key, key)

    def withdraw(self, track: TrackKey, key: Key) -> None:
        """Take only a report out; its message stands."""
        local = self.tracks.get(track)
        if local is not None and local.drop(key) and not local.order:
            del self.tracks[track]

    @property
    def is_retracted(self) -> bool:
        """Say whether the origin took everything back."""
        return bool(self._retractions)

    @property
    def first_key(self) -> Key:
        """Return the place of the oldest message. There must be one."""
        return self.order[0]

    def launch(self) -> Launch | None:
        """Return the launch that says most: the smallest place, then the newest."""
        best: tuple[float, int, Launch] | None = None
        for rank, key in enumerate(sorted(self.launches, reverse=True)):
            launch = self.launches[key]
            spread_m = launch.place.spread_m if launch.place else float("inf")
            if best is None or (spread_m, rank) < best[:2]:
                best = (spread_m, rank, launch)
        return best[2] if best else None

    def impact(self) -> Impact | None:
        """Return the newest impact prediction."""
        return self.impacts[max(self.impacts)] if self.impacts else None

    def newest(self, kind: type[Report | Launch | Impact | Status]) -> Contribution | None:
        """Return the newest standing message of a kind whose numbers are of use."""
        keys = self._kinds.get(kind)
        return self.standing[keys[-1]] if keys else None

    def word(self, object_id: bytes = b"") -> Contribution | None:
        """Return the newest standing status of an object, or of the event as a whole."""
        keys = self._words.get(object_id)
        return self.standing[keys[-1]] if keys else None

    def count(self, field: str) -> int:
        """Return how many standing messages have that body."""
        return len(self._fields.get(field, ()))

    def shown(self, field: str) -> tuple[Key, content_pb2.Content] | None:
        """Return the newest standing message with that body, as its origin said it."""
        keys = self._fields.get(field)
        if not keys:
            return None
        known = self._shown.get(field)
        if known is None or known[0] != keys[-1]:
            known = (keys[-1], content_pb2.Content.FromString(self.standing[keys[-1]].content))
            self._shown[field] = known
        return known

    def _lists(self, contribution: Contribution) -> tuple[list[Key], ...]:
        """Return the orders in which a message stands."""
        by_field = self._fields.setdefault(contribution.field, [])
        if contribution.body is None:
            return self.order, by_field
        by_kind = self._kinds.setdefault(type(contribution.body), [])
        if isinstance(contribution.body, Status):
            # What its origin calls no launch is none, whichever object it names.
            is_whole = contribution.body.state == content_pb2.EVENT_STATE_NOT_A_LAUNCH
            object_id = b"" if is_whole else contribution.object_id
            return self.order, by_field, by_kind, self._words.setdefault(object_id, [])
        return self.order, by_field, by_kind

    def _track(self, key: TrackKey) -> LocalTrack:
        track = self.tracks.get(key)
        if track is None:
            track = self.tracks[key] = LocalTrack(key)
        return track
