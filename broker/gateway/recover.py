"""A lost outbox must not lose a warning, and a restored one must not repeat itself under other bytes.

When the gateway connects, the hub says how far it holds each epoch of our streams. Where it is ahead of us, our outbox
was lost or comes from a backup: our own sealed envelopes are read back, so that what was sealed, and to whom, is known
again. What is reported in the meantime has numbers of an epoch that nobody knows yet (streams.py), so that it is new to
the hub whatever came before. An outbox that is empty waits a moment for the hub before it seals anything; if no
hub answers it seals at once, in a new epoch and with ids salted by that epoch: a duplicate is better than a silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.content import parse_strict
from broker.envelope import identity_of
from broker.gateway.about import event_id_of
from broker.gateway.ledger import OUTBOX
from broker.gateway.streams import Line, Number
from broker.refusal import Refused
from broker.store import NewRecord
from certs.signature import SealError, leaf_hash, verify_seal
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.audit import AuditTrail
    from broker.clock import Clock
    from broker.gateway.streams import Streams
    from broker.store import Store
    from certs.members import Members
    from vedette.v1.exchange_pb2_grpc import ExchangeAsyncStub

log = logging.getLogger(__name__)

OWN: Final = "outbox/"
SALT: Final = "outbox/salt"
BORN: Final = "outbox/born"
HUB_WAIT_S: Final = 2.0  # how long an empty outbox waits for the hub's memory


@dataclass(slots=True)
class Recovered:
    """What reading back told: how far which streams went, and who was told of which event under which label."""

    heads: list[tuple[Line, Number]] = field(default_factory=list)
    events: dict[tuple[str, bytes], envelope_pb2.SecurityLabel] = field(default_factory=dict)


@dataclass(slots=True)
class Recovery:
    """Compares our streams with what the hub holds of them."""

    us: str
    store: Store
    streams: Streams
    clock: Clock
    audit: AuditTrail
    members: Callable[[], Members]
    learn: Callable[[Recovered], None]
    compared: asyncio.Event = field(default_factory=asyncio.Event)

    async def settle(self) -> bytes:
        """Return the salt of this outbox's ids; wait a moment for the hub's memory if the outbox is a new one."""
        state = await self.store.state(OWN)
        if BORN in state:
            return state.get(SALT, b"")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.compared.wait(), HUB_WAIT_S)
        salt = b"" if self.compared.is_set() else self.clock.wall_ns().to_bytes(8, "big")
        await self.store.append([], state={BORN: b"\x01", SALT: salt})
        if salt:
            log.warning("a new outbox and no hub to ask: ids are salted")
            self.audit.note("ids-salted")
        return salt

    async def compare(self, heads: Sequence[exchange_pb2.StreamHead], stub: ExchangeAsyncStub) -> None:
        """Read back what the hub holds and we do not."""
        ahead = [head for head in heads if self._is_ahead(head)]
        if ahead:
            await self._read_back(ahead, heads, stub)
        self.compared.set()

    async def _read_back(
        self, ahead: list[exchange_pb2.StreamHead], heads: Sequence[exchange_pb2.StreamHead], stub: ExchangeAsyncStub
    ) -> None:
        log.warning("the hub holds more of %d of our streams than we do: reading back", len(ahead))
        after = [
            exchange_pb2.StreamHead(
                recipient=head.recipient,
                mode=head.mode,
                lane=head.lane,
                epoch=head.epoch,
                sequence=self.streams.held_of(_line(head), head.epoch),
            )
            for head in heads
            if self.streams.known(_line(head)) is not None  # a stream that is not named comes back whole
        ]
        recovered = Recovered([(_line(head), Number(head.epoch, head.sequence)) for head in ahead])
        count = 0
        async for response in stub.ReadBack(exchange_pb2.ReadBackRequest(after=after)):
            count += await self._import(response.envelopes, recovered)
        self.learn(recovered)
        self.audit.note("read-back", envelopes=count, streams=len(ahead))

    def _is_ahead(self, head: exchange_pb2.StreamHead) -> bool:
        latest_ms = self.clock.wall_ns() // limits.MILLISECOND_NS + limits.EPOCH_AHEAD_MAX_MS
        if head.epoch >= latest_ms:  # a lie: no hub takes such an epoch (5.9), nor would any take what followed it
            return False
        return not self.streams.holds(_line(head), Number(head.epoch, head.sequence))

    async def _import(self, envelopes: Sequence[bytes], recovered: Recovered) -> int:
        records = [record for data in envelopes if (record := self._ours(data, recovered)) is not None]
        await self.store.append(records)
        return len(records)

    def _ours(self, data: bytes, recovered: Recovered) -> NewRecord | None:
        """Return the record of an envelope that we sealed, and note of what it told its recipient.

        None for anything else, whatever the hub says.
        """
        try:
            envelope = parse_strict(envelope_pb2.Envelope, data)
            header = parse_strict(envelope_pb2.RoutingHeader, envelope.header)
            digest = leaf_hash(envelope.header, envelope.body)
            keys = self.members().seal_keys(self.us, header.mode, self.clock.wall_ns())
            verify_seal(envelope.seal, digest, origin=self.us, recipient=header.recipient, mode=header.mode, keys=keys)
        except (Refused, SealError) as error:
            log.error("read back what we did not seal: %s", type(error).__name__)  # noqa: TRY400 - no trace: not a bug
            self.audit.note("read-back-refused", reason=type(error).__name__)
            return None
        if header.origin != self.us:
            return None
        _note_event(header, content_pb2.Content.FromString(envelope.body), recovered)
        return NewRecord(OUTBOX, identity_of(header), digest, data, lane=header.lane)


def _note_event(header: envelope_pb2.RoutingHeader, content: content_pb2.Content, recovered: Recovered) -> None:
    event_id = event_id_of(content)
    known = recovered.events.get((header.recipient, event_id))
    if event_id and (known is None or known.classification < header.label.classification):
        recovered.events[header.recipient, event_id] = header.label


def _line(head: exchange_pb2.StreamHead) -> Line:
    return Line(head.recipient, head.mode, head.lane)
