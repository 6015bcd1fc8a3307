"""Step 4 over a connection: what goes first when not everything can go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.clock import SystemClock
from broker.gateway.ledger import OUTBOX
from broker.gateway.link import LinkState
from broker.gateway.uplink import Uplink
from broker.stages import Metrics
from broker.store import NewRecord, Store
from broker.store.memory import open_memory
from vedette.v1 import envelope_pb2, exchange_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeServicer, add_ExchangeServicer_to_server

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
