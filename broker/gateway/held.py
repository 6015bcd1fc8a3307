"""Messages that wait for a policy's delay, each for one recipient. They survive a restart.

A held message has no number, no id at the recipient and no existence outside this gateway: whatever happens to it while
it waits, nobody can tell. Changes are tentative until `keep`, as everywhere in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

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

    def load(self, state: dict[str, bytes]) -> None:
        """Take over what the store's state under `held/` says."""
        for data in state.values():
            if data:
                record = journal_pb2.HeldRecord.FromString(data)
                self._kept[Place(record.intake_key, record.recipient)] = record

    def hold(
        self, intake_key: bytes, recipient: str, decision: Decision, *, due_ns: int, event_key: bytes | None
    ) -> None:
        """Keep a message back until its time."""
        self._pending[Place(intake_key, recipient)] = journal_pb2.HeldRecord(
            intake_key=intake_key,
            recipient=recipient,
            due_at=timestamp(due_ns),
            decision=decision.to_json(),
            event_key=event_key or b"",
        )

    def drop(self, intake_key: bytes, recipient: str) -> int | None:
        """Forget a held message; return when it was due, or None if it was not held."""
        place = Place(intake_key, recipient)
        record = self._get(place)
        if record is None:
            return None
        self._pending[place] = None
        return nanoseconds(record.due_at)

    def drop_event(self, event_key: bytes, recipient: str) -> None:
        """Forget everything held of one event."""
        for place in [*self._kept, *self._pending]:
            record = self._get(place)
            if record is not None and place.recipient == recipient and record.event_key == event_key:
                self._pending[place] = None

    def due(self, now_ns: int) -> list[journal_pb2.HeldRecord]:
        """Return what may go now, the earliest first."""
        ready = [record for record in self._kept.values() if nanoseconds(record.due_at) <= now_ns]
        return sorted(ready, key=lambda record: (nanoseconds(record.due_at), record.intake_key, record.recipient))

    def next_due_ns(self) -> int | None:
        """Return when the next message is due; None if nothing is held."""
        return min((nanoseconds(record.due_at) for record in self._kept.values()), default=None)

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
        self._pending.clear()

    def undo(self) -> None:
        """Forget the batch."""
        self._pending.clear()

    def _get(self, place: Place) -> journal_pb2.HeldRecord | None:
        return self._pending[place] if place in self._pending else self._kept.get(place)
