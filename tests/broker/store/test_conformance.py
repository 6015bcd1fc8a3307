"""Every store keeps every promise; and the suite notices when one does not."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from broker.conformance.error import ConformanceError
from broker.conformance.store import check_store
from broker.store import Bounds, Compacted, NewRecord, Outcome, Record, Store, Unavailable, Written
from broker.store.memory import Kept, MemoryStore, open_memory
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path


async def test_the_sqlite_store_passes_the_conformance_suite(tmp_path: Path) -> None:
    await check_store(open_sqlite, tmp_path)


async def test_the_memory_store_passes_the_conformance_suite(tmp_path: Path) -> None:
    disks: dict[Path, Kept] = defaultdict(Kept)

    async def open_kept(path: Path) -> Store:
        return await open_memory(disks[path])

    await check_store(open_kept, tmp_path)


# --- stores that break one promise each -------------------------------------------------------------------------------


class ForgetsWhatWasThere(MemoryStore):
    """Does not know a key again."""

    def _add(self, new: NewRecord) -> Written:
        if new.stream in self._kept.streams:
            self._kept.streams[new.stream].keys.pop(new.key, None)
        return super()._add(new)


class TakesConflictsForDuplicates(MemoryStore):
    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        written = await super().append(batch, state=state)
        return [Written(Outcome.DUPLICATE, w.position) if w.outcome is Outcome.CONFLICT else w for w in written]


class LosesStateOfDuplicates(MemoryStore):
    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        known = bool(batch) and all([await self.find(new.stream, new.key) is not None for new in batch])
        return await super().append(batch, state=None if known else state)


class WritesStateFirst(MemoryStore):
    """Cancelled in between, the state is there and the records are not."""

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        self._kept.state.update(state or {})
        return await super().append(batch)


class KeepsEmptyValues(MemoryStore):
    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        written = await super().append(batch, state=state)
        self._kept.state.update(state or {})
        return written


class HasAGapAtTheSeam(MemoryStore):
    async def follow(self, stream: str, *, after: int, lane: int | None = None) -> AsyncIterator[Record]:
        while True:
            part = await self.read(stream, after=after, limit=50, lane=lane)
            for record in part:
                yield record
            if not part:
                await self._news.wait()
            after = max(after, (await self.bounds(stream)).last if len(part) < 50 else part[-1].position)


class RepeatsAtTheSeam(MemoryStore):
    async def follow(self, stream: str, *, after: int, lane: int | None = None) -> AsyncIterator[Record]:
        async for record in super().follow(stream, after=max(0, after - 1), lane=lane):
            yield record


class IgnoresLanes(MemoryStore):
    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        del lane
        return await super().read(stream, after=after, limit=limit)


class ReadsFromThePositionItself(MemoryStore):
    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        return await super().read(stream, after=max(0, after - 1), limit=limit, lane=lane)


class SkipsWhatWasTrimmed(MemoryStore):
    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        try:
            return await super().read(stream, after=after, limit=limit, lane=lane)
        except Compacted as compacted:
            return await super().read(stream, after=compacted.first - 1, limit=limit, lane=lane)


class UsesPositionsAgain(MemoryStore):
    async def bounds(self, stream: str) -> Bounds:
        found = await super().bounds(stream)
        return found if found.records else Bounds()


class RemembersTrimmedKeys(MemoryStore):
    async def trim(self, stream: str, *, before: int) -> None:
        keys = dict(self._kept.streams[stream].keys) if stream in self._kept.streams else {}
        await super().trim(stream, before=before)
        if keys:
            self._kept.streams[stream].keys = keys


class AnswersWhenClosed(MemoryStore):
    def _check_open(self) -> None:
        return


class DropsWhatIsUnderWay(MemoryStore):
    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        written = await super().append(batch, state=state)
        if self._closed:
            raise Unavailable("closed")
        return written


@pytest.mark.parametrize(
    "broken",
    [
        ForgetsWhatWasThere,
        TakesConflictsForDuplicates,
        LosesStateOfDuplicates,
        WritesStateFirst,
        KeepsEmptyValues,
        HasAGapAtTheSeam,
        RepeatsAtTheSeam,
        IgnoresLanes,
        ReadsFromThePositionItself,
        SkipsWhatWasTrimmed,
        UsesPositionsAgain,
        RemembersTrimmedKeys,
        AnswersWhenClosed,
        DropsWhatIsUnderWay,
    ],
)
async def test_the_suite_notices_a_store_that_breaks_a_promise(tmp_path: Path, broken: type[MemoryStore]) -> None:
    disks: dict[Path, Kept] = defaultdict(Kept)

    async def open_broken(path: Path) -> Store:
        return broken(disks[path])

    with pytest.raises((ConformanceError, Unavailable)):
        await check_store(open_broken, tmp_path, patience_s=5)


async def test_the_suite_notices_a_store_that_keeps_nothing(tmp_path: Path) -> None:
    async def open_fresh(path: Path) -> Store:
        del path
        return await open_memory()

    with pytest.raises(ConformanceError, match="state goes with its batch"):
        await check_store(open_fresh, tmp_path)
