"""Step 8 when the hub goes: what the gateway has in its hands by then is a warning all the same."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from broker.clock import ManualClock
from broker.gateway.downlink import INBOX, Downlink
from broker.gateway.link import Leaving, LinkState
from broker.limits import FRAME_MESSAGES_MAX
from broker.stages import Metrics
from broker.store.memory import open_memory
from certs.keyring import Keyring
from tests.broker.gateway.test_unseal import NOW_NS, TEST, content, header, seal
from tests.broker.gateway.test_uplink import BusyHub
from vedette.v1 import exchange_pb2
from vedette.v1.exchange_pb2_grpc import add_ExchangeServicer_to_server

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.audit import AuditTrail
    from certs.issue import Authority

COUNT = 3 * FRAME_MESSAGES_MAX + 8


class HubThatGoes(BusyHub):
    """Says what it has to say, and is gone."""

    def __init__(self, frames: Sequence[exchange_pb2.FollowResponse]) -> None:
        super().__init__(0)
        self._frames = frames

    async def Follow(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[exchange_pb2.FollowRequest],
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - as above
    ) -> AsyncIterator[exchange_pb2.FollowResponse]:
        yield exchange_pb2.FollowResponse(welcome=exchange_pb2.FollowWelcome(schema_version=1, head=bytes(8)))
        for frame in self._frames:
            yield frame
        async for _ in request_iterator:  # as the hub does: the follower hangs up
            pass


async def test_all_that_came_before_the_hub_went_is_in_the_inbox(world: Authority, audit: AuditTrail) -> None:
    signer = Keyring.load(world.home("KOR")).signer(TEST)
    deliveries = []
    for number in range(1, COUNT + 1):
        made = content()
        made.header.message_id = made.launch.event_id = number.to_bytes(16, "big")
        sealed = seal(header(made, sequence=number), made.SerializeToString(), signer)
        position, resume = number.to_bytes(8, "big"), b"after %d" % number
        delivery = exchange_pb2.Delivery(envelope=sealed, position=position, resume=resume)
        deliveries.append(delivery.SerializeToString())
    frames = [
        exchange_pb2.FollowResponse(deliveries=deliveries[begin : begin + FRAME_MESSAGES_MAX])
        for begin in range(0, COUNT, FRAME_MESSAGES_MAX)
    ]
    frames.append(exchange_pb2.FollowResponse(goodbye=exchange_pb2.Goodbye(return_after_ms=500)))
    server = grpc.aio.server()
    add_ExchangeServicer_to_server(HubThatGoes(frames), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    store, clock, metrics = await open_memory(), ManualClock(NOW_NS), Metrics()
    members = world.members(now_ns=NOW_NS)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        downlink = Downlink(
            us="JPN",
            store=store,
            channel=channel,
            link=LinkState(clock, metrics),
            clock=clock,
            metrics=metrics,
            audit=audit,
            members=lambda: members,
        )
        with suppress(Leaving, grpc.aio.AioRpcError):
            await downlink.run()
    await server.stop(0)
    assert (await store.bounds(INBOX)).last == COUNT
