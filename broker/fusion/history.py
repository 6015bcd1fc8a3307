"""One object's reports in fold order, and its estimate after each: a late report is folded exactly where it belongs.

The estimate after report n is a function of the reports up to n and of nothing else. A report that comes late, goes, or
changes is inserted or removed, and everything behind it is computed again from the estimate before it. So the order of
arrival leaves no trace. Estimates are kept for the newest `KEPT_NEWEST` reports and for every `KEPT_EVERY`th before.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.fusion import estimate
from broker.fusion.motion import UNSEEN, followed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.fusion.contribution import Key, Report, TrackKey
    from broker.fusion.estimate import Estimate
    from broker.fusion.motion import Motion

__all__ = ["Entry", "History"]

KEPT_NEWEST: Final = 128
KEPT_EVERY: Final = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """One report in its place. `common`: made from what may already be in."""

    key: Key
    track: TrackKey
    report: Report
    common: bool


class History:
    """The reports of one object and what they add up to."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Start with any entries, in any order."""
        self._entries: dict[Key, Entry] = {}
        self._keys: list[Key] = []
        self._estimates: list[Estimate | None] = []
        self._motions: list[Motion] = []  # after each report: most are one and the same
        self._is_shared = False  # with a copy: then nothing is changed in place
        self.change(added=entries, removed=())

    def __len__(self) -> int:
        return len(self._keys)

    def copy(self) -> History:
        """Return another history with the same reports. Cheap: what both hold is not changed in place from now on."""
        twin = History()
        twin._is_shared = self._is_shared = True
        twin._entries, twin._keys, twin._estimates = self._entries, self._keys, self._estimates
        twin._motions = self._motions
        return twin

    @property
    def newest(self) -> Estimate:
        """Return the estimate after the newest report. There must be one."""
        last = self._estimates[-1]
        if last is None:
            raise LookupError("an object without reports has no estimate")
        return last

    @property
    def motion(self) -> Motion:
        """Return how it has moved up to the newest report."""
        return self._motions[-1] if self._motions else UNSEEN

    @property
    def last(self) -> Entry:
        """Return the newest report. There must be one."""
        return self._entries[self._keys[-1]]

    @property
    def entries(self) -> list[Entry]:
        """Return the reports in order."""
        return [self._entries[key] for key in self._keys]

    def recent(self, count: int) -> list[tuple[Entry, bool]]:
        """Return the newest entries, newest first, each with whether the estimate took it."""
        pairs = zip(reversed(self._keys), reversed(self._estimates), strict=True)
        return [
            (self._entries[key], state.taken) for (key, state), _ in zip(pairs, range(count), strict=False) if state
        ]

    def first(self, count: int) -> list[Entry]:
        """Return the oldest entries."""
        return [self._entries[key] for key in self._keys[:count]]

    def change(self, *, added: Iterable[Entry], removed: Iterable[Key]) -> None:
        """Put reports in and take reports out, then compute anew from the first that changed. All or nothing."""
        added, removed = list(added), list(removed)
        if len(added) == 1 and not removed and not self._is_shared and self._follows(added[0]):
            self._append(added[0])
            return
        entries, keys = dict(self._entries), list(self._keys)
        first = len(keys)
        for key in removed:
            if entries.pop(key, None) is not None:
                index = bisect_left(keys, key)
                del keys[index]
                first = min(first, index)
        for entry in added:
            index = bisect_left(keys, entry.key)
            if entry.key not in entries:
                keys.insert(index, entry.key)
            entries[entry.key] = entry
            first = min(first, index)
        came_one = len(added) == 1 and not removed and len(keys) > len(self._keys)
        estimates, motions = self._computed(entries, keys, first, came_one=came_one)
        self._entries, self._keys, self._estimates, self._motions = entries, keys, estimates, motions
        self._is_shared = False

    def _follows(self, entry: Entry) -> bool:
        """Say whether a report is newer than all that are here."""
        return bool(self._keys) and self._keys[-1] < entry.key

    def _append(self, entry: Entry) -> None:
        """Take in the newest report: what nearly always happens."""
        state = estimate.absorb(self.newest, entry.report, entry.track, common=entry.common)
        motion = followed(self.motion, self.newest, state)
        self._entries[entry.key] = entry
        self._keys.append(entry.key)
        self._estimates.append(state)
        self._motions.append(motion)
        self._thin(self._estimates)

    def _computed(
        self, entries: dict[Key, Entry], keys: list[Key], first: int, *, came_one: bool
    ) -> tuple[list[Estimate | None], list[Motion]]:
        """Return estimates and motions, those before `first` as they are. `came_one`: nothing else has changed."""
        start = first
        while start > 0 and self._estimates[start - 1] is None:
            start -= 1
        estimates, motions = self._estimates[:start], self._motions[:start]
        state = estimates[-1] if estimates else None
        motion = motions[-1] if motions else UNSEEN
        for index, key in enumerate(keys[start:], start):
            if came_one and index == first + 1 and first > 0 and state is self._estimates[first - 1]:
                # It taught nothing, to the bit: neither does it change anything behind it.
                estimates += self._estimates[first:]
                motions += self._motions[first:]
                self._thin(estimates)
                return estimates, motions
            entry, before = entries[key], state
            if state is None:
                state = estimate.start(entry.report, entry.track)
            else:
                state = estimate.absorb(state, entry.report, entry.track, common=entry.common)
            motion = followed(motion, before, state)
            estimates.append(state)
            motions.append(motion)
            self._thin(estimates)
        return estimates, motions

    @staticmethod
    def _thin(estimates: list[Estimate | None]) -> None:
        """Let the one go that is too old for its place, as we go, so that a long replay does not hold everything."""
        old = len(estimates) - KEPT_NEWEST - 1
        if old >= 0 and old % KEPT_EVERY:
            estimates[old] = None
