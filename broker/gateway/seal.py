"""Step 3: one envelope for each recipient, sealed once and never again.

What leaves here is bytes. Every hub gets the same ones; they are stored and forwarded, and nobody serialises them a
second time in order to verify. The envelopes of one flush to one recipient share a signature through a Merkle tree;
never is there a tree across recipients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import timestamp
from broker.envelope import identity_of, lane_of
from broker.gateway.streams import Line
from certs.signature import leaf_hash, seal_batch
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.gateway.streams import Streams
    from certs.keyring import Signer

# How long a message is fresh, from its release. Late is marked, not silenced.
FRESH_S: Final = {"launch": 120, "track": 30, "impact": 300, "status": 3600, "canary": 30}
FRESH_OTHERS_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for one recipient, redacted, with the ids of that recipient: ready to be sealed."""

    recipient: str
    content: content_pb2.Content
    precedence: envelope_pb2.Precedence.ValueType
    label: envelope_pb2.SecurityLabel
    released_ns: int  # rounded where the content's times are coarse

    @property
    def line(self) -> Line:
        """Return the stream it travels in."""
        return Line(self.recipient, self.content.header.mode, lane_of(self.precedence))


@dataclass(frozen=True, slots=True)
class Sealed:
    """An envelope as the outbox keeps it."""

    outgoing: Outgoing
    identity: bytes
    digest: bytes
    envelope: bytes


def seal_all(
    outgoings: Sequence[Outgoing],
    *,
    streams: Streams,
    signer_of: Callable[[int], Signer],
    schema_version_of: Callable[[str], int],
) -> list[Sealed]:
    """Return the envelopes in the order given; numbers are taken from `streams` tentatively."""
    drafts: list[tuple[Outgoing, envelope_pb2.RoutingHeader, bytes, bytes]] = []
    flushes: dict[tuple[str, int], list[int]] = {}
    for outgoing in outgoings:
        header = _header(outgoing, streams, schema_version_of(outgoing.recipient))
        drafts.append((outgoing, header, header.SerializeToString(), outgoing.content.SerializeToString()))
        flushes.setdefault((outgoing.recipient, outgoing.content.header.mode), []).append(len(drafts) - 1)
    sealed: dict[int, Sealed] = {}
    for (recipient, mode), indexes in flushes.items():
        for begin in range(0, len(indexes), limits.FRAME_MESSAGES_MAX):
            flush = indexes[begin : begin + limits.FRAME_MESSAGES_MAX]
            leaves = [leaf_hash(drafts[index][2], drafts[index][3]) for index in flush]
            origin = drafts[flush[0]][1].origin
            seals = seal_batch(leaves, origin=origin, recipient=recipient, mode=mode, signers=[signer_of(mode)])
            for index, leaf, seal in zip(flush, leaves, seals, strict=True):
                outgoing, header, header_bytes, body = drafts[index]
                envelope = envelope_pb2.Envelope(header=header_bytes, body=body, seal=seal)
                sealed[index] = Sealed(outgoing, identity_of(header), leaf, envelope.SerializeToString())
    return [sealed[index] for index in range(len(drafts))]


def _header(outgoing: Outgoing, streams: Streams, schema_version: int) -> envelope_pb2.RoutingHeader:
    header = outgoing.content.header
    number = streams.take(outgoing.line)
    body = outgoing.content.WhichOneof("body") or ""
    stale_ns = outgoing.released_ns + FRESH_S.get(body, FRESH_OTHERS_S) * limits.SECOND_NS
    return envelope_pb2.RoutingHeader(
        origin=header.origin,
        recipient=outgoing.recipient,
        mode=header.mode,
        exercise=header.exercise if header.HasField("exercise") else None,
        lane=envelope_pb2.Lane.ValueType(outgoing.line.lane),
        epoch=number.epoch,
        sequence=number.sequence,
        message_id=header.message_id,
        precedence=outgoing.precedence,
        label=outgoing.label,
        released_at=timestamp(outgoing.released_ns),
        stale_after=timestamp(-(-stale_ns // limits.SECOND_NS) * limits.SECOND_NS),  # rounded up to the second
        schema_version=schema_version,
        body_form=envelope_pb2.BODY_FORM_CLEAR,
    )
