from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from certs import document, issue
from certs.approval import (
    PAYLOAD_TYPE,
    PROPOSAL_TYPE,
    ApprovalRefused,
    Signed,
    Why,
    added,
    approvers_of,
    check_approved,
    proposer_of,
    with_signature,
)
from certs.keyring import load_signer
from certs.roster import Duty, Member
from certs.signature import Ed25519Signer, sign_document

if TYPE_CHECKING:
    from pathlib import Path

TEXT = b"format: vedette-release/v1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> issue.Authority:
    return issue.authority(tmp_path_factory.mktemp("w") / "certs", nations=("KOR", "USA"), systems=(), watches=())


@pytest.fixture(scope="module")
def kor(world: issue.Authority) -> Member:
    return {str(code): member for code, member in world.members().members.items()}["KOR"]


def key(world: issue.Authority, name: str, nation: str = "KOR") -> Ed25519Signer:
    return load_signer(world.home(nation) / "officers" / f"{name}.key")


def signed(world: issue.Authority, *approvers: str, proposer: str = "officer-1") -> Signed:
    proposal = sign_document(PROPOSAL_TYPE, TEXT, key(world, proposer))
    approvals = sign_document(PAYLOAD_TYPE, TEXT, *(key(world, name) for name in approvers)) if approvers else b""
    return Signed(TEXT, proposal, approvals)


def why(call: Any, *args: Any) -> Why:
    with pytest.raises(ApprovalRefused) as refused:
        call(*args)
    return refused.value.why


def test_one_of_each_duty_who_did_not_propose_suffice(world: issue.Authority, kor: Member) -> None:
    found = check_approved(signed(world, "officer-2", "security-1"), kor)
    assert (found.proposer, found.approvers) == (
        "officer-1",
        {"officer-2": Duty.POLICY, "security-1": Duty.SECURITY},
    )
    assert check_approved(signed(world, "officer-1", "security-1", proposer="security-2"), kor).proposer == "security-2"


def test_each_lack_has_its_own_reason(world: issue.Authority, kor: Member) -> None:
    good = signed(world, "officer-2", "security-1")
    stranger = Ed25519Signer.of_seed(b"s" * 32)
    foreign = sign_document(PAYLOAD_TYPE, TEXT, key(world, "officer-2", "USA"), key(world, "security-1", "USA"))
    twice = json.loads(sign_document(PAYLOAD_TYPE, TEXT, key(world, "officer-2")))
    twice["signatures"] *= 2
    cases = {
        Why.UNSIGNED: [replace(good, approvals=b""), replace(good, proposal=b"")],
        Why.UNREADABLE: [replace(good, approvals=good.proposal), replace(good, proposal=b"{}")],
        Why.ALTERED: [replace(good, document=TEXT + b" ")],
        Why.UNKNOWN_SIGNER: [
            replace(good, approvals=foreign),
            replace(good, approvals=sign_document(PAYLOAD_TYPE, TEXT, stranger)),
        ],
        Why.SIGNED_TWICE: [replace(good, approvals=json.dumps(twice).encode())],
        Why.PROPOSER_APPROVES: [signed(world, "officer-1", "security-1"), signed(world, "officer-1", "officer-2")],
        Why.WRONG_DUTY: [signed(world, "security-1", "security-2")],
        Why.TOO_FEW: [signed(world, "security-1"), signed(world, "officer-2")],
    }
    assert {reason: {why(check_approved, each, kor) for each in given} for reason, given in cases.items()} == {
        reason: {reason} for reason in Why
    }


def test_a_signature_that_does_not_hold_is_not_outvoted(world: issue.Authority, kor: Member) -> None:
    table = json.loads(signed(world, "officer-2", "security-1", "security-2").approvals)
    table["signatures"][2]["sig"] = table["signatures"][1]["sig"]
    bad = replace(signed(world, "officer-2"), approvals=json.dumps(table).encode())
    assert why(check_approved, bad, kor) is Why.ALTERED


def test_strangers_beside_officers_are_passed_over(world: issue.Authority, kor: Member) -> None:
    signers = [key(world, "officer-2"), key(world, "security-1"), Ed25519Signer.of_seed(b"s" * 32)]
    good = replace(signed(world), approvals=sign_document(PAYLOAD_TYPE, TEXT, *signers))
    assert set(check_approved(good, kor).approvers) == {"officer-2", "security-1"}


def test_more_of_each_duty_can_be_demanded(world: issue.Authority, kor: Member) -> None:
    strict = replace(kor, approvals={Duty.POLICY: 1, Duty.SECURITY: 2})
    assert why(check_approved, signed(world, "officer-2", "security-1"), strict) is Why.TOO_FEW
    assert len(check_approved(signed(world, "officer-2", "security-1", "security-2"), strict).approvers) == 3


def test_approvals_are_gathered_one_by_one(world: issue.Authority, kor: Member) -> None:
    draft = signed(world)
    assert (proposer_of(draft, kor), approvers_of(draft, kor)) == ("officer-1", {})
    for name in ("officer-2", "security-1"):
        draft = with_signature(draft, sign_document(PAYLOAD_TYPE, TEXT, key(world, name)), kor)
    assert check_approved(draft, kor).proposer == "officer-1"
    again = sign_document(PAYLOAD_TYPE, TEXT, key(world, "security-1"))
    assert why(with_signature, draft, again, kor) is Why.SIGNED_TWICE
    own = sign_document(PAYLOAD_TYPE, TEXT, key(world, "officer-1"))
    assert why(with_signature, draft, own, kor) is Why.PROPOSER_APPROVES
    with pytest.raises(ApprovalRefused, match="twice"):
        check_approved(added(draft, again), kor)


def test_a_file_of_signatures_is_read_as_it_was_written(world: issue.Authority, kor: Member) -> None:
    good = signed(world, "officer-2", "security-1")
    assert check_approved(Signed.of_file(TEXT, good.to_file()), kor) == check_approved(good, kor)
    for junk in (b"", b"[]", b'{"proposal": {}, "more": 1}', b"{" * 9999):
        assert why(Signed.of_file, TEXT, junk) is Why.UNREADABLE
    assert why(check_approved, Signed.of_file(TEXT, b"{}"), kor) is Why.UNSIGNED


def test_a_document_of_before_there_were_duties_has_policy_officers_only(tmp_path: Path) -> None:
    made = issue.authority(tmp_path / "w", nations=("KOR", "USA"), systems=(), watches=()).members()
    table = json.loads(document.encode(made))
    for member in table["members"]:
        del member["approvals"]
        for officer in member["officers"]:
            del officer["duty"]
    old = {str(code): member for code, member in document.decode(json.dumps(table).encode()).members.items()}["KOR"]
    assert {officer.duty for officer in old.officers.values()} == {Duty.POLICY}
    assert old.approvals == {Duty.POLICY: 1, Duty.SECURITY: 1}, "nothing can be approved until somebody guards"
