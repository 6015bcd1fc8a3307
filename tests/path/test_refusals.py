"""Every reason for which a nation's own system or watch can be refused, at a real gateway; its stream lives on.

What a gateway can be refused for at the hub stands in tests/broker/hub/test_refusals.py; `SHOWN` says for every reason
where it is provoked.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.client import Certificates
from broker.demo.world import OPERATOR
from broker.refusal import Reason
from broker.rpc import CHANNEL_OPTIONS, refusal_of
from certs import tls
from vedette.v1 import content_pb2, envelope_pb2, national_pb2
from vedette.v1.national_pb2_grpc import NationalStub

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import OpenWorld
    from vedette.v1.national_pb2_grpc import NationalAsyncStub

    Change = Callable[[national_pb2.ReportRequest], object]

ROOT = Path(__file__).resolve().parents[2]
HUB_TESTS = "tests/broker/hub/test_refusals.py"
TLS_TESTS = "tests/certs/test_tls.py"
RELEASES_TESTS = "tests/broker/gateway/office/test_releases.py"
OFFICERS_TESTS = "tests/broker/gateway/office/test_admin.py"
HERE = "tests/path/test_refusals.py"
REFUSED = national_pb2.REPORT_OUTCOME_REFUSED
ACCEPTED = national_pb2.REPORT_OUTCOME_ACCEPTED
WAIT_S = 20.0

# Where each reason is provoked over a wire; where no wire can provoke it, by the code that gives it.
SHOWN = {
    "WRONG_ROOT": "tests/threats/test_t02_other_root.py",
    "NOT_A_MEMBER": "tests/threats/test_t02_other_root.py",
    "REVOKED": HERE,
    "ROLE_NOT_ALLOWED": HERE,
    "TLS_TOO_OLD": TLS_TESTS,
    "HELLO_EXPECTED": HUB_TESTS,
    "SCHEMA_VERSION": HUB_TESTS,
    "MALFORMED": HUB_TESTS,
    "TOO_LARGE": HERE,
    "UNKNOWN_FIELD": HERE,
    "UNKNOWN_ENUM_VALUE": HERE,
    "NOT_FINITE": HERE,
    "OUT_OF_RANGE": HERE,
    "MISSING_FIELD": HERE,
    "UNKNOWN_FORMAT": HERE,
    "UNREADABLE_LINE": HERE,
    "BODY_NOT_ALLOWED": HERE,
    "MODE_NOT_ALLOWED": HERE,
    "EXERCISE_BASE": HERE,
    "UNKNOWN_REFERENCE": HERE,
    "PRECEDENCE": HERE,
    "UNLABELLED": HERE,
    "WRONG_ORIGIN": HERE,
    "UNKNOWN_RECIPIENT": HUB_TESTS,
    "PAIR_NOT_ALLOWED": HUB_TESTS,
    "MISADDRESSED": HUB_TESTS,
    "HEADER_MISMATCH": HUB_TESTS,
    "UNKNOWN_KEY": HUB_TESTS,
    "BAD_SEAL": HUB_TESTS,
    "BODY_FORM": HUB_TESTS,
    "REPLAYED": HUB_TESTS,
    "CONFLICT": HERE,
    "EPOCH": HUB_TESTS,
    "FUTURE": HUB_TESTS,
    "LABEL_FORBIDS": HUB_TESTS,
    "LEAF_NOT_ALLOWED": HUB_TESTS,
    "THIRD_PARTY": HUB_TESTS,
    "INVARIANT": "tests/threats/test_t23_broken_release.py",
    "NOT_SIGNED": "tests/broker/hub/test_registry.py",
    "NO_CREDIT": "tests/threats/test_t06_flood.py",
    "STORE_FULL": "tests/broker/hub/test_commit.py",
    "UNAVAILABLE": "tests/broker/hub/test_commit.py",
    "BAD_POSITION": HERE,
    "TOO_MANY_STREAMS": HERE,
    "POLICY_UNREADABLE": RELEASES_TESTS,
    "POLICY_NATION": RELEASES_TESTS,
    "POLICY_SCHEMA": RELEASES_TESTS,
    "POLICY_VERSION": RELEASES_TESTS,
    "POLICY_EXPIRED": RELEASES_TESTS,
    "POLICY_UNSIGNED": "tests/threats/test_t24_one_officer.py",
    "POLICY_ALTERED": RELEASES_TESTS,
    "POLICY_SIGNER": OFFICERS_TESTS,
    "POLICY_SIGNED_TWICE": "tests/threats/test_t24_one_officer.py",
    "POLICY_PROPOSER": "tests/threats/test_t24_one_officer.py",
    "POLICY_DUTY": RELEASES_TESTS,
    "POLICY_APPROVALS": OFFICERS_TESTS,
    "POLICY_CHECKS": OFFICERS_TESTS,
    "POLICY_UNKNOWN": OFFICERS_TESTS,
    "POLICY_STATE": RELEASES_TESTS,
    "POLICY_LIMIT": RELEASES_TESTS,
    "POLICY_STALE": OFFICERS_TESTS,
    "INTERNAL": "tests/threats/test_t09_exception_text.py",
}


def test_every_reason_is_provoked_where_this_says() -> None:
    names = {name.removeprefix("REASON_") for name in Reason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum wrapper
    assert names == set(SHOWN)
    for name, where in SHOWN.items():
        text = (ROOT / where).read_text(encoding="utf-8")
        given = (f"REASON_{name}", f"Kind.{name}", f'"{name}"')
        if where == HERE:
            text = text.replace(f'"{name}": HERE', "")
        assert any(each in text for each in given), f"{where} does not provoke {name}"


@pytest.fixture(scope="module")
def world(open_shared_world: OpenWorld) -> World:
    return open_shared_world(nations=("KOR", "JPN"), pictures=False)


@asynccontextmanager
async def stub_of(world: World, certificates: Certificates) -> AsyncIterator[NationalAsyncStub]:
    credentials = tls.channel_credentials(certificates.certificate, certificates.key, certificates.roots)
    async with grpc.aio.secure_channel(world.address("KOR"), credentials, options=CHANNEL_OPTIONS) as channel:
        yield NationalStub(channel)


class Stream:
    """An open Report stream; it counts what it sends."""

    def __init__(self, stub: NationalAsyncStub) -> None:
        self.call = stub.Report()
        self._count = 0

    async def say(self, request: national_pb2.ReportRequest) -> national_pb2.ReportResponse:
        self._count += 1
        await self.call.write(request)
        response = await asyncio.wait_for(self.call.read(), WAIT_S)
        assert isinstance(response, national_pb2.ReportResponse), "the gateway ended the stream"
        assert response.number == self._count
        return response

    def cancel(self) -> None:
        self.call.cancel()


@pytest.fixture(scope="module")
def exercise(reports: ModuleType) -> content_pb2.Exercise:
    made: content_pb2.Exercise = reports.exercise("refusals")
    return made


@pytest.fixture
def good(reports: ModuleType, exercise: content_pb2.Exercise) -> Callable[[str], national_pb2.ReportRequest]:
    def make(name: str) -> national_pb2.ReportRequest:
        content = reports.track(name.encode(), b"e-1", base=exercise)
        return national_pb2.ReportRequest(content=content, precedence=reports.IMMEDIATE, label=reports.label())

    return make


def content_set(path: str, value: Any) -> Change:
    """Return what sets one field of the content: `header.mode`, `track.state.position_m`."""

    def change(request: national_pb2.ReportRequest) -> None:
        *inner, last = path.split(".")
        message: Any = request.content
        for name in inner:
            message = getattr(message, name)
        if isinstance(value, list):
            getattr(message, last)[:] = value
        else:
            setattr(message, last, value)

    return change


def request_set(name: str, value: Any) -> Change:
    return lambda request: setattr(request, name, value)


def native(format_name: str, line: bytes) -> Change:
    def change(request: national_pb2.ReportRequest) -> None:
        exercise = request.content.header.exercise
        request.exercise.CopyFrom(exercise)
        request.native.format, request.native.line = format_name, line

    return change


def unknown_field(request: national_pb2.ReportRequest) -> None:
    request.content.track.MergeFromString(b"\xf8\x07\x01")  # field 127, a varint


def fused(request: national_pb2.ReportRequest) -> None:
    request.content.fused.event_id = b"e"


def cancels_too(request: national_pb2.ReportRequest) -> None:
    request.content.header.references.add(message_id=b"x", relation=content_pb2.RELATION_CANCELS)


CASES: dict[str, tuple[Change, Reason.ValueType]] = {
    "an id too long": (
        content_set("header.message_id", bytes(limits.LOCAL_ID_BYTES_MAX + 1)),
        Reason.REASON_TOO_LARGE,
    ),
    "a line too long": (native("feed", bytes(limits.NATIVE_LINE_BYTES_MAX + 1)), Reason.REASON_TOO_LARGE),
    "an unknown field": (unknown_field, Reason.REASON_UNKNOWN_FIELD),
    "an unknown enum value": (content_set("track.phase", 99), Reason.REASON_UNKNOWN_ENUM_VALUE),
    "not a number": (
        content_set("track.state.position_m", [float("nan"), 0.0, 0.0]),
        Reason.REASON_NOT_FINITE,
    ),
    "a confidence of two": (content_set("track.confidence", 2.0), Reason.REASON_OUT_OF_RANGE),
    "a strange session": (request_set("session", "a b"), Reason.REASON_OUT_OF_RANGE),
    "no event": (content_set("track.event_id", b""), Reason.REASON_MISSING_FIELD),
    "no lineage": (content_set("header.lineage.kind", 0), Reason.REASON_MISSING_FIELD),
    "no report": (lambda request: request.ClearField("content"), Reason.REASON_MISSING_FIELD),
    "an unknown format": (native("morse", b"..."), Reason.REASON_UNKNOWN_FORMAT),
    "a line that nobody can read": (native("feed", b"\xff{"), Reason.REASON_UNREADABLE_LINE),
    "a picture": (fused, Reason.REASON_BODY_NOT_ALLOWED),
    "a track that also cancels": (cancels_too, Reason.REASON_BODY_NOT_ALLOWED),
    "another mode": (content_set("header.mode", content_pb2.MODE_REAL_WORLD), Reason.REASON_MODE_NOT_ALLOWED),
    "no time base": (lambda request: request.content.header.ClearField("exercise"), Reason.REASON_EXERCISE_BASE),
    "a second time base": (content_set("header.exercise.rate", 7.0), Reason.REASON_EXERCISE_BASE),
    "no precedence": (request_set("precedence", 0), Reason.REASON_PRECEDENCE),
    "no label": (lambda request: request.ClearField("label"), Reason.REASON_UNLABELLED),
    "another origin": (content_set("header.origin", "JPN"), Reason.REASON_WRONG_ORIGIN),
    "an id used before": (content_set("header.message_id", b"first"), Reason.REASON_CONFLICT),
}


async def test_what_breaks_one_rule_is_refused_with_its_reason_and_the_stream_lives_on(
    world: World, good: Callable[[str], national_pb2.ReportRequest]
) -> None:
    from broker.gateway.load import load_nation  # noqa: PLC0415 - the name of a feed is the nation's

    feed = next(iter(load_nation("KOR").formats))
    async with stub_of(world, world.system("KOR", OPERATOR)) as stub:
        stream = Stream(stub)
        assert (await stream.say(good("first"))).outcome == ACCEPTED
        for number, (what, (change, reason)) in enumerate(CASES.items()):
            request = good(f"bad-{number}")
            change(request)
            if request.native.format == "feed":
                request.native.format = feed
            response = await stream.say(request)
            assert (what, response.outcome) == (what, REFUSED)
            assert (what, Reason.Name(response.refusal.reason)) == (what, Reason.Name(reason))
            assert (await stream.say(good(f"good-{number}"))).outcome == ACCEPTED, what
        stream.cancel()
        once = good("once")
        once.precedence = envelope_pb2.PRECEDENCE_UNSPECIFIED
        response = await stub.ReportOnce(once, timeout=WAIT_S)
        assert (response.outcome, response.refusal.reason) == (REFUSED, Reason.REASON_PRECEDENCE)


async def is_served(call: Any) -> bool:
    """Return whether a watch has begun."""
    first = await asyncio.wait_for(call.read(), WAIT_S)
    return isinstance(first, national_pb2.WatchResponse) and first.HasField("link")


async def drained(call: Any) -> None:
    """Read a call to its end."""
    async with asyncio.timeout(WAIT_S):
        while await call.read() is not grpc.aio.EOF:
            pass


async def ended_with(call: Any) -> Reason.ValueType:
    """Return the reason for which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await drained(call)
    refusal = refusal_of(error.value)
    assert refusal is not None, error.value.details()
    return refusal.reason


async def test_each_role_makes_its_own_calls_only(
    world: World, good: Callable[[str], national_pb2.ReportRequest]
) -> None:
    async with stub_of(world, world.system("KOR", OPERATOR)) as system:
        assert await ended_with(system.Watch(national_pb2.WatchRequest())) == Reason.REASON_ROLE_NOT_ALLOWED
        stream = Stream(system)
        assert (await stream.say(good("role-1"))).outcome == ACCEPTED
        stream.cancel()
    async with stub_of(world, world.watch("KOR")) as watch:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await watch.ReportOnce(good("role-2"), timeout=WAIT_S)
        refusal = refusal_of(error.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_ROLE_NOT_ALLOWED
    async with stub_of(world, Certificates.of(world.authority.home("KOR") / "gateway")) as gateway:
        assert await ended_with(gateway.Watch(national_pb2.WatchRequest())) == Reason.REASON_ROLE_NOT_ALLOWED


async def test_a_watch_is_refused_a_strange_position_and_a_strange_acknowledgement(world: World) -> None:
    async with stub_of(world, world.watch("KOR")) as watch:
        request = national_pb2.WatchRequest(resume_after=b"\xff" * 8)
        assert await ended_with(watch.Watch(request)) == Reason.REASON_BAD_POSITION
        for message_id, reason in (
            (b"short", Reason.REASON_UNKNOWN_REFERENCE),
            (bytes(16), Reason.REASON_UNKNOWN_REFERENCE),
        ):
            request_ = national_pb2.AcknowledgeRequest(
                message_id=message_id, origin="JPN", level=content_pb2.ACK_LEVEL_CONFIRMED
            )
            response = await watch.Acknowledge(request_, timeout=WAIT_S)
            assert (response.outcome, response.refusal.reason) == (REFUSED, reason)
        call = watch.Watch(national_pb2.WatchRequest())
        assert await is_served(call)
        call.cancel()


async def test_more_streams_than_one_may_have_are_refused_and_a_sensor_is_not_kept_out_by_watches(
    world: World, good: Callable[[str], national_pb2.ReportRequest]
) -> None:
    async with AsyncExitStack() as stack:
        watch = await stack.enter_async_context(stub_of(world, world.watch("KOR")))
        system = await stack.enter_async_context(stub_of(world, world.system("KOR", OPERATOR)))
        for _ in range(limits.STREAMS_PER_MEMBER_MAX):
            call = watch.Watch(national_pb2.WatchRequest())
            stack.callback(call.cancel)
            assert await is_served(call)
        streams = [Stream(system) for _ in range(limits.STREAMS_PER_MEMBER_MAX)]
        for number, stream in enumerate(streams):
            stack.callback(stream.cancel)
            assert (await stream.say(good(f"many-{number}"))).outcome == ACCEPTED
        assert await ended_with(system.Report()) == Reason.REASON_TOO_MANY_STREAMS
        streams[0].cancel()
        async with asyncio.timeout(WAIT_S):
            while True:  # the gateway hears of it soon
                try:
                    response = await system.ReportOnce(good("room-again"), timeout=WAIT_S)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
                    continue
                break
        assert response.outcome in (ACCEPTED, national_pb2.REPORT_OUTCOME_DUPLICATE)


async def test_a_system_and_a_watch_that_are_withdrawn_are_cut_and_nobody_else(
    world: World, good: Callable[[str], national_pb2.ReportRequest]
) -> None:
    authority, exercise = world.authority, content_pb2.MODE_EXERCISE
    lost = authority.system("KOR", exercise, "lost")
    lost_watch = authority.watch("KOR", exercise, "lost")
    root = (authority.home("KOR") / "root.pem").read_bytes()
    async with (
        stub_of(world, Certificates(lost.certificate_pem, lost.key_pem, root)) as system,
        stub_of(world, Certificates(lost_watch.certificate_pem, lost_watch.key_pem, root)) as watch,
        stub_of(world, world.system("KOR", OPERATOR)) as other,
    ):
        streams = [Stream(system), Stream(other)]
        for number, stream in enumerate(streams):
            assert (await stream.say(good(f"cut-{number}"))).outcome == ACCEPTED
        watching = watch.Watch(national_pb2.WatchRequest())
        assert await is_served(watching)
        authority.revoke(lost.certificate_pem, lost_watch.certificate_pem)
        assert await ended_with(watching) == Reason.REASON_REVOKED
        assert await ended_with(streams[0].call) == Reason.REASON_REVOKED
        assert await ended_with(system.Report()) == Reason.REASON_REVOKED
        assert (await streams[1].say(good("still-here"))).outcome == ACCEPTED
        streams[1].cancel()
