"""What the origin, the hub and the recipient must agree on about an envelope, beyond its seal."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from vedette.v1.envelope_pb2 import Lane, Precedence, RoutingHeader


def lane_of(precedence: Precedence.ValueType) -> Lane.ValueType:
    """Return the lane of a precedence: FLASH and above are urgent, so that precedence never fights with order."""
    if precedence >= envelope_pb2.PRECEDENCE_FLASH:
        return envelope_pb2.LANE_URGENT
    return envelope_pb2.LANE_NORMAL


def identity(origin: str, recipient: str, mode: int, message_id: bytes) -> bytes:
    """Return the 32-byte key of an envelope's identity: the same bytes under it are a duplicate, others a conflict."""
    parts = (b"vedette/v1/identity", origin.encode(), recipient.encode(), mode.to_bytes(4, "big"), message_id)
    return hashlib.sha256(length_prefixed(*parts)).digest()


def identity_of(header: RoutingHeader) -> bytes:
    """Return the identity of the envelope with this header."""
    return identity(header.origin, header.recipient, header.mode, header.message_id)


def length_prefixed(*parts: bytes) -> bytes:
    """Return the parts, each with its length as 4 bytes big-endian before it: no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
