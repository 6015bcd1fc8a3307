"""Those who act in these tests: nations with real keys, gateways that run in this process, and a hub that lies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker import known, limits
from broker.audit import AuditTrail
from broker.client import Client
from broker.clock import ManualClock, timestamp
from broker.gateway import server
from broker.gateway.intake import Intake
from broker.gateway.ledger import OUTBOX
from broker.gateway.load import load_nation
from broker.gateway.policy import PolicyInForce
from broker.gateway.settings import GatewaySettings
from broker.hub.server import Hub, serving
from broker.hub.settings import HubSettings
from broker.members import MembersInForce
from broker.settings import read_settings
from broker.stages import Metrics
from broker.store.memory import open_memory
from certs import tls
from certs.identity import MemberId, Role, identity_of_uri, uri_of
from certs.keyring import Keyring
from tests.broker.hub.conftest import Line, Speaker, open_line
from tests.path import reports
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2, national_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeServicer, ExchangeStub, add_ExchangeServicer_to_server

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from broker.demo.world import World
    from broker.gateway.pipeline import Pipeline
    from broker.store import Store
    from certs.identity import Identity
    from vedette.v1.national_pb2 import WatchResponse

WAIT_S = 10.0
LOOK_S = 0.01
LINGER_S = 0.2  # what is told together comes within milliseconds
TEST = content_pb2.MODE_TEST
FLASH = envelope_pb2.PRECEDENCE_FLASH


@dataclass
class Gateway:
    """A nation's gateway, in this process, with real files, TLS and store."""

    world: World
    nation: str
    task: asyncio.Task[None]

    def watching(self, mode: str = "test") -> AbstractAsyncContextManager[Client]:
        return Client.open(self.world.address(self.nation), self.world.watch(self.nation, mode))

    def reporting(self, mode: str = "test") -> AbstractAsyncContextManager[Client]:
        return Client.open(self.world.address(self.nation), self.world.system(self.nation, "operator", mode))

    def audited(self, event: str) -> list[dict[str, Any]]:
        """Return the fields of the audit trail's entries of one kind."""
        lines = (self.world.folder / self.nation.lower() / "data" / "audit.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry["fields"] for entry in entries if entry["event"] == event]

    async def audits(self, event: str, **wanted: str) -> dict[str, Any]:
        """Wait for an entry of the audit trail."""

        def found() -> list[dict[str, Any]]:
            return [fields for fields in self.audited(event) if wanted.items() <= fields.items()]

        await until(lambda: bool(found()), f"{event} {wanted} in the audit trail")
        return found()[0]

    async def metric(self, sample: str) -> float:
        """Return the value of a metric's sample, written as on the page."""
        url = f"http://127.0.0.1:{self.world.metrics_ports[self.nation]}/metrics"

        def read() -> str:
            with urllib.request.urlopen(url, timeout=WAIT_S) as response:
                return str(response.read().decode())

        page = await asyncio.to_thread(read)
        return next((float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(sample)), 0.0)

    async def sent(self, hub: LyingHub) -> None:
        """Wait until something went up."""
        await until(lambda: bool(hub.submitted), f"{self.nation} sends something")

    async def remembers(self) -> None:
        """Wait until the documents in force are in its store, for the next start."""
        await asyncio.sleep(2 * known.LOOK_S)

    async def has_watchers(self) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while await self.metric("vedette_watchers") == 0.0:
            assert time.monotonic() < deadline_s, "nobody watches"

    async def knows_the_clock(self) -> None:
        """Wait until it believes to know the hub's clock."""
        deadline_s = time.monotonic() + WAIT_S
        while await self.metric('vedette_clock_offset_error_seconds{peer="HUB"}') == 0.0:
            assert time.monotonic() < deadline_s, "it does not know the hub's clock"

    async def refused(self, reason: str) -> float:
        """Return how often step 8 refused for a reason."""
        return await self.metric(f'vedette_refusals_total{{origin="HUB",reason="{reason}",step="8-unseal"}}')


async def until(done: Callable[[], bool], what: str, *, wait_s: float = WAIT_S) -> None:
    """Wait for something that comes by itself."""
    deadline_s = time.monotonic() + wait_s
    while not done():
        assert time.monotonic() < deadline_s, f"not within {wait_s} s: {what}"
        await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def gateway(world: World, nation: str) -> AsyncIterator[Gateway]:
    """Run a nation's gateway until the block ends. It must still be running by then."""
    settings = read_settings(world.folder / nation.lower() / "gateway.toml", GatewaySettings)
    task = asyncio.create_task(server.run(settings))
    try:
        await until(lambda: task.done() or listens(world.gateways[nation].port), f"{nation}'s gateway listens")
        if task.done():
            await task
        yield Gateway(world, nation, task)
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait({task})


def listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return bool(probe.connect_ex(("127.0.0.1", port)) == 0)


@dataclass
class HonestHub:
    """A real hub in this process, and the ways to it."""

    hub: Hub
    world: World

    @asynccontextmanager
    async def unlimited(self, code: str, options: list[tuple[str, int]]) -> AsyncIterator[Line]:
        """Give a line of a member that keeps to no limit of ours."""
        home = self.world.authority.home(code)
        pair = tls.read_pair(home / "gateway.pem", home / "gateway.key")
        credentials = tls.channel_credentials(*pair, (self.world.authority.home("HUB") / "root.pem").read_bytes())
        async with grpc.aio.secure_channel(self.hub.address, credentials, options=options) as channel:
            yield Line(code, ExchangeStub(channel), channel)

    def line(self, code: str, *, role: str = "gateway") -> AbstractAsyncContextManager[Line]:
        return open_line(self.hub.address, self.world.authority, code, role=role)


@asynccontextmanager
async def honest_hub(world: World, *, store: Store | None = None) -> AsyncIterator[HonestHub]:
    settings = read_settings(world.folder / "hub" / "hub.toml", HubSettings, {"metrics_listen": ""})
    async with serving(settings, store=store) as hub:
        yield HonestHub(hub, world)


@dataclass
class LyingHub(ExchangeServicer):
    """Whoever holds the hub's certificate: hands a recipient what the test likes, and acknowledges everything."""

    heads: list[exchange_pb2.StreamHead] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)  # what it gives back as an origin's own
    behind: int = 0
    clock_ahead_s: float | None = None  # what it makes others believe of its clock; None: it tells no time
    submitted: list[bytes] = field(default_factory=list)
    registered: list[exchange_pb2.Registration] = field(default_factory=list)
    calls: int = 0
    _outbox: asyncio.Queue[exchange_pb2.FollowResponse] = field(default_factory=asyncio.Queue)
    _delivered: bytes = b""
    _position: int = 0

    async def Submit(self, request_iterator: Any, context: Any) -> AsyncIterator[exchange_pb2.SubmitResponse]:  # noqa: ARG002, N802
        count = 0
        async for request in request_iterator:
            if request.HasField("hello"):
                welcome = exchange_pb2.SubmitWelcome(schema_version=1, heads=self.heads, credits=limits.CREDITS)
                yield exchange_pb2.SubmitResponse(welcome=welcome)
            response = exchange_pb2.SubmitResponse(credits=len(request.envelopes))
            for envelope in request.envelopes:
                count += 1
                self.submitted.append(envelope)
                response.receipts.add(number=count, outcome=exchange_pb2.SUBMIT_OUTCOME_STORED)
            if response.receipts:
                yield response

    async def Follow(self, request_iterator: Any, context: Any) -> AsyncIterator[exchange_pb2.FollowResponse]:  # noqa: ARG002, N802
        self.calls += 1
        reading = asyncio.create_task(self._read(request_iterator))
        head = (self._position + self.behind).to_bytes(8, "big")
        welcome = exchange_pb2.FollowWelcome(schema_version=1, head=head, behind=self.behind)
        try:
            yield exchange_pb2.FollowResponse(welcome=welcome)
            while True:
                yield await self._outbox.get()
        finally:
            reading.cancel()

    async def ReadBack(self, request: Any, context: Any) -> AsyncIterator[exchange_pb2.ReadBackResponse]:  # noqa: ARG002, N802
        yield exchange_pb2.ReadBackResponse(envelopes=self.kept)

    async def Register(self, request: exchange_pb2.Registration, context: Any) -> exchange_pb2.Registered:  # noqa: ARG002, N802
        self.registered.append(request)
        return exchange_pb2.Registered()

    async def _read(self, requests: AsyncIterator[exchange_pb2.FollowRequest]) -> None:
        async for request in requests:
            self._delivered = max(self._delivered, request.delivered)
            if request.HasField("probe") and self.clock_ahead_s is not None:
                there = timestamp(time.time_ns() + round(self.clock_ahead_s * limits.SECOND_NS))
                answer = exchange_pb2.ClockAnswer(
                    number=request.probe.number, asked_at=request.probe.sent_at, received_at=there, sent_at=there
                )
                await self._outbox.put(exchange_pb2.FollowResponse(answer=answer))

    async def hand(self, *envelopes: bytes, tick: exchange_pb2.HubTick | None = None, garbage: bytes = b"") -> None:
        """Put envelopes or a Tick into the recipient's log and wait until it says that it has them.

        `garbage` goes out as it is, and nobody waits for it.
        """
        deliveries = [exchange_pb2.Delivery(envelope=envelope) for envelope in envelopes]
        if tick is not None:
            deliveries.append(exchange_pb2.Delivery(tick=tick))
        stamp = timestamp(time.time_ns())
        for delivery in deliveries:
            self._position += 1
            delivery.position = self._position.to_bytes(8, "big")
            delivery.resume = delivery.position * 2
            for name in ("received_at", "admitted_at", "stored_at", "sent_at"):
                getattr(delivery.stamps, name).CopyFrom(stamp)
        frame = [delivery.SerializeToString() for delivery in deliveries] + [garbage] * bool(garbage)
        await self._outbox.put(exchange_pb2.FollowResponse(deliveries=frame))
        if deliveries:
            resume = deliveries[-1].resume
            await until(lambda: self._delivered >= resume, "the recipient holds what it was handed")

    async def leave(self, *, return_after_ms: int) -> None:
        await self._outbox.put(
            exchange_pb2.FollowResponse(goodbye=exchange_pb2.Goodbye(return_after_ms=return_after_ms))
        )


@asynccontextmanager
async def lying_hub(world: World) -> AsyncIterator[LyingHub]:
    home = world.authority.home("HUB")
    liar = LyingHub()
    listening = grpc.aio.server()
    add_ExchangeServicer_to_server(liar, listening)
    certificate, key = tls.read_pair(home / "hub.pem", home / "hub.key")
    credentials = tls.server_credentials(certificate, key, (home / "trust.pem").read_bytes())
    assert listening.add_secure_port(f"127.0.0.1:{world.hub.port}", credentials)
    await listening.start()
    try:
        yield liar
    finally:
        await listening.stop(None)


@dataclass
class Captive:
    """JPN's gateway at a hub that lies. KOR and USA are there with their keys; the hub has its own."""

    hub: LyingHub
    gateway: Gateway

    def speaker(self, code: str) -> Speaker:
        return speaker(self.gateway.world, code)


@asynccontextmanager
async def captive(world: World) -> AsyncIterator[Captive]:
    async with lying_hub(world) as hub, gateway(world, "JPN") as jpn:
        await until(lambda: hub.calls > 0, "JPN follows its log")
        yield Captive(hub, jpn)


@dataclass
class Origin:
    """A nation's steps 1 to 4 without a network: real policy, keys and store. Its clock stands still."""

    clock: ManualClock
    store: Store
    pipeline: Pipeline
    intake: Intake
    policy: PolicyInForce
    system: Identity

    async def report(
        self,
        content: content_pb2.Content,
        *,
        precedence: envelope_pb2.Precedence.ValueType = FLASH,
        label: envelope_pb2.SecurityLabel | None = None,
    ) -> None:
        """Report as a system does; returns when it is durable. Raises Refused."""
        request = national_pb2.ReportRequest(content=content, precedence=precedence, label=label or reports.label())
        for taken in self.intake.take(request, self.system, now_ns=self.clock.wall_ns()):
            done = asyncio.create_task(self.pipeline.take(taken))
            await asyncio.sleep(0)
            await self.pipeline.step()
            await done

    async def wait_until(self, at_ns: int) -> None:
        """Let time pass, and what is due by then leave."""
        self.clock.advance(at_ns - self.clock.now_ns)
        while (due_ns := self.pipeline.held.next_due_ns()) is not None and due_ns <= at_ns:
            await self.pipeline.step()

    async def sealed_to(self, recipient: str) -> list[bytes]:
        """Return every envelope to one recipient, exactly as it leaves, in order."""
        records = await self.store.read(OUTBOX, after=0, limit=100_000)
        return [record.data for record in records if headers(record.data).recipient == recipient]


@asynccontextmanager
async def origin_side(
    world: World, nation: str, *, data: str = "data", now_ns: int | None = None
) -> AsyncIterator[Origin]:
    """Put an origin together as a gateway is, with an empty store and a clock that is told the time."""
    settings = read_settings(world.folder / nation.lower() / "gateway.toml", GatewaySettings)
    clock, metrics, store = ManualClock(now_ns or time.time_ns()), Metrics(), await open_memory()
    members = MembersInForce.start(settings.members, settings.members_digest, clock)
    (world.folder / data).mkdir(exist_ok=True)
    audit = AuditTrail.open(world.folder / data / f"{nation}.jsonl", clock)
    keyring = Keyring.load(settings.certs_dir)
    base = server.Foundation(settings, clock, metrics, store, audit, keyring, members)
    policy = PolicyInForce.start(
        settings.policy, nation=nation, clock=clock, members=members, metrics=metrics, audit=audit
    )
    pipeline, _ = await server._pipeline(base, policy)
    uri = uri_of(MemberId(nation), Role.SYSTEM, mode=TEST, name="operator")
    try:
        yield Origin(clock, store, pipeline, Intake(load_nation(nation)), policy, identity_of_uri(uri))
    finally:
        await audit.close()
        await store.close()


def speaker(world: World, code: str) -> Speaker:
    """Return a member that makes envelopes with its real keys."""
    return Speaker(code, Keyring.load(world.authority.home(code)))


def fresh(header: envelope_pb2.RoutingHeader) -> None:
    """Make an envelope's header say for how long it is fresh, as every gateway does."""
    header.stale_after.FromSeconds(int(time.time()) + 120)


def headers(envelope: bytes) -> envelope_pb2.RoutingHeader:
    return envelope_pb2.RoutingHeader.FromString(envelope_pb2.Envelope.FromString(envelope).header)


def message_id(envelope: bytes) -> bytes:
    return headers(envelope).message_id


async def watched(
    client: Client, last: bytes, *, after: bytes = b"", alarm: bool = False, wait_s: float = WAIT_S
) -> list[WatchResponse]:
    """Return everything that a watch is told, up to the warning with this id and what follows on it at once.

    With `alarm`, up to the first alarm after that.
    """
    told: list[WatchResponse] = []
    complete = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s) as timeout:
            async for response in client.watch(resume_after=after):
                told.append(response)
                complete = complete or response.warning.header.message_id == last
                if complete and (not alarm or response.HasField("alarm")):
                    timeout.reschedule(asyncio.get_running_loop().time() + LINGER_S)
                    alarm = False
    assert complete, "the last warning was not shown"
    return told


def alarms(told: list[WatchResponse]) -> list[tuple[bytes, int]]:
    """Return what a watch was told of alarms: events, and whether their alarm was raised or lowered."""
    return [(response.alarm.event_id, response.alarm.alarm) for response in told if response.HasField("alarm")]


def shown(told: list[WatchResponse]) -> list[bytes]:
    """Return the ids of the warnings among what a watch was told."""
    return [response.warning.header.message_id for response in told if response.HasField("warning")]
