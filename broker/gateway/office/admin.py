"""The service for the nation's officers: says who calls, and hands on to the office.

Who calls has a certificate of the nation's own root in the role of an officer, and is an officer of that name and duty
in the members document in force. What a call signs, the office checks again: a stolen certificate signs nothing, and a
stolen signing key calls nobody.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker import limits
from broker.gateway.office.releases import policy_of
from broker.refusal import Reason, Refused, reason_name
from certs.identity import Role
from vedette.v1 import admin_pb2
from vedette.v1.admin_pb2_grpc import ReleaseAdminServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from broker.gateway.office.office import Office
    from broker.gateway.office.recorded import Recorded
    from broker.gateway.office.shadow import Shadow, ShadowReport
    from broker.rpc import Door
    from certs.identity import Identity

    Context = grpc.aio.ServicerContext[Any, Any]

OFFICERS: Final = frozenset({Role.POLICY_OFFICER, Role.SECURITY_OFFICER})


@dataclass(slots=True)
class Admin(ReleaseAdminServicer):
    """See the module."""

    office: Office
    door: Door
    recorded: Recorded
    shadow: Shadow | None = None

    async def Propose(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.ProposeRequest, context: Context
    ) -> admin_pb2.ProposeResponse:
        """Put a document up for approval."""
        async with self._officer(context) as caller:
            record = await self.office.propose(request, caller)
            return admin_pb2.ProposeResponse(summary=self.office.summary(record), report=record.report)

    async def Show(self, request: admin_pb2.ShowRequest, context: Context) -> admin_pb2.ShowResponse:  # noqa: N802
        """Show a draft or version, whole."""
        async with self._officer(context):
            record = self.office.show(request)
            return admin_pb2.ShowResponse(
                summary=self.office.summary(record),
                document=record.document,
                tests=record.tests,
                proposal=record.proposal,
                approvals=record.approvals,
                report=record.report,
            )

    async def Approve(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.ApproveRequest, context: Context
    ) -> admin_pb2.ApproveResponse:
        """Add the caller's approval."""
        async with self._officer(context) as caller:
            record = await self.office.approve(request.digest, request.approval, caller)
            return admin_pb2.ApproveResponse(summary=self.office.summary(record))

    async def Activate(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.ActivateRequest, context: Context
    ) -> admin_pb2.ActivateResponse:
        """Bring into force what was approved."""
        async with self._officer(context) as caller:
            record = await self.office.activate(request.digest, caller)
            return admin_pb2.ActivateResponse(summary=self.office.summary(record), report=record.report)

    async def Withdraw(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.WithdrawRequest, context: Context
    ) -> admin_pb2.WithdrawResponse:
        """Forget a draft."""
        async with self._officer(context) as caller:
            await self.office.withdraw(request.digest, caller)
            return admin_pb2.WithdrawResponse()

    async def History(  # noqa: N802 - gRPC's name
        self,
        request: admin_pb2.HistoryRequest,  # noqa: ARG002 - it asks for all
        context: Context,
    ) -> admin_pb2.HistoryResponse:
        """List drafts, versions and stops."""
        async with self._officer(context):
            return self.office.history()

    async def Stop(self, request: admin_pb2.StopRequest, context: Context) -> admin_pb2.StopResponse:  # noqa: N802
        """Release nothing more to somebody."""
        async with self._officer(context) as caller:
            return admin_pb2.StopResponse(stop=await self.office.stop(request, caller))

    async def Resume(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.ResumeRequest, context: Context
    ) -> admin_pb2.ResumeResponse:
        """Add the caller's approval that a stop is lifted."""
        async with self._officer(context) as caller:
            return await self.office.resume(request, caller)

    async def Explain(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.ExplainRequest, context: Context
    ) -> admin_pb2.ExplainResponse:
        """Say why somebody is shown what of a recorded message."""
        async with self._officer(context):
            explanation = await self.recorded.explain(
                self.office.policy.current,
                request.message,
                request.recipient,
                now_ns=self.office.clock.wall_ns(),
                as_json=request.as_json,
            )
            return admin_pb2.ExplainResponse(explanation=explanation)

    async def StartShadow(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.StartShadowRequest, context: Context
    ) -> admin_pb2.StartShadowResponse:
        """Run a draft beside what is in force."""
        async with self._officer(context) as caller:
            draft = self.office.releases.find(request.digest)
            policy = await asyncio.to_thread(policy_of, draft.document, self.office.nation)
            self._shadow().start(policy)
            self.office.audit.note("shadow-started", version=policy.version, digest=policy.digest, officer=caller)
            return admin_pb2.StartShadowResponse()

    async def StopShadow(  # noqa: N802 - gRPC's name
        self,
        request: admin_pb2.StopShadowRequest,  # noqa: ARG002 - it says all by its name
        context: Context,
    ) -> admin_pb2.StopShadowResponse:
        """End that."""
        async with self._officer(context) as caller:
            self._shadow().stop()
            self.office.audit.note("shadow-stopped", officer=caller)
            return admin_pb2.StopShadowResponse()

    async def ShadowReport(  # noqa: N802 - gRPC's name
        self,
        request: admin_pb2.ShadowReportRequest,  # noqa: ARG002 - as above
        context: Context,
    ) -> admin_pb2.ShadowReportResponse:
        """Say what it would have done."""
        async with self._officer(context):
            report = self._shadow().report()
            if report is None:
                raise Refused(Reason.REASON_POLICY_UNKNOWN, "no draft ran in the shadow yet")
            return admin_pb2.ShadowReportResponse(report=_json(report))

    @asynccontextmanager
    async def _officer(self, context: Context) -> AsyncIterator[str]:
        """Give the name of the officer who calls; what is refused is counted and audited. Raises Refused."""
        async with self.door.admit(context, OFFICERS, most=limits.RELEASE_CALLS_MAX) as caller:
            try:
                yield self._named(caller.identity)
            except Refused as refused:
                self._note_refused(refused, caller.identity)
                raise

    def _named(self, identity: Identity) -> str:
        nation = self.office.nation
        if identity.member != nation:
            raise Refused(
                Reason.REASON_ROLE_NOT_ALLOWED, f"an officer of {identity.member}; this is {nation}'s gateway"
            )
        officer = self.door.members.members[identity.member].officers.get(identity.name)
        if officer is None or officer.duty.value != identity.role.value:
            text = f"{identity.name} is no {identity.role.value} in the members document in force"
            raise Refused(Reason.REASON_ROLE_NOT_ALLOWED, text)
        return identity.name

    def _shadow(self) -> Shadow:
        if self.shadow is None:
            raise Refused(Reason.REASON_UNAVAILABLE, "this gateway runs no shadow")
        return self.shadow

    def _note_refused(self, refused: Refused, identity: Identity) -> None:
        reason = reason_name(refused.reason)
        self.office.metrics.refusals.labels("admin", self.office.nation, reason).inc()
        self.office.audit.note("refused", officer=identity.name, reason=reason, detail=refused.detail)


def _json(report: ShadowReport) -> str:
    """Return what a draft in the shadow would have changed."""
    table = {
        "version": report.version,
        "digest": report.digest,
        "since_ns": report.since_ns,
        "ended": report.ended,
        "messages": report.messages,
        "skipped": report.skipped,
        "faults": report.faults,
        "bodies": dict(report.bodies),
        "changes": {
            recipient: {change.value: count for change, count in counts.items()}
            for recipient, counts in report.changes.items()
        },
        "rule_matches": dict(report.rule_matches),
        "against": list(report.against),
    }
    return json.dumps(table, sort_keys=True)
