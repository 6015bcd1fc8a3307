"""What the origin, the hub and the recipient must agree on about an envelope, beyond its seal."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from vedette.v1.envelope_pb2 import Lane, Precedence, RoutingHeader

STREAMS_MAX: Final = 1024  # whose identities are made quickly: pairs of members times modes, and more forget the oldest


def lane_of(precedence: Precedence.ValueType) -> Lane.ValueType:
    """Return the lane of a precedence: FLASH and above are urgent, so that precedence never fights with order."""
    if precedence >= envelope_pb2.PRECEDENCE_FLASH:
        return envelope_pb2.LANE_URGENT
    return envelope_pb2.LANE_NORMAL


def identity(origin: str, recipient: str, mode: int, message_id: bytes) -> bytes:
    """Return the 32-byte key of an envelope's identity: the same bytes under it are a duplicate, others a conflict."""
    return hashlib.sha256(_of_stream(origin, recipient, mode) + length_prefixed(message_id)).digest()


@lru_cache(maxsize=STREAMS_MAX)
def _of_stream(origin: str, recipient: str, mode: int) -> bytes:
    """Return the part that all envelopes from one member to another have in common."""
    return length_prefixed(b"vedette/v1/identity", origin.encode(), recipient.encode(), mode.to_bytes(4, "big"))


def identity_of(header: RoutingHeader) -> bytes:
    """Return the identity of the envelope with this header."""
    return identity(header.origin, header.recipient, header.mode, header.message_id)


def length_prefixed(*parts: bytes) -> bytes:
    """Return the parts, each with its length as 4 bytes big-endian before it: no two lists give the same bytes."""
    return b"".join([each for part in parts for each in (len(part).to_bytes(4, "big"), part)])
