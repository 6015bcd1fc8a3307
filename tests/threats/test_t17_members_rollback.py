"""T17: an old members document is put back, or one that too few signed: a removed member, a revoked key returns."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.clock import SystemClock
from broker.members import LOOK_S, MembersInForce
from certs.identity import IdentityError, Kind, MemberId, identity_of_certificate, read_leaf
from certs.members import MembersError, sign_members
from tests.threats.parties import gateway, honest_hub, lying_hub, speaker, until
from vedette.v1 import exchange_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.demo.world import World
    from certs.members import Members

USA = MemberId("USA")


def in_force(world: World) -> MembersInForce:
    path = world.authority.directory / "members.json"
    return MembersInForce.start(path, world.authority.digest(), SystemClock())


def without_the_usa(members: Members) -> Members:
    return replace(
        members,
        members={code: member for code, member in members.members.items() if code != USA},
        pairs={ends: pair for ends, pair in members.pairs.items() if USA not in ends},
        threshold=2,
    )


def put_back(world: World, version: int) -> None:
    folder = world.authority.directory
    shutil.copyfile(folder / f"members-{version}.json", folder / "members.json")


def test_a_removed_member_does_not_come_back_with_an_old_document(world: World) -> None:
    current = in_force(world)
    world.authority.revise(without_the_usa)
    current.look()
    assert current.current.version == 2
    put_back(world, 1)
    current.look()
    assert current.current.version == 2
    assert USA not in current.current.members
    assert current.current.may_exchange("KOR", "USA") is None


def test_a_revoked_certificate_does_not_come_back_with_an_old_document(world: World, now_ns: int) -> None:
    current = in_force(world)
    stolen = (world.authority.home("KOR") / "gateway.pem").read_bytes()
    world.authority.revoke(stolen)
    current.look()
    put_back(world, 1)
    current.look()
    with pytest.raises(IdentityError) as caught:
        identity_of_certificate(stolen, current.current, now_ns)
    assert caught.value.kind is Kind.REVOKED


@pytest.mark.parametrize("signers", [(), ("KOR",), ("KOR", "HUB"), ("HUB",)])
def test_what_too_few_have_signed_changes_nothing(world: World, signers: Sequence[str]) -> None:
    authority, current = world.authority, in_force(world)
    first = current.current
    newer = replace(without_the_usa(first), version=2, previous=first.digest)
    roots = {MemberId(code): authority.root(code).key_pem for code in signers or ("KOR", "JPN")}
    path = authority.directory / "members.json"
    before = path.read_bytes()
    signed = sign_members(newer, roots)
    path.with_name("members-1.json").write_bytes(before)
    path.write_bytes(signed if signers else signed.replace(b'"sig": "', b'"sig": "AAAA'))
    current.look()
    assert current.current is first
    with pytest.raises(MembersError):
        in_force(world)


async def test_a_member_in_a_running_hub_is_gone_with_the_next_version_and_stays_gone(world: World) -> None:
    async with honest_hub(world) as hub, hub.line("KOR") as line, line.submitting() as up:
        (receipt,) = await up.submit(speaker(world, "KOR").envelope("USA"))
        assert receipt.outcome == exchange_pb2.SUBMIT_OUTCOME_STORED, "the control"
        world.authority.revise(without_the_usa)
        door = hub.hub.parts.door
        await until(lambda: door.members.version > 1, "the next version is in force")
        put_back(world, 1)
        await asyncio.sleep(1.5 * LOOK_S)
        assert door.members.version > 1
        (receipt,) = await up.submit(speaker(world, "KOR").envelope("USA"))
        assert receipt.outcome == exchange_pb2.SUBMIT_OUTCOME_REFUSED


async def test_an_old_document_is_not_taken_up_by_a_gateway_that_starts_again(world: World) -> None:
    """Whoever can write the file can also wait until the gateway starts again; its pin is that of version 1."""
    stolen = read_leaf((world.authority.home("USA") / "gateway.pem").read_bytes())
    world.authority.revise(lambda members: replace(members, revoked=frozenset({stolen.fingerprint})))
    async with lying_hub(world), gateway(world, "KOR") as kor:
        await kor.remembers()
    put_back(world, 1)
    with pytest.raises(MembersError, match="older"):
        async with lying_hub(world), gateway(world, "KOR"):
            pass


async def test_nor_by_a_hub_that_starts_again(world: World) -> None:
    world.authority.revise(without_the_usa)
    async with honest_hub(world) as hub:
        assert hub.hub.parts.door.members.version > 1
        await asyncio.sleep(1.5 * LOOK_S)
    put_back(world, 1)
    with pytest.raises(MembersError, match="older"):
        async with honest_hub(world):
            pass
