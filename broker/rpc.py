"""gRPC as we use it: options that were measured, one way to refuse, one place where a fault becomes an answer.

* Options: small windows, so that a backlog waits in our bounded queues and not in the transport; a stopped peer is
  noticed in seconds; a silent TCP connection is closed; no compression (its length tells about the content).
* `Refused` becomes a status with the reason in the trailing metadata. Any other exception becomes INTERNAL with an
  incident number: grpc.aio would send the exception's text to the peer.
* `Door` says who is calling, refuses who may not, bounds the calls of each peer, and cuts the calls of somebody who was
  revoked. A handler is never cancelled for that (its peer would hang): it is woken, and it aborts.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

from certs import tls  # before grpc: it forbids TLS 1.2, which grpc reads from the environment when it is imported

import grpc  # isort: skip
import grpc.aio  # isort: skip

from broker import limits
from broker.refusal import Reason, Refused, reason_name
from certs.identity import IdentityError
from vedette.v1 import refusal_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from broker.clock import Clock
    from certs.identity import Identity, Role
    from certs.members import Members

log = logging.getLogger(__name__)
T = TypeVar("T")

REFUSAL_KEY: Final = "vedette-refusal-bin"

_COMMON: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", limits.TRANSPORT_BYTES_MAX),
    ("grpc.max_send_message_length", limits.TRANSPORT_BYTES_MAX),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", limits.LOOKAHEAD_BYTES),
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", limits.PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", limits.PING_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
]
SERVER_OPTIONS: Final[list[tuple[str, int]]] = [
    *_COMMON,
    ("grpc.http2.min_ping_interval_without_data_ms", limits.PING_TIMEOUT_MS),
    ("grpc.server_handshake_timeout_ms", limits.HANDSHAKE_TIMEOUT_MS),
    ("grpc.so_reuseport", 0),  # nobody else may share our port
]
CHANNEL_OPTIONS: Final[list[tuple[str, int]]] = [
    *_COMMON,
    # gRPC waits a second before its first new try; that would be most of an outage.
    ("grpc.initial_reconnect_backoff_ms", int(limits.RECONNECT_FIRST_S * 1000)),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", int(limits.RECONNECT_MAX_S * 1000)),
    # Each channel is a connection of its own: one that hangs does not take another along.
    ("grpc.use_local_subchannel_pool", 1),
]

_STATUS: Final[dict[int, grpc.StatusCode]] = {
    Reason.REASON_WRONG_ROOT: grpc.StatusCode.UNAUTHENTICATED,
    Reason.REASON_NOT_A_MEMBER: grpc.StatusCode.UNAUTHENTICATED,
    Reason.REASON_TLS_TOO_OLD: grpc.StatusCode.UNAUTHENTICATED,
    Reason.REASON_REVOKED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.REASON_ROLE_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.REASON_MODE_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.REASON_NO_CREDIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.REASON_TOO_MANY_STREAMS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.REASON_STORE_FULL: grpc.StatusCode.UNAVAILABLE,
    Reason.REASON_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.REASON_INTERNAL: grpc.StatusCode.INTERNAL,
}


async def abort_refused(context: grpc.aio.ServicerContext[Any, Any], refused: Refused) -> NoReturn:
    """End the call with the refusal: its text as details, the message itself in the trailing metadata."""
    refusal = refused.on_wire()
    await context.abort(
        _STATUS.get(refused.reason, grpc.StatusCode.INVALID_ARGUMENT),
        details=f"{reason_name(refused.reason)}: {refused.detail}",
        trailing_metadata=((REFUSAL_KEY, refusal.SerializeToString()),),
    )
    raise AssertionError  # abort always raises


def refusal_of(error: grpc.aio.AioRpcError) -> refusal_pb2.Refusal | None:
    """Return the refusal that a failed call carries, if it carries one."""
    for key, value in error.trailing_metadata() or ():
        if key == REFUSAL_KEY and isinstance(value, bytes):
            return refusal_pb2.Refusal.FromString(value)
    return None


def internal(fault: BaseException) -> Refused:
    """Log a fault of ours and return what the peer is told of it: a number, nothing else."""
    incident = secrets.token_hex(4)
    log.error("fault incident=%s", incident, exc_info=fault)
    return Refused(Reason.REASON_INTERNAL, f"a fault on our side; quote incident {incident}")


class FaultBarrier(grpc.aio.ServerInterceptor):
    """The outermost layer of every server: what a handler raises never reaches the peer as it is."""

    async def intercept_service(  # noqa: D102 - gRPC's interface
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = cast("Any", await continuation(handler_call_details))
        if handler is None:
            return None
        kinds = {
            (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
            (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
            (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
            (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
        }
        name, build = kinds[handler.request_streaming, handler.response_streaming]
        guarded = _guarded(getattr(handler, name))
        made = cast("Any", build)(guarded, handler.request_deserializer, handler.response_serializer)
        return cast("grpc.RpcMethodHandler[Any, Any]", made)


def _guarded(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behaviour):

        async def stream(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with _answering_faults(context):
                async for response in behaviour(request, context):
                    yield response

        return stream

    async def call(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> object:
        async with _answering_faults(context):
            return await behaviour(request, context)
        raise AssertionError  # a fault has ended the call

    return call


@asynccontextmanager
async def _answering_faults(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    try:
        yield
    except Refused as refused:
        await abort_refused(context, refused)
    except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
        raise
    except Exception as fault:  # noqa: BLE001 - the boundary of a call: its text must not cross the wire
        await abort_refused(context, internal(fault))


@dataclass(eq=False, slots=True)
class Caller:
    """Somebody on the line. `cut` is set when they were revoked: then the handler must raise `Refused(REVOKED)`."""

    identity: Identity
    certificate: bytes
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    _gone: asyncio.Task[bool] | None = None

    def gone(self) -> asyncio.Task[bool]:
        """Return the one task of this call that ends when the caller is cut."""
        if self._gone is None:
            self._gone = asyncio.create_task(self.cut.wait(), name="cut")
        return self._gone

    def close(self) -> None:
        """End with the call."""
        if self._gone is not None:
            self._gone.cancel()


class Door:
    """Who may come in, and how often at once."""

    def __init__(self, members: Members, clock: Clock) -> None:
        self.members = members
        self._clock = clock
        self._callers: set[Caller] = set()

    @asynccontextmanager
    async def admit(
        self, context: grpc.aio.ServicerContext[Any, Any], roles: Collection[Role], *, most: int
    ) -> AsyncIterator[Caller]:
        """Give the caller's identity for as long as the call lasts. Raises Refused."""
        identity = self._identify(context)
        if identity.role not in roles:
            raise Refused(Reason.REASON_ROLE_NOT_ALLOWED, f"{identity.role.name.lower()} may not make this call")
        # By name: an exercise's systems, or a hundred watches, must not keep a sensor out.
        if sum(1 for caller in self._callers if caller.identity.uri == identity.uri) >= most:
            raise Refused(Reason.REASON_TOO_MANY_STREAMS, f"at most {most} calls at once: close one first")
        caller = Caller(identity, tls.peer_certificate(context))
        self._callers.add(caller)
        try:
            yield caller
        finally:
            self._callers.discard(caller)
            caller.close()

    def renew(self, members: Members) -> None:
        """Take over a newer members document and wake every call whose peer is not welcome any more."""
        self.members = members
        for caller in self._callers:
            try:
                tls.certificate_identity(caller.certificate, members, self._clock.wall_ns())
            except IdentityError:
                caller.cut.set()

    def _identify(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        try:
            return tls.peer_identity(context, self.members, self._clock.wall_ns())
        except IdentityError as error:
            raise Refused(Reason.Value(f"REASON_{error.kind}"), str(error)) from error


async def or_cut(work: Awaitable[T], caller: Caller) -> T:
    """Wait for the work, or raise Refused(REVOKED) as soon as the caller is revoked."""
    task = asyncio.ensure_future(work)
    # Whoever waits may be cancelled first; what the task then ends with concerns nobody.
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        await asyncio.wait({task, caller.gone()}, return_when=asyncio.FIRST_COMPLETED)
        if caller.cut.is_set():
            raise Refused(Reason.REASON_REVOKED, "this certificate was withdrawn; ask your authority for a new one")
        return await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})  # whoever cleans up after us must not find it running


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended the connection; the others are its consequences."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
