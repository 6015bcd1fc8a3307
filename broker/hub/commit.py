"""Step 6: what was admitted becomes durable, and only then is acknowledged and routed.

One task appends to the logs, one batch at a time; what arrives while the disk is busy makes up the next batch (group
commit), urgent envelopes first. So every log has one writer, the order of positions is the order in which followers
are told, and the replay windows, the exercises' time bases and the records change together or not at all.

A number that the window has seen before is a duplicate if the same bytes stand in the store, and a conflict if not:
either other bytes have this identity, or another message was sealed under this number. Neither is stored or routed.

When the disk is full or the store is away, each waiting envelope is refused with STORE_FULL or UNAVAILABLE; its origin
keeps it in its outbox and tries again. Nothing waits here without a bound. When the store was taken over or replaced,
the task ends, and with it the process: it must be started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from broker import limits
from broker.clock import timestamp
from broker.hub.route import Routed, log_of
from broker.hub.ticks import TickKey
from broker.refusal import Reason, Refused
from broker.store import Fenced, Full, NewRecord, Outcome, StoreError
from broker.windows import Standing
from vedette.v1.envelope_pb2 import Lane
from vedette.v1.exchange_pb2 import Delivery, HubStamps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.clock import Clock
    from broker.hub.admit import Admitted
    from broker.hub.exercises import ExercisePlan, Exercises
    from broker.hub.metrics import HubMetrics
    from broker.hub.route import Router
    from broker.hub.ticks import DueTick, Ticks
    from broker.store import Store, Written
    from broker.windows import WindowPlan, Windows
    from vedette.v1.exchange_pb2 import ClockProbe

log = logging.getLogger(__name__)

_CANARY: Final = "canary"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An admitted envelope on its way to the disk. `settled` gets its outcome, or the refusal."""

    admitted: Admitted
    record: NewRecord
    settled: asyncio.Future[Outcome | Refused]

    def settle(self, answer: Outcome | Refused) -> None:
        """Answer, unless nobody listens any more or it was answered before."""
        if not self.settled.done():
            self.settled.set_result(answer)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the hub remembers of the logs, loaded at start and changed by the committer alone."""

    windows: Windows
    exercises: Exercises
    ticks: Ticks


class Committer:
    """The only writer of the logs."""

    def __init__(self, store: Store, recorded: Recorded, router: Router, metrics: HubMetrics, clock: Clock) -> None:
        self._store, self._router, self._metrics, self._clock = store, router, metrics, clock
        self._recorded = recorded
        self._queues: dict[int, deque[Waiting]] = {Lane.LANE_URGENT: deque(), Lane.LANE_NORMAL: deque()}
        self._waiting: Counter[str] = Counter()  # by origin
        self._ticks: deque[DueTick] = deque()
        self._wake = asyncio.Event()
        self._pressing = asyncio.Event()  # something waits that is no picture
        self._closed = False

    def put(self, admitted: Admitted, *, probe: ClockProbe | None) -> asyncio.Future[Outcome | Refused]:
        """Queue an envelope that passed steps 5 and 5b. Raises Refused where too much is waiting.

        `probe` is the origin's newest, which says how far its clock is from ours.
        """
        origin = admitted.header.origin
        if self._closed or self._waiting.total() >= limits.APPEND_QUEUE_MAX:
            raise Refused(Reason.REASON_UNAVAILABLE, "too much is waiting for the disk: try again")
        if self._waiting[origin] >= limits.ORIGIN_APPENDS_MAX:
            raise Refused(Reason.REASON_UNAVAILABLE, "too much of yours is waiting for the disk: try again")
        waiting = Waiting(admitted, _record_of(admitted, probe), asyncio.get_running_loop().create_future())
        self._queues[admitted.header.lane].append(waiting)
        self._waiting[origin] += 1
        if not admitted.content.HasField("fused"):
            self._pressing.set()
        self._wake.set()
        return waiting.settled

    def tick(self) -> None:
        """Queue the Ticks that are due."""
        self._ticks.extend(self._recorded.ticks.due(monotonic_ns=self._clock.monotonic_ns()))
        if self._ticks:
            self._wake.set()

    def close(self) -> None:
        """Take nothing more; `run` returns once everything queued is settled."""
        self._closed = True
        self._pressing.set()
        self._wake.set()

    async def run(self) -> None:
        """Append batch after batch until closed."""
        while True:
            self._wake.clear()
            await self._linger()
            batch = self._next_batch()
            if batch:
                await self._commit(batch)
            if self._ticks:
                await self._commit_ticks()
            if self._waiting.total() or self._ticks:
                continue
            if self._closed:
                return
            await self._wake.wait()

    async def _linger(self) -> None:
        """Let pictures that are alone wait for a warning, whose commit they share."""
        if self._waiting.total() and not self._ticks and not self._closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.LINGER_PICTURE_S):
                    await self._pressing.wait()

    def _next_batch(self) -> list[Waiting]:
        batch: list[Waiting] = []
        for queue in self._queues.values():
            while queue and len(batch) < limits.APPEND_BATCH_MAX:
                batch.append(queue.popleft())
        if not any(self._queues.values()):
            self._pressing.clear()
        return batch

    async def _commit(self, batch: Sequence[Waiting]) -> None:
        windows, exercises = self._recorded.windows.plan(), self._recorded.exercises.plan()
        fresh: list[Waiting] = []
        repeated: list[Waiting] = []
        for waiting in batch:
            self._waiting[waiting.admitted.header.origin] -= 1
            match _standing(waiting, windows, exercises):
                case Standing.FRESH:
                    fresh.append(waiting)
                case Standing.SEEN:
                    repeated.append(waiting)
                case Refused() as refused:
                    waiting.settle(refused)
        try:
            if fresh:
                state = windows.state() | exercises.state()
                written = await self._store.append([waiting.record for waiting in fresh], state=state)
                self._recorded.windows.keep(windows)
                self._recorded.exercises.keep(exercises)
                self._stored(fresh, written)
            for waiting in repeated:
                waiting.settle(await self._look_up(waiting))
        except StoreError as error:
            log.error("not stored: %s", error)  # noqa: TRY400 - a store's errors are a closed set; their text says all
            for waiting in batch:
                waiting.settle(refusal_of(error))
            self._end_if_fenced(error)

    def _end_if_fenced(self, error: StoreError) -> None:
        """Raise what no waiting mends: the store is another's now, and only a process that starts again opens it."""
        if isinstance(error, Fenced):
            self._closed = True
            raise error

    async def _look_up(self, waiting: Waiting) -> Outcome | Refused:
        admitted = waiting.admitted
        found = await self._store.find(log_of(admitted.header.recipient), admitted.key)
        if found is not None and found.digest == admitted.leaf:
            return Outcome.DUPLICATE
        if found is None:
            return Refused(Reason.REASON_CONFLICT, "another message was stored under this number")
        return Refused(Reason.REASON_CONFLICT, "other bytes were stored under this message_id")

    def _stored(self, batch: Sequence[Waiting], written: Sequence[Written]) -> None:
        """Settle and route a batch that is durable."""
        stored_ns = self._clock.wall_ns()
        routed: dict[str, list[Routed]] = {}
        for waiting, one in zip(batch, written, strict=True):
            admitted = waiting.admitted
            recipient = admitted.header.recipient
            match one.outcome:
                case Outcome.APPENDED:
                    self._note(admitted)
                    labels = self._metrics.stored(admitted, one.position, stored_ns)
                    record = Routed(one.position, waiting.record.lane, waiting.record.data, stored_ns, labels)
                    routed.setdefault(recipient, []).append(record)
                    waiting.settle(one.outcome)
                case Outcome.DUPLICATE:  # an earlier append was durable after all, and nobody was told
                    self._router.missed(recipient)
                    waiting.settle(one.outcome)
                case Outcome.CONFLICT:
                    waiting.settle(Refused(Reason.REASON_CONFLICT, "other bytes were stored under this message_id"))
        for recipient, records in routed.items():
            self._router.publish(recipient, records)

    def _note(self, admitted: Admitted) -> None:
        """Have the log tick."""
        if admitted.content.WhichOneof("body") == _CANARY:
            return
        header = admitted.header
        key = TickKey(header.recipient, header.mode, header.exercise.exercise_id)
        now = {"wall_ns": self._clock.wall_ns(), "monotonic_ns": self._clock.monotonic_ns()}
        self._recorded.ticks.seen(key, header.origin, **now)

    async def _commit_ticks(self) -> None:
        due = [self._ticks.popleft() for _ in range(min(len(self._ticks), limits.APPEND_BATCH_MAX))]
        records = [tick.record() for tick in due]
        state = {name: data for tick in due for name, data in tick.state().items()}
        try:
            written = await self._store.append(records, state=state)
        except StoreError as error:
            log.error("no tick: %s", error)  # noqa: TRY400 - as above
            for tick in due:
                self._recorded.ticks.written(tick, durable=False)
            self._end_if_fenced(error)
            return
        stored_ns = self._clock.wall_ns()
        for tick, record, one in zip(due, records, written, strict=True):
            self._recorded.ticks.written(tick, durable=True)
            self._metrics.ticked(tick.key, one.position, stored_ns)
            if one.outcome is Outcome.APPENDED:
                routed = Routed(one.position, record.lane, record.data, stored_ns)
                self._router.publish(tick.key.recipient, [routed])


def _standing(
    waiting: Waiting, windows: WindowPlan, exercises: ExercisePlan
) -> Literal[Standing.FRESH, Standing.SEEN] | Refused:
    """Say what becomes of an envelope of a batch, after those before it."""
    header = waiting.admitted.header
    try:
        if header.HasField("exercise"):
            exercises.take(header)
    except Refused as refused:
        return refused
    standing = windows.take(header)
    if standing is Standing.OLD:
        return Refused(Reason.REASON_REPLAYED, "older than the replay window")
    return standing


def _record_of(admitted: Admitted, probe: ClockProbe | None) -> NewRecord:
    """Return the record of an envelope in its recipient's log: a Delivery as far as it is known before it is sent."""
    stamps = HubStamps(received_at=timestamp(admitted.received_ns), admitted_at=timestamp(admitted.admitted_ns))
    if probe is not None and probe.HasField("offset"):
        stamps.origin_clock_offset.CopyFrom(probe.offset)
        stamps.origin_clock_error.CopyFrom(probe.offset_error)
    data = Delivery(envelope=admitted.sealed, stamps=stamps).SerializeToString()
    header = admitted.header
    return NewRecord(log_of(header.recipient), admitted.key, admitted.leaf, data, lane=header.lane)


def refusal_of(error: StoreError) -> Refused:
    """Return what somebody is told for whom something could not be made durable."""
    if isinstance(error, Full):
        return Refused(Reason.REASON_STORE_FULL, "the hub's disk is full: keep it and try again")
    return Refused(Reason.REASON_UNAVAILABLE, "the hub's store is away: keep it and try again")
