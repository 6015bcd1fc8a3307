"""The hub as one process: what it is made of, how it starts, and how it goes down.

Start: members document, certificate and keys are checked, the store is opened, the replay windows are read back, the
port is opened; from then on a first envelope can be acknowledged ("routing" is ready). The fusion process is started
after that and reports nothing to us: "picture" is ready once it follows every log and holds what stood in it when it
began. Both are services of the standard health protocol, under those names.

The tasks: one writes the logs (`commit`), one lets time pass in them (`ticks`), one forgets old records (`retention`),
one shows gauges, one takes over newer members documents, one keeps the fusion process alive. None is ever left behind:
what one of them raises is a bug of ours or a store that is another's now, ends the process and is left to its
supervisor, who starts it again; the store makes that safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker import known, limits
from broker.audit import AuditTrail
from broker.claim import LoadError
from broker.clock import SystemClock
from broker.hub import exercises, ticks
from broker.hub.commit import Committer, Recorded
from broker.hub.drain import Drain
from broker.hub.exchange import Exchange
from broker.hub.exercises import Exercises
from broker.hub.metrics import HubMetrics
from broker.hub.parts import Parts
from broker.hub.readiness import ROUTING, Readiness
from broker.hub.refusals import Refusals
from broker.hub.registry import Registry
from broker.hub.retention import keep_forgetting
from broker.hub.route import Router
from broker.hub.runs import Runs
from broker.hub.supervise import keep_views
from broker.hub.ticks import Ticks
from broker.members import MembersInForce
from broker.rpc import SERVER_OPTIONS, Door, FaultBarrier, first_of
from broker.stages import serve_metrics
from broker.store import StoreError
from broker.store.load import load_store
from broker.windows import STATE_PREFIX as WINDOWS
from broker.windows import Windows
from certs import tls
from certs.keyring import Keyring
from certs.members import MembersError

import grpc.aio  # isort: skip  # after certs, which forbids TLS 1.2 before gRPC is imported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from broker.clock import Clock
    from broker.hub.settings import HubSettings
    from broker.store import Store
    from certs.members import Members

log = logging.getLogger(__name__)

PUBLISHER: Final = "HUB"  # whose key seals the pictures
STORE_NAME: Final = "hub.db"
AUDIT_NAME: Final = "audit.jsonl"
_GAUGES_S: Final = 1.0
_FINISH_S: Final = limits.DRAIN_S / 2  # after the goodbye, until streams that stay are ended


class CannotStart(Exception):  # noqa: N818 - it says what is so
    """The hub cannot start; the text says what to do."""


@dataclass(slots=True)
class Hub:
    """A hub that serves."""

    parts: Parts
    address: str  # host:port, as bound
    readiness: Readiness
    _server: grpc.aio.Server
    _draining: asyncio.Task[None] | None = field(default=None)

    async def drain(self) -> None:
        """Say goodbye to everybody, let what is under way finish, and close the port; within `limits.DRAIN_S`."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        await asyncio.shield(self._draining)

    async def _drain(self) -> None:
        log.info("draining streams=%d", len(self.parts.drain))
        await self.readiness.stop()
        self.parts.drain.begin()
        stopping = asyncio.create_task(self._server.stop(limits.DRAIN_S))
        await asyncio.wait({stopping}, timeout=_FINISH_S)
        self.parts.drain.finish()
        await stopping


@asynccontextmanager
async def serving(
    settings: HubSettings, *, clock: Clock | None = None, store: Store | None = None
) -> AsyncIterator[Hub]:
    """Run a hub for as long as the context lasts; leaving it drains.

    Raises CannotStart, MembersError, TlsError, KeyringError or StoreError.

    `store` replaces the one on disk, and is closed here like that.
    """
    clock = clock or SystemClock()
    members = MembersInForce.start(settings.members, settings.members_digest, clock)
    credentials = tls.reloading_server_credentials(
        settings.certs_dir / "hub.pem", settings.certs_dir / "hub.key", settings.certs_dir / "trust.pem"
    )
    if settings.pictures:  # seen now, not when the fusion process fails again and again
        Keyring.load(settings.certs_dir).check(members.current, PUBLISHER, clock.wall_ns())
    _make(settings.data_dir)
    async with AsyncExitStack() as stack:
        store = store or await _open_store(settings)
        stack.push_async_callback(store.close)
        metrics = HubMetrics()
        metrics.show_members(members.current)
        members.listeners.append(metrics.show_members)
        audit = _open_audit(settings.data_dir, clock, metrics)
        stack.push_async_callback(audit.close)
        if cause := known.against(await store.state(known.PREFIX), known.MEMBERS, members.current):
            raise MembersError(f"{settings.members}: {cause}")
        parts = await _assemble(store, audit, members.current, clock, metrics)
        members.listeners.append(parts.door.renew)
        server = grpc.aio.server(interceptors=[FaultBarrier()], options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((Exchange(parts).handler(),))
        readiness = Readiness(parts)
        readiness.add_to(server)
        address = _bind(server, settings.listen, credentials)
        with _metrics_served(settings, parts.metrics):
            await server.start()
            hub = Hub(parts, address, readiness, server)
            async with _tasks(hub, settings, members):
                await readiness.set(ROUTING, ready=True)
                log.info(
                    "serving address=%s members=%d digest=%s", address, members.current.version, members.current.digest
                )
                yield hub


async def run(settings: HubSettings, *, started: Callable[[str], None]) -> None:
    """Run a hub until SIGTERM or SIGINT. `started` is told the address. Raises what `serving` does."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with serving(settings) as hub:
            started(hub.address)
            await stop.wait()
    except BaseExceptionGroup as ended:
        if isinstance(error := first_of(ended), StoreError):  # fenced: not a bug, and its text says what to do
            raise error from None
        raise
    log.info("stopped")


@asynccontextmanager
async def _tasks(hub: Hub, settings: HubSettings, members: MembersInForce) -> AsyncIterator[None]:
    """Run the hub's tasks; on leaving, drain and let the committer finish first."""
    parts = hub.parts
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(parts.committer.run())
        others = [
            group.create_task(_let_time_pass(parts.committer)),
            group.create_task(_show_gauges(hub, settings)),
            group.create_task(members.watch()),
            group.create_task(known.keep_known(parts.store, lambda: {known.MEMBERS: members.current})),
            group.create_task(keep_forgetting(parts.store, parts.clock)),
        ]
        if settings.pictures:
            target = settings.pictures_target or f"localhost:{hub.address.rpartition(':')[2]}"
            others.append(group.create_task(keep_views(settings, target, metrics=parts.metrics)))
        try:
            yield
        finally:
            for task in others:
                task.cancel()
            await hub.drain()
            parts.committer.close()
            await asyncio.wait({committing})


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"{data_dir}: cannot be made: {error.strerror}") from error


async def _assemble(store: Store, audit: AuditTrail, members: Members, clock: Clock, metrics: HubMetrics) -> Parts:
    recorded_exercises = Exercises(await store.state(exercises.STATE_PREFIX))
    recorded = Recorded(
        windows=Windows(await store.state(WINDOWS)),
        exercises=recorded_exercises,
        ticks=Ticks(
            await store.state(ticks.STATE_PREFIX),
            recorded_exercises,
            wall_ns=clock.wall_ns(),
            monotonic_ns=clock.monotonic_ns(),
        ),
    )
    router = Router(store)
    return Parts(
        door=Door(members, clock),
        store=store,
        recorded=recorded,
        registry=await Registry.load(store, metrics, audit),
        runs=await Runs.begin(store),
        committer=Committer(store, recorded, router, metrics, clock),
        router=router,
        drain=Drain(),
        metrics=metrics,
        refusals=Refusals(metrics, audit),
        clock=clock,
    )


async def _open_store(settings: HubSettings) -> Store:
    try:
        opener = load_store(settings.store)
    except LoadError as error:
        raise CannotStart(str(error)) from error
    return await opener(settings.data_dir / STORE_NAME)


def _open_audit(data_dir: Path, clock: Clock, metrics: HubMetrics) -> AuditTrail:
    try:
        return AuditTrail.open(data_dir / AUDIT_NAME, clock, on_lost=metrics.audit_dropped.inc)
    except OSError as error:
        raise CannotStart(f"{data_dir / AUDIT_NAME}: cannot be opened: {error.strerror}") from error


def _bind(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials) -> str:
    try:
        port = server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise CannotStart(f"{listen} cannot be listened on: is another process there?") from error
    return f"{listen.rpartition(':')[0]}:{port}"


@contextlib.contextmanager
def _metrics_served(settings: HubSettings, metrics: HubMetrics) -> Iterator[None]:
    if not settings.metrics_listen:
        yield
        return
    host, _, port = settings.metrics_listen.rpartition(":")
    certs_dir, clients = settings.certs_dir, settings.metrics_clients
    if clients != Path() and not clients.is_file():  # or /metrics would be open, or fail in a way nobody understands
        raise CannotStart(f"metrics_clients: {clients} is no file")
    try:
        httpd, thread = serve_metrics(
            metrics,
            host=host,
            port=int(port),
            certificate=certs_dir / "hub.pem",
            key=certs_dir / "hub.key",
            clients=clients if clients != Path() else None,
        )
    except OSError as error:
        raise CannotStart(f"{settings.metrics_listen} cannot be listened on: {error.strerror}") from error
    try:
        yield
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


async def _let_time_pass(committer: Committer) -> None:
    while True:
        await asyncio.sleep(limits.TICK_PACE_S)
        committer.tick()


async def _show_gauges(hub: Hub, settings: HubSettings) -> None:
    while True:
        hub.parts.metrics.show(hub.parts, settings)
        hub.parts.refusals.turn()
        await hub.readiness.look()
        await asyncio.sleep(_GAUGES_S)
