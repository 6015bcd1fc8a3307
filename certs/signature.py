"""Seals of envelopes, and signatures of documents. Nothing is signed without saying what it is.

A seal signs one flush of envelopes *to one recipient* by the root of their Merkle tree. The statement is

    string("vedette/v1/seal") || string(origin) || string(recipient) || u32 mode || u64 tree size || 32 bytes root

where string(x) is a u32 length and the UTF-8 bytes, and all numbers are big-endian. The context keeps a seal from being
taken for anything else that a key signs, origin and recipient from being moved between members, and the mode, together
with one key per mode, an exercise from becoming real.

A seal holds when at least one of its signatures is by a key that we know for (origin, mode), and none by such a key
fails. Signatures by other keys are passed over, so that a second algorithm or the next key can stand beside the first
before everybody knows it. Their presence is therefore not protected: nobody may conclude anything from it.

Ed25519 is PyNaCl's, which verifies twice as fast as the alternative; a verified statement is remembered, so that the
envelopes of one flush cost one verification.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from certs import dsse
from certs.merkle import PATH_MAX, TREE_SIZE_MAX, leaf_hash, root_and_paths, root_of_path
from certs.roster import key_id_of
from vedette.v1 import envelope_pb2
from vedette.v1.envelope_pb2 import SignatureAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "PATH_MAX",
    "SEAL_SIGNATURES_MAX",
    "TREE_SIZE_MAX",
    "BadSeal",
    "DocumentSignatureError",
    "Ed25519Signer",
    "SealError",
    "Signer",
    "UnknownKey",
    "leaf_hash",
    "seal_batch",
    "sign_document",
    "verify_document",
    "verify_seal",
]

SEAL_SIGNATURES_MAX: Final = 4
STATEMENTS_REMEMBERED_MAX: Final = 1024  # about 250 bytes each

_CONTEXT: Final = "vedette/v1/seal"
_PUBLIC_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


class SealError(Exception):
    """A seal does not hold. The text names no key that would."""


class UnknownKey(SealError):  # noqa: N818 - the names of the refusals
    """No signature is by a key that we know for this origin and mode: unknown, of another mode or expired alike."""


class BadSeal(SealError):  # noqa: N818
    """A signature, or the path from the envelope to what was signed, does not hold."""


class DocumentSignatureError(dsse.DocumentError):
    """A document is not signed as it must be."""


class Signer(Protocol):
    """Something that holds a private key: a file, later perhaps a module of hardware."""

    @property
    def algorithm(self) -> SignatureAlgorithm.ValueType:
        """Return the algorithm of its signatures."""

    @property
    def key_id(self) -> bytes:
        """Return the 16 bytes by which others find the public key."""

    def sign(self, statement: bytes) -> bytes:
        """Return the signature of exactly these bytes."""


class Verifier(Protocol):
    """What a public key brings: `MemberKey` and `PublicKey` do."""

    @property
    def algorithm(self) -> SignatureAlgorithm.ValueType:
        """Return the algorithm of its signatures."""

    @property
    def public(self) -> bytes:
        """Return the public key."""


@dataclass(frozen=True, slots=True)
class Ed25519Signer:
    """A private Ed25519 key in this process' memory (RFC 8032)."""

    key_id: bytes
    public: bytes
    _key: SigningKey
    algorithm: SignatureAlgorithm.ValueType = SignatureAlgorithm.SIGNATURE_ALGORITHM_ED25519

    @classmethod
    def of_seed(cls, seed: bytes) -> Ed25519Signer:
        """Return the signer of a 32-byte seed."""
        key = SigningKey(seed)
        public = bytes(key.verify_key)
        return cls(key_id_of(public), public, key)

    def sign(self, statement: bytes) -> bytes:
        """Return 64 bytes."""
        return self._key.sign(statement).signature

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.key_id.hex()})"


def seal_batch(
    leaves: Sequence[bytes], *, origin: str, recipient: str, mode: int, signers: Sequence[Signer]
) -> list[envelope_pb2.Seal]:
    """Seal the envelopes of one flush to one recipient: one seal for each leaf hash, in order.

    Raises ValueError for no leaves, too many, or signers that could not be told apart.
    """
    if not 1 <= len(signers) <= SEAL_SIGNATURES_MAX or len({signer.key_id for signer in signers}) != len(signers):
        raise ValueError(f"1 to {SEAL_SIGNATURES_MAX} signers, each once")
    root, paths = root_and_paths(leaves)
    statement = _statement(origin, recipient, mode, len(leaves), root)
    signatures = [
        envelope_pb2.Signature(algorithm=signer.algorithm, key_id=signer.key_id, value=signer.sign(statement))
        for signer in signers
    ]
    return [
        envelope_pb2.Seal(tree_size=len(leaves), leaf_index=index, path=path, signatures=signatures)
        for index, path in enumerate(paths)
    ]


def verify_seal(
    seal: envelope_pb2.Seal, leaf: bytes, *, origin: str, recipient: str, mode: int, keys: Mapping[bytes, Verifier]
) -> None:
    """Return if the seal holds over `leaf`, the hash of the envelope's own bytes. Raises UnknownKey or BadSeal.

    `keys` are those of (origin, mode) that verify now, by key id: `Members.seal_keys`.
    """
    if not 1 <= len(seal.signatures) <= SEAL_SIGNATURES_MAX:
        raise BadSeal(f"must carry 1 to {SEAL_SIGNATURES_MAX} signatures")
    if len({signature.key_id for signature in seal.signatures}) != len(seal.signatures):
        raise BadSeal("two signatures by one key")
    root = root_of_path(leaf, index=seal.leaf_index, size=seal.tree_size, path=seal.path)
    if root is None:
        raise BadSeal("the path does not fit index and size of the tree")
    statement = _statement(origin, recipient, mode, seal.tree_size, root)
    known = [(signature, keys[signature.key_id]) for signature in seal.signatures if signature.key_id in keys]
    if not known:
        raise UnknownKey("signed by no key that is known for this origin and mode; is the members document current?")
    for signature, key in known:
        if signature.algorithm != key.algorithm or not _remembered(
            key.algorithm, key.public, statement, signature.value
        ):
            raise BadSeal("the signature does not hold: the bytes, the path or the address were changed")


def sign_document(payload_type: str, payload: bytes, *signers: Signer) -> bytes:
    """Return the JSON that stands beside a document and signs it: DSSE without the payload."""
    statement = dsse.signed_bytes(payload_type, payload)
    return dsse.encode(payload_type, None, [(signer.key_id.hex(), signer.sign(statement)) for signer in signers])


def verify_document(
    payload_type: str, payload: bytes, signatures: bytes, keys: Mapping[bytes, Verifier], threshold: int = 1
) -> frozenset[bytes]:
    """Return the ids of the keys that signed `payload`, at least `threshold` of `keys`. Raises DocumentError.

    `signatures` is what `sign_document` returned. As with seals: unknown keys are passed over, no known one may fail.
    """
    signed = dsse.decode(signatures)
    if signed.payload is not None or signed.payload_type != payload_type:
        raise DocumentSignatureError(f"must be a detached signature of {payload_type}")
    if threshold < 1:
        raise ValueError("a threshold below one would accept anything")
    statement = dsse.signed_bytes(payload_type, payload)
    by_name = {key_id.hex(): (key_id, key) for key_id, key in keys.items()}
    good: set[bytes] = set()
    for name, value in signed.signatures.items():
        if name not in by_name:
            continue
        key_id, key = by_name[name]
        if not _holds(key.algorithm, key.public, statement, value):
            raise DocumentSignatureError("a signature does not hold: the document was changed after it was signed")
        good.add(key_id)
    if len(good) < threshold:
        raise DocumentSignatureError(f"signed by {len(good)} of the keys that may, {threshold} must")
    return frozenset(good)


def _statement(origin: str, recipient: str, mode: int, tree_size: int, root: bytes) -> bytes:
    strings = (text.encode() for text in (_CONTEXT, origin, recipient))
    framed = b"".join(len(text).to_bytes(4, "big") + text for text in strings)
    # An enum on the wire may be negative; no key is of such a mode, but asking must not be an accident.
    return framed + mode.to_bytes(4, "big", signed=True) + tree_size.to_bytes(8, "big") + root


def _holds(algorithm: int, public: bytes, statement: bytes, value: bytes) -> bool:
    """Whether a signature is true."""
    if algorithm != SignatureAlgorithm.SIGNATURE_ALGORITHM_ED25519:
        return False  # ML-DSA-65 has a number but is not spoken yet
    if len(public) != _PUBLIC_BYTES or len(value) != _SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(public).verify(statement, value)
    except CryptoError:
        return False
    return True


# A function of its arguments alone, so that its answers may be remembered. Not for documents: they are large and rare.
_remembered: Final = lru_cache(maxsize=STATEMENTS_REMEMBERED_MAX)(_holds)
