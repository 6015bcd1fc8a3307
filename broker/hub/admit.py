"""Step 5: what a member submits is looked at before anything else is done with it.

`admit` is a flat list of checks, cheapest first, each with its number; it raises Refused at the first that fails and
does nothing else. Nothing is read from the body before the seal over it holds. What comes out is `Admitted`: nobody
else can make one, and the store takes nothing else. The bytes stay as they came; they are never serialised again.

Clear and closed: a form of body, a mode, a lane or a version that this hub does not know is refused, not passed on.
Whether a number was used before is looked up here and decided for good in step 6, where the window and the record
become durable together.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import nanoseconds
from broker.content import parse_content, parse_strict
from broker.envelope import identity_of, lane_of
from broker.limits import MILLISECOND_NS
from broker.refusal import Reason, Refused
from broker.windows import Standing
from certs.identity import MemberId
from certs.signature import BadSeal, UnknownKey, leaf_hash, verify_seal
from vedette.v1.content_pb2 import Mode
from vedette.v1.envelope_pb2 import BodyForm, Envelope, Precedence, RoutingHeader

if TYPE_CHECKING:
    from broker.hub.exercises import Exercises
    from broker.windows import Windows
    from certs.members import Members
    from vedette.v1.content_pb2 import Content

_BY_ADMIT: Final = object()


@dataclass(frozen=True, slots=True)
class Admitted:
    """An envelope that passed step 5, with what was read from it. Only `admit` can make one."""

    sealed: bytes  # the Envelope, exactly as it came
    header: RoutingHeader
    content: Content
    key: bytes  # its identity
    leaf: bytes  # its digest
    received_ns: int  # wall
    admitted_ns: int  # wall
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        if proof is not _BY_ADMIT:
            raise TypeError("only admit() makes an Admitted")


def admit(
    sealed: bytes,
    *,
    peer: MemberId,
    members: Members,
    windows: Windows,
    exercises: Exercises,
    received_ns: int,
    now_ns: int,
) -> Admitted:
    """Step 5. Raises Refused. What returns may be stored, once the guard has nothing against it.

    `peer` is the member whose certificate is on the line; times are wall nanoseconds by the hub's clock.
    """
    envelope = _open(sealed)
    header = parse_strict(RoutingHeader, envelope.header)
    _check_address(header, peer=peer, members=members)
    _check_form(header, now_ns=now_ns)
    # 5.10 the seal holds, by a key that this member had for this mode when it released
    leaf = leaf_hash(envelope.header, envelope.body)
    keys = members.seal_keys(peer, header.mode, now_ns, nanoseconds(header.released_at))
    try:
        verify_seal(envelope.seal, leaf, origin=peer, recipient=header.recipient, mode=header.mode, keys=keys)
    except UnknownKey as error:
        raise Refused(Reason.REASON_UNKNOWN_KEY, "no key of yours in force for this mode") from error
    except BadSeal as error:
        raise Refused(Reason.REASON_BAD_SEAL, "the signature or the path to it does not hold") from error
    # 5.11 the body parses, strictly
    content = parse_content(envelope.body, incoming=True)
    # 5.12 one time base under one exercise id
    if header.HasField("exercise"):
        exercises.check(header)
    # 5.13 not from behind the replay window
    if windows.standing(header) is Standing.OLD:
        raise Refused(Reason.REASON_REPLAYED, "older than the replay window")
    return Admitted(sealed, header, content, identity_of(header), leaf, received_ns, now_ns, proof=_BY_ADMIT)


def _open(sealed: bytes) -> Envelope:
    # 5.1 size, before anything is read from it
    if len(sealed) > limits.ENVELOPE_BYTES_MAX:
        raise Refused(Reason.REASON_TOO_LARGE, f"{len(sealed)} bytes; at most {limits.ENVELOPE_BYTES_MAX}")
    # 5.2 it parses, strictly, and all of it is there
    envelope = parse_strict(Envelope, sealed)
    if len(envelope.header) > limits.HEADER_BYTES_MAX:
        raise Refused(Reason.REASON_TOO_LARGE, f"a header of {len(envelope.header)} bytes")
    if len(envelope.body) > limits.BODY_BYTES_MAX:
        raise Refused(Reason.REASON_TOO_LARGE, f"a body of {len(envelope.body)} bytes")
    if not envelope.header or not envelope.body or not envelope.HasField("seal"):
        raise Refused(Reason.REASON_MISSING_FIELD, "an envelope has a header, a body and a seal")
    return envelope


def _check_address(header: RoutingHeader, *, peer: MemberId, members: Members) -> None:
    # 5.3 a mode that exists, and an exercise exactly where one must be
    if header.mode == Mode.MODE_UNSPECIFIED:
        raise Refused(Reason.REASON_MODE_NOT_ALLOWED, "say REAL_WORLD, EXERCISE or TEST")
    if (header.mode == Mode.MODE_EXERCISE) != header.HasField("exercise"):
        raise Refused(Reason.REASON_EXERCISE_BASE, "exercise is set in mode EXERCISE and in no other")
    # 5.4 nobody speaks for another member
    if header.origin != peer:
        raise Refused(Reason.REASON_WRONG_ORIGIN, "the envelope names another origin than your certificate")
    # 5.5 the recipient is a member, and has a log here
    recipient = members.members.get(MemberId(header.recipient))
    if recipient is None:
        raise Refused(Reason.REASON_UNKNOWN_RECIPIENT, "no such member in the members document in force")
    if recipient.is_hub:
        raise Refused(Reason.REASON_MISADDRESSED, "a hub has no log; address the member")
    # 5.6 these two exchange
    if members.may_exchange(peer, recipient.code) is None:
        raise Refused(Reason.REASON_PAIR_NOT_ALLOWED, "the members document does not let these two exchange")


def _check_form(header: RoutingHeader, *, now_ns: int) -> None:
    # 5.7 a precedence, and the lane that goes with it
    if header.precedence == Precedence.PRECEDENCE_UNSPECIFIED or header.lane != lane_of(header.precedence):
        raise Refused(Reason.REASON_PRECEDENCE, "FLASH and above travel in the urgent lane, all others in the normal")
    # 5.8 the version and the form are spoken here
    if not limits.SCHEMA_VERSION_LEAST <= header.schema_version <= limits.SCHEMA_VERSION:
        raise Refused(Reason.REASON_SCHEMA_VERSION, f"up to version {limits.SCHEMA_VERSION} is spoken here")
    if header.body_form != BodyForm.BODY_FORM_CLEAR:
        raise Refused(Reason.REASON_BODY_FORM, "only BODY_FORM_CLEAR is spoken here")
    # 5.9 numbers and times inside their bounds
    if len(header.message_id) != limits.ID_BYTES:
        raise Refused(Reason.REASON_OUT_OF_RANGE, f"a message_id has {limits.ID_BYTES} bytes")
    if header.sequence == 0:
        raise Refused(Reason.REASON_OUT_OF_RANGE, "sequence runs from 1")
    if not 0 < header.epoch <= now_ns // MILLISECOND_NS + limits.EPOCH_AHEAD_MAX_MS:
        raise Refused(Reason.REASON_EPOCH, "an epoch is a time in milliseconds, at most a day ahead: check the clock")
    if not header.HasField("released_at"):
        raise Refused(Reason.REASON_MISSING_FIELD, "released_at")
    if nanoseconds(header.released_at) > now_ns + limits.FUTURE_MAX_NS:
        raise Refused(Reason.REASON_FUTURE, "released in the future: check the clock")
