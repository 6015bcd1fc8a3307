"""Step 8: nothing that the hub, or anybody before it, did to an envelope goes unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.clock import timestamp
from broker.envelope import identity_of, lane_of
from broker.gateway.unseal import unseal
from broker.refusal import Reason, Refused
from broker.windows import Windows
from certs.keyring import Keyring
from certs.signature import Ed25519Signer, leaf_hash, seal_batch
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from certs.issue import Authority
    from certs.roster import Members
    from certs.signature import Signer

NOW_NS = 1_780_000_000 * limits.SECOND_NS
TEST = content_pb2.MODE_TEST


@pytest.fixture(scope="module")
def members(world: Authority) -> Members:
    return world.members(now_ns=NOW_NS)


@pytest.fixture(scope="module")
def signer(world: Authority) -> Signer:
    return Keyring.load(world.home("KOR")).signer(TEST)


def content() -> content_pb2.Content:
    made = content_pb2.Content()
    made.header.message_id = bytes(range(16))
    made.header.origin = "KOR"
    made.header.mode = TEST
    made.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    made.launch.event_id = b"e" * 16
    return made


def header(made: content_pb2.Content, **fields: Any) -> envelope_pb2.RoutingHeader:
    head = envelope_pb2.RoutingHeader(
        origin="KOR",
        recipient="JPN",
        mode=TEST,
        lane=envelope_pb2.LANE_URGENT,
        epoch=5,
        sequence=1,
        message_id=made.header.message_id,
        precedence=envelope_pb2.PRECEDENCE_FLASH,
        label=envelope_pb2.SecurityLabel(
            policy="KOR", classification=envelope_pb2.CLASSIFICATION_UNCLASSIFIED, releasable_to=["JPN"]
        ),
        released_at=timestamp(NOW_NS),
        schema_version=1,
        body_form=envelope_pb2.BODY_FORM_CLEAR,
    )
    for name, value in fields.items():
        if name == "released_at":
            head.released_at.CopyFrom(value)
        else:
            setattr(head, name, value)
    return head


def seal(head: envelope_pb2.RoutingHeader, body: bytes, signer: Signer, *, beside: int = 0) -> bytes:
    header_bytes = head.SerializeToString()
    leaves = [leaf_hash(header_bytes, body), *(bytes([number]) * 32 for number in range(beside))]
    seals = seal_batch(leaves, origin=head.origin, recipient=head.recipient, mode=head.mode, signers=[signer])
    return envelope_pb2.Envelope(header=header_bytes, body=body, seal=seals[0]).SerializeToString()


def open_it(data: bytes, members: Members, windows: Windows | None = None) -> Any:
    return unseal(data, us="JPN", members=members, windows=windows or Windows({}), now_ns=NOW_NS)


def test_what_was_sealed_to_us_is_opened(members: Members, signer: Signer) -> None:
    made = content()
    head = header(made)
    received = open_it(seal(head, made.SerializeToString(), signer, beside=3), members)
    assert (received.header, received.content, received.identity) == (head, made, identity_of(head))
    assert not received.is_ours


@given(data=st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject, members: Members, signer: Signer) -> None:
    made = content()
    good = bytearray(seal(header(made), made.SerializeToString(), signer, beside=2))
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    good[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Refused):
        open_it(bytes(good), members)


@given(data=st.data())
def test_bytes_taken_out_or_put_in_are_refused_or_change_nothing_under_the_seal(
    data: st.DataObject, members: Members, signer: Signer
) -> None:
    made = content()
    good = seal(header(made), made.SerializeToString(), signer)
    at = data.draw(st.integers(0, len(good) - 1))
    cut = data.draw(st.integers(0, 3))
    changed = good[:at] + data.draw(st.binary(max_size=3)) + good[at + cut :]
    if changed == good:
        return
    try:
        received = open_it(changed, members)
    except Refused:
        return
    # Protobuf lets a field stand twice, and the last one counts: the wrapper is not sealed, what it holds is.
    assert (received.header, received.content) == (header(made), made)
    assert received.digest == open_it(good, members).digest


@given(data=st.binary(max_size=200))
def test_any_other_bytes_are_refused_and_nothing_else_is_raised(data: bytes, members: Members) -> None:
    with pytest.raises(Refused):
        open_it(data, members)


def changed(**fields: Any) -> Callable[[content_pb2.Content], envelope_pb2.RoutingHeader]:
    return lambda made: header(made, **fields)


@pytest.mark.parametrize(
    ("head_of", "reason"),
    [
        (changed(recipient="USA"), Reason.REASON_MISADDRESSED),
        (changed(origin="HUB"), Reason.REASON_UNKNOWN_KEY),
        (changed(origin="FRA"), Reason.REASON_PAIR_NOT_ALLOWED),
        (changed(mode=content_pb2.MODE_REAL_WORLD), Reason.REASON_UNKNOWN_KEY),
        (changed(body_form=envelope_pb2.BODY_FORM_HPKE), Reason.REASON_BODY_FORM),
        (changed(schema_version=0), Reason.REASON_SCHEMA_VERSION),
        (changed(schema_version=limits.SCHEMA_VERSION + 1), Reason.REASON_SCHEMA_VERSION),
        (changed(message_id=bytes(16)), Reason.REASON_HEADER_MISMATCH),
        (changed(lane=envelope_pb2.LANE_NORMAL), Reason.REASON_PRECEDENCE),
        (changed(released_at=timestamp(NOW_NS + limits.FUTURE_MAX_NS + 1)), Reason.REASON_FUTURE),
    ],
)
def test_each_check_refuses_for_its_own_reason(
    head_of: Callable[[content_pb2.Content], envelope_pb2.RoutingHeader],
    reason: int,
    members: Members,
    signer: Signer,
) -> None:
    made = content()
    with pytest.raises(Refused) as refused:
        open_it(seal(head_of(made), made.SerializeToString(), signer), members)
    assert Reason.Name(refused.value.reason) == Reason.Name(reason)  # type: ignore[arg-type]


def test_a_content_that_is_not_well_formed_is_refused_though_it_is_well_sealed(
    members: Members, signer: Signer
) -> None:
    made = content()
    made.launch.confidence = 7.0
    with pytest.raises(Refused) as refused:
        open_it(seal(header(made), made.SerializeToString(), signer), members)
    assert refused.value.reason == Reason.REASON_OUT_OF_RANGE


def test_a_strangers_key_is_unknown_and_too_long_is_too_long(members: Members) -> None:
    made = content()
    with pytest.raises(Refused) as refused:
        open_it(seal(header(made), made.SerializeToString(), Ed25519Signer.of_seed(bytes(32))), members)
    assert refused.value.reason == Reason.REASON_UNKNOWN_KEY
    with pytest.raises(Refused) as refused:
        open_it(bytes(limits.ENVELOPE_BYTES_MAX + 1), members)
    assert refused.value.reason == Reason.REASON_TOO_LARGE


def test_a_number_from_behind_the_window_is_replayed_and_a_duplicate_passes(members: Members, signer: Signer) -> None:
    made = content()
    windows = Windows({})
    plan = windows.plan()
    plan.take(header(made, sequence=limits.REPLAY_WINDOW + 2))
    plan.take(header(made, sequence=2))
    windows.keep(plan)
    with pytest.raises(Refused) as refused:
        open_it(seal(header(made, sequence=1), made.SerializeToString(), signer), members, windows)
    assert refused.value.reason == Reason.REASON_REPLAYED
    assert open_it(seal(header(made, sequence=2), made.SerializeToString(), signer), members, windows)


def test_our_own_message_is_known_for_ours(world: Authority, members: Members) -> None:
    made = content()
    made.header.origin = "JPN"
    head = header(made, origin="JPN", lane=lane_of(envelope_pb2.PRECEDENCE_FLASH))
    own = Keyring.load(world.home("JPN")).signer(TEST)
    assert open_it(seal(head, made.SerializeToString(), own), members).is_ours
