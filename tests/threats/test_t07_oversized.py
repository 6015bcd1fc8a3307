"""T7: over-long lines, bodies, frames and lists. Each has a bound; ours is reached before the transport's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.client import Refused
from broker.refusal import Reason
from tests.path import reports
from tests.threats.parties import FLASH, gateway, lying_hub, speaker
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from broker.demo.world import World
    from tests.broker.hub.conftest import Speaker
    from tests.threats.parties import HonestHub

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED


def envelope_too_large(_kor: Speaker) -> bytes:
    return bytes(limits.ENVELOPE_BYTES_MAX + 1)


def body_too_large(kor: Speaker) -> bytes:
    return kor.seal(kor.header("JPN", kor.content()), bytes(limits.BODY_BYTES_MAX + 1))


def header_too_large(kor: Speaker) -> bytes:
    def swell(header: envelope_pb2.RoutingHeader) -> None:
        header.label.caveats.extend(f"CAVEAT-{number:03}" for number in range(limits.HEADER_BYTES_MAX // 10))

    return kor.envelope("JPN", header=swell)


def list_too_long(kor: Speaker) -> bytes:
    def swell(content: content_pb2.Content) -> None:
        for _ in range(limits.FIELD_ITEMS_MAX + 1):
            content.launch.classes.add(probability=0.01)

    return kor.envelope("JPN", content=swell)


async def test_what_is_too_large_is_refused_and_the_stream_lives_on(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    async with hub.line("KOR") as line, line.submitting() as up:
        for make in (envelope_too_large, body_too_large, header_too_large, list_too_long):
            bad, good = await up.submit(make(kor), kor.envelope("JPN"))
            assert bad.refusal.reason == Reason.REASON_TOO_LARGE, make.__name__
            assert good.outcome == STORED


async def test_a_frame_too_large_or_too_full_is_refused_and_the_stream_lives_on(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    too_many = [kor.envelope("JPN")] * (limits.FRAME_MESSAGES_MAX + 1)
    too_large = [bytes(limits.ENVELOPE_BYTES_MAX)] * (limits.FRAME_BYTES_MAX // limits.ENVELOPE_BYTES_MAX + 1)
    async with hub.line("KOR") as line, line.submitting() as up:
        for frame in (too_many, too_large):
            receipts = await up.submit(*frame)
            assert {receipt.refusal.reason for receipt in receipts} == {Reason.REASON_TOO_LARGE}
        (good,) = await up.submit(kor.envelope("JPN"))
        assert good.outcome == STORED


async def test_over_the_transports_limit_that_stream_is_cut_and_no_other(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    monster = exchange_pb2.SubmitRequest(envelopes=[bytes(limits.ENVELOPE_BYTES_MAX)] * 64)
    assert monster.ByteSize() > limits.TRANSPORT_BYTES_MAX
    unbounded = [("grpc.max_send_message_length", -1)]
    async with (
        hub.line("KOR") as line,
        line.submitting() as other,
        hub.unlimited("KOR", unbounded) as reckless,
        reckless.submitting() as up,
    ):
        await up.send(monster)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await up.call.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        (good,) = await other.submit(kor.envelope("JPN"))
        assert good.outcome == STORED


async def test_an_over_long_native_line_is_refused_and_the_stream_lives_on(world: World) -> None:
    async with lying_hub(world), gateway(world, "KOR") as kor, kor.reporting() as system, system.reporter() as reporter:
        with pytest.raises(Refused) as caught:
            await reporter.report_line(b"x" * (limits.NATIVE_LINE_BYTES_MAX + 1), format="radar-json")
        assert caught.value.reason == Reason.REASON_TOO_LARGE
        long_id = reports.launch(b"m" * (limits.LOCAL_ID_BYTES_MAX + 1), b"e", base=None)
        with pytest.raises(Refused) as caught:
            await reporter.report(long_id, precedence=FLASH, label=reports.label())
        assert caught.value.reason == Reason.REASON_TOO_LARGE
        receipt = await reporter.report(reports.launch(b"m", b"e", base=None), precedence=FLASH, label=reports.label())
        assert not receipt.duplicate
