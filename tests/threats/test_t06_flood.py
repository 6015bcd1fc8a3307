"""T6: one member floods the hub."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.refusal import Reason
from broker.rpc import refusal_of
from broker.store.memory import Kept, MemoryStore
from tests.threats.parties import FLASH, honest_hub, speaker, until
from vedette.v1 import exchange_pb2

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.demo.world import World
    from broker.store import NewRecord, Written
    from tests.broker.hub.conftest import Following, Line, Submitting
    from tests.threats.parties import HonestHub

REFUSALS = "vedette_refusals_total"
STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
IN_TIME_S = 5.0  # alone it takes milliseconds; here who floods has the same processor, and it may be a busy one


class StandingDisk(MemoryStore):
    """A store whose disk can be made to stand still."""

    def __init__(self) -> None:
        super().__init__(Kept())
        self.turns = asyncio.Event()
        self.turns.set()

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        await self.turns.wait()
        return await super().append(batch, state=state)

    async def close(self) -> None:
        self.turns.set()
        await super().close()


async def flood(up: Submitting, envelopes: Sequence[bytes]) -> None:
    for begin in range(0, len(envelopes), limits.FRAME_MESSAGES_MAX):
        batch = envelopes[begin : begin + limits.FRAME_MESSAGES_MAX]
        await up.send(exchange_pb2.SubmitRequest(envelopes=batch))


async def test_who_sends_more_than_was_granted_is_refused_and_others_are_not(world: World) -> None:
    kor, usa = speaker(world, "KOR"), speaker(world, "USA")
    beyond = limits.FRAME_MESSAGES_MAX
    sent = [kor.envelope("JPN") for _ in range(limits.CREDITS + beyond)]
    disk = StandingDisk()
    async with (
        honest_hub(world, store=disk) as hub,
        hub.line("KOR") as line,
        hub.line("USA") as other,
        line.submitting() as up,
        other.submitting() as theirs,
    ):
        assert up.welcome.credits == limits.CREDITS
        disk.turns.clear()
        await flood(up, sent)
        await theirs.send(exchange_pb2.SubmitRequest(envelopes=[usa.envelope("JPN")]))
        registry = hub.hub.parts.metrics.registry
        refused = {"step": "4-submit", "origin": "KOR", "reason": "NO_CREDIT"}
        await until(lambda: registry.get_sample_value(REFUSALS, refused) == beyond, "all were looked at")
        disk.turns.set()
        receipts = await up.receipts(len(sent))
        assert {receipt.outcome for receipt in receipts[: limits.CREDITS]} == {STORED}
        assert {receipt.refusal.reason for receipt in receipts[limits.CREDITS :]} == {Reason.REASON_NO_CREDIT}
        (receipt,) = await theirs.receipts(1)
        assert receipt.outcome == STORED


@pytest.mark.parametrize("reads_its_receipts", [True, False])
async def test_the_others_warnings_keep_coming_in_time(hub: HonestHub, *, reads_its_receipts: bool) -> None:
    kor, usa = speaker(hub.world, "KOR"), speaker(hub.world, "USA")
    junk = [kor.envelope("JPN") for _ in range(limits.FRAME_MESSAGES_MAX)]
    async with (
        hub.line("KOR") as flooder,
        hub.line("USA") as other,
        hub.line("JPN") as jpn,
        jpn.following() as log,
        flooder.submitting() as up,
        other.submitting() as theirs,
    ):
        flooding = asyncio.create_task(flood_without_end(up, junk, reads_its_receipts=reads_its_receipts))
        await asyncio.sleep(0.3)
        for _ in range(5):
            warning = usa.envelope("JPN", precedence=FLASH)
            began_s = time.monotonic()
            await theirs.submit(warning)
            while warning not in {delivery.envelope for delivery in await deliveries(log)}:
                pass
            assert time.monotonic() - began_s < IN_TIME_S
        assert not flooding.done()
        flooding.cancel()
        await asyncio.wait({flooding})


async def flood_without_end(up: Submitting, junk: Sequence[bytes], *, reads_its_receipts: bool) -> None:
    reading = asyncio.create_task(read_all(up)) if reads_its_receipts else None
    try:
        while True:
            await flood(up, junk)
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})


async def read_all(up: Submitting) -> None:
    while True:
        await up.call.read()


async def deliveries(log: Following) -> list[exchange_pb2.Delivery]:
    response = await log.read()
    found = [exchange_pb2.Delivery.FromString(data) for data in response.deliveries]
    if found:
        credits_ = exchange_pb2.FollowRequest(delivered=found[-1].resume, credits=len(found))
        await log.call.write(credits_)
    return found


async def test_one_member_has_a_bounded_number_of_calls_and_takes_none_from_others(hub: HonestHub) -> None:
    async with contextlib.AsyncExitStack() as stack:
        kor, usa = [await stack.enter_async_context(hub.line(code)) for code in ("KOR", "USA")]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await open_calls(kor, stack, limits.STREAMS_PER_MEMBER_MAX + 1)
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_TOO_MANY_STREAMS
        up = await stack.enter_async_context(usa.submitting())
        (receipt,) = await up.submit(speaker(hub.world, "USA").envelope("JPN"))
        assert receipt.outcome == STORED


async def open_calls(line: Line, stack: contextlib.AsyncExitStack, count: int) -> None:
    for _ in range(count):
        await stack.enter_async_context(line.submitting())
