"""T22: a lesser role does more than it may."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.client import Certificates, Client, Refused
from broker.refusal import Reason
from broker.rpc import refusal_of
from tests.path import reports
from tests.threats.parties import FLASH, gateway, lying_hub, speaker
from vedette.v1 import content_pb2, exchange_pb2, national_pb2

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.demo.world import World
    from tests.threats.parties import Gateway, HonestHub


@pytest.fixture
async def kor(world: World) -> AsyncIterator[Gateway]:
    async with lying_hub(world), gateway(world, "KOR") as running:
        yield running


def reason_of(error: grpc.aio.AioRpcError) -> Reason.ValueType:
    refusal = refusal_of(error)
    assert refusal is not None, error
    return refusal.reason


# -- at the gateway ----------------------------------------------------------------------------------------------------
async def report(client: Client) -> None:
    async with client.reporter() as reporter:
        await reporter.report(reports.launch(b"m", b"e", base=None), precedence=FLASH, label=reports.label())


async def watch(client: Client) -> None:
    async for _ in client.watch():
        return


async def acknowledge(client: Client) -> None:
    await client.acknowledge(bytes(16), origin="JPN", level=content_pb2.ACK_LEVEL_CONFIRMED)


ROLES = {
    "watch/test/floor-1": {watch, acknowledge},
    "systems/test/operator": {report},
    "metrics": set(),
    "gateway": set(),
}


@pytest.mark.parametrize("call", [report, watch, acknowledge])
async def test_each_call_at_the_gateway_is_for_its_own_role(
    kor: Gateway, call: Callable[[Client], Awaitable[None]]
) -> None:
    for stem, allowed in ROLES.items():
        who = Certificates.of(kor.world.authority.home("KOR") / stem)
        async with Client.open(kor.world.address("KOR"), who) as client:
            if call not in allowed:
                with pytest.raises(Refused) as caught:
                    await call(client)
                assert caught.value.reason == Reason.REASON_ROLE_NOT_ALLOWED
            elif call is acknowledge:
                with pytest.raises(Refused) as caught:
                    await call(client)
                assert caught.value.reason == Reason.REASON_UNKNOWN_REFERENCE, "nobody received it: but it may ask"
            else:
                await call(client)


async def test_watches_do_not_take_the_systems_place(kor: Gateway) -> None:
    """As many watches as one member may have calls at all, and a sensor reports all the same."""
    async with contextlib.AsyncExitStack() as stack:
        floor = await stack.enter_async_context(kor.watching())
        for _ in range(limits.STREAMS_PER_MEMBER_MAX):
            told = stack.enter_context(contextlib.closing(Watching(floor)))
            await told.first()
        async with kor.reporting() as system:
            await report(system)


class Watching:
    """A watch that stays open."""

    def __init__(self, client: Client) -> None:
        self._call = client._stub.Watch(national_pb2.WatchRequest())

    async def first(self) -> None:
        await self._call.read()

    def close(self) -> None:
        self._call.cancel()


# -- at the hub --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", ["systems/test/operator", "watch/test/floor-1", "metrics"])
async def test_a_nations_lesser_certificates_do_not_speak_to_the_hub(hub: HonestHub, role: str) -> None:
    async with hub.line("KOR", role=role) as line:
        for call in (line.submitting(), line.following()):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.__aenter__()
            assert reason_of(caught.value) == Reason.REASON_ROLE_NOT_ALLOWED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in line.stub.ReadBack(exchange_pb2.ReadBackRequest()):
                pass
        assert reason_of(caught.value) == Reason.REASON_ROLE_NOT_ALLOWED


async def test_a_nation_follows_no_log_but_its_own(hub: HonestHub) -> None:
    async with hub.line("KOR") as line:
        for other in ("JPN", "USA", "HUB", "XXX"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with line.following(other):
                    pass
            assert reason_of(caught.value) == Reason.REASON_ROLE_NOT_ALLOWED
        async with line.following("KOR"):
            pass


async def test_the_fusion_process_reads_back_nothing(hub: HonestHub) -> None:
    async with hub.line("HUB", role="views") as line:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in line.stub.ReadBack(exchange_pb2.ReadBackRequest()):
                pass
    assert reason_of(caught.value) == Reason.REASON_ROLE_NOT_ALLOWED


def picture(content: content_pb2.Content) -> None:
    content.fused.event_id = secrets.token_bytes(16)


def time_told(content: content_pb2.Content) -> None:
    content.tick.time.GetCurrentTime()


@pytest.mark.parametrize("body", [picture, time_told])
async def test_a_nation_sends_neither_pictures_nor_time(
    hub: HonestHub, body: Callable[[content_pb2.Content], None]
) -> None:
    async with hub.line("KOR") as line, line.submitting() as up:
        (receipt,) = await up.submit(speaker(hub.world, "KOR").envelope("JPN", content=body))
    assert receipt.refusal.reason == Reason.REASON_BODY_NOT_ALLOWED


async def test_the_fusion_process_sends_nothing_but_pictures(hub: HonestHub) -> None:
    views = speaker(hub.world, "HUB")
    async with hub.line("HUB", role="views") as line, line.submitting() as up:
        launch, tick, fused = await up.submit(
            views.envelope("JPN"), views.envelope("JPN", content=time_told), views.envelope("JPN", content=picture)
        )
    assert launch.refusal.reason == Reason.REASON_BODY_NOT_ALLOWED
    assert tick.refusal.reason == Reason.REASON_BODY_NOT_ALLOWED
    assert fused.outcome == exchange_pb2.SUBMIT_OUTCOME_STORED
