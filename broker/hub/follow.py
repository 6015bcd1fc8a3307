"""One Follow stream: everything in a log past a position, then live, to one gateway or to the fusion process.

The resume token (`broker.hub.runs`) holds two cursors, urgent and normal. A gateway's two lanes advance apart, so that
an urgent record never waits behind a backlog of the normal lane; the fusion process reads the log in its own order, and
its two cursors are always equal. Positions and tokens mean something in this one log only.

At most as many deliveries are under way as the follower granted credits for. A follower that grants none, or does not
read, holds up nobody: its records wait in the store.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from broker import limits
from broker.clock import timestamp
from broker.content import parse_strict
from broker.hub.drain import GOODBYE
from broker.hub.route import GATEWAY_LANES, log_of
from broker.hub.runs import position_of
from broker.hub.submit import common_version
from broker.refusal import Reason, Refused
from broker.store import Compacted, Corrupt
from certs.identity import Role
from vedette.v1.exchange_pb2 import (
    ClockAnswer,
    Delivery,
    FollowHello,
    FollowRequest,
    FollowResponse,
    FollowWelcome,
    HubStamps,
)

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.hub.parts import Parts
    from broker.hub.route import Follower, Routed
    from broker.rpc import Caller
    from certs.identity import Identity

log = logging.getLogger(__name__)

FOLLOWERS: Final = frozenset({Role.GATEWAY, Role.VIEWS})
_WHOLE_LOG: Final = (None,)


class Following:
    """One open Follow stream. `run` returns when it has ended well; raises what ended it otherwise."""

    def __init__(self, parts: Parts, caller: Caller, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._parts = parts
        self._identity = caller.identity
        self._context = context
        self._credits = 0
        self._cursors: list[int] = []
        self._answer: ClockAnswer | None = None  # to be sent
        self._frame_at_ns = 0  # monotonic: when the last frame left

    async def run(self) -> None:
        """Welcome the follower, then send what is in the log until it hangs up or the hub goes down."""
        hello = await self._hello()
        version = common_version(hello.schema_version_least, hello.schema_version_most)
        check_recipient(self._identity, hello.recipient, self._parts)
        bounds = await self._parts.store.bounds(log_of(hello.recipient))
        lanes: Sequence[int | None] = _WHOLE_LOG if self._identity.role is Role.VIEWS else GATEWAY_LANES
        runs = self._parts.runs
        self._cursors = list(runs.cursors(hello.resume_after, hello.recipient, lanes=len(lanes), head=bounds.last))
        self._credits = min(hello.credits, limits.CREDITS)
        behind = await self._behind(hello.recipient, lanes, bounds.last)
        welcome = FollowWelcome(schema_version=version, head=position_of(bounds.last), behind=behind)
        await self._context.write(FollowResponse(welcome=welcome).SerializeToString())
        follower = self._parts.router.attach(hello.recipient, lanes=lanes, cursors=self._cursors, head=bounds.last)
        try:
            with self._parts.drain.watched_by(follower.wake):
                await self._serve(follower)
        finally:
            self._parts.router.detach(follower)

    async def _behind(self, recipient: str, lanes: Sequence[int | None], head: int) -> int:
        """Return how many records lie past the cursors: exactly where they are few, else at most."""
        behind = 0
        for lane, cursor in zip(lanes, self._cursors, strict=True):
            try:
                found = await self._parts.store.read(
                    log_of(recipient), after=cursor, limit=limits.READ_BATCH, lane=lane
                )
            except (Compacted, Corrupt):
                behind += head - cursor
            else:
                behind += len(found) if len(found) < limits.READ_BATCH else head - cursor
        return min(behind, head - min(self._cursors))

    async def _hello(self) -> FollowHello:
        try:
            async with asyncio.timeout(limits.CALL_DEADLINE_S):
                data = await self._context.read()
        except TimeoutError:
            data = grpc.aio.EOF
        request = FollowRequest() if data is grpc.aio.EOF else parse_strict(FollowRequest, data)
        if not request.HasField("hello"):
            raise Refused(Reason.REASON_HELLO_EXPECTED, "the first message of a stream says hello")
        return request.hello

    async def _serve(self, follower: Follower) -> None:
        reading = asyncio.create_task(self._read(follower))
        reading.add_done_callback(lambda _: follower.wake.set())
        try:
            await self._write(follower, reading)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if not reading.cancelled() and (fault := reading.exception()) is not None:
            raise fault

    # -- down -------------------------------------------------------------------------------------------------------
    async def _write(self, follower: Follower, reading: asyncio.Task[None]) -> None:
        while not reading.done():
            follower.wake.clear()
            if self._parts.drain.begun:
                await self._context.write(FollowResponse(goodbye=GOODBYE).SerializeToString())
                await self._hung_up(follower, reading)
                return
            response = FollowResponse()
            if self._answer is not None:
                self._answer.sent_at.CopyFrom(timestamp(self._parts.clock.wall_ns()))
                response.answer.CopyFrom(self._answer)
                self._answer = None
            await self._linger(follower)
            lane, records = await self._next(follower)
            if records:
                response.deliveries.extend(self._deliveries(follower, lane, records))
            if response.ByteSize():
                await self._context.write(response.SerializeToString())
                self._frame_at_ns = self._parts.clock.monotonic_ns()
            elif follower.idle or not self._credits:
                await follower.wake.wait()

    async def _hung_up(self, follower: Follower, reading: asyncio.Task[None]) -> None:
        """Wait until the follower ends the stream. If we did, while it writes, gRPC would drop what it has not read."""
        while not (reading.done() or self._parts.drain.finishing):
            follower.wake.clear()
            await follower.wake.wait()

    async def _linger(self, follower: Follower) -> None:
        """Let the normal lane gather company, if the last frame left only just now and nothing urgent waits.

        One turn for the others: to wait in earnest, a timer would take a millisecond and a loop the processor. The
        fusion process waits in earnest: it makes pictures, and a frame of its own for each record costs both sides
        more than the folding.
        """
        if not follower.may_linger:
            return
        if not follower.national:
            await asyncio.sleep(limits.LINGER_PICTURE_S)
        elif self._parts.clock.monotonic_ns() < self._frame_at_ns + limits.LINGER_NORMAL_NS:
            await asyncio.sleep(0)

    async def _next(self, follower: Follower) -> tuple[int, list[Routed]]:
        if not self._credits:
            return 0, []
        lane, records = await follower.take(most=min(self._credits, limits.FRAME_MESSAGES_MAX))
        self._credits -= len(records)
        return lane, records

    def _deliveries(self, follower: Follower, lane: int, records: Sequence[Routed]) -> list[bytes]:
        """Complete the stored bytes: protobuf merges what is appended into the message."""
        sent_ns = self._parts.clock.wall_ns()
        deliveries = []
        for record in records:
            self._advance(follower, lane, record.position)
            stamps = HubStamps(sent_at=timestamp(sent_ns))
            if record.stored_ns is not None:
                stamps.stored_at.CopyFrom(timestamp(record.stored_ns))
            rest = Delivery(
                position=position_of(record.position), resume=self._parts.runs.token(self._cursors), stamps=stamps
            )
            deliveries.append(record.data + rest.SerializeToString())
            self._parts.metrics.sent(record, sent_ns)
        return deliveries

    def _advance(self, follower: Follower, lane: int, position: int) -> None:
        """Move the cursor of a lane, and of each lane in which nothing waits: it holds all up to there too."""
        self._cursors[lane] = position
        for other, queue in enumerate(follower.lanes):
            if queue.idle:
                self._cursors[other] = max(self._cursors[other], position)

    # -- up ---------------------------------------------------------------------------------------------------------
    async def _read(self, follower: Follower) -> None:
        while (data := await self._context.read()) is not grpc.aio.EOF:
            received_ns = self._parts.clock.wall_ns()
            request = parse_strict(FollowRequest, data)
            if request.HasField("hello"):
                raise Refused(Reason.REASON_HELLO_EXPECTED, "hello is said once")
            if request.delivered:
                lanes, head = len(self._cursors), max(self._cursors)
                held = self._parts.runs.cursors(request.delivered, follower.recipient, lanes=lanes, head=head)
                follower.delivered = max(follower.delivered, min(held))
            self._credits = min(self._credits + request.credits, limits.CREDITS)
            if request.HasField("probe"):
                self._answer = ClockAnswer(
                    number=request.probe.number, asked_at=request.probe.sent_at, received_at=timestamp(received_ns)
                )
            follower.wake.set()


def check_recipient(identity: Identity, recipient: str, parts: Parts) -> None:
    """Raise Refused unless this caller may follow this log: a gateway its own, the fusion process any."""
    if identity.role is Role.VIEWS:
        if recipient not in parts.door.members.nations():
            raise Refused(Reason.REASON_UNKNOWN_RECIPIENT, "no such member in the members document in force")
    elif recipient != identity.member:
        raise Refused(Reason.REASON_ROLE_NOT_ALLOWED, "a gateway follows the log of its own nation")
