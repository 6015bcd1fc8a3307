"""The Exchange service: who is calling, then the steps in order. Nothing is decided here.

Messages come and go as bytes: a request that does not parse is then ours to refuse, and does not cost its sender the
stream. What is raised becomes a status in `broker.rpc.FaultBarrier`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from broker import limits
from broker.content import parse_strict
from broker.hub.follow import FOLLOWERS, Following
from broker.hub.metrics import STEP_REGISTER
from broker.hub.readback import read_back
from broker.hub.submit import SUBMITTERS, Submission
from broker.refusal import Reason, Refused
from broker.rpc import or_cut
from broker.store import StoreError
from certs.identity import Role
from vedette.v1.exchange_pb2 import DESCRIPTOR, ReadBackRequest, Registration

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from broker.hub.parts import Parts
    from broker.rpc import Caller

SERVICE: Final = DESCRIPTOR.services_by_name["Exchange"].full_name


class Exchange:
    """The hub's side of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._under_way: Counter[tuple[str, str]] = Counter()  # by caller and call

    async def submit(self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serve steps 4 to 6: envelopes up, receipts down."""
        async with self._parts.door.admit(context, SUBMITTERS, most=limits.STREAMS_PER_MEMBER_MAX) as caller:
            with self._one_of(caller, "Submit", limits.SUBMITS_PER_MEMBER_MAX):
                await or_cut(Submission(self._parts, caller, context).run(), caller)

    async def follow(self, _requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serve step 7: the caller's log down."""
        async with self._parts.door.admit(context, FOLLOWERS, most=limits.STREAMS_PER_MEMBER_MAX) as caller:
            try:
                await or_cut(Following(self._parts, caller, context).run(), caller)
            except StoreError as error:
                raise Refused(Reason.REASON_UNAVAILABLE, "the hub's store is away: come back in a moment") from error

    async def read_back(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        """Return the caller's own envelopes."""
        wanted = parse_strict(ReadBackRequest, request)
        async with self._parts.door.admit(context, {Role.GATEWAY}, most=limits.STREAMS_PER_MEMBER_MAX) as caller:
            try:
                with self._one_of(caller, "ReadBack", limits.READ_BACKS_PER_MEMBER_MAX):
                    async for response in read_back(self._parts.store, caller.identity.member, wanted.after):
                        if caller.cut.is_set():
                            raise Refused(Reason.REASON_REVOKED, "this certificate was withdrawn")
                        yield response.SerializeToString()
            except StoreError as error:
                raise Refused(Reason.REASON_UNAVAILABLE, "the hub's store is away: come back in a moment") from error

    async def register(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """Take over the caller's invariants."""
        wanted = parse_strict(Registration, request)
        async with self._parts.door.admit(context, {Role.GATEWAY}, most=limits.STREAMS_PER_MEMBER_MAX) as caller:
            code = caller.identity.member
            try:
                with self._one_of(caller, "Register", limits.REGISTERS_PER_MEMBER_MAX):
                    registered = await self._parts.registry.register(self._parts.door.members.members[code], wanted)
            except Refused as refused:
                self._parts.refusals.note(STEP_REGISTER, code, refused)
                raise
            return registered.SerializeToString()

    @contextmanager
    def _one_of(self, caller: Caller, call: str, most: int) -> Iterator[None]:
        """Hold one of the calls of a kind that a member may have under way. Raises Refused."""
        kind = (caller.identity.uri, call)
        if self._under_way[kind] >= most:
            raise Refused(Reason.REASON_TOO_MANY_STREAMS, f"at most {most} {call} calls at once: close one first")
        self._under_way[kind] += 1
        try:
            yield
        finally:
            self._under_way[kind] -= 1

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a server serves: without serialisers, so that bytes stay bytes."""
        bidirectional = cast("Any", grpc.stream_stream_rpc_method_handler)
        downward = cast("Any", grpc.unary_stream_rpc_method_handler)
        single = cast("Any", grpc.unary_unary_rpc_method_handler)
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Submit": bidirectional(self.submit),
                "Follow": bidirectional(self.follow),
                "ReadBack": downward(self.read_back),
                "Register": single(self.register),
            },
        )
