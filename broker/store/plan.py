"""What a group of batches will write, worked out by reading alone. No input or output but the `find` that is given.

A batch that cannot be planned, because what it asks for is corrupt, leaves the plan as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker import limits
from broker.store import NewRecord, Outcome, Record, Written
from broker.store.heads import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of append."""

    records: Sequence[NewRecord]
    state: Mapping[str, bytes]

    def check(self) -> None:
        """Raise ValueError when no store could take it: a bug of the caller, and never a reason to try again."""
        for new in self.records:
            if not 0 <= new.lane < limits.LANES_MAX:
                raise ValueError(f"lane {new.lane} is not in 0..{limits.LANES_MAX - 1}")
        sizes = [len(new.data) for new in self.records] + [len(value) for value in self.state.values()]
        if (largest := max(sizes, default=0)) > limits.RECORD_BYTES_MAX:
            raise ValueError(f"{largest} bytes in one record or value, at most {limits.RECORD_BYTES_MAX}")


@dataclass(slots=True)
class Plan:
    """What is to be written in one transaction. Heads are copies: those in force change after the commit."""

    known: Mapping[str, Head]  # the heads in force
    find: Callable[[str, bytes], Record | None]
    heads: dict[str, Head] = field(default_factory=dict)
    records: list[tuple[Record, int]] = field(default_factory=list)  # each with the one before it in its lane
    keys: dict[tuple[str, bytes], Record] = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)

    def add(self, batch: Batch) -> list[Written]:
        """Plan a batch, whole or not at all. Raises what `find` raises."""
        # What is stored is looked up first: only that can fail, and nothing is planned yet.
        stored = {(new.stream, new.key): self.find(new.stream, new.key) for new in batch.records}
        self.state |= batch.state
        return [self._add(new, stored[new.stream, new.key]) for new in batch.records]

    def _add(self, new: NewRecord, stored: Record | None) -> Written:
        # The group, and the batch itself, may hold a key twice.
        existing = stored or self.keys.get((new.stream, new.key))
        if existing is not None:
            same = existing.digest == new.digest
            return Written(Outcome.DUPLICATE if same else Outcome.CONFLICT, existing.position)
        head = self.heads.get(new.stream)
        if head is None:
            head = self.heads[new.stream] = self._head(new.stream)
        before = head.lanes.get(new.lane, 0)
        head.last += 1
        head.lanes[new.lane] = head.last
        record = Record(new.stream, head.last, new.key, new.digest, new.data, new.lane)
        self.records.append((record, before))
        self.keys[new.stream, new.key] = record
        return Written(Outcome.APPENDED, head.last)

    def _head(self, stream: str) -> Head:
        known = self.known.get(stream)
        # Streams are numbered 1, 2, 3 … and never removed.
        return Head(len(self.known.keys() | self.heads.keys()) + 1, stream) if known is None else known.copy()
