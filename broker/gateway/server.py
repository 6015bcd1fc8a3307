"""One gateway, put together and run. Wiring only: what happens to a message stands in the other modules."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker import known, limits
from broker.audit import AuditTrail
from broker.clock import SystemClock
from broker.gateway import canary
from broker.gateway.deliver import Delivery
from broker.gateway.disclose import Discloser
from broker.gateway.downlink import Downlink
from broker.gateway.full.keep import FullPicture
from broker.gateway.held import Held
from broker.gateway.ids import Ids
from broker.gateway.intake import Intake
from broker.gateway.invariants import InvariantsInForce, InvariantsRefused, promised
from broker.gateway.ledger import PREFIX as LEDGER
from broker.gateway.ledger import Ledger
from broker.gateway.link import LinkState, keep_trying, open_channel
from broker.gateway.load import load_nation
from broker.gateway.national import National
from broker.gateway.notes import PREFIX as NOTES
from broker.gateway.notes import Notes
from broker.gateway.office.admin import Admin
from broker.gateway.office.office import Office, open_office
from broker.gateway.office.recorded import Recorded
from broker.gateway.office.shadow import Shadow
from broker.gateway.pipeline import Pipeline
from broker.gateway.policy import PolicyInForce, PolicyRefused
from broker.gateway.recover import Recovery
from broker.gateway.registrar import Registrar
from broker.gateway.retention import Retention
from broker.gateway.streams import PREFIX as STREAMS
from broker.gateway.streams import Streams
from broker.gateway.uplink import Uplink
from broker.members import MembersInForce
from broker.rpc import SERVER_OPTIONS, Door, FaultBarrier, first_of
from broker.stages import Metrics, serve_metrics
from broker.store import Fenced
from broker.store.load import load_store
from certs import tls
from certs.identity import IdentityError, read_leaf
from certs.keyring import Keyring
from certs.members import MembersError
from vedette.v1.admin_pb2_grpc import add_ReleaseAdminServicer_to_server
from vedette.v1.national_pb2_grpc import add_NationalServicer_to_server

import grpc.aio  # isort: skip
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # isort: skip

if TYPE_CHECKING:
    from broker.clock import Clock
    from broker.gateway.settings import GatewaySettings
    from broker.store import Store
    from certs.members import Members

log = logging.getLogger(__name__)

READY = "vedette.v1.National"  # the health service's name for: reports are taken and kept
_DAY_S = 24 * 3600
_CERTIFICATE_LOOK_S = 60.0
LINKED = "vedette.v1.Exchange"  # … and for: the hub is there


@dataclass(slots=True)
class Foundation:
    """What everything else in a gateway stands on."""

    settings: GatewaySettings
    clock: Clock
    metrics: Metrics
    store: Store
    audit: AuditTrail
    keyring: Keyring
    members: MembersInForce

    @property
    def us(self) -> str:
        """Return our own member code."""
        return self.settings.nation

    def recipients(self) -> list[str]:
        """Return with whom we may exchange now, ourselves first."""
        current = self.members.current
        others = [code for code in current.nations() if code != self.us and current.may_exchange(self.us, code)]
        return [self.us, *others]

    def may_pass_on(self, origin: str, recipient: str) -> bool:
        """Return whether the one may pass on to the other what belongs to a third member."""
        pair = self.members.current.may_exchange(origin, recipient)
        return pair is not None and pair.third_party

    def schema_version_of(self, recipient: str) -> int:
        """Return the newest schema that we and the recipient both speak."""
        least, most = self.members.current.members[recipient].schema_versions  # type: ignore[index] # a MemberId
        return max(least, min(most, limits.SCHEMA_VERSION))


async def run(settings: GatewaySettings) -> None:
    """Run a gateway until SIGTERM or SIGINT. Raises what a person must mend before it can start."""
    async with AsyncExitStack() as stack:
        base = await _foundation(settings, stack)
        invariants = await _invariants(base)
        office = await _office(base, invariants)
        policy = office.policy
        link = LinkState(base.clock, base.metrics)
        pipeline, recovery = await _pipeline(base, policy)
        shadow = _shadow(base, policy, pipeline)
        retention = Retention(base.store, pipeline, settings.retention_days * _DAY_S)
        await retention.load()
        channels = [_channel(settings, base.members.current) for _ in range(2)]
        for channel in channels:
            stack.push_async_callback(channel.close)
        live = asyncio.Event()
        delivery = Delivery(base.store, link, live, base.clock, base.metrics)
        uplink = Uplink(
            base.store, channels[0], link, base.clock, base.metrics, base.audit, heads_known=recovery.compare
        )
        downlink = Downlink(
            us=base.us,
            store=base.store,
            channel=channels[1],
            link=link,
            clock=base.clock,
            metrics=base.metrics,
            audit=base.audit,
            members=lambda: base.members.current,
            live=live,
            taking=delivery.taking,
        )
        door = Door(base.members.current, base.clock)
        base.members.listeners.append(door.renew)
        national = National(
            us=base.us,
            door=door,
            intake=Intake(load_nation(base.us), pipeline.notes, pipeline.may_hold),
            pipeline=pipeline,
            delivery=delivery,
            link=link,
            clock=base.clock,
            metrics=base.metrics,
            audit=base.audit,
        )
        stopping = _on_signals()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_trying("uplink", uplink.run))
                pipeline.ledger.ids = Ids(base.keyring.secret, await recovery.settle())
                server, servicer = await _serve(settings, national, Admin(office, door, Recorded(base.store), shadow))
                stack.push_async_callback(server.stop, limits.DRAIN_S)
                group.create_task(uplink.measure())
                group.create_task(_measure_certificate(base))
                group.create_task(pipeline.run())
                group.create_task(keep_trying("downlink", downlink.run))
                group.create_task(policy.watch())
                group.create_task(shadow.run())
                group.create_task(_draw_full_picture(base))
                group.create_task(base.members.watch())
                group.create_task(known.keep_known(base.store, lambda: _documents(base, policy, invariants)))
                if invariants is not None:
                    registrar = Registrar(channels[0], link, invariants, base.metrics, base.audit)
                    group.create_task(keep_trying("registration", registrar.run))
                    group.create_task(invariants.watch())
                group.create_task(retention.keep_forgetting(base.clock))
                group.create_task(_keep_health(servicer, link))
                group.create_task(_sing(base, pipeline))
                log.info("ready nation=%s listen=%s", base.us, settings.listen)
                group.create_task(_stop_when(stopping, server))
        except* _Stopped:
            log.info("stopped")
        except* Fenced as fenced:
            raise first_of(fenced) from None


class _Stopped(Exception):  # noqa: N818 - how a gateway ends when it is told to
    pass


async def _foundation(settings: GatewaySettings, stack: AsyncExitStack) -> Foundation:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock, metrics = SystemClock(), Metrics()
    members = MembersInForce.start(settings.members, settings.members_digest, clock)
    metrics.show_members(members.current)
    members.listeners.append(metrics.show_members)
    keyring = Keyring.load(settings.certs_dir)
    keyring.check(members.current, settings.nation, clock.wall_ns())
    store = await load_store(settings.store)(settings.data_dir / f"gateway.{settings.store}")
    stack.push_async_callback(store.close)
    audit = AuditTrail.open(settings.data_dir / "audit.jsonl", clock, on_lost=metrics.audit_dropped.inc)
    stack.push_async_callback(audit.close)
    if settings.metrics_listen:
        host, _, port = settings.metrics_listen.rpartition(":")
        server, thread = serve_metrics(
            metrics,
            host=host,
            port=int(port),
            certificate=settings.certs_dir / "gateway.pem",
            key=settings.certs_dir / "gateway.key",
            clients=settings.metrics_clients if settings.metrics_clients != Path() else None,
        )
        stack.callback(thread.join, 1.0)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
    return Foundation(settings, clock, metrics, store, audit, keyring, members)


async def _office(base: Foundation, invariants: InvariantsInForce | None) -> Office:
    """Put in force what was in force here last, or the policy in the file. Raises PolicyRefused."""
    office = await open_office(
        base.settings.policy,
        nation=base.us,
        store=base.store,
        clock=base.clock,
        members=base.members,
        audit=base.audit,
        metrics=base.metrics,
        invariants=promised(invariants, await base.store.state(known.PREFIX)),
    )
    await _check_not_older(base, office.policy, invariants)
    await office.begin()
    return office


async def _invariants(base: Foundation) -> InvariantsInForce | None:
    """Return our invariants, if we have any. Raises InvariantsRefused."""
    path = base.settings.invariants
    if path == Path():
        return None
    return InvariantsInForce.start(
        path,
        nation=base.us,
        members=base.members,
        metrics=base.metrics,
        audit=base.audit,
        known_digest=known.digest_of(await base.store.state(known.PREFIX), known.INVARIANTS),
    )


async def _check_not_older(base: Foundation, policy: PolicyInForce, invariants: InvariantsInForce | None) -> None:
    """Refuse to start with a document that is older than one that was in force here. Raises what a bad one raises."""
    state = await base.store.state(known.PREFIX)
    if cause := known.against(state, known.MEMBERS, base.members.current):
        raise MembersError(f"{base.settings.members}: {cause}")
    if cause := known.against(state, known.POLICY, policy.current):
        raise PolicyRefused(f"{base.settings.policy}: {cause}")
    if invariants is not None and (cause := known.against(state, known.INVARIANTS, invariants.current.invariants)):
        raise InvariantsRefused(f"{base.settings.invariants}: {cause}")


def _documents(
    base: Foundation, policy: PolicyInForce, invariants: InvariantsInForce | None
) -> dict[str, known.Document]:
    documents: dict[str, known.Document] = {known.MEMBERS: base.members.current, known.POLICY: policy.current}
    if invariants is not None:
        documents[known.INVARIANTS] = invariants.current.invariants
    return documents


def _shadow(base: Foundation, policy: PolicyInForce, pipeline: Pipeline) -> Shadow:
    """Return what tries drafts on the messages that the pipeline is done with."""
    shadow = Shadow(base.us, lambda: policy.current, base.metrics, base.clock)
    pipeline.on_disclosed = shadow.note
    return shadow


async def _pipeline(base: Foundation, policy: PolicyInForce) -> tuple[Pipeline, Recovery]:
    streams = Streams(await base.store.state(STREAMS), now_ms=base.clock.wall_ns() // limits.MILLISECOND_NS)
    ledger = Ledger(base.store, base.us, Ids(base.keyring.secret), await base.store.state(LEDGER))
    held = Held()
    pipeline = Pipeline(
        us=base.us,
        store=base.store,
        clock=base.clock,
        metrics=base.metrics,
        audit=base.audit,
        policy=policy,
        recipients=base.recipients,
        discloser=Discloser(base.us, ledger, held, base.may_pass_on),
        ledger=ledger,
        held=held,
        streams=streams,
        notes=Notes(await base.store.state(NOTES)),
        signer_of=base.keyring.signer,
        schema_version_of=base.schema_version_of,
    )
    await pipeline.load()
    recovery = Recovery(
        us=base.us,
        store=base.store,
        streams=streams,
        clock=base.clock,
        audit=base.audit,
        members=lambda: base.members.current,
        learn=pipeline.learn,
    )
    return pipeline, recovery


def _channel(settings: GatewaySettings, members: Members) -> grpc.aio.Channel:
    certificate, key = tls.read_pair(settings.certs_dir / "gateway.pem", settings.certs_dir / "gateway.key")
    hubs = [code for code, member in members.members.items() if member.is_hub]
    return open_channel(settings.hub, tls.channel_credentials(certificate, key, members.roots(*hubs)))


async def _serve(
    settings: GatewaySettings, national: National, admin: Admin
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    server = grpc.aio.server(interceptors=[FaultBarrier()], options=SERVER_OPTIONS)
    add_NationalServicer_to_server(national, server)
    add_ReleaseAdminServicer_to_server(admin, server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set(READY, health_pb2.HealthCheckResponse.SERVING)
    folder = settings.certs_dir
    credentials = tls.reloading_server_credentials(folder / "gateway.pem", folder / "gateway.key", folder / "root.pem")
    if server.add_secure_port(settings.listen, credentials) == 0:
        raise OSError(f"{settings.listen} cannot be listened on; is another gateway running?")
    await server.start()
    return server, servicer


async def _keep_health(servicer: health.aio.HealthServicer, link: LinkState) -> None:
    while True:
        since_ns = link.since_ns
        status = (
            health_pb2.HealthCheckResponse.SERVING if link.connected else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        await servicer.set(LINKED, status)
        await link.next_change(since_ns)


async def _sing(base: Foundation, pipeline: Pipeline) -> None:
    if base.settings.canary_s <= 0:
        return
    await canary.keep_singing(
        us=base.us,
        period_s=base.settings.canary_s,
        recipients=base.recipients,
        ids=Ids(base.keyring.secret),
        clock=base.clock,
        send=pipeline.send,
    )


async def _draw_full_picture(base: Foundation) -> None:
    """Have the nation's full picture drawn, if it wants one."""
    settings = base.settings
    if settings.full_picture:
        await FullPicture(base.us, base.store, settings.data_dir / "full", base.clock, settings.log_level).keep()


async def _measure_certificate(base: Foundation) -> None:
    """Keep the days that the gateway's certificate has left."""
    while True:
        try:
            leaf = read_leaf((base.settings.certs_dir / "gateway.pem").read_bytes())
            left_s = leaf.not_after.timestamp() - base.clock.wall_ns() / limits.SECOND_NS
        except (OSError, IdentityError):
            left_s = 0.0  # it is being replaced, or gone: the alarm says so, the gateway goes on
        base.metrics.certificate_days.labels("gateway").set(left_s / _DAY_S)
        await asyncio.sleep(_CERTIFICATE_LOOK_S)


async def _stop_when(stopping: asyncio.Event, server: grpc.aio.Server) -> None:
    """Take no more reports, and end everything else by an exception. What was accepted is durable already."""
    await stopping.wait()
    log.info("draining")
    await server.stop(min(limits.DRAIN_S, 1.0))
    raise _Stopped


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping
