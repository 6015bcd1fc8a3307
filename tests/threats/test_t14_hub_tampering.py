"""T14: the hub, or who holds its disk, alters, reorders, drops or invents."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from broker import limits
from certs.keyring import Keyring
from tests.path import reports
from tests.threats.parties import (
    FLASH,
    TEST,
    fresh,
    gateway,
    headers,
    lying_hub,
    message_id,
    shown,
    speaker,
    until,
    watched,
)
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

if TYPE_CHECKING:
    from broker.demo.world import World
    from tests.broker.hub.conftest import Speaker
    from tests.threats.parties import Captive


def altered(envelope: bytes) -> bytes:
    made = envelope_pb2.Envelope.FromString(envelope)
    content = content_pb2.Content.FromString(made.body)
    content.launch.confidence = 0.1
    made.body = content.SerializeToString()
    return made.SerializeToString()


def in_the_name_of(victim: Speaker, hub: Keyring) -> bytes:
    """A warning that the victim never gave, sealed with the best key that the hub has."""
    content = victim.content()
    return victim.seal(victim.header("JPN", content), content.SerializeToString(), signer=hub.signer(TEST))


async def test_what_the_hub_altered_or_invented_is_refused_and_the_next_warning_is_shown(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    hub_keys = Keyring.load(jpn.gateway.world.authority.home("HUB"))
    bad = [altered(kor.envelope("JPN", header=fresh)), in_the_name_of(kor, hub_keys), b"\xff" * 40]
    good = kor.envelope("JPN", header=fresh)
    for envelope in bad:
        await jpn.hub.hand(envelope)
    await jpn.hub.hand(good)
    async with jpn.gateway.watching() as floor:
        told = await watched(floor, message_id(good))
    assert shown(told) == [message_id(good)]
    for reason in ("BAD_SEAL", "UNKNOWN_KEY", "MALFORMED"):
        assert await jpn.gateway.refused(reason) == 1.0
        await jpn.gateway.audits("refused-from-hub", reason=reason)


def launch_of_the_hubs_own(hub: Speaker) -> bytes:
    return hub.envelope("JPN", header=fresh)


def picture_of_a_nation(kor: Speaker) -> bytes:
    def fuse(content: content_pb2.Content) -> None:
        content.fused.event_id = secrets.token_bytes(16)

    return kor.envelope("JPN", content=fuse)


def time_told_by_a_nation(kor: Speaker) -> bytes:
    return kor.envelope("JPN", content=lambda content: content.tick.time.GetCurrentTime())


async def test_what_is_not_its_senders_to_say_is_refused_behind_the_hub_too(jpn: Captive) -> None:
    kor, hub = jpn.speaker("KOR"), jpn.speaker("HUB")
    good = kor.envelope("JPN", header=fresh)
    await jpn.hub.hand(launch_of_the_hubs_own(hub), picture_of_a_nation(kor), time_told_by_a_nation(kor), good)
    async with jpn.gateway.watching() as floor:
        told = await watched(floor, message_id(good))
    assert shown(told) == [message_id(good)]
    assert not [response for response in told if response.alarm.origin == "HUB"]
    assert await jpn.gateway.refused("BODY_NOT_ALLOWED") == 3.0


async def test_what_the_hub_dropped_shows_as_a_gap(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    first, _, _, last = (kor.envelope("JPN", header=fresh) for _ in range(4))
    async with jpn.gateway.watching() as floor:
        await jpn.hub.hand(first)
        position = (await watched(floor, message_id(first)))[-1].position
    await jpn.hub.hand(last)
    await jpn.gateway.audits("gap", origin="KOR")  # nobody watches now
    async with jpn.gateway.watching() as floor:
        for told in (await watched(floor, message_id(last)), await watched(floor, message_id(last), after=position)):
            (gap,) = [response.gap for response in told if response.HasField("gap")]
            assert (gap.origin, gap.first_missing, gap.last_missing) == ("KOR", 2, 3)
            kinds = [response.WhichOneof("event") for response in told]
            assert kinds.index("gap") == len(kinds) - kinds[::-1].index("warning") - 2, "before what showed it"
    await jpn.gateway.audits("gap", origin="KOR")
    assert await jpn.gateway.metric('vedette_gap_messages_total{origin="KOR"}') == 2.0


async def test_what_the_hub_reordered_is_shown_all_the_same(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    made = [kor.envelope("JPN", header=fresh) for _ in range(6)]
    turned = [made[index] for index in (3, 0, 5, 1, 4, 2)]
    await jpn.hub.hand(*turned)
    async with jpn.gateway.watching() as floor:
        told = await watched(floor, message_id(turned[-1]))
    assert shown(told) == [message_id(envelope) for envelope in turned]


async def test_a_log_that_makes_no_sense_does_not_end_the_gateway(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    odd = exchange_pb2.Delivery()
    odd.tick.mode = 300  # type: ignore[assignment]
    for garbage in (b"\xff\xff\xff", odd.SerializeToString()):
        await jpn.hub.hand(garbage=garbage)
    good = kor.envelope("JPN", header=fresh)
    await jpn.hub.hand(good)
    async with jpn.gateway.watching() as floor:
        told = await watched(floor, message_id(good))
    assert shown(told) == [message_id(good)]


async def test_a_hub_that_leaves_for_a_month_is_asked_again_in_seconds(jpn: Captive) -> None:
    before = jpn.hub.calls
    await jpn.hub.leave(return_after_ms=30 * 24 * 3600 * 1000)
    await until(lambda: jpn.hub.calls > before, "JPN asks again", wait_s=limits.RECONNECT_MAX_S + 3.0)


async def test_a_hub_cannot_tell_an_origin_what_it_said(world: World) -> None:
    async with lying_hub(world) as hub:
        hub.heads = [head(envelope_pb2.LANE_URGENT, epoch_ms())]
        hub.kept = [in_the_name_of(speaker(world, "JPN"), Keyring.load(world.authority.home("HUB")))]
        async with gateway(world, "JPN") as jpn:
            await jpn.audits("read-back-refused", reason="UnknownKey")
            assert (await jpn.audits("read-back"))["envelopes"] == 0


async def test_a_hub_cannot_drive_an_origins_numbers_to_where_no_other_hub_takes_them(world: World) -> None:
    async with lying_hub(world) as hub:
        hub.heads = [head(lane, 2**64 - 1) for lane in (envelope_pb2.LANE_URGENT, envelope_pb2.LANE_NORMAL)]
        async with gateway(world, "JPN") as jpn, jpn.reporting() as system, system.reporter() as reporter:
            launch = reports.launch(b"m-1", b"e-1", base=None)
            await reporter.report(launch, precedence=FLASH, label=reports.label("JPN"))
            await until(lambda: bool(hub.submitted), "the report goes out")
    assert all(headers(envelope).epoch <= epoch_ms() + limits.EPOCH_AHEAD_MAX_MS for envelope in hub.submitted)


def head(lane: envelope_pb2.Lane.ValueType, epoch: int) -> exchange_pb2.StreamHead:
    return exchange_pb2.StreamHead(recipient="KOR", mode=TEST, lane=lane, epoch=epoch, sequence=7)


def epoch_ms() -> int:
    return time.time_ns() // limits.MILLISECOND_NS
