"""SQLite against the plainest store that could be right, over histories that hypothesis makes up."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.store import Bounds, NewRecord, Record, Store, StoreError
from broker.store.memory import Kept, open_memory
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")
STREAMS = ("a", "b/1", "b/2")
streams = st.sampled_from(STREAMS)
lanes = st.sampled_from((None, 0, 1))
positions = st.integers(0, 40)
new_records = st.builds(
    NewRecord,
    stream=streams,
    key=st.integers(0, 30).map(lambda number: b"key %d" % number),
    digest=st.sampled_from((b"1" * 32, b"2" * 32)),
    data=st.binary(max_size=20) | st.sampled_from((b"", b"x" * 300)),
    lane=st.integers(0, 1),
)
batches = st.lists(new_records, max_size=12)
states = st.dictionaries(st.sampled_from(("s", "s/1", "s/2", "t")), st.binary(max_size=8), max_size=2)


async def bounds(store: Store, stream: str) -> Bounds:
    return await store.bounds(stream)


async def read(store: Store, stream: str, after: int, limit: int, lane: int | None) -> list[Record]:
    return await store.read(stream, after=after, limit=limit, lane=lane)


class SqliteBesideMemory(RuleBasedStateMachine):
    """Both get the same calls; both must give the same answers, also after closing and after a crash."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.crashes = 0
        self.runner = asyncio.Runner()
        self.kept = Kept()
        self.path = self.folder / "store"
        self.sqlite = self.run(open_sqlite(self.path))
        self.memory = self.run(open_memory(self.kept))

    def run(self, work: Coroutine[None, None, T]) -> T:
        return self.runner.run(work)

    def both(self, call: Callable[[Store], Awaitable[object]]) -> None:
        async def answer(store: Store) -> object:
            try:
                return await call(store)
            except StoreError as error:
                return type(error), str(error)

        assert self.run(answer(self.sqlite)) == self.run(answer(self.memory))

    @rule(batch=batches, state=states)
    def append(self, batch: list[NewRecord], state: dict[str, bytes]) -> None:
        self.both(lambda store: store.append(batch, state=state))

    @rule(several=st.lists(batches, min_size=2, max_size=5))
    def append_at_once(self, several: list[list[NewRecord]]) -> None:
        self.both(lambda store: asyncio.gather(*(store.append(batch) for batch in several)))

    @rule(stream=streams, after=positions, limit=st.integers(0, 50), lane=lanes)
    def read(self, stream: str, after: int, limit: int, lane: int | None) -> None:
        self.both(partial(read, stream=stream, after=after, limit=limit, lane=lane))

    @rule(new=new_records)
    def find(self, new: NewRecord) -> None:
        self.both(lambda store: store.find(new.stream, new.key))

    @rule(stream=streams, before=positions)
    def trim(self, stream: str, before: int) -> None:
        self.both(lambda store: store.trim(stream, before=before))

    @rule()
    def close_and_open(self) -> None:
        self.run(self.sqlite.close())
        self.sqlite = self.run(open_sqlite(self.path))

    @rule()
    def crash(self) -> None:
        """What stands on the disk at this moment is all that is left."""
        self.crashes += 1
        after = self.folder / f"after crash {self.crashes}"
        shutil.copy(self.path, after)
        log = Path(f"{self.path}-wal")
        if log.exists():
            shutil.copy(log, f"{after}-wal")
        self.run(self.sqlite.close())
        self.path = after
        self.sqlite = self.run(open_sqlite(after))

    @invariant()
    def ends_agree(self) -> None:
        for stream in STREAMS:
            self.both(partial(bounds, stream=stream))
        self.both(lambda store: store.streams("b/"))
        self.both(lambda store: store.state("s/"))

    def teardown(self) -> None:
        for stream in STREAMS:
            first = self.run(self.memory.bounds(stream)).first
            for lane in (None, 0, 1):
                self.both(partial(read, stream=stream, after=first - 1, limit=999, lane=lane))
        self.run(self.sqlite.close())
        self.run(self.memory.close())
        self.runner.close()
        shutil.rmtree(self.folder)


TestSqliteIsTheModel = SqliteBesideMemory.TestCase
TestSqliteIsTheModel.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
