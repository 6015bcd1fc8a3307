"""What a disk changed comes back as an error or not at all; never as data."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from broker.store import Corrupt, NewRecord, Outcome, Record, Store, StoreError
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path

FLIPS = 250
FLIPS_SLOW = 10_000
STREAMS = ("log/KOR", "log/USA")


def new(stream: str, number: int) -> NewRecord:
    data = hashlib.shake_128(b"%d" % number).digest(number * 7 % 900)
    return NewRecord(stream, hashlib.sha256(b"%d" % number).digest(), hashlib.sha256(data).digest(), data, number % 2)


async def written(path: Path) -> bytes:
    """Return the file of a store with some of everything, closed in order."""
    store = await open_sqlite(path)
    for number in range(40):
        await store.append([new(stream, number) for stream in STREAMS], state={f"state/{number % 5}": b"%d" % number})
    await store.trim(STREAMS[1], before=9)
    await store.close()
    return path.read_bytes()  # noqa: ASYNC240 - nothing else runs here


async def everything(store: Store) -> dict[str, object]:
    """Return all that can be read, each thing by itself; what was refused is left out."""
    seen: dict[str, object] = {}
    for stream in STREAMS:
        bounds = await store.bounds(stream)
        seen[f"bounds of {stream}"] = bounds
        for lane in (None, 0, 1):
            after = bounds.first - 1
            try:
                while part := await store.read(stream, after=after, limit=7, lane=lane):
                    seen |= {f"{stream}[{record.position}]": record for record in part}
                    after = part[-1].position
                seen[f"end of {stream} in {lane}"] = after
            except Corrupt:
                continue
    with suppress(StoreError):
        seen["state"] = await store.state("")
    return seen


async def flip_and_read(path: Path, flips: int) -> tuple[int, int]:
    """Flip one bit at a time. Return how many were seen as errors, and how many changed nothing."""
    whole = await written(path)
    store = await open_sqlite(path)
    truth = await everything(store)
    await store.close()
    chance = random.Random(7)  # noqa: S311 - which bit
    detected = harmless = 0
    for _ in range(flips):
        flipped = bytearray(whole)
        bit = chance.randrange(len(whole) * 8)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)  # noqa: ASYNC240
        try:
            store = await open_sqlite(path)
        except StoreError:
            detected += 1
            continue
        try:
            seen = await everything(store)
        finally:
            await store.close()
        wrong = {name: value for name, value in seen.items() if truth.get(name) != value}
        assert not wrong, f"bit {bit} of byte {bit // 8}"
        detected += seen != truth
        harmless += seen == truth
    return detected, harmless


async def test_a_flipped_bit_is_never_returned_as_data(tmp_path: Path) -> None:
    detected, harmless = await flip_and_read(tmp_path / "store", FLIPS)
    assert detected > FLIPS // 4
    assert detected + harmless == FLIPS


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_many_flipped_bits_are_never_returned_as_data(tmp_path: Path) -> None:
    detected, harmless = await flip_and_read(tmp_path / "store", FLIPS_SLOW)
    assert detected + harmless == FLIPS_SLOW


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET data = zeroblob(5) WHERE place & 0xffff = 7",
        "UPDATE records SET lane = 1 - lane WHERE place & 0xffff = 7",
        "UPDATE records SET key = x'00' WHERE place & 0xffff = 7",
        "UPDATE records SET digest = x'00' WHERE place & 0xffff = 7",
        "UPDATE records SET before = 0 WHERE place & 0xffff = 7",
        "UPDATE records SET data = 'text' WHERE place & 0xffff = 7",
        "UPDATE records SET lane = 1.5 WHERE place & 0xffff = 7",
        "DELETE FROM records WHERE place & 0xffff = 7",
        # A whole record, in another's place.
        """UPDATE records SET (before, hash, key, digest, data) = (SELECT before, hash, key, digest, data FROM records
            WHERE place = (1 << 40) + 5) WHERE place & 0xffff = 7""",
    ],
)
async def test_a_changed_or_missing_record_is_corrupt_and_those_before_it_are_given(
    tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "store"
    await written(path)
    change(path, statement)
    store = await open_sqlite(path)
    assert [record.position for record in await store.read("log/KOR", after=0, limit=40)] == [1, 2, 3, 4, 5, 6]
    for lane in (None, 0):
        with pytest.raises(Corrupt):
            await store.read("log/KOR", after=6, limit=40, lane=lane)
    followed = store.follow("log/KOR", after=5)
    assert (await anext(followed)).position == 6
    with pytest.raises(Corrupt):
        await anext(followed)
    await store.close()


async def test_the_last_record_is_missed_too(tmp_path: Path) -> None:
    path = tmp_path / "store"
    await written(path)
    change(path, "DELETE FROM records WHERE place & 0xffff = 40")
    store = await open_sqlite(path)
    for lane in (None, 1):
        with pytest.raises(Corrupt):
            await store.read("log/KOR", after=39, limit=40, lane=lane)
    await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM state WHERE name = 'state/3'",
        "DELETE FROM streams WHERE name = 'log/USA'",
        "UPDATE state SET value = x'00' WHERE name = 'state/3'",
        "UPDATE streams SET head = (SELECT head FROM streams WHERE name = 'log/USA') WHERE name = 'log/KOR'",
        "UPDATE store SET totals = zeroblob(16)",
        "DELETE FROM store",
    ],
)
async def test_a_store_with_a_changed_or_missing_name_does_not_open(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "store"
    await written(path)
    change(path, statement)
    with pytest.raises(StoreError):
        await open_sqlite(path)


async def test_a_corrupt_record_does_not_hinder_the_appends_of_others(tmp_path: Path) -> None:
    path = tmp_path / "store"
    await written(path)
    change(path, "UPDATE records SET digest = x'00' WHERE place & 0xffff = 7")
    store = await open_sqlite(path)
    again, fresh = await asyncio.gather(
        store.append([new("log/KOR", 99), new("log/KOR", 6)], state={"no": b""}),
        store.append([new("log/KOR", 100)]),
        return_exceptions=True,
    )
    assert isinstance(again, Corrupt)  # and not a CONFLICT, which would be the disk's word against the sender's
    assert not isinstance(fresh, BaseException)
    assert (fresh[0].outcome, fresh[0].position) == (Outcome.APPENDED, 41)
    assert await store.state("no") == {}
    assert isinstance(await store.find("log/KOR", new("log/KOR", 100).key), Record)
    await store.close()


async def test_a_stream_that_cannot_be_written_does_not_hinder_the_others(tmp_path: Path) -> None:
    path = tmp_path / "store"
    await written(path)
    change(path, "UPDATE records SET place = place + 1 WHERE place = (1 << 40) + 40")  # where the next one belongs
    store = await open_sqlite(path)
    for number in (200, 300):
        damaged, *others = await asyncio.gather(
            store.append([new("log/KOR", number)], state={"no": b""}),
            *(store.append([new("log/USA", number + step)]) for step in range(3)),
            return_exceptions=True,
        )
        assert isinstance(damaged, Corrupt)
        assert not any(isinstance(other, BaseException) for other in others)
    assert (await store.bounds("log/USA")).last == 46
    assert await store.state("no") == {}
    await store.close()
