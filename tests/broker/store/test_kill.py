"""kill -9 of a real process in the middle of appending: what it acknowledged is there, what is there is whole."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from broker.store import NewRecord, Record

APPENDER = Path(__file__).with_name("appender.py")
KILLS = 20
STORES_SLOW = 10


def appended(name: str) -> NewRecord:
    """Return what the appender stores under a name."""
    spec = importlib.util.spec_from_file_location("appender", APPENDER)
    assert spec is not None
    assert spec.loader is not None
    appender = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(appender)
    new: NewRecord = appender.record(name)
    return new


async def append_until_killed(path: Path, run: int, delay_s: float) -> dict[str, int]:
    """Start an appender, kill it, and return the position of each name that it said was durable."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(APPENDER), str(path), str(run), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    first = await asyncio.wait_for(process.stdout.readline(), 30)
    assert first
    await asyncio.sleep(delay_s)
    process.kill()
    lines = (first + await process.stdout.read()).decode().split("\n")[:-1]  # the last one may be torn, or is empty
    await process.wait()
    return {name: int(position) for name, position in (line.split() for line in lines)}


async def kill_and_check(path: Path, seed: int) -> int:
    """Kill one appender after the other on the same store; return how many records they acknowledged."""
    chance = random.Random(seed)  # noqa: S311 - when to kill
    acknowledged: dict[str, int] = {}
    names: dict[str, Record] = {}
    for run in range(KILLS):
        acknowledged |= await append_until_killed(path, run, chance.uniform(0, 0.15))
        store = await open_sqlite(path)
        try:
            records = await store.read("log/KOR", after=0, limit=1_000_000)
            state = await store.state("")
        finally:
            await store.close()
        names = {record.key.decode(): record for record in records}
        assert [record.position for record in records] == list(range(1, len(records) + 1))
        lost = {name: position for name, position in acknowledged.items() if name not in names}
        assert not lost
        assert all(names[name].position == position for name, position in acknowledged.items())
        for writer, number in state.items():  # whole batches, and the state that went with the last one
            theirs = [name for name in names if name.startswith(f"{writer}/")]
            assert len(theirs) == 3 * int(number)
    expected = appended("0-0/1/0")
    assert names[expected.key.decode()].data == expected.data
    return len(acknowledged)


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    assert await kill_and_check(tmp_path / "store", 5) > KILLS


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_process_killed_many_times_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    for seed in range(STORES_SLOW):
        assert await kill_and_check(tmp_path / f"store {seed}", seed) > KILLS
