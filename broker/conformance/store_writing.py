"""The promises about writing: append, its answers, its bounds, its cancellation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker import limits
from broker.conformance.trying import STREAM, expect, new_record, opened, read_all, stored, take
from broker.store import Bounds, NewRecord, Outcome, Unavailable, Written

if TYPE_CHECKING:
    from pathlib import Path

    from broker.store.load import OpenStore


async def an_empty_store_is_empty(open_store: OpenStore, path: Path) -> None:
    """Try that what was never stored is not there."""
    async with opened(open_store, path) as store:
        expect(await store.bounds(STREAM), Bounds(1, 0, 0), "bounds")
        expect(await store.read(STREAM, after=0, limit=10), [], "read")
        expect(await store.find(STREAM, b"key"), None, "find")
        expect(await store.state(""), {}, "state")
        expect(await store.streams(""), [], "streams")
        await store.trim(STREAM, before=10)
        expect(await store.append([]), [], "append of nothing")
        expect(await store.bounds(STREAM), Bounds(1, 0, 0), "bounds after a trim of nothing")


async def positions_have_no_gap(open_store: OpenStore, path: Path) -> None:
    """Try that positions are 1, 2, 3 … in the order of the batch, for each stream of its own."""
    async with opened(open_store, path) as store:
        batch = [new_record(1), new_record(2, stream="b"), new_record(3), new_record(1, stream="b")]
        answer = await store.append(batch)
        expect(answer, [Written(Outcome.APPENDED, position) for position in (1, 1, 2, 2)], "answer")
        expect(await read_all(store, STREAM), [stored(batch[0], 1), stored(batch[2], 2)], STREAM)
        expect(await read_all(store, "b"), [stored(batch[1], 1), stored(batch[3], 2)], "b")
        expect(await store.bounds(STREAM), Bounds(1, 2, 2), "bounds")
        expect(await store.find("b", new_record(1).key), stored(batch[3], 2), "find")
        expect(await store.find("b", new_record(3).key), None, "find of a key of another stream")


async def append_is_idempotent(open_store: OpenStore, path: Path) -> None:
    """Try that the same key and digest again is a DUPLICATE with the old position, also within one batch."""
    async with opened(open_store, path) as store:
        await store.append([new_record(1), new_record(2)])
        answer = await store.append([new_record(2), new_record(3), new_record(3), new_record(1)])
        promised = [
            Written(Outcome.DUPLICATE, 2),
            Written(Outcome.APPENDED, 3),
            Written(Outcome.DUPLICATE, 3),
            Written(Outcome.DUPLICATE, 1),
        ]
        expect(answer, promised, "answer")
        expect(
            await read_all(store, STREAM),
            [stored(new_record(number), number) for number in (1, 2, 3)],
            "what is stored",
        )
        same = await asyncio.gather(*(store.append([new_record(9)]) for _ in range(20)))
        expect({written.position for (written,) in same}, {4}, "positions of twenty appends of one key at once")
        outcomes = [written.outcome for (written,) in same]
        expect(outcomes.count(Outcome.APPENDED), 1, "of twenty at once, those that were appended")


async def a_conflict_changes_nothing(open_store: OpenStore, path: Path) -> None:
    """Try that another digest under the same key is a CONFLICT: it changes nothing, the others are stored."""
    async with opened(open_store, path) as store:
        await store.append([new_record(1)])
        other, twice = new_record(1, data=b"another"), new_record(2, data=b"another")
        answer = await store.append([other, new_record(2), twice, new_record(3)], state={"a": b"1"})
        promised = [
            Written(Outcome.CONFLICT, 1),
            Written(Outcome.APPENDED, 2),
            Written(Outcome.CONFLICT, 2),
            Written(Outcome.APPENDED, 3),
        ]
        expect(answer, promised, "answer")
        expect(
            await read_all(store, STREAM),
            [stored(new_record(number), number) for number in (1, 2, 3)],
            "what is stored",
        )
        expect(await store.state(""), {"a": b"1"}, "the state of the batch")


async def bytes_come_back(open_store: OpenStore, path: Path) -> None:
    """Try that records of 0 bytes and of 1 MiB, keys of any bytes and names of any language come back as they were."""
    async with opened(open_store, path) as store:
        large = bytes(range(256)) * 4096
        batch = [
            NewRecord("통합 log", b"", b"", b"", 0),
            NewRecord("통합 log", b"\x00\xff", b"d", large, 1),
            NewRecord("통합 log", b"\x00", bytes(32), b"\x00", 0),
        ]
        await store.append(batch, state={"상태": large, "empty": b""})
        promised = [stored(new, position) for position, new in enumerate(batch, 1)]
        expect(await store.read("통합 log", after=0, limit=3), promised, "read")
        expect(await store.find("통합 log", b""), promised[0], "find of the empty key")
        expect(await store.state("상"), {"상태": large}, "state")
        expect(await take(store.follow("통합 log", after=0), 3), promised, "follow")


async def a_cancelled_append_is_whole_or_nothing(open_store: OpenStore, path: Path) -> None:
    """Try that an append that was cancelled has happened or not, with its state; doing it again is safe."""
    async with opened(open_store, path) as store:
        for number in range(0, 300, 3):
            batch = [new_record(number), new_record(number + 1), new_record(number + 2)]
            task = asyncio.ensure_future(store.append(batch, state={f"batch/{number}": b"done"}))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await store.append([new_record(10_000)])  # whatever was queued before it is done
        stored = {record.key for record in await read_all(store, STREAM)}
        states = await store.state("batch/")
        for number in range(0, 300, 3):
            there = [new_record(number + step).key in stored for step in range(3)]
            expect(there, [f"batch/{number}" in states] * 3, f"batch {number}, its records against its state")
            await store.append([new_record(number), new_record(number + 1), new_record(number + 2)])
        records = await read_all(store, STREAM)
        expect(len(records), 301, "records after doing all again")
        expect([record.position for record in records], list(range(1, 302)), "positions")


async def too_much_waiting_is_refused(open_store: OpenStore, path: Path) -> None:
    """Try that beyond APPEND_QUEUE_MAX appends are refused with Unavailable, and what was accepted is stored."""
    async with opened(open_store, path) as store:
        numbers = range(2 * limits.APPEND_QUEUE_MAX)
        answers = await asyncio.gather(
            *(store.append([new_record(number)]) for number in numbers), return_exceptions=True
        )
        refused = [number for number in numbers if isinstance(answers[number], BaseException)]
        expect({type(answers[number]) for number in refused} - {Unavailable}, set(), "other refusals")
        expect((await store.bounds(STREAM)).last, len(numbers) - len(refused), "records stored")
        expect((await store.append([new_record(-1)]))[0].outcome, Outcome.APPENDED, "append afterwards")


WRITING = (
    an_empty_store_is_empty,
    positions_have_no_gap,
    append_is_idempotent,
    a_conflict_changes_nothing,
    bytes_come_back,
    a_cancelled_append_is_whole_or_nothing,
    too_much_waiting_is_refused,
)
