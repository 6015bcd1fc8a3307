"""T5: two stories under one identity."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from broker.refusal import Reason
from tests.threats.parties import fresh, message_id, shown, speaker, watched
from vedette.v1 import exchange_pb2

if TYPE_CHECKING:
    from tests.broker.hub.conftest import Speaker
    from tests.threats.parties import Captive, HonestHub
    from vedette.v1 import content_pb2, envelope_pb2

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED


def story(kor: Speaker, identity: bytes, confidence: float) -> bytes:
    """A message under an identity, in a number of its own, properly sealed."""

    def say(content: content_pb2.Content) -> None:
        content.header.message_id = identity
        content.launch.confidence = confidence

    return kor.envelope("JPN", content=say, header=fresh)


async def test_the_hub_keeps_the_first_and_refuses_the_second(hub: HonestHub) -> None:
    kor, identity = speaker(hub.world, "KOR"), secrets.token_bytes(16)
    first, second, last = story(kor, identity, 0.9), story(kor, identity, 0.1), kor.envelope("JPN")
    async with hub.line("KOR") as line, hub.line("JPN") as jpn, jpn.following() as log, line.submitting() as up:
        receipts = await up.submit(first, second, last)
        assert [receipt.outcome for receipt in receipts][::2] == [STORED, STORED]
        assert receipts[1].refusal.reason == Reason.REASON_CONFLICT
        assert [delivery.envelope for delivery in await log.envelopes(2)] == [first, last]


async def test_a_second_message_under_a_used_number_is_refused(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    first = kor.envelope("JPN")

    def same_number(header: envelope_pb2.RoutingHeader) -> None:
        header.sequence = 1

    async with hub.line("KOR") as line, line.submitting() as up:
        receipts = await up.submit(first, kor.envelope("JPN", header=same_number))
    assert receipts[1].refusal.reason == Reason.REASON_CONFLICT


async def test_where_the_hub_passes_both_on_the_recipient_keeps_the_first_and_says_so(jpn: Captive) -> None:
    kor, identity = jpn.speaker("KOR"), secrets.token_bytes(16)
    first, second, last = story(kor, identity, 0.9), story(kor, identity, 0.1), kor.envelope("JPN", header=fresh)
    await jpn.hub.hand(first)
    await jpn.hub.hand(second, last)
    async with jpn.gateway.watching() as floor:
        told = await watched(floor, message_id(last))
    assert shown(told) == [identity, message_id(last)]
    (warning,) = [response.warning for response in told if response.warning.header.message_id == identity]
    assert warning.content.launch.confidence == 0.9
    assert await jpn.gateway.refused("CONFLICT") == 1.0
    await jpn.gateway.audits("refused-from-hub", reason="CONFLICT")
