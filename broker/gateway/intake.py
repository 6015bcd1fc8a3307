"""Step 1: what a national system says becomes Content that cannot be wrong, before any policy looks at it.

The mode comes from the sender's certificate and never from what was said. Origin and stamps are ours to set. Native
lines are read by the nation's adapter, one for each (mode, exercise, system, session, format), in order. What is
refused here was refused whole: nothing of it is stored, forwarded or remembered.

Time bases and sessions go on over a restart: `notes` become durable with the reports that made them, and where an
adapter asks what was reported before this process began, that is looked up and the line is read again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from google.protobuf.unknown_fields import UnknownFieldSet

from broker import limits
from broker.content import check_content, check_message
from broker.envelope import length_prefixed
from broker.gateway.ids import Scope, intake_key
from broker.gateway.notes import Notes
from broker.plugin import UnreadableLine
from broker.refusal import Reason, Refused
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from broker.plugin import Adapter, Nation
    from certs.identity import Identity
    from vedette.v1.national_pb2 import ReportRequest

BODIES: Final = frozenset({"launch", "track", "impact", "status", "heartbeat", "notice"})
ADAPTERS_MAX: Final = 1024  # sensors times sessions of one nation
RECALLS_MAX: Final = 64  # earlier reports that the reading of one line may depend on
LABEL_ITEMS_MAX: Final = 32
# What a recipient's copy may need beyond the report: ids of 16 bytes for shorter ones, stamps, and what is withheld.
ROOM_BYTES: Final = 6 * 1024
_MEMBER: Final = re.compile(r"[A-Z][A-Z0-9]{2,7}")
_CAVEAT: Final = re.compile(r"[A-Z0-9-]{1,32}")
_SESSION: Final = re.compile(r"[A-Za-z0-9._:-]{0,64}")


ADAPTERS: Final = "adapters"  # the group of notes that says when the notes of each adapter were used
EXERCISES: Final = "exercises"  # the group of notes with time bases: when each was first named, and the base
_TIME_BYTES: Final = 8


class Unrecalled(Exception):  # noqa: N818 - a question, not an error
    """Nothing was taken: what was reported under this intake key must be looked up first."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key.hex())
        self.key = key


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that passed intake. Only `Intake` and `acknowledgement` make one."""

    content: content_pb2.Content
    precedence: envelope_pb2.Precedence.ValueType
    label: envelope_pb2.SecurityLabel
    scope: Scope
    received_ns: int
    key: bytes
    digest: bytes

    @property
    def body(self) -> str:
        """Return the name of the body, or an empty string for a bare reference."""
        return self.content.WhichOneof("body") or ""


class Intake:
    """The checks of step 1, and the adapters' memory.

    `has_earlier` says whether the store may hold reports of a scope that this process did not take in.
    """

    def __init__(
        self,
        nation: Nation,
        notes: Notes | None = None,
        has_earlier: Callable[[Scope], bool] = lambda _scope: False,
    ) -> None:
        self._nation = nation
        self._notes = notes or Notes({})
        self._has_earlier = has_earlier
        self._has_closed = False  # whether adapters were forgotten: their sessions may go on
        self._adapters: dict[tuple[Scope, str], tuple[Adapter, _Memory]] = {}
        bases = sorted(self._notes.of(EXERCISES).items(), key=lambda item: item[1][:_TIME_BYTES])
        self._exercises = {exercise_id: value[_TIME_BYTES:] for exercise_id, value in bases}  # the oldest first

    async def read(
        self,
        request: ReportRequest,
        sender: Identity,
        *,
        now_ns: int,
        recall: Callable[[bytes], Awaitable[content_pb2.Content | None]],
    ) -> list[Taken]:
        """Do as `take`, and look up by `recall` what was reported under an intake key before. Raises Refused."""
        recalled: dict[bytes, content_pb2.Content | None] = {}
        while len(recalled) < RECALLS_MAX:
            try:
                return self.take(request, sender, now_ns=now_ns, recalled=recalled)
            except Unrecalled as asked:
                recalled[asked.key] = await recall(asked.key)
        raise Refused(Reason.REASON_UNREADABLE_LINE, "it depends on too many earlier lines")

    def take(
        self,
        request: ReportRequest,
        sender: Identity,
        *,
        now_ns: int,
        recalled: Mapping[bytes, content_pb2.Content | None] = MappingProxyType({}),
    ) -> list[Taken]:
        """Return what the report says, possibly several messages or none. Raises Refused.

        Raises Unrecalled where a line depends on what was reported before: ask again, with that in `recalled`.
        """
        if len(UnknownFieldSet(request)):
            raise Refused(Reason.REASON_UNKNOWN_FIELD, "ReportRequest: only the fields of this schema version")
        if not _SESSION.fullmatch(request.session):  # 1.1
            raise Refused(Reason.REASON_OUT_OF_RANGE, "session: at most 64 of A-Z a-z 0-9 . _ : -")
        match request.WhichOneof("report"):
            case "content":
                return [self._content(request, sender, now_ns)]
            case "native":
                return self._native(request, sender, now_ns, recalled)
            case _:
                raise Refused(Reason.REASON_MISSING_FIELD, "report: send content or a native line")

    def acknowledged(
        self, content: content_pb2.Content, label: envelope_pb2.SecurityLabel, sender: Identity, *, now_ns: int
    ) -> Taken:
        """Return a person's acknowledgement as a message of ours. Raises Refused."""
        if len(content.operator_ack.message_id) != limits.ID_BYTES:
            raise Refused(Reason.REASON_OUT_OF_RANGE, "message_id: the one that the warning carries")
        check_content(content, incoming=False)
        self._check_exercise(content.header)
        self._note_exercise(content.header, now_ns)
        precedence = envelope_pb2.PRECEDENCE_IMMEDIATE
        return taken_of(content, precedence, label, sender=sender, session="", now_ns=now_ns)

    def _content(self, request: ReportRequest, sender: Identity, now_ns: int) -> Taken:
        content = content_pb2.Content()
        content.CopyFrom(request.content)
        if content.header.mode not in (content_pb2.MODE_UNSPECIFIED, sender.mode):  # 1.2 real and not real never mix
            raise Refused(Reason.REASON_MODE_NOT_ALLOWED, "leave the mode out: it comes from your certificate")
        if content.header.origin not in ("", self._nation.code):
            raise Refused(Reason.REASON_WRONG_ORIGIN, f"this is the gateway of {self._nation.code}")
        return self._checked(content, request.precedence, request.label, sender, request.session, now_ns)

    def _native(
        self,
        request: ReportRequest,
        sender: Identity,
        now_ns: int,
        recalled: Mapping[bytes, content_pb2.Content | None],
    ) -> list[Taken]:
        native = request.native
        if native.format not in self._nation.formats:  # 1.3
            known = ", ".join(sorted(self._nation.formats))
            raise Refused(Reason.REASON_UNKNOWN_FORMAT, f"known formats: {known}")
        if len(native.line) > limits.NATIVE_LINE_BYTES_MAX:
            raise Refused(Reason.REASON_TOO_LARGE, f"a line may have {limits.NATIVE_LINE_BYTES_MAX} bytes")
        scope = Scope(sender.mode, request.exercise.exercise_id, sender.name, request.session)
        adapter, memory = self._adapter(scope, native.format)
        memory.recalled = recalled
        try:
            reported = adapter.read(native.line)
        except UnreadableLine as error:
            raise Refused(Reason.REASON_UNREADABLE_LINE, str(error)) from error
        taken: list[Taken] = []
        for item in reported:
            content = content_pb2.Content()
            content.CopyFrom(item.content)
            if request.HasField("exercise"):
                content.header.exercise.CopyFrom(request.exercise)
            taken.append(self._checked(content, item.precedence, item.label, sender, request.session, now_ns))
        memory.keep()
        return taken

    def _adapter(self, scope: Scope, format_name: str) -> tuple[Adapter, _Memory]:
        known = self._adapters.get((scope, format_name))
        if known is not None:
            return known
        if len(self._adapters) >= ADAPTERS_MAX:
            self._adapters.pop(next(iter(self._adapters)))  # the oldest session: sensors begin new ones
            self._has_closed = True
        memory = _Memory(self._notes, scope, format_name, may_ask=self._has_closed or self._has_earlier(scope))
        opened = self._adapters[scope, format_name] = self._nation.formats[format_name].open(memory), memory
        return opened

    def _checked(
        self,
        content: content_pb2.Content,
        precedence: envelope_pb2.Precedence.ValueType,
        label: envelope_pb2.SecurityLabel,
        sender: Identity,
        session: str,
        now_ns: int,
    ) -> Taken:
        content.header.mode = content_pb2.Mode.ValueType(sender.mode)
        content.header.origin = self._nation.code
        content.header.ClearField("disclosure")  # ours to write
        content.header.ClearField("stamps")
        check_content(content, incoming=False)  # 1.4 form
        if content.ByteSize() > limits.BODY_BYTES_MAX - ROOM_BYTES:  # the hub would refuse it, and nobody would know
            raise Refused(Reason.REASON_TOO_LARGE, f"a report may have {limits.BODY_BYTES_MAX - ROOM_BYTES} bytes")
        body = content.WhichOneof("body")
        if body is not None and body not in BODIES:  # 1.5 a system may not speak for the hub or for a person
            raise Refused(Reason.REASON_BODY_NOT_ALLOWED, f"{body} is not a report")
        relations = [reference.relation for reference in content.header.references]
        if body is not None and content_pb2.RELATION_CANCELS in relations:
            raise Refused(Reason.REASON_BODY_NOT_ALLOWED, "what cancels says nothing else: to replace, use CORRECTS")
        if relations.count(content_pb2.RELATION_CORRECTS) > 1:
            raise Refused(Reason.REASON_OUT_OF_RANGE, "header.references: a message corrects one other at most")
        if body is not None and content.header.lineage.kind == content_pb2.LINEAGE_KIND_UNSPECIFIED:  # 1.6
            raise Refused(Reason.REASON_MISSING_FIELD, "header.lineage.kind: RAW if these are your own sensors")
        self._check_exercise(content.header)  # 1.7
        check_label(precedence, label)  # 1.8
        self._note_exercise(content.header, now_ns)
        return taken_of(content, precedence, label, sender=sender, session=session, now_ns=now_ns)

    def _check_exercise(self, header: content_pb2.ContentHeader) -> None:
        if header.HasField("exercise") != (header.mode == content_pb2.MODE_EXERCISE):
            raise Refused(Reason.REASON_EXERCISE_BASE, "an exercise must name its time base, and nothing else may")
        base = header.exercise.SerializeToString(deterministic=True)
        if self._exercises.get(header.exercise.exercise_id, base) != base:
            raise Refused(Reason.REASON_EXERCISE_BASE, "this exercise_id has another time base already")

    def _note_exercise(self, header: content_pb2.ContentHeader, now_ns: int) -> None:
        exercise_id = header.exercise.exercise_id
        if not header.HasField("exercise") or exercise_id in self._exercises:
            return
        if len(self._exercises) >= limits.EXERCISES_MAX:
            oldest = next(iter(self._exercises))  # the hub remembers its base
            del self._exercises[oldest]
            self._notes.note(EXERCISES, oldest, b"")
        base = self._exercises[exercise_id] = header.exercise.SerializeToString(deterministic=True)
        self._notes.note(EXERCISES, exercise_id, now_ns.to_bytes(_TIME_BYTES, "big") + base)


class _Memory:
    """What one adapter may know of its session: see `broker.plugin.Memory`."""

    def __init__(self, notes: Notes, scope: Scope, format_name: str, *, may_ask: bool) -> None:
        self._notes = notes
        self._scope = scope
        # A key of fixed length: no name of a system, a session or an exercise can run into another.
        self._group = intake_key(scope, b"adapter:" + format_name.encode()).hex()
        self._may_ask = may_ask
        self._changed: dict[str, bytes] = {}
        self.recalled: Mapping[bytes, content_pb2.Content | None] = {}

    def noted(self) -> Mapping[str, bytes]:
        return self._notes.of(self._group)

    def note(self, name: str, value: bytes) -> None:
        self._changed[name] = value

    def reported(self, message_id: bytes) -> content_pb2.Content | None:
        if not self._may_ask:
            return None  # the adapter has read all that there is
        key = intake_key(self._scope, message_id)
        if key not in self.recalled:
            raise Unrecalled(key)
        return self.recalled[key]

    def keep(self) -> None:
        """Have what was noted become durable: the report that made the changes was taken."""
        for name, value in self._changed.items():
            self._notes.note(self._group, name, value)
        self._changed.clear()
        if self._notes.count(self._group):
            self._notes.use(ADAPTERS, self._group)
        if self._notes.count(ADAPTERS) > ADAPTERS_MAX:
            used = self._notes.of(ADAPTERS)
            longest_unused = min(used, key=used.__getitem__)
            self._notes.forget(longest_unused)
            self._notes.note(ADAPTERS, longest_unused, b"")


def check_label(precedence: int, label: envelope_pb2.SecurityLabel) -> None:
    """Refuse what nobody could route or release."""
    if precedence not in envelope_pb2.Precedence.values() or precedence == envelope_pb2.PRECEDENCE_UNSPECIFIED:
        raise Refused(Reason.REASON_PRECEDENCE, "precedence must be ROUTINE to FLASH_OVERRIDE")
    if label.classification == envelope_pb2.CLASSIFICATION_UNSPECIFIED or not label.policy:
        raise Refused(Reason.REASON_UNLABELLED, "the label must name its policy and classification")
    check_message(label)
    if len(label.releasable_to) > LABEL_ITEMS_MAX or len(label.caveats) > LABEL_ITEMS_MAX:
        raise Refused(Reason.REASON_TOO_LARGE, f"a label names at most {LABEL_ITEMS_MAX} members and caveats")
    if not all(_MEMBER.fullmatch(code) for code in (label.policy, *label.releasable_to)):
        raise Refused(Reason.REASON_OUT_OF_RANGE, "label: policy and releasable_to are member codes such as KOR")
    if not all(_CAVEAT.fullmatch(caveat) for caveat in label.caveats):
        raise Refused(Reason.REASON_OUT_OF_RANGE, "label.caveats: capital letters, digits and hyphens, at most 32")


def taken_of(
    content: content_pb2.Content,
    precedence: envelope_pb2.Precedence.ValueType,
    label: envelope_pb2.SecurityLabel,
    *,
    sender: Identity,
    session: str,
    now_ns: int,
) -> Taken:
    """Return the checked content with the keys by which this gateway knows it."""
    scope = Scope(content.header.mode, content.header.exercise.exercise_id, sender.name, session)
    return Taken(
        content=content,
        precedence=precedence,
        label=label,
        scope=scope,
        received_ns=now_ns,
        key=intake_key(scope, content.header.message_id),
        digest=_digest(content, precedence, label),
    )


def _digest(content: content_pb2.Content, precedence: int, label: envelope_pb2.SecurityLabel) -> bytes:
    """Return what the same report must have again: everything but when we received it."""
    said = content_pb2.Content()
    said.CopyFrom(content)
    said.header.ClearField("stamps")
    parts = (
        said.SerializeToString(deterministic=True),
        precedence.to_bytes(1, "big"),
        label.SerializeToString(deterministic=True),
    )
    return hashlib.sha256(length_prefixed(*parts)).digest()
