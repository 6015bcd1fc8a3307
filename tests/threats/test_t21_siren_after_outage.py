"""T21: a gateway comes back and sounds the siren for a launch that was cancelled meanwhile."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import pytest

from broker import limits
from tests.threats.parties import FLASH, alarms, fresh, gateway, lying_hub, message_id, shown, speaker, watched
from vedette.v1 import content_pb2, national_pb2

if TYPE_CHECKING:
    from broker.demo.world import World
    from tests.broker.hub.conftest import Speaker

RAISE, LOWER = national_pb2.ALARM_RAISE, national_pb2.ALARM_LOWER


def launch(kor: Speaker, event: bytes) -> bytes:
    def say(content: content_pb2.Content) -> None:
        content.launch.event_id = event

    return kor.envelope("JPN", precedence=FLASH, content=say, header=fresh)


def cancel(kor: Speaker, target: bytes) -> bytes:
    def say(content: content_pb2.Content) -> None:
        content.ClearField("launch")
        content.header.ClearField("lineage")
        content.header.references.add(message_id=target, relation=content_pb2.RELATION_CANCELS)

    return kor.envelope("JPN", precedence=FLASH, content=say, header=fresh)


def no_launch(kor: Speaker, event: bytes) -> bytes:
    def say(content: content_pb2.Content) -> None:
        content.status.event_id = event
        content.status.state = content_pb2.EVENT_STATE_NOT_A_LAUNCH

    return kor.envelope("JPN", precedence=FLASH, content=say, header=fresh)


@pytest.mark.parametrize("by_status", [True, False])
async def test_what_was_taken_back_meanwhile_is_told_and_wakes_nobody_and_what_holds_does(
    world: World, *, by_status: bool
) -> None:
    kor = speaker(world, "KOR")
    known, false, real = (secrets.token_bytes(16) for _ in range(3))
    before = launch(kor, known)
    async with lying_hub(world) as hub:
        async with gateway(world, "JPN") as jpn:
            await hub.hand(before)
            async with jpn.watching() as floor:
                told = await watched(floor, message_id(before), alarm=True)
            assert alarms(told) == [(known, RAISE)], "the control: an alarm is raised at all"
            position = told[-1].position
        mistaken = launch(kor, false)
        taken_back = no_launch(kor, false) if by_status else cancel(kor, message_id(mistaken))
        held = launch(kor, real)
        hub.behind = 3
        async with gateway(world, "JPN") as jpn:
            await hub.hand(mistaken)
            await hub.hand(taken_back, held)
            async with jpn.watching() as floor:
                told = await watched(floor, message_id(held), after=position, alarm=True)
    assert shown(told) == [message_id(mistaken), message_id(taken_back), message_id(held)]
    assert (false, RAISE) not in alarms(told)
    assert alarms(told).count((real, RAISE)) == 1
    for response in told:
        if response.HasField("warning"):
            assert national_pb2.MARK_CATCHING_UP in response.warning.marks
    first_alarm = next(number for number, response in enumerate(told) if response.HasField("alarm"))
    last_warning = max(number for number, response in enumerate(told) if response.HasField("warning"))
    assert first_alarm > last_warning, "no alarm before the state at the head is known"


async def test_in_doubt_the_alarm_is_raised_and_it_is_not_waited_for_long(world: World) -> None:
    """The hub says that more is to come, and sends nothing more."""
    kor = speaker(world, "KOR")
    event = secrets.token_bytes(16)
    warning = launch(kor, event)
    async with lying_hub(world) as hub:
        hub.behind = 1000
        async with gateway(world, "JPN") as jpn, jpn.watching() as floor:
            await hub.hand(warning)
            began_s = time.monotonic()
            async for response in floor.watch():
                if response.HasField("alarm"):
                    break
            waited_s = time.monotonic() - began_s
    assert (response.alarm.event_id, response.alarm.alarm) == (event, RAISE)
    assert waited_s < 2 * limits.CATCH_UP_WAIT_S + 2.0
