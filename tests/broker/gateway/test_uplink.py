"""Step 4 over a connection: what goes first when not everything can go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.clock import SystemClock
from broker.gateway.ledger import OUTBOX
from broker.gateway.link import Leaving, LinkState
from broker.gateway.uplink import Uplink
from broker.refusal import Reason
from broker.stages import Metrics
from broker.store import NewRecord, Store
from broker.store.memory import open_memory
from vedette.v1 import envelope_pb2, exchange_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeServicer, add_ExchangeServicer_to_server

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.audit import AuditTrail

URGENT, NORMAL = envelope_pb2.LANE_URGENT, envelope_pb2.LANE_NORMAL


class BusyHub(ExchangeServicer):
    """Grants credits once, takes what comes and answers nothing of it."""

    def __init__(self, credits_: int) -> None:
        self._credits = credits_
        self.taken: list[bytes] = []

    async def Submit(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[exchange_pb2.SubmitRequest],
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC's interface
    ) -> AsyncIterator[exchange_pb2.SubmitResponse]:
        yield exchange_pb2.SubmitResponse(welcome=exchange_pb2.SubmitWelcome(credits=self._credits))
        async for request in request_iterator:
            self.taken += request.envelopes

    async def Follow(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[exchange_pb2.FollowRequest],
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC's interface
    ) -> AsyncIterator[exchange_pb2.FollowResponse]:
        async for _ in request_iterator:
            yield exchange_pb2.FollowResponse()

    async def ReadBack(  # noqa: N802 - gRPC's name
        self,
        request: exchange_pb2.ReadBackRequest,  # noqa: ARG002 - gRPC's interface
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC's interface
    ) -> AsyncIterator[exchange_pb2.ReadBackResponse]:
        yield exchange_pb2.ReadBackResponse()

    async def Register(  # noqa: N802 - gRPC's name
        self,
        request: exchange_pb2.Registration,  # noqa: ARG002 - gRPC's interface
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> exchange_pb2.Registered:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        raise AssertionError

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.taken) < count:  # noqa: ASYNC110 - what it waits for comes over a wire
                await asyncio.sleep(0.01)


@asynccontextmanager
async def going_up(hub: BusyHub, store: Store, audit: AuditTrail) -> AsyncIterator[None]:
    """Have an outbox go up to a hub for as long as the block lasts."""

    async def nothing_to_compare(*_: object) -> None:
        """There is nothing that this hub has of us."""

    server = grpc.aio.server()
    add_ExchangeServicer_to_server(hub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    clock, metrics = SystemClock(), Metrics()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        link = LinkState(clock, metrics)
        uplink = Uplink(store, channel, link, clock, metrics, audit, heads_known=nothing_to_compare)
        running = asyncio.create_task(uplink.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await server.stop(0)


async def put(store: Store, lane: int, *numbers: int) -> None:
    await store.append(
        [NewRecord(OUTBOX, b"%d/%d" % (lane, n), bytes(32), b"%d/%d" % (lane, n), lane=lane) for n in numbers]
    )


@pytest.mark.parametrize("credits_", [16, limits.CREDITS])
async def test_a_flood_of_the_normal_lane_leaves_credits_for_what_is_urgent(credits_: int, audit: AuditTrail) -> None:
    store, hub = await open_memory(), BusyHub(credits_)
    kept = min(limits.FRAME_MESSAGES_MAX, credits_ // 8)
    await put(store, NORMAL, *range(2 * credits_))
    async with going_up(hub, store, audit):
        await hub.until(credits_ - kept)
        await asyncio.sleep(0.1)
        assert len(hub.taken) == credits_ - kept, "the flood stands"
        await put(store, URGENT, 1)
        await hub.until(credits_ - kept + 1)
    assert hub.taken[-1] == b"%d/1" % URGENT


async def test_what_is_urgent_goes_before_a_backlog(audit: AuditTrail) -> None:
    store, hub = await open_memory(), BusyHub(limits.CREDITS)
    await put(store, NORMAL, *range(1_500))
    await put(store, URGENT, *range(100))
    async with going_up(hub, store, audit):
        await hub.until(limits.CREDITS - limits.FRAME_MESSAGES_MAX)
    urgent = [place for place, data in enumerate(hub.taken) if data.startswith(b"%d/" % URGENT)]
    assert len(urgent) == 100
    assert urgent[-1] < limits.CREDITS // 2


class HubThatLearns(BusyHub):
    """Refuses what comes, until it knows the key; may end the stream at the second envelope that it sees."""

    def __init__(self, *, ends_at_second: bool) -> None:
        super().__init__(limits.CREDITS)
        self.knows = False
        self.seen = 0
        self._ends_at_second = ends_at_second

    async def Submit(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[exchange_pb2.SubmitRequest],
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC's interface
    ) -> AsyncIterator[exchange_pb2.SubmitResponse]:
        yield exchange_pb2.SubmitResponse(welcome=exchange_pb2.SubmitWelcome(credits=limits.CREDITS))
        number = 0
        async for request in request_iterator:
            for envelope in request.envelopes:
                number, self.seen = number + 1, self.seen + 1
                if self._ends_at_second and self.seen == 2:
                    yield exchange_pb2.SubmitResponse(goodbye=exchange_pb2.Goodbye(return_after_ms=10))
                    return
                receipt = exchange_pb2.SubmitReceipt(number=number)
                if self.knows:
                    receipt.outcome = exchange_pb2.SUBMIT_OUTCOME_STORED
                    self.taken.append(envelope)
                else:
                    receipt.outcome = exchange_pb2.SUBMIT_OUTCOME_REFUSED
                    receipt.refusal.reason = Reason.REASON_UNKNOWN_KEY
                yield exchange_pb2.SubmitResponse(receipts=[receipt], credits=1)


@pytest.mark.parametrize("how", ["reconnect", "restart"])
async def test_what_was_put_aside_is_sent_after_a_reconnect_and_after_a_restart(
    how: str, audit: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESEND_NS", limits.SECOND_NS // 10)
    monkeypatch.setattr(limits, "RECONNECT_MAX_S", 0.2)
    store, hub = await open_memory(), HubThatLearns(ends_at_second=how == "reconnect")
    header = envelope_pb2.RoutingHeader(origin="KOR", recipient="JPN", message_id=bytes(16)).SerializeToString()
    envelope = envelope_pb2.Envelope(header=header).SerializeToString()
    await store.append([NewRecord(OUTBOX, b"k", bytes(32), envelope, lane=URGENT)])
    server = grpc.aio.server()
    add_ExchangeServicer_to_server(hub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def known(*_: object) -> None: ...

    def made(channel: grpc.aio.Channel) -> Uplink:
        clock, metrics = SystemClock(), Metrics()
        return Uplink(store, channel, LinkState(clock, metrics), clock, metrics, audit, heads_known=known)

    async with asyncio.timeout(20), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        uplink = made(channel)
        running = asyncio.create_task(uplink.run())
        if how == "reconnect":
            with pytest.raises(Leaving):
                await running
        else:
            while not uplink._parked:  # noqa: ASYNC110 - the moment that counts
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            uplink = made(channel)
        hub.knows = True
        running = asyncio.create_task(uplink.run())
        while not hub.taken:  # noqa: ASYNC110 - another's list has no event
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await server.stop(0)
    assert hub.taken == [envelope]
