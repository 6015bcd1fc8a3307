"""What each recipient holds of ours: the memory that corrections, cancellations and references need.

All of it can be found again in the store. Whether a message was sealed to R is asked of the outbox itself, by the
identity that only depends on its keys; what it said is read from the envelope. Beside that, small values are kept in
the store's state: which events a recipient knows, which messages correct which, when an object was last shown.

A correction remembers what it corrects, and the message at the beginning remembers the newest corrections, however they
hang together. At most `limits.CORRECTIONS_MAX` stand in a row, so that no way up or down is longer: a cancelled message
is found from any of its corrections, also from one that it does not remember any more.

Changes are tentative until `keep`, like the numbers of the streams: a batch that was not stored leaves no memory.

Small values are forgotten with the messages that they speak of (`broker.gateway.retention`): each begins with its age,
the number of the mark before which it was written, or needed, last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from broker import limits
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
READ_BACK = "read-back"
AGE_BYTES = 4


class Issued(NamedTuple):
    """What was sealed to a recipient, under which label."""

    content: content_pb2.Content
    label: envelope_pb2.SecurityLabel


@dataclass(slots=True)
class Ledger:
    """See the module. One for each gateway, used by one task."""

    store: Store
    origin: str
    ids: Ids
    _kept: dict[str, bytes]
    age: int = 0  # the number of the next mark
    _pending: dict[str, bytes] = field(default_factory=dict)  # an empty value: to be forgotten
    _pending_intake: dict[bytes, journal_pb2.IntakeRecord] = field(default_factory=dict)
    _pending_sealed: dict[bytes, Issued] = field(default_factory=dict)
    _by_age: dict[int, set[str]] = field(default_factory=dict)  # names; some of them were written again since
    batches: int = 0  # that ended so far

    def __post_init__(self) -> None:
        """Sort by age what was kept."""
        for name, value in self._kept.items():
            self._by_age.setdefault(_age(value), set()).add(name)

    # -- small values ---------------------------------------------------------------------------------------------
    def event_label(self, recipient: str, event_id: bytes) -> envelope_pb2.SecurityLabel | None:
        """Return whose and how secret what the recipient was sent of this event (by its own id for it) is at most.

        None if it was never sent anything.
        """
        value = self._get(f"event/{recipient}/{event_id.hex()}")
        return envelope_pb2.SecurityLabel.FromString(value) if value else None

    def note_event(self, recipient: str, event_id: bytes, label: envelope_pb2.SecurityLabel) -> None:
        """Note that the recipient is being sent something of this event."""
        known = self.event_label(recipient, event_id)
        if known is None or known.classification < label.classification:
            kept = envelope_pb2.SecurityLabel(policy=label.policy, classification=label.classification)
            self._set(f"event/{recipient}/{event_id.hex()}", kept.SerializeToString())
        else:
            self._renew(f"event/{recipient}/{event_id.hex()}")

    def shown_at_ns(self, recipient: str, object_key: bytes) -> int | None:
        """Return the time for which the object was last shown to the recipient, in the content's own time."""
        value = self._get(f"shown/{recipient}/{object_key.hex()}")
        return int.from_bytes(value, "big") if value else None

    def note_shown(self, recipient: str, object_key: bytes, at_ns: int) -> None:
        """Note for which time the object is being shown to the recipient."""
        self._set(f"shown/{recipient}/{object_key.hex()}", at_ns.to_bytes(8, "big"))

    def root_of(self, key: bytes) -> bytes:
        """Return the intake key of the message at the beginning, which corrects nothing that we know of."""
        return self._line(key)[-1]

    def corrections_of(self, key: bytes) -> list[bytes]:
        """Return the intake keys of a message's corrections as they came, corrections of corrections included.

        At most CORRECTIONS_MAX, the newest.
        """
        family = _keys(self._get(f"corrections/{self.root_of(key).hex()}") or b"")
        corrected = {each: self._corrected_by(each) for each in family}
        below = {key}
        while more := [each for each in family if each not in below and corrected[each] in below]:
            below.update(more)
        return [each for each in family if each in below and each != key]

    def may_correct(self, *, of: bytes, by: bytes) -> bool:
        """Return whether a new message may correct another: not itself, nor after too many corrections in a row."""
        line = self._line(of)
        if by in line or self._get(f"refused/{of.hex()}"):
            return False
        return len(line) + len(self.corrections_of(by)) <= limits.CORRECTIONS_MAX  # some may have come before it

    def note_refused(self, key: bytes) -> None:
        """Note that a correction was refused: what corrects it in turn would stand for itself, and is refused too."""
        self._set(f"refused/{key.hex()}", b"\x01")

    def note_correction(self, *, of: bytes, by: bytes) -> None:
        """Note that one message corrects another, as it may; if that was cancelled, so is its correction."""
        line = self._line(of)
        for each in line:
            self._renew(f"corrects/{each.hex()}")
        self._set(f"corrects/{by.hex()}", of)
        name, came_before = f"corrections/{line[-1].hex()}", f"corrections/{by.hex()}"
        family = (self._get(name) or b"") + (self._get(came_before) or b"") + by
        self._set(name, family[-limits.CORRECTIONS_MAX * KEY_BYTES :])
        self._drop(came_before)
        if self.is_cancelled(of):
            self.note_cancelled(by)

    def is_cancelled(self, key: bytes) -> bool:
        """Return whether a message, or what it corrects, was cancelled, perhaps before it came."""
        return any(self._is_marked(each) for each in self._line(key))

    def note_cancelled(self, key: bytes) -> None:
        """Leave a tombstone for a message and its corrections: what comes late is told to nobody."""
        self._set(f"cancelled/{key.hex()}", b"\x01")

    def first_of(self, recipient: str, root: bytes) -> bytes | None:
        """Return the system's id of the correction that a recipient was sent first, as a new message to it."""
        return self._get(f"first/{recipient}/{root.hex()}")

    def note_first(self, recipient: str, key: bytes, local: bytes) -> None:
        """Note that a correction is being sent to a recipient that holds nothing of what it corrects."""
        self._set(f"first/{recipient}/{self.root_of(key).hex()}", local)

    def is_correction_of(self, key: bytes, of: bytes) -> bool:
        """Return whether a message corrects another, perhaps by way of others."""
        return of in self._line(key)[1:]

    def _line(self, key: bytes) -> list[bytes]:
        """Return a message and all that it corrects, newest first."""
        line = [key]
        while len(line) <= limits.CORRECTIONS_MAX and (older := self._corrected_by(line[-1])):
            line.append(older)
        return line

    def _corrected_by(self, key: bytes) -> bytes | None:
        return self._get(f"corrects/{key.hex()}")

    def _is_marked(self, key: bytes) -> bool:
        return bool(self._get(f"cancelled/{key.hex()}"))

    def is_taken_back(self, event_key: bytes) -> bool:
        """Return whether an event was taken back, perhaps before it came, by a status that stands."""
        return any(self.stands(by) for by in _keys(self._get(f"taken-back/{event_key.hex()}") or b""))

    def renew_taken_back(self, event_key: bytes) -> None:
        """Remember that an event was taken back for as long as anything is said of it."""
        self._renew(f"taken-back/{event_key.hex()}")

    def note_taken_back(self, event_key: bytes, *, by: bytes) -> None:
        """Leave a tombstone for an event: what comes late is told to nobody, as long as the status `by` stands."""
        name = f"taken-back/{event_key.hex()}"
        known = self._get(name) or b""
        if by not in _keys(known):
            self._set(name, (known + by)[-limits.CORRECTIONS_MAX * KEY_BYTES :])

    def stands(self, key: bytes) -> bool:
        """Return whether a message is neither cancelled nor corrected by one that stands."""
        below: dict[bytes, list[bytes]] = {}
        for each in self.corrections_of(key):
            below.setdefault(self._corrected_by(each) or key, []).append(each)

        def counts(one: bytes) -> bool:  # no deeper than corrections in a row
            return not self._is_marked(one) and not any(counts(each) for each in below.get(one, ()))

        return not self.is_cancelled(key) and counts(key)

    @property
    def was_read_back(self) -> bool:
        """Return whether envelopes were read back here, so that a report new to us may have been sealed before."""
        return bool(self._get(READ_BACK))

    def note_read_back(self) -> None:
        """Note that envelopes were read back."""
        self._set(READ_BACK, b"\x01")

    # -- messages ---------------------------------------------------------------------------------------------------
    def note_intake(self, key: bytes, record: journal_pb2.IntakeRecord) -> None:
        """Remember a message of the batch under way."""
        self._pending_intake[key] = record
        self._drop(f"refused/{key.hex()}")

    async def intake(self, key: bytes) -> journal_pb2.IntakeRecord | None:
        """Return what a system reported under this key."""
        if key in self._pending_intake:
            return self._pending_intake[key]
        found = await self.store.find(INTAKE, key)
        return None if found is None else journal_pb2.IntakeRecord.FromString(found.data)

    def note_sealed(self, recipient: str, content: content_pb2.Content, label: envelope_pb2.SecurityLabel) -> None:
        """Remember what is being sealed in the batch under way."""
        key = self._identity(recipient, content.header.mode, content.header.message_id)
        self._pending_sealed[key] = Issued(content, label)

    async def sealed(self, recipient: str, scope: Scope, local: bytes) -> Issued | None:
        """Return what was sealed to the recipient under a system's own id; None if nothing was."""
        message_id = self.ids.of(Kind.MESSAGE, scope, recipient=recipient, local=local)
        key = self._identity(recipient, scope.mode, message_id)
        if key in self._pending_sealed:
            return self._pending_sealed[key]
        found = await self.store.find(OUTBOX, key)
        if found is None:
            return None
        envelope = envelope_pb2.Envelope.FromString(found.data)
        label = envelope_pb2.RoutingHeader.FromString(envelope.header).label
        return Issued(content_pb2.Content.FromString(envelope.body), label)

    def _identity(self, recipient: str, mode: int, message_id: bytes) -> bytes:
        return identity(self.origin, recipient, mode, message_id)

    # -- the batch under way ----------------------------------------------------------------------------------------
    def pending_state(self) -> dict[str, bytes]:
        """Return what must be stored together with the batch."""
        return dict(self._pending)

    def forget(self, *, through: int, most: int) -> bool:
        """Forget values of that age or older with the batch, at most so many; return whether there may be more."""
        for age in sorted(age for age in self._by_age if age <= through):
            names = self._by_age[age]
            while names:
                if most == 0:
                    return True
                name = names.pop()
                value = self._value(name)
                if value and _age(value) <= through:
                    self._pending[name] = b""
                    most -= 1
            del self._by_age[age]
        return False

    def keep(self) -> None:
        """Note that the batch is durable."""
        for name, value in self._pending.items():
            if value:
                self._kept[name] = value
                self._by_age.setdefault(_age(value), set()).add(name)
            else:
                self._kept.pop(name, None)
        self._pending.clear()
        self.drop()

    def drop(self) -> None:
        """Forget the batch."""
        self.batches += 1
        for name, value in self._pending.items():
            if not value and name in self._kept:  # it was not forgotten after all
                self._by_age.setdefault(_age(self._kept[name]), set()).add(name)
        self._pending.clear()
        self._pending_intake.clear()
        self._pending_sealed.clear()

    def _get(self, name: str) -> bytes | None:
        value = self._value(PREFIX + name)
        return value[AGE_BYTES:] if value else None

    def _set(self, name: str, value: bytes) -> None:
        self._pending[PREFIX + name] = self.age.to_bytes(AGE_BYTES, "big") + value

    def _drop(self, name: str) -> None:
        if self._value(PREFIX + name):
            self._pending[PREFIX + name] = b""

    def _renew(self, name: str) -> None:
        """Let a value live on that is still needed."""
        value = self._value(PREFIX + name)
        if value and _age(value) != self.age:
            self._set(name, value[AGE_BYTES:])

    def _value(self, full_name: str) -> bytes | None:
        value = self._pending.get(full_name)
        return self._kept.get(full_name) if value is None else value


def _age(value: bytes) -> int:
    return int.from_bytes(value[:AGE_BYTES], "big")


def _keys(value: bytes) -> list[bytes]:
    return [value[at : at + KEY_BYTES] for at in range(0, len(value), KEY_BYTES)]
