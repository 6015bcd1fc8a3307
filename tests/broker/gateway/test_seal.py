from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.clock import nanoseconds
from broker.envelope import identity_of
from broker.gateway.seal import FRESH_OTHERS_S, FRESH_S, Outgoing, Sealed, seal_all
from broker.gateway.streams import Line, Streams
from certs.keyring import Keyring
from certs.signature import BadSeal, leaf_hash, verify_seal
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certs.issue import Authority

NOW_NS = 1_780_000_000 * limits.SECOND_NS
TEST = content_pb2.MODE_TEST


def outgoing(number: int, recipient: str = "JPN", *, body: str = "track", precedence: int = 3) -> Outgoing:
    content = content_pb2.Content()
    content.header.message_id = number.to_bytes(16, "big")
    content.header.origin = "KOR"
    content.header.mode = TEST
    getattr(content, body).SetInParent()
    label = envelope_pb2.SecurityLabel(policy="KOR", releasable_to=[recipient])
    return Outgoing(recipient, content, envelope_pb2.Precedence.ValueType(precedence), label, NOW_NS + 1)


@pytest.fixture(scope="module")
def keyring(world: Authority) -> Keyring:
    return Keyring.load(world.home("KOR"))


def sealed(outgoings: Sequence[Outgoing], keyring: Keyring, streams: Streams | None = None) -> list[Sealed]:
    return seal_all(
        outgoings,
        streams=streams or Streams({}, now_ms=1),
        signer_of=keyring.signer,
        schema_version_of=lambda _: 1,
    )


def opened(item: Sealed) -> tuple[envelope_pb2.Envelope, envelope_pb2.RoutingHeader]:
    envelope = envelope_pb2.Envelope.FromString(item.envelope)
    return envelope, envelope_pb2.RoutingHeader.FromString(envelope.header)


def test_every_envelope_holds_by_the_key_of_its_mode(world: Authority, keyring: Keyring) -> None:
    items = [outgoing(number, recipient) for number in range(5) for recipient in ("JPN", "USA")]
    keys = world.members(now_ns=NOW_NS).seal_keys("KOR", TEST, NOW_NS, NOW_NS)
    for item in sealed(items, keyring):
        envelope, header = opened(item)
        leaf = leaf_hash(envelope.header, envelope.body)
        verify_seal(envelope.seal, leaf, origin="KOR", recipient=header.recipient, mode=TEST, keys=keys)
        assert (item.digest, item.identity) == (leaf, identity_of(header))


def test_never_is_there_a_tree_across_recipients(world: Authority, keyring: Keyring) -> None:
    items = [outgoing(1, "JPN"), outgoing(2, "USA"), outgoing(3, "JPN")]
    sizes = {}
    keys = world.members(now_ns=NOW_NS).seal_keys("KOR", TEST, NOW_NS, NOW_NS)
    for item in sealed(items, keyring):
        envelope, header = opened(item)
        sizes[header.recipient] = envelope.seal.tree_size
        other = "USA" if header.recipient == "JPN" else "JPN"
        with pytest.raises(BadSeal):
            verify_seal(envelope.seal, item.digest, origin="KOR", recipient=other, mode=TEST, keys=keys)
    assert sizes == {"JPN": 2, "USA": 1}


def test_they_come_back_in_the_order_given_also_more_than_fit_into_one_flush(keyring: Keyring) -> None:
    items = [outgoing(number) for number in range(limits.FRAME_MESSAGES_MAX + 3)]
    found = sealed(items, keyring)
    assert [item.outgoing for item in found] == items
    assert [opened(item)[1].sequence for item in found] == list(range(1, len(items) + 1))


def test_each_lane_and_recipient_has_numbers_of_its_own(keyring: Keyring) -> None:
    streams = Streams({}, now_ms=1)
    items = [outgoing(1), outgoing(2, precedence=4), outgoing(3, "USA"), outgoing(4, precedence=5)]
    numbers = [opened(item)[1].sequence for item in sealed(items, keyring, streams)]
    assert numbers == [1, 1, 1, 2]
    assert streams.known(Line("JPN", TEST, envelope_pb2.LANE_URGENT)) is None, "numbers are tentative"


@pytest.mark.parametrize(("body", "fresh_s"), [*FRESH_S.items(), ("heartbeat", FRESH_OTHERS_S)])
def test_it_is_fresh_for_as_long_as_its_body_rounded_up_to_the_second(
    body: str, fresh_s: int, keyring: Keyring
) -> None:
    (item,) = sealed([outgoing(1, body=body)], keyring)
    _, header = opened(item)
    assert nanoseconds(header.released_at) == NOW_NS + 1
    assert nanoseconds(header.stale_after) == NOW_NS + (fresh_s + 1) * limits.SECOND_NS


def test_the_exercise_stands_in_the_header_as_in_the_content(keyring: Keyring) -> None:
    item = outgoing(1)
    item.content.header.mode = content_pb2.MODE_EXERCISE
    item.content.header.exercise.exercise_id = "ex-1"
    (found,) = sealed([item], keyring)
    _, header = opened(found)
    assert header.exercise == item.content.header.exercise
    assert not opened(sealed([outgoing(2)], keyring)[0])[1].HasField("exercise")
