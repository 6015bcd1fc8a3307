"""T19: a second time base under one exercise id moves another's exercise; an exercise base reaches real traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.client import Refused
from broker.refusal import Reason
from tests.path import reports
from tests.threats.parties import FLASH, gateway, lying_hub, speaker
from vedette.v1 import content_pb2, exchange_pb2

if TYPE_CHECKING:
    from broker.demo.world import World
    from tests.broker.hub.conftest import Speaker
    from tests.threats.parties import HonestHub

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
EXERCISE, REAL = content_pb2.MODE_EXERCISE, content_pb2.MODE_REAL_WORLD


def moved(base: content_pb2.Exercise) -> content_pb2.Exercise:
    other = content_pb2.Exercise()
    other.CopyFrom(base)
    other.exercise_zero.seconds += 3600
    return other


def in_exercise(who: Speaker, base: content_pb2.Exercise | None, mode: int = EXERCISE) -> bytes:
    content = who.content(mode=mode)
    if base is not None:
        content.header.exercise.CopyFrom(base)
    return who.seal(who.header("JPN", content), content.SerializeToString())


async def test_at_the_hub_the_first_base_stands_whoever_brings_the_second(hub: HonestHub) -> None:
    first, faster = reports.exercise("spring"), reports.exercise("spring", rate=2.0)
    kor, usa = speaker(hub.world, "KOR"), speaker(hub.world, "USA")
    async with hub.line("KOR") as line, hub.line("USA") as other, line.submitting() as up, other.submitting() as theirs:
        (receipt,) = await up.submit(in_exercise(kor, first))
        assert receipt.outcome == STORED
        for base in (moved(first), faster):
            for stream, who in ((up, kor), (theirs, usa)):
                (receipt,) = await stream.submit(in_exercise(who, base))
                assert receipt.refusal.reason == Reason.REASON_EXERCISE_BASE
        (receipt,) = await theirs.submit(in_exercise(usa, first))
        assert receipt.outcome == STORED
        known = hub.hub.parts.recorded.exercises.get("JPN", "spring")
        assert known == first


@pytest.mark.parametrize("mode", [REAL, content_pb2.MODE_TEST])
async def test_no_base_stands_on_what_is_no_exercise(hub: HonestHub, mode: int) -> None:
    kor = speaker(hub.world, "KOR")
    async with hub.line("KOR") as line, line.submitting() as up:
        receipts = await up.submit(in_exercise(kor, reports.exercise(), mode), in_exercise(kor, None))
    assert [receipt.refusal.reason for receipt in receipts] == [Reason.REASON_EXERCISE_BASE] * 2


async def test_at_the_origin_no_system_moves_the_exercise_of_the_others(world: World) -> None:
    base = reports.exercise("spring")
    async with lying_hub(world), gateway(world, "KOR") as kor:
        async with kor.reporting("exercise") as system, system.reporter() as reporter:
            await reporter.report(reports.launch(b"1", b"e", base=base), precedence=FLASH, label=reports.label())
            launch = reports.launch(b"2", b"e", base=moved(base))
            with pytest.raises(Refused) as caught:
                await reporter.report(launch, precedence=FLASH, label=reports.label())
            assert caught.value.reason == Reason.REASON_EXERCISE_BASE
            await reporter.report(reports.launch(b"3", b"e", base=base), precedence=FLASH, label=reports.label())
        async with kor.reporting("real-world") as system, system.reporter() as reporter:
            with pytest.raises(Refused) as caught:
                await reporter.report(reports.launch(b"4", b"e", base=base), precedence=FLASH, label=reports.label())
            assert caught.value.reason == Reason.REASON_EXERCISE_BASE
