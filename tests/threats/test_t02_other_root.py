"""T2: a member's root vouches for another member: a certificate by the USA's root that names KOR."""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.refusal import Reason
from broker.rpc import CHANNEL_OPTIONS, refusal_of
from certs import tls
from certs.certificate import Issued
from tests.threats.parties import WAIT_S, gateway, honest_hub, lying_hub
from vedette.v1 import exchange_pb2, national_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeStub
from vedette.v1.national_pb2_grpc import NationalStub

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.demo.world import World

GATEWAY = "spiffe://kor.vedette/gateway"


@asynccontextmanager
async def channel(address: str, who: Issued, root_pem: bytes) -> AsyncIterator[grpc.aio.Channel]:
    credentials = tls.channel_credentials(who.certificate_pem, who.key_pem, root_pem)
    async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as opened:
        yield opened


async def submitting(address: str, who: Issued, root_pem: bytes) -> grpc.aio.AioRpcError | None:
    """Say hello as somebody; return how that failed."""
    hello = exchange_pb2.SubmitHello(schema_version_least=1, schema_version_most=1)
    async with channel(address, who, root_pem) as opened:
        call = ExchangeStub(opened).Submit(timeout=WAIT_S)
        try:
            await call.write(exchange_pb2.SubmitRequest(hello=hello))
            response = await call.read()
        except grpc.aio.AioRpcError as error:
            return error
        assert isinstance(response, exchange_pb2.SubmitResponse)
        assert response.HasField("welcome")
        call.cancel()
        return None


@pytest.mark.parametrize("forger", ["USA", "HUB"])
async def test_a_forged_name_does_not_survive_the_handshake(world: World, forger: str) -> None:
    authority = world.authority
    hub_root = (authority.home("HUB") / "root.pem").read_bytes()
    async with honest_hub(world) as hub:
        error = await submitting(hub.hub.address, authority.forge(GATEWAY, by=forger), hub_root)
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert refusal_of(error) is None, "it never came to a call"
        assert await submitting(hub.hub.address, authority.leaf(GATEWAY), hub_root) is None, "the control"


async def test_where_tls_lets_a_forged_name_pass_the_hub_does_not(world: World) -> None:
    authority = world.authority
    bundle = authority.unconstrained_root("USA") + authority.members().roots("KOR", "JPN", "HUB")
    (authority.home("HUB") / "trust.pem").write_bytes(bundle)
    hub_root = (authority.home("HUB") / "root.pem").read_bytes()
    async with honest_hub(world) as hub:
        error = await submitting(hub.hub.address, authority.forge(GATEWAY, by="USA"), hub_root)
        assert error is not None
        refusal = refusal_of(error)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_WRONG_ROOT
        honest = authority.leaf("spiffe://usa.vedette/gateway")
        assert await submitting(hub.hub.address, honest, hub_root) is None, "the control"


async def test_another_nations_system_does_not_come_into_the_gateway(world: World) -> None:
    authority = world.authority
    own_root = (authority.home("KOR") / "root.pem").read_bytes()
    name = "spiffe://kor.vedette/watch/test/floor-1"
    strangers = [authority.forge(name, by="USA"), authority.leaf("spiffe://usa.vedette/watch/test/floor-1")]
    async with lying_hub(world), gateway(world, "KOR"):
        for stranger in strangers:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await first_of_a_watch(world, stranger, own_root)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await first_of_a_watch(world, authority.leaf(name), own_root)  # the control


async def first_of_a_watch(world: World, who: Issued, root_pem: bytes) -> None:
    async with channel(world.address("KOR"), who, root_pem) as opened:
        call = NationalStub(opened).Watch(national_pb2.WatchRequest(), timeout=WAIT_S)
        assert isinstance(await call.read(), national_pb2.WatchResponse)
        call.cancel()


async def test_a_gateway_follows_no_hub_of_another_root(world: World) -> None:
    """The USA plays the hub: with its own root, and with its name forged."""
    authority = world.authority
    kor = authority.leaf(GATEWAY)
    hub_root = (authority.home("HUB") / "root.pem").read_bytes()
    for impostor in (
        authority.forge("spiffe://hub.vedette/hub", by="USA"),
        authority.leaf("spiffe://usa.vedette/gateway"),
    ):
        server = grpc.aio.server()
        credentials = tls.server_credentials(impostor.certificate_pem, impostor.key_pem, authority.members().roots())
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        error = await submitting(f"localhost:{port}", kor, hub_root)
        await server.stop(None)
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE


def nobody(root: Issued, uri: str) -> Issued:
    """Return a certificate by a good root, for a URI whose path is none of ours."""
    issuer, key = x509.load_pem_x509_certificate(root.certificate_pem), ec.generate_private_key(ec.SECP256R1())
    issuer_key = load_pem_private_key(root.key_pem, None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(issuer.subject, x509.Name([]), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(certificate.public_bytes(Encoding.PEM), pem)


@pytest.mark.parametrize("name", ["spiffe://kor.vedette/king", "spiffe://kor.vedette/gateway/two"])
async def test_a_name_that_stands_for_nobody_is_refused_with_its_reason_and_others_are_served(
    world: World, name: str
) -> None:
    authority = world.authority
    hub_root = (authority.home("HUB") / "root.pem").read_bytes()
    async with honest_hub(world) as hub:
        error = await submitting(hub.hub.address, nobody(authority.root("KOR"), name), hub_root)
        assert error is not None
        refusal = refusal_of(error)
        assert refusal is not None
        assert refusal.reason == Reason.REASON_NOT_A_MEMBER
        assert await submitting(hub.hub.address, authority.leaf(GATEWAY), hub_root) is None, "the control"
