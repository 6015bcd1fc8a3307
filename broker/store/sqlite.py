"""The embedded store: one SQLite file, one connection, one thread, one fdatasync for everything that waits.

* Appends wait in a queue for the thread (`worker`), which commits all that wait as one group.
* Those who follow a stream live are fed from memory (`ring`) when a commit is answered; they never touch the disk.
* Reading is cut into turns of READ_BATCH records, so that no reader holds up an append.
* Cancelling an append only stops the waiting: what was queued is done.
* A full disk refuses each append with Full; reading goes on; when there is room the next append succeeds.
* A failed sync is NotDurable(maybe=True). The connection is kept: the next commit overwrites what was not synced.

`opening` says how the file is opened, `tables` what is in it, `plan` what an append means.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from broker import limits
from broker.store import Compacted, Corrupt
from broker.store.plan import Batch
from broker.store.ring import Rings
from broker.store.tables import Tables
from broker.store.worker import Append, Call, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from broker.store import Bounds, NewRecord, Record, Store, Written
    from broker.store.slice import Slice

T = TypeVar("T")


async def open_sqlite(path: Path) -> Store:
    """Open the store at a path, or make one. Raises Fenced, Unavailable, Full or Corrupt.

    The folder must exist. Beside the file stand `<path>-wal` while it is open, and `<path>.lock`. A store belongs to
    the event loop that opened it.
    """
    store = SqliteStore(path)
    await store.opened()
    return store


class SqliteStore:
    """See the module and the Store protocol."""

    def __init__(self, path: Path) -> None:
        """Start opening the file; `opened` tells when it can be used."""
        self._rings = Rings(self._read_turn)
        self._worker = Worker(path, self._rings.push)

    async def opened(self) -> None:
        """Wait until the store can be used. Raises what prevented it."""
        await asyncio.shield(self._worker.opened)

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        """Make a batch and its state durable, in one transaction with everybody else's that waits."""
        own = Batch(tuple(batch), dict(state or {}))
        own.check()
        answer: asyncio.Future[list[Written]] = asyncio.get_running_loop().create_future()
        self._worker.submit(Append(own, answer))
        return await answer

    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        """Return the records past a position; fewer than `limit` only at the end and before a corrupt one."""
        records: list[Record] = []
        while True:
            count = min(limit - len(records), limits.READ_BATCH)
            try:
                part = await self._call(partial(Tables.read, stream=stream, after=after, limit=count, lane=lane))
            except (Corrupt, Compacted):
                if not records:
                    raise
                return records  # who asks again, from where these end, is told
            records += part.records
            if not part.records or len(records) >= limit:
                return records
            after = part.through

    def follow(self, stream: str, *, after: int, lane: int | None = None) -> AsyncIterator[Record]:
        """Yield the records past a position, then each new one as it becomes durable."""
        return self._rings.follow(stream, after, lane)

    async def find(self, stream: str, key: bytes) -> Record | None:
        """Return the record of that key."""
        return await self._call(partial(Tables.find, stream=stream, key=key))

    async def state(self, prefix: str) -> dict[str, bytes]:
        """Return the named values whose name begins so."""
        return await self._call(partial(Tables.state, prefix=prefix))

    async def bounds(self, stream: str) -> Bounds:
        """Return where the stream begins and ends."""
        return await self._call(partial(Tables.bounds, stream=stream))

    async def streams(self, prefix: str) -> list[str]:
        """Return the names of the streams that begin so, sorted."""
        return await self._call(partial(Tables.streams, prefix=prefix))

    async def trim(self, stream: str, *, before: int) -> None:
        """Forget the records before a position, TRIM_BATCH of them between two commits of appends."""
        while True:
            more = await self._call(partial(Tables.trim, stream=stream, before=before))
            self._rings.forget(stream, before)
            if not more:
                return

    async def close(self) -> None:
        """Let what is under way finish, then close. Followers are told with Unavailable."""
        self._worker.close()
        self._rings.close()
        await asyncio.shield(self._worker.closed)

    async def _read_turn(self, stream: str, after: int, lane: int | None) -> Slice:
        return await self._call(partial(Tables.read, stream=stream, after=after, limit=limits.READ_BATCH, lane=lane))

    async def _call(self, run: Callable[[Tables], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        call: Call[T] = Call(run, answer)
        self._worker.submit(call)
        return await answer
