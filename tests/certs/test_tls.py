"""Real handshakes over loopback: what TLS lets through, and what is refused after it."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs import tls
from certs.identity import IdentityError, Kind

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from certs.certificate import Issued
    from certs.issue import Authority
    from certs.members import Members

METHOD = "/vedette.test/Who"
DEADLINE_S = 10.0


@dataclass
class Desk(grpc.GenericRpcHandler):
    """A server of one method that says who is calling, or why not."""

    members: Members
    facts: dict[str, list[bytes]] = field(default_factory=dict)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        assert handler_call_details.method == METHOD
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, _: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.facts = {key: list(values) for key, values in context.auth_context().items()}
        try:
            return tls.peer_identity(context, self.members, time.time_ns()).uri.encode()
        except IdentityError as error:
            return b"refused " + error.kind.encode()


@asynccontextmanager
async def serving(credentials: grpc.ServerCredentials, members: Members) -> AsyncIterator[tuple[int, Desk]]:
    desk = Desk(members)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([desk])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port, desk
    finally:
        await server.stop(None)


def hub_credentials(world: Authority, trust_pem: bytes | None = None) -> grpc.ServerCredentials:
    cert_pem, key_pem = tls.read_pair(world.home("HUB") / "hub.pem", world.home("HUB") / "hub.key")
    return tls.server_credentials(cert_pem, key_pem, trust_pem or (world.home("HUB") / "trust.pem").read_bytes())


async def ask(port: int, who: Issued, roots_pem: bytes) -> bytes:
    credentials = tls.channel_credentials(who.certificate_pem, who.key_pem, roots_pem)
    return await _ask(port, credentials)


async def _ask(port: int, credentials: grpc.ChannelCredentials) -> bytes:
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        return await _who(channel)


async def _who(channel: grpc.aio.Channel) -> bytes:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    return await call(b"", timeout=DEADLINE_S)


async def refused_in_the_handshake(port: int, credentials: grpc.ChannelCredentials) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _ask(port, credentials)
    return refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_gateway_and_the_hub_know_each_other(world: Authority, members: Members) -> None:
    gateway = world.leaf("spiffe://kor.vedette/gateway")
    hub_root = (world.home("KOR") / "hub-root.pem").read_bytes()
    async with serving(hub_credentials(world), members) as (port, desk):
        assert await ask(port, gateway, hub_root) == b"spiffe://kor.vedette/gateway"
        assert desk.facts["ssl_tls_version"] == [b"TLSv1.3"]


async def test_a_national_system_and_its_gateway_know_each_other(world: Authority, members: Members) -> None:
    home = world.home("KOR")
    own_root = (home / "root.pem").read_bytes()
    credentials = tls.server_credentials(*tls.read_pair(home / "gateway.pem", home / "gateway.key"), own_root)
    async with serving(credentials, members) as (port, _):
        for name in ("systems/exercise/system-1", "watch/exercise/floor-1", "metrics"):
            pair = tls.read_pair(home / f"{name}.pem", home / f"{name}.key")
            answer = await _ask(port, tls.channel_credentials(*pair, own_root))
            assert answer.startswith(b"spiffe://kor.vedette/")
        foreign = world.leaf("spiffe://usa.vedette/gateway")
        stranger = tls.channel_credentials(foreign.certificate_pem, foreign.key_pem, own_root)
        assert await refused_in_the_handshake(port, stranger)


async def test_a_name_forged_by_another_root_fails_in_the_handshake(world: Authority, members: Members) -> None:
    forged = world.forge("spiffe://kor.vedette/gateway", by="USA")
    credentials = tls.channel_credentials(forged.certificate_pem, forged.key_pem, members.roots("HUB"))
    async with serving(hub_credentials(world), members) as (port, _):
        assert await refused_in_the_handshake(port, credentials)


async def test_a_name_forged_by_another_root_is_refused_by_us_where_tls_lets_it_pass(
    world: Authority, members: Members
) -> None:
    bundle = world.unconstrained_root("USA") + members.roots("KOR", "HUB")
    forged = world.forge("spiffe://kor.vedette/gateway", by="USA")
    honest = world.leaf("spiffe://usa.vedette/gateway")
    async with serving(hub_credentials(world, bundle), members) as (port, _):
        assert await ask(port, forged, members.roots("HUB")) == b"refused WRONG_ROOT"
        assert await ask(port, honest, members.roots("HUB")) == b"spiffe://usa.vedette/gateway"


async def test_a_revoked_certificate_is_refused_on_its_next_call(world: Authority, members: Members) -> None:
    gateway = world.leaf("spiffe://jpn.vedette/gateway")
    newer = type(members)(**{**_fields(members), "revoked": frozenset({gateway.fingerprint})})
    credentials = tls.channel_credentials(gateway.certificate_pem, gateway.key_pem, members.roots("HUB"))
    async with (
        serving(hub_credentials(world), members) as (port, desk),
        grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel,
    ):
        assert await _who(channel) == b"spiffe://jpn.vedette/gateway"
        desk.members = newer
        assert await _who(channel) == b"refused REVOKED"


async def test_nobody_gets_in_without_a_certificate(world: Authority, members: Members) -> None:
    async with serving(hub_credentials(world), members) as (port, _):
        assert await refused_in_the_handshake(port, grpc.ssl_channel_credentials(members.roots("HUB")))


async def test_a_client_believes_no_server_of_another_root(world: Authority, members: Members) -> None:
    gateway = world.leaf("spiffe://kor.vedette/gateway")
    credentials = tls.channel_credentials(gateway.certificate_pem, gateway.key_pem, members.roots("KOR"))
    async with serving(hub_credentials(world), members) as (port, _):
        assert await refused_in_the_handshake(port, credentials)


@pytest.mark.parametrize("path", ["system/exercise/x", "watch/exercise/x", "metrics/x", "policy-officer/x"])
async def test_who_is_only_a_client_cannot_play_the_gateway(world: Authority, members: Members, path: str) -> None:
    impostor = world.leaf(f"spiffe://kor.vedette/{path}")
    victim = world.leaf("spiffe://kor.vedette/system/exercise/y")
    credentials = tls.server_credentials(impostor.certificate_pem, impostor.key_pem, members.roots("KOR"))
    ours = tls.channel_credentials(victim.certificate_pem, victim.key_pem, members.roots("KOR"))
    async with serving(credentials, members) as (port, _):
        assert await refused_in_the_handshake(port, ours)


def _handshake(port: int, world: Authority, version: ssl.TLSVersion) -> str | None:
    """Speak exactly one version, as a gateway with a good certificate; None when refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(world.home("KOR") / "hub-root.pem")
    context.load_cert_chain(world.home("KOR") / "gateway.pem", world.home("KOR") / "gateway.key")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.version()
    except (ssl.SSLError, ConnectionError):
        return None


async def test_only_tls_1_3_is_spoken(world: Authority, members: Members) -> None:
    async with serving(hub_credentials(world), members) as (port, _):
        assert await asyncio.to_thread(_handshake, port, world, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        assert await asyncio.to_thread(_handshake, port, world, ssl.TLSVersion.TLSv1_2) is None


def test_openssl_enforces_the_name_constraint_too(world: Authority, tmp_path: Path) -> None:
    """So a client that is not gRPC for Python, Node's for example, is protected in the same way."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(world.home("USA") / "root.pem")
    results = []
    for uri in ("spiffe://usa.vedette/gateway", "spiffe://kor.vedette/gateway"):
        stem = tmp_path / uri[10:13]
        world.forge(uri, by="USA").write(stem)
        server.load_cert_chain(f"{stem}.pem", f"{stem}.key")
        results.append(_agree(server, client))
    assert results == [True, False]


def _agree(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    two = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (one, two):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return one.version() == "TLSv1.3"


async def test_new_files_are_taken_over_without_a_restart(own_world: Authority) -> None:
    members = own_world.members()
    home = own_world.home("HUB")
    gateway = own_world.leaf("spiffe://kor.vedette/gateway")
    paths = (home / "hub.pem", home / "hub.key", home / "trust.pem")
    async with serving(tls.reloading_server_credentials(*paths), members) as (port, _):
        before = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        fresh = own_world.leaf("spiffe://hub.vedette/hub")
        _replace(paths[0], fresh.certificate_pem)
        half = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        _replace(paths[1], fresh.key_pem)
        after = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        assert half == before  # a certificate without its key changes nothing
        assert after.split() == fresh.certificate_pem.decode().split()
        assert await ask(port, gateway, members.roots("HUB"))
        paths[2].unlink()
        assert await ask(port, gateway, members.roots("HUB"))  # nor does a file that is gone
        _replace(paths[2], members.roots("USA", "HUB"))
        refused = tls.channel_credentials(gateway.certificate_pem, gateway.key_pem, members.roots("HUB"))
        assert await refused_in_the_handshake(port, refused)


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.chmod(0o600)
    fresh.replace(path)


def test_credentials_that_would_weaken_the_transport_are_not_made(world: Authority, members: Members) -> None:
    gateway, other = (world.leaf("spiffe://kor.vedette/gateway") for _ in range(2))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    rsa_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    root = members.roots("HUB")
    for cert_pem, key_pem, roots_pem, said in (
        (gateway.certificate_pem, other.key_pem, root, "does not belong"),
        (gateway.certificate_pem, rsa_pem, root, "ECDSA"),
        (gateway.certificate_pem, b"junk", root, "cannot be read"),
        (b"junk", gateway.key_pem, root, "cannot be read"),
        (gateway.certificate_pem, gateway.key_pem, b" \n", "nobody"),
    ):
        for make in (tls.server_credentials, tls.channel_credentials):
            with pytest.raises(tls.TlsError, match=said):
                make(cert_pem, key_pem, roots_pem)


def test_a_private_key_that_others_may_read_is_not_used(own_world: Authority) -> None:
    home = own_world.home("KOR")
    (home / "gateway.key").chmod(0o644)
    with pytest.raises(tls.TlsError, match="others may use it"):
        tls.read_pair(home / "gateway.pem", home / "gateway.key")
    with pytest.raises(tls.TlsError, match="cannot be read"):
        tls.read_pair(home / "missing.pem", home / "gateway.key")


@dataclass
class Connection:
    """What gRPC tells a handler about a connection; here, one that no handshake of ours could have made."""

    facts: dict[str, list[bytes]]

    def auth_context(self) -> dict[str, list[bytes]]:
        return self.facts


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({}, Kind.TLS_TOO_OLD),
        ({"ssl_tls_version": [b"TLSv1.2"]}, Kind.TLS_TOO_OLD),
        ({"ssl_tls_version": [b"TLSv1.3", b"TLSv1.2"]}, Kind.TLS_TOO_OLD),
        ({"ssl_tls_version": [b"TLSv1.3"]}, Kind.NOT_A_MEMBER),
        ({"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": [b"a", b"b"]}, Kind.NOT_A_MEMBER),
        ({"ssl_tls_version": [b"TLSv1.3"], "peer_spiffe_id": [b"spiffe://kor.vedette/gateway"]}, Kind.NOT_A_MEMBER),
    ],
)
def test_the_version_and_the_certificate_are_read_from_the_connection(
    members: Members, facts: dict[str, list[bytes]], kind: Kind
) -> None:
    context: Any = Connection(facts)
    with pytest.raises(IdentityError) as refused:
        tls.peer_identity(context, members, time.time_ns())
    assert refused.value.kind is kind


@pytest.mark.parametrize(("first", "forbidden"), [("certs.identity", True), ("grpc", False)])
def test_grpc_must_not_be_imported_first(first: str, *, forbidden: bool) -> None:
    code = f"import {first}, certs.tls, certs; print(certs.TLS12_FORBIDDEN)"
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_SSL_CIPHER_SUITES"}
    done = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str(forbidden)


def test_credentials_are_refused_where_grpc_was_first(
    monkeypatch: pytest.MonkeyPatch, world: Authority, members: Members
) -> None:
    gateway = world.leaf("spiffe://kor.vedette/gateway")
    monkeypatch.setattr("certs.TLS12_FORBIDDEN", False)
    with pytest.raises(tls.TlsError, match="import certs"):
        tls.channel_credentials(gateway.certificate_pem, gateway.key_pem, members.roots("HUB"))


def _fields(members: Members) -> dict[str, Any]:
    return {name: getattr(members, name) for name in type(members).__slots__}
