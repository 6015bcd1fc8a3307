"""What the promises of a store are tried with: records made from numbers, and a comparison that says what was seen."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from broker import limits
from broker.store import NewRecord, Record, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.store.load import OpenStore

STREAM = "log/KOR"
SHOWN_CHARS_MAX = 300


class Broken(Exception):  # noqa: N818 - it says what was seen
    """What was seen instead of what was promised."""


def expect(seen: object, promised: object, what: str) -> None:
    """Raise Broken unless what was seen is what was promised."""
    if seen != promised:
        raise Broken(f"{what}: promised {_short(promised)}, seen {_short(seen)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def new_record(number: int, *, stream: str = STREAM, lane: int = 0, data: bytes | None = None) -> NewRecord:
    """Return the record of a number: key, digest and data follow from it."""
    key = hashlib.sha256(b"key %d" % number).digest()
    data = b"data %d" % number if data is None else data
    return NewRecord(stream, key, hashlib.sha256(data).digest(), data, lane)


def stored(new: NewRecord, position: int) -> Record:
    """Return what a store gives back for it."""
    return Record(new.stream, position, new.key, new.digest, new.data, new.lane)


@asynccontextmanager
async def opened(open_store: OpenStore, path: Path) -> AsyncIterator[Store]:
    """Open a store and close it at the end."""
    store = await open_store(path)
    try:
        yield store
    finally:
        await store.close()


async def take(records: AsyncIterator[Record], count: int) -> list[Record]:
    """Return the next records of a follower."""
    return [await anext(records) for _ in range(count)]


async def read_all(
    store: Store, stream: str, *, lane: int | None = None, limit: int = limits.READ_BATCH
) -> list[Record]:
    """Read a stream as a reader does who catches up."""
    found: list[Record] = []
    after = 0
    while part := await store.read(stream, after=after, limit=limit, lane=lane):
        if part[-1].position <= after:
            raise Broken(f"read past {after} gave {part[-1].position}: a reader would never come to the end")
        found += part
        after = part[-1].position
    return found
