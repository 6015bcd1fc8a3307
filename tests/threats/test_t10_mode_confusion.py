"""T10: an exercise becomes real, or the other way round."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from broker.client import Refused
from broker.refusal import Reason
from tests.path import reports
from tests.threats.parties import FLASH, fresh, gateway, lying_hub, message_id, shown, speaker, watched
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from broker.demo.world import World
    from tests.broker.hub.conftest import Speaker
    from tests.threats.parties import Captive, HonestHub

REAL, EXERCISE, TEST = content_pb2.MODE_REAL_WORLD, content_pb2.MODE_EXERCISE, content_pb2.MODE_TEST
NAMES = {REAL: "real-world", EXERCISE: "exercise", TEST: "test"}
OTHERS = [(sealed, said) for sealed in NAMES for said in NAMES if sealed != said]


def warning(kor: Speaker, mode: int, *, key_of: int | None = None, identity: bytes = b"") -> bytes:
    content = kor.content(identity or secrets.token_bytes(16), mode=mode)
    if mode == EXERCISE:
        content.header.exercise.CopyFrom(reports.exercise())
    header = kor.header("JPN", content, FLASH)
    fresh(header)
    return kor.seal(header, content.SerializeToString(), signer=kor.keyring.signer(key_of or mode))


async def test_the_key_of_one_mode_seals_nothing_of_another_at_the_hub(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    async with hub.line("KOR") as line, line.submitting() as up:
        receipts = await up.submit(*(warning(kor, mode, key_of=key_of) for key_of, mode in OTHERS))
    assert [receipt.refusal.reason for receipt in receipts] == [Reason.REASON_UNKNOWN_KEY] * len(OTHERS)


async def test_nor_at_the_recipient(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    await jpn.hub.hand(*(warning(kor, mode, key_of=key_of) for key_of, mode in OTHERS))
    assert await jpn.gateway.refused("UNKNOWN_KEY") == len(OTHERS)


async def test_a_mode_changed_on_the_way_is_refused(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    envelope = envelope_pb2.Envelope.FromString(warning(kor, EXERCISE))
    header = envelope_pb2.RoutingHeader.FromString(envelope.header)
    content = content_pb2.Content.FromString(envelope.body)
    for part in (header, content.header):
        part.mode = REAL
        part.ClearField("exercise")
    envelope.header, envelope.body = header.SerializeToString(), content.SerializeToString()
    good = warning(kor, REAL)
    await jpn.hub.hand(envelope.SerializeToString(), good)
    async with jpn.gateway.watching("real-world") as floor:
        assert shown(await watched(floor, message_id(good))) == [message_id(good)]
    assert await jpn.gateway.refused("UNKNOWN_KEY") == 1.0


async def test_header_and_content_of_two_modes_are_refused(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    content = kor.content(mode=TEST)
    header = kor.header("JPN", content)
    header.mode = REAL
    mixed = kor.seal(header, content.SerializeToString(), signer=kor.keyring.signer(REAL))
    await jpn.hub.hand(mixed)
    assert await jpn.gateway.refused("HEADER_MISMATCH") == 1.0


async def test_each_watch_sees_its_own_mode_only(jpn: Captive) -> None:
    kor = jpn.speaker("KOR")
    made = {mode: [warning(kor, mode) for _ in range(2)] for mode in NAMES}
    await jpn.hub.hand(*(envelopes[number] for number in range(2) for envelopes in made.values()))
    for mode, envelopes in made.items():
        async with jpn.gateway.watching(NAMES[mode]) as floor:
            told = await watched(floor, message_id(envelopes[-1]))
        assert shown(told) == [message_id(envelope) for envelope in envelopes]


async def test_one_id_in_two_modes_is_two_messages(jpn: Captive) -> None:
    kor, identity = jpn.speaker("KOR"), secrets.token_bytes(16)
    await jpn.hub.hand(warning(kor, EXERCISE, identity=identity), warning(kor, REAL, identity=identity))
    for name in ("exercise", "real-world"):
        async with jpn.gateway.watching(name) as floor:
            assert shown(await watched(floor, identity)) == [identity]


@pytest.mark.parametrize("mode", ["exercise", "test"])
async def test_a_system_of_another_mode_cannot_report_anything_real(world: World, mode: str) -> None:
    base = reports.exercise() if mode == "exercise" else None
    launch = reports.launch(b"m-1", b"e-1", base=base)
    launch.header.mode = REAL
    async with lying_hub(world) as hub, gateway(world, "KOR") as kor:
        async with kor.reporting(mode) as system, system.reporter() as reporter:
            with pytest.raises(Refused) as caught:
                await reporter.report(launch, precedence=FLASH, label=reports.label())
            launch.header.ClearField("mode")
            await reporter.report(launch, precedence=FLASH, label=reports.label())
        await kor.sent(hub)
        sent = [
            envelope_pb2.RoutingHeader.FromString(envelope_pb2.Envelope.FromString(one).header) for one in hub.submitted
        ]
    assert caught.value.reason == Reason.REASON_MODE_NOT_ALLOWED
    assert {NAMES[header.mode] for header in sent} == {mode}
