from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs import certificate
from certs.certificate import CertificateError
from certs.identity import IdentityError, MemberId

if TYPE_CHECKING:
    from certs.issue import Authority

KOR, USA = MemberId("KOR"), MemberId("USA")
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def root(
    *,
    uris: tuple[str, ...] = ("kor.vedette",),
    critical: bool = True,
    ca: bool = True,
    path_length: int | None = 0,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = EC_KEY,
    signed_by: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "KOR root")])
    now = dt.datetime.now(dt.UTC)
    constraints = x509.NameConstraints([x509.UniformResourceIdentifier(uri) for uri in uris], None)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), critical=True)
        .add_extension(constraints, critical=critical)
        .sign(signed_by or key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def test_a_root_is_held_to_its_own_name_critically() -> None:
    certificate.check_root(root(), KOR)
    for loose in (
        root(critical=False),
        root(uris=("kor.vedette", "usa.vedette")),
        root(uris=(".vedette",)),
        root(uris=("usa.vedette",)),
    ):
        with pytest.raises(CertificateError, match="held to URIs"):
            certificate.check_root(loose, KOR)


def test_a_root_is_an_authority_over_leaves_only() -> None:
    for wrong in (root(ca=False), root(path_length=1), root(path_length=None)):
        with pytest.raises(CertificateError, match="leaves only"):
            certificate.check_root(wrong, KOR)


def test_a_root_is_ecdsa_and_vouches_for_itself() -> None:
    with pytest.raises(CertificateError, match="ECDSA"):
        certificate.check_root(root(key=RSA_KEY), KOR)
    with pytest.raises(CertificateError, match="not its own"):
        certificate.check_root(root(signed_by=ec.generate_private_key(ec.SECP256R1())), KOR)


def test_a_root_and_a_leaf_are_told_apart(world: Authority) -> None:
    assert certificate.root_member(world.root("KOR").certificate_pem) == "KOR"
    assert certificate.root_member(world.leaf("spiffe://kor.vedette/gateway").certificate_pem) is None
    for wrong in (b"junk", root(critical=False)):
        with pytest.raises(CertificateError):
            certificate.root_member(wrong)


@pytest.mark.parametrize(
    ("uri", "serves"),
    [
        ("spiffe://kor.vedette/gateway", True),
        ("spiffe://hub.vedette/hub", True),
        ("spiffe://hub.vedette/views", False),
        ("spiffe://kor.vedette/system/test/x", False),
        ("spiffe://kor.vedette/watch/test/x", False),
        ("spiffe://kor.vedette/metrics/x", False),
    ],
)
def test_only_gateways_and_hubs_may_serve(world: Authority, uri: str, *, serves: bool) -> None:
    leaf = x509.load_pem_x509_certificate(world.leaf(uri).certificate_pem)
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH in uses
    assert (ExtendedKeyUsageOID.SERVER_AUTH in uses) is serves
    assert (names.get_values_for_type(x509.DNSName) == ["localhost"]) is serves


def test_no_certificate_is_made_for_a_name_that_is_not_ours(world: Authority) -> None:
    for uri in ("https://kor.vedette/gateway", "spiffe://kor.vedette/king"):
        with pytest.raises(IdentityError):
            certificate.make_leaf(world.root("KOR"), uri, now_ns=0, hours=1)


def test_an_end_is_told_in_nanoseconds(world: Authority) -> None:
    leaf = world.leaf("spiffe://kor.vedette/gateway", hours=2, now_ns=1_000_000_000_000_000_000)
    assert certificate.not_after_ns(leaf.certificate_pem) == 1_000_000_000_000_000_000 + 2 * 3600 * 10**9
    with pytest.raises(CertificateError):
        certificate.not_after_ns(b"junk")
