"""The hub is told to what it shall hold us: our invariants are registered with every connection, and when they change.

It is a second wall, and no condition for anything: what we send goes on whether or not the hub has taken them. A hub of
a version that knows nothing of invariants is left in peace until the next connection; one that refuses them is asked
again in a while where it may only lack the members document that we have, and a metric says so meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.link import together
from broker.limits import SECOND_NS
from broker.refusal import Reason, reason_name
from broker.rpc import refusal_of
from vedette.v1.exchange_pb2 import Registration
from vedette.v1.exchange_pb2_grpc import ExchangeStub

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from broker.audit import AuditTrail
    from broker.gateway.invariants import InvariantsInForce, SignedInvariants
    from broker.gateway.link import LinkState
    from broker.stages import Metrics
    from vedette.v1.exchange_pb2_grpc import ExchangeAsyncStub

log = logging.getLogger(__name__)

# What says nothing of the document: the next try may find the hub well, or with a newer members document.
_LATER: Final = frozenset(
    {Reason.REASON_NOT_SIGNED, Reason.REASON_TOO_MANY_STREAMS, Reason.REASON_STORE_FULL, Reason.REASON_UNAVAILABLE}
)


@dataclass(slots=True)
class Registrar:
    """Keeps our invariants registered. `run` ends by an exception; `broker.gateway.link.keep_trying` runs it again."""

    channel: grpc.aio.Channel
    link: LinkState
    invariants: InvariantsInForce
    metrics: Metrics
    audit: AuditTrail

    async def run(self) -> None:
        """Register with every connection and every change, until cancelled. Raises AioRpcError."""
        stub: ExchangeAsyncStub = ExchangeStub(self.channel)
        while True:
            since_ns, signed = self.link.since_ns, self.invariants.current
            self.metrics.invariants_unregistered.set(1)
            is_settled = not self.link.connected or await self._register(stub, signed)
            wait_s = limits.RETENTION_S if is_settled else limits.RESEND_NS / SECOND_NS
            await together(self.link.next_change(since_ns), self.invariants.newer_than(signed), asyncio.sleep(wait_s))

    async def _register(self, stub: ExchangeAsyncStub, signed: SignedInvariants) -> bool:
        """Register; return whether there is nothing more to be done about it."""
        version, digest = signed.invariants.version, signed.invariants.digest
        registration = Registration(document=signed.document, signatures=signed.signatures)
        try:
            registered = await stub.Register(registration, timeout=limits.CALL_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            if refusal is None and error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            reason = reason_name(refusal.reason) if refusal is not None else "UNIMPLEMENTED"
            log.critical("the hub does not hold us to our invariants version=%d reason=%s", version, reason)
            detail = refusal.detail if refusal is not None else "the hub speaks a version without invariants"
            self.audit.note("invariants-not-registered", version=version, reason=reason, detail=detail)
            return refusal is None or refusal.reason not in _LATER
        if registered.digest != digest:
            log.critical("the hub says that it holds us to other invariants version=%d", registered.version)
            self.audit.note("invariants-not-registered", version=version, reason="OTHER", detail="")
            return True
        self.metrics.invariants_unregistered.set(0)
        log.info("invariants registered version=%d", version)
        self.audit.note("invariants-registered", version=version, digest=digest)
        return True
