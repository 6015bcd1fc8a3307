"""The promises about what stays: state, trimming, many streams, a backlog, closing and opening again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.conformance.trying import STREAM, Broken, expect, new_record, opened, read_all, stored
from broker.store import Bounds, Compacted, Outcome, Store, Unavailable, Written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from broker.store.load import OpenStore

BACKLOG = 20_000


async def state_goes_with_its_batch(open_store: OpenStore, path: Path) -> None:
    """Try that named values are replaced with the batch, also by a batch without a record, and are found by prefix."""
    async with opened(open_store, path) as store:
        await store.append([new_record(1)], state={"cursor/KOR": b"1", "cursor/USA": b"1", "window": b"w"})
        await store.append([], state={"cursor/KOR": b"2"})
        await store.append([new_record(1)], state={"cursor/USA": b"3"})  # a duplicate: its state counts all the same
        expect(await store.state("cursor/"), {"cursor/KOR": b"2", "cursor/USA": b"3"}, "cursor/")
        expect(await store.state("window"), {"window": b"w"}, "window")
        expect(await store.state("x"), {}, "x")
    async with opened(open_store, path) as store:
        expect(sorted(await store.state("")), ["cursor/KOR", "cursor/USA", "window"], "names after opening again")


async def an_empty_value_forgets_its_name(open_store: OpenStore, path: Path) -> None:
    """Try that a named value can be forgotten, and given again, with a batch or without, also after opening again."""
    async with opened(open_store, path) as store:
        await store.append([new_record(1)], state={"held/1": b"1", "held/2": b"2", "never": b""})
        await store.append([new_record(2)], state={"held/1": b"", "held/3": b"3"})
        expect(await store.state(""), {"held/2": b"2", "held/3": b"3"}, "state after forgetting held/1")
        await asyncio.gather(store.append([], state={"held/2": b""}), store.append([], state={"held/2": b"again"}))
        await store.append([], state={"held/3": b""})
    async with opened(open_store, path) as store:
        expect(await store.state(""), {"held/2": b"again"}, "state after opening again")
        await store.append([], state={"held/1": b"1", "held/2": b""})
    async with opened(open_store, path) as store:
        expect(await store.state(""), {"held/1": b"1"}, "state after opening once more")


async def what_is_trimmed_is_compacted(open_store: OpenStore, path: Path) -> None:
    """Try that what was trimmed is forgotten with its keys; who asks for it is told Compacted; positions go on."""
    async with opened(open_store, path) as store:
        await store.append([new_record(number) for number in range(1, 1501)])
        await store.trim(STREAM, before=1401)
        await _expect_trimmed(store)
        await store.trim(STREAM, before=5)  # nothing comes back
        expect(await store.bounds(STREAM), Bounds(1401, 1500, 100), "bounds after an older trim")
    async with opened(open_store, path) as store:
        await _expect_trimmed(store)
        expect(await store.append([new_record(7)]), [Written(Outcome.APPENDED, 1501)], "append of a forgotten key")
        expect(await store.append([new_record(1450)]), [Written(Outcome.DUPLICATE, 1450)], "append of one that is left")
        await store.trim(STREAM, before=9_999)
        expect(await store.bounds(STREAM), Bounds(1502, 1501, 0), "bounds when nothing is left")
        expect(await store.streams("log/"), [STREAM], "streams")
    async with opened(open_store, path) as store:
        expect(
            await store.append([new_record(8)]),
            [Written(Outcome.APPENDED, 1502)],
            "append after all was trimmed",
        )
        expect(await store.read(STREAM, after=1501, limit=5), [stored(new_record(8), 1502)], "read of it")


async def _expect_trimmed(store: Store) -> None:
    expect(await store.bounds(STREAM), Bounds(1401, 1500, 100), "bounds")
    expect(len(await store.read(STREAM, after=1400, limit=500)), 100, "records left")
    expect(await store.find(STREAM, new_record(1400).key), None, "find of a trimmed one")
    for after in (0, 1399):
        for lane in (None, 0):
            try:
                await store.read(STREAM, after=after, limit=1, lane=lane)
            except Compacted as compacted:
                expect((compacted.stream, compacted.first), (STREAM, 1401), "what Compacted says")
            else:
                raise Broken(f"read({after}, lane={lane}) was answered, though {after + 1} is trimmed")
    try:
        await anext(store.follow(STREAM, after=0))
    except Compacted:
        return
    raise Broken("follow(0) went on, though 1 is trimmed")


async def many_streams_live_side_by_side(open_store: OpenStore, path: Path) -> None:
    """Try that many streams live in one store, listed by prefix and sorted."""
    names = [f"log/{number:03}" for number in range(200)] + ["outbox/KOR", "log"]
    async with opened(open_store, path) as store:
        batch = [new_record(number, stream=name) for number in range(5) for name in names]
        for start in range(0, len(batch), 100):
            await store.append(batch[start : start + 100])
    async with opened(open_store, path) as store:
        expect(await store.streams("log/"), names[:200], "streams of log/")
        expect(await store.streams(""), sorted(names), "all streams")
        for name in names:
            keys = [record.key for record in await store.read(name, after=0, limit=10)]
            expect(keys, [new_record(number).key for number in range(5)], f"keys of {name}")


async def a_backlog_is_kept(open_store: OpenStore, path: Path) -> None:
    """Try that a backlog of 20,000 records is there when the store is opened again, in order and by key."""
    numbers = range(1, BACKLOG + 1)
    async with opened(open_store, path) as store:
        for start in range(0, BACKLOG, 2_000):
            part = [new_record(number) for number in numbers[start : start + 2_000]]
            await asyncio.gather(*(store.append(part[cut : cut + 40]) for cut in range(0, len(part), 40)))
    async with opened(open_store, path) as store:
        expect(await store.bounds(STREAM), Bounds(1, BACKLOG, BACKLOG), "bounds")
        records = await read_all(store, STREAM)
        expect([record.position for record in records], list(numbers), "positions")
        expect({record.data for record in records}, {new_record(number).data for number in numbers}, "data")
        expect(
            await store.append([new_record(BACKLOG // 2)]), [Written(Outcome.DUPLICATE, BACKLOG // 2)], "append again"
        )
        expect((await store.append([new_record(0)]))[0].position, BACKLOG + 1, "the next position")


async def a_closed_store_says_so(open_store: OpenStore, path: Path) -> None:
    """Try that closing lets what is under way finish; afterwards everything raises Unavailable, followers too."""
    store = await open_store(path)
    await store.append([new_record(1)])
    records = store.follow(STREAM, after=0)
    await anext(records)
    waiting = asyncio.ensure_future(anext(records))
    await asyncio.sleep(0)
    appending = asyncio.ensure_future(store.append([new_record(2)]))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    expect((await appending)[0].position, 2, "the append that was under way")
    await asyncio.gather(waiting, return_exceptions=True)  # it may have got the second record, or not
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "append": lambda: store.append([new_record(3)]),
        "read": lambda: store.read(STREAM, after=0, limit=1),
        "find": lambda: store.find(STREAM, b""),
        "state": lambda: store.state(""),
        "bounds": lambda: store.bounds(STREAM),
        "streams": lambda: store.streams(""),
        "trim": lambda: store.trim(STREAM, before=1),
        "follow": lambda: anext(store.follow(STREAM, after=0)),
    }
    if waiting.exception() is None:
        calls["follow, under way"] = lambda: anext(records)
    for name, call in calls.items():
        try:
            await call()
        except Unavailable:
            continue
        raise Broken(f"{name} was answered by a closed store")
    async with opened(open_store, path) as again:
        expect((await again.bounds(STREAM)).last, 2, "the last position after opening again")


KEEPING = (
    state_goes_with_its_batch,
    an_empty_value_forgets_its_name,
    what_is_trimmed_is_compacted,
    many_streams_live_side_by_side,
    a_backlog_is_kept,
    a_closed_store_says_so,
)
