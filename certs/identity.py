"""Who a certificate names, and whether it may.

The name is the one URI among the certificate's alternative names: `spiffe://kor.vedette/system/exercise/aegis-1`
says member KOR, a system, of the exercise mode, called aegis-1. Nothing else in a certificate means anything to us.

Three rules make the name true, and all three are checked here, because gRPC checks none of them:
* **A root may only vouch for its own member.** gRPC trusts every root of a bundle for every name; we take the root of
  the member that the name says, from the members document, and no other. (The roots also carry critical name
  constraints, so that a forged name fails in the handshake already. That is the second line, not the first.)
* **A role fits its member.** A nation's root can sign any path under its own name; `/views`, which reads every log at
  the hub, means something only under a hub's name, and a gateway only under a nation's.
* **It holds now**: in date, its root in date, and not withdrawn. Asked anew on every call: connections outlive
  certificates.

gRPC shows the leaf and not the chain, so a root issues its leaves directly.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NewType

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from vedette.v1.content_pb2 import Mode

if TYPE_CHECKING:
    from certs.roster import Members

MemberId = NewType("MemberId", str)  # ISO 3166-1 alpha-3 for a nation: "KOR"; a hub's own: "HUB"

# The mode as it stands in names, paths and documents. A mode that is not here does not exist.
MODES: Final[dict[str, Mode.ValueType]] = {
    "real-world": Mode.MODE_REAL_WORLD,
    "exercise": Mode.MODE_EXERCISE,
    "test": Mode.MODE_TEST,
}
MODE_NAMES: Final[dict[int, str]] = {mode: name for name, mode in MODES.items()}

CERTIFICATE_BYTES_MAX: Final = 16 * 1024  # ours are under 1 KiB
LEAVES_REMEMBERED_MAX: Final = 1024  # parsed certificates; far more than peers that connect to one process

# Everything that `cryptography` raises over a certificate that is broken, strange or somebody else's.
CERTIFICATE_FAULTS: Final = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

_MEMBER: Final = re.compile(r"[A-Z][A-Z0-9]{2,7}")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_URI: Final = re.compile(r"spiffe://([a-z][a-z0-9]{2,7})\.vedette/([a-z0-9/-]{1,128})")


class Role(Enum):
    """What somebody is for: the first part of the path."""

    GATEWAY = "gateway"
    HUB = "hub"
    VIEWS = "views"  # the fusion process
    SYSTEM = "system"  # a national system that reports
    WATCH = "watch"  # a watch floor, a recipient within the nation
    POLICY_OFFICER = "policy-officer"
    SECURITY_OFFICER = "security-officer"
    METRICS = "metrics"  # reads /metrics


_WITH_MODE: Final = frozenset({Role.SYSTEM, Role.WATCH})
_BARE: Final = frozenset({Role.GATEWAY, Role.HUB, Role.VIEWS})  # one for each member: no name
_OF_A_HUB: Final = frozenset({Role.HUB, Role.VIEWS, Role.METRICS})
_OF_A_NATION: Final = frozenset(Role) - {Role.HUB, Role.VIEWS}


class Kind(StrEnum):
    """Why somebody is not who they say: each is a name in refusal.proto, without its prefix."""

    NOT_A_MEMBER = "NOT_A_MEMBER"  # names nobody: not ours, unreadable, or of a member that is not in the document
    WRONG_ROOT = "WRONG_ROOT"
    REVOKED = "REVOKED"  # withdrawn, or out of date, which withdraws itself
    ROLE_NOT_ALLOWED = "ROLE_NOT_ALLOWED"
    TLS_TOO_OLD = "TLS_TOO_OLD"


class IdentityError(Exception):
    """Somebody is not who they say, for one `kind` of reason. The text tells a person what to do and no secret."""

    def __init__(self, kind: Kind, detail: str) -> None:
        """Take the kind and what to do about it."""
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is. `mode` is 0 and `name` empty where the role has none."""

    member: MemberId
    role: Role
    mode: Mode.ValueType
    name: str
    uri: str


def trust_domain(member: MemberId) -> str:
    """Return the host part of a member's names: `kor.vedette`."""
    return f"{member.lower()}.vedette"


def member_id(code: str) -> MemberId:
    """Return a code as a member's. Raises IdentityError unless it is 3 to 8 capital letters and digits."""
    if not _MEMBER.fullmatch(code):
        raise IdentityError(Kind.NOT_A_MEMBER, "a member's code is three to eight capital letters and digits")
    return MemberId(code)


def uri_of(member: MemberId, role: Role, *, mode: int = 0, name: str = "") -> str:
    """Return the URI of an identity. Raises IdentityError if there is no such identity."""
    parts = [f"spiffe://{trust_domain(member)}", role.value]
    if mode:
        parts.append(MODE_NAMES.get(mode, "?"))
    if name:
        parts.append(name)
    return identity_of_uri("/".join(parts)).uri


def identity_of_uri(uri: str) -> Identity:
    """Return what a URI says, and only if it says it in exactly one way. Raises IdentityError."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise IdentityError(Kind.NOT_A_MEMBER, "not a name of ours: spiffe://<member>.vedette/<role>/…")
    member = MemberId(match[1].upper())
    word, *rest = match[2].split("/")
    try:
        role = Role(word)
    except ValueError:
        raise IdentityError(Kind.NOT_A_MEMBER, "the path names no role of ours") from None
    mode: Mode.ValueType = Mode.MODE_UNSPECIFIED
    if role in _WITH_MODE:
        mode = MODES.get(rest.pop(0) if rest else "", Mode.MODE_UNSPECIFIED)
        if not mode:
            raise IdentityError(Kind.NOT_A_MEMBER, f"the path must say the mode: /{word}/<{'|'.join(MODES)}>/<name>")
    names_wanted = 0 if role in _BARE else 1
    if len(rest) != names_wanted or not all(_NAME.fullmatch(name) for name in rest):
        raise IdentityError(Kind.NOT_A_MEMBER, f"the path of a {word} is not one that we use")
    return Identity(member, role, mode, rest[0] if rest else "", uri)


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a certificate says of itself; nobody has vouched for it yet."""

    identity: Identity
    fingerprint: str  # what a revocation names: see `fingerprint_of`
    not_before: datetime
    not_after: datetime
    is_authority: bool


def fingerprint_of(certificate: x509.Certificate) -> str:
    """Return what a revocation names: SHA-256 of what the issuer signed (TBSCertificate, RFC 5280), hexadecimal.

    Not of the whole DER: of any ECDSA signature (r, s) there is a second one, (r, n - s), and a reader of BIT STRINGs
    overlooks some bits. Whoever stole a key could write a withdrawn certificate in another way, and go on.
    """
    return hashlib.sha256(certificate.tbs_certificate_bytes).hexdigest()


def read_leaf(pem: bytes) -> Leaf:
    """Return what one certificate in PEM says of itself. Raises IdentityError."""
    return _read_leaf(bytes(pem))


def identity_of_certificate(pem: bytes, members: Members, now_ns: int) -> Identity:
    """Return who a certificate's holder is, at a time, under a members document. Raises IdentityError."""
    leaf = read_leaf(pem)
    identity = leaf.identity
    member = members.members.get(identity.member)
    if member is None:
        raise IdentityError(Kind.NOT_A_MEMBER, f"{identity.member} is not in members document {members.version}")
    if not _issued_by(bytes(pem), member.root_pem):
        raise IdentityError(Kind.WRONG_ROOT, f"not issued by the root of {identity.member}; ask its authority for one")
    if leaf.is_authority:
        raise IdentityError(Kind.WRONG_ROOT, "a root is nobody's identity; use a certificate that it issued")
    if identity.role not in (_OF_A_HUB if member.is_hub else _OF_A_NATION):
        raise IdentityError(Kind.ROLE_NOT_ALLOWED, f"{identity.member} can have no {identity.role.value}")
    if leaf.fingerprint in members.revoked:
        raise IdentityError(Kind.REVOKED, "this certificate was withdrawn; ask your authority for a new one")
    now = datetime.fromtimestamp(now_ns / 1e9, UTC)
    root_before, root_after = _validity(member.root_pem)
    if not max(leaf.not_before, root_before) <= now <= min(leaf.not_after, root_after):
        raise IdentityError(Kind.REVOKED, "this certificate or its root is out of date, or a clock is wrong")
    return identity


@lru_cache(maxsize=LEAVES_REMEMBERED_MAX)
def _read_leaf(pem: bytes) -> Leaf:
    certificate = _parse(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except CERTIFICATE_FAULTS as error:
        raise IdentityError(Kind.NOT_A_MEMBER, "the certificate has no name of ours") from error
    if len(uris) != 1:  # with two names, two readers could believe two things
        raise IdentityError(Kind.NOT_A_MEMBER, f"the certificate must have exactly one URI name, not {len(uris)}")
    return Leaf(
        identity=identity_of_uri(uris[0]),
        fingerprint=fingerprint_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_authority=authority,
    )


@lru_cache(maxsize=LEAVES_REMEMBERED_MAX)
def _issued_by(pem: bytes, root_pem: bytes) -> bool:
    """Whether the root's name and key stand under the certificate."""
    try:
        _parse(pem).verify_directly_issued_by(_parse(root_pem))
    except CERTIFICATE_FAULTS:
        return False
    return True


@lru_cache(maxsize=LEAVES_REMEMBERED_MAX)
def _validity(root_pem: bytes) -> tuple[datetime, datetime]:
    root = _parse(root_pem)
    return root.not_valid_before_utc, root.not_valid_after_utc


def _parse(pem: bytes) -> x509.Certificate:
    if len(pem) > CERTIFICATE_BYTES_MAX:
        raise IdentityError(Kind.NOT_A_MEMBER, "the certificate is larger than any of ours")
    try:
        return x509.load_pem_x509_certificate(pem)
    except CERTIFICATE_FAULTS as error:
        raise IdentityError(Kind.NOT_A_MEMBER, "the certificate cannot be read") from error
