"""T18: a warning is held back and then thrown away as late, or a wrong clock silences it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.clock import timestamp
from tests.threats.parties import FLASH, alarms, fresh, message_id, shown, watched
from vedette.v1 import content_pb2, envelope_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broker.hub.conftest import Speaker
    from tests.threats.parties import Captive
    from vedette.v1.national_pb2 import WatchResponse

RAISE = national_pb2.ALARM_RAISE


def released_long_ago(header: envelope_pb2.RoutingHeader) -> None:
    """Ten minutes on the way; it was fresh for two."""
    now_ns = time.time_ns()
    header.released_at.CopyFrom(timestamp(now_ns - 600 * limits.SECOND_NS))
    header.stale_after.CopyFrom(timestamp(now_ns - 480 * limits.SECOND_NS))


def impact(kor: Speaker, seconds_ago: float, header: Callable[[envelope_pb2.RoutingHeader], None]) -> bytes:
    """A first word on an event: that it came down so many seconds ago."""

    def predict(content: content_pb2.Content) -> None:
        content.impact.event_id = b"e" * 16
        content.impact.time.latest.CopyFrom(timestamp(time.time_ns() - round(seconds_ago * limits.SECOND_NS)))

    return kor.envelope("JPN", precedence=FLASH, content=predict, header=header)


async def told_live(jpn: Captive, *envelopes: bytes) -> list[WatchResponse]:
    """Hand the envelopes down while a watch is there; return what it is told."""
    async with jpn.gateway.watching() as floor:
        watching = asyncio.create_task(watched(floor, message_id(envelopes[-1])))
        await jpn.gateway.has_watchers()
        await asyncio.sleep(0.1)  # its first alarms are told once; after that they come with their warnings
        await jpn.hub.hand(*envelopes)
        return await watching


async def test_a_warning_that_was_held_back_is_shown_marked_and_raises_the_alarm(jpn: Captive) -> None:
    late = jpn.speaker("KOR").envelope("JPN", precedence=FLASH, header=released_long_ago)
    told = await told_live(jpn, late)
    (warning,) = [response.warning for response in told if response.HasField("warning")]
    assert national_pb2.MARK_LATE in warning.marks
    assert alarms(told) == [(warning.content.launch.event_id, RAISE)]


async def test_a_fresh_one_bears_no_mark(jpn: Captive) -> None:
    told = await told_live(jpn, jpn.speaker("KOR").envelope("JPN", precedence=FLASH, header=fresh))
    (warning,) = [response.warning for response in told if response.HasField("warning")]
    assert not warning.marks
    assert len(alarms(told)) == 1


@pytest.mark.parametrize(
    ("hub_ahead_s", "seconds_ago", "raised"),
    [
        (None, 3600.0, True),  # nobody told the time: the clock may be wrong
        (300.0, 3600.0, True),  # the clocks differ by minutes: one of them is wrong
        (0.0, 30.0, True),  # the clocks agree, but so shortly after it may still be falling
        (0.0, -60.0, True),  # still to come
        (0.0, 3600.0, False),  # known to be over: the one case in which nobody is woken
    ],
)
async def test_only_an_impact_that_is_known_to_be_past_raises_no_alarm(
    jpn: Captive, hub_ahead_s: float | None, seconds_ago: float, *, raised: bool
) -> None:
    jpn.hub.clock_ahead_s = hub_ahead_s
    if hub_ahead_s is not None:
        await jpn.gateway.knows_the_clock()
    told = await told_live(jpn, impact(jpn.speaker("KOR"), seconds_ago, released_long_ago))
    assert any(response.HasField("warning") for response in told), "shown it is in any case"
    assert bool(alarms(told)) is raised


async def test_what_comes_from_a_clock_that_is_ahead_is_shown_and_from_the_far_future_moves_no_window(
    jpn: Captive,
) -> None:
    """Half the bound ahead is somebody's wrong clock; past it, it is refused, and the next of its origin is shown."""
    kor = jpn.speaker("KOR")

    def ahead(by_ns: int) -> Callable[[envelope_pb2.RoutingHeader], None]:
        def set_ahead(header: envelope_pb2.RoutingHeader) -> None:
            fresh(header)
            header.released_at.CopyFrom(timestamp(time.time_ns() + by_ns))

        return set_ahead

    tolerable = kor.envelope("JPN", header=ahead(limits.FUTURE_MAX_NS // 2))
    too_far = kor.envelope("JPN", header=ahead(limits.FUTURE_MAX_NS + 60 * limits.SECOND_NS))
    good = kor.envelope("JPN", header=fresh)
    await jpn.hub.hand(tolerable, too_far, good)
    assert await jpn.gateway.refused("FUTURE") == 1.0
    async with jpn.gateway.watching() as floor:
        told = await watched(floor, message_id(good))
    assert shown(told) == [message_id(tolerable), message_id(good)]
