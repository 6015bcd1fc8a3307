"""The queue in front of a cursor: nothing twice, nothing missing, whatever is published when."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import limits
from broker.hub.route import GATEWAY_LANES, Follower, Routed, Router, log_of
from broker.store import NewRecord
from broker.store.memory import open_memory
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.store import Record, Store

LOG = log_of("JPN")


def record(number: int, lane: int) -> NewRecord:
    key = number.to_bytes(32, "big")
    return NewRecord(LOG, key, key, str(number).encode(), lane=lane)


async def store_with(store: Store, numbers: Sequence[int], lane: int) -> list[Routed]:
    written = await store.append([record(number, lane) for number in numbers])
    return [
        Routed(one.position, lane, str(number).encode(), stored_ns=1)
        for one, number in zip(written, numbers, strict=True)
    ]


async def drain(follower: Follower) -> list[list[int]]:
    """Take everything there is, by lane."""
    taken: list[list[int]] = [[] for _ in follower.lanes]
    while True:
        lane, records = await follower.take(most=limits.FRAME_MESSAGES_MAX)
        taken[lane] += [int(one.data) for one in records]
        if not records and follower.idle:
            return taken


async def test_a_queue_that_is_full_reads_on_from_the_store() -> None:
    store = await open_memory()
    router = Router(store)
    follower = router.attach("JPN", lanes=GATEWAY_LANES, cursors=(0, 0), head=0)
    assert await drain(follower) == [[], []]
    count = limits.QUEUE_RECORDS_MAX + 500
    for begin in range(0, count, 100):
        router.publish("JPN", await store_with(store, range(begin, begin + 100), 2))
    assert len(follower.lanes[1]) == limits.QUEUE_RECORDS_MAX
    assert follower.lanes[1].spilled_count == 1
    assert await drain(follower) == [[], list(range(begin + 100))]
    await store.close()


async def test_what_became_durable_and_was_told_to_nobody_is_found() -> None:
    store = await open_memory()
    router = Router(store)
    follower = router.attach("JPN", lanes=GATEWAY_LANES, cursors=(0, 0), head=0)
    assert await drain(follower) == [[], []]
    await store_with(store, [1], 1)
    router.publish("JPN", await store_with(store, [2], 1))
    assert await drain(follower) == [[1, 2], []]
    await store_with(store, [3], 1)
    router.missed("JPN")
    assert await drain(follower) == [[1, 2, 3][2:], []]
    await store.close()


async def test_a_log_that_was_trimmed_goes_on_where_it_begins() -> None:
    store = await open_memory()
    await store_with(store, range(100), 1)
    await store.trim(LOG, before=51)
    follower = Router(store).attach("JPN", lanes=GATEWAY_LANES, cursors=(0, 0), head=100)
    assert await drain(follower) == [list(range(50, 100)), []]
    await store.close()


async def test_a_frame_is_bounded_in_bytes_and_never_empty() -> None:
    store = await open_memory()
    router = Router(store)
    follower = router.attach("JPN", lanes=GATEWAY_LANES, cursors=(0, 0), head=0)
    await drain(follower)
    big = [Routed(position, 1, bytes(limits.FRAME_BYTES_MAX // 2 + 1)) for position in (1, 2, 3)]
    router.publish("JPN", big)
    for _ in big:
        _, taken = await follower.take(most=64)
        assert len(taken) == 1
    await store.close()


class Slow:
    """A real store whose reads stop half way: what they found is given only when they are let go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.found = asyncio.Event()
        self.go = asyncio.Event()

    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        found = await self._store.read(stream, after=after, limit=limit, lane=lane)
        self.found.set()
        await self.go.wait()
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_what_is_published_while_the_store_is_read_comes_after_what_was_read() -> None:
    store = await open_memory()
    slow = Slow(store)
    router = Router(cast("Store", slow))
    await store_with(store, [1, 2], 1)
    follower = router.attach("JPN", lanes=GATEWAY_LANES, cursors=(0, 0), head=2)
    taking = asyncio.create_task(follower.take(most=10))
    await slow.found.wait()
    router.publish("JPN", await store_with(store, [3, 4], 1))
    slow.go.set()
    await taking
    assert [int(one.data) for one in taking.result()[1]] == [1, 2, 3, 4]
    assert await drain(follower) == [[], []]
    await store.close()


class Short:
    """A real store that gives three records at a time: `limit` is a most, and a short answer is not the end."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        return await self._store.read(stream, after=after, limit=min(limit, 3), lane=lane)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_a_short_answer_of_the_store_is_not_taken_for_the_end() -> None:
    store = await open_memory()
    await store_with(store, range(20), 1)
    follower = Router(cast("Store", Short(store))).attach("JPN", lanes=GATEWAY_LANES, cursors=(0, 0), head=20)
    assert await drain(follower) == [list(range(20)), []]
    await store.close()


async def test_a_damaged_record_is_passed_over_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    store = await open_sqlite(path)
    await store_with(store, range(20), 1)
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as disk, disk:
        names = [row[0] for row in disk.execute("select name from sqlite_master where type = 'table'")]
        table = next(name for name in names if "data" in columns(disk, name))
        disk.execute(f"update {table} set data = cast('x' as blob) where data = cast('7' as blob)")  # noqa: S608
    store = await open_sqlite(path)
    follower = Router(store).attach("JPN", lanes=GATEWAY_LANES, cursors=(0, 0), head=20)
    assert await drain(follower) == [[number for number in range(20) if number != 7], []]
    await store.close()


def columns(disk: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in disk.execute(f"pragma table_info({table})")]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 2), st.integers(1, 40)),
        st.tuples(st.just("silently"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("take"), st.integers(1, 64), st.just(0)),
        st.tuples(st.just("resume"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("lanes", [GATEWAY_LANES, (None,)], ids=["two lanes", "whole log"])
@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_whatever_happens_when_nothing_comes_twice_and_nothing_is_missing(
    lanes: tuple[int | None, ...], steps: list[tuple[str, int, int]]
) -> None:
    asyncio.run(follow_through(lanes, steps))


async def follow_through(lanes: tuple[int | None, ...], steps: list[tuple[str, int, int]]) -> None:
    store = await open_memory()
    router = Router(store)
    cursors = [0] * len(lanes)
    follower = router.attach("JPN", lanes=lanes, cursors=cursors, head=0)
    made: dict[int, list[int]] = {1: [], 2: []}
    got: list[list[int]] = [[] for _ in lanes]
    number = 0

    async def take(most: int) -> bool:
        lane, records = await follower.take(most=most)
        got[lane] += [int(one.data) for one in records]
        if records:
            cursors[lane] = records[-1].position
        return bool(records) or not follower.idle

    for what, one, two in steps:
        if what in ("append", "silently"):
            numbers = range(number, number := number + two)
            made[one] += numbers
            routed = await store_with(store, numbers, one)
            if what == "append":
                router.publish("JPN", routed)
        elif what == "take":
            await take(one)
        else:
            router.detach(follower)
            follower = router.attach("JPN", lanes=lanes, cursors=cursors, head=number)
    router.missed("JPN")
    while await take(64):
        pass
    assert got == ([made[1], made[2]] if len(lanes) > 1 else [sorted(made[1] + made[2])])
    await store.close()
