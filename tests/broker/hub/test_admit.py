"""Steps 5 and 5b without a network: real seals, every check once more where the wire cannot reach it."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import limits
from broker.envelope import identity_of
from broker.hub.admit import Admitted, admit
from broker.hub.exercises import Exercises
from broker.hub.guard import guard
from broker.refusal import Reason, Refused
from broker.windows import Windows
from certs.identity import MemberId, Role
from certs.roster import Pair
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from certs.issue import Authority
    from certs.roster import Members
    from tests.broker.hub.conftest import Speaker

    Speakers = Callable[..., Speaker]


@pytest.fixture(scope="module")
def members(world: Authority) -> Members:
    return world.members()


def admitted(sealed: bytes, members: Members, *, peer: str = "KOR", windows: Windows | None = None) -> Admitted:
    now_ns = time.time_ns()
    return admit(
        sealed,
        peer=MemberId(peer),
        members=members,
        windows=windows or Windows({}),
        exercises=Exercises({}),
        received_ns=now_ns - 1,
        now_ns=now_ns,
    )


def test_what_is_admitted_is_the_bytes_as_they_came(members: Members, speaker: Speakers) -> None:
    sealed = speaker("KOR").envelope("JPN")
    one = admitted(sealed, members)
    assert one.sealed is sealed
    assert one.key == identity_of(one.header)


def test_nobody_but_admit_makes_an_admitted(members: Members, speaker: Speakers) -> None:
    one = admitted(speaker("KOR").envelope("JPN"), members)
    with pytest.raises(TypeError):
        dataclasses.replace(one, key=b"forged", proof=object())


def test_what_is_older_than_the_window_goes_no_further(members: Members, speaker: Speakers) -> None:
    kor = speaker("KOR")
    ahead = kor.envelope("JPN", header=lambda header: setattr(header, "sequence", limits.REPLAY_WINDOW + 2))
    windows = Windows({})
    plan = windows.plan()
    plan.take(admitted(ahead, members).header)
    windows.keep(plan)
    old = kor.envelope("JPN", header=lambda header: setattr(header, "sequence", 1))
    with pytest.raises(Refused) as caught:
        admitted(old, members, windows=windows)
    assert caught.value.reason == Reason.REASON_REPLAYED


def test_no_flipped_bit_is_admitted(members: Members, speaker: Speakers) -> None:
    sealed = speaker("KOR").envelope("JPN")
    windows = Windows({})
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused):
            guard(admitted(bytes(flipped), members, windows=windows), role=Role.GATEWAY, members=members)


@settings(deadline=None, max_examples=300)
@given(junk=st.binary(max_size=300))
def test_junk_is_refused_and_never_a_fault(junk: bytes, members: Members) -> None:
    with pytest.raises(Refused):
        admitted(junk, members)


def test_the_guard_does_not_believe_admit(members: Members, speaker: Speakers) -> None:
    """The pair is closed between the two looks: the guard asks again, of the bytes."""
    one = admitted(speaker("KOR").envelope("JPN"), members)
    closed = dataclasses.replace(members, pairs={})
    with pytest.raises(Refused) as caught:
        guard(one, role=Role.GATEWAY, members=closed)
    assert caught.value.reason == Reason.REASON_PAIR_NOT_ALLOWED


def test_the_picture_role_says_pictures_and_nothing_else(members: Members, speaker: Speakers) -> None:
    hub = speaker("HUB")

    def picture(content: content_pb2.Content) -> None:
        content.fused.event_id = bytes(16)
        content.fused.revision = 1

    fused = admitted(hub.envelope("JPN", content=picture), members, peer="HUB")
    guard(fused, role=Role.VIEWS, members=members)
    launch = admitted(hub.envelope("JPN"), members, peer="HUB")
    with pytest.raises(Refused) as caught:
        guard(launch, role=Role.VIEWS, members=members)
    assert caught.value.reason == Reason.REASON_BODY_NOT_ALLOWED


def test_a_bare_cancellation_needs_no_leaf(members: Members, speaker: Speakers) -> None:
    def cancel(content: content_pb2.Content) -> None:
        content.ClearField("launch")
        content.header.ClearField("lineage")
        content.header.references.add(message_id=bytes(16), relation=content_pb2.RELATION_CANCELS)

    nothing = dataclasses.replace(members, pairs={(MemberId("KOR"), MemberId("JPN")): Pair(frozenset(), False)})
    guard(admitted(speaker("KOR").envelope("JPN", content=cancel), nothing), role=Role.GATEWAY, members=nothing)
    one = admitted(speaker("KOR").envelope("JPN"), nothing)
    with pytest.raises(Refused) as caught:
        guard(one, role=Role.GATEWAY, members=nothing)
    assert caught.value.reason == Reason.REASON_LEAF_NOT_ALLOWED


@pytest.mark.parametrize(
    ("owner", "kept", "third_party", "passes"),
    [
        ("KOR", True, False, True),  # its own
        ("JPN", True, False, True),  # comes home
        ("USA", False, True, True),  # with permission
        ("USA", False, False, False),
        ("USA", True, True, False),  # its originator keeps it
    ],
)
def test_a_third_partys_data_goes_on_with_permission_only(
    *, owner: str, kept: bool, third_party: bool, passes: bool, members: Members, speaker: Speakers
) -> None:
    def of_owner(header: envelope_pb2.RoutingHeader) -> None:
        header.label.policy, header.label.originator_controlled = owner, kept

    pairs = {(MemberId("KOR"), MemberId("JPN")): Pair(None, third_party)}
    document = dataclasses.replace(members, pairs=pairs)
    one = admitted(speaker("KOR").envelope("JPN", header=of_owner), document)
    if passes:
        guard(one, role=Role.GATEWAY, members=document)
    else:
        with pytest.raises(Refused) as caught:
            guard(one, role=Role.GATEWAY, members=document)
        assert caught.value.reason == Reason.REASON_THIRD_PARTY
