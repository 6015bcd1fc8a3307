from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import broker.members
from broker.clock import SystemClock
from broker.members import MembersInForce
from certs.issue import Authority, authority
from certs.members import MembersError

if TYPE_CHECKING:
    from pathlib import Path

    from certs.roster import Members, Pair


@pytest.fixture
def world(tmp_path: Path) -> Authority:
    return authority(tmp_path / "certs")


def in_force(world: Authority) -> MembersInForce:
    return MembersInForce.start(world.directory / "members.json", world.digest(), SystemClock())


def without_jpn(members: Members) -> Members:
    pairs: dict[object, Pair] = {ends: pair for ends, pair in members.pairs.items() if "JPN" not in ends}
    return replace(members, pairs=pairs)  # type: ignore[arg-type]


def test_a_newer_document_takes_over_and_everybody_who_listens_is_told(world: Authority) -> None:
    members = in_force(world)
    heard: list[int] = []
    members.listeners.append(lambda newest: heard.append(newest.version))
    members.look()
    assert (heard, members.current.version) == ([], 1)
    world.revise(without_jpn)
    members.look()
    members.look()
    assert (heard, members.current.version) == ([2], 2)
    assert members.current.may_exchange("KOR", "JPN") is None


def test_an_older_document_put_back_changes_nothing(world: Authority) -> None:
    path = world.directory / "members.json"
    world.revise(without_jpn)
    members = in_force(world)
    shutil.copyfile(world.directory / "members-1.json", path)
    members.look()
    assert members.current.version == 2
    assert members.current.may_exchange("KOR", "JPN") is None


def test_a_document_that_does_not_hold_changes_nothing_and_is_complained_of_once(
    world: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    members = in_force(world)
    path = world.directory / "members.json"
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"payload"', b'"payl0ad"'))
    for _ in range(3):
        members.look()
    assert members.current.version == 1
    assert len([record for record in caplog.records if "not taken over" in record.message]) == 1
    path.unlink()
    members.look()
    path.write_bytes(good)
    members.look()
    assert members.current.version == 1


def test_who_does_not_follow_from_the_pinned_document_does_not_start(world: Authority, tmp_path: Path) -> None:
    other = authority(tmp_path / "others")
    with pytest.raises(MembersError):
        MembersInForce.start(world.directory / "members.json", other.digest(), SystemClock())


async def test_the_file_is_looked_at_again_and_again(world: Authority) -> None:
    members = in_force(world)
    arrived = asyncio.Event()
    members.listeners.append(lambda _: arrived.set())
    watching = asyncio.create_task(members.watch())
    world.revise(without_jpn)
    await asyncio.wait_for(arrived.wait(), 10)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_nothing_that_stands_in_the_file_ends_the_watch(
    world: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(broker.members, "LOOK_S", 0.01)
    members = in_force(world)
    path = world.directory / "members.json"
    good = path.read_bytes()
    watching = asyncio.create_task(members.watch())
    path.write_bytes(good.replace(b'"payloadType"', b'"\\ud800"'))
    await asyncio.sleep(0.1)
    path.write_bytes(json.dumps(json.loads(good) | {"payloadType": "\ud800"}).encode())
    await asyncio.sleep(0.1)
    monkeypatch.setattr(broker.members, "load_members", lambda *_, **__: 1 // 0)
    await asyncio.sleep(0.1)
    assert not watching.done()
    assert "ZeroDivisionError" in caplog.text
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_who_listens_is_told_again_so_that_a_certificate_that_ran_out_is_noticed(
    world: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker.members, "LOOK_S", 0.01)
    monkeypatch.setattr(broker.members, "TELL_AGAIN_S", 0.03)
    members = in_force(world)
    told: asyncio.Queue[int] = asyncio.Queue()
    members.listeners.append(lambda current: told.put_nowait(current.version))
    watching = asyncio.create_task(members.watch())
    async with asyncio.timeout(5):
        assert [await told.get() for _ in range(3)] == [1, 1, 1]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
