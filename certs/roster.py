"""The types of the members document, and the questions that are asked of it.

A `Members` is a document in force: only `certs.members` makes one from a file, after all its checks. It is immutable;
a newer version is another object, swapped in whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from certs.identity import MemberId
from vedette.v1.envelope_pb2 import SignatureAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette.v1.content_pb2 import Mode

KEY_ID_BYTES: Final = 16


class Purpose(StrEnum):
    """What a signing key may sign. A nation seals what it saw; the hub seals the pictures that it fused."""

    SEAL = "seal"
    PICTURE = "picture"


def key_id_of(public: bytes) -> bytes:
    """Return a key's id: the first 16 bytes of SHA-256 of the public key. It is computed, never claimed."""
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies: a policy officer's, for example. Ed25519: 32 bytes."""

    key_id: bytes
    algorithm: SignatureAlgorithm.ValueType
    public: bytes

    @classmethod
    def ed25519(cls, public: bytes) -> PublicKey:
        """Return the key of 32 public bytes."""
        return cls(key_id_of(public), SignatureAlgorithm.SIGNATURE_ALGORITHM_ED25519, public)


class Duty(StrEnum):
    """What an officer answers for. A release policy needs both: who writes rules does not guard them alone."""

    POLICY = "policy-officer"  # that the rules serve their purpose
    SECURITY = "security-officer"  # that nothing leaves which may not


ONE_EACH: Final[Mapping[Duty, int]] = dict.fromkeys(Duty, 1)


@dataclass(frozen=True, slots=True)
class Officer:
    """A person who may sign for a nation's releases, in one duty and with one key."""

    name: str
    duty: Duty
    key: PublicKey


@dataclass(frozen=True, slots=True)
class MemberKey:
    """A key with which a member signs envelopes of one mode.

    It signs until `sign_until_ns` and verifies until `verify_until_ns`, which lies past the retention: what was sealed
    on its last day must still be readable on the last day that it is kept.
    """

    key_id: bytes
    algorithm: SignatureAlgorithm.ValueType
    public: bytes
    mode: Mode.ValueType
    purpose: Purpose
    sign_until_ns: int
    verify_until_ns: int


@dataclass(frozen=True, slots=True)
class Member:
    """A nation, or a hub: it has a root of its own like any other, and only it may have picture keys."""

    code: MemberId
    name: str
    root_pem: bytes
    keys: tuple[MemberKey, ...]
    officers: Mapping[str, Officer]  # who may sign the nation's release policy and invariants, by name
    schema_versions: tuple[int, int]  # least and most that its gateway speaks, for when it is not there to be asked
    is_hub: bool
    joined_ns: int  # it sees nothing from before
    approvals: Mapping[Duty, int] = field(default_factory=lambda: ONE_EACH)  # how many of each duty must approve

    def officer_keys(self, duty: Duty | None = None) -> dict[bytes, PublicKey]:
        """Return the keys of the officers, or of those of one duty, by id, as `verify_document` takes them."""
        return {each.key.key_id: each.key for each in self.officers.values() if duty in (None, each.duty)}

    def officer_of(self, key_id: bytes) -> Officer | None:
        """Return whose key that is."""
        return next((each for each in self.officers.values() if each.key.key_id == key_id), None)


@dataclass(frozen=True, slots=True)
class Pair:
    """What one member may send to another at all, whatever its release policy says: the guard holds it to this."""

    leaves: frozenset[str] | None  # paths of leaves or of whole subtrees ("launch", "track.state"); None = all
    third_party: bool  # may pass on what stems from another member, where that one's label permits it

    def permits(self, leaf: str) -> bool:
        """Whether a leaf path, or a subtree that it lies in, is on the list."""
        if self.leaves is None:
            return True
        parts = leaf.split(".")
        return any(".".join(parts[:count]) in self.leaves for count in range(1, len(parts) + 1))


ANYTHING: Final = Pair(leaves=None, third_party=True)


@dataclass(frozen=True, slots=True)
class Members:
    """A members document in force."""

    version: int
    digest: str  # "sha256:…" of the signed bytes
    previous: str  # the digest of the version before; empty in version 1
    expires_ns: int  # past it no process starts with this document; a running one goes on and raises an alarm
    threshold: int  # how many national roots must sign the next version
    members: Mapping[MemberId, Member]
    pairs: Mapping[tuple[MemberId, MemberId], Pair]
    revoked: frozenset[str]  # fingerprints of withdrawn certificates: `certs.identity.fingerprint_of`

    def nations(self) -> tuple[MemberId, ...]:
        """Return the codes of all members that are not hubs, sorted."""
        return tuple(sorted(code for code, member in self.members.items() if not member.is_hub))

    def may_exchange(self, origin: str, recipient: str) -> Pair | None:
        """Return what `origin` may send to `recipient`, None for nothing.

        A nation may always send to itself (its own picture at the hub), and a hub to every nation (pictures).
        """
        sender, receiver = self.members.get(MemberId(origin)), self.members.get(MemberId(recipient))
        if sender is None or receiver is None or receiver.is_hub:
            return None
        if sender.is_hub or origin == recipient:
            return ANYTHING
        return self.pairs.get((MemberId(origin), MemberId(recipient)))

    def seal_keys(self, origin: str, mode: int, now_ns: int, released_ns: int | None = None) -> dict[bytes, MemberKey]:
        """Return the keys that verify seals of `origin` in `mode` now, by key id; empty for a stranger.

        With `released_ns`, the time that the header says, a key that was no longer to sign by then is left out.
        """
        member = self.members.get(MemberId(origin))
        if member is None:
            return {}
        return {
            key.key_id: key
            for key in member.keys
            if key.mode == mode
            and now_ns < key.verify_until_ns
            and (released_ns is None or released_ns < key.sign_until_ns)
        }

    def roots(self, *codes: str) -> bytes:
        """Return the roots of these members, or of all, as one PEM bundle for TLS."""
        return b"".join(self.members[MemberId(code)].root_pem for code in codes or sorted(self.members))
