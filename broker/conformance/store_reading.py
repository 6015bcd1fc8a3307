"""The promises about reading: read, lanes, follow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker import limits
from broker.conformance.trying import STREAM, expect, new_record, opened, read_all, stored, take

if TYPE_CHECKING:
    from pathlib import Path

    from broker.store import Record, Store
    from broker.store.load import OpenStore

FOLLOWERS = 12


async def reads_are_cut_as_asked(open_store: OpenStore, path: Path) -> None:
    """Try that read returns as many as asked for while there are that many, past the position and no other."""
    async with opened(open_store, path) as store:
        await store.append([new_record(number) for number in range(1, 701)])
        for after, limit in ((0, 1), (0, 700), (0, 701), (699, 5), (700, 5), (900, 5), (13, 300), (5, 0)):
            positions = [record.position for record in await store.read(STREAM, after=after, limit=limit)]
            expect(positions, list(range(after + 1, min(after + limit, 700) + 1)), f"read({after}, {limit})")


async def lanes_are_read_apart(open_store: OpenStore, path: Path) -> None:
    """Try that a lane gives its own records, all of them, in the order of the stream; read and follow alike."""
    async with opened(open_store, path) as store:
        batch = [new_record(number, lane=3 if number % 50 == 0 else number % 2) for number in range(1, 1001)]
        await store.append(batch)
        for lane in (0, 1, 2, 3):
            promised = [stored(new, position) for position, new in enumerate(batch, 1) if new.lane == lane]
            expect(await read_all(store, STREAM, lane=lane, limit=7), promised, f"read of lane {lane}")
            followed = await take(store.follow(STREAM, after=0, lane=lane), len(promised))
            expect(followed, promised, f"follow of lane {lane}")
        late = [record.position for record in await store.read(STREAM, after=949, limit=9, lane=3)]
        expect(late, [950, 1000], "positions of lane 3 past 949")


async def the_seam_has_no_gap(open_store: OpenStore, path: Path) -> None:
    """Try that follow has no gap and no repeat between replay and live, while others append."""
    count = 3_000
    ends = {None: count + 2, 0: count + 1, 1: count + 2}  # the last two records, one in each lane
    followers: list[tuple[int, int | None, asyncio.Task[list[Record]]]] = []
    async with opened(open_store, path) as store:
        await _append_in_many_ways(store, range(400))  # so that there is something to replay
        async with asyncio.TaskGroup() as group:
            appending = group.create_task(_append_in_many_ways(store, range(400, count)))
            while not appending.done() or len(followers) < FOLLOWERS:
                if len(followers) < FOLLOWERS:
                    after = max(0, (await store.bounds(STREAM)).last - 60 * len(followers))
                    lane = (None, 0, 1)[len(followers) % 3]
                    taking = group.create_task(_follow_to(store, after=after, lane=lane, last=ends[lane]))
                    followers.append((after, lane, taking))
                await asyncio.sleep(0.001)
            await store.append([new_record(count, lane=0), new_record(count + 1, lane=1)])
        stored = await read_all(store, STREAM)
        expect([record.position for record in stored], list(range(1, count + 3)), "positions")
        for after, lane, taking in followers:
            promised = [record for record in stored[after:] if lane is None or record.lane == lane]
            positions = [record.position for record in promised]
            expect([record.position for record in taking.result()], positions, f"follow({after}, lane={lane})")
            expect(taking.result(), promised, f"records of follow({after}, lane={lane})")


async def _append_in_many_ways(store: Store, numbers: range) -> None:
    """Append in batches of one and of forty, several at once."""
    for start in range(0, len(numbers), 50):
        new = [new_record(number, lane=number % 2) for number in numbers[start : start + 50]]
        await asyncio.gather(store.append(new[10:]), *(store.append([one]) for one in new[:10]))


async def _follow_to(store: Store, *, after: int, lane: int | None, last: int) -> list[Record]:
    found: list[Record] = []
    async for record in store.follow(STREAM, after=after, lane=lane):
        found.append(record)
        if record.position == last:
            break
    return found


async def only_what_is_durable_is_seen(open_store: OpenStore, path: Path) -> None:
    """Try that a follower sees a record no later than its appender is answered, and never what was refused."""
    async with opened(open_store, path) as store:
        await store.append([new_record(0)])
        records = store.follow(STREAM, after=0)
        await anext(records)
        for number in range(1, 50):
            waiting = asyncio.ensure_future(anext(records))
            await store.append([new_record(0, data=b"conflict"), new_record(number)])
            expect(await waiting, stored(new_record(number), number + 1), f"record {number}")


async def a_slow_follower_misses_nothing(open_store: OpenStore, path: Path) -> None:
    """Try that a follower that stood still while thousands passed goes on where it was; nobody waits for it."""
    async with opened(open_store, path) as store:
        await store.append([new_record(0)])
        records = store.follow(STREAM, after=0)
        await anext(records)
        count = 3 * limits.RING_RECORDS_MAX
        for start in range(1, count, limits.APPEND_BATCH_MAX):
            await store.append(
                [new_record(number) for number in range(start, min(start + limits.APPEND_BATCH_MAX, count))]
            )
        positions = [record.position for record in await take(records, count - 1)]
        expect(positions, list(range(2, count + 1)), "positions")


READING = (
    reads_are_cut_as_asked,
    lanes_are_read_apart,
    the_seam_has_no_gap,
    only_what_is_durable_is_seen,
    a_slow_follower_misses_nothing,
)
