"""Messages that wait for a policy's delay, each for one recipient. They survive a restart.

A held message has no number, no id at the recipient and no existence outside this gateway: whatever happens to it while
it waits, nobody can tell. Changes are tentative until `keep`, as everywhere in a batch.

At most `limits.HELD_MAX` wait, so that a flood of delayed reports does not take the gateway's memory from warnings that
go at once. Whose turn it is, a heap knows; entries of it that were overtaken are passed over when they come up.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.clock import nanoseconds, timestamp
from vedette.v1 import journal_pb2

if TYPE_CHECKING:
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
    _count: int = 0  # that stand, the batch under way included
    _heap: list[tuple[int, Place]] = field(default_factory=list)
    _called: list[tuple[int, Place]] = field(default_factory=list)  # out of the heap, for the batch under way

    def load(self, state: dict[str, bytes]) -> None:
        """Take over what the store's state under `held/` says."""
        for data in state.values():
            if data:
                record = journal_pb2.HeldRecord.FromString(data)
                self._kept[Place(record.intake_key, record.recipient)] = record
        self._count = len(self._kept)
        self._sort_anew()

    def hold(
        self, intake_key: bytes, recipient: str, decision: Decision, *, due_ns: int, event_key: bytes | None
    ) -> bool:
        """Keep a message back until its time; return False if there is no room for it."""
        place = Place(intake_key, recipient)
        if self._count >= limits.HELD_MAX and self._get(place) is None:
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
        """Forget a held message; return when it was due, or None if it was not held."""
        place = Place(intake_key, recipient)
        record = self._get(place)
        if record is None:
            return None
        self._set(place, None)
        return nanoseconds(record.due_at)

    def drop_event(self, event_key: bytes, recipient: str) -> None:
        """Forget everything held of one event."""
        for place in [*self._kept, *self._pending]:
            record = self._get(place)
            if record is not None and place.recipient == recipient and record.event_key == event_key:
                self._set(place, None)

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
        return {place.intake_key for place in self._kept}

    def __len__(self) -> int:
        return len(self._kept)

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
                heapq.heappush(self._heap, (nanoseconds(record.due_at), place))
        self._pending.clear()
        self._return_called()
        if len(self._heap) > 2 * limits.HELD_MAX:
            self._sort_anew()

    def undo(self) -> None:
        """Forget the batch."""
        self._pending.clear()
        self._count = len(self._kept)
        self._return_called()

    def _return_called(self) -> None:
        for entry in self._called:
            if self._stands(entry):
                heapq.heappush(self._heap, entry)
        self._called.clear()

    def _stands(self, entry: tuple[int, Place]) -> bool:
        record = self._kept.get(entry[1])
        return record is not None and nanoseconds(record.due_at) == entry[0]

    def _sort_anew(self) -> None:
        self._heap = [(nanoseconds(record.due_at), place) for place, record in self._kept.items()]
        heapq.heapify(self._heap)

    def _set(self, place: Place, record: journal_pb2.HeldRecord | None) -> None:
        self._count += (record is not None) - (self._get(place) is not None)
        self._pending[place] = record

    def _get(self, place: Place) -> journal_pb2.HeldRecord | None:
        return self._pending[place] if place in self._pending else self._kept.get(place)
