"""The hub as its operator meets it: starting, stopping, health, metrics, settings."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import signal
import socket
import sys
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker import limits
from broker.cli.hub import hub as hub_command
from broker.hub.server import CannotStart, serving
from broker.refusal import Reason
from broker.store import StoreError
from certs.members import MembersError
from vedette.v1 import envelope_pb2, exchange_pb2

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.hub.settings import HubSettings
    from certs.issue import Authority
    from tests.broker.hub.conftest import Line, Running, Speaker

    LineTo = Callable[..., AbstractAsyncContextManager[Line]]

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def settings_file(world: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text(
        f"""
listen = "localhost:0"
certs_dir = "{world.home("HUB")}"
members = "{world.directory / "members.json"}"
members_digest = "{world.digest()}"
data_dir = "data"
pictures = false
"""
    )
    return path


@contextlib.asynccontextmanager
async def process(settings_file: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `vedette hub` as a process of its own; give its address."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from broker.cli.hub import hub; hub()",
        f"--settings={settings_file}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert started.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await started.stdout.readline()).decode()
        assert line.startswith("listening on "), line
        yield started, line.removeprefix("listening on ").strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def test_both_kinds_of_ready_are_told(running: Running) -> None:
    async with running.line("JPN") as line:
        stub = health_pb2_grpc.HealthStub(line.channel)
        routing = await stub.Check(health_pb2.HealthCheckRequest(service="routing"))
        overall = await stub.Check(health_pb2.HealthCheckRequest(service=""))
        await running.hub.readiness.look()
        picture = await stub.Check(health_pb2.HealthCheckRequest(service="picture"))
        assert (routing.status, overall.status, picture.status) == (SERVING, SERVING, NOT_SERVING)


async def test_the_picture_is_ready_once_every_log_is_followed_to_its_head(
    running: Running, speaker: Callable[[str], Speaker]
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        kor = await stack.enter_async_context(running.line("KOR"))
        up = await stack.enter_async_context(kor.submitting())
        await up.submit(speaker("KOR").envelope("JPN"))
        views = await stack.enter_async_context(running.line("HUB", role="views"))
        logs = [await stack.enter_async_context(views.following(code)) for code in ("KOR", "USA", "JPN")]
        await running.hub.readiness.look()
        assert not running.hub.readiness.ready["picture"], "nothing of JPN's log is held yet"
        (delivery,) = await logs[2].envelopes(1)
        await logs[2].call.write(exchange_pb2.FollowRequest(delivered=delivery.resume))
        async with asyncio.timeout(5):
            while not running.hub.readiness.ready["picture"]:
                await running.hub.readiness.look()
                await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_metrics_speak_of_members_and_of_nobody_else(
    world: Authority,
    settings_of: Callable[[Authority], HubSettings],
    speaker: Callable[[str], Speaker],
    line_to: LineTo,
) -> None:
    port = free_port()
    kor = speaker("KOR")
    async with serving(replace(settings_of(world), metrics_listen=f"127.0.0.1:{port}")) as hub:
        async with line_to(hub.address, world, "KOR") as line, line.submitting() as up:
            await up.submit(kor.envelope("JPN"), kor.envelope("FRA"), b"\xff", kor.envelope("JPN", header=as_usa))
        hub.parts.metrics.show(hub.parts, settings_of(world))
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read())
    text = page.decode()
    for reason in ("UNKNOWN_RECIPIENT", "MALFORMED", "WRONG_ORIGIN"):
        assert f'vedette_refusals_total{{origin="KOR",reason="{reason}",step="5-admit"}} 1.0' in text
    assert (
        'vedette_leg_seconds_count{leg="6-store",mode="test",origin="KOR",precedence="immediate",recipient="JPN"} 1.0'
        in text
    )
    assert "FRA" not in text
    for metric in ("vedette_store_bytes", "vedette_certificate_days_left", "vedette_log_ticks", "vedette_followers"):
        assert metric in text


def as_usa(header: envelope_pb2.RoutingHeader) -> None:
    header.origin = "USA"


async def test_a_hub_shows_when_its_members_document_expires(running: Running) -> None:
    parts = running.hub.parts
    shown_s = parts.metrics.registry.get_sample_value("vedette_members_expiry_timestamp_seconds")
    assert shown_s == pytest.approx(parts.door.members.expires_ns / limits.SECOND_NS)


async def test_a_hub_counts_what_its_audit_trail_loses(running: Running) -> None:
    parts = running.hub.parts
    for number in range(3 * limits.AUDIT_QUEUE_MAX):  # faster than the trail's thread takes them
        parts.refusals._audit.note("flood", number=number)
    lost = parts.metrics.registry.get_sample_value("vedette_audit_dropped_total")
    assert lost is not None
    assert lost > 0


async def test_a_certificate_that_is_being_replaced_does_not_end_the_hub(
    world: Authority, settings_of: Callable[[Authority], HubSettings], tmp_path: Path
) -> None:
    certs_dir = tmp_path / "certs"
    shutil.copytree(world.home("HUB"), certs_dir)
    (certs_dir / "views.pem").unlink()
    async with serving(replace(settings_of(world), certs_dir=certs_dir)) as hub:
        days = hub.parts.metrics.certificate_days
        for held in (b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None):
            (certs_dir / "hub.pem").unlink()
            if held is not None:
                (certs_dir / "hub.pem").write_bytes(held)
            hub.parts.metrics.show(hub.parts, replace(settings_of(world), certs_dir=certs_dir))
            assert math.isnan(days.labels("hub")._value.get())
            if held is None:
                shutil.copy(world.home("HUB") / "hub.pem", certs_dir)
        hub.parts.metrics.show(hub.parts, replace(settings_of(world), certs_dir=certs_dir))
        assert days.labels("hub")._value.get() > 0


async def test_a_hub_whose_store_was_replaced_ends_and_says_so(
    settings_file: Path, world: Authority, speaker: Callable[[str], Speaker], line_to: LineTo
) -> None:
    async with process(settings_file) as (hub, address):
        path = settings_file.parent / "data" / "hub.db"
        shutil.copy(path, fresh := path.with_suffix(".restored"))
        fresh.replace(path)
        async with line_to(address, world, "KOR") as line:
            # The hub may be gone before it answers; and once in a thousand times, gRPC's client waits for ever then.
            with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError):
                async with asyncio.timeout(limits.DRAIN_S), line.submitting() as up:
                    (receipt,) = await up.submit(speaker("KOR").envelope("JPN"))
                    assert receipt.refusal.reason == Reason.REASON_UNAVAILABLE
            assert hub.stderr is not None
            async with asyncio.timeout(limits.DRAIN_S + 2):
                said = (await hub.stderr.read()).decode()
                assert await hub.wait() == 1
        assert "another file was put in the place of" in said
        assert "Traceback" not in said


async def test_a_process_ends_at_sigterm_with_everything_drained_and_starts_again_with_everything(
    settings_file: Path, world: Authority, speaker: Callable[[str], Speaker], line_to: LineTo
) -> None:
    kor = speaker("KOR")
    sealed = kor.envelope("JPN")
    async with process(settings_file) as (first, address):
        async with line_to(address, world, "KOR") as line, line.submitting() as up:
            (receipt,) = await up.submit(sealed)
            assert receipt.outcome == STORED
        first.send_signal(signal.SIGTERM)
        async with asyncio.timeout(limits.DRAIN_S + 2):
            assert await first.wait() == 0
    async with process(settings_file) as (second, address):
        async with line_to(address, world, "JPN") as line, line.following() as log:
            (delivery,) = await log.envelopes(1)
            assert delivery.envelope == sealed
        second.kill()


async def test_a_hub_that_was_killed_has_lost_nothing_that_it_acknowledged(
    settings_file: Path, world: Authority, speaker: Callable[[str], Speaker], line_to: LineTo
) -> None:
    kor = speaker("KOR")
    acknowledged: list[bytes] = []
    for _ in range(3):
        async with (
            process(settings_file) as (one, address),
            line_to(address, world, "KOR") as line,
            line.submitting() as up,
        ):
            sent = [kor.envelope("JPN") for _ in range(200)]
            for begin in range(0, len(sent), 20):
                await up.send(exchange_pb2.SubmitRequest(envelopes=sent[begin : begin + 20]))
            receipts = await up.receipts(60)
            one.kill()
            acknowledged += sent[: len(receipts)]
    async with (
        process(settings_file) as (_, address),
        line_to(address, world, "HUB", role="views") as line,
        line.following("JPN") as log,
    ):
        found: list[bytes] = []
        behind = log.welcome.behind
        while behind > 0:
            response = await log.read()
            behind -= len(response.deliveries)
            found += [exchange_pb2.Delivery.FromString(data).envelope for data in response.deliveries]
            await log.call.write(exchange_pb2.FollowRequest(credits=len(response.deliveries)))
    found = [envelope for envelope in found if envelope]  # a slow machine has ticks among them, which bear none
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found))


async def test_a_second_process_on_the_same_port_or_store_says_so(
    world: Authority, settings_of: Callable[[Authority], HubSettings], tmp_path: Path
) -> None:
    settings = settings_of(world)
    async with serving(settings) as hub:
        other = replace(settings, listen=hub.address, data_dir=tmp_path / "other")
        with pytest.raises(CannotStart, match="another process"):
            async with serving(other):
                pass
        with pytest.raises(StoreError):
            async with serving(settings):
                pass


async def test_a_members_document_that_was_not_pinned_starts_nothing(
    world: Authority, settings_of: Callable[[Authority], HubSettings]
) -> None:
    with pytest.raises(MembersError):
        async with serving(replace(settings_of(world), members_digest="sha256:" + "0" * 64)):
            pass


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ('unknown = "x"', 2, "unknown setting 'unknown'"),
        ('store = "../paper"', 2, "store must be the name of a plugin"),
        ('log_level = "loud"', 2, "log_level must be"),
        ('pictures_target = "here"', 2, "pictures_target must be host:port"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_file_and_key(
    settings_file: Path, line: str, code: int, says: str
) -> None:
    settings_file.write_text(settings_file.read_text() + line + "\n")
    result = CliRunner().invoke(hub_command, ["--settings", str(settings_file)])
    assert result.exit_code == code
    assert says in result.output
    assert "hub.toml" in result.output


def test_a_wrong_pin_is_a_failed_verification(settings_file: Path, world: Authority) -> None:
    settings_file.write_text(settings_file.read_text().replace(world.digest(), "sha256:" + "0" * 64))
    assert CliRunner().invoke(hub_command, ["--settings", str(settings_file)]).exit_code == 5
