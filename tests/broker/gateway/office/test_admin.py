"""The officers' service over real TLS, before a real pipeline: who may call, what comes of it, what a restart finds."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from broker.clock import ManualClock
from broker.demo.world import APPROVERS, PROPOSER, signed_release
from broker.gateway.office.activation import Activation
from broker.gateway.office.admin import Admin
from broker.gateway.office.office import Office, open_office
from broker.gateway.office.recorded import Recorded
from broker.gateway.office.shadow import Shadow
from broker.gateway.policy import PolicyInForce, PolicyRefused, path_of_tests, read_file, signature_path
from broker.gateway.release import Policy
from broker.limits import SECOND_NS
from broker.members import MembersInForce
from broker.officer import Certificates, Officer, Unreachable
from broker.orders import EVERYBODY, digest_of
from broker.refusal import Reason, Refused
from broker.rpc import SERVER_OPTIONS, Door, FaultBarrier
from broker.stages import Metrics
from certs import tls
from certs.identity import MemberId, Role, uri_of
from certs.issue import Authority, authority
from certs.keyring import load_signer
from tests.path.small_policy import TESTS, small_policy
from vedette.v1 import admin_pb2
from vedette.v1.admin_pb2_grpc import add_ReleaseAdminServicer_to_server
from vedette.v1.journal_pb2 import ReleaseRecord

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from types import ModuleType

    from tests.broker.gateway.conftest import Origin

# For what is not about the checks themselves: they pass, as fast as a process can say so.
PASSES = """
import json, sys
sys.stdin.read()
checks = [{"name": "checks", "passed": True, "text": ""}]
print(json.dumps({"checks": checks, "diff": "", "releases_nothing_new": True}))
"""
QUICK = (sys.executable, "-S", "-c", PASSES)


@dataclass
class House:
    """KOR's gateway as far as officers see it. `start` again is a new process over what the store kept."""

    keys: Authority
    folder: Path
    make_origin: Callable[..., Origin]
    command: tuple[str, ...] = QUICK
    origin: Origin | None = None

    @property
    def path(self) -> Path:
        return self.folder / "release.yaml"

    def put(self, text: str, tests: str = TESTS, approvers: tuple[str, ...] = APPROVERS) -> None:
        """Put a policy where the gateway looks for its file."""
        signature_path(self.path).write_bytes(signed_release(self.keys, "KOR", text, approvers).to_file())
        path_of_tests(self.path).write_text(tests)
        self.path.write_text(text)

    @asynccontextmanager
    async def open(self, *, roots: tuple[str, ...] = ("KOR",)) -> AsyncIterator[Desk]:
        clock = ManualClock(time.time_ns())
        kept = self.origin.kept if self.origin else None
        origin = self.make_origin(clock=clock, **({"kept": kept} if kept else {}))
        origin.world = self.keys
        self.origin = await origin.start()
        pipeline = origin.pipeline
        members = MembersInForce(self.keys.directory / "members.json", clock, self.keys.members())
        office = await open_office(
            self.path,
            nation="KOR",
            store=origin.store,
            clock=clock,
            members=members,
            audit=pipeline.audit,
            metrics=Metrics(),
            invariants=lambda: None,
            activation=Activation(self.command),
        )
        await office.begin()
        pipeline.policy = office.policy
        server = grpc.aio.server(interceptors=[FaultBarrier()], options=SERVER_OPTIONS)
        door = Door(members.current, clock)
        shadow = Shadow("KOR", lambda: office.policy.current, Metrics(), clock)
        pipeline.on_disclosed = shadow.note
        add_ReleaseAdminServicer_to_server(Admin(office, door, Recorded(origin.store), shadow), server)
        home = self.keys.home("KOR")
        pair = tls.read_pair(home / "gateway.pem", home / "gateway.key")
        trusted = b"".join((self.keys.home(code) / "root.pem").read_bytes() for code in roots)
        port = server.add_secure_port("localhost:0", tls.server_credentials(*pair, trusted))
        await server.start()
        async with AsyncExitStack() as stack:
            yield Desk(self.keys, f"localhost:{port}", office, self.origin, shadow, stack)
        await server.stop(None)


@dataclass
class Desk:
    """Officers at that gateway."""

    keys: Authority
    address: str
    office: Office
    origin: Origin
    shadow: Shadow
    stack: AsyncExitStack

    async def officer(self, name: str, *, signs_as: str = "", nation: str = "KOR", cert: Path | None = None) -> Officer:
        home = self.keys.home(nation)
        folder = home / "officers"
        certificates = Certificates.of(cert or folder / f"{name}-tls", roots=self.keys.home("KOR") / "root.pem")
        signer = load_signer(folder / f"{signs_as or name}.key")
        return await self.stack.enter_async_context(Officer.open(self.address, certificates, signer))

    async def proposes(self, text: str) -> str:
        response = await (await self.officer(PROPOSER)).propose(text.encode(), TESTS.encode())
        return response.summary.digest

    async def approves(self, digest: str, *names: str) -> None:
        for name in names or APPROVERS:
            officer = await self.officer(name)
            await officer.approve(await officer.show(digest=digest))

    async def brings_into_force(self, text: str) -> str:
        digest = await self.proposes(text)
        await self.approves(digest)
        await (await self.officer("security-1")).activate(digest)
        return digest

    @property
    def version(self) -> int:
        return self.office.policy.current.version


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("officers") / "certs")


@pytest.fixture
def house(keys: Authority, tmp_path: Path, origin: Callable[..., Origin]) -> House:
    made = House(keys, tmp_path, origin)
    made.put(small_policy(1))
    return made


@pytest.fixture
async def desk(house: House) -> AsyncIterator[Desk]:
    async with house.open() as made:
        yield made


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what others do
            await asyncio.sleep(0.01)


async def refuses(reason: str, work: object) -> Refused:
    with pytest.raises(Refused) as caught:
        await work  # type: ignore[misc] # a coroutine
    assert Reason.Name(caught.value.reason) == f"REASON_{reason}", caught.value
    return caught.value


# -- the way of a policy -----------------------------------------------------------------------------------------------
async def test_a_policy_comes_into_force_by_three_people_and_not_before(desk: Desk) -> None:
    digest = await desk.proposes(small_policy(2, "10km"))
    officer, security = await desk.officer("officer-2"), await desk.officer("security-1")
    shown = await officer.show(digest=digest)
    assert shown.document == small_policy(2, "10km").encode()
    assert (shown.summary.state, shown.summary.proposer) == (admin_pb2.RELEASE_STATE_PROPOSED, PROPOSER)
    await refuses("POLICY_UNSIGNED", security.activate(digest))
    await officer.approve(shown)
    await refuses("POLICY_APPROVALS", security.activate(digest))
    assert desk.version == 1
    await security.approve(await security.show(digest=digest))
    activated = await officer.activate(digest)
    assert (activated.summary.state, desk.version) == (admin_pb2.RELEASE_STATE_IN_FORCE, 2)
    assert (await officer.show()).summary.digest == digest, "without a name it is what is in force"
    states = [(each.version, each.state) for each in (await officer.history()).releases]
    assert states == [(2, admin_pb2.RELEASE_STATE_IN_FORCE), (1, admin_pb2.RELEASE_STATE_SUPERSEDED)]


async def test_every_step_stands_in_the_audit_trail(desk: Desk) -> None:
    digest = await desk.brings_into_force(small_policy(2, "10km"))
    audit = desk.origin.pipeline.audit
    await audit.flush()
    entries = [json.loads(line) for line in audit._path.read_text().splitlines()]
    steps = [
        (each["event"], each["fields"].get("officer"))
        for each in entries
        if each["fields"].get("digest") == digest and each["event"].startswith("policy-")
    ]
    assert steps[-5:] == [
        ("policy-proposed", PROPOSER),
        ("policy-approved", "officer-2"),
        ("policy-approved", "security-1"),
        ("policy-activated", "security-1"),
        ("policy-in-force", None),
    ]


async def test_a_draft_whose_checks_fail_is_kept_with_its_report_and_not_activated(house: House) -> None:
    house.command = (sys.executable, "-m", "broker.gateway.office.trial")
    async with house.open() as desk:
        proposer = await desk.officer(PROPOSER)
        text = small_policy(2, "10km")
        response = await proposer.propose(text.encode(), TESTS.replace("delay_s: 4", "delay_s: 3").encode())
        assert [check.name for check in response.report.checks if not check.passed] == ["tests"]
        await desk.approves(response.summary.digest)
        refused = await refuses("POLICY_CHECKS", proposer.activate(response.summary.digest))
        assert refused.detail.startswith("tests: ")
        assert desk.version == 1


async def test_a_withdrawn_draft_is_gone(desk: Desk) -> None:
    digest = await desk.proposes(small_policy(2))
    await (await desk.officer("security-2")).withdraw(digest)
    await refuses("POLICY_UNKNOWN", (await desk.officer(PROPOSER)).show(digest=digest))


async def test_what_was_checked_beside_another_policy_is_not_activated(house: House, tmp_path: Path) -> None:
    """Somebody else's draft comes into force while this one waits for its checks."""
    async with house.open() as desk:
        first, second = await desk.proposes(small_policy(2, "50km")), await desk.proposes(small_policy(3, "10km"))
        await desk.approves(first)
        await desk.approves(second)
        go_on = tmp_path / "go-on"
        waits = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n"
        desk.office.activation.command = (*QUICK[:-1], waits + PASSES)
        officer = await desk.officer("officer-2")
        activating = [asyncio.create_task(officer.activate(first))]
        await until(lambda: desk.office.activation._waiting == 1)
        activating.append(asyncio.create_task(officer.activate(second)))
        await until(lambda: desk.office.activation._waiting == 2)
        go_on.touch()
        await activating[0]
        await refuses("POLICY_STALE", activating[1])
        assert desk.version == 2
        await officer.activate(second)
        assert desk.version == 3


async def test_a_draft_is_compared_with_what_it_would_take_the_place_of(house: House) -> None:
    """Not with what is in force today, where a version that waits comes before it: that may give less."""
    begins, waits, then = (f"effective: {day}T00:00:00Z" for day in ("2026-01-01", "2027-06-01", "2027-07-01"))
    async with house.open() as desk:
        in_force = desk.office.policy.current.digest
        waiting = await desk.brings_into_force(small_policy(2, "10km").replace(begins, waits))
        drafts = [await desk.proposes(small_policy(3).replace(begins, each)) for each in (begins, then)]
        shown = [await (await desk.officer(PROPOSER)).show(digest=each) for each in drafts]
        assert [each.report.against_digest for each in shown] == [in_force, waiting]


async def test_a_draft_is_not_activated_after_another_that_it_was_not_compared_with(house: House) -> None:
    begins, waits, then = (f"effective: {day}T00:00:00Z" for day in ("2026-01-01", "2027-06-01", "2027-07-01"))
    async with house.open() as desk:
        waiting = await desk.proposes(small_policy(2, "10km").replace(begins, waits))
        later = await desk.proposes(small_policy(3).replace(begins, then))
        for each in (waiting, later):
            await desk.approves(each)
        officer, security = await desk.officer(PROPOSER), await desk.officer("security-1")
        async with desk.office.activation._turn:  # both are checked against what is in force now
            activating = [asyncio.create_task(officer.activate(waiting))]
            await until(lambda: desk.office.activation._waiting == 1)
            activating.append(asyncio.create_task(security.activate(later)))
            await until(lambda: desk.office.activation._waiting == 2)
        await activating[0]
        await refuses("POLICY_STALE", activating[1])
        await security.activate(later)
        assert (await officer.show(digest=later)).report.against_digest == waiting


async def test_what_changes_while_it_is_checked_is_not_activated_unchecked(house: House, tmp_path: Path) -> None:
    """The invariants that it was proved against, or the tests that it passed."""
    async with house.open() as desk:
        digest = await desk.proposes(small_policy(2, "50km"))
        await desk.approves(digest)
        go_on = tmp_path / "go-on"
        waits = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)\n"
        desk.office.activation.command = (*QUICK[:-1], waits + PASSES)
        officer = await desk.officer("officer-2")
        activating = asyncio.create_task(officer.activate(digest))
        await until(lambda: desk.office.activation._waiting == 1)
        before, desk.office.invariants = desk.office.invariants, lambda: "another"
        go_on.touch()
        await refuses("POLICY_STALE", activating)
        desk.office.invariants = before
        go_on.unlink()
        activating = asyncio.create_task(officer.activate(digest))
        await until(lambda: desk.office.activation._waiting == 1)
        record = ReleaseRecord()
        record.CopyFrom(desk.office.releases.find(digest))
        record.tests += b"# other tests\n"
        desk.office.releases.keep(record, now_ns=desk.origin.clock.wall_ns())
        go_on.touch()
        await refuses("POLICY_STALE", activating)
        assert desk.version == 1


async def test_no_document_is_read_where_warnings_wait_for_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, parse = list[threading.Thread](), Policy.parse

    def noting(text: str, **options: Any) -> Policy:
        threads.append(threading.current_thread())
        return parse(text, **options)

    monkeypatch.setattr(Policy, "parse", noting)
    text = small_policy(2, "10km") + "# read here for the first time\n"
    await desk.brings_into_force(text)
    assert threads
    assert threading.main_thread() not in threads


async def test_a_policy_that_is_effective_later_waits(house: House) -> None:
    async with house.open() as desk:
        text = small_policy(2, "10km").replace("effective: 2026-01-01T00:00:00Z", "effective: 2027-06-01T00:00:00Z")
        digest = await desk.brings_into_force(text)
        (summary,) = [each for each in (await (await desk.officer(PROPOSER)).history()).releases if each.version == 2]
        assert (summary.state, desk.version) == (admin_pb2.RELEASE_STATE_WAITING, 1)
        watching = asyncio.create_task(desk.office.policy.watch())
        desk.origin.clock.now_ns = summary.effective_at.seconds * SECOND_NS
        await until(lambda: desk.office.policy.current.digest == digest)
        watching.cancel()


# -- who may call ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stem", ["systems/test/system-1", "watch/test/floor-1", "metrics", "gateway"])
async def test_nobody_but_an_officer_may_call(desk: Desk, stem: str) -> None:
    caller = await desk.officer(PROPOSER, cert=desk.keys.home("KOR") / stem)
    await refuses("ROLE_NOT_ALLOWED", caller.history())


async def test_another_nations_officer_does_not_get_in(desk: Desk) -> None:
    with pytest.raises(Unreachable):
        await (await desk.officer(PROPOSER, nation="USA")).history()


async def test_nor_behind_a_server_that_believes_all_roots(house: House) -> None:
    async with house.open(roots=("KOR", "USA")) as desk:
        await refuses("ROLE_NOT_ALLOWED", (await desk.officer(PROPOSER, nation="USA")).history())


@pytest.mark.parametrize(
    ("role", "name"),
    [(Role.POLICY_OFFICER, "officer-9"), (Role.SECURITY_OFFICER, "officer-1"), (Role.POLICY_OFFICER, "security-1")],
)
async def test_the_certificate_must_name_an_officer_of_that_duty(
    desk: Desk, role: Role, name: str, tmp_path: Path
) -> None:
    desk.keys.leaf(uri_of(MemberId("KOR"), role, name=name)).write(tmp_path / "leaf")
    await refuses("ROLE_NOT_ALLOWED", (await desk.officer(PROPOSER, cert=tmp_path / "leaf")).history())


async def test_a_stolen_signing_key_calls_nobody(desk: Desk) -> None:
    digest = await desk.proposes(small_policy(2))
    thief = await desk.officer("officer-2", signs_as="security-1")
    await refuses("POLICY_SIGNER", thief.approve(await thief.show(digest=digest)))
    await refuses("POLICY_SIGNER", thief.propose(small_policy(3).encode(), b""))
    await refuses("POLICY_SIGNER", thief.stop("JPN", "r", now_ns=time.time_ns()))


# -- restarts and files ------------------------------------------------------------------------------------------------
async def test_a_restart_goes_on_with_what_was_activated_drafts_and_stops_included(house: House) -> None:
    async with house.open() as desk:
        digest = await desk.brings_into_force(small_policy(2, "10km"))
        draft = await desk.proposes(small_policy(3))
        await desk.approves(draft, "officer-2")
        await (await desk.officer("officer-1")).stop("JPN", "passed on", now_ns=desk.origin.clock.wall_ns())
    async with house.open() as desk:
        assert desk.office.policy.current.digest == digest, "and not version 1, which still lies in the file"
        assert desk.office.policy.current.stopped == {"JPN"}
        security = await desk.officer("security-1")
        shown = await security.show(digest=draft)
        assert [each.name for each in shown.summary.approvers] == ["officer-2"]
        await security.approve(shown)
        await security.activate(draft)
        assert desk.version == 3
        assert desk.office.policy.current.stopped == {"JPN"}


async def test_what_waits_and_cannot_be_read_any_more_does_not_keep_the_gateway_from_starting(house: House) -> None:
    """The software is another now, with other messages; what is in force was made for it, what waits was not."""
    async with house.open() as desk:
        text = small_policy(2, "10km").replace("effective: 2026-01-01T00:00:00Z", "effective: 2027-06-01T00:00:00Z")
        digest = await desk.brings_into_force(text)
        record = ReleaseRecord()
        record.CopyFrom(desk.office.releases.find(digest))
        record.document = record.document.replace(b"\nschema: sha256:", b"\nschema: sha256:0")
        now_ns = desk.origin.clock.wall_ns()
        await desk.origin.store.append([], state=desk.office.releases.change(record, now_ns=now_ns))
    async with house.open() as desk:
        assert desk.version == 1


async def test_what_is_in_force_stays_when_its_approver_leaves_also_over_a_restart(
    house: House, tmp_path: Path
) -> None:
    own = authority(tmp_path / "own")
    house.keys = own
    house.put(small_policy(1))
    async with house.open() as desk:
        digest = await desk.brings_into_force(small_policy(2))
    own.revise(
        lambda members: replace(
            members,
            members={
                code: replace(
                    member, officers={name: each for name, each in member.officers.items() if name != "security-1"}
                )
                for code, member in members.members.items()
            },
        )
    )
    async with house.open() as desk:
        assert desk.office.policy.current.digest == digest


async def test_a_newer_file_passes_the_same_checks(house: House) -> None:
    house.command = (sys.executable, "-m", "broker.gateway.office.trial")
    async with house.open() as desk:
        in_force = desk.office.policy
        members = desk.office.members
        house.put(small_policy(2, "10km"), tests="")
        with pytest.raises(PolicyRefused, match="tests: there are none"):
            await desk.office.admit(read_file(house.path, nation="KOR", members=members))
        assert desk.version == 1
        house.put(small_policy(2, "10km"))
        await desk.office.admit(read_file(house.path, nation="KOR", members=members))
        assert desk.version == 2
        assert [each.from_file for each in desk.office.history().releases] == [True, True]
        assert in_force.gate is desk.office


async def test_an_older_file_is_not_taken_and_one_that_was_in_force_is_no_alarm(house: House) -> None:
    async with house.open() as desk:
        await desk.brings_into_force(small_policy(3))
        in_force = desk.office.policy
        assert in_force._newer() is None, "version 1 lies there, as it did when the gateway began"
        house.put(small_policy(2))
        with pytest.raises(PolicyRefused, match="not greater than 3"):
            in_force._newer()


async def test_an_expired_file_begins_and_denies(house: House) -> None:
    house.put(small_policy(1, expires="2026-06-01T00:00:00Z"))
    async with house.open() as desk:
        assert not desk.office.policy.current.is_in_force(desk.origin.clock.wall_ns())
        await desk.brings_into_force(small_policy(2))
        assert desk.office.policy.current.is_in_force(desk.origin.clock.wall_ns())


# -- stopping ----------------------------------------------------------------------------------------------------------
async def test_one_officer_stops_all_and_two_lift_it(desk: Desk) -> None:
    stopped = await (await desk.officer("security-2")).stop(EVERYBODY, "r", now_ns=desk.origin.clock.wall_ns())
    assert desk.office.policy.current.stops("USA")
    policy, security = await desk.officer("officer-1"), await desk.officer("security-1")
    assert not (await policy.resume(stopped)).lifted
    assert desk.office.policy.current.stops("USA")
    assert (await security.resume(stopped)).lifted
    assert not desk.office.policy.current.stops("USA")
    await refuses("POLICY_UNKNOWN", security.resume(stopped))


async def test_who_orders_again_what_was_stored_and_failed_then_stops(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    officer, now_ns = await desk.officer("officer-1"), desk.origin.clock.wall_ns()

    async def fails(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(PolicyInForce, "obey", fails)
        await refuses("INTERNAL", officer.stop("JPN", "r", now_ns=now_ns))
    await officer.stop("JPN", "r", now_ns=now_ns)
    assert desk.office.policy.current.stops("JPN")


async def test_who_stops_waits_for_no_check(house: House) -> None:
    async with house.open() as desk:
        desk.office.activation.command = (*QUICK[:-1], "import time; time.sleep(600)")
        proposing = asyncio.create_task(desk.proposes(small_policy(2)))
        await until(lambda: desk.office.activation._waiting == 1)
        await (await desk.officer("officer-2")).stop("JPN", "r", now_ns=desk.origin.clock.wall_ns())
        assert desk.office.policy.current.stops("JPN")
        assert not proposing.done()
        proposing.cancel()
        await until(lambda: desk.office.activation._waiting == 0)  # its process was ended with the call


# -- messages while a policy is swapped --------------------------------------------------------------------------------
async def test_while_a_policy_is_activated_no_message_is_lost_and_none_is_decided_by_two(
    desk: Desk, reports: ModuleType
) -> None:
    digest = await desk.proposes(small_policy(2, "10km"))
    await desk.approves(digest)
    officer = await desk.officer("officer-2")
    base = reports.exercise("swap")
    origin, number, activated_at = desk.origin, 0, None

    async def report() -> None:
        nonlocal number
        number += 1
        content = reports.track(b"t-%d" % number, b"e-1", base=base, at_ns=origin.clock.wall_ns())
        content.track.object_id = b"o-%d" % number
        assert await origin.report(content, reports.label())

    for _ in range(20):
        await report()
    activating = asyncio.create_task(officer.activate(digest))
    while not activating.done():
        await report()
        await asyncio.sleep(0)
    await activating
    activated_at = number
    for _ in range(20):
        await report()
    sent = await origin.outbox("JPN")
    assert len(sent) == number
    cells = [each.content.track.state.cell.space_m for each in sent]
    assert cells == sorted(cells), "from one message on"
    assert set(cells) == {1_000, 10_000}
    assert set(cells[activated_at:]) == {10_000}, "from the answer on"


async def test_a_recorded_message_is_explained(desk: Desk, reports: ModuleType) -> None:
    base = reports.exercise("explain")
    content = reports.track(b"t-1", b"e-1", base=base, at_ns=desk.origin.clock.wall_ns())
    await desk.origin.report(content, reports.label(caveats=("KOR-ONLY",)))
    officer = await desk.officer("security-1")
    text = await officer.explain("t-1", "JPN")
    assert "DENIED to JPN: track" in text
    assert "OURS (deny) matches" in text
    assert json.loads(await officer.explain("t-1", "JPN", as_json=True))["decision"]["released"] is False
    await refuses("POLICY_UNKNOWN", officer.explain("t-2", "JPN"))


async def test_a_draft_runs_in_the_shadow_and_nothing_else_does(desk: Desk, reports: ModuleType) -> None:
    officer = await desk.officer("officer-1")
    digest = await desk.proposes(small_policy(2, "10km"))
    await refuses("POLICY_UNKNOWN", officer.shadow_report())
    await officer.start_shadow(digest)
    running = asyncio.create_task(desk.shadow.run())
    content = reports.track(b"t-1", b"e-1", base=reports.exercise("s"), at_ns=desk.origin.clock.wall_ns())
    await desk.origin.report(content, reports.label())
    await until(lambda: (report := desk.shadow.report()) is not None and report.messages == 1)
    report = json.loads(await officer.shadow_report())
    assert (report["digest"], report["changes"]["JPN"]) == (digest, {"coarser": 1})
    await officer.stop_shadow()
    assert json.loads(await officer.shadow_report())["ended"] == "stopped"
    audit = desk.origin.pipeline.audit
    await audit.flush()
    noted = [json.loads(line) for line in audit._path.read_text().splitlines() if "shadow-st" in line]
    assert [each["event"] for each in noted] == ["shadow-started", "shadow-stopped"]
    assert [each["fields"]["officer"] for each in noted] == ["officer-1", "officer-1"]
    (sent,) = await desk.origin.outbox("JPN")
    assert sent.content.track.state.cell.space_m == 1_000
    running.cancel()


def test_digests_name_documents() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
