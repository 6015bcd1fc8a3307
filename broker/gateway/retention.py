"""What is older than the gateway's retention is forgotten, so that neither disk nor memory fill up and stop warnings.

A record does not say in one place when it was stored, and need not: once a day a *mark* notes where each stream ends.
When a mark is as old as records may become, what was stored before it is forgotten: recorded intake, outbox, inbox, and
the small values of the ledger that were written, or needed, before it for the last time. At each look at most one mark
falls due, so that a clock that is set to the wrong year costs a day of records an hour and not all.

What is still needed stays, however old: envelopes that the hub has not acknowledged, and reports that wait for a
policy's delay. A watcher never holds up anything: one that resumes from before what is left is told of the gap and goes
on from the oldest. So that nobody is told who missed nothing, the last position forgotten of each mode is kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.downlink import INBOX
from broker.gateway.ledger import INTAKE, OUTBOX
from broker.gateway.uplink import CURSOR, LANES
from broker.refusal import Refused
from broker.store import Corrupt, StoreError
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.clock import Clock
    from broker.gateway.pipeline import Pipeline
    from broker.store import Store

log = logging.getLogger(__name__)

STATE_NAME: Final = "retention"
FORGOTTEN: Final = "forgotten/"  # and a mode: the last position of the inbox that a watch of it can have missed
STREAMS: Final = (INTAKE, OUTBOX, INBOX)
MODES: Final = tuple(mode for mode in content_pb2.Mode.values() if mode != content_pb2.MODE_UNSPECIFIED)
FIRST_LOOK_S: Final = 60.0  # a process that has just begun has warnings to take
LOOK_S: Final = 3600.0
MARK_S: Final = 24 * 3600.0


@dataclass(slots=True)
class Retention:
    """The marks of one gateway's store."""

    store: Store
    pipeline: Pipeline
    retention_s: float
    _marks: list[tuple[int, dict[str, int]]] = field(default_factory=list)  # when, and where each stream ended
    _next: int = 1  # the number of the next mark

    async def load(self) -> None:
        """Take over the marks that an earlier process made. Raises StoreError."""
        kept = json.loads((await self.store.state(STATE_NAME)).get(STATE_NAME, b'{"marks": [], "next": 1}'))
        self._marks, self._next = [(at_s, ends) for at_s, ends in kept["marks"]], kept["next"]
        self._tell_age()

    async def keep_forgetting(self, clock: Clock) -> None:
        """Look every hour until cancelled; what cannot be done now is tried again at the next look."""
        await asyncio.sleep(FIRST_LOOK_S)
        while True:
            try:
                await self.forget_old(clock.wall_ns())
            except (StoreError, Refused) as error:
                log.error("not all was forgotten: %s", error)  # noqa: TRY400 - a closed set of errors
            await asyncio.sleep(LOOK_S)

    async def forget_old(self, now_ns: int) -> None:
        """Make a mark if the newest is a day old, and forget what lies before the oldest if its time is over."""
        now_s = now_ns // limits.SECOND_NS
        known = len(self._marks)
        if not self._marks or now_s - self._marks[-1][0] >= MARK_S:
            self._marks.append((now_s, {stream: (await self.store.bounds(stream)).last for stream in STREAMS}))
            self._next += 1
        due = now_s - self._marks[0][0] >= self.retention_s
        if due:
            await self._forget(self._marks[0][1], through=self._next - len(self._marks))
            del self._marks[0]
        if due or len(self._marks) != known:
            kept = json.dumps({"marks": self._marks, "next": self._next})
            await self.store.append([], state={STATE_NAME: kept.encode()})
        self._tell_age()

    async def _forget(self, ends: dict[str, int], *, through: int) -> None:
        """Forget all that was stored before a mark; `through` is its number."""
        await self._note_forgotten(before=ends[INBOX] + 1)
        needed = {INTAKE: await self._first_held(), OUTBOX: await self._first_not_acknowledged()}
        for stream, end in ends.items():
            before = min(end + 1, needed.get(stream, end + 1))
            await self.store.trim(stream, before=before)
            log.info("forgotten stream=%s before=%d", stream, before)
        while await self.pipeline.forget(through=through):  # noqa: ASYNC110 - a pause, so that reports pass in between
            await asyncio.sleep(limits.READ_BACK_PAUSE_S)

    async def _note_forgotten(self, *, before: int) -> None:
        first = (await self.store.bounds(INBOX)).first
        lasts = {mode: await self._last_of(mode, first=first, before=before) for mode in MODES}
        state = {f"{FORGOTTEN}{mode}": last.to_bytes(8, "big") for mode, last in lasts.items() if last}
        await self.store.append([], state=state)

    async def _last_of(self, mode: int, *, first: int, before: int) -> int:
        """Return the last position of a mode before another position, or 0; of what cannot be read, the other one."""
        after, last = first - 1, 0
        while True:
            try:
                records = await self.store.read(INBOX, after=after, limit=limits.READ_BATCH, lane=mode)
            except Corrupt:
                return before - 1
            for record in records:
                if record.position >= before:
                    return last
                last = record.position
            if not records:
                return last
            after = last
            await asyncio.sleep(limits.READ_BACK_PAUSE_S)  # it reads a day of warnings: the store is everybody's

    async def _first_held(self) -> int:
        """Return the position of the oldest report that waits for a delay; past the end if none does."""
        found = [await self.store.find(INTAKE, key) for key in self.pipeline.held.waiting_keys()]
        end = (await self.store.bounds(INTAKE)).last + 1
        return min((record.position for record in found if record is not None), default=end)

    async def _first_not_acknowledged(self) -> int:
        """Return the position of the oldest envelope that the hub may not have; past the end if it has all."""
        bounds, cursors = await self.store.bounds(OUTBOX), await self.store.state(CURSOR)
        firsts = [bounds.last + 1]
        for lane in LANES:
            after = max(int.from_bytes(cursors.get(f"{CURSOR}{lane}", b""), "big"), bounds.first - 1)
            firsts += [record.position for record in await self.store.read(OUTBOX, after=after, limit=1, lane=lane)]
        return min(firsts)

    def _tell_age(self) -> None:
        self.pipeline.ledger.age = self.pipeline.notes.age = self._next


async def last_forgotten(store: Store, mode: int) -> int:
    """Return the last position of the inbox with something of a mode that was forgotten; 0 for none."""
    name = f"{FORGOTTEN}{mode}"
    return int.from_bytes((await store.state(name)).get(name, b""), "big")
