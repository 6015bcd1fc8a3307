"""A client for a nation's officers: propose, approve, activate and stop, at their own gateway, over mutual TLS.

    async with Officer.open("127.0.0.1:7001", Certificates.of("certs/kor/officers/security-1-tls"), signer) as officer:
        shown = await officer.show(digest=…)
        await officer.approve(shown)

Everything that is signed is signed here, over bytes that were seen here: the gateway never says what to sign. `Refused`
says why the gateway will not have something, `Unreachable` that it was not there, and `NotWhatItSays` that what the
gateway showed is not what it is called.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from broker import limits
from broker.client import Certificates, Unreachable
from broker.orders import RESUME_TYPE, STOP_TYPE, ResumeOrder, StopOrder, digest_of
from broker.refusal import Refused
from broker.rpc import CHANNEL_OPTIONS, refusal_of
from certs import tls
from certs.approval import PAYLOAD_TYPE, PROPOSAL_TYPE
from certs.identity import identity_of_uri, read_leaf
from certs.signature import sign_document
from vedette.v1 import admin_pb2
from vedette.v1.admin_pb2_grpc import ReleaseAdminStub

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from certs.identity import Identity
    from certs.signature import Signer
    from vedette.v1.admin_pb2_grpc import ReleaseAdminAsyncStub

__all__ = ["Certificates", "NotWhatItSays", "Officer", "Refused", "Unreachable"]

T = TypeVar("T")

CHECKED_S = limits.RELEASE_CHECKS_S + limits.CALL_DEADLINE_S  # of a call that has a draft checked


class NotWhatItSays(Exception):  # noqa: N818 - it says what was shown
    """The gateway showed another document than the digest names: sign nothing."""


@dataclass(slots=True)
class Officer:
    """One officer's connection to the nation's gateway. Make it with `open`."""

    identity: Identity
    signer: Signer | None  # None: only to look
    _stub: ReleaseAdminAsyncStub

    @classmethod
    @asynccontextmanager
    async def open(
        cls, address: str, certificates: Certificates, signer: Signer | None = None
    ) -> AsyncIterator[Officer]:
        """Give a connection for as long as the block lasts. Raises IdentityError for a certificate that is not ours."""
        identity = read_leaf(certificates.certificate).identity
        identity = identity_of_uri(identity.uri)
        credentials = tls.channel_credentials(certificates.certificate, certificates.key, certificates.roots)
        async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
            yield cls(identity, signer, ReleaseAdminStub(channel))

    async def propose(self, document: bytes, tests: bytes) -> admin_pb2.ProposeResponse:
        """Sign a document as its proposer and put it up for approval."""
        proposal = self._sign(PROPOSAL_TYPE, document)
        request = admin_pb2.ProposeRequest(document=document, tests=tests, proposal=proposal)
        return await _answer(self._stub.Propose(request, timeout=CHECKED_S))

    async def show(self, *, digest: str = "", version: int = 0) -> admin_pb2.ShowResponse:
        """Return a draft or version; without either, what is in force. Raises NotWhatItSays."""
        request = admin_pb2.ShowRequest()
        if digest:
            request.digest = digest
        elif version:
            request.version = version
        shown = await _answer(self._stub.Show(request, timeout=limits.CALL_DEADLINE_S))
        if digest_of(shown.document) != shown.summary.digest or digest not in ("", shown.summary.digest):
            raise NotWhatItSays("the document shown is not the one that its digest names; sign nothing")
        return shown

    async def approve(self, shown: admin_pb2.ShowResponse) -> admin_pb2.ApproveResponse:
        """Sign exactly the document that was shown."""
        approval = self._sign(PAYLOAD_TYPE, shown.document)
        request = admin_pb2.ApproveRequest(digest=digest_of(shown.document), approval=approval)
        return await _answer(self._stub.Approve(request, timeout=limits.CALL_DEADLINE_S))

    async def activate(self, digest: str) -> admin_pb2.ActivateResponse:
        """Bring into force what was approved."""
        return await _answer(self._stub.Activate(admin_pb2.ActivateRequest(digest=digest), timeout=CHECKED_S))

    async def withdraw(self, digest: str) -> None:
        """Take a draft back."""
        await _answer(self._stub.Withdraw(admin_pb2.WithdrawRequest(digest=digest), timeout=limits.CALL_DEADLINE_S))

    async def history(self) -> admin_pb2.HistoryResponse:
        """Return all drafts, versions and stops."""
        return await _answer(self._stub.History(admin_pb2.HistoryRequest(), timeout=limits.CALL_DEADLINE_S))

    async def stop(self, recipient: str, reason: str, *, now_ns: int) -> admin_pb2.ReleaseStop:
        """Release nothing more to a member, `self` or `all`. Raises OrderError too."""
        version = (await self.show()).summary.version
        order = StopOrder(self.identity.member, recipient, version, now_ns, self.identity.name, reason)
        order.check()
        data = order.to_bytes()
        request = admin_pb2.StopRequest(order=data, signature=self._sign(STOP_TYPE, data))
        return (await _answer(self._stub.Stop(request, timeout=limits.CALL_DEADLINE_S))).stop

    async def resume(self, stop: admin_pb2.ReleaseStop) -> admin_pb2.ResumeResponse:
        """Approve that a stop is lifted."""
        order = ResumeOrder(self.identity.member, stop.recipient, stop.digest).to_bytes()
        request = admin_pb2.ResumeRequest(recipient=stop.recipient, approval=self._sign(RESUME_TYPE, order))
        return await _answer(self._stub.Resume(request, timeout=limits.CALL_DEADLINE_S))

    async def explain(self, message: str, recipient: str, *, as_json: bool = False) -> str:
        """Return why a recipient is shown what it is shown of a recorded message."""
        request = admin_pb2.ExplainRequest(message=message, recipient=recipient, as_json=as_json)
        return (await _answer(self._stub.Explain(request, timeout=limits.CALL_DEADLINE_S))).explanation

    async def start_shadow(self, digest: str) -> None:
        """Run a draft beside what is in force."""
        request = admin_pb2.StartShadowRequest(digest=digest)
        await _answer(self._stub.StartShadow(request, timeout=limits.CALL_DEADLINE_S))

    async def stop_shadow(self) -> None:
        """End that."""
        await _answer(self._stub.StopShadow(admin_pb2.StopShadowRequest(), timeout=limits.CALL_DEADLINE_S))

    async def shadow_report(self) -> str:
        """Return what it would have done, as JSON."""
        request = admin_pb2.ShadowReportRequest()
        return (await _answer(self._stub.ShadowReport(request, timeout=limits.CALL_DEADLINE_S))).report

    def _sign(self, payload_type: str, data: bytes) -> bytes:
        if self.signer is None:
            raise ValueError("this connection was opened without a signing key")
        return sign_document(payload_type, data, self.signer)


async def _answer(call: Awaitable[T]) -> T:
    """Return the answer of a call. Raises Refused or Unreachable."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        if refusal is not None:
            raise Refused(refusal.reason, refusal.detail) from error
        raise Unreachable(_why(error)) from error


def _why(error: grpc.aio.AioRpcError) -> str:
    text: Any = error.details() or ""
    said = "".join(letter for letter in str(text) if letter.isprintable())[: limits.DETAIL_CHARS_MAX * 2]
    return (
        f"{error.code().name} {said}".rstrip()
        + "; is it our own nation's gateway, and is the certificate an officer's?"
    )
