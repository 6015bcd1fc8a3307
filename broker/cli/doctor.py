"""`vedette doctor`: look for what is wrong with a gateway's settings, keys and links, and say what to mend.

Each finding has a code, so that a runbook can speak of it. The checks look at the same things, by the same code, as the
gateway does when it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.gateway.settings import GatewaySettings
    from broker.members import MembersInForce

DAYS_LEFT_WARN = 14.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    code: str
    good: bool
    text: str
    exit: Exit = Exit.CHECK_FAILED


@click.command()
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    required=True,
    help="The gateway's settings.",
)
@click.option("--offline", is_flag=True, help="Do not try to reach the hub and the gateway.")
def doctor(settings_file: Path, *, offline: bool) -> None:
    """Check settings, members document, keys, certificates, policy, disk, hub and gateway, in this order.

    Exit: 0 all well, 1 something to mend, 2 the settings cannot be read, 3 the hub or the gateway is not there,
    5 a signature, key or document does not hold.
    """
    from broker.gateway.settings import GatewaySettings
    from broker.settings import SettingsError, read_settings

    try:
        settings = read_settings(settings_file, GatewaySettings)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    worst = Exit.OK
    for finding in (*_on_disk(settings), *(() if offline else _on_line(settings))):
        click.echo(f"{'ok  ' if finding.good else 'MEND'} {finding.code}: {finding.text}")
        if not finding.good and worst in (Exit.OK, Exit.CHECK_FAILED):
            worst = finding.exit
    raise SystemExit(worst)


def _on_disk(settings: GatewaySettings) -> Iterator[Finding]:
    from broker import limits
    from broker.clock import SystemClock
    from broker.gateway.load import LoadError, load_nation
    from broker.gateway.policy import PolicyRefused, read_policy
    from broker.gateway.release import lint
    from broker.members import MembersInForce
    from certs.keyring import Keyring, KeyringError
    from certs.members import MembersError

    clock = SystemClock()
    try:
        load_nation(settings.nation)
        yield Finding("D01 plugin", good=True, text=f"{settings.nation} is installed")
    except LoadError as error:
        yield Finding("D01 plugin", good=False, text=str(error))
    try:
        members = MembersInForce.start(settings.members, settings.members_digest, clock)
    except MembersError as error:
        yield Finding("D02 members", good=False, text=str(error), exit=Exit.UNVERIFIED)
        return
    days = (members.current.expires_ns - clock.wall_ns()) / limits.SECOND_NS / 86400
    text = f"version {members.current.version} of the members document holds, {days:.1f} days left"
    if days < DAYS_LEFT_WARN:
        text += ": ask the members' authorities for the next one"
    yield Finding("D02 members", good=True, text=text)
    try:
        Keyring.load(settings.certs_dir).check(members.current, settings.nation, clock.wall_ns())
        yield Finding("D03 keys", good=True, text="every signing key is known and may sign")
    except KeyringError as error:
        yield Finding("D03 keys", good=False, text=str(error), exit=Exit.UNVERIFIED)
    yield from _certificate(settings, members, clock.wall_ns())
    try:
        policy = read_policy(settings.policy, nation=settings.nation, members=members)
        now_ns = clock.wall_ns()
        in_force = policy.effective_ns <= now_ns < policy.expires_ns
        text = f"version {policy.version} is signed and {'in force' if in_force else 'NOT in force now: it denies all'}"
        if warnings := len(lint(settings.policy.read_bytes().decode(), nation=settings.nation, now_ns=now_ns)):
            text += f"; lint has something to say, {warnings} times: vedette policy lint {settings.policy}"
        yield Finding("D05 policy", good=in_force, text=text)
    except PolicyRefused as error:
        yield Finding("D05 policy", good=False, text=str(error), exit=Exit.UNVERIFIED)
    yield from _invariants(settings, members)
    yield _disk(settings.data_dir)


def _invariants(settings: GatewaySettings, members: MembersInForce) -> Iterator[Finding]:
    from broker.gateway.invariants import InvariantsRefused, read_invariants

    if settings.invariants == Path():
        return
    code = "D09 invariants"
    try:
        read = read_invariants(settings.invariants, nation=settings.nation, members=members)
        yield Finding(code, good=True, text=f"version {read.invariants.version} is signed by the security officers")
    except InvariantsRefused as error:
        yield Finding(code, good=False, text=str(error), exit=Exit.UNVERIFIED)


def _certificate(settings: GatewaySettings, members: object, now_ns: int) -> Iterator[Finding]:
    from broker.members import MembersInForce
    from certs.identity import IdentityError, Role, identity_of_certificate, read_leaf

    assert isinstance(members, MembersInForce)  # noqa: S101 - for the type: imported late
    code = "D04 certificate"
    try:
        pem = (settings.certs_dir / "gateway.pem").read_bytes()
        identity = identity_of_certificate(pem, members.current, now_ns)
        days = (read_leaf(pem).not_after.timestamp() - now_ns / 1e9) / 86400
    except (OSError, IdentityError) as error:
        yield Finding(code, good=False, text=str(error), exit=Exit.UNVERIFIED)
        return
    if identity.member != settings.nation or identity.role is not Role.GATEWAY:
        yield Finding(code, good=False, text=f"it is of {identity.uri}, not of this gateway", exit=Exit.UNVERIFIED)
    elif days < DAYS_LEFT_WARN:
        yield Finding(code, good=days > 0, text=f"{identity.uri}, {days:.1f} days left: have a new one made")
    else:
        yield Finding(code, good=True, text=f"{identity.uri}, {days:.0f} days left")


def _disk(data_dir: Path) -> Finding:
    import shutil

    from broker import limits

    folder = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free under {data_dir}"
    return Finding("D06 disk", good=free > 16 * limits.FRAME_BYTES_MAX * limits.APPEND_BATCH_MAX, text=text)


def _on_line(settings: GatewaySettings) -> Iterator[Finding]:
    import asyncio

    for code, address, root in (
        ("D07 hub", settings.hub, "hub-root.pem"),
        ("D08 gateway", settings.listen, "root.pem"),
    ):
        state = asyncio.run(_health(settings, address, root))
        good = state == "SERVING"
        yield Finding(code, good=good, text=f"{address}: {state}", exit=Exit.UNREACHABLE)


async def _health(settings: GatewaySettings, address: str, root: str) -> str:
    from broker.client import Certificates
    from certs import tls  # before grpc: it forbids TLS 1.2

    import grpc.aio  # isort: skip
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # isort: skip

    try:
        folder = settings.certs_dir
        certificates = Certificates.of(folder / "gateway", roots=folder / root)
        credentials = tls.channel_credentials(certificates.certificate, certificates.key, certificates.roots)
    except (OSError, tls.TlsError) as error:
        return str(error)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3.0)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: is it running, and is this the right address?"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
