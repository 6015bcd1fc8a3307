"""T3: a captured message is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import limits
from broker.refusal import Reason
from tests.threats.parties import fresh, message_id, shown, speaker, watched
from vedette.v1 import exchange_pb2

if TYPE_CHECKING:
    from tests.threats.parties import Captive, HonestHub
    from vedette.v1 import envelope_pb2

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
DUPLICATE = exchange_pb2.SUBMIT_OUTCOME_DUPLICATE


async def test_by_another_member_it_is_refused(hub: HonestHub) -> None:
    captured = speaker(hub.world, "KOR").envelope("JPN")
    async with hub.line("USA") as usa, usa.submitting() as up:
        (receipt,) = await up.submit(captured)
    assert receipt.refusal.reason == Reason.REASON_WRONG_ORIGIN


async def test_by_its_origin_it_is_acknowledged_and_not_routed_again(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    captured, last = kor.envelope("JPN"), kor.envelope("JPN")
    async with hub.line("KOR") as line, hub.line("JPN") as jpn, jpn.following() as log, line.submitting() as up:
        receipts = [*await up.submit(captured), *await up.submit(captured, captured), *await up.submit(last)]
        assert [receipt.outcome for receipt in receipts] == [STORED, DUPLICATE, DUPLICATE, STORED]
        assert [delivery.envelope for delivery in await log.envelopes(2)] == [captured, last]


async def test_from_behind_the_window_it_is_refused(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    captured = kor.envelope("JPN")

    def far_ahead(header: envelope_pb2.RoutingHeader) -> None:
        header.sequence = limits.REPLAY_WINDOW + 2

    async with hub.line("KOR") as line, line.submitting() as up:
        receipts = await up.submit(captured, kor.envelope("JPN", header=far_ahead), captured)
    assert receipts[2].refusal.reason == Reason.REASON_REPLAYED


async def test_a_watch_sees_once_what_the_hub_sends_again(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    captured, last = kor.envelope("JPN", header=fresh), kor.envelope("JPN", header=fresh)
    for _ in range(3):
        await jpn.hub.hand(captured, captured)
    await jpn.hub.hand(last)
    async with jpn.gateway.watching() as floor:
        told = await watched(floor, message_id(last))
    assert shown(told) == [message_id(captured), message_id(last)]


async def test_from_behind_the_recipients_window_it_is_refused_there(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")

    def far_ahead(header: envelope_pb2.RoutingHeader) -> None:
        fresh(header)
        header.sequence = limits.REPLAY_WINDOW + 2

    captured, ahead = kor.envelope("JPN", header=fresh), kor.envelope("JPN", header=far_ahead)
    await jpn.hub.hand(ahead)
    await jpn.hub.hand(captured)
    assert await jpn.gateway.refused("REPLAYED") == 1.0
    async with jpn.gateway.watching() as floor:
        assert shown(await watched(floor, message_id(ahead))) == [message_id(ahead)]
