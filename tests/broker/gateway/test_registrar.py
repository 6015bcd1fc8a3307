"""A nation's invariants at its gateway: which are in force, and that the hub is told of them."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from broker import known, limits
from broker.audit import AuditTrail
from broker.cli import main
from broker.clock import SystemClock
from broker.gateway.invariants import InvariantsInForce, InvariantsRefused, promised
from broker.gateway.link import LinkState, keep_trying
from broker.gateway.policy import PolicyRefused, signature_path
from broker.gateway.registrar import Registrar
from broker.invariants import PAYLOAD_TYPE, Invariants
from broker.leaves import SCHEMA_DIGEST
from broker.members import MembersInForce
from broker.orders import digest_of
from broker.refusal import Reason, Refused
from broker.rpc import abort_refused
from broker.stages import Metrics
from certs.issue import Authority, authority
from certs.keyring import load_signer
from certs.signature import sign_document
from tests.broker.gateway.test_uplink import BusyHub
from vedette.v1 import exchange_pb2
from vedette.v1.exchange_pb2_grpc import add_ExchangeServicer_to_server

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

WAIT_S = 10.0
WHEN = "- {id: KOR-I1, to: [JPN], when: 'body == \"track\"', never: [track.source], reason: r}\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("invariants") / "certs", nations=["KOR", "JPN"])


def text(version: int = 1, *, nation: str = "KOR", body: str = WHEN) -> str:
    head = ["format: vedette-invariants/v1", f"nation: {nation}", f"version: {version}", f"schema: {SCHEMA_DIGEST}"]
    return "\n".join([*head, "invariants:", body])


def write(world: Authority, path: Path, document: str, *, by: str = "security-1", nation: str = "KOR") -> Path:
    signer = load_signer(world.home(nation) / "officers" / f"{by}.key")
    signature_path(path).write_bytes(sign_document(PAYLOAD_TYPE, document.encode(), signer))
    path.write_text(document, encoding="utf-8")
    return path


@asynccontextmanager
async def in_force(world: Authority, path: Path, *, known_digest: str = "") -> AsyncIterator[InvariantsInForce]:
    clock = SystemClock()
    audit = AuditTrail.open(path.with_name("audit.jsonl"), clock)
    members = MembersInForce.start(world.directory / "members.json", world.digest(), clock)
    try:
        yield InvariantsInForce.start(
            path, nation="KOR", members=members, metrics=Metrics(), audit=audit, known_digest=known_digest
        )
    finally:
        await audit.close()


async def until(done: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.01)


# --- which are in force -----------------------------------------------------------------------------------------------


def unsigned(world: Authority, path: Path) -> None:
    signature_path(write(world, path, text())).unlink()


def changed_after_signing(world: Authority, path: Path) -> None:
    write(world, path, text()).write_text(text(body=WHEN.replace("JPN", "USA")), encoding="utf-8")


BAD: dict[str, Callable[[Authority, Path], object]] = {
    "unsigned": unsigned,
    "changed after signing": changed_after_signing,
    "a policy officer signed": lambda world, path: write(world, path, text(), by="officer-1"),
    "another nation's officer signed": lambda world, path: write(world, path, text(), nation="JPN"),
    "of another nation": lambda world, path: write(world, path, text(nation="JPN")),
    "a misspelt field": lambda world, path: write(world, path, text(body=WHEN.replace("body", "bodi"))),
    "not a text": lambda world, path: write(world, path, text()).write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_gateway_does_not_start_with_bad_invariants(world: Authority, tmp_path: Path, case: str) -> None:
    path = tmp_path / "invariants.yaml"
    BAD[case](world, path)
    with pytest.raises(InvariantsRefused):
        async with in_force(world, path):
            pass


async def test_what_was_in_force_begins_again_though_its_signer_left(world: Authority, tmp_path: Path) -> None:
    """A gateway that does not start warns nobody; the policy in force stays too when its approvers leave."""
    path = write(world, tmp_path / "invariants.yaml", text(), by="officer-1")  # as good as somebody's who left
    digest = digest_of(path.read_bytes())
    async with in_force(world, path, known_digest=digest) as invariants:
        assert invariants.current.invariants.digest == digest
    write(world, path, text(2), by="officer-1")
    with pytest.raises(InvariantsRefused, match="security officers"):
        async with in_force(world, path, known_digest=digest):
            pass


async def test_a_newer_version_takes_over_and_a_bad_or_older_one_does_not(world: Authority, tmp_path: Path) -> None:
    path = write(world, tmp_path / "invariants.yaml", text(2))
    async with in_force(world, path) as invariants:
        watching = asyncio.create_task(invariants.watch())
        rejected = invariants.metrics.policy_rejected._value
        write(world, path, text(1))
        await until(lambda: rejected.get() >= 1, "the older one is looked at")
        assert invariants.current.invariants.version == 2
        seen = rejected.get()
        unsigned(world, path)
        await until(lambda: rejected.get() > seen, "the one without signatures is looked at")
        assert invariants.current.invariants.version == 2
        write(world, path, text(3))
        await until(lambda: invariants.current.invariants.version == 3, "the newer one is taken over")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_settings_that_name_none_any_more_let_no_draft_pass_unproved(world: Authority, tmp_path: Path) -> None:
    path = write(world, tmp_path / "invariants.yaml", text(3))
    assert promised(None, {})() is None, "where there never were any"
    async with in_force(world, path) as invariants:
        state = known.entry(known.INVARIANTS, invariants.current.invariants)
        assert promised(invariants, state)() == text(3)
    with pytest.raises(PolicyRefused, match="version 3 were in force"):
        promised(None, state)()


# --- that the hub is told ---------------------------------------------------------------------------------------------


class Answering(BusyHub):
    """A hub that answers registrations as the test likes."""

    def __init__(self, answer: Reason.ValueType | None = None, digest: str = "") -> None:
        super().__init__(0)
        self.asked: list[int] = []
        self.answer, self.digest = answer, digest

    async def Register(self, request: exchange_pb2.Registration, context: Any) -> exchange_pb2.Registered:  # noqa: N802
        invariants = Invariants.parse(request.document.decode())
        self.asked.append(invariants.version)
        if self.answer is not None:
            await abort_refused(context, Refused(self.answer, "no"))
        return exchange_pb2.Registered(version=invariants.version, digest=self.digest or invariants.digest)


class Older(BusyHub):
    """A hub of a version that knows nothing of invariants: it answers as gRPC does to a call that is not there."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked: list[int] = []

    async def Register(self, request: exchange_pb2.Registration, context: Any) -> exchange_pb2.Registered:  # noqa: ARG002, N802
        self.asked.append(0)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        raise AssertionError


@asynccontextmanager
async def registering(invariants: InvariantsInForce, hub: Answering | Older) -> AsyncIterator[LinkState]:
    server = grpc.aio.server()
    add_ExchangeServicer_to_server(hub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    link = LinkState(SystemClock(), invariants.metrics)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        registrar = Registrar(channel, link, invariants, invariants.metrics, invariants.audit)
        running = asyncio.create_task(keep_trying("registration", registrar.run))
        watching = asyncio.create_task(invariants.watch())
        try:
            yield link
            assert not running.done()
        finally:
            for task in (running, watching):
                task.cancel()
            await asyncio.gather(running, watching, return_exceptions=True)
            await server.stop(0)


def is_unregistered(invariants: InvariantsInForce) -> float:
    value = invariants.metrics.registry.get_sample_value("vedette_invariants_unregistered")
    assert value is not None
    return value


@pytest.fixture
async def invariants(world: Authority, tmp_path: Path) -> AsyncIterator[InvariantsInForce]:
    async with in_force(world, write(world, tmp_path / "invariants.yaml", text())) as one:
        yield one


async def test_they_are_registered_with_every_connection_and_when_they_change(
    world: Authority, invariants: InvariantsInForce
) -> None:
    hub = Answering()
    async with registering(invariants, hub) as link:
        await asyncio.sleep(0.1)
        assert hub.asked == [], "there is no connection"
        await link.set(up=True, down=True)
        await until(lambda: is_unregistered(invariants) == 0, "the hub has them")
        write(world, invariants.path, text(2))
        await until(lambda: hub.asked == [1, 2], "the newer ones are registered")
        await link.set(up=False)
        await until(lambda: is_unregistered(invariants) == 1, "nobody knows what a hub has that is away")
        await link.set(up=True)
        await until(lambda: hub.asked == [1, 2, 2], "again with the next connection")


async def test_an_older_hub_is_left_in_peace_until_the_next_connection(invariants: InvariantsInForce) -> None:
    hub = Older()
    async with registering(invariants, hub) as link:
        await link.set(up=True, down=True)
        await until(lambda: len(hub.asked) == 1, "it is asked")
        await asyncio.sleep(0.3)
        assert len(hub.asked) == 1
        assert is_unregistered(invariants) == 1
        await link.set(up=False)
        await link.set(up=True)
        await until(lambda: len(hub.asked) == 2, "and again")


@pytest.mark.parametrize(("reason", "again"), [(Reason.REASON_NOT_SIGNED, True), (Reason.REASON_MALFORMED, False)])
async def test_a_refusal_is_asked_again_only_where_it_may_pass(
    *, invariants: InvariantsInForce, monkeypatch: pytest.MonkeyPatch, reason: Reason.ValueType, again: bool
) -> None:
    monkeypatch.setattr(limits, "RESEND_NS", limits.MILLISECOND_NS)
    hub = Answering(reason)
    async with registering(invariants, hub) as link:
        await link.set(up=True, down=True)
        await until(lambda: len(hub.asked) >= (3 if again else 1), "it is asked")
        await asyncio.sleep(0.2)
        assert (len(hub.asked) > 1) == again
        assert is_unregistered(invariants) == 1


async def test_a_hub_that_holds_us_to_something_else_is_not_believed(invariants: InvariantsInForce) -> None:
    hub = Answering(digest="sha256:other")
    async with registering(invariants, hub) as link:
        await link.set(up=True, down=True)
        await until(lambda: hub.asked == [1], "it is asked")
        await asyncio.sleep(0.1)
        assert is_unregistered(invariants) == 1


# --- how they are signed ----------------------------------------------------------------------------------------------


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["policy", "sign-invariants", *map(str, words)])
    return done.exit_code, done.output


async def test_officers_sign_from_the_shell(world: Authority, tmp_path: Path) -> None:
    path, officers = tmp_path / "invariants.yaml", world.home("KOR") / "officers"
    path.write_text(text(), encoding="utf-8")
    assert call(path, "--key", officers / "security-1.key")[0] == 0
    assert call(path, "--key", officers / "security-2.key")[0] == 0
    async with in_force(world, path) as invariants:
        assert invariants.current.signatures.count(b"keyid") == 2
    path.write_text(text(2), encoding="utf-8")
    assert call(path, "--key", officers / "security-1.key", "--anew")[0] == 0
    async with in_force(world, path) as invariants:
        assert invariants.current.invariants.version == 2


@pytest.mark.parametrize(
    "wrong",
    [
        WHEN.replace("body", "bodi"),
        WHEN.replace("reason", "raeson"),
        WHEN.replace("body ==", "content.track.confidence > 1e-3 && body =="),  # which the hub does not judge
    ],
)
def test_what_cannot_be_read_is_not_signed(world: Authority, tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "invariants.yaml"
    path.write_text(text(body=wrong), encoding="utf-8")
    code, _ = call(path, "--key", world.home("KOR") / "officers" / "security-1.key")
    assert code == 1
    assert not signature_path(path).exists()
