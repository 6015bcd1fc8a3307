from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from broker import limits
from certs import signature
from certs.dsse import DocumentError
from certs.roster import PublicKey
from certs.signature import (
    BadSeal,
    Ed25519Signer,
    SealError,
    UnknownKey,
    leaf_hash,
    seal_batch,
    sign_document,
    verify_document,
    verify_seal,
)
from vedette.v1 import envelope_pb2
from vedette.v1.content_pb2 import Mode
from vedette.v1.envelope_pb2 import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE, REAL = Mode.MODE_EXERCISE, Mode.MODE_REAL_WORLD
ONE, TWO, STRANGER = (Ed25519Signer.of_seed(bytes([number]) * 32) for number in (1, 2, 3))


def known(*signers: Ed25519Signer) -> dict[bytes, PublicKey]:
    return {signer.key_id: PublicKey.ed25519(signer.public) for signer in signers}


def flush(count: int, *signers: Ed25519Signer, mode: int = EXERCISE) -> list[Envelope]:
    parts = [(b"header %d" % index, b"body of some length %d" % index) for index in range(count)]
    leaves = [leaf_hash(header, body) for header, body in parts]
    seals = seal_batch(leaves, origin="KOR", recipient="JPN", mode=mode, signers=signers)
    return [Envelope(header=h, body=b, seal=seal) for (h, b), seal in zip(parts, seals, strict=True)]


def verify(
    envelope: Envelope,
    *signers: Ed25519Signer,
    origin: str = "KOR",
    recipient: str = "JPN",
    mode: int = EXERCISE,
) -> None:
    leaf = leaf_hash(envelope.header, envelope.body)
    verify_seal(envelope.seal, leaf, origin=origin, recipient=recipient, mode=mode, keys=known(*signers))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64])
def test_every_envelope_of_a_flush_holds_by_itself(count: int) -> None:
    for envelope in flush(count, ONE):
        verify(envelope, ONE, TWO)


def test_the_statement_is_as_the_protocol_says() -> None:
    (envelope,) = flush(1, ONE)
    statement = (
        b"\x00\x00\x00\x0fvedette/v1/seal"
        b"\x00\x00\x00\x03KOR"
        b"\x00\x00\x00\x03JPN"
        b"\x00\x00\x00\x02"
        b"\x00\x00\x00\x00\x00\x00\x00\x01" + leaf_hash(envelope.header, envelope.body)
    )
    (value,) = envelope.seal.signatures
    VerifyKey(ONE.public).verify(statement, value.value)
    assert value.key_id == hashlib.sha256(ONE.public).digest()[:16]
    assert not envelope.seal.path


@pytest.mark.parametrize(("origin", "recipient", "mode"), [("USA", "JPN", 2), ("KOR", "USA", 2), ("KOR", "JPN", 1)])
def test_a_seal_holds_only_where_it_was_addressed(origin: str, recipient: str, mode: int) -> None:
    (envelope,) = flush(1, ONE)
    with pytest.raises(BadSeal):
        verify(envelope, ONE, origin=origin, recipient=recipient, mode=mode)


def test_no_length_can_be_moved_between_origin_and_recipient() -> None:
    leaf = leaf_hash(b"h", b"b")
    (seal,) = seal_batch([leaf], origin="KORJ", recipient="PN", mode=EXERCISE, signers=[ONE])
    with pytest.raises(BadSeal):
        verify_seal(seal, leaf, origin="KOR", recipient="JPN", mode=EXERCISE, keys=known(ONE))


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


def flip_header(envelope: Envelope, bit: int) -> None:
    envelope.header = flip(envelope.header, bit)


def flip_body(envelope: Envelope, bit: int) -> None:
    envelope.body = flip(envelope.body, bit)


def flip_path(envelope: Envelope, bit: int) -> None:
    place = bit % len(envelope.seal.path)
    envelope.seal.path[place] = flip(envelope.seal.path[place], bit)


def flip_value(envelope: Envelope, bit: int) -> None:
    envelope.seal.signatures[0].value = flip(envelope.seal.signatures[0].value, bit)


def flip_key_id(envelope: Envelope, bit: int) -> None:
    envelope.seal.signatures[0].key_id = flip(envelope.seal.signatures[0].key_id, bit)


def flip_algorithm(envelope: Envelope, bit: int) -> None:
    number = envelope.seal.signatures[0].algorithm ^ 1 << bit % 31
    envelope.seal.signatures[0].algorithm = number  # type: ignore[assignment]  # an open enum takes any number


def flip_size(envelope: Envelope, bit: int) -> None:
    envelope.seal.tree_size ^= 1 << bit % 64


def flip_index(envelope: Envelope, bit: int) -> None:
    envelope.seal.leaf_index ^= 1 << bit % 64


@pytest.mark.parametrize(
    "change",
    [flip_header, flip_body, flip_path, flip_value, flip_key_id, flip_algorithm, flip_size, flip_index],
)
@settings(max_examples=150)
@given(count=st.integers(2, 9), place=st.integers(0, 8), bit=st.integers(0, 2**20))
def test_any_flipped_bit_is_refused(change: Callable[[Envelope, int], None], count: int, place: int, bit: int) -> None:
    envelope = flush(count, ONE)[place % count]
    change(envelope, bit)
    with pytest.raises(SealError):
        verify(envelope, ONE, TWO)


@settings(max_examples=500)
@given(st.integers(0, 2**20))
def test_any_flipped_bit_of_the_bytes_on_the_wire_is_refused_or_changes_nothing(bit: int) -> None:
    original = flush(3, ONE)[1]
    data = original.SerializeToString()
    changed = Envelope()
    try:
        changed.ParseFromString(flip(data, bit))
        verify(changed, ONE)
    except (SealError, DecodeError):
        return
    assert (changed.header, changed.body) == (original.header, original.body)


def test_a_key_of_another_mode_is_unknown() -> None:
    (envelope,) = flush(1, TWO, mode=REAL)
    with pytest.raises(UnknownKey):  # the keys of real traffic are known; this one is the exercise's
        verify(envelope, ONE, mode=REAL)


def test_a_second_signature_may_be_unknown_but_no_known_one_may_fail() -> None:
    (envelope,) = flush(1, ONE, STRANGER)
    verify(envelope, ONE)
    envelope.seal.signatures[1].value = flip(envelope.seal.signatures[1].value, 7)
    verify(envelope, ONE)
    with pytest.raises(BadSeal):
        verify(envelope, ONE, STRANGER)


@pytest.mark.parametrize("order", [0, 1])
def test_one_good_signature_does_not_cover_a_bad_one(order: int) -> None:
    (envelope,) = flush(1, ONE, TWO)
    envelope.seal.signatures[order].value = envelope.seal.signatures[1 - order].value
    with pytest.raises(BadSeal):
        verify(envelope, ONE, TWO)


def test_no_signature_too_many_or_twice_the_same_is_refused() -> None:
    (envelope,) = flush(1, ONE)
    (only,) = envelope.seal.signatures
    for count in (0, 2, signature.SEAL_SIGNATURES_MAX + 1):
        del envelope.seal.signatures[:]
        envelope.seal.signatures.extend([only] * count)
        with pytest.raises(BadSeal):
            verify(envelope, ONE)


def test_an_empty_seal_and_a_mode_that_does_not_exist_are_refused() -> None:
    with pytest.raises(BadSeal):
        verify(Envelope(header=b"h", body=b"b"), ONE)
    (envelope,) = flush(1, ONE)
    with pytest.raises(BadSeal):
        verify(envelope, ONE, mode=-1)
    with pytest.raises(UnknownKey):
        verify(envelope, mode=-1)


def test_signers_that_could_not_be_told_apart_do_not_sign() -> None:
    for signers in ([], [ONE, ONE], [ONE, TWO, STRANGER, *(Ed25519Signer.of_seed(bytes([n]) * 32) for n in (4, 5))]):
        with pytest.raises(ValueError, match="signers"):
            seal_batch([leaf_hash(b"h", b"b")], origin="KOR", recipient="JPN", mode=EXERCISE, signers=signers)


@dataclass(frozen=True)
class MlDsaKey:
    public: bytes = bytes(1952)
    algorithm: envelope_pb2.SignatureAlgorithm.ValueType = envelope_pb2.SIGNATURE_ALGORITHM_ML_DSA_65


def test_an_algorithm_that_is_not_spoken_never_holds() -> None:
    (envelope,) = flush(1, ONE)
    envelope.seal.signatures[0].algorithm = envelope_pb2.SIGNATURE_ALGORITHM_ML_DSA_65
    leaf = leaf_hash(envelope.header, envelope.body)
    with pytest.raises(BadSeal):
        verify_seal(envelope.seal, leaf, origin="KOR", recipient="JPN", mode=EXERCISE, keys={ONE.key_id: MlDsaKey()})


def test_a_signer_does_not_print_its_key() -> None:
    assert repr(ONE) == f"Ed25519Signer({ONE.key_id.hex()})"


def test_the_bounds_are_those_of_the_brokers_limits() -> None:
    assert limits.SEAL_PATH_MAX == signature.PATH_MAX
    assert limits.SIGNATURES_MAX == signature.SEAL_SIGNATURES_MAX


TYPE = "application/vnd.vedette.release+yaml"


def test_a_document_is_signed_by_at_least_the_threshold() -> None:
    signed = sign_document(TYPE, b"policy", ONE, TWO)
    assert verify_document(TYPE, b"policy", signed, known(ONE, TWO), threshold=2) == {ONE.key_id, TWO.key_id}
    assert verify_document(TYPE, b"policy", signed, known(ONE)) == {ONE.key_id}
    with pytest.raises(DocumentError):
        verify_document(TYPE, b"policy", signed, known(ONE), threshold=2)
    with pytest.raises(DocumentError):
        verify_document(TYPE, b"policy", signed, known(STRANGER))
    with pytest.raises(ValueError, match="threshold"):
        verify_document(TYPE, b"policy", signed, known(ONE), threshold=0)


def test_a_changed_document_or_another_type_is_refused() -> None:
    signed = sign_document(TYPE, b"policy", ONE)
    with pytest.raises(DocumentError):
        verify_document(TYPE, b"policy ", signed, known(ONE))
    with pytest.raises(DocumentError):
        verify_document("application/vnd.vedette.members+json", b"policy", signed, known(ONE))
    renamed = signed.replace(TYPE.encode(), b"application/vnd.vedette.members+json")
    with pytest.raises(DocumentError):
        verify_document("application/vnd.vedette.members+json", b"policy", renamed, known(ONE))
    with pytest.raises(DocumentError):
        verify_document(TYPE, b"policy", renamed, known(ONE))


def test_one_officer_counts_once() -> None:
    table = json.loads(sign_document(TYPE, b"policy", ONE))
    table["signatures"] *= 2
    with pytest.raises(DocumentError, match="two signatures"):
        verify_document(TYPE, b"policy", json.dumps(table).encode(), known(ONE, TWO), threshold=2)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"payloadType": "x", "signatures": []}',
        b'{"payloadType": "x", "signatures": [{"keyid": "a", "sig": "?"}]}',
        b'{"payloadType": "x", "signatures": [{"keyid": "a", "sig": 1}]}',
        b'{"payloadType": "x", "signatures": [{"keyid": "a"}]}',
        b'{"payloadType": "x", "payloadType": "x", "signatures": [{"keyid": "a", "sig": ""}]}',
        b'{"payloadType": "x", "more": 1, "signatures": [{"keyid": "a", "sig": ""}]}',
        b'{"payloadType": NaN, "signatures": [{"keyid": "a", "sig": ""}]}',
        b"[" * 100_000,
        b" " * 2_000_000,
    ],
)
def test_junk_is_no_signature(junk: bytes) -> None:
    with pytest.raises(DocumentError):
        verify_document("x", b"", junk, known(ONE))
