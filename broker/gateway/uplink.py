"""Step 4: the outbox goes up, urgent first, in order within each lane, until the hub has stored every envelope.

A receipt means durable at the hub. What was sent and not receipted when a connection ends is sent again: the same
bytes, which the hub acknowledges as duplicates. An envelope that the hub refuses for itself is audited and passed over;
one that it could not take now (full, unavailable, too fast) ends the connection and is tried again after a pause. One
that it might take with a newer members document is put aside and sent again later, for a few minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.gateway.ledger import OUTBOX
from broker.gateway.link import Leaving, in_time, together
from broker.refusal import Reason, reason_name
from broker.stages import Leg, labels_of
from broker.store import Compacted, Corrupt, StoreError
from vedette.v1 import envelope_pb2, exchange_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import grpc.aio

    from broker.audit import AuditTrail
    from broker.clock import Clock
    from broker.gateway.link import LinkState
    from broker.stages import Metrics
    from broker.store import Record, Store
    from vedette.v1.exchange_pb2_grpc import ExchangeAsyncStub

log = logging.getLogger(__name__)

CURSOR: Final = "cursor/uplink/"
LANES: Final = (envelope_pb2.LANE_URGENT, envelope_pb2.LANE_NORMAL)
# What lies with the hub's state and not with the envelope: a full disk, or a members document that one of us does not
# have yet.
PASSING: Final = frozenset({Reason.REASON_NO_CREDIT, Reason.REASON_STORE_FULL, Reason.REASON_UNAVAILABLE})
PERHAPS_PASSING: Final = frozenset(
    {
        Reason.REASON_INTERNAL,
        Reason.REASON_UNKNOWN_KEY,
        Reason.REASON_UNKNOWN_RECIPIENT,
        Reason.REASON_PAIR_NOT_ALLOWED,
        Reason.REASON_EPOCH,
        Reason.REASON_FUTURE,
    }
)
CURSOR_WRITE_S: Final = 0.5  # a cursor that is behind costs duplicates, never a loss


@dataclass(slots=True)
class _Sent:
    lane: int
    position: int
    record: Record
    at_ns: int
    tries: int = 0


class _Parked(NamedTuple):
    record: Record
    tries: int
    due_ns: int  # monotonic


@dataclass(slots=True)
class Uplink:
    """The way up. `run` is one connection; `broker.gateway.link.keep_trying` runs it again."""

    store: Store
    channel: grpc.aio.Channel
    link: LinkState
    clock: Clock
    metrics: Metrics
    audit: AuditTrail
    heads_known: Callable[[Sequence[exchange_pb2.StreamHead], ExchangeAsyncStub], Awaitable[None]]
    _parked: deque[_Parked] = field(default_factory=deque)
    _cursors: dict[int, int] = field(default_factory=dict)
    _written: dict[int, int] = field(default_factory=dict)
    _waiting: dict[int, deque[Record]] = field(default_factory=dict)
    _open: set[tuple[int, int]] = field(default_factory=set)  # lane and position of what was put aside
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Connect, say hello, send what is not receipted, go on live. Ends by an exception."""
        await self._load_cursors()
        self._cursors = self._low_water()  # what was put aside comes again; the hub knows what it has
        self._open.clear()
        self._parked.clear()
        stub = ExchangeStub(self.channel)
        call = stub.Submit()
        await call.write(
            exchange_pb2.SubmitRequest(
                hello=exchange_pb2.SubmitHello(
                    schema_version_least=limits.SCHEMA_VERSION_LEAST, schema_version_most=limits.SCHEMA_VERSION
                )
            )
        )
        try:
            first = await in_time(call.read())
            if not isinstance(first, exchange_pb2.SubmitResponse) or not first.HasField("welcome"):
                raise Leaving(limits.RECONNECT_FIRST_S)
            await self.heads_known(first.welcome.heads, stub)
            await self.link.set(up=True)
            await self._converse(call, min(first.welcome.credits, limits.CREDITS))
        finally:
            call.cancel()
            await self.link.set(up=False)
            with contextlib.suppress(StoreError):  # a cursor that is behind costs duplicates
                await self._write_cursors()

    async def _converse(
        self, call: grpc.aio.StreamStreamCall[exchange_pb2.SubmitRequest, exchange_pb2.SubmitResponse], credits_: int
    ) -> None:
        exchange = _Exchange(call, credits_)
        self._waiting = {lane: deque() for lane in LANES}
        await together(
            *(self._fill(lane) for lane in LANES),
            self._send(exchange),
            self._receive(exchange),
            self._keep_cursors(),
            self._probe(exchange),
            self._unpark(exchange),
        )

    async def _fill(self, lane: int) -> None:
        after = self._cursors[lane]
        while True:
            try:
                async for record in self.store.follow(OUTBOX, after=after, lane=lane):
                    await self._queue(lane, record)
                    after = record.position
            except Corrupt as damaged:  # one envelope is lost, and said to be; those behind it must still go
                log.critical("record %d of the outbox is damaged and was not sent", damaged.position)
                self.audit.note("outbox-damaged", position=damaged.position)
                after = damaged.position
            except Compacted as forgotten:  # long acknowledged: nothing of this lane has come since
                after = forgotten.first - 1

    async def _queue(self, lane: int, record: Record) -> None:
        waiting = self._waiting[lane]
        waiting.append(record)
        self._more.set()
        while len(waiting) >= limits.QUEUE_RECORDS_MAX:
            self._room.clear()
            await self._room.wait()

    async def _send(self, exchange: _Exchange) -> None:
        while True:
            await self._more.wait()
            batch = self._next_frame(exchange)
            if not batch:
                self._more.clear()  # until there is more, or more credits
                continue
            await exchange.write(exchange_pb2.SubmitRequest(envelopes=[record.data for record in batch]))

    def _next_frame(self, exchange: _Exchange) -> list[Record]:
        batch: list[Record] = []
        size = 0
        now_ns = self.clock.monotonic_ns()
        for lane in LANES:
            waiting = self._waiting[lane]
            kept = exchange.kept_for_urgent if lane != envelope_pb2.LANE_URGENT else 0
            while waiting and exchange.credits > kept and len(batch) < limits.FRAME_MESSAGES_MAX:
                if size + len(waiting[0].data) > limits.FRAME_BYTES_MAX - 1024:
                    return batch
                record = waiting.popleft()
                size += len(record.data)
                batch.append(record)
                exchange.credits -= 1
                exchange.sent.append(_Sent(lane, record.position, record, now_ns))
        self._room.set()
        return batch

    async def _receive(self, exchange: _Exchange) -> None:
        while True:
            response = await exchange.call.read()
            if not isinstance(response, exchange_pb2.SubmitResponse):
                raise Leaving(limits.RECONNECT_FIRST_S)  # the hub ended the stream
            if response.HasField("goodbye"):
                raise Leaving(response.goodbye.return_after_ms / 1000)
            if response.HasField("answer"):
                self.link.answered(response.answer)
            for receipt in response.receipts:
                self._receipt(exchange, receipt)
            if response.credits:
                exchange.credits = min(exchange.credits + response.credits, limits.CREDITS)  # it may promise too much
                self._more.set()

    def _receipt(self, exchange: _Exchange, receipt: exchange_pb2.SubmitReceipt) -> None:
        exchange.receipted += 1
        if receipt.number != exchange.receipted or not exchange.sent:
            log.error("receipt %d came as number %d: reconnecting", receipt.number, exchange.receipted)
            raise Leaving(limits.RECONNECT_FIRST_S)
        sent = exchange.sent.popleft()
        if receipt.outcome == exchange_pb2.SUBMIT_OUTCOME_REFUSED:
            if receipt.refusal.reason in PASSING:
                raise Leaving(limits.RECONNECT_MAX_S)
            if not self._park(sent, receipt.refusal.reason):
                self._refused(sent, receipt)
                self._open.discard((sent.lane, sent.position))
        else:
            self._note_latency(sent)
            self._open.discard((sent.lane, sent.position))
        self._cursors[sent.lane] = max(self._cursors[sent.lane], sent.position)

    def _park(self, sent: _Sent, reason: Reason.ValueType) -> bool:
        """Put an envelope aside, to be sent again in a while; it must not hold up those behind it."""
        if reason not in PERHAPS_PASSING or sent.tries >= limits.RESENDS_MAX or len(self._parked) >= limits.PARKED_MAX:
            return False
        due_ns = self.clock.monotonic_ns() + limits.RESEND_NS
        self._parked.append(_Parked(sent.record, sent.tries + 1, due_ns))
        self._open.add((sent.lane, sent.position))
        return True

    async def _unpark(self, exchange: _Exchange) -> None:
        """Send again what was put aside, when its time has come."""
        while True:
            await asyncio.sleep(limits.RECONNECT_MAX_S)
            now_ns = self.clock.monotonic_ns()
            while self._parked and self._parked[0].due_ns <= now_ns and exchange.credits > exchange.kept_for_urgent:
                parked = self._parked.popleft()
                exchange.credits -= 1
                record = parked.record
                exchange.sent.append(_Sent(record.lane, record.position, record, now_ns, parked.tries))
                await exchange.write(exchange_pb2.SubmitRequest(envelopes=[parked.record.data]))

    def _refused(self, sent: _Sent, receipt: exchange_pb2.SubmitReceipt) -> None:
        reason = reason_name(receipt.refusal.reason)
        header = _header(sent.record)
        log.error("hub refused an envelope: %s", reason)
        self.metrics.refusals.labels("4-uplink", header.origin, reason).inc()
        self.audit.note(
            "refused-by-hub",
            recipient=header.recipient,
            message_id=header.message_id.hex(),
            reason=reason,
            detail=receipt.refusal.detail,
        )

    def _note_latency(self, sent: _Sent) -> None:
        labels = labels_of(_header(sent.record))
        self.metrics.took(Leg.UPLINK, labels, self.clock.monotonic_ns() - sent.at_ns)
        self.metrics.passed("4-uplink", labels)

    async def _probe(self, exchange: _Exchange) -> None:
        while True:
            await exchange.write(exchange_pb2.SubmitRequest(probe=self.link.probe()))
            known = self.link.hub_offset() is not None
            await asyncio.sleep(limits.CLOCK_PROBE_S if known else limits.RECONNECT_FIRST_S)

    # -- cursors ----------------------------------------------------------------------------------------------------
    async def _load_cursors(self) -> None:
        if not self._cursors:
            state = await self.store.state(CURSOR)
            self._cursors = {lane: int.from_bytes(state.get(f"{CURSOR}{lane}", b""), "big") for lane in LANES}
            self._written = dict(self._cursors)

    async def measure(self) -> None:
        """Keep the outbox's gauge true, connected or not, until cancelled. It says at most `READ_BATCH` a lane."""
        await self._load_cursors()
        while True:
            with contextlib.suppress(StoreError):  # measuring never ends a gateway
                forgotten = (await self.store.bounds(OUTBOX)).first - 1
                waiting = [
                    len(await self.store.read(OUTBOX, after=after, limit=limits.READ_BATCH, lane=lane))
                    for lane, after in ((lane, max(self._cursors[lane], forgotten)) for lane in LANES)
                ]
                self.metrics.outbox.set(sum(waiting))
            await asyncio.sleep(limits.CLOCK_PROBE_S)

    async def _keep_cursors(self) -> None:
        while True:
            await asyncio.sleep(CURSOR_WRITE_S)
            await self._write_cursors()

    def _low_water(self) -> dict[int, int]:
        """Return up to where nothing is left to be sent: what is put aside holds its lane back."""
        low = dict(self._cursors)
        for lane, position in self._open:
            low[lane] = min(low[lane], position - 1)
        return low

    async def _write_cursors(self) -> None:
        if self._low_water() != self._written:
            written = self._low_water()
            state = {f"{CURSOR}{lane}": position.to_bytes(8, "big") for lane, position in written.items()}
            await self.store.append([], state=state)
            self._written = written


class _Exchange:
    """One connection's numbers."""

    def __init__(
        self, call: grpc.aio.StreamStreamCall[exchange_pb2.SubmitRequest, exchange_pb2.SubmitResponse], credits_: int
    ) -> None:
        self.call = call
        self.credits = credits_
        self.kept_for_urgent = min(limits.FRAME_MESSAGES_MAX, credits_ // 8)  # no flood of the normal lane takes these
        self.sent: deque[_Sent] = deque()
        self.receipted = 0
        self._writing = asyncio.Lock()  # gRPC allows one write at a time

    async def write(self, request: exchange_pb2.SubmitRequest) -> None:
        """Send one request. Raises Leaving when the call has ended."""
        async with self._writing:
            try:
                await self.call.write(request)
            except asyncio.InvalidStateError:  # gRPC's word for it; the reader learns why
                raise Leaving(limits.RECONNECT_FIRST_S) from None


def _header(record: Record) -> envelope_pb2.RoutingHeader:
    return envelope_pb2.RoutingHeader.FromString(envelope_pb2.Envelope.FromString(record.data).header)
