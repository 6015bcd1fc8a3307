"""A store is read beside the process that owns it: all that is durable, nothing that is not whole, and nobody waits."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.store import Corrupt, NewRecord, Unavailable
from broker.store.beside import Beside
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.store import Record

APPENDER = Path(__file__).with_name("appender.py")
STREAM = "log/KOR"
ENOUGH = 4_000
ROUNDS_MAX = 100_000


def data_of(name: str) -> bytes:
    spec = importlib.util.spec_from_file_location("appender", APPENDER)
    assert spec is not None
    assert spec.loader is not None
    appender = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(appender)
    data: bytes = appender.record(name).data
    return data


@pytest.fixture
def appending(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """Give a process that appends as fast as it can to a store, the store, and the file of what it acknowledged."""
    path, said = tmp_path / "s.sqlite", tmp_path / "said"
    with (
        said.open("wb") as output,
        subprocess.Popen([sys.executable, str(APPENDER), str(path), "run"], stdout=output) as process,  # noqa: S603
    ):
        while not said.stat().st_size:
            assert process.poll() is None
        yield process, path, said
        process.kill()


def read_on(store: Beside, after: int) -> list[Record]:
    """Return what there is past a position in the present view."""
    found: list[Record] = []
    while records := store.read(STREAM, after=after, limit=10_000).records:
        found += records
        after = records[-1].position
    return found


def times_of(path: Path) -> int:
    return path.stat().st_mtime_ns


@pytest.mark.timeout(120)
def test_a_reader_beside_a_busy_owner_sees_all_that_is_durable_and_the_owner_loses_nothing(
    appending: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    process, path, said = appending
    with pytest.raises(sqlite3.OperationalError, match="locked"), closing(sqlite3.connect(path, timeout=0)) as plain:
        plain.execute("SELECT count(*) FROM records")  # the control: nobody comes in by the door
    seen: list[Record] = []
    times = {times_of(path)}
    with Beside(path) as store:
        for _ in range(ROUNDS_MAX):
            acknowledged = said.read_bytes().rsplit(b"\n", 1)[0].count(b"\n") + 1
            store.refresh()
            seen += read_on(store, len(seen))
            times.add(times_of(path))
            assert len(seen) >= acknowledged, "what was acknowledged before the view was made stands in it"
            if len(seen) >= ENOUGH and len(times) > 1:
                break
    assert len(times) > 1, "the control: the database changed while it was read"
    assert process.poll() is None, "the control: the owner was at work to the end"
    assert [record.position for record in seen] == list(range(1, len(seen) + 1))
    assert [record.data for record in seen[:: ENOUGH // 20]] == [
        data_of(record.key.decode()) for record in seen[:: ENOUGH // 20]
    ]
    process.kill()
    process.wait()
    lines = said.read_text().split("\n")[:-1]
    assert asyncio.run(positions(path, len(seen), seen)) >= {tuple(line.split()) for line in lines}
    assert not list(path.parent.glob(".reading-*")), "no second name of the file is left"


async def positions(path: Path, count: int, seen: list[Record]) -> set[tuple[str, ...]]:
    store = await open_sqlite(path)
    records = await store.read(STREAM, after=0, limit=10_000_000)
    await store.close()
    assert records[:count] == seen, "what was read beside is what the owner stored"
    return {(record.key.decode(), str(record.position)) for record in records}


async def write(path: Path, count: int = 10) -> None:
    store = await open_sqlite(path)
    await store.append(
        [NewRecord(STREAM, b"%d" % number, bytes(32), b"x" * 100) for number in range(count)], state={"name": b"value"}
    )
    await store.close()


@pytest.mark.timeout(120)
def test_a_view_whose_file_changed_under_it_is_never_read_again(
    appending: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    _, path, _ = appending
    with Beside(path) as store:
        before, time_before = store.bounds(STREAM).last, times_of(path)
        while times_of(path) == time_before:
            time.sleep(0.01)
        assert store.bounds(STREAM).last > before


def test_a_store_that_nobody_has_open_is_read_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    asyncio.run(write(path))
    os.utime(path, ns=(1, 1))
    before = path.read_bytes()
    with Beside(path) as store:
        assert len(read_on(store, 0)) == 10
        assert (store.bounds(STREAM).first, store.bounds(STREAM).last) == (1, 10)
        assert store.state("na") == {"name": b"value"}
    assert path.read_bytes() == before
    assert times_of(path) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["s.sqlite", "s.sqlite.lock"]


def test_what_stands_only_in_the_log_of_a_killed_owner_is_read(
    appending: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    process, path, said = appending
    process.kill()
    process.wait()
    log = Path(f"{path}-wal").read_bytes()
    with Beside(path) as store:
        assert len(read_on(store, 0)) >= len(said.read_text().split("\n")) - 1
    assert Path(f"{path}-wal").read_bytes() == log, "recovering is the owner's"


def test_behind_a_symbolic_link_too_a_copy_of_the_log_is_read_and_not_the_owners(
    appending: tuple[subprocess.Popen[bytes], Path, Path], tmp_path: Path
) -> None:
    """SQLite keeps the log beside the file itself, and not beside a link to it, and follows links to it."""
    process, path, _ = appending
    process.kill()
    process.wait()
    assert Path(f"{path}-wal").stat().st_size, "the control: what was written last stands in the log"
    link = tmp_path / "linked" / "gateway.sqlite"
    link.parent.mkdir()
    link.symlink_to(path)
    with Beside(path) as store, Beside(link) as linked:
        assert linked.bounds(STREAM) == store.bounds(STREAM)
        assert store.bounds(STREAM).last
        opened = {str(each.resolve()) for each in Path("/proc/self/fd").iterdir()}
        assert f"{path}-wal" not in opened


def test_what_a_killed_reader_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """It has a second name of the database and a copy of its log: what the owner forgets would stay there."""
    path = tmp_path / "s.sqlite"
    asyncio.run(write(path))
    left, at_work = tmp_path / ".reading-left", tmp_path / ".reading-now"
    for folder in (left, at_work):
        folder.mkdir()
        os.link(path, folder / "view")
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    with Beside(path):
        assert (left.exists(), at_work.exists()) == (False, True)


def test_a_record_that_the_disk_changed_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    asyncio.run(write(path))
    with sqlite3.connect(path) as plain:
        plain.execute("UPDATE records SET data = x'00' WHERE place % 1099511627776 = 5")
    plain.close()
    with Beside(path) as store:
        assert len(store.read(STREAM, after=0, limit=100).records) == 4
        with pytest.raises(Corrupt):
            store.read(STREAM, after=4, limit=100)
        assert len(store.read(STREAM, after=5, limit=100).records) == 5


def test_what_is_no_store_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Beside(tmp_path / "none")
    (tmp_path / "text").write_text("not a database at all, however long this text may be made to go on" * 9)
    with pytest.raises((Unavailable, Corrupt)):
        Beside(tmp_path / "text")
