"""Step 7: what is durable goes to whoever follows the recipient's log. A slow or dead follower delays nobody.

Each follower has, per lane, a bounded queue in memory in front of its cursor in the store. While it keeps up, a record
goes from the commit straight into the queue. When the queue is full the lane *spills*: new records are left in the
store, and the lane reads on from its cursor there until it has caught up. Starting, resuming and catching up are the
same thing: a lane begins spilled. Nothing is lost by spilling, and putting a record into a queue never waits.

A national gateway follows two lanes, urgent first, each with a cursor of its own. The fusion process follows both as
one, in the order of the log, because the picture is a function of that order.

No gap at the seam: positions in a log have none, records are published in their order, and a lane that finds the next
published position not to follow the last one spills, and so fetches from the store what it was not told of.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.store import Compacted, Corrupt
from vedette.v1.envelope_pb2 import Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.store import Record, Store

log = logging.getLogger(__name__)

LOG_PREFIX: Final = "log/"
GATEWAY_LANES: Final[tuple[int, ...]] = (Lane.LANE_URGENT, Lane.LANE_NORMAL)


def log_of(recipient: str) -> str:
    """Return the name of a recipient's log in the store."""
    return LOG_PREFIX + recipient


@dataclass(frozen=True, slots=True)
class Routed:
    """A durable record on its way to a follower."""

    position: int
    lane: int
    data: bytes  # a Delivery without position and resume
    stored_ns: int | None = None  # wall; None when it was read back from the store
    labels: tuple[str, str, str, str] | None = None  # origin, recipient, precedence, mode: for metrics, while fresh


class LaneQueue:
    """One lane of one follower: a bounded queue in memory, and behind it the store."""

    def __init__(self, store: Store, stream: str, *, lane: int | None, after: int) -> None:
        self._store, self._stream = store, stream
        self.lane = lane  # None: every lane, in the order of the log
        self._waiting: deque[Routed] = deque()
        self._tail = after  # everything of this lane up to here was queued
        self._spilled = True
        self.spilled_count = 0  # how often the queue was full, since metrics asked last

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """True when there is nothing to send, here or in the store."""
        return not self._waiting and not self._spilled

    def offer(self, record: Routed) -> None:
        """Take a new record, or leave it in the store. Never waits."""
        if self._spilled or record.position <= self._tail or self.lane not in (None, record.lane):
            return
        if len(self._waiting) >= limits.QUEUE_RECORDS_MAX:
            self.spill()
            self.spilled_count += 1
            return
        self._waiting.append(record)
        self._tail = record.position

    def spill(self) -> None:
        """Read on from the store, because something was not told us."""
        self._spilled = True

    async def take(self, *, most: int, bytes_most: int) -> list[Routed]:
        """Return what is next: at most so many records and bytes, but at least one if there is any."""
        if not self._waiting and self._spilled:
            await self._refill()
        taken: list[Routed] = []
        size = 0
        while self._waiting and len(taken) < most:
            size += len(self._waiting[0].data)
            if taken and size > bytes_most:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _refill(self) -> None:
        """Read on from the store. What is published meanwhile is queued behind, unless the store still has more."""
        after, self._spilled = self._tail, False
        try:
            found = await self._store.read(self._stream, after=after, limit=limits.READ_BATCH, lane=self.lane)
            complete = await self._nothing_between(found)
        except Compacted as gone:
            log.warning("records before %d of %s are gone; going on from there", gone.first, self._stream)
            self._rewind(max(after, gone.first - 1))
        except Corrupt:
            self._rewind(after)
            await self._read_past()
        except BaseException:
            self._rewind(after)
            raise
        else:
            self._take_over(found, complete=complete)

    async def _nothing_between(self, found: Sequence[Record]) -> bool:
        """Whether the store has nothing between what was read and what was queued meanwhile.

        A short answer of the store is not enough to say so: it also ends before a damaged record.
        """
        if not found or len(found) == limits.READ_BATCH:
            return not found
        further = await self._store.read(self._stream, after=found[-1].position, limit=1, lane=self.lane)
        return not further or (bool(self._waiting) and further[0].position >= self._waiting[0].position)

    async def _read_past(self) -> None:
        """Read one record, or skip it, loudly, if it is damaged: the recipient sees the gap in the origin's numbers."""
        try:
            found = await self._store.read(self._stream, after=self._tail, limit=1, lane=self.lane)
        except Corrupt as damaged:
            log.critical("record %d of %s is damaged and was not delivered", damaged.position, self._stream)
            self._tail = damaged.position
        else:
            self._take_over(found, complete=False)

    def _take_over(self, found: Sequence[Record], *, complete: bool) -> None:
        read = [Routed(record.position, record.lane, record.data) for record in found]
        if complete:
            last = read[-1].position if read else 0
            read += [record for record in self._waiting if record.position > last]
        else:
            self._spilled = True
        if read:
            self._tail = read[-1].position
        self._waiting = deque(read)

    def _rewind(self, after: int) -> None:
        """Forget what was queued while reading: it is in the store, behind what could not be read."""
        self._waiting.clear()
        self._tail = after
        self._spilled = True


class Follower:
    """Somebody who follows a log: a national gateway, or the fusion process."""

    def __init__(
        self, store: Store, recipient: str, *, lanes: Sequence[int | None], cursors: Sequence[int], head: int
    ) -> None:
        self.recipient = recipient
        self.head = head  # where the log ended when it began to follow
        self.wake = asyncio.Event()  # there may be something to take
        self.delivered = min(cursors)  # up to here the follower has said that it holds everything
        self.national = len(lanes) > 1
        stream = log_of(recipient)
        self.lanes = [
            LaneQueue(store, stream, lane=lane, after=after) for lane, after in zip(lanes, cursors, strict=True)
        ]

    @property
    def idle(self) -> bool:
        """True when there is nothing to send, here or in the store."""
        return all(lane.idle for lane in self.lanes)

    @property
    def may_linger(self) -> bool:
        """True when a few records wait in the last lane, and nothing in those before it."""
        return all(lane.idle for lane in self.lanes[:-1]) and 0 < len(self.lanes[-1]) < limits.FRAME_MESSAGES_MAX

    async def take(self, *, most: int) -> tuple[int, list[Routed]]:
        """Return the number of a lane and what is next in it; the first lane first. Empty when there is nothing."""
        for number, lane in enumerate(self.lanes):
            taken = await lane.take(most=most, bytes_most=limits.FRAME_BYTES_MAX)
            if taken:
                return number, taken
        return 0, []

    def offer(self, records: Sequence[Routed]) -> None:
        """Take new records, in their order. Never waits."""
        for lane in self.lanes:
            for record in records:
                lane.offer(record)
        self.wake.set()

    def spill(self) -> None:
        """Have every lane read on from the store."""
        for lane in self.lanes:
            lane.spill()
        self.wake.set()


class Router:
    """Who follows which log. Told of every record, in the order of the log, once it is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[str, list[Follower]] = {}
        self.heads: dict[str, int] = {}  # the newest position published of each log, as far as this process knows

    def attach(self, recipient: str, *, lanes: Sequence[int | None], cursors: Sequence[int], head: int) -> Follower:
        """Return a new follower, which gets everything past its cursors; `head` is where the log ends now."""
        follower = Follower(self._store, recipient, lanes=lanes, cursors=cursors, head=head)
        self.heads.setdefault(recipient, head)
        self._followers.setdefault(recipient, []).append(follower)
        return follower

    def detach(self, follower: Follower) -> None:
        """Forget a follower."""
        self._followers[follower.recipient].remove(follower)

    def followers(self, recipient: str) -> Sequence[Follower]:
        """Return who follows a log now."""
        return self._followers.get(recipient, ())

    def publish(self, recipient: str, records: Sequence[Routed]) -> None:
        """Pass on what has just become durable in a log."""
        head = self.heads.get(recipient)
        complete = head is not None and records[0].position == head + 1
        self.heads[recipient] = records[-1].position
        for follower in self.followers(recipient):
            if not complete:
                follower.spill()
            follower.offer(records)

    def missed(self, recipient: str) -> None:
        """Have the followers of a log look into the store: something became durable there and nobody was told."""
        for follower in self.followers(recipient):
            follower.spill()
