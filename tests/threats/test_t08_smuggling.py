"""T8: something is smuggled past redaction: unknown fields, unknown enum values, NaN, a field that stands twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.content import set_leaves
from broker.demo.world import shipped_policy
from broker.gateway.intake import Intake
from broker.gateway.load import load_nation
from broker.gateway.release import Level, Policy, Subject, decide, redact
from broker.gateway.unseal import unseal
from broker.hub.admit import admit
from broker.hub.exercises import Exercises
from broker.hub.guard import guard
from broker.leaves import BODIES_UNDER_POLICY
from broker.refusal import Reason, Refused
from broker.windows import Windows
from certs.identity import MemberId, Role, identity_of_uri
from certs.keyring import Keyring
from tests.broker.gateway.release.conftest import Maker
from tests.broker.hub.conftest import Speaker
from tests.path import reports
from tests.threats.parties import FLASH
from vedette.v1 import content_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from certs.issue import Authority
    from certs.members import Members

POLICY = Policy.parse(shipped_policy("KOR"))
SYSTEM = identity_of_uri("spiffe://kor.vedette/system/test/operator")
HIDDEN = b"\xfa\x07\x0dunder the rug"  # field 127, bytes: protobuf carries it along unseen


def hidden_at_the_top(content: bytes) -> bytes:
    return content + HIDDEN


def hidden_in_the_header(content: bytes) -> bytes:
    header = content_pb2.Content.FromString(content).header.SerializeToString() + HIDDEN
    return b"\x0a" + varint(len(header)) + header + rest_of(content)


def hidden_in_the_body(content: bytes) -> bytes:
    """Appended as a second piece of the same body, which protobuf merges into the first."""
    return content + b"\x52" + varint(len(HIDDEN)) + HIDDEN


def unknown_enum_value(content: bytes) -> bytes:
    made = content_pb2.Content.FromString(content)
    made.launch.source.kind = 99  # type: ignore[assignment]
    return made.SerializeToString()


def not_a_number(content: bytes) -> bytes:
    made = content_pb2.Content.FromString(content)
    made.launch.azimuth_deg = float("nan")
    return made.SerializeToString()


def infinite(content: bytes) -> bytes:
    made = content_pb2.Content.FromString(content)
    made.launch.launch_area.ellipse.semi_major_m = float("inf")
    return made.SerializeToString()


def said_twice(content: bytes) -> bytes:
    """A value before the one that a parser shows."""
    hidden = content_pb2.Content()
    hidden.launch.azimuth_deg = 12.5
    return hidden.SerializeToString() + content


TRICKS: dict[Callable[[bytes], bytes], Reason.ValueType] = {
    hidden_at_the_top: Reason.REASON_UNKNOWN_FIELD,
    hidden_in_the_header: Reason.REASON_UNKNOWN_FIELD,
    hidden_in_the_body: Reason.REASON_UNKNOWN_FIELD,
    unknown_enum_value: Reason.REASON_UNKNOWN_ENUM_VALUE,
    not_a_number: Reason.REASON_NOT_FINITE,
    infinite: Reason.REASON_NOT_FINITE,
}
ALL_TRICKS = pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)


def varint(number: int) -> bytes:
    assert number < 2**14
    return bytes([number]) if number < 2**7 else bytes([number & 0x7F | 0x80, number >> 7])


def rest_of(content: bytes) -> bytes:
    made = content_pb2.Content.FromString(content)
    made.ClearField("header")
    return made.SerializeToString()


@pytest.fixture(scope="module")
def kor(keys: Authority) -> Speaker:
    return Speaker("KOR", Keyring.load(keys.home("KOR")))


def launch(kor: Speaker) -> content_pb2.Content:
    content = kor.content()
    content.launch.azimuth_deg = 80.0
    return content


@ALL_TRICKS
def test_intake_refuses_it(trick: Callable[[bytes], bytes]) -> None:
    plain = reports.launch(b"m-1", b"e-1", base=None)
    request = national_pb2.ReportRequest(content=plain, precedence=FLASH, label=reports.label())
    assert Intake(load_nation("KOR")).take(request, SYSTEM, now_ns=time.time_ns()), "the control"
    request.content.CopyFrom(content_pb2.Content.FromString(trick(plain.SerializeToString())))
    with pytest.raises(Refused) as caught:
        Intake(load_nation("KOR")).take(request, SYSTEM, now_ns=time.time_ns())
    assert caught.value.reason == TRICKS[trick]


@ALL_TRICKS
def test_the_hub_refuses_it_under_a_good_seal(kor: Speaker, members: Members, trick: Callable[[bytes], bytes]) -> None:
    content = launch(kor)
    envelope = kor.seal(kor.header("JPN", content), trick(content.SerializeToString()))
    with pytest.raises(Refused) as caught:
        at_the_hub(envelope, members)
    assert caught.value.reason == TRICKS[trick]


def at_the_hub(envelope: bytes, members: Members) -> None:
    now_ns = time.time_ns()
    admitted = admit(
        envelope,
        peer=MemberId("KOR"),
        members=members,
        windows=Windows({}),
        exercises=Exercises({}),
        received_ns=now_ns,
        now_ns=now_ns,
    )
    guard(admitted, role=Role.GATEWAY, members=members)


@ALL_TRICKS
def test_the_recipient_refuses_it_under_a_good_seal(
    kor: Speaker, members: Members, trick: Callable[[bytes], bytes]
) -> None:
    content = launch(kor)
    envelope = kor.seal(kor.header("JPN", content), trick(content.SerializeToString()))
    with pytest.raises(Refused) as caught:
        unseal(envelope, us="JPN", members=members, windows=Windows({}), now_ns=time.time_ns())
    assert caught.value.reason == TRICKS[trick]


def test_the_guard_refuses_bytes_that_say_more_than_a_parser_shows(kor: Speaker, members: Members) -> None:
    content = launch(kor)
    header = kor.header("JPN", content)
    at_the_hub(kor.seal(header, content.SerializeToString()), members)  # the control
    twice = said_twice(content.SerializeToString())
    assert content_pb2.Content.FromString(twice) == content, "a parser shows no difference"
    with pytest.raises(Refused) as caught:
        at_the_hub(kor.seal(header, twice), members)
    assert caught.value.reason == Reason.REASON_MALFORMED


@given(
    seed=st.integers(0, 2**32), body=st.sampled_from(sorted(BODIES_UNDER_POLICY)), to=st.sampled_from(["USA", "JPN"])
)
def test_what_redaction_makes_has_leaves_of_the_allow_list_and_nothing_else(seed: int, body: str, to: str) -> None:
    content = Maker(seed).content(body, density=1.0)
    decision = decide(POLICY, Subject(content, reports.label(), FLASH), to)
    if not decision.released:
        return
    with_secret = content_pb2.Content.FromString(content.SerializeToString() + HIDDEN)
    shown = redact(with_secret, decision, released_ns=content.header.observed_at.ToNanoseconds())
    allowed = {
        path for group, level in decision.levels.items() if level > Level.WITHHELD for path in POLICY.groups[group]
    }
    assert set(set_leaves(shown)) <= allowed
    assert b"under the rug" not in shown.SerializeToString()
