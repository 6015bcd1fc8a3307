"""Step 8: what comes down is verified here again, as if the hub were not to be trusted. It is not.

`unseal` is pure: bytes in, `Received` out, or Refused with one reason. Only `unseal` makes a Received.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from broker import limits
from broker.clock import nanoseconds
from broker.content import parse_content, parse_strict
from broker.envelope import identity_of, lane_of
from broker.refusal import Reason, Refused
from broker.windows import Standing, Windows
from certs.identity import MemberId
from certs.signature import SealError, UnknownKey, leaf_hash, verify_seal
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from certs.members import Members


@dataclass(frozen=True, slots=True)
class Received:
    """An envelope that is what it claims to be, for us, and not seen before."""

    header: envelope_pb2.RoutingHeader
    content: content_pb2.Content
    envelope: bytes
    identity: bytes
    digest: bytes

    @property
    def is_ours(self) -> bool:
        """Return whether it is our own, sent to the hub for our own picture."""
        return self.header.origin == self.header.recipient


def unseal(data: bytes, *, us: str, members: Members, windows: Windows, now_ns: int) -> Received:
    """Verify one envelope. Raises Refused. A duplicate passes: the inbox, which knows the bytes, tells it."""
    if len(data) > limits.ENVELOPE_BYTES_MAX:  # 8.1
        raise Refused(Reason.REASON_TOO_LARGE, f"{len(data)} bytes")
    envelope = parse_strict(envelope_pb2.Envelope, data)
    header = parse_strict(envelope_pb2.RoutingHeader, envelope.header)
    if header.recipient != us:  # 8.2
        raise Refused(Reason.REASON_MISADDRESSED, f"addressed to another member than {us}")
    if members.may_exchange(header.origin, us) is None:  # 8.3
        raise Refused(Reason.REASON_PAIR_NOT_ALLOWED, "the members document does not let these two exchange")
    digest = leaf_hash(envelope.header, envelope.body)
    _verify(envelope.seal, digest, header, members, now_ns)  # 8.4
    if header.body_form != envelope_pb2.BODY_FORM_CLEAR:  # 8.5
        raise Refused(Reason.REASON_BODY_FORM, "only clear bodies are spoken here")
    if not limits.SCHEMA_VERSION_LEAST <= header.schema_version <= limits.SCHEMA_VERSION:
        raise Refused(Reason.REASON_SCHEMA_VERSION, f"schema {header.schema_version}")
    content = parse_content(envelope.body, incoming=True)
    check_agreement(header, content)  # 8.6
    _check_sender(content, by_hub=members.members[MemberId(header.origin)].is_hub)
    if nanoseconds(header.released_at) > now_ns + limits.FUTURE_MAX_NS:  # 8.7
        raise Refused(Reason.REASON_FUTURE, "released in the future: one of the clocks is wrong")
    if windows.standing(header) is Standing.OLD:  # 8.8
        raise Refused(Reason.REASON_REPLAYED, "older than the replay window")
    return Received(header, content, data, identity_of(header), digest)


def check_agreement(header: envelope_pb2.RoutingHeader, content: content_pb2.Content) -> None:
    """Refuse an envelope whose header says something else than its content."""
    said = content.header
    equal = (
        header.origin == said.origin
        and header.mode == said.mode
        and header.message_id == said.message_id
        and header.HasField("exercise") == said.HasField("exercise")
        and header.exercise == said.exercise
    )
    if not equal:
        raise Refused(Reason.REASON_HEADER_MISMATCH, "header and content disagree")
    if header.lane != lane_of(header.precedence):
        raise Refused(Reason.REASON_PRECEDENCE, "the lane is not that of the precedence")


def _check_sender(content: content_pb2.Content, *, by_hub: bool) -> None:
    """Refuse what is not this sender's to say: a hub tells pictures and nothing else, and nobody else does."""
    body = content.WhichOneof("body")
    if body == "tick" or (body == "fused") != by_hub:
        raise Refused(Reason.REASON_BODY_NOT_ALLOWED, "pictures come from the hub, and nothing else does")


def _verify(
    seal: envelope_pb2.Seal, digest: bytes, header: envelope_pb2.RoutingHeader, members: Members, now_ns: int
) -> None:
    released_ns = nanoseconds(header.released_at)
    keys = members.seal_keys(header.origin, header.mode, now_ns, released_ns)
    try:
        verify_seal(seal, digest, origin=header.origin, recipient=header.recipient, mode=header.mode, keys=keys)
    except UnknownKey as error:
        raise Refused(Reason.REASON_UNKNOWN_KEY, "no such key for this origin and mode") from error
    except (SealError, DecodeError) as error:
        raise Refused(Reason.REASON_BAD_SEAL, "the seal does not hold") from error
