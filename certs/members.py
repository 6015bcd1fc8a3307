"""Which members document is in force: the only way from a file to a `Members`.

The document says who the members are: their roots, their signing keys per mode, their policy officers, who may exchange
with whom, and which certificates were withdrawn. The nations keep it together; no one of them, and no hub, can change
it alone.

The rules, after TUF's for its root of trust (theupdateframework.github.io/specification, §5.3):
1. A process starts from a *pin*: the digest of one version, told to it by a person out of band. That version must be
   signed by the threshold of its own national roots.
2. Version n+1 names the digest of n and is signed by the threshold and the national roots of n. Hubs do not count.
3. Where the file is newer than the pin, the versions between stand beside it (`members-1.json` beside `members.json`),
   and each step is checked. So a process that starts again needs no memory, and one that was away for long catches up.
4. What is in force is never replaced by an older version, nor by another of the same number.
5. No process starts with, or changes to, a document that has expired. One that runs goes on with what it has and says
   so: a lapse of administrators must not end the warnings of all nations in the same second.
6. One signature by a root that counts, and that does not hold, refuses the document, however many others do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import certificate, document, dsse
from certs.roster import ANYTHING, Member, MemberKey, Members, Pair, PublicKey, Purpose, key_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from certs.identity import MemberId

__all__ = [
    "ANYTHING",
    "Member",
    "MemberKey",
    "Members",
    "MembersError",
    "Pair",
    "PublicKey",
    "Purpose",
    "key_id_of",
    "load_members",
    "read_members",
    "sign_members",
]

PAYLOAD_TYPE: Final = "application/vnd.vedette.members+json"
VERSIONS_BACK_MAX: Final = 64  # how far behind the newest version a pin may lie


class MembersError(Exception):
    """The members document is refused; the text says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class Unproven:
    """A document as it was read, its signatures not checked. For people to look at, not for a process to obey."""

    members: Members
    payload: bytes
    signatures: Mapping[str, bytes]


def load_members(
    path: Path, *, pinned_digest: str | None = None, previous: Members | None = None, now_ns: int
) -> Members:
    """Return the document in a file if it may be in force. Raises MembersError.

    Start with `pinned_digest`; take over a newer version at run time with `previous`, the one in force. With both, a
    person may also pin a version to go on from that does not follow `previous`; an older one is refused all the same.
    """
    if pinned_digest is None and previous is None:
        raise MembersError("a digest must be pinned: nothing else says which document to begin with")
    payload, signatures = _read(path)
    if previous is not None and document.digest_of(payload) == previous.digest:
        return _unexpired(previous, now_ns)  # asked every second by a running process, so it is not parsed again
    newest = Unproven(_decode(path, payload), payload, signatures)
    if previous is not None:
        _check_not_undone(newest.members, previous)
    steps = _steps_back(path, newest, pinned_digest, previous)
    if previous is not None and steps[0].members.previous == previous.digest:
        in_force = previous
    else:
        _check_signed(steps[0], by=steps[0].members)  # 1
        in_force, steps = steps[0].members, steps[1:]
    for step in steps:
        _check_follows(step, in_force)  # 2
        in_force = step.members
    return _unexpired(in_force, now_ns)


def read_members(path: Path) -> Unproven:
    """Return what stands in a file, with nothing proven by it. Raises MembersError."""
    payload, signatures = _read(path)
    return Unproven(_decode(path, payload), payload, signatures)


def sign_members(members: Members, root_keys: Mapping[MemberId, bytes]) -> bytes:
    """Return the signed document as it stands in a file; `root_keys` are the signing roots' private keys in PEM.

    They are those of the version before, as far as they have come together for the ceremony; `members.digest` is
    ignored. Raises ValueError for a document that no loader would take.
    """
    payload = document.encode(members)
    try:
        document.decode(payload)
    except dsse.DocumentError as error:
        raise ValueError(str(error)) from error
    statement = dsse.signed_bytes(PAYLOAD_TYPE, payload)
    signatures = [
        (certificate.key_id_of_private(key_pem), certificate.sign_with_root(key_pem, statement))
        for _, key_pem in sorted(root_keys.items())
    ]
    return dsse.encode(PAYLOAD_TYPE, payload, signatures)


def _read(path: Path) -> tuple[bytes, Mapping[str, bytes]]:
    try:
        with path.open("rb") as file:
            signed = dsse.decode(file.read(dsse.DOCUMENT_BYTES_MAX + 1))
    except OSError as error:
        raise MembersError(f"{path}: cannot be read: {error.strerror}") from error
    except dsse.DocumentError as error:
        raise MembersError(f"{path}: {error}") from error
    if signed.payload is None or signed.payload_type != PAYLOAD_TYPE:
        raise MembersError(f"{path}: is not a members document")
    return signed.payload, signed.signatures


def _decode(path: Path, payload: bytes) -> Members:
    try:
        return document.decode(payload)
    except dsse.DocumentError as error:
        raise MembersError(f"{path}: {error}") from error


def _unexpired(members: Members, now_ns: int) -> Members:
    if now_ns >= members.expires_ns:  # 5
        raise MembersError(f"version {members.version} has expired; ask the members' authorities for the next")
    return members


def _check_not_undone(newest: Members, previous: Members) -> None:
    if newest.version < previous.version:  # 4
        raise MembersError(f"version {newest.version} is older than {previous.version}, which is in force")
    if newest.version == previous.version and newest.digest != previous.digest:
        raise MembersError(f"there are two different versions {newest.version}; ask the members' authorities")


def _steps_back(path: Path, newest: Unproven, pinned_digest: str | None, previous: Members | None) -> list[Unproven]:
    """Return the versions up to the newest, oldest first: from the pinned one, or from that after what is in force."""
    steps = [newest]
    while True:
        oldest = steps[0].members
        if oldest.digest == pinned_digest or (previous is not None and oldest.previous == previous.digest):
            return steps
        if previous is not None and oldest.version <= previous.version + 1:  # 4: by no other way
            raise MembersError(f"version {oldest.version} does not follow {previous.version}, which is in force")
        if oldest.version == 1 or len(steps) > VERSIONS_BACK_MAX:
            raise MembersError("the pinned digest is not that of this document, nor of any that it follows")
        steps.insert(0, read_members(path.with_name(f"{path.stem}-{oldest.version - 1}{path.suffix}")))  # 3


def _check_follows(step: Unproven, before: Members) -> None:
    if step.members.version != before.version + 1 or step.members.previous != before.digest:
        raise MembersError(f"version {step.members.version} does not follow {before.version}")
    _check_signed(step, by=before)


def _check_signed(unproven: Unproven, *, by: Members) -> None:
    statement = dsse.signed_bytes(PAYLOAD_TYPE, unproven.payload)
    good = 0
    for member in by.members.values():
        value = unproven.signatures.get(certificate.key_id(member.root_pem))
        if value is None or member.is_hub:
            continue
        public = x509.load_pem_x509_certificate(member.root_pem).public_key()
        try:
            if not isinstance(public, ec.EllipticCurvePublicKey):  # the document would not have been taken
                raise MembersError(f"the root of {member.code} is not ECDSA")
            public.verify(value, statement, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise MembersError(f"the signature by the root of {member.code} does not hold") from None  # 6
        good += 1
    if good < by.threshold:
        raise MembersError(
            f"version {unproven.members.version} is signed by {good} of the roots of version {by.version}; "
            f"{by.threshold} must"
        )
