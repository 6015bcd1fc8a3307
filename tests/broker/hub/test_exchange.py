"""The hub as its members meet it: over the wire, with real certificates and seals."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.refusal import Reason
from broker.rpc import refusal_of
from certs.identity import read_leaf
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.broker.hub.conftest import Following, Line, Running, Speaker

    Serve = Callable[..., AbstractAsyncContextManager[Running]]
    Speakers = Callable[..., Speaker]

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
DUPLICATE = exchange_pb2.SUBMIT_OUTCOME_DUPLICATE
FLASH = envelope_pb2.PRECEDENCE_FLASH
ROUTINE = envelope_pb2.PRECEDENCE_ROUTINE


async def submit_all(line: Line, envelopes: Sequence[bytes]) -> None:
    async with line.submitting() as up:
        for begin in range(0, len(envelopes), limits.FRAME_MESSAGES_MAX):
            for receipt in await up.submit(*envelopes[begin : begin + limits.FRAME_MESSAGES_MAX]):
                assert receipt.outcome == STORED


async def test_an_envelope_goes_from_one_gateway_to_the_other_as_it_was_sealed(
    running: Running, speaker: Speakers
) -> None:
    sealed = speaker("KOR").envelope("JPN")
    async with running.line("KOR") as kor, running.line("JPN") as jpn, jpn.following() as log:
        assert log.welcome.behind == 0
        async with kor.submitting() as up:
            (receipt,) = await up.submit(sealed)
        assert (receipt.number, receipt.outcome) == (1, STORED)
        (delivery,) = await log.envelopes(1)
        assert delivery.envelope == sealed
        stamps = delivery.stamps
        order = [stamps.received_at, stamps.admitted_at, stamps.stored_at, stamps.sent_at]
        times = [stamp.ToNanoseconds() for stamp in order]
        assert times == sorted(times)
        assert times[0] > 0


async def test_what_an_origin_learnt_of_the_clocks_stands_beside_its_envelopes(
    running: Running, speaker: Speakers
) -> None:
    async with running.line("KOR") as kor, running.line("JPN") as jpn, jpn.following() as log, kor.submitting() as up:
        probe = exchange_pb2.ClockProbe(number=5)
        probe.sent_at.GetCurrentTime()
        probe.offset.FromMilliseconds(-7)
        probe.offset_error.FromMilliseconds(2)
        await up.send(exchange_pb2.SubmitRequest(probe=probe))
        answer = (await up.read()).answer
        assert (answer.number, answer.asked_at) == (5, probe.sent_at)
        assert probe.sent_at.ToNanoseconds() <= answer.received_at.ToNanoseconds() <= answer.sent_at.ToNanoseconds()
        await up.submit(speaker("KOR").envelope("JPN"))
        (delivery,) = await log.envelopes(1)
        assert delivery.stamps.origin_clock_offset.ToMilliseconds() == -7
        assert delivery.stamps.origin_clock_error.ToMilliseconds() == 2


async def test_receipts_come_in_order_and_give_their_credits_back(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    good = [kor.envelope("JPN") for _ in range(20)]
    mixed = [envelope for each in good for envelope in (each, b"\xff")]
    async with running.line("KOR") as line, line.submitting() as up:
        assert up.welcome.credits == limits.CREDITS
        receipts = await up.submit(*mixed)
        assert [receipt.number for receipt in receipts] == list(range(1, len(mixed) + 1))
        assert up.credits == len(mixed)


async def test_a_hub_that_starts_again_has_everything(serve: Serve, speaker: Speakers) -> None:
    kor = speaker("KOR")
    first, second = kor.envelope("JPN"), kor.envelope("JPN")
    async with serve() as running, running.line("KOR") as line:
        await submit_all(line, [first, second])
    async with serve() as running, running.line("KOR") as line, running.line("JPN") as jpn:
        async with line.submitting() as up:
            (head,) = up.welcome.heads
            assert (head.recipient, head.epoch, head.sequence) == ("JPN", kor.epoch, 2)
            again, new = await up.submit(first, third := kor.envelope("JPN"))
            assert (again.outcome, new.outcome) == (DUPLICATE, STORED)
        async with jpn.following() as log:
            assert log.welcome.behind >= 3
            delivered = await log.envelopes(3)
            assert [delivery.envelope for delivery in delivered] == [first, second, third]


async def test_a_follower_resumes_after_its_token_in_each_lane(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    normal = [kor.envelope("JPN", precedence=ROUTINE) for _ in range(5)]
    urgent = [kor.envelope("JPN", precedence=FLASH) for _ in range(5)]
    async with running.line("KOR") as line, running.line("JPN") as jpn:
        await submit_all(line, [*normal, *urgent])
        async with jpn.following(credits_=7) as log:
            first = [*await log.envelopes(5), *await log.envelopes(2)]
            assert [one.envelope for one in first] == [*urgent, *normal[:2]], "urgent first"
        for held in range(1, 8):
            async with jpn.following(after=first[held - 1].resume) as log:
                rest = [one.envelope for one in await log.envelopes(10 - held)]
                assert rest == [*urgent, *normal][held:], "nothing twice, nothing missing"
                assert log.welcome.behind >= 10 - held


async def test_a_follower_that_holds_everything_is_not_behind(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    async with running.line("KOR") as line, running.line("JPN") as jpn:
        async with jpn.following() as log:
            await submit_all(line, [kor.envelope("JPN", precedence=ROUTINE)])
            await log.envelopes(1)
            await submit_all(line, [kor.envelope("JPN", precedence=FLASH) for _ in range(20)])
            last = (await log.envelopes(20))[-1]
        assert last.resume[:16] == last.position * 2, "the quiet lane's cursor goes along"
        async with jpn.following(after=last.resume) as log:
            ticks_at_most = 3
            assert log.welcome.behind <= ticks_at_most, "the quiet lane is not behind"


async def test_a_frame_of_canaries_arrives_whole_and_does_not_set_time_going(
    running: Running, speaker: Speakers
) -> None:
    def canary(content: content_pb2.Content) -> None:
        content.canary.number = 1

    kor = speaker("KOR")
    async with running.line("KOR") as line, running.line("JPN") as jpn, jpn.following() as log:
        await submit_all(line, [kor.envelope("JPN", content=canary) for _ in range(10)])
        assert len(await log.envelopes(10)) == 10
        assert len(running.hub.parts.recorded.ticks) == 0
        await submit_all(line, [kor.envelope("JPN")])
        assert len(running.hub.parts.recorded.ticks) == 1


async def test_a_follower_gets_no_more_than_it_granted(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    async with running.line("KOR") as line, running.line("JPN") as jpn, jpn.following(credits_=2) as log:
        await submit_all(line, [kor.envelope("JPN", precedence=FLASH) for _ in range(10)])
        await log.envelopes(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await log.call.read()
    async with running.line("JPN") as jpn, jpn.following(credits_=2) as log:
        held = (await log.envelopes(2))[-1]
        await log.call.write(exchange_pb2.FollowRequest(delivered=held.resume, credits=3))
        await log.envelopes(3)


async def test_a_stopped_follower_delays_nobody_and_misses_nothing(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    count = limits.QUEUE_RECORDS_MAX + 200  # more than a queue holds, so that it spills
    async with (
        running.line("KOR") as line,
        running.line("USA") as usa,
        running.line("JPN") as jpn,
        usa.following(credits_=1) as stopped,
        jpn.following(credits_=limits.CREDITS) as alive,
    ):
        sent = [kor.envelope(recipient) for _ in range(count) for recipient in ("USA", "JPN")]
        submitting = asyncio.create_task(submit_all(line, sent))
        got = await take_all(alive, count)
        await submitting
        assert got == sent[1::2]
        lag = running.hub.parts.router.heads["USA"] - 1
        assert lag >= count - 2, "the stopped one is far behind"
        await stopped.call.write(exchange_pb2.FollowRequest(credits=limits.CREDITS))
        assert await take_all(stopped, count) == sent[::2]


async def take_all(log: Following, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        response = await log.read()
        deliveries = [exchange_pb2.Delivery.FromString(data) for data in response.deliveries]
        got += [delivery.envelope for delivery in deliveries if delivery.envelope]
        if deliveries:
            request = exchange_pb2.FollowRequest(delivered=deliveries[-1].resume, credits=len(deliveries))
            await log.call.write(request)
    return got


async def test_the_fusion_process_reads_any_log_in_its_own_order(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    mixed = [kor.envelope("JPN", precedence=precedence) for _ in range(5) for precedence in (ROUTINE, FLASH)]
    async with running.line("KOR") as line, running.line("HUB", role="views") as views:
        await submit_all(line, mixed)
        async with views.following("JPN") as log:
            deliveries = await log.envelopes(10)
        assert {delivery.envelope for delivery in deliveries} == set(mixed)
        positions = [delivery.position for delivery in deliveries]
        assert positions == sorted(positions)
        assert all(delivery.resume[:16] == delivery.position * 2 for delivery in deliveries)


async def test_an_origin_reads_back_what_it_lost_and_nothing_of_others(running: Running, speaker: Speakers) -> None:
    kor, usa = speaker("KOR"), speaker("USA")
    own = [kor.envelope(recipient) for _ in range(40) for recipient in ("JPN", "USA", "KOR")]
    async with running.line("KOR") as line, running.line("USA") as other:
        await submit_all(line, own)
        await submit_all(other, [usa.envelope("JPN"), usa.envelope("KOR")])
        everything = [
            sealed
            async for response in line.stub.ReadBack(exchange_pb2.ReadBackRequest())
            for sealed in response.envelopes
        ]
        assert sorted(everything) == sorted(own)
        head = exchange_pb2.StreamHead(
            recipient="JPN", mode=content_pb2.MODE_TEST, lane=envelope_pb2.LANE_NORMAL, epoch=kor.epoch, sequence=38
        )
        rest = [
            sealed
            async for response in line.stub.ReadBack(exchange_pb2.ReadBackRequest(after=[head]))
            for sealed in response.envelopes
        ]
        assert sorted(rest) == sorted([*own[38 * 3 :: 3], *own[1::3], *own[2::3]])


async def test_a_hub_that_goes_down_says_goodbye_and_owes_no_receipt(serve: Serve, speaker: Speakers) -> None:
    kor = speaker("KOR")
    async with (
        serve() as running,
        running.line("KOR") as line,
        running.line("JPN") as jpn,
        line.submitting() as up,
        jpn.following() as log,
    ):
        (receipt,) = await up.submit(kor.envelope("JPN"))
        draining = asyncio.create_task(running.hub.drain())
        while not up.goodbye:
            await up.read()
        response = await log.read()
        while not response.HasField("goodbye"):
            response = await log.read()
        assert response.goodbye.return_after_ms > 0
        (receipt,) = await up.submit(kor.envelope("JPN"))
        assert receipt.outcome == STORED, "what is under way is still taken"
        await up.call.done_writing()
        await log.call.done_writing()  # who was told goodbye hangs up; until then the stream stays
        began = asyncio.get_running_loop().time()
        await draining
        assert asyncio.get_running_loop().time() - began < 1.0


async def test_streams_that_stay_do_not_hold_up_the_end(serve: Serve) -> None:
    async with serve() as running, running.line("KOR") as line, line.submitting():
        began = asyncio.get_running_loop().time()
        await running.hub.drain()
        assert asyncio.get_running_loop().time() - began < limits.DRAIN_S


async def test_a_revoked_certificate_cuts_its_stream_and_no_other(running: Running, speaker: Speakers) -> None:
    members = running.hub.parts.door.members
    leaf = read_leaf((running.world.home("KOR") / "gateway.pem").read_bytes())
    async with running.line("KOR") as kor, running.line("USA") as usa, kor.submitting() as cut, usa.submitting() as up:
        running.hub.parts.door.renew(replace(members, revoked=members.revoked | {leaf.fingerprint}))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await cut.call.read()
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_REVOKED
        (receipt,) = await up.submit(speaker("USA").envelope("JPN"))
        assert receipt.outcome == STORED


async def test_every_refusal_is_on_record_and_a_flood_of_them_in_few_lines(
    serve: Serve, speaker: Speakers, tmp_path: Path
) -> None:
    async with serve() as running, running.line("KOR") as line, line.submitting() as up:
        for _ in range(10):
            await up.submit(*[b"\xff"] * limits.FRAME_MESSAGES_MAX)
        await up.submit(speaker("KOR").envelope("FRA"))
        running.hub.parts.refusals.turn()
    entries = [json.loads(entry) for entry in (tmp_path / "hub" / "audit.jsonl").read_text().splitlines()]
    refused = [entry["fields"] for entry in entries if entry["event"] == "refused"]
    malformed = [fields for fields in refused if fields["reason"] == "MALFORMED"]
    told = sum(fields.get("further", 1) for fields in malformed)
    assert told == 10 * limits.FRAME_MESSAGES_MAX
    assert len(malformed) < 20
    assert [fields["origin"] for fields in refused if fields["reason"] == "UNKNOWN_RECIPIENT"] == ["KOR"]
