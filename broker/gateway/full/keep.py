"""The gateway's side of the full picture: feeds the drawing process, keeps it alive, and keeps what it draws.

Recorded intake and inbox are two streams. What stands in them when the process starts is told in the order in which it
came, by the times at which we had it; then whatever comes, as it comes. A pipe that is full holds up this task and
nobody else: everything waits in the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.child import keep_running, send_away
from broker.clock import nanoseconds
from broker.envelope import length_prefixed
from broker.gateway.downlink import INBOX
from broker.gateway.full import frames
from broker.gateway.full.frames import Frame, Kind
from broker.gateway.ledger import INTAKE
from broker.store import Compacted, Corrupt, NewRecord, StoreError
from vedette.v1 import envelope_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.clock import Clock
    from broker.store import Record, Store

__all__ = ["FullPicture"]

log = logging.getLogger(__name__)

RECALLED: Final = 4_096  # records of each stream with which a picture without a checkpoint begins
_KINDS: Final = ((INTAKE, Kind.INTAKE), (INBOX, Kind.INBOX))


@dataclass(slots=True)
class FullPicture:
    """See the module."""

    us: str
    store: Store
    folder: Path
    clock: Clock
    log_level: str = "info"

    async def keep(self) -> None:
        """Start the process, and start it again whenever it ends; until cancelled."""
        await keep_running(self._run_once)

    async def _run_once(self) -> None:
        try:
            await self._run()
        except* Exception as ended:  # noqa: BLE001 - nothing that is wrong with a picture may end a gateway
            log.error("the full picture ended: %s", ", ".join(type(one).__name__ for one in ended.exceptions))  # noqa: TRY400 - enough

    async def _run(self) -> None:
        """Run the process once, and feed it until it ends. Raises whatever ends it."""
        process = await asyncio.create_subprocess_exec(
            *self._command(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdin is not None  # noqa: S101 - for the types: pipes were asked for
            assert process.stdout is not None  # noqa: S101
            begin = await frames.read_async(process.stdout)
            cursors = {INTAKE: begin.number, INBOX: int.from_bytes(begin.data, "big")}
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed(process.stdin, cursors, group))
                group.create_task(self._keep_all(process.stdout))
        finally:
            await send_away(process)

    async def _feed(self, pipe: asyncio.StreamWriter, cursors: dict[str, int], group: asyncio.TaskGroup) -> None:
        """Tell what stands in the store, then leave the rest to tasks of their own."""
        ends = {}
        for stream, _ in _KINDS:
            bounds = await self.store.bounds(stream)
            ends[stream] = bounds.last
            least = bounds.first - 1 if cursors[stream] else max(bounds.first - 1, bounds.last - RECALLED)
            cursors[stream] = min(max(cursors[stream], least), bounds.last)
        async for frame in self._past(cursors, ends):
            await _write(pipe, frame)
        await _write(pipe, Frame(Kind.LIVE, 0))
        for stream, kind in _KINDS:
            group.create_task(self._follow(pipe, stream, kind, ends[stream]))
        group.create_task(self._tell_time(pipe))

    async def _past(self, cursors: dict[str, int], ends: dict[str, int]) -> AsyncIterator[Frame]:
        """Yield what stands in both streams, the earlier first."""
        streams = [self._until(stream, cursors[stream], ends[stream]) for stream, _ in _KINDS]
        heads = [await anext(stream, None) for stream in streams]
        while any(head is not None for head in heads):
            index = min(
                (number for number, head in enumerate(heads) if head is not None),
                key=lambda number: _received_ns(_KINDS[number][1], heads[number]),
            )
            record = heads[index]
            assert record is not None  # noqa: S101 - for the type
            yield Frame(_KINDS[index][1], record.position, record.data)
            heads[index] = await anext(streams[index], None)

    async def _until(self, stream: str, after: int, end: int) -> AsyncIterator[Record]:
        """Yield the records of a stream up to a position; those that cannot be read are passed over."""
        while after < end:
            try:
                records = await self.store.read(stream, after=after, limit=limits.READ_BATCH)
            except Corrupt as damaged:
                after = max(after + 1, damaged.position)
                continue
            except Compacted as trimmed:
                after = trimmed.first - 1
                continue
            for record in records:
                if record.position <= end:
                    yield record
            after = records[-1].position if records else end

    async def _follow(self, pipe: asyncio.StreamWriter, stream: str, kind: Kind, after: int) -> None:
        """Tell what comes, as it comes."""
        while True:
            try:
                async for record in self.store.follow(stream, after=after):
                    after = record.position
                    await _write(pipe, Frame(kind, record.position, record.data))
            except Corrupt as damaged:
                after = max(after + 1, damaged.position)
            except Compacted as trimmed:
                after = trimmed.first - 1

    async def _tell_time(self, pipe: asyncio.StreamWriter) -> None:
        while True:
            await _write(pipe, Frame(Kind.TIME, self.clock.wall_ns()))
            await asyncio.sleep(limits.TICK_NS / limits.SECOND_NS)

    async def _keep_all(self, pipe: asyncio.StreamReader) -> None:
        """Bring what is drawn into the inbox: durable, then shown."""
        while True:
            frame = await frames.read_async(pipe)
            if frame.kind is Kind.PICTURE:
                await self._keep(_picture_record(frame))

    async def _keep(self, record: NewRecord) -> None:
        while True:
            try:
                await self.store.append([record])
            except StoreError as error:
                log.error("a full picture waits for the store: %s", type(error).__name__)  # noqa: TRY400 - expected
                await asyncio.sleep(limits.RECONNECT_MAX_S)
            else:
                return

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-P",  # not from the folder that the gateway was started in
            "-m",
            "broker.gateway.full.drawing",
            f"--nation={self.us}",
            f"--folder={self.folder}",
            f"--log-level={self.log_level}",
        ]


def _picture_record(frame: Frame) -> NewRecord:
    """Return a picture under a key of its own: told again after a restart, it is known, whenever it was made."""
    record = journal_pb2.InboxRecord.FromString(frame.data)
    digest = hashlib.sha256(envelope_pb2.Envelope.FromString(record.delivery.envelope).body).digest()
    return NewRecord(INBOX, length_prefixed(b"full-picture", digest), digest, frame.data, lane=frame.number)


def _received_ns(kind: Kind, record: Record | None) -> int:
    assert record is not None  # noqa: S101 - for the type
    form = journal_pb2.IntakeRecord if kind is Kind.INTAKE else journal_pb2.InboxRecord
    return nanoseconds(form.FromString(record.data).received_at)


async def _write(pipe: asyncio.StreamWriter, frame: Frame) -> None:
    # One call: frames of several tasks never mix.
    pipe.write(frame.encoded())
    await pipe.drain()
