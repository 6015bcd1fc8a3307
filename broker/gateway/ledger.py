"""What each recipient holds of ours: the memory that corrections, cancellations and references need.

All of it can be found again in the store. Whether a message was sealed to R is asked of the outbox itself, by the
identity that only depends on its keys; what it said is read from the envelope. Beside that, small values are kept in
the store's state: which events a recipient knows, which messages correct which, when an object was last shown.

Changes are tentative until `keep`, like the numbers of the streams: a batch that was not stored leaves no memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.envelope import identity
from broker.gateway.ids import Kind
from vedette.v1 import content_pb2, envelope_pb2, journal_pb2

if TYPE_CHECKING:
    from broker.gateway.ids import Ids, Scope
    from broker.store import Store

PREFIX = "ledger/"
INTAKE = "intake"
OUTBOX = "outbox"
KEY_BYTES = 32
CHAIN_MAX = 64  # corrections of corrections that are followed


@dataclass(slots=True)
class Ledger:
    """See the module. One for each gateway, used by one task."""

    store: Store
    origin: str
    ids: Ids
    _kept: dict[str, bytes]
    _pending: dict[str, bytes] = field(default_factory=dict)
    _pending_intake: dict[bytes, journal_pb2.IntakeRecord] = field(default_factory=dict)
    _pending_sealed: dict[bytes, content_pb2.Content] = field(default_factory=dict)

    # -- small values ---------------------------------------------------------------------------------------------
    def knows_event(self, recipient: str, event_key: bytes) -> bool:
        """Return whether the recipient was ever sent anything of this event (by its intake key)."""
        return bool(self._get(f"event/{recipient}/{event_key.hex()}"))

    def note_event(self, recipient: str, event_key: bytes) -> None:
        """Note that the recipient is being sent something of this event."""
        if not self.knows_event(recipient, event_key):
            self._set(f"event/{recipient}/{event_key.hex()}", b"\x01")

    def shown_at_ns(self, recipient: str, object_key: bytes) -> int | None:
        """Return the time for which the object was last shown to the recipient, in the content's own time."""
        value = self._get(f"shown/{recipient}/{object_key.hex()}")
        return int.from_bytes(value, "big") if value else None

    def note_shown(self, recipient: str, object_key: bytes, at_ns: int) -> None:
        """Note for which time the object is being shown to the recipient."""
        self._set(f"shown/{recipient}/{object_key.hex()}", at_ns.to_bytes(8, "big"))

    def corrections_of(self, key: bytes) -> list[bytes]:
        """Return the intake keys of all corrections of a message, oldest first, corrections of corrections included."""
        found: list[bytes] = []
        todo = [key]
        while todo and len(found) < CHAIN_MAX:
            value = self._get(f"corrections/{todo.pop(0).hex()}") or b""
            direct = [value[at : at + KEY_BYTES] for at in range(0, len(value), KEY_BYTES)]
            found += direct
            todo += direct
        return found

    def note_correction(self, *, of: bytes, by: bytes) -> None:
        """Note that one message corrects another."""
        name = f"corrections/{of.hex()}"
        self._set(name, (self._get(name) or b"") + by)

    def is_taken_back(self, key: bytes) -> bool:
        """Return whether a message or an event (by its key) was taken back, perhaps before it came."""
        return bool(self._get(f"taken-back/{key.hex()}"))

    def note_taken_back(self, key: bytes) -> None:
        """Leave a tombstone: what comes late under this key is told to nobody."""
        self._set(f"taken-back/{key.hex()}", b"\x01")

    # -- messages ---------------------------------------------------------------------------------------------------
    def note_intake(self, key: bytes, record: journal_pb2.IntakeRecord) -> None:
        """Remember a message of the batch under way."""
        self._pending_intake[key] = record

    async def intake(self, key: bytes) -> journal_pb2.IntakeRecord | None:
        """Return what a system reported under this key."""
        if key in self._pending_intake:
            return self._pending_intake[key]
        found = await self.store.find(INTAKE, key)
        return None if found is None else journal_pb2.IntakeRecord.FromString(found.data)

    def note_sealed(self, recipient: str, content: content_pb2.Content) -> None:
        """Remember what is being sealed in the batch under way."""
        self._pending_sealed[self._identity(recipient, content.header.mode, content.header.message_id)] = content

    async def sealed(self, recipient: str, scope: Scope, local: bytes) -> content_pb2.Content | None:
        """Return what was sealed to the recipient under a system's own id; None if nothing was."""
        message_id = self.ids.of(Kind.MESSAGE, scope, recipient=recipient, local=local)
        key = self._identity(recipient, scope.mode, message_id)
        if key in self._pending_sealed:
            return self._pending_sealed[key]
        found = await self.store.find(OUTBOX, key)
        if found is None:
            return None
        return content_pb2.Content.FromString(envelope_pb2.Envelope.FromString(found.data).body)

    def _identity(self, recipient: str, mode: int, message_id: bytes) -> bytes:
        return identity(self.origin, recipient, mode, message_id)

    # -- the batch under way ----------------------------------------------------------------------------------------
    def pending_state(self) -> dict[str, bytes]:
        """Return what must be stored together with the batch."""
        return dict(self._pending)

    def keep(self) -> None:
        """Note that the batch is durable."""
        self._kept.update(self._pending)
        self.drop()

    def drop(self) -> None:
        """Forget the batch."""
        self._pending.clear()
        self._pending_intake.clear()
        self._pending_sealed.clear()

    def _get(self, name: str) -> bytes | None:
        return self._pending.get(PREFIX + name) or self._kept.get(PREFIX + name)

    def _set(self, name: str, value: bytes) -> None:
        self._pending[PREFIX + name] = value
