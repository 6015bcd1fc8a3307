"""A real hub on loopback with real mutual TLS, and members who speak to it with real seals."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.clock import timestamp
from broker.envelope import lane_of
from broker.hub.server import Hub, serving
from broker.hub.settings import HubSettings
from broker.rpc import CHANNEL_OPTIONS
from certs import tls
from certs.issue import Authority, authority
from certs.keyring import Keyring
from certs.signature import leaf_hash, seal_batch
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeStub

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.store import Store
    from certs.signature import Signer
    from vedette.v1.exchange_pb2_grpc import ExchangeAsyncStub

TEST = content_pb2.MODE_TEST
WAIT_S = 10.0


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("world") / "certs")


@dataclass
class Speaker:
    """A member that makes envelopes, honest unless it is asked to be something else."""

    code: str
    keyring: Keyring
    epoch: int = field(default_factory=lambda: time.time_ns() // limits.MILLISECOND_NS)
    _numbers: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def content(
        self, message_id: bytes | None = None, *, mode: int = TEST, origin: str | None = None
    ) -> content_pb2.Content:
        content = content_pb2.Content()
        content.header.message_id = message_id or secrets.token_bytes(16)
        content.header.origin = origin or self.code
        content.header.mode = content_pb2.Mode.ValueType(mode)
        content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        content.launch.event_id = secrets.token_bytes(16)
        content.launch.confidence = 0.5
        return content

    def header(
        self, recipient: str, content: content_pb2.Content, precedence: int = envelope_pb2.PRECEDENCE_IMMEDIATE
    ) -> envelope_pb2.RoutingHeader:
        precedence_ = envelope_pb2.Precedence.ValueType(precedence)
        header = envelope_pb2.RoutingHeader(
            origin=self.code,
            recipient=recipient,
            mode=content.header.mode,
            exercise=content.header.exercise if content.header.HasField("exercise") else None,
            lane=lane_of(precedence_),
            epoch=self.epoch,
            message_id=content.header.message_id,
            precedence=precedence_,
            label=envelope_pb2.SecurityLabel(
                policy=self.code,
                classification=envelope_pb2.CLASSIFICATION_RESTRICTED,
                releasable_to=sorted({recipient}),
            ),
            released_at=timestamp(time.time_ns()),
            schema_version=1,
            body_form=envelope_pb2.BODY_FORM_CLEAR,
        )
        key = (recipient, content.header.mode, header.lane)
        self._numbers[key] = header.sequence = self._numbers.get(key, 0) + 1
        return header

    def seal(self, header: envelope_pb2.RoutingHeader, body: bytes, *, signer: Signer | None = None) -> bytes:
        head = header.SerializeToString()
        (seal,) = seal_batch(
            [leaf_hash(head, body)],
            origin=header.origin,
            recipient=header.recipient,
            mode=header.mode,
            signers=[signer or self.keyring.signer(header.mode or TEST)],
        )
        return envelope_pb2.Envelope(header=head, body=body, seal=seal).SerializeToString()

    def envelope(
        self,
        recipient: str,
        *,
        precedence: int = envelope_pb2.PRECEDENCE_IMMEDIATE,
        header: Callable[[envelope_pb2.RoutingHeader], object] | None = None,
        content: Callable[[content_pb2.Content], object] | None = None,
    ) -> bytes:
        """Return a good envelope, after `header` or `content` changed what is sealed."""
        made = self.content()
        if content is not None:
            content(made)
        head = self.header(recipient, made, precedence)
        if header is not None:
            header(head)
        return self.seal(head, made.SerializeToString())


@pytest.fixture
def speaker(world: Authority) -> Callable[..., Speaker]:
    return lambda code, of=world: Speaker(code, Keyring.load(of.home(code)))


@dataclass
class Line:
    """A member's channel to the hub."""

    code: str
    stub: ExchangeAsyncStub
    channel: grpc.aio.Channel

    @asynccontextmanager
    async def submitting(self, *, hello: bool = True) -> AsyncIterator[Submitting]:
        call = Submitting(self.stub.Submit())
        if hello:
            await call.send(
                exchange_pb2.SubmitRequest(
                    hello=exchange_pb2.SubmitHello(schema_version_least=1, schema_version_most=1)
                )
            )
            call.welcome = (await call.read()).welcome
        try:
            yield call
        finally:
            call.call.cancel()

    @asynccontextmanager
    async def following(
        self, recipient: str | None = None, *, after: bytes = b"", credits_: int = limits.CREDITS
    ) -> AsyncIterator[Following]:
        call = Following(self.stub.Follow())
        await call.call.write(
            exchange_pb2.FollowRequest(
                hello=exchange_pb2.FollowHello(
                    schema_version_least=1,
                    schema_version_most=1,
                    recipient=recipient or self.code,
                    resume_after=after,
                    credits=credits_,
                )
            )
        )
        try:
            call.welcome = (await call.read()).welcome
            yield call
        finally:
            call.call.cancel()


class Submitting:
    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:  # type: ignore[type-arg]
        self.call = call
        self.welcome = exchange_pb2.SubmitWelcome()
        self.credits = 0
        self.goodbye = False
        self._receipts: list[exchange_pb2.SubmitReceipt] = []

    async def send(self, request: exchange_pb2.SubmitRequest) -> None:
        await self.call.write(request)

    async def read(self) -> exchange_pb2.SubmitResponse:
        async with asyncio.timeout(WAIT_S):
            response = await self.call.read()
        assert isinstance(response, exchange_pb2.SubmitResponse), "the hub ended the stream"
        self.credits += response.credits
        self.goodbye |= response.HasField("goodbye")
        return response

    async def receipts(self, count: int) -> list[exchange_pb2.SubmitReceipt]:
        while len(self._receipts) < count:
            self._receipts.extend((await self.read()).receipts)
        taken, self._receipts = self._receipts[:count], self._receipts[count:]
        return taken

    async def submit(self, *envelopes: bytes) -> list[exchange_pb2.SubmitReceipt]:
        """Send envelopes in one frame and return their receipts."""
        await self.send(exchange_pb2.SubmitRequest(envelopes=envelopes))
        return await self.receipts(len(envelopes))


class Following:
    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:  # type: ignore[type-arg]
        self.call = call
        self.welcome = exchange_pb2.FollowWelcome()

    async def read(self) -> exchange_pb2.FollowResponse:
        async with asyncio.timeout(WAIT_S):
            response = await self.call.read()
        assert isinstance(response, exchange_pb2.FollowResponse), "the hub ended the stream"
        return response

    async def envelopes(self, count: int) -> list[exchange_pb2.Delivery]:
        """Return the next deliveries that are envelopes."""
        found: list[exchange_pb2.Delivery] = []
        while len(found) < count:
            response = await self.read()
            deliveries = [exchange_pb2.Delivery.FromString(data) for data in response.deliveries]
            found += [delivery for delivery in deliveries if delivery.envelope]
        assert len(found) == count
        return found


@asynccontextmanager
async def open_line(address: str, world: Authority, code: str, *, role: str = "gateway") -> AsyncIterator[Line]:
    home = world.home(code)
    credentials = tls.channel_credentials(
        (home / f"{role}.pem").read_bytes(),
        (home / f"{role}.key").read_bytes(),
        (world.home("HUB") / "root.pem").read_bytes(),
    )
    async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
        yield Line(code, ExchangeStub(channel), channel)


@pytest.fixture
def line_to() -> Callable[..., AbstractAsyncContextManager[Line]]:
    """Return what opens a member's channel to an address."""
    return open_line


@dataclass
class Running:
    """A hub and the ways to it."""

    hub: Hub
    world: Authority

    def line(self, code: str, *, role: str = "gateway") -> AbstractAsyncContextManager[Line]:
        return open_line(self.hub.address, self.world, code, role=role)


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[[Authority], HubSettings]:
    return lambda world: HubSettings(
        listen="localhost:0",
        certs_dir=world.home("HUB"),
        members=world.directory / "members.json",
        members_digest=world.digest(),
        data_dir=tmp_path / "hub",
        pictures=False,
    )


@pytest.fixture
def serve(
    world: Authority, settings_of: Callable[[Authority], HubSettings]
) -> Callable[..., AbstractAsyncContextManager[Running]]:
    """Return what starts a hub: with the store on disk or another, in the usual world or another."""

    @asynccontextmanager
    async def start(store: Store | None = None, of: Authority = world) -> AsyncIterator[Running]:
        async with serving(settings_of(of), store=store) as hub:
            yield Running(hub, of)

    return start


@pytest.fixture
async def running(serve: Callable[..., AbstractAsyncContextManager[Running]]) -> AsyncIterator[Running]:
    async with serve() as one:
        yield one
