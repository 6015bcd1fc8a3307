"""Step 8: the nation's log comes down, is verified, and stands in the inbox before anybody hears of it.

The inbox is one stream of everything in the nation's log, in the log's order: other nations' messages, fused pictures,
what the nation itself sent to the hub, and Ticks: from it the nation can recompute what the hub sent. Its lane is the
mode for what watchers are shown and 0 for the rest. A gap in an origin's numbers stands there too, before the message
that showed it: who was away learns of it where it was. Records, replay windows and the resume token are written in one
transaction, and only then is DELIVERED said to the hub.

What is refused here is counted and audited, and the log goes on: one bad envelope must not stop the next warning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError

from broker import limits
from broker.clock import nanoseconds, timestamp
from broker.envelope import length_prefixed
from broker.gateway.conversation import Conversation, InHand, opened
from broker.gateway.link import Leaving, in_time, together
from broker.gateway.unseal import Received, unseal
from broker.refusal import Reason, Refused, reason_name
from broker.rpc import refusal_of
from broker.stages import Leg, labels_of
from broker.store import NewRecord, Outcome
from broker.windows import STATE_PREFIX, Windows

import grpc.aio  # isort: skip

from vedette.v1 import envelope_pb2, exchange_pb2, journal_pb2, national_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeStub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.audit import AuditTrail
    from broker.clock import Clock
    from broker.gateway.link import LinkState
    from broker.stages import Labels, Metrics
    from broker.store import Store
    from broker.windows import WindowPlan
    from certs.members import Members

log = logging.getLogger(__name__)

INBOX: Final = "inbox"
RESUME: Final = "cursor/downlink"
NOT_SHOWN: Final = 0  # the lane of our own messages and of Ticks


@dataclass(slots=True)
class Downlink:
    """The way down. `run` is one connection; `broker.gateway.link.keep_trying` runs it again."""

    us: str
    store: Store
    channel: grpc.aio.Channel
    link: LinkState
    clock: Clock
    metrics: Metrics
    audit: AuditTrail
    members: Callable[[], Members]
    windows: Windows = field(default_factory=lambda: Windows({}))
    # Set while what comes down is live; cleared while we catch up after an absence.
    live: asyncio.Event = field(default_factory=asyncio.Event)
    # Held while a frame is on its way into the inbox: what it may take back wakes nobody meanwhile.
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _token: bytes | None = None

    async def run(self) -> None:
        """Connect, resume where the inbox ends, take what comes. Ends by an exception."""
        if self._token is None:
            state = await self.store.state(RESUME)
            self._token = state.get(RESUME, b"")
            self.windows = Windows(await self.store.state(STATE_PREFIX))
        call = ExchangeStub(self.channel).Follow()
        self.live.clear()
        await call.write(
            exchange_pb2.FollowRequest(
                hello=exchange_pb2.FollowHello(
                    schema_version_least=limits.SCHEMA_VERSION_LEAST,
                    schema_version_most=limits.SCHEMA_VERSION,
                    resume_after=self._token,
                    recipient=self.us,
                    credits=limits.CREDITS,
                )
            )
        )
        try:
            first = await in_time(call.read())
            if not isinstance(first, exchange_pb2.FollowResponse) or not first.HasField("welcome"):
                raise Leaving(limits.RECONNECT_FIRST_S)
            await self.link.set(down=True)
            await self._take_all(Conversation(call, first.welcome, self.us))
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            if refusal is not None and refusal.reason == Reason.REASON_BAD_POSITION:
                self._token = b""  # the hub has another log than ours: all of it, and the inbox drops what it holds
            raise
        finally:
            call.cancel()
            self.live.clear()
            await self.link.set(down=False)

    async def _take_all(self, conversation: Conversation) -> None:
        if not conversation.is_behind:
            self.live.set()
        await together(self._receive(conversation), self._bring_in(conversation), self._probe(conversation))

    async def _receive(self, conversation: Conversation) -> None:
        """Read on while what came before becomes durable: under load, one fsync serves many frames."""
        try:
            await self._read(conversation)
        except (Leaving, grpc.aio.AioRpcError):
            conversation.pressing.set()
            await conversation.empty.wait()  # what is in our hands is a warning, whatever became of the hub
            raise

    async def _read(self, conversation: Conversation) -> None:
        while True:
            response = await conversation.call.read()
            received_ns = self.clock.wall_ns()
            if not isinstance(response, exchange_pb2.FollowResponse):
                raise Leaving(limits.RECONNECT_FIRST_S)
            if response.HasField("goodbye"):
                raise Leaving(response.goodbye.return_after_ms / 1000)
            if response.HasField("answer"):
                self.link.answered(response.answer)
            for data in response.deliveries:
                await conversation.put(InHand(opened(data), received_ns))

    async def _bring_in(self, conversation: Conversation) -> None:
        """Bring all that has come into the inbox, again and again."""
        while True:
            await conversation.more.wait()
            await self._linger(conversation)
            async with self.taking:
                while batch := conversation.take():
                    await self._take(conversation, batch)
            conversation.note_empty()

    async def _linger(self, conversation: Conversation) -> None:
        """Let pictures, Ticks and what we said ourselves wait for a warning, whose commit they share."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.LINGER_PICTURE_S):
                await conversation.pressing.wait()
        conversation.pressing.clear()

    async def _take(self, conversation: Conversation, batch: Sequence[InHand]) -> None:
        arrived, unsealed_ns, durable_ns = await self._keep(conversation, batch)
        with contextlib.suppress(Leaving, grpc.aio.AioRpcError):  # the reader learns why, once all in hand is in
            await conversation.write(exchange_pb2.FollowRequest(delivered=self._token or b"", credits=len(batch)))
        for received, delivery, received_ns in arrived:
            catching_up = conversation.is_old(delivery.position)
            self._note_latency(
                received, delivery.stamps, (received_ns, unsealed_ns, durable_ns), catching_up=catching_up
            )
        if not conversation.is_behind:
            self.live.set()

    async def _keep(
        self, conversation: Conversation, batch: Sequence[InHand]
    ) -> tuple[list[tuple[Received, exchange_pb2.Delivery, int]], int, int]:
        """Bring a batch into the inbox; return what arrived and when, and when it was unsealed and durable."""
        arrived: list[tuple[Received, exchange_pb2.Delivery, int]] = []
        records: list[NewRecord] = []
        plan = self.windows.plan()
        resume = self._token or b""
        for delivery, received_ns in batch:
            if isinstance(delivery, Refused):
                self._refused(delivery)
                continue
            resume = delivery.resume
            received = self._check(delivery)
            conversation.passed(delivery.position, _lane(received))
            if isinstance(received, Refused):
                self._refused(received)
                continue
            catching_up = conversation.is_old(delivery.position)
            if received is not None:
                arrived.append((received, delivery, received_ns))
                records += self._note_number(received, plan, received_ns)
            records.append(_record(delivery, received, received_ns, catching_up=catching_up))
        unsealed_ns = self.clock.wall_ns()
        written = await self.store.append(records, state=plan.state() | {RESUME: resume})
        self.windows.keep(plan)
        self._token = resume
        durable_ns = self.clock.wall_ns()
        for new, result in zip(records, written, strict=True):
            if result.outcome is Outcome.CONFLICT:
                self._refused(Refused(Reason.REASON_CONFLICT, f"another message under the key {new.key.hex()[:16]}"))
        return arrived, unsealed_ns, durable_ns

    def _check(self, delivery: exchange_pb2.Delivery) -> Received | Refused | None:
        """Return what the delivery holds: None for a Tick."""
        try:
            if delivery.WhichOneof("record") == "tick":
                return None
            return unseal(
                delivery.envelope,
                us=self.us,
                members=self.members(),
                windows=self.windows,
                now_ns=self.clock.wall_ns(),
            )
        except Refused as refused:
            return refused
        except DecodeError:
            return Refused(Reason.REASON_MALFORMED, "not an envelope")

    def _note_number(self, received: Received, plan: WindowPlan, received_ns: int) -> list[NewRecord]:
        """Mark the number as taken; return the gap before it, if there is one, as the watches are to be told of it."""
        header = received.header
        first, last = plan.highest(header) + 1, header.sequence - 1
        plan.take(header)
        if first > last:
            return []
        self.metrics.gaps.labels(header.origin).inc(last - first + 1)
        self.audit.note("gap", origin=header.origin, lane=header.lane, epoch=header.epoch, first=first, last=last)
        return [] if received.is_ours else [_gap_record(header, first, last, received_ns)]

    def _refused(self, refused: Refused) -> None:
        reason = reason_name(refused.reason)
        log.error("refused what came down: %s", reason)
        self.metrics.refusals.labels("8-unseal", "HUB", reason).inc()
        self.audit.note("refused-from-hub", reason=reason, detail=refused.detail)

    def _note_latency(
        self,
        received: Received,
        stamps: exchange_pb2.HubStamps,
        times_ns: tuple[int, int, int],
        *,
        catching_up: bool,
    ) -> None:
        header = received.header
        received_ns, unsealed_ns, durable_ns = times_ns
        labels = labels_of(header)
        self.metrics.passed("8-unseal", labels)
        if received.content.WhichOneof("body") == "canary":
            self.metrics.canary.labels(header.origin, labels[3]).set(received_ns / limits.SECOND_NS)
        if catching_up:
            return  # an absence is no latency
        self.metrics.took(Leg.UNSEAL, labels, unsealed_ns - received_ns)
        self.metrics.took(Leg.INBOX, labels, durable_ns - unsealed_ns)
        offset = self.link.hub_offset()
        if offset is None:
            self.metrics.unusable.labels("offset-unknown").inc()
            return
        self.metrics.took(Leg.DOWNLINK, labels, received_ns + offset.offset_ns - nanoseconds(stamps.sent_at))
        self._end_to_end(received, stamps, durable_ns + offset.offset_ns, labels)

    def _end_to_end(
        self, received: Received, stamps: exchange_pb2.HubStamps, durable_hub_ns: int, labels: Labels
    ) -> None:
        """Observe released -> durable here, both brought to the hub's clock."""
        if has_coarse_time(received):
            self.metrics.unusable.labels("coarse-time").inc()  # its stamps were rounded on purpose
            return
        if received.header.origin != "HUB" and not stamps.HasField("origin_clock_offset"):
            self.metrics.unusable.labels("origin-offset-unknown").inc()
            return
        released_ns = nanoseconds(received.header.released_at) + stamps.origin_clock_offset.ToNanoseconds()
        trip_ns = durable_hub_ns - released_ns
        if received.content.WhichOneof("body") == "canary":
            origin, mode = labels[0], labels[3]
            self._observe(self.metrics.canary_trip.labels(origin, mode), trip_ns)
        else:
            self._observe(self.metrics.end_to_end.labels(*labels), trip_ns)

    def _observe(self, histogram: _Observes, duration_ns: int) -> None:
        if duration_ns < 0:
            self.metrics.unusable.labels("negative").inc()
        else:
            histogram.observe(duration_ns / limits.SECOND_NS)

    async def _probe(self, conversation: Conversation) -> None:
        with contextlib.suppress(Leaving, grpc.aio.AioRpcError):  # the reader ends the connection, as above
            while True:
                await conversation.write(exchange_pb2.FollowRequest(probe=self.link.probe()))
                await asyncio.sleep(limits.CLOCK_PROBE_S)
        await asyncio.Event().wait()


class _Observes(Protocol):
    def observe(self, amount: float) -> None: ...


def _lane(received: Received | Refused | None) -> int:
    """Return the lane that a delivery came in: Ticks come in the normal one."""
    if isinstance(received, Refused):
        return envelope_pb2.LANE_UNSPECIFIED  # what it says of itself is not to be believed
    return envelope_pb2.LANE_NORMAL if received is None else received.header.lane


def has_coarse_time(received: Received) -> bool:
    """Return whether the origin rounded the times of this message, and with them its stamps."""
    content = received.content
    cells = [content.header.observed_cell]
    if content.WhichOneof("body") == "track":
        cells.append(content.track.state.cell)
    return any(cell.HasField("time") for cell in cells)


def _gap_record(header: envelope_pb2.RoutingHeader, first: int, last: int, received_ns: int) -> NewRecord:
    gap = national_pb2.Gap(
        origin=header.origin, lane=header.lane, epoch=header.epoch, first_missing=first, last_missing=last
    )
    entry = journal_pb2.InboxRecord(gap=gap, received_at=timestamp(received_ns)).SerializeToString()
    key = length_prefixed(b"gap", bytes([header.mode]), gap.SerializeToString(deterministic=True))
    return NewRecord(INBOX, key, bytes(32), entry, lane=header.mode)


def _record(
    delivery: exchange_pb2.Delivery, received: Received | None, received_ns: int, *, catching_up: bool
) -> NewRecord:
    entry = journal_pb2.InboxRecord(
        delivery=delivery, received_at=timestamp(received_ns), catching_up=catching_up
    ).SerializeToString()
    if received is None:
        tick = delivery.tick
        key = length_prefixed(
            b"tick", bytes([tick.mode]), tick.exercise_id.encode(), tick.tick.SerializeToString(deterministic=True)
        )
        return NewRecord(INBOX, key, bytes(32), entry, lane=NOT_SHOWN)
    shown = not received.is_ours and received.content.WhichOneof("body") != "canary"
    lane = received.header.mode if shown else NOT_SHOWN
    return NewRecord(INBOX, received.identity, received.digest, entry, lane=lane)
