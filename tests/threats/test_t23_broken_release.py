"""T23: a nation's own gateway releases what its security officers forbid: by a bug, by bad rules, or in other hands."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from broker.gateway.release.lattice import Level
from broker.hub.route import log_of
from broker.refusal import Reason
from broker.rpc import refusal_of
from tests.path import reports
from tests.threats.parties import FLASH, gateway, honest_hub, speaker
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.demo.world import World
    from tests.broker.hub.conftest import Speaker
    from tests.threats.parties import Gateway, HonestHub

NAME = b"aegis-1"  # the sensor's, in every report of `reports`


async def report(kor: Gateway, local: bytes) -> None:
    launch = reports.launch(local, b"e-1", base=None)
    async with kor.reporting() as client, client.reporter() as reporter:
        await reporter.report(launch, precedence=FLASH, label=reports.label())


async def stored(hub: HonestHub, recipient: str) -> list[bytes]:
    records = await hub.hub.parts.store.read(log_of(recipient), after=0, limit=1_000)
    return [record.data for record in records]


def everything(_rules: object, groups: Mapping[str, object]) -> dict[str, Level]:
    """Stand in for the bug: every limit is lost, and every group is shown."""
    return dict.fromkeys(groups, Level.EXACT)


async def test_without_the_bug_the_warning_arrives(world: World) -> None:
    """The control of everything below."""
    async with honest_hub(world) as hub, gateway(world, "KOR") as kor:
        await kor.audits("invariants-registered")
        await report(kor, b"m-1")
        async with hub.line("JPN") as line, line.following() as log:
            (delivery,) = await log.envelopes(1)
        assert NAME not in delivery.envelope


async def test_what_a_broken_engine_releases_stops_at_the_hub(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("broker.gateway.release.decide"), "levels_of", everything)
    async with honest_hub(world) as hub, gateway(world, "KOR") as kor:
        await kor.audits("invariants-registered")
        await report(kor, b"m-1")
        for recipient in ("JPN", "USA", "KOR"):
            told = await kor.audits("refused-by-hub", recipient=recipient, reason="INVARIANT")
            assert "KOR-I1" in told["detail"]
            assert not any(NAME in data for data in await stored(hub, recipient))
        counted = hub.hub.parts.metrics.registry.get_sample_value(
            "vedette_guard_refused_total", {"origin": "KOR", "promise": "never"}
        )
        assert counted == 3.0


async def test_what_rules_release_that_break_a_promise_stops_at_the_hub(world: World) -> None:
    """The document is the officers' own: whoever wrote the rules does not write it."""
    further = "- {id: KOR-I9, to: [JPN], never: [launch.launch_area], reason: no place to Japan today}\n"
    world.set_invariants("KOR", world.invariants_path("KOR").read_text() + further)
    async with honest_hub(world), gateway(world, "KOR") as kor:
        await kor.audits("invariants-registered")
        await report(kor, b"m-1")
        told = await kor.audits("refused-by-hub", recipient="JPN", reason="INVARIANT")
        assert "KOR-I9" in told["detail"]


def with_its_name(content: content_pb2.Content) -> None:
    content.launch.source.name = NAME.decode()


def too_exact(content: content_pb2.Content) -> None:
    content.ClearField("launch")
    content.track.CopyFrom(reports.track(b"m", b"e", base=None).track)
    content.track.ClearField("source")
    content.track.event_id = content.track.object_id = bytes(16)


def of_korean_eyes(header: envelope_pb2.RoutingHeader) -> None:
    header.label.caveats.append("KOR-ONLY")


STOLEN: list[Callable[[Speaker], bytes]] = [
    lambda kor: kor.envelope("JPN", content=with_its_name),
    lambda kor: kor.envelope("JPN", content=too_exact),
    lambda kor: kor.envelope("JPN", header=of_korean_eyes),
]


@pytest.mark.parametrize("forge", STOLEN)
async def test_nor_does_whoever_holds_the_gateways_keys_get_it_through(
    world: World, forge: Callable[[Speaker], bytes]
) -> None:
    async with honest_hub(world) as hub:
        async with gateway(world, "KOR") as kor:
            await kor.audits("invariants-registered")
        async with hub.line("KOR") as line, line.submitting() as up:
            (receipt,) = await up.submit(forge(speaker(world, "KOR")))
            assert receipt.refusal.reason == Reason.REASON_INVARIANT
            (control,) = await up.submit(speaker(world, "KOR").envelope("JPN"))
            assert control.outcome == exchange_pb2.SUBMIT_OUTCOME_STORED


async def test_nor_can_it_register_something_milder(world: World) -> None:
    document = world.invariants_path("KOR").read_text()
    async with honest_hub(world) as hub:
        async with gateway(world, "KOR") as kor:
            await kor.audits("invariants-registered")
        milder = (
            document.replace("version: 1", "version: 2").partition("- id:")[0].replace("invariants:", "invariants: []")
        )
        signatures = world.invariants_path("KOR").with_suffix(".sig.json").read_bytes()
        async with hub.line("KOR") as line:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await line.stub.Register(
                    exchange_pb2.Registration(document=milder.encode(), signatures=signatures), timeout=10
                )
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_NOT_SIGNED
        async with hub.line("KOR") as line, line.submitting() as up:
            (receipt,) = await up.submit(speaker(world, "KOR").envelope("JPN", content=with_its_name))
            assert receipt.refusal.reason == Reason.REASON_INVARIANT
