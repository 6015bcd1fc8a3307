"""Step 9: everything that the nation received goes to any number of watchers, each at its own pace.

A watcher reads the inbox from its own position: first what it missed, marked CATCHING_UP, then live. It holds nobody
up, and nobody holds it up: a stopped one keeps only its place in the store. While it catches up no alarm is told; when
it is there, what holds then is told once, so that nobody is woken for a launch that was cancelled meanwhile. An alarm
waits for that a second from its own arrival and no longer: in doubt, alarm (`broker.gateway.siren`). For this the inbox
is read ahead of the watcher, so that a slow one is not woken for what was taken back long ago either; and what the
gateway has in its hands at that moment is brought into the inbox first, if the disk lets it in time. Who comes back
after longer than anything is kept is told of the gap first, and goes on from the oldest that is left.

What is told of alarms never waits in a queue, where the next warning could overtake it: it is read from the book at the
moment at which it goes out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import exercise_ns, nanoseconds, timestamp
from broker.gateway.alarm import impact_is_past
from broker.gateway.downlink import INBOX
from broker.gateway.retention import last_forgotten
from broker.gateway.siren import Siren
from broker.refusal import Reason, Refused
from broker.stages import Leg, labels_of
from broker.store import Compacted, Corrupt, StoreError
from vedette.v1 import content_pb2, envelope_pb2, journal_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from broker.clock import Clock
    from broker.gateway.link import LinkState
    from broker.stages import Metrics
    from broker.store import Record, Store

POSITION_BYTES: Final = 8

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Delivery:
    """The watch side of a gateway."""

    store: Store
    link: LinkState
    live: asyncio.Event  # the downlink is at the head of our log
    clock: Clock
    metrics: Metrics
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a frame is on its way into the inbox
    _watches: set[_Watch] = field(default_factory=set)

    async def watch(self, request: national_pb2.WatchRequest, mode: int) -> AsyncIterator[national_pb2.WatchResponse]:
        """Yield everything of one mode, for ever.

        Raises Refused for a position that was never given out, and with UNAVAILABLE where the store fails: whoever
        comes back with its last position misses nothing.
        """
        try:
            async with contextlib.aclosing(self._watch(request, mode)) as responses:
                async for response in responses:
                    yield response
        except StoreError as error:
            log.error("a watch ended: %s", error)  # noqa: TRY400 - it says which record; a trace says no more
            raise Refused(Reason.REASON_UNAVAILABLE, "the inbox cannot be read now; resume in a moment") from error

    async def _watch(
        self, request: national_pb2.WatchRequest, mode: int
    ) -> AsyncGenerator[national_pb2.WatchResponse, None]:
        bounds = await self.store.bounds(INBOX)
        after = bounds.last if request.live_only else _position(request.resume_after, bounds.first, bounds.last)
        watch = _Watch(self, mode, after=max(after, bounds.first - 1), head=bounds.last)
        if request.resume_after and not request.live_only:
            watch.tell_forgotten(after, min(await last_forgotten(self.store, mode), bounds.first - 1))
        self._watches.add(watch)
        self.metrics.watchers.set(len(self._watches))
        try:
            async for response in watch.run():
                yield response
        finally:
            self._watches.discard(watch)
            self.metrics.watchers.set(len(self._watches))
            await watch.stop()


class _Watch:
    """One watcher: its place in the inbox, and what it was told of alarms."""

    def __init__(self, delivery: Delivery, mode: int, *, after: int, head: int) -> None:
        self._delivery = delivery
        self.mode = mode
        self._position = after
        self._head = head
        self._siren = Siren(after)
        self._link: national_pb2.LinkStatus | None = None  # a change to tell; the newest says it all
        self._wake = asyncio.Event()
        self._records: asyncio.Queue[Record | national_pb2.Gap] = asyncio.Queue(maxsize=limits.FRAME_MESSAGES_MAX)
        self._tasks: list[asyncio.Task[None]] = []
        self._catching_up: list[asyncio.Task[None]] = []  # while we are behind

    def tell_forgotten(self, after: int, last: int) -> None:
        """Have the watcher told that what it would be shown next, up to the last position, is not kept any more."""
        if after < last:
            self._records.put_nowait(national_pb2.Gap(first_missing=after + 1, last_missing=last))
            self._wake.set()

    async def run(self) -> AsyncIterator[national_pb2.WatchResponse]:
        since_ns = self._delivery.link.since_ns
        yield self._stamped(national_pb2.WatchResponse(link=self._link_status()))
        await self._recall()
        self._tasks = [
            asyncio.create_task(self._read(), name="watch-read"),
            asyncio.create_task(self._watch_link(since_ns), name="watch-link"),
        ]
        self._fall_behind()
        while True:
            await self._woken()
            for task in self._tasks:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            while responses := await self._next():
                for response in responses:
                    yield self._stamped(response)

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._catching_up]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _woken(self) -> None:
        """Return when there may be something to tell."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._siren.due_s()):
                await self._wake.wait()
        self._wake.clear()

    async def _next(self) -> list[national_pb2.WatchResponse]:
        """Return what goes out next, nothing if nothing waits."""
        if changes := await self._overdue():
            return [national_pb2.WatchResponse(alarm=change) for change in changes]
        if self._link is not None:
            link, self._link = self._link, None
            return [national_pb2.WatchResponse(link=link)]
        if not self._records.empty():
            item = self._records.get_nowait()
            if isinstance(item, national_pb2.Gap):
                return [national_pb2.WatchResponse(gap=item)]
            return self._responses(item)
        if await self._is_at_head() and (changes := self._arrive()):
            return [national_pb2.WatchResponse(alarm=change) for change in changes]
        return []

    async def _recall(self) -> None:
        """Learn which alarms stood at the watcher's place, so that what comes after can lower them.

        What is further back than `limits.ALARM_RECALL_RECORDS` is taken as over.
        """
        store, place = self._delivery.store, self._position
        after = max(place - limits.ALARM_RECALL_RECORDS, (await store.bounds(INBOX)).first - 1)
        while True:
            try:
                records = await store.read(INBOX, after=after, limit=limits.READ_BATCH, lane=self.mode)
            except Corrupt as damaged:  # one is lost; those behind it still wake
                if not _is_one_record(damaged, after):
                    raise
                after = damaged.position
                continue
            for record in records:
                if record.position <= place and (opened := _opened(record)) is not None:
                    self._siren.recall(opened[1])
            if not records or records[-1].position >= place:
                break
            after = records[-1].position

    async def _read(self) -> None:
        after = self._position
        try:
            while True:
                try:
                    async for record in self._delivery.store.follow(INBOX, after=after, lane=self.mode):
                        after = record.position
                        await self._records.put(record)
                        self._wake.set()
                except Corrupt as damaged:  # one is lost, and said to be; those behind it must still be shown
                    if not _is_one_record(damaged, after):
                        raise
                    log.critical("record %d of the inbox is damaged and cannot be shown", damaged.position)
                    gap = national_pb2.Gap(first_missing=damaged.position, last_missing=damaged.position)
                    await self._records.put(gap)
                    self._wake.set()
                    after = damaged.position
                except Compacted as trimmed:  # the watcher stood still for longer than anything is kept
                    last = min(await last_forgotten(self._delivery.store, self.mode), trimmed.first - 1)
                    if after < last:
                        await self._records.put(national_pb2.Gap(first_missing=after + 1, last_missing=last))
                        self._wake.set()
                    after = trimmed.first - 1
        finally:
            self._wake.set()

    async def _watch_link(self, since_ns: int) -> None:
        link = self._delivery.link
        while True:
            await link.next_change(since_ns)
            since_ns = link.since_ns
            self._link = self._link_status()
            self._wake.set()

    def _responses(self, record: Record) -> list[national_pb2.WatchResponse]:
        entry = journal_pb2.InboxRecord.FromString(record.data)
        if entry.HasField("gap"):
            self._position = record.position
            return [national_pb2.WatchResponse(gap=entry.gap)]
        warning = self._warning(entry, catching_up=entry.catching_up or record.position <= self._head)
        self._position = record.position
        if entry.catching_up and not self._siren.is_behind:  # the gateway was away, we were not
            self._fall_behind()
        changes = self._fold(record.position, warning.header, warning.content)
        return [
            national_pb2.WatchResponse(warning=warning),
            *(national_pb2.WatchResponse(alarm=change) for change in changes),
        ]

    # -- alarms ------------------------------------------------------------------------------------------------------
    def _fall_behind(self) -> None:
        """Begin to catch up: first everything in order, and then what holds."""
        self._siren.fall_behind(_now_s())
        self._catching_up = [
            asyncio.create_task(self._look_ahead(), name="watch-ahead"),
            asyncio.create_task(self._wake_when_live(), name="watch-live"),
        ]

    def _arrive(self) -> list[national_pb2.AlarmChange]:
        """Be at the head again; return what holds there."""
        for task in self._catching_up:
            task.cancel()
        return self._siren.at_head()

    async def _look_ahead(self) -> None:
        """Have the siren know of what arrives when it arrives, however slow the watcher is."""
        with contextlib.suppress(StoreError):  # `_read` comes there too, and says it
            while True:
                try:
                    async for record in self._delivery.store.follow(INBOX, after=self._siren.folded, lane=self.mode):
                        self._fold_ahead(record)
                        self._wake.set()
                        await asyncio.sleep(0)  # a long backlog holds up nobody else
                except Corrupt as damaged:
                    if not self._skip(damaged):
                        raise
                except Compacted as trimmed:
                    self._siren.folded = max(self._siren.folded, trimmed.first - 1)

    async def _wake_when_live(self) -> None:
        await self._delivery.live.wait()
        self._wake.set()

    async def _overdue(self) -> list[national_pb2.AlarmChange]:
        """Return the alarms that have waited long enough, once everything that was received is folded."""
        due_s = self._siren.due_s()
        if due_s is None or due_s > _now_s():
            return []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.IN_HAND_WAIT_S):
                async with self._delivery.taking:  # what is in the gateway's hands is in the inbox now
                    pass
                await self._fold_all()
        return self._siren.overdue(_now_s())

    async def _is_at_head(self) -> bool:
        """Return whether we were behind, and the watcher was given everything that stands in the inbox now."""
        if not self._siren.is_behind or not self._delivery.live.is_set() or self._position < self._siren.folded:
            return False
        await self._fold_all()
        return self._position >= self._siren.folded

    async def _fold_all(self) -> None:
        """Fold everything that stands in the inbox now."""
        more = True
        with contextlib.suppress(StoreError):  # what cannot be read is in doubt
            while more:
                after = max(self._siren.folded, (await self._delivery.store.bounds(INBOX)).first - 1)
                try:
                    records = await self._delivery.store.read(
                        INBOX, after=after, limit=limits.READ_BATCH, lane=self.mode
                    )
                except Corrupt as damaged:
                    if not self._skip(damaged):
                        raise
                    continue
                for record in records:
                    self._fold_ahead(record)
                more = len(records) == limits.READ_BATCH

    def _skip(self, damaged: Corrupt) -> bool:
        """Go on behind a damaged record; return False if it is not one record that is damaged."""
        if not _is_one_record(damaged, self._siren.folded):
            return False
        self._siren.folded = damaged.position
        return True

    def _fold_ahead(self, record: Record) -> None:
        if record.position <= self._siren.folded:
            return
        opened = _opened(record)
        if opened is None:
            self._siren.folded = record.position
        else:
            self._fold(record.position, *opened)

    def _fold(
        self, position: int, header: envelope_pb2.RoutingHeader, content: content_pb2.Content
    ) -> list[national_pb2.AlarmChange]:
        is_past = self._impact_is_past(header, content)
        return self._siren.fold(position, content, impact_is_past=is_past, now_s=_now_s())

    def _warning(self, entry: journal_pb2.InboxRecord, *, catching_up: bool) -> national_pb2.Warning:
        now_ns = self._delivery.clock.wall_ns()
        envelope = envelope_pb2.Envelope.FromString(entry.delivery.envelope)
        header = envelope_pb2.RoutingHeader.FromString(envelope.header)
        hub, came_down = entry.delivery.stamps, entry.delivery.HasField("stamps")  # else it was drawn here
        warning = national_pb2.Warning(
            header=header,
            content=content_pb2.Content.FromString(envelope.body),
            stamps=national_pb2.DeliveryStamps(
                hub_received_at=hub.received_at if came_down else None,
                hub_stored_at=hub.stored_at if came_down else None,
                hub_sent_at=hub.sent_at if came_down else None,
                received_at=entry.received_at,
                delivered_at=timestamp(now_ns),
            ),
        )
        if nanoseconds(header.stale_after) < now_ns:
            warning.marks.append(national_pb2.MARK_LATE)
        if entry.delivery.pending:
            warning.marks.append(national_pb2.MARK_PENDING)
        if catching_up:
            warning.marks.append(national_pb2.MARK_CATCHING_UP)
        else:
            self._note_latency(header, nanoseconds(entry.received_at), now_ns)
        return warning

    def _note_latency(self, header: envelope_pb2.RoutingHeader, received_ns: int, now_ns: int) -> None:
        self._delivery.metrics.took(Leg.DELIVER, labels_of(header), now_ns - received_ns)

    def _impact_is_past(self, header: envelope_pb2.RoutingHeader, content: content_pb2.Content) -> bool:
        now_ns = self._delivery.clock.wall_ns()
        offset = self._delivery.link.hub_offset()
        if nanoseconds(header.stale_after) >= now_ns or offset is None:
            return False
        error_ns = abs(offset.offset_ns) + offset.error_ns
        if error_ns > limits.SECOND_NS:
            return False  # the clocks are not known to be right
        if header.HasField("exercise"):
            now_ns = exercise_ns(header.exercise, now_ns)
        return impact_is_past(content, now_ns=now_ns, clock_error_ns=error_ns)

    def _link_status(self) -> national_pb2.LinkStatus:
        link = self._delivery.link
        return national_pb2.LinkStatus(hub_connected=link.connected, since=timestamp(link.since_ns))

    def _stamped(self, response: national_pb2.WatchResponse) -> national_pb2.WatchResponse:
        response.position = self._position.to_bytes(POSITION_BYTES, "big")
        return response


def _is_one_record(damaged: Corrupt, after: int) -> bool:
    """Return whether one record past a place is damaged, and not the store: going on behind that would never end."""
    return damaged.stream == INBOX and damaged.position > after


def _opened(record: Record) -> tuple[envelope_pb2.RoutingHeader, content_pb2.Content] | None:
    """Return the message; None where a gap stands."""
    entry = journal_pb2.InboxRecord.FromString(record.data)
    if entry.HasField("gap"):
        return None
    envelope = envelope_pb2.Envelope.FromString(entry.delivery.envelope)
    return envelope_pb2.RoutingHeader.FromString(envelope.header), content_pb2.Content.FromString(envelope.body)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _position(token: bytes, first: int, last: int) -> int:
    """Return the store position of a watcher's token, though it may be gone; without one, all that is kept follows."""
    if not token:
        return first - 1
    if len(token) != POSITION_BYTES:
        raise Refused(Reason.REASON_BAD_POSITION, "resume with a position that a WatchResponse gave you")
    position = int.from_bytes(token, "big")
    if position > last:
        raise Refused(Reason.REASON_BAD_POSITION, "this gateway never gave out that position")
    return position
