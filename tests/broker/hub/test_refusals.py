"""Every reason for which the hub refuses, provoked over the wire; the stream lives on after each."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.clock import timestamp
from broker.limits import SECOND_NS
from broker.refusal import Reason
from broker.rpc import refusal_of
from certs.issue import authority
from certs.roster import Pair
from certs.signature import Ed25519Signer
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from certs.issue import Authority
    from tests.broker.hub.conftest import Running, Speaker, Submitting

    Speakers = Callable[[str], Speaker]
    Changed = Callable[[Speaker], bytes]

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
DUPLICATE = exchange_pb2.SUBMIT_OUTCOME_DUPLICATE
REFUSED = exchange_pb2.SUBMIT_OUTCOME_REFUSED


def header_with(**fields: object) -> Changed:
    """Return a maker of a well-sealed envelope whose header has other values."""

    def make(speaker: Speaker) -> bytes:
        def change(header: envelope_pb2.RoutingHeader) -> None:
            for name, value in fields.items():
                setattr(header, name, value)

        return speaker.envelope("JPN", header=change)

    return make


def content_with(change: Callable[[content_pb2.Content], object]) -> Changed:
    return lambda speaker: speaker.envelope("JPN", content=change)


def label_with(**fields: object) -> Changed:
    def make(speaker: Speaker) -> bytes:
        def change(header: envelope_pb2.RoutingHeader) -> None:
            for name, value in fields.items():
                if isinstance(value, list):
                    header.label.ClearField("releasable_to")
                    header.label.releasable_to.extend(value)
                else:
                    setattr(header.label, name, value)

        return speaker.envelope("JPN", header=change)

    return make


def opened(sealed: bytes) -> envelope_pb2.Envelope:
    return envelope_pb2.Envelope.FromString(sealed)


def signed_with_another_key(speaker: Speaker) -> bytes:
    content = speaker.content()
    stranger = Ed25519Signer.of_seed(secrets.token_bytes(32))
    return speaker.seal(speaker.header("JPN", content), content.SerializeToString(), signer=stranger)


def signed_for_another_mode(speaker: Speaker) -> bytes:
    content = speaker.content()
    exercise_key = speaker.keyring.signer(content_pb2.MODE_EXERCISE)
    return speaker.seal(speaker.header("JPN", content), content.SerializeToString(), signer=exercise_key)


def changed_after_sealing(speaker: Speaker) -> bytes:
    envelope = opened(speaker.envelope("JPN"))
    content = content_pb2.Content.FromString(envelope.body)
    content.launch.confidence = 0.9
    envelope.body = content.SerializeToString()
    return envelope.SerializeToString()


def readdressed(speaker: Speaker) -> bytes:
    """An envelope for JPN, its header rewritten for the USA, the seal left as it was."""
    envelope = opened(speaker.envelope("JPN"))
    header = envelope_pb2.RoutingHeader.FromString(envelope.header)
    header.recipient = "USA"
    envelope.header = header.SerializeToString()
    return envelope.SerializeToString()


def unknown_field(data: bytes) -> bytes:
    return data + b"\xf8\x07\x01"  # field 127, a varint


def with_unknown_field_in_body(speaker: Speaker) -> bytes:
    content = speaker.content()
    return speaker.seal(speaker.header("JPN", content), unknown_field(content.SerializeToString()))


def with_a_field_twice(speaker: Speaker) -> bytes:
    content = speaker.content()
    hidden = content_pb2.Content()
    hidden.launch.confidence = 0.25  # a parser shows only the last one
    body = hidden.SerializeToString() + content.SerializeToString()
    return speaker.seal(speaker.header("JPN", content), body)


def fused(content: content_pb2.Content) -> None:
    content.fused.event_id = secrets.token_bytes(16)


def tick(content: content_pb2.Content) -> None:
    content.tick.time.GetCurrentTime()


def unknown_enum(content: content_pb2.Content) -> None:
    content.launch.source.kind = 99  # type: ignore[assignment]


CASES: dict[str, tuple[Changed, Reason.ValueType]] = {
    "not an envelope": (lambda _: b"\xff\xff\xff", Reason.REASON_MALFORMED),
    "an envelope too large": (lambda _: bytes(limits.ENVELOPE_BYTES_MAX + 1), Reason.REASON_TOO_LARGE),
    "a body too large": (
        lambda speaker: speaker.seal(speaker.header("JPN", speaker.content()), bytes(limits.BODY_BYTES_MAX + 1)),
        Reason.REASON_TOO_LARGE,
    ),
    "nothing in it": (lambda _: b"", Reason.REASON_MISSING_FIELD),
    "an unknown field in the envelope": (
        lambda speaker: unknown_field(speaker.envelope("JPN")),
        Reason.REASON_UNKNOWN_FIELD,
    ),
    "an unknown field in the body": (with_unknown_field_in_body, Reason.REASON_UNKNOWN_FIELD),
    "an unknown enum value": (content_with(unknown_enum), Reason.REASON_UNKNOWN_ENUM_VALUE),
    "not a number": (
        content_with(lambda content: setattr(content.launch, "confidence", float("nan"))),
        Reason.REASON_NOT_FINITE,
    ),
    "a value out of range": (
        content_with(lambda content: setattr(content.launch, "confidence", 1.5)),
        Reason.REASON_OUT_OF_RANGE,
    ),
    "a field missing": (
        content_with(lambda content: content.launch.ClearField("event_id")),
        Reason.REASON_MISSING_FIELD,
    ),
    "a field twice": (with_a_field_twice, Reason.REASON_MALFORMED),
    "no mode": (header_with(mode=content_pb2.MODE_UNSPECIFIED), Reason.REASON_MODE_NOT_ALLOWED),
    "an exercise without a base": (header_with(mode=content_pb2.MODE_EXERCISE), Reason.REASON_EXERCISE_BASE),
    "no precedence": (header_with(precedence=0), Reason.REASON_PRECEDENCE),
    "the wrong lane": (header_with(lane=envelope_pb2.LANE_URGENT), Reason.REASON_PRECEDENCE),
    "another origin": (header_with(origin="USA"), Reason.REASON_WRONG_ORIGIN),
    "an unknown recipient": (header_with(recipient="FRA"), Reason.REASON_UNKNOWN_RECIPIENT),
    "the hub as recipient": (header_with(recipient="HUB"), Reason.REASON_MISADDRESSED),
    "another version": (header_with(schema_version=2), Reason.REASON_SCHEMA_VERSION),
    "a sealed body": (header_with(body_form=envelope_pb2.BODY_FORM_HPKE), Reason.REASON_BODY_FORM),
    "a short message_id": (header_with(message_id=b"short"), Reason.REASON_OUT_OF_RANGE),
    "sequence zero": (header_with(sequence=0), Reason.REASON_OUT_OF_RANGE),
    "an epoch in two days": (
        header_with(epoch=int(time.time() * 1000) + 2 * 24 * 3600 * 1000),
        Reason.REASON_EPOCH,
    ),
    "no epoch": (header_with(epoch=0), Reason.REASON_EPOCH),
    "released in two days": (
        lambda speaker: speaker.envelope(
            "JPN",
            header=lambda header: header.released_at.CopyFrom(timestamp(time.time_ns() + 48 * 3600 * SECOND_NS)),
        ),
        Reason.REASON_FUTURE,
    ),
    "never released": (
        lambda speaker: speaker.envelope("JPN", header=lambda header: header.ClearField("released_at")),
        Reason.REASON_MISSING_FIELD,
    ),
    "a stranger's key": (signed_with_another_key, Reason.REASON_UNKNOWN_KEY),
    "the key of another mode": (signed_for_another_mode, Reason.REASON_UNKNOWN_KEY),
    "a body changed after sealing": (changed_after_sealing, Reason.REASON_BAD_SEAL),
    "a header changed after sealing": (readdressed, Reason.REASON_BAD_SEAL),
    "no label": (
        lambda speaker: speaker.envelope("JPN", header=lambda header: header.ClearField("label")),
        Reason.REASON_UNLABELLED,
    ),
    "a label for others": (label_with(releasable_to=["USA"]), Reason.REASON_LABEL_FORBIDS),
    "a label for nobody": (label_with(releasable_to=[]), Reason.REASON_LABEL_FORBIDS),
    "a third party's, kept by its originator": (
        label_with(policy="USA", originator_controlled=True),
        Reason.REASON_THIRD_PARTY,
    ),
    "a fused picture": (content_with(fused), Reason.REASON_BODY_NOT_ALLOWED),
    "a tick": (content_with(tick), Reason.REASON_BODY_NOT_ALLOWED),
    "content of another origin": (
        content_with(lambda content: setattr(content.header, "origin", "USA")),
        Reason.REASON_BODY_NOT_ALLOWED,
    ),
    "another message_id inside": (header_with(message_id=bytes(16)), Reason.REASON_HEADER_MISMATCH),
    "another mode inside": (
        lambda speaker: speaker.envelope(
            "JPN", header=lambda header: setattr(header, "mode", content_pb2.MODE_REAL_WORLD)
        ),
        Reason.REASON_HEADER_MISMATCH,
    ),
}


async def lives_on(up: Submitting, speaker: Speaker) -> None:
    """A good envelope, in a fresh epoch, is still stored on this stream."""
    speaker.epoch += 1
    (receipt,) = await up.submit(speaker.envelope("JPN"))
    assert receipt.outcome == STORED, receipt


@pytest.mark.parametrize("case", CASES)
async def test_what_breaks_one_rule_is_refused_with_its_reason_and_the_stream_lives_on(
    case: str, running: Running, speaker: Speakers
) -> None:
    make, reason = CASES[case]
    kor = speaker("KOR")
    async with running.line("KOR") as line, line.submitting() as up:
        (receipt,) = await up.submit(make(kor))
        assert (receipt.outcome, Reason.Name(receipt.refusal.reason)) == (REFUSED, Reason.Name(reason))
        await lives_on(up, kor)
    assert (await running.hub.parts.store.bounds("log/JPN")).last == 1, "nothing of what was refused is stored"


async def test_the_same_bytes_again_are_a_duplicate_and_other_bytes_a_conflict(
    running: Running, speaker: Speakers
) -> None:
    kor = speaker("KOR")
    content = kor.content()
    header = kor.header("JPN", content)
    sealed = kor.seal(header, content.SerializeToString())
    content.launch.confidence = 0.9
    same_number = kor.seal(header, content.SerializeToString())
    next_number = kor.seal(kor.header("JPN", content), content.SerializeToString())
    other_message = kor.content()
    header.message_id = other_message.header.message_id
    number_twice = kor.seal(header, other_message.SerializeToString())
    async with running.line("KOR") as line, line.submitting() as up:
        first, again = await up.submit(sealed, sealed)
        assert (first.outcome, again.outcome) == (STORED, DUPLICATE)
        for conflicting in (same_number, next_number, number_twice):
            (receipt,) = await up.submit(conflicting)
            assert (receipt.outcome, receipt.refusal.reason) == (REFUSED, Reason.REASON_CONFLICT)
        await lives_on(up, kor)
    assert (await running.hub.parts.store.bounds("log/JPN")).last == 2


async def test_a_captured_envelope_is_refused_from_another_member(running: Running, speaker: Speakers) -> None:
    captured = speaker("KOR").envelope("JPN")
    async with running.line("USA") as line, line.submitting() as up:
        (receipt,) = await up.submit(captured)
        assert receipt.refusal.reason == Reason.REASON_WRONG_ORIGIN
        await lives_on(up, speaker("USA"))


async def test_what_is_older_than_the_window_is_replayed(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    ahead = kor.envelope("JPN", header=lambda header: setattr(header, "sequence", limits.REPLAY_WINDOW + 2))
    old = kor.envelope("JPN", header=lambda header: setattr(header, "sequence", 1))
    late = kor.envelope("JPN", header=lambda header: setattr(header, "sequence", 2))
    async with running.line("KOR") as line, line.submitting() as up:
        outcomes = [receipt.outcome for receipt in await up.submit(ahead, old, late)]
        assert outcomes == [STORED, REFUSED, STORED]
        (receipt,) = await up.submit(old)
        assert receipt.refusal.reason == Reason.REASON_REPLAYED
        await lives_on(up, kor)


async def test_a_second_time_base_under_one_exercise_id_is_refused(running: Running, speaker: Speakers) -> None:
    def exercise(rate: float) -> Callable[[content_pb2.Content], None]:
        def change(content: content_pb2.Content) -> None:
            content.header.mode = content_pb2.MODE_EXERCISE
            content.header.exercise.exercise_id = "ex-1"
            content.header.exercise.wall_zero.seconds = 1_700_000_000
            content.header.exercise.exercise_zero.seconds = 1_600_000_000
            content.header.exercise.rate = rate

        return change

    kor, usa = speaker("KOR"), speaker("USA")
    async with running.line("KOR") as line, line.submitting() as up:
        (first, again, other) = await up.submit(
            kor.envelope("JPN", content=exercise(10.0)),
            kor.envelope("JPN", content=exercise(10.0)),
            kor.envelope("JPN", content=exercise(20.0)),
        )
        assert (first.outcome, again.outcome) == (STORED, STORED)
        assert other.refusal.reason == Reason.REASON_EXERCISE_BASE
        await lives_on(up, kor)
    async with running.line("USA") as line, line.submitting() as up:
        (receipt,) = await up.submit(usa.envelope("JPN", content=exercise(20.0)))
        assert receipt.refusal.reason == Reason.REASON_EXERCISE_BASE


async def test_who_says_nothing_first_is_refused_until_hello(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    async with running.line("KOR") as line, line.submitting(hello=False) as up:
        (receipt,) = await up.submit(kor.envelope("JPN"))
        assert (receipt.number, receipt.refusal.reason) == (1, Reason.REASON_HELLO_EXPECTED)
        await up.send(exchange_pb2.SubmitRequest(hello=exchange_pb2.SubmitHello(schema_version_least=7)))
        (receipt,) = await up.receipts(1)
        assert (receipt.number, receipt.refusal.reason) == (0, Reason.REASON_SCHEMA_VERSION)
        hello = exchange_pb2.SubmitHello(schema_version_least=1, schema_version_most=7)
        await up.send(exchange_pb2.SubmitRequest(hello=hello))
        assert (await up.read()).welcome.schema_version == 1
        await up.send(exchange_pb2.SubmitRequest(hello=hello))
        (receipt,) = await up.receipts(1)
        assert (receipt.number, receipt.refusal.reason) == (0, Reason.REASON_HELLO_EXPECTED)
        await lives_on(up, kor)


async def test_a_frame_too_large_or_too_full_is_refused_and_the_numbers_go_on(
    running: Running, speaker: Speakers
) -> None:
    kor = speaker("KOR")
    async with running.line("KOR") as line, line.submitting() as up:
        receipts = await up.submit(*[bytes(limits.FRAME_BYTES_MAX // 2)] * 3)
        assert [receipt.refusal.reason for receipt in receipts] == [Reason.REASON_TOO_LARGE] * 3
        receipts = await up.submit(*[kor.envelope("JPN")] * (limits.FRAME_MESSAGES_MAX + 1))
        assert {receipt.refusal.reason for receipt in receipts} == {Reason.REASON_TOO_LARGE}
        await lives_on(up, kor)


async def test_a_frame_that_is_no_frame_is_refused_under_number_zero(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    async with running.line("KOR") as line:
        raw: Any = line.channel.stream_stream("/vedette.v1.Exchange/Submit")()
        hello = exchange_pb2.SubmitHello(schema_version_least=1, schema_version_most=1)
        await raw.write(exchange_pb2.SubmitRequest(hello=hello).SerializeToString())
        await raw.read()
        for broken, reason in (
            (b"\xff\xff", Reason.REASON_MALFORMED),
            (unknown_field(b""), Reason.REASON_UNKNOWN_FIELD),
        ):
            await raw.write(broken)
            answer = exchange_pb2.SubmitResponse.FromString(await raw.read())
            assert [(one.number, one.refusal.reason) for one in answer.receipts] == [(0, reason)]
        await raw.write(exchange_pb2.SubmitRequest(envelopes=[kor.envelope("JPN")]).SerializeToString())
        answer = exchange_pb2.SubmitResponse.FromString(await raw.read())
        assert [(one.number, one.outcome) for one in answer.receipts] == [(1, STORED)]
        raw.cancel()


async def test_any_flipped_bit_of_an_envelope_is_refused(running: Running, speaker: Speakers) -> None:
    kor = speaker("KOR")
    sealed = kor.envelope("JPN")
    flipped = [
        sealed[: bit // 8] + bytes([sealed[bit // 8] ^ (1 << bit % 8)]) + sealed[bit // 8 + 1 :]
        for bit in range(0, len(sealed) * 8, 7)
    ]
    async with running.line("KOR") as line, line.submitting() as up:
        for begin in range(0, len(flipped), limits.FRAME_MESSAGES_MAX):
            receipts = await up.submit(*flipped[begin : begin + limits.FRAME_MESSAGES_MAX])
            assert {receipt.outcome for receipt in receipts} == {REFUSED}
        await lives_on(up, kor)


@pytest.fixture
def narrow(tmp_path: Path) -> Authority:
    """A world in which KOR sends JPN only confidences, and nothing of third parties; USA sends JPN nothing."""
    pair = Pair(leaves=frozenset({"launch.confidence", "track.state"}), third_party=False)
    return authority(tmp_path / "narrow", exchange={("KOR", "JPN"): pair})


async def test_the_members_document_bounds_what_a_pair_exchanges(
    narrow: Authority, serve: Callable[..., AbstractAsyncContextManager[Running]], speaker: Callable[..., Speaker]
) -> None:
    kor = speaker("KOR", narrow)
    async with serve(of=narrow) as running, running.line("KOR") as line, line.submitting() as up:
        good, leaf, third, stranger, own = await up.submit(
            kor.envelope("JPN"),
            kor.envelope("JPN", content=lambda content: setattr(content.launch, "azimuth_deg", 90.0)),
            label_with(policy="USA")(kor),
            kor.envelope("USA"),
            kor.envelope("KOR", content=lambda content: setattr(content.launch, "azimuth_deg", 90.0)),
        )
        assert good.outcome == STORED, good
        assert leaf.refusal.reason == Reason.REASON_LEAF_NOT_ALLOWED
        assert "launch.azimuth_deg" in leaf.refusal.detail
        assert third.refusal.reason == Reason.REASON_THIRD_PARTY
        assert stranger.refusal.reason == Reason.REASON_PAIR_NOT_ALLOWED
        assert own.outcome == STORED, own


async def test_a_log_is_followed_by_its_own_nation_only(running: Running) -> None:
    async with running.line("KOR") as line:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with line.following("JPN"):
                pass
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_ROLE_NOT_ALLOWED
        async with line.following("KOR") as log:
            assert log.welcome.schema_version == 1


@pytest.mark.parametrize("token", [b"x", bytes(16), bytes(23), bytes(24), (1).to_bytes(8, "big") * 3, bytes(25)])
async def test_a_token_that_was_never_given_out_is_refused(token: bytes, running: Running) -> None:
    async with running.line("KOR") as line:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with line.following(after=token):
                pass
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_BAD_POSITION


async def test_a_follower_says_hello_first(running: Running) -> None:
    async with running.line("KOR") as line:
        call = line.stub.Follow()
        await call.write(exchange_pb2.FollowRequest(credits=1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_HELLO_EXPECTED


async def test_a_role_that_exchanges_nothing_may_not_call(running: Running) -> None:
    async with running.line("KOR", role="metrics") as line:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with line.submitting():
                pass
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_ROLE_NOT_ALLOWED


async def test_one_member_cannot_take_all_the_streams(running: Running) -> None:
    async with running.line("KOR") as line, running.line("USA") as other:
        hello = exchange_pb2.SubmitHello(schema_version_least=1, schema_version_most=1)
        calls = [line.stub.Submit() for _ in range(limits.SUBMITS_PER_MEMBER_MAX)]
        for call in calls:
            await call.write(exchange_pb2.SubmitRequest(hello=hello))
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with line.submitting():
                pass
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_TOO_MANY_STREAMS
        async with other.submitting() as up:
            assert up.welcome.credits
        for call in calls:
            call.cancel()


async def test_who_never_says_hello_is_sent_away(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_DEADLINE_S", 0.1)
    async with running.line("KOR") as line:
        for call in (line.stub.Submit(), line.stub.Follow()):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with asyncio.timeout(5):
                    await call.read()
            refusal = refusal_of(caught.value)
            assert refusal is not None
            assert refusal.reason == Reason.REASON_HELLO_EXPECTED


async def test_a_member_reads_back_once_at_a_time(
    running: Running, speaker: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READ_BACK_PAUSE_S", 30.0)  # the first call stays under way
    async with running.line("KOR") as line, running.line("USA") as other:
        async with line.submitting() as up:
            await up.submit(speaker("KOR").envelope("JPN"))
        first = line.stub.ReadBack(exchange_pb2.ReadBackRequest())
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await line.stub.ReadBack(exchange_pb2.ReadBackRequest()).read()
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_TOO_MANY_STREAMS
        theirs = other.stub.ReadBack(exchange_pb2.ReadBackRequest())
        await theirs.wait_for_connection()
        first.cancel()
        theirs.cancel()
