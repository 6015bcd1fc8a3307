"""Step 1: what a national system says becomes Content that cannot be wrong, before any policy looks at it.

The mode comes from the sender's certificate and never from what was said. Origin and stamps are ours to set. Native
lines are read by the nation's adapter, one for each (system, session, format), in order. What is refused here was
refused whole: nothing of it is stored, forwarded or remembered.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.unknown_fields import UnknownFieldSet

from broker import limits
from broker.content import check_content, check_message
from broker.envelope import length_prefixed
from broker.gateway.ids import Scope, intake_key
from broker.plugin import UnreadableLine
from broker.refusal import Reason, Refused
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from broker.plugin import Adapter, Nation
    from certs.identity import Identity
    from vedette.v1.national_pb2 import ReportRequest

BODIES: Final = frozenset({"launch", "track", "impact", "status", "heartbeat", "notice"})
ADAPTERS_MAX: Final = 1024  # sensors times sessions of one nation
LABEL_ITEMS_MAX: Final = 32
# What a recipient's copy may need beyond the report: ids of 16 bytes for shorter ones, stamps, and what is withheld.
ROOM_BYTES: Final = 6 * 1024
_MEMBER: Final = re.compile(r"[A-Z][A-Z0-9]{2,7}")
_CAVEAT: Final = re.compile(r"[A-Z0-9-]{1,32}")
_SESSION: Final = re.compile(r"[A-Za-z0-9._:-]{0,64}")


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
    """The checks of step 1, and the adapters' memory."""

    def __init__(self, nation: Nation) -> None:
        self._nation = nation
        self._adapters: dict[tuple[str, str, str], Adapter] = {}
        self._exercises: dict[str, bytes] = {}

    def take(self, request: ReportRequest, sender: Identity, *, now_ns: int) -> list[Taken]:
        """Return what the report says, possibly several messages or none. Raises Refused."""
        if len(UnknownFieldSet(request)):
            raise Refused(Reason.REASON_UNKNOWN_FIELD, "ReportRequest: only the fields of this schema version")
        if not _SESSION.fullmatch(request.session):
            raise Refused(Reason.REASON_OUT_OF_RANGE, "session: at most 64 of A-Z a-z 0-9 . _ : -")
        match request.WhichOneof("report"):
            case "content":
                return [self._content(request, sender, now_ns)]
            case "native":
                return self._native(request, sender, now_ns)
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
        self._note_exercise(content.header)
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

    def _native(self, request: ReportRequest, sender: Identity, now_ns: int) -> list[Taken]:
        native = request.native
        if native.format not in self._nation.formats:  # 1.3
            known = ", ".join(sorted(self._nation.formats))
            raise Refused(Reason.REASON_UNKNOWN_FORMAT, f"known formats: {known}")
        if len(native.line) > limits.NATIVE_LINE_BYTES_MAX:
            raise Refused(Reason.REASON_TOO_LARGE, f"a line may have {limits.NATIVE_LINE_BYTES_MAX} bytes")
        adapter = self._adapter(sender.name, request.session, native.format)
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
        return taken

    def _adapter(self, system: str, session: str, format_name: str) -> Adapter:
        key = (system, session, format_name)
        adapter = self._adapters.get(key)
        if adapter is None:
            if len(self._adapters) >= ADAPTERS_MAX:
                self._adapters.pop(next(iter(self._adapters)))  # the oldest session: sensors begin new ones
            adapter = self._adapters[key] = self._nation.formats[format_name].open()
        return adapter

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
        self._note_exercise(content.header)
        return taken_of(content, precedence, label, sender=sender, session=session, now_ns=now_ns)

    def _check_exercise(self, header: content_pb2.ContentHeader) -> None:
        if header.HasField("exercise") != (header.mode == content_pb2.MODE_EXERCISE):
            raise Refused(Reason.REASON_EXERCISE_BASE, "an exercise must name its time base, and nothing else may")
        base = header.exercise.SerializeToString(deterministic=True)
        if self._exercises.get(header.exercise.exercise_id, base) != base:
            raise Refused(Reason.REASON_EXERCISE_BASE, "this exercise_id has another time base already")

    def _note_exercise(self, header: content_pb2.ContentHeader) -> None:
        if header.HasField("exercise") and header.exercise.exercise_id not in self._exercises:
            if len(self._exercises) >= limits.EXERCISES_MAX:
                self._exercises.pop(next(iter(self._exercises)))  # the oldest; the hub remembers its base
            self._exercises[header.exercise.exercise_id] = header.exercise.SerializeToString(deterministic=True)


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
