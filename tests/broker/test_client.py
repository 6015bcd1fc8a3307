from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.client import Certificates, Client, Unreachable
from broker.demo.process import free_port
from broker.refusal import Reason, Refused
from vedette.v1 import content_pb2, envelope_pb2, national_pb2, refusal_pb2
from vedette.v1.national_pb2_grpc import NationalServicer

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.rpc import Door
    from tests.broker.conftest import Serve

FLASH = envelope_pb2.PRECEDENCE_FLASH
REFUSED = national_pb2.REPORT_OUTCOME_REFUSED
ACCEPTED, DUPLICATE = national_pb2.REPORT_OUTCOME_ACCEPTED, national_pb2.REPORT_OUTCOME_DUPLICATE
WAIT_S = 10.0


class Gateway(NationalServicer):
    """Keeps what it is told, ends its streams when it is told to, and gives events by number."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.sessions: list[str] = []
        self.fails: list[str] = []  # what becomes of the next reports: "drop" | a reason's name
        self.resumed: list[int] = []
        self.events_a_stream = 3
        self.is_silent = False
        self.faults = 0  # watches that end by one

    def at(self, door: Door) -> Gateway:
        self.door = door
        return self

    async def Report(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[national_pb2.ReportRequest],
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC's interface
    ) -> AsyncIterator[national_pb2.ReportResponse]:
        async for request in request_iterator:
            if self.is_silent:
                continue
            fault = self.fails.pop(0) if self.fails else ""
            if fault == "drop":
                return
            if fault:
                reason = refusal_pb2.Reason.Value(f"REASON_{fault}")
                refusal = refusal_pb2.Refusal(reason=reason, detail="why")
                yield national_pb2.ReportResponse(outcome=REFUSED, refusal=refusal)
                continue
            name = request.content.header.message_id.decode()
            outcome = DUPLICATE if name in self.seen else ACCEPTED
            self.seen.append(name)
            self.sessions.append(request.session)
            yield national_pb2.ReportResponse(outcome=outcome, hub_connected=True, content_count=1)

    async def ReportOnce(  # noqa: N802 - gRPC's name
        self,
        request: national_pb2.ReportRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> national_pb2.ReportResponse:
        raise NotImplementedError  # the client has its stream

    async def Watch(  # noqa: N802 - gRPC's name
        self,
        request: national_pb2.WatchRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[national_pb2.WatchResponse]:
        if request.resume_after == b"strange":
            raise Refused(Reason.REASON_BAD_POSITION, "why")
        if self.is_silent:
            await asyncio.sleep(WAIT_S)
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
        after = int(request.resume_after or b"0")
        self.resumed.append(after)
        for number in range(after + 1, after + 1 + self.events_a_stream):
            yield national_pb2.WatchResponse(position=str(number).encode())
        if after:
            await context.abort(grpc.StatusCode.UNAVAILABLE)

    async def Acknowledge(  # noqa: N802 - gRPC's name
        self,
        request: national_pb2.AcknowledgeRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC's interface
    ) -> national_pb2.AcknowledgeResponse:
        if request.origin == "JPN":
            return national_pb2.AcknowledgeResponse(outcome=ACCEPTED)
        refusal = refusal_pb2.Refusal(reason=Reason.REASON_UNKNOWN_REFERENCE)
        return national_pb2.AcknowledgeResponse(outcome=REFUSED, refusal=refusal)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def content(name: str) -> content_pb2.Content:
    made = content_pb2.Content()
    made.header.message_id = name.encode()
    return made


LABEL = envelope_pb2.SecurityLabel(policy="KOR")


async def test_a_report_is_answered_and_says_what_the_gateway_said(serve: Serve, gateway: Gateway) -> None:
    async with (
        serve(gateway.at) as served,
        Client.open(served.address, served.system()) as client,
        client.reporter(session="s-1") as reporter,
    ):
        first = await reporter.report(content("a"), precedence=FLASH, label=LABEL)
        again = await reporter.report(content("a"), precedence=FLASH, label=LABEL)
    assert (first.duplicate, first.hub_connected, first.content_count) == (False, True, 1)
    assert again.duplicate
    assert gateway.sessions == ["s-1", "s-1"]


async def test_a_refusal_is_raised_and_the_stream_lives_on(serve: Serve, gateway: Gateway) -> None:
    gateway.fails = ["OUT_OF_RANGE"]
    async with (
        serve(gateway.at) as served,
        Client.open(served.address, served.system()) as client,
        client.reporter() as reporter,
    ):
        with pytest.raises(Refused) as refused:
            await reporter.report(content("a"), precedence=FLASH, label=LABEL)
        assert (refused.value.reason, refused.value.detail) == (Reason.REASON_OUT_OF_RANGE, "why")
        assert not (await reporter.report(content("b"), precedence=FLASH, label=LABEL)).duplicate


@pytest.mark.parametrize("fault", ["drop", "STORE_FULL", "UNAVAILABLE"])
async def test_what_may_pass_is_sent_again_until_it_is_answered(fault: str, serve: Serve, gateway: Gateway) -> None:
    gateway.fails = [fault] * 3
    async with (
        serve(gateway.at) as served,
        Client.open(served.address, served.system()) as client,
        client.reporter() as reporter,
    ):
        receipt = await reporter.report(content("a"), precedence=FLASH, label=LABEL)
    assert (receipt.duplicate, gateway.seen) == (False, ["a"])


async def test_several_under_way_are_answered_in_order_though_the_stream_breaks_off(
    serve: Serve, gateway: Gateway
) -> None:
    gateway.fails = ["", "", "drop", "", "drop"]
    names = [f"m{number}" for number in range(20)]
    async with (
        serve(gateway.at) as served,
        Client.open(served.address, served.system()) as client,
        client.reporter() as reporter,
    ):
        reports = [reporter.report(content(name), precedence=FLASH, label=LABEL) for name in names]
        receipts = await asyncio.gather(*reports)
    assert len(receipts) == len(names)
    # An answer that was lost with its stream is asked for again: the gateway knows the report by its id.
    assert list(dict.fromkeys(gateway.seen)) == names


async def test_a_gateway_that_is_not_there_in_time_is_unreachable_and_one_that_comes_is_found(
    serve: Serve, gateway: Gateway, kor_world: Any
) -> None:
    port = free_port()
    certificates = Certificates.of(kor_world.home("KOR") / "systems" / "exercise" / "system-1")
    async with Client.open(f"localhost:{port}", certificates) as client:
        async with client.reporter(deadline_s=0.3) as reporter:
            with pytest.raises(Unreachable):
                await reporter.report(content("a"), precedence=FLASH, label=LABEL)
        async with client.reporter(deadline_s=WAIT_S) as reporter:
            waiting = asyncio.create_task(reporter.report(content("b"), precedence=FLASH, label=LABEL))
            await asyncio.sleep(0.2)
            async with serve(gateway.at, port=port):
                await waiting
    assert "b" in gateway.seen


async def test_a_watch_goes_on_after_the_last_event_that_it_gave(serve: Serve, gateway: Gateway) -> None:
    positions = []
    async with serve(gateway.at) as served, Client.open(served.address, served.watch()) as client:
        async with asyncio.timeout(WAIT_S):
            async for response in client.watch():
                positions.append(int(response.position))
                if len(positions) == 8:
                    break
    assert positions == list(range(1, 9))
    assert gateway.resumed == [0, 3, 6]


async def test_a_watch_goes_on_after_a_fault_of_the_gateways(serve: Serve, gateway: Gateway) -> None:
    gateway.faults = 1
    async with serve(gateway.at) as served, Client.open(served.address, served.watch()) as client:
        async with asyncio.timeout(WAIT_S):
            response = await anext(client.watch())
    assert response.position == b"1"
    assert gateway.faults == 0


async def test_a_watch_that_is_refused_says_why_and_one_without_a_gateway_gives_up_in_time(
    serve: Serve, gateway: Gateway, kor_world: Any
) -> None:
    async with serve(gateway.at) as served, Client.open(served.address, served.watch()) as client:
        with pytest.raises(Refused) as refused:
            await anext(client.watch(resume_after=b"strange"))
        assert refused.value.reason == Reason.REASON_BAD_POSITION
    certificates = Certificates.of(kor_world.home("KOR") / "watch" / "exercise" / "floor-1")
    async with Client.open(f"localhost:{free_port()}", certificates) as client:
        with pytest.raises(Unreachable):
            await anext(client.watch(patience_s=4 * limits.RECONNECT_FIRST_S))


async def test_an_acknowledgement_is_taken_refused_or_not_answered(
    serve: Serve, gateway: Gateway, kor_world: Any
) -> None:
    seen = content_pb2.ACK_LEVEL_CONFIRMED
    async with serve(gateway.at) as served, Client.open(served.address, served.watch()) as client:
        await client.acknowledge(bytes(16), origin="JPN", level=seen)
        with pytest.raises(Refused):
            await client.acknowledge(bytes(16), origin="USA", level=seen)
    certificates = Certificates.of(kor_world.home("KOR") / "watch" / "exercise" / "floor-1")
    async with Client.open(f"localhost:{free_port()}", certificates) as client:
        with pytest.raises(Unreachable):
            await client.acknowledge(bytes(16), origin="JPN", level=seen, deadline_s=1.0)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("nobody listens", "Connection refused; start the gateway"),
        ("another root", "TLS failed"),
        ("it says nothing", "says nothing"),
    ],
)
async def test_who_is_unreachable_says_what_the_connection_failed_of_and_what_to_do(
    fault: str, told: str, serve: Serve, gateway: Gateway, kor_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALL_DEADLINE_S", 0.5)
    gateway.is_silent = fault == "it says nothing"
    async with serve(gateway.at) as served, AsyncExitStack() as stack:
        address = f"localhost:{free_port()}" if fault == "nobody listens" else served.address
        tried = []
        for mine in (served.watch(), served.system()):
            if fault == "another root":
                mine = replace(mine, roots=(kor_world.home("KOR") / "hub-root.pem").read_bytes())  # noqa: PLW2901
            tried.append(await stack.enter_async_context(Client.open(address, mine)))
        watcher, system = tried
        with pytest.raises(Unreachable, match=told):
            await anext(watcher.watch(patience_s=1.0))
        async with system.reporter(deadline_s=1.0) as reporter:
            with pytest.raises(Unreachable, match=told):
                await reporter.report(content("a"), precedence=FLASH, label=LABEL)
        if fault != "it says nothing":
            with pytest.raises(Unreachable, match=told):
                await watcher.acknowledge(bytes(16), origin="JPN", level=content_pb2.ACK_LEVEL_CONFIRMED)


def test_certificates_find_the_nations_root_above_them_or_say_what_is_missing(kor_world: Any, tmp_path: Path) -> None:
    stem = kor_world.home("KOR") / "systems" / "exercise" / "system-1"
    assert Certificates.of(stem).roots == (kor_world.home("KOR") / "root.pem").read_bytes()
    for ending in ("pem", "key"):
        (tmp_path / f"a.{ending}").write_bytes(stem.with_name(f"system-1.{ending}").read_bytes())
        (tmp_path / f"a.{ending}").chmod(0o600)
    with pytest.raises(FileNotFoundError, match=r"no root\.pem"):
        Certificates.of(tmp_path / "a")
    assert Certificates.of(tmp_path / "a", roots=kor_world.home("KOR") / "root.pem").roots
