"""What may happen to a draft, and every reason for which it may not. Real documents, real signatures, no process."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.clock import nanoseconds
from broker.demo.world import signed_release
from broker.gateway.office.releases import PREFIX, Releases, missing_of, policy_of
from broker.orders import digest_of
from broker.refusal import Reason, Refused
from certs import dsse
from certs.approval import PAYLOAD_TYPE, PROPOSAL_TYPE, Signed
from certs.keyring import load_signer
from certs.roster import Duty
from certs.signature import sign_document
from tests.broker.gateway.conftest import NOW_NS, members_of
from tests.path.small_policy import TESTS, small_policy
from vedette.v1 import admin_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from certs.issue import Authority
    from certs.roster import Member
    from certs.signature import Ed25519Signer
    from vedette.v1.journal_pb2 import ReleaseRecord

HOUR_NS = 3600 * limits.SECOND_NS
IN_FORCE, WAITING = admin_pb2.RELEASE_STATE_IN_FORCE, admin_pb2.RELEASE_STATE_WAITING
SUPERSEDED = admin_pb2.RELEASE_STATE_SUPERSEDED


class House:
    """A nation's releases with its officers' keys."""

    def __init__(self, world: Authority) -> None:
        self.world = world
        self.member: Member = members_of(world).members["KOR"]  # type: ignore[index] # a MemberId
        self.releases = Releases("KOR")
        self.now_ns = NOW_NS

    def signer(self, name: str, nation: str = "KOR") -> Ed25519Signer:
        return load_signer(self.world.home(nation) / "officers" / f"{name}.key")

    def begin(self, version: int = 1, **kept: str) -> ReleaseRecord:
        signed = signed_release(self.world, "KOR", small_policy(version, **kept))
        record = self.releases.begin(signed, TESTS.encode(), self.member, now_ns=self.now_ns)
        self.releases.keep(record, now_ns=self.now_ns)
        return record

    def propose(
        self, text: str, *, by: str = "officer-1", caller: str = "", proposal: bytes | None = None
    ) -> ReleaseRecord:
        document = text.encode()
        signed = sign_document(PROPOSAL_TYPE, document, self.signer(by)) if proposal is None else proposal
        request = admin_pb2.ProposeRequest(document=document, tests=TESTS.encode(), proposal=signed)
        record = self.releases.propose(request, self.member, caller or by, now_ns=self.now_ns)
        self.releases.keep(record, now_ns=self.now_ns)
        return record

    def approve(
        self, record: ReleaseRecord, by: str, *, caller: str = "", approval: bytes | None = None
    ) -> ReleaseRecord:
        signed = sign_document(PAYLOAD_TYPE, record.document, self.signer(by)) if approval is None else approval
        digest = digest_of(record.document)
        changed = self.releases.approve(digest, signed, self.member, caller or by, now_ns=self.now_ns)
        self.releases.keep(changed, now_ns=self.now_ns)
        return changed

    def activate(self, record: ReleaseRecord) -> ReleaseRecord:
        changed = self.releases.activate(digest_of(record.document), self.member, now_ns=self.now_ns)
        self.releases.keep(changed, now_ns=self.now_ns)
        return changed

    def brought_into_force(self, text: str) -> ReleaseRecord:
        record = self.propose(text)
        for name in ("officer-2", "security-1"):
            record = self.approve(record, name)
        return self.activate(record)

    def state(self, record: ReleaseRecord) -> int:
        return self.releases.state_of(record, self.member, self.now_ns)


@pytest.fixture
def house(world: Authority) -> House:
    made = House(world)
    made.begin()
    return made


def refuses(reason: str, work: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        work()
    assert Reason.Name(caught.value.reason) == f"REASON_{reason}", caught.value
    return caught.value


# -- proposing ---------------------------------------------------------------------------------------------------------
def test_a_draft_is_not_in_force(house: House) -> None:
    record = house.propose(small_policy(2, "10km"))
    assert house.releases.in_force(NOW_NS) is not record
    assert house.state(record) == admin_pb2.RELEASE_STATE_PROPOSED
    assert "1 security-officer" in missing_of(record, house.member)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("POLICY_UNREADABLE", "format: vedette-release/v1\n"),
        ("POLICY_UNREADABLE", small_policy(2).replace("track_place: 1km", "trak_place: 1km")),
        ("POLICY_NATION", small_policy(2).replace("\nnation: KOR\n", "\nnation: USA\n")),
        ("POLICY_SCHEMA", small_policy(2).replace("\nschema: sha256:", "\nschema: sha256:0")),
        ("POLICY_VERSION", small_policy(1, "10km")),
        ("POLICY_EXPIRED", small_policy(2, expires="2026-05-01T00:00:00Z")),
    ],
)
def test_what_can_never_be_in_force_is_not_taken_up(house: House, reason: str, text: str) -> None:
    refuses(reason, lambda: house.propose(text))


def test_what_is_no_text_or_too_long_is_not_taken_up(house: House) -> None:
    refuses("POLICY_UNREADABLE", lambda: policy_of(b"\xff\xfe", "KOR"))
    refuses("TOO_LARGE", lambda: house.propose("#" * (limits.POLICY_BYTES_MAX + 1)))


def test_a_proposal_without_a_signature_is_refused(house: House) -> None:
    refuses("POLICY_UNSIGNED", lambda: house.propose(small_policy(2), proposal=b""))


def test_a_proposal_whose_document_was_altered_is_refused(house: House) -> None:
    other = sign_document(PROPOSAL_TYPE, small_policy(2, "10km").encode(), house.signer("officer-1"))
    refuses("POLICY_ALTERED", lambda: house.propose(small_policy(2, "50km"), proposal=other))


def test_a_proposal_by_another_nations_officer_is_refused(house: House) -> None:
    document = small_policy(2).encode()
    foreign = sign_document(PROPOSAL_TYPE, document, house.signer("officer-1", "USA"))
    refuses("POLICY_SIGNER", lambda: house.propose(document.decode(), proposal=foreign))


def test_nobody_proposes_with_another_persons_signature(house: House) -> None:
    refuses("POLICY_SIGNER", lambda: house.propose(small_policy(2), by="officer-1", caller="security-1"))


def test_a_document_is_proposed_once_and_drafts_have_a_bound(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RELEASE_DRAFTS_MAX", 3)
    house.propose(small_policy(2))
    refuses("POLICY_STATE", lambda: house.propose(small_policy(2)))
    for version in range(3, limits.RELEASE_DRAFTS_MAX + 2):
        house.propose(small_policy(version))
    draft = refuses("POLICY_LIMIT", lambda: house.propose(small_policy(99)))
    assert "withdraw" in str(draft)


# -- approving ---------------------------------------------------------------------------------------------------------
def test_nobody_alone_fills_the_table_of_drafts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RELEASE_DRAFTS_EACH_MAX", 2)
    house.propose(small_policy(2))
    house.propose(small_policy(3))
    refuses("POLICY_LIMIT", lambda: house.propose(small_policy(4)))
    house.propose(small_policy(4), by="officer-2")


@pytest.fixture
def draft(house: House) -> ReleaseRecord:
    return house.propose(small_policy(2, "10km"))


def test_the_proposer_does_not_approve(house: House, draft: ReleaseRecord) -> None:
    refuses("POLICY_PROPOSER", lambda: house.approve(draft, "officer-1"))


def test_one_person_approves_once(house: House, draft: ReleaseRecord) -> None:
    house.approve(draft, "officer-2")
    refuses("POLICY_SIGNED_TWICE", lambda: house.approve(draft, "officer-2"))


def test_one_signature_twice_in_one_approval_is_refused(house: House, draft: ReleaseRecord) -> None:
    signed = json.loads(sign_document(PAYLOAD_TYPE, draft.document, house.signer("officer-2")))
    signed["signatures"] *= 2
    refuses("POLICY_SIGNED_TWICE", lambda: house.approve(draft, "officer-2", approval=json.dumps(signed).encode()))


def test_an_empty_approval_is_none(house: House, draft: ReleaseRecord) -> None:
    refuses("POLICY_UNSIGNED", lambda: house.approve(draft, "officer-2", approval=b""))


def test_an_approval_of_another_document_is_none(house: House, draft: ReleaseRecord) -> None:
    other = sign_document(PAYLOAD_TYPE, small_policy(2, "50km").encode(), house.signer("officer-2"))
    refuses("POLICY_ALTERED", lambda: house.approve(draft, "officer-2", approval=other))


def test_a_proposal_is_no_approval(house: House, draft: ReleaseRecord) -> None:
    proposal = sign_document(PROPOSAL_TYPE, draft.document, house.signer("officer-2"))
    refuses("MALFORMED", lambda: house.approve(draft, "officer-2", approval=proposal))


def test_a_strangers_approval_is_none(house: House, draft: ReleaseRecord) -> None:
    foreign = sign_document(PAYLOAD_TYPE, draft.document, house.signer("security-1", "JPN"))
    refuses("POLICY_SIGNER", lambda: house.approve(draft, "security-1", approval=foreign))


def test_nobody_approves_for_another(house: House, draft: ReleaseRecord) -> None:
    refuses("POLICY_SIGNER", lambda: house.approve(draft, "security-1", caller="officer-2"))


def test_two_signatures_in_one_approval_are_not_the_callers_alone(house: House, draft: ReleaseRecord) -> None:
    both = sign_document(PAYLOAD_TYPE, draft.document, house.signer("officer-2"), house.signer("security-1"))
    refuses("POLICY_SIGNER", lambda: house.approve(draft, "officer-2", approval=both))


def test_strangers_signatures_beside_the_callers_are_not_taken_up(house: House, draft: ReleaseRecord) -> None:
    """Sixty-three of them would leave no room for whoever approves next."""
    own = dict(dsse.decode(sign_document(PAYLOAD_TYPE, draft.document, house.signer("officer-2"))).signatures)
    beside = {f"{number:032x}": bytes(64) for number in range(dsse.SIGNATURES_MAX - 1)}
    filled = dsse.encode(PAYLOAD_TYPE, None, [*own.items(), *beside.items()])
    refuses("POLICY_SIGNER", lambda: house.approve(draft, "officer-2", approval=filled))
    record = house.approve(house.approve(draft, "officer-2"), "security-1")
    assert house.state(record) == admin_pb2.RELEASE_STATE_APPROVED


def test_what_was_never_proposed_cannot_be_approved(house: House) -> None:
    reason = "POLICY_UNKNOWN"
    refuses(reason, lambda: house.releases.approve("sha256:0", b"x", house.member, "officer-2", now_ns=NOW_NS))


# -- activating --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reason", "approvers"),
    [
        ("POLICY_UNSIGNED", ()),
        ("POLICY_APPROVALS", ("officer-2",)),
        ("POLICY_APPROVALS", ("security-1",)),
        ("POLICY_DUTY", ("security-1", "security-2")),
    ],
)
def test_both_duties_must_have_approved(
    house: House, draft: ReleaseRecord, reason: str, approvers: tuple[str, ...]
) -> None:
    for name in approvers:
        house.approve(draft, name)
    refuses(reason, lambda: house.activate(draft))


@pytest.mark.parametrize("order", list(itertools.permutations(("officer-2", "security-1"))))
def test_the_order_of_approvals_does_not_matter(house: House, draft: ReleaseRecord, order: tuple[str, ...]) -> None:
    for name in order:
        draft = house.approve(draft, name)
    assert house.state(draft) == admin_pb2.RELEASE_STATE_APPROVED
    active = house.activate(draft)
    assert house.state(active) == IN_FORCE
    assert [each.name for each in active.approvers] == ["officer-2", "security-1"]
    assert house.releases.in_force(NOW_NS) is active


def test_the_members_document_may_demand_more(house: House, draft: ReleaseRecord) -> None:
    house.member = replace(house.member, approvals={Duty.POLICY: 1, Duty.SECURITY: 2})
    for name in ("officer-2", "security-1"):
        house.approve(draft, name)
    refuses("POLICY_APPROVALS", lambda: house.activate(draft))
    house.approve(draft, "security-2")
    assert house.state(house.activate(draft)) == IN_FORCE


def test_an_officer_who_left_does_not_count_and_another_can_step_in(house: House, draft: ReleaseRecord) -> None:
    house.approve(draft, "officer-2")
    draft = house.approve(draft, "security-1")
    left = {name: officer for name, officer in house.member.officers.items() if name != "security-1"}
    house.member = replace(house.member, officers=left)
    assert "0 security-officer" in missing_of(draft, house.member)
    refuses("POLICY_APPROVALS", lambda: house.activate(draft))
    house.approve(draft, "security-2")
    assert house.state(house.activate(draft)) == IN_FORCE


def test_what_was_activated_stays_when_an_approver_leaves(house: House) -> None:
    active = house.brought_into_force(small_policy(2))
    house.member = replace(house.member, officers={})
    assert house.state(active) == IN_FORCE


def test_versions_only_go_forward(house: House) -> None:
    older = house.propose(small_policy(2, "10km"))
    for name in ("officer-2", "security-1"):
        house.approve(older, name)
    kept = house.releases.find(digest_of(older.document))
    house.brought_into_force(small_policy(3))
    house.releases.keep(kept, now_ns=NOW_NS)  # had it not been forgotten with version 3
    refuses("POLICY_VERSION", lambda: house.activate(kept))


def test_a_draft_that_was_overtaken_is_forgotten(house: House) -> None:
    older = house.propose(small_policy(2, "10km"))
    house.brought_into_force(small_policy(3))
    refuses("POLICY_UNKNOWN", lambda: house.activate(older))


def test_a_draft_that_expired_meanwhile_is_not_activated(house: House) -> None:
    record = house.propose(small_policy(2, expires="2026-06-01T00:00:00Z"))
    for name in ("officer-2", "security-1"):
        house.approve(record, name)
    house.now_ns += 30 * 24 * HOUR_NS
    refuses("POLICY_EXPIRED", lambda: house.activate(record))


def test_nothing_happens_twice(house: House) -> None:
    active = house.brought_into_force(small_policy(2))
    refuses("POLICY_STATE", lambda: house.activate(active))
    refuses("POLICY_STATE", lambda: house.approve(active, "security-2"))
    refuses("POLICY_STATE", lambda: house.releases.withdraw(digest_of(active.document)))


def test_a_later_version_waits_until_it_is_effective(house: House) -> None:
    later = small_policy(2, "10km").replace("effective: 2026-01-01T", "effective: 2026-07-01T")
    first = house.releases.in_force(NOW_NS)
    waiting = house.brought_into_force(later)
    assert house.state(waiting) == WAITING
    assert house.releases.in_force(NOW_NS) is first
    assert house.releases.waiting(NOW_NS) == [waiting]
    house.now_ns = nanoseconds(waiting.effective_at)
    assert house.releases.in_force(house.now_ns) is waiting
    assert house.releases.waiting(house.now_ns) == []


def test_a_version_that_is_effective_earlier_takes_the_place_of_one_that_waits(house: House) -> None:
    later = small_policy(2, "10km").replace("effective: 2026-01-01T", "effective: 2026-07-01T")
    waiting = house.brought_into_force(later)
    now = house.brought_into_force(small_policy(3))
    assert house.releases.waiting(NOW_NS) == []
    assert house.state(waiting) == SUPERSEDED
    assert house.releases.in_force(nanoseconds(waiting.effective_at)) is now


# -- what is kept ------------------------------------------------------------------------------------------------------
def test_a_restart_finds_everything(house: House) -> None:
    state: dict[str, bytes] = {}
    record = house.propose(small_policy(2, "10km"))
    for each in house.releases.listed():
        state |= house.releases.change(each, now_ns=NOW_NS)
    assert all(name.startswith(PREFIX) for name in state)
    again = Releases.of("KOR", state)
    assert again.listed() == house.releases.listed()
    assert again.find(digest_of(record.document)) == record


def test_of_long_ago_only_so_many_versions_are_kept_and_the_one_in_force_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RELEASE_VERSIONS_MAX", 4)
    later = small_policy(2).replace("effective: 2026-01-01T", "effective: 2026-07-01T")
    house.brought_into_force(later)
    for version in range(3, limits.RELEASE_VERSIONS_MAX + 3):
        signed = signed_release(house.world, "KOR", later.replace("\nversion: 2\n", f"\nversion: {version}\n"))
        record = house.releases.admit_file(signed, b"", house.member, now_ns=NOW_NS)
        gone = [name for name, data in house.releases.change(record, now_ns=NOW_NS).items() if not data]
        assert len(gone) <= 1
        house.releases.keep(record, now_ns=NOW_NS)
    versions = [record.version for record in house.releases.listed()]
    assert len(versions) <= limits.RELEASE_VERSIONS_MAX + 1
    assert versions[-1] == 1, "it is in force until the others are effective"


def test_an_old_number_is_not_given_again_though_its_version_is_forgotten(house: House) -> None:
    house.brought_into_force(small_policy(7))
    refuses("POLICY_VERSION", lambda: house.propose(small_policy(6)))
    assert house.releases.newest_version() == 7


def test_a_file_needs_what_a_draft_needs(house: House) -> None:
    half = signed_release(house.world, "KOR", small_policy(2), approvers=("officer-2",))
    refuses("POLICY_APPROVALS", lambda: house.releases.admit_file(half, b"", house.member, now_ns=NOW_NS))
    bare = Signed(half.document, b"", b"")
    refuses("POLICY_UNSIGNED", lambda: house.releases.admit_file(bare, b"", house.member, now_ns=NOW_NS))
    older = signed_release(house.world, "KOR", small_policy(1, "50km"))
    refuses("POLICY_VERSION", lambda: house.releases.admit_file(older, b"", house.member, now_ns=NOW_NS))
