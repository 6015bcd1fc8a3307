"""A nation recomputes from its own inbox what the hub sent it: real processes, the gateway running and stopped."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from broker.cli import Exit, main
from broker.gateway.downlink import INBOX
from broker.store import NewRecord
from broker.store.load import load_store
from vedette.v1 import content_pb2, envelope_pb2, journal_pb2

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import OpenWorld, Reporting, Watching

REPORTS = 12
STORE = "gateway.sqlite"


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="vedette")
    return done.exit_code, done.stdout


@pytest.fixture(scope="module")
def world(open_shared_world: OpenWorld) -> World:
    return open_shared_world()


async def fly(world: World, reports: ModuleType, reporting: Reporting, watching: Watching, name: str) -> None:
    """Have KOR and the USA report a launch, and wait until JPN was sent pictures of both."""
    base = reports.exercise(name, rate=4.0)
    async with (
        reporting(world, "KOR", session=name) as kor,
        reporting(world, "USA", session=name) as usa,
        watching(world, "JPN", exercise_id=name) as jpn,
    ):
        for number in range(REPORTS):
            local, event = f"{name}-{number}".encode(), name.encode()
            make = reports.launch if number == 0 else reports.track
            for nation, system in (("KOR", kor), ("USA", usa)):
                precedence = envelope_pb2.PRECEDENCE_FLASH if number % 3 == 0 else envelope_pb2.PRECEDENCE_IMMEDIATE
                await system.report(make(local, event, base=base), precedence=precedence, label=reports.label(nation))
        await jpn.until(
            lambda: any({one.origin for one in w.content.fused.contributions} >= {"KOR", "USA"} for w in jpn.pictures)
        )


async def rewritten(home: Path, copy: Path) -> None:
    """Copy an inbox with one picture in it changed, as a hub would have sent it that lies."""
    old = await load_store("sqlite")(home / STORE)
    new = await load_store("sqlite")(copy / STORE)
    done = False
    try:
        bounds = await old.bounds(INBOX)
        for record in await old.read(INBOX, after=0, limit=bounds.last):
            entry = journal_pb2.InboxRecord.FromString(record.data)
            envelope = envelope_pb2.Envelope.FromString(entry.delivery.envelope)
            content = content_pb2.Content.FromString(envelope.body)
            if not done and content.fused.revision > 2:
                content.fused.launch.azimuth_deg += 10.0
                envelope.body = content.SerializeToString()
                entry.delivery.envelope = envelope.SerializeToString()
                done = True
            await new.append([NewRecord(INBOX, record.key, record.digest, entry.SerializeToString(), record.lane)])
        assert done
    finally:
        await old.close()
        await new.close()


async def test_a_nation_recomputes_what_the_hub_sent_it(
    world: World,
    reports: ModuleType,
    reporting: Reporting,
    watching: Watching,
    tmp_path: Path,
) -> None:
    data, kept = world.folder / "jpn" / "data", tmp_path / "kept"
    kept.mkdir()
    await fly(world, reports, reporting, watching, "first")
    code, out = await asyncio.to_thread(call, "fusion", "verify", "--data", data, "--keep", kept)
    assert code == Exit.OK, out
    assert "JPN: " in out
    agreed = int(out.rstrip().rpartition(" ")[2])
    assert agreed > 2

    # The hub begins again, then the gateway; in between more is reported.
    await asyncio.to_thread(world.hub.kill)
    await asyncio.to_thread(world.hub.start)
    await asyncio.to_thread(world.hub.wait)
    await fly(world, reports, reporting, watching, "second")
    settings = world.folder / "jpn" / "gateway.toml"
    code, out = await asyncio.to_thread(call, "fusion", "verify", "--settings", settings, "--json")
    found = json.loads(out)
    assert (code, found["pictures"]["differs"], found["pictures"]["passed over"]) == (Exit.OK, 0, 0), out
    assert found["pictures"]["agreed"] > agreed
    code, out = await asyncio.to_thread(call, "fusion", "verify", "--data", data, "--keep", kept, "--json")
    again = json.loads(out)
    assert (code, again["already"] > 0) == (Exit.OK, True), out
    assert again["pictures"]["agreed"] + agreed >= found["pictures"]["agreed"], "what the first run saw, and the rest"

    # What is exported leads to the same pictures, but for where they stand.
    code, out = await asyncio.to_thread(call, "fusion", "export", "--data", data)
    assert code == Exit.OK
    log = tmp_path / "LOG.jsonl"
    log.write_text(out, encoding="utf-8")
    code, out = await asyncio.to_thread(call, "fusion", "replay", log, "--recipient", "JPN")
    assert code == Exit.OK, out
    assert len(out.splitlines()) >= found["pictures"]["agreed"]

    # A picture that this log does not lead to.
    await asyncio.to_thread(world.gateways["JPN"].kill)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(data, tmp_path / "whole")
    await rewritten(tmp_path / "whole", copy)
    code, out = await asyncio.to_thread(call, "fusion", "verify", "--data", copy)
    assert code == Exit.CHECK_FAILED
    assert "differs: 1" in out
    assert "fused.launch.azimuth_deg: " in out


def test_where_nothing_can_be_read_it_is_wrong_usage(tmp_path: Path) -> None:
    assert call("fusion", "verify", "--data", tmp_path)[0] == Exit.USAGE
    assert call("fusion", "verify")[0] == Exit.USAGE
    assert call("fusion", "export", "--data", tmp_path)[0] == Exit.USAGE
