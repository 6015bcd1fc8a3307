from __future__ import annotations

import base64
import datetime as dt
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from certs import certificate
from certs.identity import (
    Identity,
    IdentityError,
    Kind,
    MemberId,
    Role,
    identity_of_certificate,
    identity_of_uri,
    member_id,
    read_leaf,
    uri_of,
)
from vedette.v1.content_pb2 import Mode
from vedette.v1.refusal_pb2 import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certs.certificate import Issued
    from certs.issue import Authority
    from certs.members import Members

DAY_NS = 24 * 3600 * 1_000_000_000
KOR = MemberId("KOR")
ORDER_P256 = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551  # FIPS 186-5, n


@pytest.mark.parametrize(
    ("uri", "role", "mode", "name"),
    [
        ("spiffe://kor.vedette/gateway", Role.GATEWAY, 0, ""),
        ("spiffe://kor.vedette/hub", Role.HUB, 0, ""),
        ("spiffe://kor.vedette/views", Role.VIEWS, 0, ""),
        ("spiffe://kor.vedette/system/real-world/aegis-3", Role.SYSTEM, Mode.MODE_REAL_WORLD, "aegis-3"),
        ("spiffe://kor.vedette/watch/exercise/floor-1", Role.WATCH, Mode.MODE_EXERCISE, "floor-1"),
        ("spiffe://kor.vedette/policy-officer/kim", Role.POLICY_OFFICER, 0, "kim"),
        ("spiffe://kor.vedette/metrics/prometheus", Role.METRICS, 0, "prometheus"),
    ],
)
def test_a_name_says_member_role_mode_and_name(uri: str, role: Role, mode: Mode.ValueType, name: str) -> None:
    assert identity_of_uri(uri) == Identity(KOR, role, mode, name, uri)
    assert uri_of(KOR, role, mode=mode, name=name) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://kor.vedette",
        "spiffe://kor.vedette/",
        "spiffe://kor.vedette/gateway/",
        "spiffe://kor.vedette/gateway/second",
        "spiffe://kor.vedette//gateway",
        "spiffe://KOR.vedette/gateway",
        "spiffe://kor.vedette.example/gateway",
        "spiffe://kor.vedette:443/gateway",
        "spiffe://x@kor.vedette/gateway",
        "spiffe://evil.kor.vedette/gateway",
        "https://kor.vedette/gateway",
        "spiffe://kor.vedette/gateway?x=1",
        "spiffe://kor.vedette/gateway#x",
        "spiffe://kor.vedette/gateway\n",
        "spiffe://kor.vedette/%67ateway",
        "spiffe://kor.vedette/system/aegis-3",
        "spiffe://kor.vedette/system/unspecified/aegis-3",
        "spiffe://kor.vedette/system/exercise",
        "spiffe://kor.vedette/system/exercise/",
        "spiffe://kor.vedette/system/exercise/-",
        "spiffe://kor.vedette/system/exercise/a/b",
        "spiffe://kor.vedette/policy-officer",
        "spiffe://kor.vedette/king",
    ],
)
def test_what_is_not_exactly_one_of_our_names_is_nobody(uri: str) -> None:
    with pytest.raises(IdentityError) as refused:
        identity_of_uri(uri)
    assert refused.value.kind is Kind.NOT_A_MEMBER


@given(st.from_regex(r"spiffe://[a-z0-9.]{0,12}vedette/[a-z0-9/-]{0,40}", fullmatch=True))
def test_no_two_names_mean_the_same(uri: str) -> None:
    try:
        identity = identity_of_uri(uri)
    except IdentityError:
        return
    assert uri_of(identity.member, identity.role, mode=identity.mode, name=identity.name) == uri


def test_a_code_is_capital_letters_and_digits() -> None:
    assert member_id("KOR") == "KOR"
    for wrong in ("", "kor", "K", "../KOR", "KOR/x", "KÖR"):
        with pytest.raises(IdentityError):
            member_id(wrong)


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://kor.vedette/gateway",
        "spiffe://jpn.vedette/system/exercise/aegis-1",
        "spiffe://hub.vedette/hub",
        "spiffe://hub.vedette/views",
        "spiffe://hub.vedette/metrics/prometheus",
    ],
)
def test_a_leaf_of_the_members_own_root_is_believed(world: Authority, members: Members, now_ns: int, uri: str) -> None:
    assert identity_of_certificate(world.leaf(uri).certificate_pem, members, now_ns).uri == uri


def refusal(issued: bytes, members: Members, now_ns: int) -> Kind:
    with pytest.raises(IdentityError) as refused:
        identity_of_certificate(issued, members, now_ns)
    return refused.value.kind


@pytest.mark.parametrize("forger", ["USA", "JPN", "HUB"])
def test_a_root_may_only_vouch_for_its_own_member(world: Authority, members: Members, now_ns: int, forger: str) -> None:
    forged = world.forge("spiffe://kor.vedette/gateway", by=forger)
    assert refusal(forged.certificate_pem, members, now_ns) is Kind.WRONG_ROOT


def test_a_root_that_only_bears_the_name_of_another_is_not_it(members: Members, now_ns: int) -> None:
    impostor = certificate.make_root(KOR, now_ns=now_ns, hours=1)
    leaf = certificate.make_leaf(impostor, "spiffe://kor.vedette/gateway", now_ns=now_ns, hours=1)
    assert refusal(leaf.certificate_pem, members, now_ns) is Kind.WRONG_ROOT


@pytest.mark.parametrize("path", ["hub", "views"])
def test_a_nation_cannot_be_a_hub(world: Authority, members: Members, now_ns: int, path: str) -> None:
    leaf = world.leaf(f"spiffe://kor.vedette/{path}")
    assert refusal(leaf.certificate_pem, members, now_ns) is Kind.ROLE_NOT_ALLOWED


@pytest.mark.parametrize("path", ["gateway", "system/exercise/x", "watch/exercise/x", "policy-officer/x"])
def test_a_hub_cannot_be_a_nation(world: Authority, members: Members, now_ns: int, path: str) -> None:
    leaf = world.leaf(f"spiffe://hub.vedette/{path}")
    assert refusal(leaf.certificate_pem, members, now_ns) is Kind.ROLE_NOT_ALLOWED


def test_who_is_not_in_the_document_is_nobody(world: Authority, members: Members, now_ns: int) -> None:
    without = replace(members, members={code: member for code, member in members.members.items() if code != "JPN"})
    leaf = world.leaf("spiffe://jpn.vedette/gateway")
    assert refusal(leaf.certificate_pem, without, now_ns) is Kind.NOT_A_MEMBER


def test_a_revoked_certificate_is_refused_and_its_neighbour_is_not(
    world: Authority, members: Members, now_ns: int
) -> None:
    first, second = (world.leaf("spiffe://kor.vedette/gateway") for _ in range(2))
    newer = replace(members, revoked=frozenset({first.fingerprint}))
    identity_of_certificate(first.certificate_pem, members, now_ns)  # remembered, and asked again all the same
    assert refusal(first.certificate_pem, newer, now_ns) is Kind.REVOKED
    identity_of_certificate(second.certificate_pem, newer, now_ns)


@pytest.mark.parametrize("days", [-1, 2])
def test_a_leaf_out_of_date_is_refused(world: Authority, members: Members, now_ns: int, days: int) -> None:
    leaf = world.leaf("spiffe://kor.vedette/gateway", hours=24)
    assert refusal(leaf.certificate_pem, members, now_ns + days * DAY_NS) is Kind.REVOKED


def test_a_leaf_does_not_outlive_its_root(world: Authority, members: Members, now_ns: int) -> None:
    leaf = world.leaf("spiffe://kor.vedette/gateway", hours=24 * 365)
    assert refusal(leaf.certificate_pem, members, now_ns + 100 * DAY_NS) is Kind.REVOKED


def test_a_root_is_nobodys_identity(members: Members, now_ns: int) -> None:
    assert refusal(members.members[KOR].root_pem, members, now_ns) is Kind.NOT_A_MEMBER


@pytest.mark.parametrize("uris", [[], ["spiffe://kor.vedette/gateway", "spiffe://kor.vedette/watch/test/x"]])
def test_a_certificate_has_exactly_one_name(world: Authority, members: Members, now_ns: int, uris: list[str]) -> None:
    assert refusal(_signed_by(world.root("KOR"), uris), members, now_ns) is Kind.NOT_A_MEMBER


def test_an_authority_below_the_root_is_nobodys_identity(world: Authority, members: Members, now_ns: int) -> None:
    pem = _signed_by(world.root("KOR"), ["spiffe://kor.vedette/gateway"], authority=True)
    assert refusal(pem, members, now_ns) is Kind.WRONG_ROOT


@pytest.mark.parametrize("junk", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_nobody(members: Members, now_ns: int, junk: bytes) -> None:
    assert refusal(junk, members, now_ns) is Kind.NOT_A_MEMBER
    assert refusal(junk * 20_000, members, now_ns) is Kind.NOT_A_MEMBER


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # a serial number flipped < 0
def test_a_broken_certificate_is_refused_or_still_the_one_that_was_signed(world: Authority, now_ns: int) -> None:
    """Every bit of a leaf and of a root. A reader overlooks some, so a revocation must reach what it overlooks."""
    members = world.members()
    leaf_pem, root_pem = (world.home("KOR") / "gateway.pem").read_bytes(), members.members[KOR].root_pem
    withdrawn = replace(members, revoked=frozenset({read_leaf(leaf_pem).fingerprint}))
    for broken in _flipped(leaf_pem):
        with pytest.raises(IdentityError):
            identity_of_certificate(broken, withdrawn, now_ns)
    for broken in _flipped(root_pem):
        with pytest.raises(IdentityError):
            identity_of_certificate(broken, members, now_ns)
        with suppress(certificate.CertificateError):  # nothing else
            certificate.check_root(broken, KOR)
            assert _signed_part(broken) == _signed_part(root_pem)


def test_a_withdrawn_certificate_does_not_return_with_the_other_signature(
    world: Authority, members: Members, now_ns: int
) -> None:
    stolen = world.leaf("spiffe://kor.vedette/gateway")
    read = x509.load_pem_x509_certificate(stolen.certificate_pem)
    r, s = decode_dss_signature(read.signature)
    other = encode_dss_signature(r, ORDER_P256 - s)
    before = read.public_bytes(Encoding.DER)
    around = before[len(before) - len(read.signature) - 3 :]  # BIT STRING, its length, no unused bits
    after = before[4 : -len(around)] + bytes([around[0], len(other) + 1, 0]) + other
    twin = _pem(b"\x30\x82" + len(after).to_bytes(2, "big") + after)
    assert identity_of_certificate(twin, members, now_ns).member == KOR  # it is as good as the first
    newer = replace(members, revoked=frozenset({stolen.fingerprint}))
    assert refusal(twin, newer, now_ns) is Kind.REVOKED


def test_each_kind_is_a_reason_on_the_wire() -> None:
    assert all(Reason.Value(f"REASON_{kind}") for kind in Kind)


def _flipped(pem: bytes) -> Iterator[bytes]:
    """Yield a certificate with each of its bits flipped."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    for bit in range(8 * len(der)):
        changed = bytearray(der)
        changed[bit // 8] ^= 1 << bit % 8
        yield _pem(bytes(changed))


def _signed_part(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).tbs_certificate_bytes


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def _signed_by(root: Issued, uris: list[str], *, authority: bool = False) -> bytes:
    issuer = x509.load_pem_x509_certificate(root.certificate_pem)
    key = load_pem_private_key(root.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), *(x509.UniformResourceIdentifier(uri) for uri in uris)]
    return (
        x509.CertificateBuilder()
        .subject_name(issuer.subject)
        .issuer_name(issuer.subject)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
