"""The sending half of a gateway in memory: intake, decisions, outbox. Real keys and policies, a clock that we set."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.audit import AuditTrail
from broker.clock import ManualClock
from broker.demo.world import shipped_policy
from broker.gateway.disclose import Discloser
from broker.gateway.held import Held
from broker.gateway.ids import Ids
from broker.gateway.intake import Intake
from broker.gateway.ledger import OUTBOX, Ledger
from broker.gateway.ledger import PREFIX as LEDGER
from broker.gateway.load import load_nation
from broker.gateway.notes import PREFIX as NOTES
from broker.gateway.notes import Notes
from broker.gateway.pipeline import Pipeline
from broker.gateway.policy import PolicyInForce
from broker.gateway.release import Policy
from broker.gateway.streams import PREFIX as STREAMS
from broker.gateway.streams import Streams
from broker.limits import MILLISECOND_NS, SECOND_NS
from broker.members import MembersInForce
from broker.stages import Metrics
from broker.store.memory import Kept, open_memory
from certs.identity import Identity, MemberId, Role
from certs.issue import Authority, authority
from certs.keyring import Keyring
from vedette.v1 import content_pb2, envelope_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from broker.gateway.intake import Taken
    from broker.store import Store
    from certs.roster import Members

NOW_NS = 1_780_000_000 * SECOND_NS  # in the shipped policies' time
EXERCISE = content_pb2.MODE_EXERCISE
NATION = load_nation("KOR")
RECIPIENTS = ("KOR", "USA", "JPN")


@pytest.fixture(scope="session")
def reports() -> ModuleType:
    """Give tests/path/reports.py: plain contents, the same for both kinds of test."""
    path = Path(__file__).parents[2] / "path" / "reports.py"
    spec = importlib.util.spec_from_file_location("path_reports", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("world") / "certs", now_ns=NOW_NS)


@pytest.fixture(scope="session")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditTrail]:
    trail = AuditTrail.open(tmp_path_factory.mktemp("audit") / "audit.jsonl", ManualClock(NOW_NS))
    yield trail
    asyncio.run(trail.close())


@cache
def keyring_of(world: Authority, code: str) -> Keyring:
    return Keyring.load(world.home(code))


@cache
def members_of(world: Authority) -> Members:
    return world.members(now_ns=NOW_NS)


@dataclass
class Origin:
    """The sending side of one nation's gateway. `restart` is a new process over what the store kept."""

    world: Authority
    audit: AuditTrail
    policy: Policy
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_NS))
    kept: Kept = field(default_factory=Kept)
    salt: bytes = b""
    recipients: Sequence[str] = RECIPIENTS
    us: str = "KOR"
    pipeline: Pipeline = field(init=False)
    intake: Intake = field(init=False)
    store: Store = field(init=False)

    async def start(self, store: Store | None = None) -> Origin:
        self.store = store or await open_memory(self.kept)
        keyring = keyring_of(self.world, self.us)
        members = MembersInForce(self.world.directory / "members.json", self.clock, members_of(self.world))
        metrics = Metrics()
        ledger = Ledger(self.store, self.us, Ids(keyring.secret, self.salt), await self.store.state(LEDGER))
        held = Held()
        self.pipeline = Pipeline(
            us=self.us,
            store=self.store,
            clock=self.clock,
            metrics=metrics,
            audit=self.audit,
            policy=PolicyInForce(Path(), self.us, self.clock, members, metrics, self.audit, self.policy),
            recipients=lambda: list(self.recipients),
            discloser=Discloser(self.us, ledger, held, lambda _origin, _recipient: True),
            ledger=ledger,
            held=held,
            streams=Streams(await self.store.state(STREAMS), now_ms=self.clock.wall_ns() // MILLISECOND_NS),
            notes=Notes(await self.store.state(NOTES)),
            signer_of=keyring.signer,
            schema_version_of=lambda _: 1,
        )
        await self.pipeline.load()
        self.intake = Intake(NATION, self.pipeline.notes, self.pipeline.may_hold)
        return self

    async def restart(self) -> Origin:
        return await self.start()

    def taken(self, content: content_pb2.Content, label: envelope_pb2.SecurityLabel, precedence: int = 3) -> Taken:
        request = national_pb2.ReportRequest(
            content=content, precedence=envelope_pb2.Precedence.ValueType(precedence), label=label, session="s"
        )
        sender = Identity(MemberId(self.us), Role.SYSTEM, EXERCISE, "aegis-1", "spiffe://kor.vedette/system")
        (taken,) = self.intake.take(request, sender, now_ns=self.clock.wall_ns())
        return taken

    async def report(
        self, content: content_pb2.Content, label: envelope_pb2.SecurityLabel, precedence: int = 3
    ) -> bool:
        """Bring one report through, as a batch of its own. True: accepted; False: had it already. Raises Refused."""
        done = await self.pipeline.offer(self.taken(content, label, precedence))
        await self.pipeline.step()
        return done.result()

    async def report_line(
        self, line: bytes, *, exercise: content_pb2.Exercise, session: str = "feed"
    ) -> list[content_pb2.Content]:
        """Bring one line of a sensor through, as the National service does; return what it said. Raises Refused."""
        request = national_pb2.ReportRequest(session=session, exercise=exercise)
        request.native.format, request.native.line = next(iter(NATION.formats)), line
        sender = Identity(MemberId(self.us), Role.SYSTEM, EXERCISE, "feed", "spiffe://kor.vedette/system")
        now_ns, recall = self.clock.wall_ns(), self.pipeline.recall
        messages = await self.intake.read(request, sender, now_ns=now_ns, recall=recall)
        for taken in messages:
            done = await self.pipeline.offer(taken)
            await self.pipeline.step()
            done.result()
        return [taken.content for taken in messages]

    async def wait(self, seconds: float) -> None:
        """Let time pass; what is due goes."""
        self.clock.advance(round(seconds * SECOND_NS))
        due_ns = self.pipeline.held.next_due_ns()
        if due_ns is not None and due_ns <= self.clock.wall_ns():
            await self.pipeline.step()

    async def outbox(self, recipient: str | None = None) -> list[Sent]:
        records = await self.store.read(OUTBOX, after=(await self.store.bounds(OUTBOX)).first - 1, limit=100_000)
        sent = [Sent.of(record.data) for record in records]
        return [item for item in sent if recipient in (None, item.header.recipient)]


@dataclass(frozen=True)
class Sent:
    """An envelope of the outbox, opened."""

    data: bytes
    header: envelope_pb2.RoutingHeader
    content: content_pb2.Content

    @classmethod
    def of(cls, data: bytes) -> Sent:
        envelope = envelope_pb2.Envelope.FromString(data)
        header = envelope_pb2.RoutingHeader.FromString(envelope.header)
        return cls(data, header, content_pb2.Content.FromString(envelope.body))


@pytest.fixture(scope="session")
def kor_policy() -> str:
    return shipped_policy("KOR")


@pytest.fixture(scope="session")
def policy_of(kor_policy: str) -> Callable[..., Policy]:
    """Return what makes a policy from rules alone: the groups are those that KOR ships."""
    groups = kor_policy.partition("\nrules:\n")[0]

    def make(rules: str) -> Policy:
        return Policy.parse(f"{groups}\nrules:\n{rules}", nation="KOR")

    return make


@pytest.fixture(scope="session")
def origin(world: Authority, audit: AuditTrail, kor_policy: str) -> Callable[..., Origin]:
    """Return what makes KOR's gateway; `await` its `start`."""

    def make(policy: Policy | None = None, **options: Any) -> Origin:
        return Origin(world, options.pop("audit", audit), policy or Policy.parse(kor_policy, nation="KOR"), **options)

    return make
