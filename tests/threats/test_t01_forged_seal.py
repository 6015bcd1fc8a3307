"""T1: somebody on the way alters or invents a warning. The hub (5) and the recipient (8) both look."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateway.unseal import unseal
from broker.hub.admit import admit
from broker.hub.exercises import Exercises
from broker.refusal import Reason, Refused
from broker.windows import Windows
from certs.identity import MemberId
from certs.keyring import Keyring
from certs.signature import Ed25519Signer, leaf_hash, seal_batch
from tests.broker.hub.conftest import Speaker
from tests.threats.parties import TEST
from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from certs.issue import Authority
    from certs.members import Members

BITS_MAX = 8 * 4096


def at_the_hub(envelope: bytes, members: Members) -> None:
    now_ns = time.time_ns()
    kor = MemberId("KOR")
    admit(
        envelope,
        peer=kor,
        members=members,
        windows=Windows({}),
        exercises=Exercises({}),
        received_ns=now_ns,
        now_ns=now_ns,
    )


def at_the_recipient(envelope: bytes, members: Members) -> None:
    unseal(envelope, us="JPN", members=members, windows=Windows({}), now_ns=time.time_ns())


BOTH = pytest.mark.parametrize("check", [at_the_hub, at_the_recipient])


@pytest.fixture(scope="module")
def kor(keys: Authority) -> Speaker:
    return Speaker("KOR", Keyring.load(keys.home("KOR")))


@pytest.fixture(scope="module")
def envelope(kor: Speaker) -> bytes:
    return kor.envelope("JPN")


@BOTH
def test_what_nobody_touched_passes(check: Callable[..., None], envelope: bytes, members: Members) -> None:
    check(envelope, members)


@BOTH
@given(bit=st.integers(0, BITS_MAX))
def test_any_flipped_bit_is_refused(check: Callable[..., None], envelope: bytes, members: Members, bit: int) -> None:
    broken = bytearray(envelope)
    broken[bit // 8 % len(broken)] ^= 1 << bit % 8
    with pytest.raises(Refused):
        check(bytes(broken), members)


@BOTH
def test_every_flipped_bit_of_what_was_said_breaks_the_seal(
    check: Callable[..., None], envelope: bytes, members: Members
) -> None:
    made = envelope_pb2.Envelope.FromString(envelope)
    for bit in range(8 * len(made.body)):
        body = bytearray(made.body)
        body[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused) as caught:
            check(
                envelope_pb2.Envelope(header=made.header, body=bytes(body), seal=made.seal).SerializeToString(), members
            )
        assert caught.value.reason == Reason.REASON_BAD_SEAL


@BOTH
def test_a_strangers_key_is_refused(check: Callable[..., None], kor: Speaker, members: Members) -> None:
    content = kor.content()
    stranger = Ed25519Signer.of_seed(secrets.token_bytes(32))
    forged = kor.seal(kor.header("JPN", content), content.SerializeToString(), signer=stranger)
    with pytest.raises(Refused) as caught:
        check(forged, members)
    assert caught.value.reason == Reason.REASON_UNKNOWN_KEY


@BOTH
@pytest.mark.parametrize("thief", ["USA", "JPN", "HUB"])
def test_another_members_key_is_refused(
    check: Callable[..., None], kor: Speaker, keys: Authority, members: Members, thief: str
) -> None:
    content = kor.content()
    signer = Keyring.load(keys.home(thief)).signer(TEST)
    forged = kor.seal(kor.header("JPN", content), content.SerializeToString(), signer=signer)
    with pytest.raises(Refused) as caught:
        check(forged, members)
    assert caught.value.reason == Reason.REASON_UNKNOWN_KEY


@BOTH
def test_a_path_from_another_tree_is_refused(check: Callable[..., None], kor: Speaker, members: Members) -> None:
    """A genuine signature over one flush does not carry an envelope of another."""
    ours, others = flush(kor), flush(kor)
    check(ours[1].SerializeToString(), members)
    for taken in (others[1].seal, others[0].seal, ours[0].seal):
        moved = envelope_pb2.Envelope(header=ours[1].header, body=ours[1].body, seal=taken)
        with pytest.raises(Refused) as caught:
            check(moved.SerializeToString(), members)
        assert caught.value.reason == Reason.REASON_BAD_SEAL


def flush(kor: Speaker) -> list[envelope_pb2.Envelope]:
    """Three envelopes of one flush to JPN, under one signature."""
    made = [envelope_pb2.Envelope.FromString(kor.envelope("JPN")) for _ in range(3)]
    leaves = [leaf_hash(one.header, one.body) for one in made]
    seals = seal_batch(leaves, origin="KOR", recipient="JPN", mode=TEST, signers=[kor.keyring.signer(TEST)])
    for one, seal in zip(made, seals, strict=True):
        one.seal.CopyFrom(seal)
    return made
