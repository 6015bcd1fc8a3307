"""The service for the nation's own systems: only calls the steps in order.

A system or a watch has one mode, from its certificate: an exercise system can neither report nor see anything real.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from broker import limits
from broker.envelope import identity
from broker.gateway.downlink import INBOX
from broker.refusal import Reason, Refused, reason_name
from broker.rpc import Caller, Door, internal, or_cut
from broker.stages import Leg, mode_label, precedence_label
from certs.identity import Role
from vedette.v1 import content_pb2, envelope_pb2, national_pb2
from vedette.v1.national_pb2_grpc import NationalServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from broker.audit import AuditTrail
    from broker.clock import Clock
    from broker.gateway.deliver import Delivery
    from broker.gateway.intake import Intake, Taken
    from broker.gateway.link import LinkState
    from broker.gateway.pipeline import Pipeline
    from broker.stages import Metrics
    from certs.identity import Identity

AHEAD_MAX: Final = 64  # reports of one stream that are under way at once

# What is known of a report once it was taken in: that it is refused, or what will say that its messages are durable.
_Answer: TypeAlias = "Refused | list[asyncio.Future[bool]]"


@dataclass(slots=True)
class National(NationalServicer):
    """Steps 1 and 9, on the wire."""

    us: str
    door: Door
    intake: Intake
    pipeline: Pipeline
    delivery: Delivery
    link: LinkState
    clock: Clock
    metrics: Metrics
    audit: AuditTrail

    async def Report(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[national_pb2.ReportRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[national_pb2.ReportResponse]:
        """Answer each report in order; a refused one does not end the stream.

        The next reports are taken in while the ones before become durable: one fsync serves them all.
        """
        answers: asyncio.Queue[_Answer | None] = asyncio.Queue(maxsize=AHEAD_MAX)
        async with self.door.admit(context, {Role.SYSTEM}, most=limits.STREAMS_PER_MEMBER_MAX) as caller:
            taking = asyncio.create_task(self._take_in(request_iterator, caller.identity, answers), name="report")
            try:
                number = 0
                while (answer := await or_cut(answers.get(), caller)) is not None:
                    number += 1
                    response = await self._finish(answer, caller.identity)
                    response.number = number
                    yield response
                await taking  # a fault of ours comes to light here
            finally:
                taking.cancel()

    async def ReportOnce(  # noqa: N802 - gRPC's name
        self, request: national_pb2.ReportRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> national_pb2.ReportResponse:
        """Answer one report. A refusal is an answer here too."""
        async with self.door.admit(context, {Role.SYSTEM}, most=limits.STREAMS_PER_MEMBER_MAX) as caller:
            response = await self._finish(await self._begin(request, caller.identity), caller.identity)
            response.number = 1
            return response

    async def Watch(  # noqa: N802 - gRPC's name
        self, request: national_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[national_pb2.WatchResponse]:
        """Give everything of the watch's mode from its position on, then live."""
        async with self.door.admit(context, {Role.WATCH}, most=limits.WATCHERS_MAX) as caller:
            responses = aiter(self.delivery.watch(request, caller.identity.mode))
            try:
                while True:
                    yield await or_cut(anext(responses), caller)
            finally:
                await responses.aclose()  # type: ignore[attr-defined] # it is an async generator

    async def Acknowledge(  # noqa: N802 - gRPC's name
        self, request: national_pb2.AcknowledgeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> national_pb2.AcknowledgeResponse:
        """Bring a person's acknowledgement on its way to the message's origin, if policy allows."""
        async with self.door.admit(context, {Role.WATCH}, most=limits.WATCHERS_MAX) as caller:
            try:
                await self._check_received(request, caller)
                fresh = await self.pipeline.take(self._acknowledgement(request, caller))
            except Refused as refused:
                self._note_refused(refused, caller.identity)
                return national_pb2.AcknowledgeResponse(
                    outcome=national_pb2.REPORT_OUTCOME_REFUSED, refusal=refused.on_wire()
                )
            return national_pb2.AcknowledgeResponse(outcome=_outcome(fresh=fresh))

    async def _take_in(
        self,
        requests: AsyncIterator[national_pb2.ReportRequest],
        sender: Identity,
        answers: asyncio.Queue[_Answer | None],
    ) -> None:
        try:
            async for request in requests:
                await answers.put(await self._begin(request, sender))
        except asyncio.CancelledError:
            raise  # nobody reads the answers any more
        except BaseException:
            await answers.put(None)
            raise
        await answers.put(None)

    async def _begin(self, request: national_pb2.ReportRequest, sender: Identity) -> _Answer:
        """Check a report and queue what it says, in order."""
        began_ns = self.clock.monotonic_ns()
        try:
            taken = await self.intake.read(request, sender, now_ns=self.clock.wall_ns(), recall=self.pipeline.recall)
        except Refused as refused:
            return refused
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
            # A fault of one adapter must not end the stream of a sensor: the next line may be a launch.
            return internal(fault)
        self._note_intake(taken, self.clock.monotonic_ns() - began_ns)
        return [await self.pipeline.offer(item) for item in taken]

    async def _finish(self, answer: _Answer, sender: Identity) -> national_pb2.ReportResponse:
        """Wait until a report is durable, and say so."""
        response = national_pb2.ReportResponse(hub_connected=self.link.connected)
        try:
            if isinstance(answer, Refused):
                raise answer
            fresh = [await done for done in answer]
        except Refused as refused:
            self._note_refused(refused, sender)
            response.outcome = national_pb2.REPORT_OUTCOME_REFUSED
            response.refusal.CopyFrom(refused.on_wire())
            return response
        response.outcome = _outcome(fresh=any(fresh) or not fresh)
        response.content_count = len(fresh)
        return response

    async def _check_received(self, request: national_pb2.AcknowledgeRequest, caller: Caller) -> None:
        """Refuse to acknowledge what nobody here can have seen."""
        key = identity(request.origin, self.us, caller.identity.mode, request.message_id)
        if await self.pipeline.store.find(INBOX, key) is None:
            raise Refused(Reason.REASON_UNKNOWN_REFERENCE, "no such warning was received: name its id and its origin")

    def _acknowledgement(self, request: national_pb2.AcknowledgeRequest, caller: Caller) -> Taken:
        content = content_pb2.Content()
        content.header.message_id = b"ack:" + request.message_id[: limits.ID_BYTES] + bytes([request.level & 0x7F])
        content.header.origin = self.us
        content.header.mode = caller.identity.mode
        content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        if request.HasField("exercise"):
            content.header.exercise.CopyFrom(request.exercise)
        content.operator_ack.message_id = request.message_id
        content.operator_ack.level = request.level
        label = envelope_pb2.SecurityLabel(
            policy=self.us,
            classification=envelope_pb2.CLASSIFICATION_UNCLASSIFIED,
            releasable_to=sorted({self.us, request.origin}),
        )
        return self.intake.acknowledged(content, label, caller.identity, now_ns=self.clock.wall_ns())

    def _note_intake(self, taken: list[Taken], duration_ns: int) -> None:
        for item in taken:
            labels = (self.us, self.us, precedence_label(item.precedence), mode_label(item.scope.mode))
            self.metrics.took(Leg.INTAKE, labels, duration_ns)
            self.metrics.passed("1-intake", labels)

    def _note_refused(self, refused: Refused, sender: Identity) -> None:
        reason = reason_name(refused.reason)
        self.metrics.refusals.labels("1-intake", self.us, reason).inc()
        self.audit.note("refused", system=sender.name, reason=reason, detail=refused.detail)


def _outcome(*, fresh: bool) -> national_pb2.ReportOutcome.ValueType:
    return national_pb2.REPORT_OUTCOME_ACCEPTED if fresh else national_pb2.REPORT_OUTCOME_DUPLICATE
