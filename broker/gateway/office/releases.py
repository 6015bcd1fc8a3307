"""Every release policy that was proposed here or was in force: what may happen to it next, and what is in force now.

    proposed ── enough approvals of each duty ──▶ approved ── checks ──▶ activated: waiting ─▶ in force ─▶ superseded
        └── withdrawn: forgotten, the audit trail keeps that it was

The rules, each refused for its own reason:
1. A proposal is a document of this nation that can be read, against the messages as they are, not yet expired, and with
   a greater version than every one that was ever activated; signed by the officer who proposes it.
2. An approval is one more officer's signature of exactly that document; never the proposer's, never a second one.
3. Activated is what is approved by as many of each duty as the members document demands *now*, and still holds rule 1.
   What was activated stays so, whoever of its approvers has left since.
4. In force is the activated one with the greatest version whose effective time has come. So versions only go forward,
   and a later one that is effective earlier takes the place of one that still waits.

Nothing of this is a matter of files or networks: a method returns the record as it would be, `change` and `removal` say
how the store keeps it, and only `keep` or `drop` (once that is durable) makes it so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import nanoseconds, timestamp
from broker.document import read, text_of
from broker.gateway.release import Policy, PolicyError
from broker.leaves import SCHEMA_DIGEST
from broker.orders import digest_of
from broker.refusal import Reason, Refused
from certs import dsse
from certs.approval import (
    Approval,
    ApprovalRefused,
    Signed,
    Why,
    approvers_of,
    check_approved,
    check_by_duty,
    proposer_of,
    with_signature,
)
from certs.roster import Duty
from vedette.v1 import admin_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certs.roster import Member

PREFIX: Final = "release/policy/"

REASONS: Final[Mapping[Why, Reason.ValueType]] = {
    Why.UNSIGNED: Reason.REASON_POLICY_UNSIGNED,
    Why.UNREADABLE: Reason.REASON_MALFORMED,
    Why.ALTERED: Reason.REASON_POLICY_ALTERED,
    Why.UNKNOWN_SIGNER: Reason.REASON_POLICY_SIGNER,
    Why.SIGNED_TWICE: Reason.REASON_POLICY_SIGNED_TWICE,
    Why.PROPOSER_APPROVES: Reason.REASON_POLICY_PROPOSER,
    Why.WRONG_DUTY: Reason.REASON_POLICY_DUTY,
    Why.TOO_FEW: Reason.REASON_POLICY_APPROVALS,
}


def refused(error: ApprovalRefused) -> Refused:
    """Return signatures that do not suffice as an answer."""
    return Refused(REASONS[error.why], str(error))


@dataclass(slots=True)
class Releases:
    """The drafts and versions of one gateway, by digest."""

    nation: str
    _records: dict[str, journal_pb2.ReleaseRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, nation: str, state: Mapping[str, bytes]) -> Releases:
        """Take over what the store's state under PREFIX says."""
        records = [journal_pb2.ReleaseRecord.FromString(data) for data in state.values() if data]
        return cls(nation, {digest_of(record.document): record for record in records})

    # -- what there is ------------------------------------------------------------------------------------------------
    def find(self, digest: str) -> journal_pb2.ReleaseRecord:
        """Return a draft or version. Raises Refused."""
        record = self._records.get(digest)
        if record is None:
            raise Refused(Reason.REASON_POLICY_UNKNOWN, "no draft or version here has this digest")
        return record

    def knows(self, digest: str) -> bool:
        """Say whether a document was proposed or in force here."""
        return digest in self._records

    def find_version(self, version: int) -> journal_pb2.ReleaseRecord:
        """Return what was activated under a number, or else a draft that has it. Raises Refused."""
        found = [record for record in self._records.values() if record.version == version]
        if not found:
            raise Refused(Reason.REASON_POLICY_UNKNOWN, f"no version {version} is kept here")
        return max(found, key=lambda record: (is_activated(record), nanoseconds(record.proposed_at)))

    def in_force(self, now_ns: int) -> journal_pb2.ReleaseRecord | None:
        """Return what is in force (rule 4), expired or not; None where nothing ever was."""
        begun = [record for record in self._activated() if nanoseconds(record.effective_at) <= now_ns]
        return max(begun, key=lambda record: record.version, default=None)

    def waiting(self, now_ns: int) -> list[journal_pb2.ReleaseRecord]:
        """Return what was activated and takes effect later, the earliest first."""
        current = self.in_force(now_ns)
        least = 0 if current is None else current.version
        later = [record for record in self._activated() if nanoseconds(record.effective_at) > now_ns]
        return sorted((each for each in later if each.version > least), key=lambda each: nanoseconds(each.effective_at))

    def newest_version(self) -> int:
        """Return the greatest version that was ever activated here; 0 where none was."""
        return max((record.version for record in self._activated()), default=0)

    def listed(self) -> list[journal_pb2.ReleaseRecord]:
        """Return drafts, then versions, the newest first."""
        return sorted(
            self._records.values(),
            key=lambda each: (is_activated(each), -each.version, -nanoseconds(each.proposed_at)),
        )

    def state_of(self, record: journal_pb2.ReleaseRecord, member: Member, now_ns: int) -> int:
        """Return a record's ReleaseState."""
        if not is_activated(record):
            done = not missing_of(record, member)
            return admin_pb2.RELEASE_STATE_APPROVED if done else admin_pb2.RELEASE_STATE_PROPOSED
        current = self.in_force(now_ns)
        if current is not None and record.version < current.version:
            return admin_pb2.RELEASE_STATE_SUPERSEDED
        has_begun = nanoseconds(record.effective_at) <= now_ns
        return admin_pb2.RELEASE_STATE_IN_FORCE if has_begun else admin_pb2.RELEASE_STATE_WAITING

    # -- what may happen ----------------------------------------------------------------------------------------------
    def propose(
        self, request: admin_pb2.ProposeRequest, member: Member, caller: str, *, now_ns: int
    ) -> journal_pb2.ReleaseRecord:
        """Return a new draft (rule 1). Raises Refused."""
        signed = Signed(request.document, request.proposal, b"")
        if len(request.proposal) > limits.RELEASE_SIGNATURES_BYTES_MAX:
            raise Refused(Reason.REASON_TOO_LARGE, f"proposal: at most {limits.RELEASE_SIGNATURES_BYTES_MAX} bytes")
        record = self._draft(request.document, request.tests, now_ns=now_ns)
        self._check_current(record, now_ns)
        if self.knows(digest_of(request.document)):
            raise Refused(Reason.REASON_POLICY_STATE, "this very document was proposed already")
        proposers = [each.proposer for each in self._records.values() if not is_activated(each)]
        most, each_most = limits.RELEASE_DRAFTS_MAX, limits.RELEASE_DRAFTS_EACH_MAX
        if len(proposers) >= most or proposers.count(caller) >= each_most:
            raise Refused(
                Reason.REASON_POLICY_LIMIT, f"at most {most} drafts, {each_most} by one officer: withdraw one first"
            )
        record.proposer = _checked_proposer(signed, member)
        if record.proposer != caller:
            raise Refused(Reason.REASON_POLICY_SIGNER, f"signed by {record.proposer}, and {caller} is calling")
        record.proposal = request.proposal
        return record

    def approve(
        self, digest: str, approval: bytes, member: Member, caller: str, *, now_ns: int
    ) -> journal_pb2.ReleaseRecord:
        """Return a draft with one officer's approval more (rule 2). Raises Refused."""
        record = self._open_draft(digest)
        self._check_current(record, now_ns)
        if not approval:
            raise Refused(Reason.REASON_POLICY_UNSIGNED, "an approval is a signature; there is no unsigned mode")
        signed = Signed(record.document, record.proposal, record.approvals)
        try:
            fresh = approvers_of(Signed(record.document, record.proposal, approval), member)
            if set(fresh) != {caller} or len(dsse.decode(approval).signatures) != 1:  # strangers' would fill it up
                names = ", ".join(sorted(fresh)) or "nobody"
                raise Refused(Reason.REASON_POLICY_SIGNER, f"signed by {names}; {caller} is calling, and signs alone")
            both = with_signature(_still_known(signed, member), approval, member)
            approvers = approvers_of(both, member)
        except ApprovalRefused as error:
            raise refused(error) from error
        changed = journal_pb2.ReleaseRecord()
        changed.CopyFrom(record)
        changed.approvals = both.approvals
        _set_approvers(changed, approvers)
        return changed

    def activate(self, digest: str, member: Member, *, now_ns: int) -> journal_pb2.ReleaseRecord:
        """Return a draft as activated (rule 3). Raises Refused. What it says was checked by others before."""
        record = self._open_draft(digest)
        self._check_current(record, now_ns)
        approval = _checked_approval(Signed(record.document, record.proposal, record.approvals), member)
        changed = journal_pb2.ReleaseRecord()
        changed.CopyFrom(record)
        _set_approvers(changed, approval.approvers)
        changed.activated_at.CopyFrom(timestamp(now_ns))
        return changed

    def admit_file(self, signed: Signed, tests: bytes, member: Member, *, now_ns: int) -> journal_pb2.ReleaseRecord:
        """Return a policy that came as a file, approved by then, as activated. Raises Refused."""
        record = self.begin(signed, tests, member, now_ns=now_ns)
        self._check_current(record, now_ns)
        return record

    def begin(self, signed: Signed, tests: bytes, member: Member, *, now_ns: int) -> journal_pb2.ReleaseRecord:
        """Return the same of the policy with which a gateway begins, even if it has expired by then. Raises Refused."""
        record = self._draft(signed.document, tests, now_ns=now_ns)
        approval = _checked_approval(signed, member)
        record.proposer, record.proposal, record.approvals = approval.proposer, signed.proposal, signed.approvals
        _set_approvers(record, approval.approvers)
        record.activated_at.CopyFrom(timestamp(now_ns))
        record.from_file = True
        return record

    def withdraw(self, digest: str) -> journal_pb2.ReleaseRecord:
        """Return the draft that is to be forgotten. Raises Refused."""
        return self._open_draft(digest)

    # -- what the store keeps -----------------------------------------------------------------------------------------
    def change(self, record: journal_pb2.ReleaseRecord, *, now_ns: int) -> dict[str, bytes]:
        """Return how the store's state becomes what it is with this record; what is beyond the bounds goes."""
        state = {_name(each): b"" for each in self._outdated(record, now_ns)}
        state[_name(record)] = record.SerializeToString(deterministic=True)
        return state

    def removal(self, record: journal_pb2.ReleaseRecord) -> dict[str, bytes]:
        """Return how the store's state becomes what it is without this record."""
        return {_name(record): b""}

    def keep(self, record: journal_pb2.ReleaseRecord, *, now_ns: int) -> None:
        """Note that a change is durable."""
        for each in self._outdated(record, now_ns):
            del self._records[digest_of(each.document)]
        self._records[digest_of(record.document)] = record

    def drop(self, record: journal_pb2.ReleaseRecord) -> None:
        """Note that a removal is durable."""
        del self._records[digest_of(record.document)]

    def _activated(self) -> list[journal_pb2.ReleaseRecord]:
        return [record for record in self._records.values() if is_activated(record)]

    def _outdated(self, record: journal_pb2.ReleaseRecord, now_ns: int) -> list[journal_pb2.ReleaseRecord]:
        """Return what need not be kept once a record is: drafts that were overtaken, versions of long ago."""
        if not is_activated(record):
            return []
        others = [each for each in self._records.values() if each.document != record.document]
        overtaken = [each for each in others if not is_activated(each) and each.version <= record.version]
        current = self.in_force(now_ns)
        versions = sorted((each for each in others if is_activated(each)), key=lambda each: -each.version)
        old = [each for each in versions[limits.RELEASE_VERSIONS_MAX - 1 :] if each is not current]
        return overtaken + old

    def _open_draft(self, digest: str) -> journal_pb2.ReleaseRecord:
        record = self.find(digest)
        if is_activated(record):
            raise Refused(Reason.REASON_POLICY_STATE, f"version {record.version} was activated already")
        return record

    def _draft(self, document: bytes, tests: bytes, *, now_ns: int) -> journal_pb2.ReleaseRecord:
        check_sizes(document, tests)
        policy = policy_of(document, self.nation)
        return journal_pb2.ReleaseRecord(
            document=document,
            tests=tests,
            version=policy.version,
            effective_at=timestamp(policy.effective_ns),
            expires_at=timestamp(policy.expires_ns),
            proposed_at=timestamp(now_ns),
        )

    def _check_current(self, record: journal_pb2.ReleaseRecord, now_ns: int) -> None:
        """Return if the version is greater than every one before, and the policy has not expired. Raises Refused."""
        newest = self.newest_version()
        if record.version <= newest:
            text = f"version {record.version} is not greater than {newest}, which was activated here"
            raise Refused(Reason.REASON_POLICY_VERSION, text)
        if nanoseconds(record.expires_at) <= now_ns:
            raise Refused(Reason.REASON_POLICY_EXPIRED, f"version {record.version} has expired already")


def is_activated(record: journal_pb2.ReleaseRecord) -> bool:
    """Say whether a policy was activated: in force, before or later."""
    return record.HasField("activated_at")


def check_sizes(document: bytes, tests: bytes) -> None:
    """Return if neither is too long to be read. Raises Refused."""
    for what, data, most in (
        ("document", document, limits.POLICY_BYTES_MAX),
        ("tests", tests, limits.RELEASE_TESTS_BYTES_MAX),
    ):
        if len(data) > most:
            raise Refused(Reason.REASON_TOO_LARGE, f"{what}: at most {most} bytes")


@lru_cache(maxsize=2 * limits.RELEASE_WAITING_MAX)
def policy_of(document: bytes, nation: str) -> Policy:
    """Return the policy in a document, each thing that can be wrong with it refused for its own reason.

    To read one with hundreds of rules takes a second: whoever must not wait calls it in a thread first.
    """
    try:
        text = document.decode()
        entries = read(text).entries
        for key, wanted, reason in (
            ("schema", SCHEMA_DIGEST, Reason.REASON_POLICY_SCHEMA),
            ("nation", nation, Reason.REASON_POLICY_NATION),
        ):
            if key in entries and (found := text_of(entries[key])) != wanted:
                raise Refused(reason, f"{key} is {found[: limits.DETAIL_CHARS_MAX // 4]}, here it must be {wanted}")
        return Policy.parse(text, nation=nation)
    except UnicodeDecodeError as error:
        raise Refused(Reason.REASON_POLICY_UNREADABLE, "the document is not UTF-8") from error
    except PolicyError as error:
        raise Refused(Reason.REASON_POLICY_UNREADABLE, str(error)) from error


def missing_of(record: journal_pb2.ReleaseRecord, member: Member) -> str:
    """Return which approvals a draft still needs; "" where none."""
    return missing({each.name: Duty(each.duty) for each in record.approvers}, member)


def missing(approvers: Mapping[str, Duty], member: Member) -> str:
    """Return which approvals are needed beside these; "" where none. Who is no officer any more does not count."""
    counting = {name: duty for name, duty in approvers.items() if is_officer(name, duty, member)}
    try:
        check_by_duty(counting, member)
    except ApprovalRefused as error:
        return str(error)
    return ""


def is_officer(name: str, duty: Duty, member: Member) -> bool:
    """Say whether somebody is an officer of the nation, in that duty."""
    return name in member.officers and member.officers[name].duty is duty


def _still_known(signed: Signed, member: Member) -> Signed:
    """Return the signatures without approvals where all of them are by people who are no officers any more."""
    try:
        approvers_of(signed, member)
    except ApprovalRefused as error:
        if error.why is Why.UNKNOWN_SIGNER and signed.approvals:
            return Signed(signed.document, signed.proposal, b"")
        raise
    return signed


def _checked_proposer(signed: Signed, member: Member) -> str:
    try:
        return proposer_of(signed, member)
    except ApprovalRefused as error:
        raise refused(error) from error


def _checked_approval(signed: Signed, member: Member) -> Approval:
    try:
        return check_approved(signed, member)
    except ApprovalRefused as error:
        raise refused(error) from error


def _set_approvers(record: journal_pb2.ReleaseRecord, approvers: Mapping[str, Duty]) -> None:
    del record.approvers[:]
    record.approvers.extend(
        admin_pb2.ReleaseApprover(name=name, duty=duty.value) for name, duty in sorted(approvers.items())
    )


def _name(record: journal_pb2.ReleaseRecord) -> str:
    return PREFIX + digest_of(record.document).removeprefix("sha256:")
