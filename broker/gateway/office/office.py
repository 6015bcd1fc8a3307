"""What officers may do with a nation's releases, one thing at a time: decided by pure states, durable, then in force.

    propose ─▶ the checks run; the draft is kept with what they found           (`releases`, `activation`)
    approve ─▶ one signature more is kept
    activate ─▶ the checks run again, against what it takes the place of ─▶ kept as activated ─▶ in force
    stop ─▶ kept ─▶ in force                                                    (`stops`)

* What is in force changes by replacing a reference, after the store has it and before the call returns: a message is
  decided by the one policy or by the other, never by both, and a restart finds what the last answer said.
* The checks run outside of the lock, so that nobody who stops waits for a proof. What changed meanwhile is noticed:
  what was checked against another policy than the one of which it takes the place by then is not activated.
* A caller who goes away ends nothing half-way.
* A file that is newer than what is in force comes in by the same checks (`admit`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker.clock import nanoseconds
from broker.gateway.office.activation import Activation, check_passed
from broker.gateway.office.releases import PREFIX as RELEASES
from broker.gateway.office.releases import Releases, check_sizes, is_activated, missing_of, policy_of
from broker.gateway.office.stops import PREFIX as STOPS
from broker.gateway.office.stops import Stops, missing_to_lift, on_wire
from broker.gateway.office.trial import Question
from broker.gateway.policy import PolicyInForce, PolicyRefused, compile_policy, read_file
from broker.orders import digest_of
from broker.refusal import Reason, Refused, reason_name
from broker.store import Full, StoreError
from vedette.v1 import admin_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from broker.audit import AuditTrail
    from broker.clock import Clock
    from broker.gateway.policy import PolicyFile
    from broker.gateway.release import Policy
    from broker.members import MembersInForce
    from broker.stages import Metrics
    from broker.store import Store
    from certs.roster import Member

log = logging.getLogger(__name__)
T = TypeVar("T")

PREFIX: Final = "release/"


@dataclass(slots=True)
class Office:
    """One nation's drafts, versions and stops, and the policy in force that they come to."""

    nation: str
    store: Store
    clock: Clock
    members: MembersInForce
    audit: AuditTrail
    metrics: Metrics
    policy: PolicyInForce
    invariants: Callable[[], str | None]  # the nation's invariants as they are now; raises PolicyRefused
    releases: Releases
    stops: Stops
    activation: Activation = field(default_factory=Activation)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _under_way: set[asyncio.Task[Any]] = field(default_factory=set)
    _file: PolicyFile | None = None  # with which it begins

    async def begin(self) -> None:
        """Obey what the store knows; keep the file with which the gateway begins, so that there is a way back to it."""
        now_ns, file = self.clock.wall_ns(), self._file
        if file is not None and not self.releases.knows(file.policy.digest):
            record = self.releases.begin(file.signed, file.tests, self._member(), now_ns=now_ns)
            await self._store(self.releases.change(record, now_ns=now_ns))
            self.releases.keep(record, now_ns=now_ns)
        for record in self.releases.waiting(now_ns):
            try:
                await self.policy.take(await asyncio.to_thread(policy_of, record.document, self.nation))
            except (
                Refused
            ) as refused:  # by a newer version of the software, as in `_kept`; this one begins all the same
                log.critical("version %d, which waits, cannot be used and never will be: %s", record.version, refused)
        await self.policy.obey(self.stops.recipients())
        self._show()

    # -- drafts -------------------------------------------------------------------------------------------------------
    async def propose(self, request: admin_pb2.ProposeRequest, caller: str) -> journal_pb2.ReleaseRecord:
        """Check a draft and keep it with what was found. Raises Refused."""
        await self._read(request.document, request.tests)
        report, _ = await self._report(self._draft(request, caller), caller)  # refused before anything runs for it

        async def keep() -> journal_pb2.ReleaseRecord:
            record = self._draft(request, caller)
            record.report.CopyFrom(report)
            return await self._keep(record, "policy-proposed", caller)

        return await self._whole(keep())

    def _draft(self, request: admin_pb2.ProposeRequest, caller: str) -> journal_pb2.ReleaseRecord:
        return self.releases.propose(request, self._member(), caller, now_ns=self.clock.wall_ns())

    async def approve(self, digest: str, approval: bytes, caller: str) -> journal_pb2.ReleaseRecord:
        """Add an officer's approval. Raises Refused."""

        async def keep() -> journal_pb2.ReleaseRecord:
            now_ns = self.clock.wall_ns()
            record = self.releases.approve(digest, approval, self._member(), caller, now_ns=now_ns)
            return await self._keep(record, "policy-approved", caller)

        return await self._whole(keep())

    async def withdraw(self, digest: str, caller: str) -> None:
        """Forget a draft. Raises Refused."""

        async def forget() -> None:
            record = self.releases.withdraw(digest)
            await self._store(self.releases.removal(record))
            self.releases.drop(record)
            self._note("policy-withdrawn", record, caller)

        await self._whole(forget())

    async def activate(self, digest: str, caller: str) -> journal_pb2.ReleaseRecord:
        """Bring a draft into force, or have it wait until it is effective. Raises Refused."""
        draft = self.releases.activate(digest, self._member(), now_ns=self.clock.wall_ns())
        report, invariants = await self._report(draft, caller)
        check_passed(report)
        policy = await asyncio.to_thread(_compiled, draft.document, self.nation)

        async def keep() -> journal_pb2.ReleaseRecord:
            record = self.releases.activate(digest, self._member(), now_ns=self.clock.wall_ns())
            self._check_against(report, invariants, record)
            if record.tests != draft.tests:  # withdrawn, and proposed and approved anew, while it was checked
                raise Refused(Reason.REASON_POLICY_STALE, "it has other tests now; activate it again")
            record.report.CopyFrom(report)
            await self._keep(record, "policy-activated", caller)
            await self.policy.take(policy)
            return record

        return await self._whole(keep())

    async def admit(self, file: PolicyFile) -> None:
        """Bring a policy that came as a file into force. Raises PolicyRefused."""
        signed, tests = file.signed, file.tests
        try:
            await self._read(signed.document, tests)
            came = self.releases.admit_file(signed, tests, self._member(), now_ns=self.clock.wall_ns())
            report, invariants = await self._report(came, "")
            check_passed(report)

            async def keep() -> None:
                record = self.releases.admit_file(signed, tests, self._member(), now_ns=self.clock.wall_ns())
                self._check_against(report, invariants, record)
                record.report.CopyFrom(report)
                await self._keep(record, "policy-activated", "")
                await self.policy.take(file.policy)

            await self._whole(keep())
        except Refused as refused:
            raise PolicyRefused(
                f"{self.policy.path.name}: {refused.detail or reason_name(refused.reason)}"
            ) from refused

    def knows(self, digest: str) -> bool:
        """Say whether a document was proposed or in force here before."""
        return self.releases.knows(digest) and is_activated(self.releases.find(digest))

    # -- stops --------------------------------------------------------------------------------------------------------
    async def stop(self, request: admin_pb2.StopRequest, caller: str) -> admin_pb2.ReleaseStop:
        """Release nothing more to somebody, from the return on. Raises Refused."""

        async def keep() -> admin_pb2.ReleaseStop:
            record = self.stops.stop(
                request,
                self._member(),
                caller,
                version=self.policy.current.version,
                known={*self.policy.current.recipients, *self.members.current.nations()} - {self.nation},
                now_ns=self.clock.wall_ns(),
            )
            if record not in self.stops.listed():
                await self._store(self.stops.change(record))
                self.stops.keep(record)
                log.critical("releasing to %s is stopped by %s", record.recipient, caller)
                self.audit.note("release-stopped", recipient=record.recipient, officer=caller, reason=record.reason)
            if not self.stops.recipients() <= self.policy.current.stopped:  # also where that failed after it was stored
                await self.policy.obey(self.stops.recipients())
            return on_wire(record, self._member())

        return await self._whole(keep())

    async def resume(self, request: admin_pb2.ResumeRequest, caller: str) -> admin_pb2.ResumeResponse:
        """Add an officer's approval that a stop is lifted, and lift it when they suffice. Raises Refused."""

        async def keep() -> admin_pb2.ResumeResponse:
            record = self.stops.resume(request, self._member(), caller)
            lifted = not missing_to_lift(record, self._member())
            await self._store(self.stops.removal(record) if lifted else self.stops.change(record))
            event = "release-resumed" if lifted else "release-resume-approved"
            self.audit.note(event, recipient=record.recipient, officer=caller)
            if lifted:
                self.stops.drop(record)
                log.warning("releasing to %s is no longer stopped", record.recipient)
                await self.policy.obey(self.stops.recipients())
            else:
                self.stops.keep(record)
            return admin_pb2.ResumeResponse(stop=on_wire(record, self._member()), lifted=lifted)

        return await self._whole(keep())

    # -- what there is ------------------------------------------------------------------------------------------------
    def show(self, request: admin_pb2.ShowRequest) -> journal_pb2.ReleaseRecord:
        """Return a draft or version, by digest or number; what is in force without either. Raises Refused."""
        match request.WhichOneof("which"):
            case "digest":
                return self.releases.find(request.digest)
            case "version":
                return self.releases.find_version(request.version)
            case _:
                return self.releases.find(self.policy.current.digest)

    def summary(self, record: journal_pb2.ReleaseRecord) -> admin_pb2.ReleaseSummary:
        """Return what officers are told of a draft or version."""
        member = self._member()
        summary = admin_pb2.ReleaseSummary(
            digest=digest_of(record.document),
            version=record.version,
            state=admin_pb2.ReleaseState.ValueType(self.releases.state_of(record, member, self.clock.wall_ns())),
            proposer=record.proposer,
            approvers=record.approvers,
            missing="" if is_activated(record) else missing_of(record, member),
            effective_at=record.effective_at,
            expires_at=record.expires_at,
            proposed_at=record.proposed_at,
            from_file=record.from_file,
        )
        if is_activated(record):
            summary.activated_at.CopyFrom(record.activated_at)
        return summary

    def history(self) -> admin_pb2.HistoryResponse:
        """Return all drafts, versions and stops."""
        return admin_pb2.HistoryResponse(
            releases=[self.summary(record) for record in self.releases.listed()],
            stops=[on_wire(record, self._member()) for record in self.stops.listed()],
        )

    # -- within -------------------------------------------------------------------------------------------------------
    async def _read(self, document: bytes, tests: bytes) -> None:
        """Have a document read in a thread, so that no warning waits for that; `policy_of` knows it then."""
        check_sizes(document, tests)
        await asyncio.to_thread(policy_of, document, self.nation)

    async def _report(
        self, record: journal_pb2.ReleaseRecord, caller: str
    ) -> tuple[admin_pb2.ReleaseReport, str | None]:
        """Return what the checks found, and beside which invariants."""
        before = self._before(record)
        try:
            invariants = await asyncio.to_thread(self.invariants)
        except PolicyRefused as error:
            raise Refused(Reason.REASON_POLICY_CHECKS, str(error)) from error
        question = Question(
            nation=self.nation,
            members=list(self.members.current.nations()),
            document=record.document.decode(),
            tests=record.tests.decode(errors="replace"),
            invariants=invariants,
            in_force=before.document.decode(),
        )
        report = await self.activation.report(question, caller, now_ns=self.clock.wall_ns())
        report.against_version, report.against_digest = before.version, digest_of(before.document)
        return report, invariants

    def _before(self, record: journal_pb2.ReleaseRecord) -> journal_pb2.ReleaseRecord:
        """Return what a policy would take the place of: what is in force, or what will be when it takes effect."""
        effective_ns = nanoseconds(record.effective_at)
        waiting = self.releases.waiting(self.clock.wall_ns())
        sooner = [each for each in waiting if nanoseconds(each.effective_at) <= effective_ns]
        if sooner:
            return max(sooner, key=lambda each: each.version)
        return self.releases.find(self.policy.current.digest)

    def _check_against(
        self, report: admin_pb2.ReleaseReport, invariants: str | None, record: journal_pb2.ReleaseRecord
    ) -> None:
        if invariants != self.invariants():
            raise Refused(Reason.REASON_POLICY_STALE, "the invariants changed while it was checked; activate it again")
        if report.against_digest != digest_of(self._before(record).document):
            text = "it would take the place of another policy than it was compared with; look at the difference again"
            raise Refused(Reason.REASON_POLICY_STALE, text)

    async def _keep(self, record: journal_pb2.ReleaseRecord, event: str, caller: str) -> journal_pb2.ReleaseRecord:
        now_ns = self.clock.wall_ns()
        await self._store(self.releases.change(record, now_ns=now_ns))
        self.releases.keep(record, now_ns=now_ns)
        self._note(event, record, caller)
        return record

    async def _store(self, state: dict[str, bytes]) -> None:
        try:
            await self.store.append([], state=state)
        except StoreError as error:
            reason = Reason.REASON_STORE_FULL if isinstance(error, Full) else Reason.REASON_UNAVAILABLE
            raise Refused(reason, "nothing was stored; try again") from error

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something whole, one at a time, also for a caller who goes away meanwhile."""
        task = asyncio.create_task(self._locked(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _locked(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._lock:
            return await work

    def _note(self, event: str, record: journal_pb2.ReleaseRecord, caller: str) -> None:
        self.audit.note(event, version=record.version, digest=digest_of(record.document), officer=caller)
        self._show()

    def _show(self) -> None:
        self.metrics.policy_drafts.set(sum(not is_activated(record) for record in self.releases.listed()))

    def _member(self) -> Member:
        member = self.members.current.members.get(self.nation)  # type: ignore[call-overload] # a MemberId
        if member is None:
            raise Refused(Reason.REASON_NOT_A_MEMBER, f"{self.nation} is not in the members document")
        found: Member = member
        return found


async def open_office(  # noqa: PLR0913 - all that it stands on
    path: Path,
    *,
    nation: str,
    store: Store,
    clock: Clock,
    members: MembersInForce,
    audit: AuditTrail,
    metrics: Metrics,
    invariants: Callable[[], str | None],
    activation: Activation | None = None,
) -> Office:
    """Return the office of a gateway, with what was in force here last, or else the policy in a file. `begin` it next.

    Raises PolicyRefused: a gateway without a policy does not start.
    """
    releases = Releases.of(nation, await store.state(RELEASES))
    stops = Stops.of(nation, await store.state(STOPS))
    kept = await asyncio.to_thread(_kept, releases, clock.wall_ns())
    file = None if kept else await asyncio.to_thread(read_file, path, nation=nation, members=members)
    policy = PolicyInForce.start(
        path,
        nation=nation,
        clock=clock,
        members=members,
        metrics=metrics,
        audit=audit,
        kept=file.policy if file else kept,
    )
    office = Office(
        nation=nation,
        store=store,
        clock=clock,
        members=members,
        audit=audit,
        metrics=metrics,
        policy=policy,
        invariants=invariants,
        releases=releases,
        stops=stops,
        activation=activation or Activation(),
        _file=file,
    )
    policy.gate = office
    return office


def _compiled(document: bytes, nation: str) -> Policy:
    """Return the policy in a document, read by both engines. Raises Refused."""
    policy = policy_of(document, nation)
    try:
        compile_policy(policy, f"version {policy.version}")
    except PolicyRefused as error:
        raise Refused(Reason.REASON_POLICY_UNREADABLE, str(error)) from error
    return policy


def _kept(releases: Releases, now_ns: int) -> Policy | None:
    """Return what was in force here last; None where nothing was, or where it cannot be read any more."""
    last = releases.in_force(now_ns)
    try:
        return None if last is None else policy_of(last.document, releases.nation)
    except Refused as refused:  # by a newer version of the software, with other messages: the file must be for those
        log.critical("the policy in force before cannot be used: %s", refused)
        return None
