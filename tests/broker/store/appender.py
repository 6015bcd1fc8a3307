"""A process that appends until it is killed, and says on its standard output what was acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

from broker.store import NewRecord, Store
from broker.store.sqlite import open_sqlite

WRITERS = 8
BATCH = 3


def record(name: str) -> NewRecord:
    """Return the record of a name; the test computes the same."""
    data = name.encode() * 40
    return NewRecord("log/KOR", name.encode(), hashlib.sha256(data).digest(), data, len(name) % 2)


async def write(store: Store, name: str) -> None:
    number = 0
    while True:
        number += 1
        names = [f"{name}/{number}/{part}" for part in range(BATCH)]
        written = await store.append([record(one) for one in names], state={name: b"%d" % number})
        sys.stdout.write("".join(f"{one} {w.position}\n" for one, w in zip(names, written, strict=True)))
        sys.stdout.flush()


async def main() -> None:
    store = await open_sqlite(Path(sys.argv[1]))
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write(store, f"{sys.argv[2]}-{writer}"))


if __name__ == "__main__":
    asyncio.run(main())
