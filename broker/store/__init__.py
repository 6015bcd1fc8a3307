"""The Store: what is acknowledged stands here first: the hub's logs; a gateway's intake, outbox, inbox, held messages.

A store holds any number of *streams*, named by text. In each, records have positions 1, 2, 3 … without a gap, in the
order in which they were made durable, and a *lane* by which they can be read apart.

Promises, which `broker.conformance.check_store` tries on every implementation:

* `append` returns only when its whole batch is durable: it survives kill -9 at once and, for `sqlite`, power loss.
  A batch and its state changes are all there or not at all. An empty value in the state forgets its name.
* Append is idempotent by (stream, key): the same digest again is a DUPLICATE with the old position; another digest is
  a CONFLICT and changes nothing. Neither disturbs the other records of the batch.
* A reader sees only what is durable, in order, without gaps; `follow` has no gap and no repeat between replay and live.
* Every record carries a hash over its stream, position, key and data, checked on each read: what the disk changed is
  reported as Corrupt, never returned.
* An append that was cancelled while under way has happened or not; doing it again is safe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = [
    "Bounds",
    "Compacted",
    "Corrupt",
    "Fenced",
    "Full",
    "NewRecord",
    "NotDurable",
    "Outcome",
    "Record",
    "Store",
    "StoreError",
    "Unavailable",
    "Written",
]


class StoreError(Exception):
    """The closed set of what can go wrong; nothing else leaves a store."""


class NotDurable(StoreError):  # noqa: N818 - the field's names say what is so
    """The batch is not known to be durable. `maybe`: it may be all the same; append it again with the same keys."""

    def __init__(self, detail: str, *, maybe: bool) -> None:
        """Say whether the outcome is unknown."""
        super().__init__(detail)
        self.maybe = maybe


class Full(StoreError):  # noqa: N818
    """No room on the disk. Nothing of the batch was stored; the store recovers by itself when there is room again."""


class Unavailable(StoreError):  # noqa: N818
    """The store cannot be reached, is closed or has too much waiting. Nothing of the batch was stored."""


class Corrupt(StoreError):  # noqa: N818
    """A record is not what was written. Never skipped silently: whoever reads decides."""

    def __init__(self, stream: str, position: int) -> None:
        """Name the record."""
        super().__init__(f"record {position} of {stream} does not match its hash; restore it from a backup")
        self.stream = stream
        self.position = position


class Compacted(StoreError):  # noqa: N818
    """The position asked for was trimmed away; `first` is the oldest that is left."""

    def __init__(self, stream: str, first: int) -> None:
        """Name the oldest position left."""
        super().__init__(f"{stream} begins at {first}")
        self.stream = stream
        self.first = first


class Fenced(StoreError):  # noqa: N818
    """Another process has taken this store over."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What is to be stored: opaque bytes under a key that is theirs for ever within the stream."""

    stream: str
    key: bytes
    digest: bytes  # 32 bytes: what the key stands for
    data: bytes
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What was stored."""

    stream: str
    position: int
    key: bytes
    digest: bytes
    data: bytes
    lane: int


class Outcome(Enum):
    """What became of one record of a batch."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Written:
    """The answer for one record of a batch: where it stands, or for a CONFLICT where the other one does."""

    outcome: Outcome
    position: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The oldest position that is left and the newest durable one; (1, 0) when nothing was ever stored."""

    first: int = 1
    last: int = 0
    records: int = field(default=0)


class Store(Protocol):
    """See the module's promises. Safe to use from one event loop.

    Every method raises StoreError and nothing else, but for a ValueError where the caller asks for what no store could
    keep: a lane outside 0..15, a record beyond the limit.
    """

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        """Make the batch durable, together with small named values that are replaced (cursors, windows).

        An empty value forgets the name: `state` does not return it any more, and it takes no room.
        """

    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        """Return at most `limit` records past a position, in order. Raises Compacted when `after` + 1 was trimmed."""

    def follow(self, stream: str, *, after: int, lane: int | None = None) -> AsyncIterator[Record]:
        """Yield the records past a position, then each new one as it becomes durable, for ever."""

    async def find(self, stream: str, key: bytes) -> Record | None:
        """Return the record of that key."""

    async def state(self, prefix: str) -> dict[str, bytes]:
        """Return the named values whose name begins so."""

    async def bounds(self, stream: str) -> Bounds:
        """Return where the stream begins and ends."""

    async def streams(self, prefix: str) -> list[str]:
        """Return the names of the streams that begin so, sorted."""

    async def trim(self, stream: str, *, before: int) -> None:
        """Forget the records before a position. Their keys are forgotten with them."""

    async def close(self) -> None:
        """Let what is under way finish, then close. Afterwards everything raises Unavailable."""
