"""T9: the text of a fault carries content to the other side."""

from __future__ import annotations

import logging
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from broker.demo.world import shipped_policy
from broker.gateway.release import Policy, Subject
from broker.gateway.release.decide import Decider
from broker.refusal import Reason
from broker.rpc import CHANNEL_OPTIONS, SERVER_OPTIONS, FaultBarrier, refusal_of
from certs import tls
from tests.path import reports
from tests.threats.parties import FLASH, WAIT_S

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.gateway.release.engine import Facts
    from certs.issue import Authority

SECRET = "aegis-1 saw it at 40.6133 N 126.4269 E"  # noqa: S105 - content, not a password


class SensorFault(Exception):  # noqa: N818 - a fault of ours, named by what it tells
    pass


async def fails(_request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    raise SensorFault(SECRET)


async def fails_midway(_request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
    yield b"first"
    raise SensorFault(SECRET)


class Service(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method == "/test/Unary":
            return grpc.unary_unary_rpc_method_handler(fails)
        return grpc.unary_stream_rpc_method_handler(fails_midway)


@asynccontextmanager
async def behind_the_barrier(keys: Authority) -> AsyncIterator[grpc.aio.Channel]:
    hub, kor = keys.home("HUB"), keys.home("KOR")
    server = grpc.aio.server(interceptors=[FaultBarrier()], options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers([Service()])
    pair = tls.read_pair(hub / "hub.pem", hub / "hub.key")
    port = server.add_secure_port("127.0.0.1:0", tls.server_credentials(*pair, (hub / "trust.pem").read_bytes()))
    await server.start()
    ours = tls.read_pair(kor / "gateway.pem", kor / "gateway.key")
    credentials = tls.channel_credentials(*ours, (hub / "root.pem").read_bytes())
    try:
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=CHANNEL_OPTIONS) as channel:
            yield channel
    finally:
        await server.stop(None)


async def all_of(channel: grpc.aio.Channel, method: str) -> None:
    if method == "/test/Unary":
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        await unary(b"", timeout=WAIT_S)
    stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
    async for _ in stream(b"", timeout=WAIT_S):
        pass


@pytest.mark.parametrize("method", ["/test/Unary", "/test/Stream"])
async def test_a_fault_crosses_the_wire_as_a_number(
    keys: Authority, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    async with behind_the_barrier(keys) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await all_of(channel, method)
    error = caught.value
    assert error.code() is grpc.StatusCode.INTERNAL
    everything = (
        f"{error.details()} {error.debug_error_string()} {error.trailing_metadata()} {error.initial_metadata()}"
    )
    assert not any(word in everything for word in (*SECRET.split(" saw it at "), "SensorFault", "Traceback", __file__))
    refusal = refusal_of(error)
    assert refusal is not None
    assert refusal.reason == Reason.REASON_INTERNAL
    incident = re.search(r"incident ([0-9a-f]{8})", refusal.detail)
    assert incident is not None
    assert incident[1] in caplog.text, "whoever quotes the number is answered from our log"


class Broken:
    """An engine that fails in the middle of a decision."""

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        raise ZeroDivisionError(f"{SECRET} {facts}")


def test_a_fault_in_deciding_is_a_denial_that_names_the_kind_of_fault_and_no_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    policy = Policy.parse(shipped_policy("KOR"))
    subject = Subject(reports.launch(bytes(16), bytes(16), base=None), reports.label(), FLASH)
    assert Decider(policy).decide(subject, "USA", now_ns=time.time_ns()).released, "the control"

    def broken(_rules: Sequence[object]) -> Broken:
        return Broken()

    decision = Decider(policy, broken).decide(subject, "USA", now_ns=time.time_ns())
    assert not decision.released
    assert decision.fault == "ZeroDivisionError"
    assert "40.61" not in decision.to_json() + caplog.text
