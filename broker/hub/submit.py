"""One Submit stream: envelopes come up, a receipt for each goes down, in the order of their numbers.

A refusal answers one envelope; the stream lives on. What cannot be laid to one envelope (a second hello, a frame that
does not parse and whose envelopes therefore have no numbers) is answered under number 0. Envelopes are verified one
after another as they come, and wait for the disk in the committer; receipts are written as soon as the oldest that is
owed is settled, many in a frame.

Credits: at most `limits.CREDITS` envelopes of a stream may be without a receipt; each receipt gives one back. They
depend on the disk and on nothing else, least of all on a recipient. Who sends more than was granted is refused with
NO_CREDIT, and who then does not even read the receipts is not read from any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker import limits
from broker.clock import timestamp
from broker.content import parse_strict
from broker.hub.admit import admit
from broker.hub.drain import GOODBYE
from broker.hub.guard import guard
from broker.hub.metrics import STEP_ADMIT, STEP_GUARD, STEP_STORE, STEP_SUBMIT
from broker.refusal import Reason, Refused
from broker.store import Outcome
from certs.identity import Role
from vedette.v1.exchange_pb2 import (
    ClockAnswer,
    ClockProbe,
    SubmitOutcome,
    SubmitReceipt,
    SubmitRequest,
    SubmitResponse,
    SubmitWelcome,
)

import grpc.aio  # isort: skip  # after certs, which forbids TLS 1.2 before gRPC is imported

if TYPE_CHECKING:
    from broker.hub.parts import Parts
    from broker.rpc import Caller

SUBMITTERS: Final = frozenset({Role.GATEWAY, Role.VIEWS})
_OWED_MAX: Final = 2 * limits.CREDITS  # receipts in memory; beyond it the stream is not read
_IN_A_ROW: Final = 8  # envelopes verified before others get their turn: about half a millisecond

_OUTCOMES: Final = {
    Outcome.APPENDED: SubmitOutcome.SUBMIT_OUTCOME_STORED,
    Outcome.DUPLICATE: SubmitOutcome.SUBMIT_OUTCOME_DUPLICATE,
}


@dataclass(frozen=True, slots=True)
class _Owed:
    """A receipt that is owed: its number, and the answer or where it will come from."""

    number: int
    answer: Refused | asyncio.Future[Outcome | Refused]

    @property
    def ready(self) -> bool:
        return isinstance(self.answer, Refused) or self.answer.done()


class Submission:
    """One open Submit stream. `run` returns when it has ended well; raises what ended it otherwise."""

    def __init__(self, parts: Parts, caller: Caller, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._parts = parts
        self._member, self._role = caller.identity.member, caller.identity.role
        self._context = context
        self._owed: deque[_Owed] = deque()
        self._number = 0
        self._welcome: SubmitWelcome | None = None  # to be sent
        self._spoken = False  # hello was said and a version found
        self._probe: ClockProbe | None = None
        self._answer: ClockAnswer | None = None  # to be sent
        self._goodbye_said = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Serve until the caller has said everything and got every receipt, or the hub goes down."""
        with self._parts.drain.watched_by(self._wake):
            reading = asyncio.create_task(self._read())
            reading.add_done_callback(lambda _: self._wake.set())
            try:
                await self._write(reading)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            if not reading.cancelled() and (fault := reading.exception()) is not None:
                raise fault

    # -- down -------------------------------------------------------------------------------------------------------
    async def _write(self, reading: asyncio.Task[None]) -> None:
        while True:
            self._wake.clear()
            response = self._next_response()
            if response is not None:
                await self._context.write(response.SerializeToString())
                continue
            if not self._owed and (reading.done() or self._parts.drain.finishing):
                return
            await self._wake.wait()

    def _next_response(self) -> SubmitResponse | None:
        response = SubmitResponse()
        if self._welcome is not None:
            response.welcome.CopyFrom(self._welcome)
            self._welcome = None
        while self._owed and self._owed[0].ready and len(response.receipts) < limits.CREDITS:
            owed = self._owed.popleft()
            response.receipts.append(self._receipt(owed))
            response.credits += owed.number > 0
        self._room.set()
        if self._answer is not None:
            self._answer.sent_at.CopyFrom(timestamp(self._parts.clock.wall_ns()))
            response.answer.CopyFrom(self._answer)
            self._answer = None
        if self._parts.drain.begun and not self._goodbye_said and not self._owed:
            response.goodbye.CopyFrom(GOODBYE)
            self._goodbye_said = True
        return response if response.ByteSize() else None

    def _receipt(self, owed: _Owed) -> SubmitReceipt:
        answer = owed.answer if isinstance(owed.answer, Refused) else owed.answer.result()
        if not isinstance(answer, Refused):
            return SubmitReceipt(number=owed.number, outcome=_OUTCOMES[answer])
        if not isinstance(owed.answer, Refused):  # those of the steps before were counted there
            self._parts.refusals.note(STEP_STORE, self._member, answer)
        return SubmitReceipt(number=owed.number, outcome=SubmitOutcome.SUBMIT_OUTCOME_REFUSED, refusal=answer.on_wire())

    # -- up ---------------------------------------------------------------------------------------------------------
    async def _read(self) -> None:
        while not self._parts.drain.finishing:
            data = await self._next_message()
            if data is None:
                return
            await self._take(data, received_ns=self._parts.clock.wall_ns())
            self._wake.set()
            while len(self._owed) >= _OWED_MAX:
                self._room.clear()
                await self._room.wait()

    async def _next_message(self) -> bytes | None:
        try:
            async with asyncio.timeout(None if self._spoken else limits.CALL_DEADLINE_S):
                data = await self._context.read()
        except TimeoutError:
            raise Refused(Reason.REASON_HELLO_EXPECTED, "the first message of a stream says hello") from None
        return None if data is grpc.aio.EOF else data

    async def _take(self, data: bytes, *, received_ns: int) -> None:
        try:
            request = parse_strict(SubmitRequest, data)
        except Refused as refused:
            self._refuse(STEP_SUBMIT, 0, refused)
            return
        if request.HasField("hello"):
            self._hello(request)
        if request.HasField("probe"):
            self._probe = request.probe
            self._answer = ClockAnswer(
                number=request.probe.number, asked_at=request.probe.sent_at, received_at=timestamp(received_ns)
            )
        against = self._against_frame(len(data), len(request.envelopes))
        for count, sealed in enumerate(request.envelopes, start=1):
            self._number += 1
            if against is not None:
                self._refuse(STEP_SUBMIT, self._number, against)
            elif len(self._owed) >= limits.CREDITS:
                no_credit = Refused(Reason.REASON_NO_CREDIT, "wait for receipts: each gives a credit back")
                self._refuse(STEP_SUBMIT, self._number, no_credit)
            else:
                self._envelope(sealed, received_ns=received_ns)
            if count % _IN_A_ROW == 0:
                await asyncio.sleep(0)

    def _hello(self, request: SubmitRequest) -> None:
        hello = request.hello
        if self._spoken:
            self._refuse(STEP_SUBMIT, 0, Refused(Reason.REASON_HELLO_EXPECTED, "hello is said once"))
            return
        try:
            version = common_version(hello.schema_version_least, hello.schema_version_most)
        except Refused as refused:
            self._refuse(STEP_SUBMIT, 0, refused)
            return
        self._spoken = True
        heads = self._parts.recorded.windows.heads(self._member)
        self._welcome = SubmitWelcome(schema_version=version, heads=heads, credits=limits.CREDITS)

    def _against_frame(self, size: int, count: int) -> Refused | None:
        """Return why no envelope of a frame is looked at, if that is so."""
        if not self._spoken:
            return Refused(Reason.REASON_HELLO_EXPECTED, "the first message of a stream says hello")
        if size > limits.FRAME_BYTES_MAX:
            return Refused(Reason.REASON_TOO_LARGE, f"a frame of {size} bytes; at most {limits.FRAME_BYTES_MAX}")
        if count > limits.FRAME_MESSAGES_MAX:
            return Refused(
                Reason.REASON_TOO_LARGE, f"{count} envelopes in a frame; at most {limits.FRAME_MESSAGES_MAX}"
            )
        return None

    def _envelope(self, sealed: bytes, *, received_ns: int) -> None:
        """Take an envelope through the steps 5, 5b and 6, in order."""
        parts, step = self._parts, STEP_ADMIT
        try:
            admitted = admit(
                sealed,
                peer=self._member,
                members=parts.door.members,
                windows=parts.recorded.windows,
                exercises=parts.recorded.exercises,
                received_ns=received_ns,
                now_ns=parts.clock.wall_ns(),
            )
            step = STEP_GUARD
            promises = parts.registry.of(self._member)
            guard(admitted, role=self._role, members=parts.door.members, promises=promises)
            step = STEP_STORE
            settled = parts.committer.put(admitted, probe=self._probe)
        except Refused as refused:
            self._refuse(step, self._number, refused)
            return
        settled.add_done_callback(lambda _: self._wake.set())
        self._owed.append(_Owed(self._number, settled))

    def _refuse(self, step: str, number: int, refused: Refused) -> None:
        self._parts.refusals.note(step, self._member, refused)
        self._owed.append(_Owed(number, refused))


def common_version(least: int, most: int) -> int:
    """Return the newest schema version that both sides speak. Raises Refused."""
    version = min(most, limits.SCHEMA_VERSION)
    if version < max(least, limits.SCHEMA_VERSION_LEAST):
        raise Refused(
            Reason.REASON_SCHEMA_VERSION,
            f"versions {limits.SCHEMA_VERSION_LEAST} to {limits.SCHEMA_VERSION} are spoken here",
        )
    return version
