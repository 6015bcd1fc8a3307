"""The nation's log, read from its inbox in the order that it has at the hub.

The inbox stands in the order of arrival. The two lanes come down apart, each in the log's order, so an urgent record
may stand before normal ones that precede it in the log. Both lanes are read side by side, each with a place of its own,
and merged by position: so it takes no more memory than two turns of reading, however long the log is.

* A hole in the positions is told: what was refused here, was damaged or is not kept any more.
* Where positions of a lane begin again, the hub has another log (`broker.hub.runs`): what follows is a log of its own.
* Urgent records past the last normal one with a hole before them came ahead of what is still on its way: they are left
  out.

The store is only read, beside the gateway that owns it or where none runs (`broker.store.beside`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from broker import limits
from broker.clock import nanoseconds
from broker.gateway.downlink import INBOX
from broker.store import Compacted, Corrupt
from vedette.v1 import envelope_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.store import Record
    from broker.store.beside import Beside
    from vedette.v1.exchange_pb2 import Delivery

__all__ = ["Entry", "Logbook"]

URGENT: Final = envelope_pb2.LANE_URGENT
NORMAL: Final = envelope_pb2.LANE_NORMAL


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the log."""

    part: int  # the how manieth log this is, from 0: it begins anew when the hub's did
    position: int  # in the hub's log of this nation
    is_after_hole: bool  # records of the log are missing before it
    received_ns: int  # by the gateway's clock
    delivery: Delivery


class Logbook:
    """See the module. `progress` is told after each turn how many records of how many were looked at."""

    def __init__(self, store: Beside, progress: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Take the inbox as it is now; what comes later is left for another time. Raises StoreError."""
        self._store = store
        self._bounds = store.bounds(INBOX)
        self._progress = progress
        self._done = 0
        self.unreadable: set[int] = set()  # positions of the inbox
        self.ahead = 0  # urgent records that were left out

    @property
    def is_partial(self) -> bool:
        """Return whether the inbox no longer has all that came."""
        return self._bounds.first > 1

    def __iter__(self) -> Iterator[Entry]:
        """Yield the log in order. Raises StoreError."""
        self._done = 0
        urgent, normal = self._lane(URGENT), self._lane(NORMAL)
        next_urgent, next_normal = next(urgent, None), next(normal, None)
        part, last = 0, 0
        while next_urgent is not None or next_normal is not None:
            if next_normal is None or (next_urgent is not None and _place(next_urgent) < _place(next_normal)):
                found, next_urgent = next_urgent, next(urgent, None)
            else:
                found, next_normal = next_normal, next(normal, None)
            assert found is not None  # noqa: S101 - for the type: one of the two was there
            if found.part > part:
                part, last = found.part, 0
            is_after_hole = found.position != last + 1
            if is_after_hole and next_normal is None and _lane_of(found.delivery) == URGENT and last:
                self.ahead += 1 + sum(1 for _ in urgent) + (next_urgent is not None)
                return
            yield Entry(part, found.position, is_after_hole, found.received_ns, found.delivery)
            last = found.position

    def _lane(self, lane: int) -> Iterator[Entry]:
        """Yield what came in one lane."""
        part, last = 0, 0
        for record in self._records():
            entry = journal_pb2.InboxRecord.FromString(record.data)
            if not entry.delivery.position or _lane_of(entry.delivery) != lane:
                continue  # a gap, or a picture that was drawn here
            position = int.from_bytes(entry.delivery.position, "big")
            if position <= last:
                part += 1
            last = position
            yield Entry(part, position, False, nanoseconds(entry.received_at), entry.delivery)

    def _records(self) -> Iterator[Record]:
        """Yield the inbox as it is; what cannot be read is noted and passed over."""
        after = self._bounds.first - 1
        while after < self._bounds.last:
            records: list[Record] = []
            try:
                found = self._store.read(INBOX, after=after, limit=limits.READ_BATCH)
            except Corrupt as damaged:
                if not after < damaged.position <= self._bounds.last:
                    raise
                self.unreadable.add(damaged.position)
                through = damaged.position
            except Compacted as compacted:  # forgotten meanwhile
                through = compacted.first - 1
            else:
                records, through = found.records, found.through
            for record in records:
                if record.position <= self._bounds.last:
                    yield record
            self._done += min(through, self._bounds.last) - after
            after = through
            self._progress(self._done, 2 * (self._bounds.last - self._bounds.first + 1))


def _place(entry: Entry) -> tuple[int, int]:
    return entry.part, entry.position


def _lane_of(delivery: Delivery) -> int:
    """Return the lane in which a record came; Ticks come in the normal one."""
    if delivery.WhichOneof("record") == "tick":
        return NORMAL
    try:
        envelope = envelope_pb2.Envelope.FromString(delivery.envelope)
        return envelope_pb2.RoutingHeader.FromString(envelope.header).lane
    except DecodeError:  # the gateway verified it: a fault of ours
        return NORMAL
