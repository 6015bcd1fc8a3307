"""Certificates as we make and check them: ECDSA P-256 leaves issued directly by a root that is held to its own name.

A root carries a critical name constraint: it may issue URIs of its member's trust domain only. The TLS libraries of
gRPC and of OpenSSL enforce it in the handshake. A constraint on DNS names would not: it says nothing about URIs.

Only a gateway and a hub may be a server. A role that is only ever a client has no host name and no right to serve in
its certificate, so a system's stolen key cannot play the gateway to its neighbours. That matters because a gRPC client
in Python never gets to see the certificate of its server: what the handshake refuses is all that is refused.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.identity import CERTIFICATE_FAULTS, MemberId, Role, fingerprint_of, identity_of_uri, trust_domain
from certs.private import write_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

HOSTS: Final = ("localhost", "127.0.0.1")
SERVERS: Final = frozenset({Role.GATEWAY, Role.HUB})
CLOCKS_DIFFER_S: Final = 300  # a new certificate is valid for a peer whose clock is this much behind


class CertificateError(Exception):
    """A certificate or its key cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key, both in PEM."""

    certificate_pem: bytes
    key_pem: bytes

    @property
    def fingerprint(self) -> str:
        """Return what a revocation names."""
        return fingerprint_of(x509.load_pem_x509_certificate(self.certificate_pem))

    def write(self, stem: Path) -> None:
        """Write `<stem>.pem` and, readable by the owner only, `<stem>.key`. Raises FileExistsError."""
        write_private(stem.parent / f"{stem.name}.key", self.key_pem)
        (stem.parent / f"{stem.name}.pem").write_bytes(self.certificate_pem)


def make_root(member: MemberId, *, now_ns: int, hours: float, key_pem: bytes = b"", constrained: bool = True) -> Issued:
    """Return a new root of a member, of a new key unless one is given.

    `constrained=False` leaves the name constraint out. No members document takes such a root: it is for trying whether
    the check of the application holds by itself, behind a TLS library that knows no constraints on URIs.
    """
    key = _load_key(key_pem) if key_pem else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{member} root")])
    builder = _builder(name, name, key.public_key(), now_ns=now_ns, hours=hours)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    if constrained:
        only = [x509.UniformResourceIdentifier(trust_domain(member))]
        builder = builder.add_extension(x509.NameConstraints(only, None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return Issued(certificate.public_bytes(Encoding.PEM), _key_pem(key))


def make_leaf(root: Issued, uri: str, *, now_ns: int, hours: float, hosts: Sequence[str] = HOSTS) -> Issued:
    """Return a certificate for a URI of ours under a root, with a new key. Whether the root may is not asked here."""
    identity = identity_of_uri(uri)
    issuer, issuer_key = x509.load_pem_x509_certificate(root.certificate_pem), _load_key(root.key_pem)
    serves = identity.role in SERVERS
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if serves:
        names += [_host_name(host) for host in hosts]
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{identity.member} {identity.role.value}")])
    builder = _builder(subject, issuer.subject, key.public_key(), now_ns=now_ns, hours=hours)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    certificate = builder.add_extension(authority, critical=False).sign(issuer_key, hashes.SHA256())
    return Issued(certificate.public_bytes(Encoding.PEM), _key_pem(key))


def check_root(pem: bytes, member: MemberId) -> None:
    """Return if this is a root that can vouch for its member and for nobody else. Raises CertificateError."""
    try:
        root = x509.load_pem_x509_certificate(pem)
        root.verify_directly_issued_by(root)
        constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
        basic = root.extensions.get_extension_for_class(x509.BasicConstraints).value
        public = root.public_key()
    except CERTIFICATE_FAULTS as error:
        raise CertificateError(f"{member}: its root is not its own, lacks the name constraint, or is broken") from error
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise CertificateError(f"{member}: its root must be ECDSA")
    if not basic.ca or basic.path_length != 0:  # a peer shows its leaf and nothing between
        raise CertificateError(f"{member}: its root must be an authority over leaves only (path length 0)")
    permitted = list(constraints.value.permitted_subtrees or ())
    own = x509.UniformResourceIdentifier(trust_domain(member))
    if not constraints.critical or [name for name in permitted if isinstance(name, type(own))] != [own]:
        raise CertificateError(f"{member}: its root must be held to URIs of {trust_domain(member)}, critically")


def root_member(pem: bytes) -> MemberId | None:
    """Return whose root this is, None for a leaf. Raises CertificateError where it is neither."""
    try:
        root = x509.load_pem_x509_certificate(pem)
        constraints = root.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    except CERTIFICATE_FAULTS as error:
        raise CertificateError("the certificate cannot be read") from error
    own = [name.value for name in constraints.permitted_subtrees or () if isinstance(name.value, str)]
    member = MemberId(own[0].split(".")[0].upper() if own else "")
    check_root(pem, member)
    return member


def key_id(pem: bytes) -> str:
    """Return the id of a certificate's key as it stands in signed documents: SHA-256 of its SPKI, hexadecimal."""
    return _spki_hash(x509.load_pem_x509_certificate(pem).public_key())


def key_id_of_private(key_pem: bytes) -> str:
    """Return the same id from the private key."""
    return _spki_hash(_load_key(key_pem).public_key())


def check_pair(certificate_pem: bytes, key_pem: bytes) -> None:
    """Return if the key is the certificate's, and of the kind that TLS 1.3 alone can use. Raises CertificateError."""
    try:
        public = x509.load_pem_x509_certificate(certificate_pem).public_key()
    except CERTIFICATE_FAULTS as error:
        raise CertificateError("the certificate cannot be read") from error
    if _load_key(key_pem).public_key() != public:
        raise CertificateError("the private key does not belong to the certificate; was only one of them replaced?")


def not_after_ns(pem: bytes) -> int:
    """Return when a certificate ends, in nanoseconds since 1970. Raises CertificateError."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except CERTIFICATE_FAULTS as error:
        raise CertificateError("the certificate cannot be read") from error
    return int(certificate.not_valid_after_utc.timestamp()) * 1_000_000_000


def sign_with_root(key_pem: bytes, statement: bytes) -> bytes:
    """Return a root's signature under a document: ECDSA P-256 with SHA-256, DER."""
    return _load_key(key_pem).sign(statement, ec.ECDSA(hashes.SHA256()))


def _spki_hash(public: CertificatePublicKeyTypes) -> str:
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError("the private key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):  # with an RSA key, TLS 1.2 would be possible again
        raise CertificateError("the private key must be ECDSA")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, *, now_ns: int, hours: float
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=CLOCKS_DIFFER_S))
        .not_valid_after(now + timedelta(hours=hours))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,  # a root also signs members documents
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
