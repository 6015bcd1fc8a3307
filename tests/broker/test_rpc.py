from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from broker.refusal import Reason, Refused
from broker.rpc import CHANNEL_OPTIONS, Door, first_of, or_cut, refusal_of
from certs import tls
from certs.identity import Role
from vedette.v1 import national_pb2
from vedette.v1.national_pb2_grpc import NationalServicer, NationalStub

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.client import Certificates
    from tests.broker.conftest import Serve, Served

INNER = "the policy of KOR says"
WAIT_S = 10.0


class Scripted(NationalServicer):
    """Answers by what the session of a report says."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.open = asyncio.Event()

    async def ReportOnce(  # noqa: N802 - gRPC's name
        self, request: national_pb2.ReportRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> national_pb2.ReportResponse:
        async with self.door.admit(context, {Role.SYSTEM}, most=1):
            match request.session:
                case "fault":
                    raise RuntimeError(INNER)
                case "refused":
                    raise Refused(Reason.REASON_STORE_FULL, "send it again")
                case "wait":
                    await self.open.wait()
                case _:
                    pass
        return national_pb2.ReportResponse(number=7)

    async def Watch(  # noqa: N802 - gRPC's name
        self, request: national_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[national_pb2.WatchResponse]:
        async with self.door.admit(context, {Role.WATCH}, most=2) as caller:
            yield national_pb2.WatchResponse(position=b"1")
            if request.live_only:
                raise KeyError(INNER)
            await or_cut(asyncio.Event().wait(), caller)


def channel_to(served: Served, certificates: Certificates) -> grpc.aio.Channel:
    credentials = tls.channel_credentials(certificates.certificate, certificates.key, certificates.roots)
    return grpc.aio.secure_channel(served.address, credentials, options=CHANNEL_OPTIONS)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await asyncio.wait_for(call, WAIT_S)
    return error.value


def text_of(error: grpc.aio.AioRpcError) -> str:
    """Return everything that crossed the wire, as text."""
    return f"{error.details()} {error.debug_error_string()} {error.trailing_metadata()}"


async def test_a_fault_of_ours_crosses_the_wire_as_a_number_and_nothing_else(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(Scripted) as served, channel_to(served, served.system()) as channel:
        error = await failure(NationalStub(channel).ReportOnce(national_pb2.ReportRequest(session="fault")))
        assert error.code() == grpc.StatusCode.INTERNAL
        refusal = refusal_of(error)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_INTERNAL
        assert INNER not in text_of(error)
        incident = refusal.detail.rpartition(" ")[2]
        assert any(incident in record.getMessage() and record.exc_info for record in caplog.records), "it is here"


async def test_a_fault_in_a_stream_crosses_the_wire_no_more(serve: Serve) -> None:
    async with serve(Scripted) as served, channel_to(served, served.watch()) as channel:
        call = NationalStub(channel).Watch(national_pb2.WatchRequest(live_only=True))
        first = await call.read()
        assert isinstance(first, national_pb2.WatchResponse)
        assert first.position == b"1"
        error = await failure(call.read())
        assert INNER not in text_of(error)
        assert error.code() == grpc.StatusCode.INTERNAL


async def test_a_refusal_comes_whole_in_the_trailing_metadata(serve: Serve) -> None:
    async with serve(Scripted) as served, channel_to(served, served.system()) as channel:
        stub = NationalStub(channel)
        error = await failure(stub.ReportOnce(national_pb2.ReportRequest(session="refused")))
        refusal = refusal_of(error)
        assert refusal is not None
        assert (refusal.reason, refusal.detail) == (Reason.REASON_STORE_FULL, "send it again")
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "STORE_FULL: send it again")
        assert (await stub.ReportOnce(national_pb2.ReportRequest())).number == 7, "the channel lives on"


async def test_an_error_without_a_refusal_has_none(serve: Serve) -> None:
    async with serve(Scripted) as served, channel_to(served, served.system()) as channel:
        nothing: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/vedette.v1.National/Nothing")
        error = await failure(nothing(b""))
        assert (error.code(), refusal_of(error)) == (grpc.StatusCode.UNIMPLEMENTED, None)


async def test_a_role_that_may_not_make_the_call_is_told_so(serve: Serve) -> None:
    async with serve(Scripted) as served, channel_to(served, served.watch()) as channel:
        error = await failure(NationalStub(channel).ReportOnce(national_pb2.ReportRequest()))
        refusal = refusal_of(error)
        assert refusal is not None
        assert (refusal.reason, error.code()) == (Reason.REASON_ROLE_NOT_ALLOWED, grpc.StatusCode.PERMISSION_DENIED)


async def test_more_calls_than_one_may_have_are_refused_until_one_ends(serve: Serve) -> None:
    async with serve(Scripted) as served, channel_to(served, served.watch()) as channel:
        stub = NationalStub(channel)
        calls = [stub.Watch(national_pb2.WatchRequest()) for _ in range(2)]
        for call in calls:
            await call.read()
        refusal = refusal_of(await failure(stub.Watch(national_pb2.WatchRequest()).read()))
        assert refusal is not None
        assert refusal.reason == Reason.REASON_TOO_MANY_STREAMS
        async with channel_to(served, served.system()) as other:
            assert (await NationalStub(other).ReportOnce(national_pb2.ReportRequest())).number == 7
        calls[0].cancel()
        async with asyncio.timeout(WAIT_S):
            while True:
                call = stub.Watch(national_pb2.WatchRequest())
                try:
                    await call.read()
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)
                else:
                    break
        for each in (call, calls[1]):
            each.cancel()


async def test_who_is_withdrawn_is_cut_in_the_middle_of_a_call_and_others_are_not(serve: Serve) -> None:
    async with serve(Scripted) as served, channel_to(served, served.watch()) as channel:
        stub = NationalStub(channel)
        withdrawn, call = stub.Watch(national_pb2.WatchRequest()), stub.Watch(national_pb2.WatchRequest())
        for each in (withdrawn, call):
            await each.read()
        served.door.renew(served.world.members())
        (first, _) = served.door._callers
        first.cut.set()
        done, _ = await asyncio.wait(
            {asyncio.ensure_future(each.read()) for each in (withdrawn, call)},
            return_when=asyncio.FIRST_COMPLETED,
            timeout=WAIT_S,
        )
        (ended,) = done
        error = ended.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        refusal = refusal_of(error)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_REVOKED
        for each in (withdrawn, call):
            each.cancel()


def test_the_first_of_a_group_is_what_began_it() -> None:
    inner = ExceptionGroup("inner", [ValueError("first"), TypeError("second")])
    assert str(first_of(ExceptionGroup("outer", [inner, KeyError("third")]))) == "first"
