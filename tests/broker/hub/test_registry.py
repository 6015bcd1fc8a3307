"""Registering invariants over the wire: what the hub takes, keeps, and refuses with a reason of its own."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest

from broker import limits
from broker.hub.registry import STATE_PREFIX
from broker.invariants import PAYLOAD_TYPE
from broker.leaves import SCHEMA_DIGEST
from broker.refusal import Reason
from broker.rpc import refusal_of
from broker.store import Full
from broker.store.memory import Kept, MemoryStore
from certs.issue import authority
from certs.keyring import load_signer
from certs.roster import ONE_EACH, Duty
from certs.signature import sign_document
from vedette.v1 import content_pb2, exchange_pb2

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.hub.settings import HubSettings
    from broker.store import NewRecord, Written
    from certs.issue import Authority
    from certs.roster import Members
    from tests.broker.hub.conftest import Running, Speaker

    Serve = Callable[..., AbstractAsyncContextManager[Running]]
    Speakers = Callable[..., Speaker]

NO_NAMES = "- {id: KOR-I1, to: [JPN], never: [launch.source.name], reason: r}"
STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
REFUSED = exchange_pb2.SUBMIT_OUTCOME_REFUSED


def text(*invariants: str, nation: str = "KOR", version: int = 1, schema: str = SCHEMA_DIGEST) -> str:
    head = ["format: vedette-invariants/v1", f"nation: {nation}", f"version: {version}", f"schema: {schema}"]
    return "\n".join([*head, "invariants:" if invariants else "invariants: []", *invariants]) + "\n"


def signed(
    world: Authority, document: str, *, by: tuple[str, ...] = ("security-1",), nation: str = "KOR", kind: str = ""
) -> exchange_pb2.Registration:
    officers = world.home(nation) / "officers"
    signatures = sign_document(
        kind or PAYLOAD_TYPE, document.encode(), *(load_signer(officers / f"{name}.key") for name in by)
    )
    return exchange_pb2.Registration(document=document.encode(), signatures=signatures)


def named(content: content_pb2.Content) -> None:
    content.launch.source.name = "green-pine.1"


async def registered(running: Running, wanted: exchange_pb2.Registration, code: str = "KOR") -> exchange_pb2.Registered:
    async with running.line(code) as line:
        return await line.stub.Register(wanted)


async def refused(
    running: Running, wanted: exchange_pb2.Registration, code: str = "KOR", role: str = "gateway"
) -> Reason.ValueType:
    async with running.line(code, role=role) as line:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await line.stub.Register(wanted)
    refusal = refusal_of(caught.value)
    assert refusal is not None
    return refusal.reason


async def submitted(running: Running, sealed: bytes) -> exchange_pb2.SubmitReceipt:
    async with running.line("KOR") as line, line.submitting() as up:
        (receipt,) = await up.submit(sealed)
    return receipt


async def test_what_is_registered_is_in_force_at_once_and_stops_what_breaks_it(
    running: Running, speaker: Speakers, caplog: pytest.LogCaptureFixture
) -> None:
    kor = speaker("KOR")
    assert (await submitted(running, kor.envelope("JPN", content=named))).outcome == STORED, "before"
    answer = await registered(running, signed(running.world, text(NO_NAMES)))
    assert answer.version == 1
    with caplog.at_level(logging.CRITICAL):
        receipt = await submitted(running, kor.envelope("JPN", content=named))
    assert (receipt.outcome, receipt.refusal.reason) == (REFUSED, Reason.REASON_INVARIANT)
    assert "KOR-I1" in receipt.refusal.detail
    assert "green-pine" not in receipt.refusal.detail, "it names the leaf and no value"
    assert any("GUARD" in record.message and "KOR-I1" in record.message for record in caplog.records)
    assert (await submitted(running, kor.envelope("JPN"))).outcome == STORED
    assert (await submitted(running, kor.envelope("USA", content=named))).outcome == STORED
    page = generate_latest(running.hub.parts.metrics.registry).decode()
    assert 'vedette_guard_refused_total{origin="KOR",promise="never"} 1.0' in page
    assert 'vedette_guard_invariants_version{origin="KOR"} 1.0' in page


async def test_nobody_else_is_held_to_it(running: Running, speaker: Speakers) -> None:
    await registered(running, signed(running.world, text(NO_NAMES)))
    async with running.line("USA") as line, line.submitting() as up:
        (receipt,) = await up.submit(speaker("USA").envelope("JPN", content=named))
    assert receipt.outcome == STORED


async def test_it_holds_after_a_restart_before_any_gateway_is_back(
    serve: Serve, speaker: Speakers, settings_of: Callable[[Authority], HubSettings]
) -> None:
    async with serve() as first:
        await registered(first, signed(first.world, text(NO_NAMES, version=4)))
        world = first.world
    async with serve() as second:
        receipt = await submitted(second, speaker("KOR").envelope("JPN", content=named))
        assert receipt.refusal.reason == Reason.REASON_INVARIANT
        older = signed(world, text(version=3))
        assert await refused(second, older) == Reason.REASON_REPLAYED
    trail = (settings_of(world).data_dir / "audit.jsonl").read_text().splitlines()
    events = [entry for entry in map(json.loads, trail) if entry["event"] in {"invariants-in-force", "refused"}]
    assert [entry["fields"].get("version") for entry in events if entry["event"] != "refused"] == [4, 4]
    reasons = [entry["fields"]["reason"] for entry in events if entry["event"] == "refused"]
    assert reasons == ["INVARIANT", "REPLAYED"]


async def test_a_newer_version_takes_the_place_of_the_one_before(running: Running, speaker: Speakers) -> None:
    await registered(running, signed(running.world, text(NO_NAMES)))
    await registered(running, signed(running.world, text(version=2)))
    assert (await submitted(running, speaker("KOR").envelope("JPN", content=named))).outcome == STORED


async def test_the_same_again_is_acknowledged_and_another_of_its_number_is_a_conflict(running: Running) -> None:
    first = signed(running.world, text(NO_NAMES))
    assert await registered(running, first) == await registered(running, first)
    other = signed(running.world, text(NO_NAMES.replace("JPN", "USA")))
    assert await refused(running, other) == Reason.REASON_CONFLICT


BAD: dict[str, tuple[Callable[[Authority], exchange_pb2.Registration], Reason.ValueType]] = {
    "nobody signed": (
        lambda world: exchange_pb2.Registration(document=signed(world, text()).document),
        Reason.REASON_NOT_SIGNED,
    ),
    "a policy officer signed": (
        lambda world: signed(world, text(), by=("officer-1", "officer-2")),
        Reason.REASON_NOT_SIGNED,
    ),
    "another nation's security officer signed": (
        lambda world: signed(world, text(), nation="USA"),
        Reason.REASON_NOT_SIGNED,
    ),
    "changed after signing": (
        lambda world: exchange_pb2.Registration(
            document=text(NO_NAMES).encode(), signatures=signed(world, text()).signatures
        ),
        Reason.REASON_NOT_SIGNED,
    ),
    "signed as something else": (
        lambda world: signed(world, text(), kind="application/vnd.vedette.release+yaml"),
        Reason.REASON_NOT_SIGNED,
    ),
    "of another nation": (lambda world: signed(world, text(nation="USA")), Reason.REASON_MALFORMED),
    "for another schema": (lambda world: signed(world, text(schema="sha256:0")), Reason.REASON_MALFORMED),
    "a misspelt leaf": (
        lambda world: signed(world, text(NO_NAMES.replace("name", "nmae"))),
        Reason.REASON_MALFORMED,
    ),
    "a misspelt field in a condition": (
        lambda world: signed(world, text(NO_NAMES.replace("reason", "when: content.track.phas == 1, reason"))),
        Reason.REASON_MALFORMED,
    ),
    "a condition that can fail": (
        lambda world: signed(world, text(NO_NAMES.replace("reason", "when: 1 / 0 == 1, reason"))),
        Reason.REASON_MALFORMED,
    ),
    "too long": (
        lambda world: signed(world, text() + "#" * limits.POLICY_BYTES_MAX),
        Reason.REASON_TOO_LARGE,
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_document_is_refused_and_what_was_in_force_stays(
    running: Running, speaker: Speakers, case: str
) -> None:
    make, reason = BAD[case]
    await registered(running, signed(running.world, text(NO_NAMES)))
    bad = make(running.world)
    assert await refused(running, bad) == reason
    receipt = await submitted(running, speaker("KOR").envelope("JPN", content=named))
    assert receipt.refusal.reason == Reason.REASON_INVARIANT
    page = generate_latest(running.hub.parts.metrics.registry).decode()
    assert f'reason="{Reason.Name(reason).removeprefix("REASON_")}",step="register"}} 1.0' in page


async def test_only_a_gateway_registers(running: Running) -> None:
    wanted = signed(running.world, text())
    assert await refused(running, wanted, "HUB", "views") == Reason.REASON_ROLE_NOT_ALLOWED


async def test_as_many_security_officers_must_sign_as_the_members_demand(serve: Serve, tmp_path: Path) -> None:
    world = authority(tmp_path / "strict")

    def two(members: Members) -> Members:
        strict = {
            code: dataclasses.replace(member, approvals={**ONE_EACH, Duty.SECURITY: 2})
            for code, member in members.members.items()
        }
        return dataclasses.replace(members, members=strict)

    world.revise(two)
    async with serve(of=world) as running:
        assert await refused(running, signed(world, text())) == Reason.REASON_NOT_SIGNED
        assert (await registered(running, signed(world, text(), by=("security-1", "security-2")))).version == 1


async def test_what_an_upgraded_hub_cannot_read_silences_nobody_and_raises_an_alarm(
    serve: Serve, speaker: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as first:
        await registered(first, signed(first.world, text(NO_NAMES, version=2)))
    with monkeypatch.context() as upgraded:
        upgraded.setattr("broker.invariants.SCHEMA_DIGEST", "sha256:another")
        async with serve() as second:
            page = generate_latest(second.hub.parts.metrics.registry).decode()
            assert 'vedette_guard_invariants_version{origin="KOR"} 0.0' in page
            assert (await submitted(second, speaker("KOR").envelope("JPN", content=named))).outcome == STORED
            upgrade = signed(second.world, text(NO_NAMES, version=1, schema="sha256:another"))
            assert await refused(second, upgrade) == Reason.REASON_REPLAYED, "its number still counts"


class Filling(MemoryStore):
    """A store with room for one registration."""

    room = 1

    async def append(self, records: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        if any(name.startswith(STATE_PREFIX) for name in state or {}):
            self.room -= 1
            if self.room < 0:
                raise Full("no room")
        return await super().append(records, state=state)


async def test_a_full_disk_leaves_in_force_what_was(serve: Serve) -> None:
    """Nothing is in force that is not kept."""
    async with serve(store=Filling(Kept())) as running:
        await registered(running, signed(running.world, text(NO_NAMES)))
        assert await refused(running, signed(running.world, text(version=2))) == Reason.REASON_STORE_FULL
        promises = running.hub.parts.registry.of("KOR")
        assert promises is not None
        assert promises.document.version == 1
