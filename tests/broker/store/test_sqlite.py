"""What the SQLite store promises beyond the conformance suite: fences, modes, full disks, latency, opening at once."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.conformance.trying import STREAM, new_record, read_all
from broker.store import Fenced, Full, NotDurable, Outcome, StoreError, Unavailable
from broker.store.sqlite import SqliteStore, open_sqlite
from broker.store.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import asyncio, pathlib, sys
from broker.store.sqlite import open_sqlite
async def main():
    await open_sqlite(pathlib.Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_second_process_is_fenced_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "store"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(path), stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    with pytest.raises(Fenced, match="open in another process"):
        await open_sqlite(path)
    holder.kill()
    await holder.communicate()
    store = await open_sqlite(path)
    await store.close()


async def test_a_second_store_in_the_same_process_is_fenced_too(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store")
    with pytest.raises(Fenced, match="open in another process"):
        await open_sqlite(tmp_path / "store")
    assert (await store.append([new_record(1)]))[0].position == 1
    await store.close()


async def test_no_other_connection_can_write_or_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = await open_sqlite(path)
    await store.append([new_record(1)])
    shell = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        shell.execute("PRAGMA wal_checkpoint").fetchall()
    shell.close()
    await store.close()


async def test_a_store_whose_file_was_replaced_acknowledges_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = await open_sqlite(path)
    await store.append([new_record(1)])
    os.rename(path, tmp_path / "aside")  # noqa: PTH104 - as a restore does
    path.touch()
    for number in (2, 3):
        with pytest.raises(Fenced):
            await store.append([new_record(number)])
    await store.close()


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.touch(mode=0o666)
    before = os.umask(0)
    try:
        store = await open_sqlite(path)
        await store.append([new_record(1)])
    finally:
        os.umask(before)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}  # noqa: ASYNC240
    assert modes == {"store": 0o600, "store-wal": 0o600, "store.lock": 0o600}
    await store.close()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 100, b"x"])
async def test_another_kind_of_file_is_not_opened(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store"
    path.write_bytes(content)
    with pytest.raises(StoreError):
        await open_sqlite(path)
    assert path.read_bytes() == content


async def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await open_sqlite(tmp_path / "nowhere" / "store")


async def test_a_store_of_a_later_schema_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "store"
    await (await open_sqlite(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE store SET schema = 2")
    connection.close()
    with pytest.raises(Unavailable, match="schema 2"):
        await open_sqlite(path)
    store_of_ours = tmp_path / "other"  # the lock of the one refused is not kept, nor anything else
    await (await open_sqlite(store_of_ours)).close()


@pytest.mark.parametrize("lane", [-1, limits.LANES_MAX])
async def test_what_no_store_could_take_is_the_callers_mistake(tmp_path: Path, lane: int) -> None:
    store = await open_sqlite(tmp_path / "store")
    with pytest.raises(ValueError, match="lane"):
        await store.append([new_record(1, lane=lane)])
    with pytest.raises(ValueError, match="bytes"):
        await store.append([], state={"a": bytes(limits.RECORD_BYTES_MAX + 1)})
    await store.close()


async def test_a_live_follower_never_touches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "store")
    await store.opened()
    reads = 0
    read_turn = store._rings._read_slice

    async def counted(stream: str, after: int, lane: int | None) -> object:
        nonlocal reads
        reads += 1
        return await read_turn(stream, after, lane)

    monkeypatch.setattr(store._rings, "_read_slice", counted)
    followers = [store.follow(STREAM, after=0, lane=lane) for lane in (None, 0)]
    waiting = [asyncio.ensure_future(anext(follower)) for follower in followers]
    for number in range(500):
        await store.append([new_record(number)])
        await asyncio.gather(*waiting)
        waiting = [asyncio.ensure_future(anext(follower)) for follower in followers]
    assert reads == len(followers)
    await store.close()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_ring_is_bounded_and_goes_with_its_last_follower(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    await store.opened()
    await store.append([new_record(-1)])
    follower = store.follow(STREAM, after=0)
    await anext(follower)
    for start in range(0, 3 * limits.RING_RECORDS_MAX, 512):
        await store.append([new_record(number) for number in range(start, start + 512)])
    ring = store._rings._rings[STREAM]
    assert len(ring._records) == limits.RING_RECORDS_MAX
    for number in range(10):
        await store.append([new_record(100_000 + number, data=bytes(limits.RING_BYTES_MAX // 4 + number))])
    assert len(ring._records) == 3
    assert ring._volume <= limits.RING_BYTES_MAX
    await follower.aclose()  # type: ignore[attr-defined]
    assert store._rings._rings == {}
    await store.close()


async def test_appends_that_wait_together_share_one_sync(tmp_path: Path) -> None:
    """Two hundred at once take about as long as a few commits, not two hundred."""
    store = await open_sqlite(tmp_path / "store")
    await store.append([new_record(-1)])
    begun = time.perf_counter()
    for number in range(20):
        await store.append([new_record(number)])
    one_by_one_s = (time.perf_counter() - begun) / 20
    begun = time.perf_counter()
    await asyncio.gather(*(store.append([new_record(number)]) for number in range(1000, 1200)))
    together_s = time.perf_counter() - begun
    await store.close()
    assert together_s < 100 * one_by_one_s


async def test_beyond_its_bound_the_queue_refuses_at_once(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store")
    answers = await asyncio.gather(
        *(store.append([new_record(number)]) for number in range(limits.APPEND_QUEUE_MAX + 100)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(answer) for answer in refused] == [Unavailable] * 100
    await store.close()


async def test_a_trim_that_was_interrupted_is_still_complete_for_readers(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    await store.opened()
    await store.append([new_record(number) for number in range(1, 3 * limits.TRIM_BATCH)])
    first = 2 * limits.TRIM_BATCH + 1
    assert await store._call(partial(Tables.trim, stream=STREAM, before=first))  # one part of it
    left = first - limits.TRIM_BATCH // 2  # its row is still there
    await store.close()
    again = await open_sqlite(tmp_path / "store")
    assert (await again.bounds(STREAM)).first == first
    assert await again.find(STREAM, new_record(left).key) is None
    assert (await again.append([new_record(left)]))[0].outcome is Outcome.APPENDED
    await again.trim(STREAM, before=first)
    await again.close()
    with sqlite3.connect(tmp_path / "store") as connection:
        rows = connection.execute("SELECT count(*) FROM records").fetchone()[0]
    connection.close()
    assert rows == limits.TRIM_BATCH


async def test_the_log_is_checkpointed_when_idle(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = await open_sqlite(path)
    await store.append([new_record(number, data=bytes(100_000)) for number in range(20)])
    deadline = time.monotonic() + 10
    while path.stat().st_size <= 2_000_000 and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert path.stat().st_size > 2_000_000
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(  # noqa: S603
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S603, S607


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
async def test_a_full_disk_refuses_loses_nothing_and_recovers_by_itself(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    store = await open_sqlite(small_disk / "store")
    stored, refused = [], 0
    for number in range(200):
        try:
            await store.append([new_record(number, data=bytes(50_000))], state={"last": b"%d" % number})
            stored.append(number)
        except Full:
            refused += 1
        except NotDurable:  # nobody knows: then it may be there
            refused += 1
    assert stored
    assert refused
    keys = [new_record(number).key for number in stored]
    assert [record.key for record in await read_all(store, STREAM)] == keys  # reading goes on
    ballast.unlink()
    written = await store.append([new_record(number, data=bytes(50_000)) for number in (stored[-1], 1_000)])
    assert [one.outcome for one in written] == [Outcome.DUPLICATE, Outcome.APPENDED]
    await store.close()
    again = await open_sqlite(small_disk / "store")
    assert [record.key for record in await read_all(again, STREAM)] == [*keys, new_record(1_000).key]
    assert await again.state("last") == {"last": b"%d" % stored[-1]}
    await again.close()


async def test_a_log_with_a_broken_end_is_cut_there_and_nothing_wrong_is_read(tmp_path: Path) -> None:
    """Torn by a power loss in the middle of a commit: the records before it are whole."""
    path = tmp_path / "store"
    store = await open_sqlite(path)
    for number in range(20):
        await store.append([new_record(number)])
    whole, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()  # noqa: ASYNC240
    await store.close()
    for cut in range(0, len(log), 4999):
        torn = tmp_path / f"torn {cut}"
        torn.write_bytes(whole)
        Path(f"{torn}-wal").write_bytes(log[:cut])  # noqa: ASYNC240
        store = await open_sqlite(torn)
        records = await read_all(store, STREAM)
        assert [record.key for record in records] == [new_record(number).key for number in range(len(records))]
        assert (await store.append([new_record(99)]))[0].position == len(records) + 1
        await store.close()


@pytest.mark.slow
async def test_a_million_records_open_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = await open_sqlite(path)
    for start in range(0, 1_000_000, 5_000):
        numbers = range(start, start + 5_000)
        await asyncio.gather(
            *(store.append([new_record(n) for n in numbers[c : c + 500]]) for c in range(0, 5_000, 500))
        )
    await store.close()
    begun = time.perf_counter()
    store = await open_sqlite(path)
    opened_s = time.perf_counter() - begun
    await store.append([new_record(-1)])
    appended_s = time.perf_counter() - begun
    assert (await store.bounds(STREAM)).last == 1_000_001
    await store.close()
    assert opened_s < 0.3
    assert appended_s < 1.0
