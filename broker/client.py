"""A client for national systems: report and watch through the nation's own gateway, over mutual TLS.

    async with Client.open("127.0.0.1:7001", Certificates.of("certs/kor/systems/exercise/aegis-1")) as client:
        async with client.reporter() as reporter:
            receipt = await reporter.report(content, precedence=FLASH, label=label)

    async with Client.open("127.0.0.1:7001", Certificates.of("certs/kor/watch/exercise/floor-1")) as client:
        async for event in client.watch(resume_after=last_position):
            …; last_position = event.position

It reconnects by itself. A report is sent again until the gateway has answered it: the gateway knows it by its id, so
that it counts once. A watch goes on after the last event that it gave; keep the position where you keep what you did
with the event. `Refused` says why the gateway will not have something; `Unreachable` that it was not there in time, and
what the connection failed of.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker import limits
from broker.refusal import Reason, Refused, reason_name
from broker.rpc import CHANNEL_OPTIONS, first_of, refusal_of
from certs import tls
from vedette.v1 import national_pb2
from vedette.v1.national_pb2_grpc import NationalStub

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vedette.v1 import content_pb2, envelope_pb2
    from vedette.v1.national_pb2_grpc import NationalAsyncStub

__all__ = ["Certificates", "Client", "Receipt", "Refused", "Reporter", "Unreachable"]

LASTING = frozenset({Reason.REASON_STORE_FULL, Reason.REASON_UNAVAILABLE, Reason.REASON_TOO_MANY_STREAMS})


class Unreachable(Exception):  # noqa: N818 - it says what the gateway is
    """The gateway did not answer in time. What was reported may have arrived; report it again under the same id."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Who we are, and whom we believe: PEM bytes."""

    certificate: bytes
    key: bytes
    roots: bytes

    @classmethod
    def of(cls, stem: str | Path, *, roots: str | Path | None = None) -> Certificates:
        """Read STEM.pem and STEM.key; the nation's root is `roots`, or the nearest root.pem above them."""
        base = Path(stem)
        certificate, key = tls.read_pair(base.with_name(base.name + ".pem"), base.with_name(base.name + ".key"))
        return cls(certificate, key, (Path(roots) if roots else _nearest_root(base)).read_bytes())


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the gateway said of a report: it is durable there."""

    duplicate: bool  # it was there before, byte for byte
    hub_connected: bool  # False: kept, and other nations do not have it yet
    content_count: int  # how many messages a native line gave


@dataclass(slots=True)
class Client:
    """One connection to one gateway. Make it with `open`."""

    _stub: NationalAsyncStub

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, certificates: Certificates) -> AsyncIterator[Client]:
        """Give a client for as long as the block lasts. Nothing is sent before it is needed."""
        credentials = tls.channel_credentials(certificates.certificate, certificates.key, certificates.roots)
        async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
            yield cls(NationalStub(channel))

    @asynccontextmanager
    async def reporter(
        self, *, session: str = "", deadline_s: float = limits.CALL_DEADLINE_S
    ) -> AsyncIterator[Reporter]:
        """Give a stream for reports, in order. A new `session` where the system uses its ids again."""
        reporter = Reporter(self._stub, session, deadline_s)
        running = asyncio.create_task(reporter.run(), name="reporter")
        try:
            yield reporter
        finally:
            # Before Python 3.13 a TaskGroup can swallow a cancellation that meets a failing child: ask again.
            while not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=limits.RECONNECT_FIRST_S)

    async def watch(
        self, *, resume_after: bytes = b"", live_only: bool = False, patience_s: float = float("inf")
    ) -> AsyncIterator[national_pb2.WatchResponse]:
        """Yield everything that the nation received, then what comes, for ever; reconnect when the gateway went away.

        Raises Refused, and Unreachable when the gateway is away for longer than `patience_s`.
        """
        position, pause_s, away_s, why = resume_after, limits.RECONNECT_FIRST_S, 0.0, ""
        while True:
            request = national_pb2.WatchRequest(resume_after=position, live_only=live_only and not position)
            call = self._stub.Watch(request)
            try:
                async with asyncio.timeout(limits.CALL_DEADLINE_S):  # the gateway speaks at once
                    response = await call.read()
                while isinstance(response, national_pb2.WatchResponse):
                    position = response.position
                    pause_s, away_s, why = limits.RECONNECT_FIRST_S, 0.0, ""
                    yield response
                    response = await call.read()
            except TimeoutError:
                away_s += limits.CALL_DEADLINE_S
                why = why or "it takes the connection and says nothing"
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.INTERNAL:  # a fault of the gateway's must not end a watch for good
                    pause_s = limits.RECONNECT_MAX_S
                else:
                    _raise_if_final(error)
                why = _why(error, why)
            finally:
                call.cancel()
            if away_s >= patience_s:
                raise Unreachable(f"no gateway for {away_s:.1f} s: {why or 'it ends every watch'}")
            await asyncio.sleep(pause_s)
            away_s += pause_s
            pause_s = min(pause_s * 2, limits.RECONNECT_MAX_S)

    async def acknowledge(
        self,
        message_id: bytes,
        *,
        origin: str,
        level: content_pb2.AckLevel.ValueType,
        exercise: content_pb2.Exercise | None = None,
        deadline_s: float = limits.CALL_DEADLINE_S,
    ) -> None:
        """Say that a person has seen a warning. Raises Refused or Unreachable."""
        request = national_pb2.AcknowledgeRequest(message_id=message_id, origin=origin, level=level, exercise=exercise)
        try:
            response = await self._stub.Acknowledge(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            _raise_if_final(error)
            raise Unreachable(f"the gateway did not answer: {_why(error)}") from error
        if response.outcome == national_pb2.REPORT_OUTCOME_REFUSED:
            raise Refused(response.refusal.reason, response.refusal.detail)


@dataclass(slots=True)
class _Waiting:
    request: national_pb2.ReportRequest
    answer: asyncio.Future[national_pb2.ReportResponse]


class Reporter:
    """A stream of reports. Several may be under way at once: they are taken, and answered, in the order of the calls.

    When the stream ends, everything that was not answered is sent again on the next, in order.
    """

    def __init__(self, stub: NationalAsyncStub, session: str, deadline_s: float) -> None:
        self._stub = stub
        self._session = session
        self._deadline_s = deadline_s
        self._waiting: deque[_Waiting] = deque()
        self._written = 0  # how many of those were written to the stream
        self._more = asyncio.Event()
        self._why = ""  # what the stream failed of since the last answer

    async def report(
        self,
        content: content_pb2.Content,
        *,
        precedence: envelope_pb2.Precedence.ValueType,
        label: envelope_pb2.SecurityLabel,
    ) -> Receipt:
        """Report one message. Raises Refused or Unreachable."""
        return await self.send(national_pb2.ReportRequest(content=content, precedence=precedence, label=label))

    async def report_line(
        self,
        line: bytes,
        *,
        format: str,  # noqa: A002 - the field's name
        exercise: content_pb2.Exercise | None = None,
    ) -> Receipt:
        """Report one line as the sensor wrote it. Raises Refused or Unreachable."""
        native = national_pb2.NativeReport(format=format, line=line)
        return await self.send(national_pb2.ReportRequest(native=native, exercise=exercise))

    async def send(self, request: national_pb2.ReportRequest) -> Receipt:
        """Send a request until it is answered. Raises Refused or Unreachable."""
        request.session = request.session or self._session
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._more.set()
        try:
            async with asyncio.timeout(self._deadline_s):
                response = await waiting.answer
        except TimeoutError as error:
            why = self._why or "it takes the connection and says nothing"
            raise Unreachable(f"no answer within {self._deadline_s} s: {why}") from error
        if response.outcome == national_pb2.REPORT_OUTCOME_REFUSED:
            raise Refused(response.refusal.reason, response.refusal.detail)
        return Receipt(
            duplicate=response.outcome == national_pb2.REPORT_OUTCOME_DUPLICATE,
            hub_connected=response.hub_connected,
            content_count=response.content_count,
        )

    async def run(self) -> None:
        """Keep a stream open while there is something to send, until cancelled."""
        pause_s = limits.RECONNECT_FIRST_S
        while True:
            await self._until_needed()
            call = self._stub.Report()
            self._written = 0
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._write(call))
                    group.create_task(self._read(call))
            except* Refused as refused:
                self._fail(first_of(refused))
            except* grpc.aio.AioRpcError as ended:  # what was not answered is sent again
                self._why = _why(first_of(ended), self._why)
            except* _Ended as ended:
                self._why = str(first_of(ended)) or self._why
            finally:
                call.cancel()
            await asyncio.sleep(pause_s)
            pause_s = limits.RECONNECT_FIRST_S if not self._waiting else min(pause_s * 2, limits.RECONNECT_MAX_S)

    async def _until_needed(self) -> None:
        self._forget_abandoned()
        while not self._waiting:
            self._more.clear()
            await self._more.wait()

    def _forget_abandoned(self) -> None:
        """Whoever gave up waiting decides what happens to the report; between two streams it can be left out."""
        self._waiting = deque(waiting for waiting in self._waiting if not waiting.answer.done())

    async def _write(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        while True:
            while self._written < len(self._waiting):
                self._written += 1
                try:
                    await call.write(self._waiting[self._written - 1].request)
                except asyncio.InvalidStateError as error:  # the call ended between two reports
                    raise _Ended from error
            self._more.clear()
            await self._more.wait()

    async def _read(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        while True:
            try:
                response = await call.read()
            except grpc.aio.AioRpcError as error:
                _raise_if_final(error)
                raise
            if not isinstance(response, national_pb2.ReportResponse):
                raise _Ended("it ends the stream")
            if response.refusal.reason in LASTING:
                raise _Ended(f"it cannot take anything now: {reason_name(response.refusal.reason)}")
            self._why = ""
            waiting = self._waiting.popleft()
            self._written -= 1
            if not waiting.answer.done():
                waiting.answer.set_result(response)

    def _fail(self, refused: BaseException) -> None:
        """Tell everybody who waits what will not change."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                waiting.answer.set_exception(refused)


class _Ended(Exception):  # noqa: N818 - it says what the stream has done
    pass


def _raise_if_final(error: grpc.aio.AioRpcError) -> None:
    """Raise Refused for an answer that will not change; return for what may pass."""
    refusal = refusal_of(error)
    if refusal is not None and refusal.reason not in LASTING:
        raise Refused(refusal.reason, refusal.detail) from error


def _why(error: BaseException, before: str = "") -> str:
    """Return what gRPC says of a failed call, and what to do next: addresses and faults of TLS, never content.

    A name may stand for several addresses, of which gRPC tells the last: that nobody listens at one of them does not
    hide what is wrong with another.
    """
    if not isinstance(error, grpc.aio.AioRpcError):
        return before
    text = "".join(letter for letter in error.details() or "" if letter.isprintable())[: limits.DETAIL_CHARS_MAX * 2]
    refusal = refusal_of(error)
    if refusal is not None:
        return f"it refuses for now: {reason_name(refusal.reason)}"
    if "refused" in text:
        return before or f"{text}; start the gateway, or correct the address"
    if "handshake" in text or "SSL" in text:
        return f"{text}; TLS failed: is it our own gateway, under the root given, and are both certificates valid?"
    if "DNS" in text or "resol" in text:
        return f"{text}; correct the gateway's name"
    return f"{error.code().name} {text}".rstrip() + "; is it our own nation's gateway, and does its log say more?"


def _nearest_root(base: Path) -> Path:
    for folder in base.resolve().parents:
        if (folder / "root.pem").exists():
            return folder / "root.pem"
    raise FileNotFoundError(f"no root.pem beside or above {base}: name the nation's root with `roots`")
