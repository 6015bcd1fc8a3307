"""A store in memory, for tests and simulations. Its promise of durability is void: it ends with the process.

All else is as promised, in the plainest way that could be right: the other stores are tried against it. What is kept
can be handed in, so that a process that "dies" in a test finds it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.store import Bounds, Compacted, NewRecord, Outcome, Record, Store, Unavailable, Written
from broker.store.plan import Batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


@dataclass(slots=True)
class Stream:
    """One stream: the records that are left, and how many were trimmed."""

    trimmed: int = 0
    records: list[Record] = field(default_factory=list)
    keys: dict[bytes, Record] = field(default_factory=dict)


@dataclass(slots=True)
class Kept:
    """What stands in a memory store; outlives it when it is handed to the next one."""

    streams: dict[str, Stream] = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)


async def open_memory(kept: Kept | None = None) -> Store:
    """Return a store, empty or with what an earlier one kept."""
    return MemoryStore(Kept() if kept is None else kept)


class MemoryStore:
    """See the module and the Store protocol."""

    def __init__(self, kept: Kept) -> None:
        """Take where things are kept."""
        self._kept = kept
        self._closed = False
        self._news = asyncio.Event()  # set once, at the next change; then there is another one

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        """Keep a batch and its state."""
        own = Batch(tuple(batch), dict(state or {}))
        own.check()
        self._check_open()
        await asyncio.sleep(0)  # as with a disk, others go on meanwhile; cancelled here, it has not happened
        answer = [self._add(new) for new in own.records]
        for name, value in own.state.items():
            if value:
                self._kept.state[name] = value
            else:
                self._kept.state.pop(name, None)
        self._wake()
        return answer

    def _add(self, new: NewRecord) -> Written:
        stream = self._kept.streams.get(new.stream, Stream())
        known = stream.keys.get(new.key)
        if known is not None:
            return Written(Outcome.DUPLICATE if known.digest == new.digest else Outcome.CONFLICT, known.position)
        position = stream.trimmed + len(stream.records) + 1
        record = Record(new.stream, position, new.key, new.digest, new.data, new.lane)
        stream.records.append(record)
        stream.keys[new.key] = record
        self._kept.streams[new.stream] = stream
        return Written(Outcome.APPENDED, position)

    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        """Return the records past a position."""
        self._check_open()
        await asyncio.sleep(0)
        kept = self._kept.streams.get(stream, Stream())
        if after < kept.trimmed:
            raise Compacted(stream, kept.trimmed + 1)
        past = (record for record in kept.records[after - kept.trimmed :] if lane is None or record.lane == lane)
        return [record for record, _ in zip(past, range(limit), strict=False)]

    async def follow(self, stream: str, *, after: int, lane: int | None = None) -> AsyncIterator[Record]:
        """Yield the records past a position, then each new one."""
        while True:
            news = self._news
            part = await self.read(stream, after=after, limit=1, lane=lane)
            if not part:
                await news.wait()
            for record in part:
                after = record.position
                yield record

    async def find(self, stream: str, key: bytes) -> Record | None:
        """Return the record of that key."""
        self._check_open()
        return self._kept.streams.get(stream, Stream()).keys.get(key)

    async def state(self, prefix: str) -> dict[str, bytes]:
        """Return the named values whose name begins so."""
        self._check_open()
        return {name: value for name, value in sorted(self._kept.state.items()) if name.startswith(prefix)}

    async def bounds(self, stream: str) -> Bounds:
        """Return where the stream begins and ends."""
        self._check_open()
        kept = self._kept.streams.get(stream, Stream())
        return Bounds(kept.trimmed + 1, kept.trimmed + len(kept.records), len(kept.records))

    async def streams(self, prefix: str) -> list[str]:
        """Return the names of the streams that begin so, sorted."""
        self._check_open()
        return sorted(name for name in self._kept.streams if name.startswith(prefix))

    async def trim(self, stream: str, *, before: int) -> None:
        """Forget the records before a position."""
        self._check_open()
        kept = self._kept.streams.get(stream, Stream())
        count = max(0, min(before - kept.trimmed - 1, len(kept.records)))
        for record in kept.records[:count]:
            del kept.keys[record.key]
        del kept.records[:count]
        kept.trimmed += count

    async def close(self) -> None:
        """Close; those who follow are told with Unavailable."""
        self._closed = True
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
