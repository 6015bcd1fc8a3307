"""T4: a message made for one nation is handed to another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.refusal import Reason
from tests.threats.parties import captive, fresh, message_id, shown, speaker, watched
from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from broker.demo.world import World
    from certs.members import Members
    from tests.threats.parties import Captive, HonestHub


def readdressed(envelope: bytes, recipient: str) -> bytes:
    """The same body under the same seal, with another address."""
    made = envelope_pb2.Envelope.FromString(envelope)
    header = envelope_pb2.RoutingHeader.FromString(made.header)
    header.recipient = recipient
    made.header = header.SerializeToString()
    return made.SerializeToString()


async def test_with_another_address_its_seal_does_not_hold_at_the_hub(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    async with hub.line("KOR") as line, line.submitting() as up:
        (receipt,) = await up.submit(readdressed(kor.envelope("USA"), "JPN"))
    assert receipt.refusal.reason == Reason.REASON_BAD_SEAL


async def test_the_hub_cannot_bring_it_to_another_nation(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    for_the_usa = kor.envelope("USA", header=fresh)
    good = kor.envelope("JPN", header=fresh)
    await jpn.hub.hand(for_the_usa, readdressed(for_the_usa, "JPN"), good)
    async with jpn.gateway.watching() as floor:
        assert shown(await watched(floor, message_id(good))) == [message_id(good)]
    assert await jpn.gateway.refused("MISADDRESSED") == 1.0
    assert await jpn.gateway.refused("BAD_SEAL") == 1.0
    await jpn.gateway.audits("refused-from-hub", reason="MISADDRESSED")


async def test_what_two_members_may_not_exchange_is_refused_by_the_recipient_too(world: World) -> None:
    """The hub passes it on all the same; the recipient reads the members document itself."""

    def without_the_pair(members: Members) -> Members:
        pairs = {ends: pair for ends, pair in members.pairs.items() if ends != ("USA", "JPN")}
        return replace(members, pairs=pairs)

    world.authority.revise(without_the_pair)
    async with captive(world) as jpn:
        good = jpn.speaker("KOR").envelope("JPN", header=fresh)
        await jpn.hub.hand(jpn.speaker("USA").envelope("JPN", header=fresh), good)
        assert await jpn.gateway.refused("PAIR_NOT_ALLOWED") == 1.0
        async with jpn.gateway.watching() as floor:
            assert shown(await watched(floor, message_id(good))) == [message_id(good)]
