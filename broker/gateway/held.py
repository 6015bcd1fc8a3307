"""Messages that wait, each for one recipient: for a policy's delay, or for their event. They survive a restart.

A held message has no number, no id at the recipient and no existence outside this gateway: whatever happens to it while
it waits, nobody can tell. Changes are tentative until `keep`, as everywhere in a batch.

At most `limits.HELD_MAX` wait, so that a flood of delayed reports does not take the gateway's memory from warnings that
go at once. Whose turn it is, a heap knows; entries of it that were overtaken are passed over when they come up.

A message whose event was taken back is *set aside* when its time comes: should the event turn out to be a launch after
all, it is due at once. At most `limits.SET_ASIDE_MAX` are, the newest.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeGuard

from broker import limits
from broker.clock import nanoseconds, timestamp
from vedette.v1 import journal_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.gateway.release import Decision

PREFIX: Final = "held/"


class Place(NamedTuple):
    """Whose turn it is."""

    intake_key: bytes
    recipient: str

    @property
    def name(self) -> str:
        """Return the place as the store's state names it."""
        return f"{PREFIX}{self.recipient}/{self.intake_key.hex()}"


@dataclass(slots=True)
class Held:
    """All held messages of one gateway."""

    _kept: dict[Place, journal_pb2.HeldRecord] = field(default_factory=dict)
    _pending: dict[Place, journal_pb2.HeldRecord | None] = field(default_factory=dict)
    _count: int = 0  # that wait for their time, the batch under way included
    _kept_count: int = 0  # the same without it
    _aside: dict[Place, None] = field(default_factory=dict)  # the batch under way included, the oldest first
    _heap: list[tuple[int, Place]] = field(default_factory=list)
    _called: list[tuple[int, Place]] = field(default_factory=list)  # out of the heap, for the batch under way

    def load(self, state: dict[str, bytes]) -> None:
        """Take over what the store's state under `held/` says."""
        for data in state.values():
            if data:
                record = journal_pb2.HeldRecord.FromString(data)
                self._kept[Place(record.intake_key, record.recipient)] = record
        self._count_anew()
        self._sort_anew()

    def hold(
        self, intake_key: bytes, recipient: str, decision: Decision, *, due_ns: int, event_key: bytes | None
    ) -> bool:
        """Keep a message back until its time; return False if there is no room for it."""
        place = Place(intake_key, recipient)
        if self._count >= limits.HELD_MAX and not _waits(self._get(place)):
            return False
        record = journal_pb2.HeldRecord(
            intake_key=intake_key,
            recipient=recipient,
            due_at=timestamp(due_ns),
            decision=decision.to_json(),
            event_key=event_key or b"",
        )
        self._set(place, record)
        return True

    def drop(self, intake_key: bytes, recipient: str) -> int | None:
        """Forget a message, also one set aside; return when it was due, or None if it did not wait for its time."""
        place = Place(intake_key, recipient)
        record = self._get(place)
        if record is None:
            return None
        self._set(place, None)
        return nanoseconds(record.due_at) if _waits(record) else None

    def set_aside(self, intake_key: bytes, recipient: str, decision: Decision, *, event_key: bytes) -> None:
        """Keep a message whose event was taken back. Where there is no room, the oldest such gives way."""
        place = Place(intake_key, recipient)
        while len(self._aside) >= limits.SET_ASIDE_MAX and place not in self._aside:
            self._set(next(iter(self._aside)), None)
        record = journal_pb2.HeldRecord(
            intake_key=intake_key, recipient=recipient, decision=decision.to_json(), event_key=event_key
        )
        self._set(place, record)

    def bring_back(self, is_taken_back: Callable[[bytes], bool], *, now_ns: int) -> None:
        """Have come up what was set aside for the sake of an event that is not taken back any more."""
        for place, record in self._set_aside_of_others(is_taken_back):
            back = journal_pb2.HeldRecord(due_at=timestamp(now_ns))
            back.MergeFrom(record)
            self._set(place, back)

    def give_up(self, is_taken_back: Callable[[bytes], bool]) -> None:
        """Forget what was set aside for events of which nobody remembers any more that they were taken back."""
        for place, _ in self._set_aside_of_others(is_taken_back):
            self._set(place, None)

    def _set_aside_of_others(
        self, is_taken_back: Callable[[bytes], bool]
    ) -> list[tuple[Place, journal_pb2.HeldRecord]]:
        found = [(place, record) for place in self._aside if (record := self._get(place)) is not None]
        stand = {key: not is_taken_back(key) for key in {record.event_key for _, record in found}}  # asked once each
        return [(place, record) for place, record in found if stand[record.event_key]]

    def call_due(self, now_ns: int, *, most: int) -> list[journal_pb2.HeldRecord]:
        """Return what may go now, the earliest first; it comes up again unless it is dropped in this batch."""
        found: list[journal_pb2.HeldRecord] = []
        while len(found) < most and (due_ns := self.next_due_ns()) is not None and due_ns <= now_ns:
            entry = heapq.heappop(self._heap)
            self._called.append(entry)
            found.append(self._kept[entry[1]])
        return found

    def next_due_ns(self) -> int | None:
        """Return when the next message is due that was not called; None if none is held."""
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def waiting_keys(self) -> set[bytes]:
        """Return the intake keys of all that wait for their time."""
        return {place.intake_key for place, record in self._kept.items() if _waits(record)}

    def __len__(self) -> int:
        """Return how many wait for their time."""
        return self._kept_count

    def pending_state(self) -> dict[str, bytes]:
        """Return what must be stored together with the batch; an empty value forgets."""
        return {
            place.name: b"" if record is None else record.SerializeToString(deterministic=True)
            for place, record in self._pending.items()
        }

    def keep(self) -> None:
        """Note that the batch is durable."""
        for place, record in self._pending.items():
            if record is None:
                self._kept.pop(place, None)
            else:
                self._kept[place] = record
                if _waits(record):
                    heapq.heappush(self._heap, (nanoseconds(record.due_at), place))
        self._pending.clear()
        self._kept_count = self._count
        self._return_called()
        if len(self._heap) > 2 * limits.HELD_MAX:
            self._sort_anew()

    def undo(self) -> None:
        """Forget the batch."""
        if self._pending:
            self._pending.clear()
            self._count_anew()
        self._return_called()

    def _return_called(self) -> None:
        for entry in self._called:
            if self._stands(entry):
                heapq.heappush(self._heap, entry)
        self._called.clear()

    def _stands(self, entry: tuple[int, Place]) -> bool:
        record = self._kept.get(entry[1])
        return _waits(record) and nanoseconds(record.due_at) == entry[0]

    def _sort_anew(self) -> None:
        waiting = ((place, record) for place, record in self._kept.items() if _waits(record))
        self._heap = [(nanoseconds(record.due_at), place) for place, record in waiting]
        heapq.heapify(self._heap)

    def _count_anew(self) -> None:
        self._aside = {place: None for place, record in self._kept.items() if not _waits(record)}
        self._count = self._kept_count = len(self._kept) - len(self._aside)

    def _set(self, place: Place, record: journal_pb2.HeldRecord | None) -> None:
        self._count += _waits(record) - _waits(self._get(place))
        if record is None or _waits(record):
            self._aside.pop(place, None)
        else:
            self._aside[place] = None
        self._pending[place] = record

    def _get(self, place: Place) -> journal_pb2.HeldRecord | None:
        return self._pending[place] if place in self._pending else self._kept.get(place)


def _waits(record: journal_pb2.HeldRecord | None) -> TypeGuard[journal_pb2.HeldRecord]:
    """Return whether a message waits for its time; without one it was set aside."""
    return record is not None and record.HasField("due_at")
