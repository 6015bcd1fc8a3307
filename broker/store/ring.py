"""Recent records in memory, so that whoever follows a stream live never waits for the disk, nor the disk for them.

One ring for each stream that somebody follows, shared by all who follow it, bounded in records and bytes. A follower
holds a position and nothing else. What has left the ring is read from the store: a slow follower costs reads of its
own and delays nobody.

No gap and no repeat at the seam: a follower enters the ring first and reads then. What was durable before the read is
in its answer; what became durable after it is pushed into the ring; positions tell which of it was seen already.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker import limits
from broker.store import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from broker.store import Record
    from broker.store.slice import Slice


class Ring:
    """The newest records of one stream, contiguous."""

    def __init__(self) -> None:
        """Begin empty: what came before is in the store."""
        self.followers = 0
        self.newest = 0
        self.news = asyncio.Event()  # set once, at the next change; then there is another one
        self._records: dict[int, Record] = {}
        self._volume = 0

    def get(self, position: int) -> Record | None:
        """Return the record if it is still here."""
        return self._records.get(position)

    def push(self, record: Record) -> None:
        """Add the next record; the oldest leave when there are too many."""
        self._records[record.position] = record
        self._volume += len(record.data)
        self.newest = record.position
        while len(self._records) > limits.RING_RECORDS_MAX or self._volume > limits.RING_BYTES_MAX:
            self._drop_oldest()

    def forget(self, before: int) -> None:
        """Drop the records before a position: they were trimmed."""
        while self._records and next(iter(self._records)) < before:
            self._drop_oldest()

    def wake(self) -> None:
        """Let everybody look again who waits for news."""
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _drop_oldest(self) -> None:
        self._volume -= len(self._records.pop(next(iter(self._records))).data)


class Rings:
    """The rings of a store and those who follow them. To be used on the event loop alone."""

    def __init__(self, read_slice: Callable[[str, int, int | None], Awaitable[Slice]]) -> None:
        """Take how to read records (stream, after, lane) that are no longer in memory."""
        self._read_slice = read_slice
        self._rings: dict[str, Ring] = {}
        self._closed = False

    def push(self, records: Iterable[Record]) -> None:
        """Hand new durable records, in order, to those who follow."""
        changed: set[Ring] = set()
        for record in records:
            ring = self._rings.get(record.stream)
            if ring is not None:
                ring.push(record)
                changed.add(ring)
        for ring in changed:
            ring.wake()

    def forget(self, stream: str, before: int) -> None:
        """Let nobody read from memory what was trimmed."""
        ring = self._rings.get(stream)
        if ring is not None:
            ring.forget(before)

    def close(self) -> None:
        """Tell everybody who waits that nothing more will come."""
        self._closed = True
        for ring in self._rings.values():
            ring.wake()

    async def follow(self, stream: str, after: int, lane: int | None) -> AsyncIterator[Record]:
        """Yield the records past a position, then each new one."""
        ring = self._rings.setdefault(stream, Ring())
        ring.followers += 1
        try:
            async for record in self._follow(ring, stream, after, lane):
                yield record
        finally:
            ring.followers -= 1
            if not ring.followers:
                del self._rings[stream]

    async def _follow(self, ring: Ring, stream: str, after: int, lane: int | None) -> AsyncIterator[Record]:
        through, at_end = after, False
        while not self._closed:
            record = ring.get(through + 1)
            if record is not None:
                through += 1
                if lane is None or record.lane == lane:
                    yield record
            elif at_end and ring.newest <= through:
                await ring.news.wait()  # nothing can come between looking and waiting: there is no await there
            else:
                part = await self._read_slice(stream, through, lane)
                for record in part.records:
                    yield record
                through, at_end = part.through, part.at_end
        raise Unavailable("the store was closed")
