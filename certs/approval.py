"""Who proposed a release policy and who approved it: the only way from signatures to "this may be in force".

    release.sig.json: {"proposal": …, "approvals": …}      both detached DSSE over exactly the bytes of release.yaml

The rules:
1. One officer of the nation, of either duty, signs the document as its proposer, with a payload type of its own, so
   that a proposal can never be taken for an approval.
2. Approvals are by officers of the nation: as many of each duty as the members document demands (at least one policy
   officer and one security officer).
3. The proposer never approves, and one person counts once. So at least three persons stand behind every policy.
4. There is no unsigned mode: without a proposal or without approvals, nothing is in force.
5. A signature by a key that is no officer's is passed over, so that officers may come and go; one by an officer's key
   that does not hold refuses the document, however many others do.

An officer's key signs in one duty only; the members document gives each person one name, one duty and one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from certs import dsse
from certs.roster import Duty
from certs.signature import verify_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certs.roster import Member, Officer

__all__ = [
    "PAYLOAD_TYPE",
    "PROPOSAL_TYPE",
    "Approval",
    "ApprovalRefused",
    "Signed",
    "Why",
    "added",
    "approvers_of",
    "check_approved",
    "check_by_duty",
    "proposer_of",
    "with_signature",
]

PAYLOAD_TYPE: Final = "application/vnd.vedette.release+yaml"
PROPOSAL_TYPE: Final = "application/vnd.vedette.release-proposal+yaml"


class Why(StrEnum):
    """Why signatures do not suffice."""

    UNSIGNED = "unsigned"
    UNREADABLE = "unreadable"
    ALTERED = "altered"  # a signature of an officer does not hold over these bytes
    UNKNOWN_SIGNER = "unknown-signer"  # no signature by an officer of this nation
    SIGNED_TWICE = "signed-twice"
    PROPOSER_APPROVES = "proposer-approves"
    WRONG_DUTY = "wrong-duty"  # enough signatures, but not of the duties that are needed
    TOO_FEW = "too-few"


class ApprovalRefused(dsse.DocumentError):
    """A document is not approved as it must be; the text says what is missing."""

    def __init__(self, why: Why, text: str) -> None:
        """Take the reason and what to do about it."""
        super().__init__(text)
        self.why = why


@dataclass(frozen=True, slots=True)
class Signed:
    """A document with its signatures, none of them checked. Empty bytes: there is none."""

    document: bytes
    proposal: bytes  # detached DSSE of PROPOSAL_TYPE
    approvals: bytes  # detached DSSE of PAYLOAD_TYPE

    @classmethod
    def of_file(cls, document: bytes, signatures: bytes) -> Signed:
        """Return a document with what stands in the file of signatures beside it. Raises ApprovalRefused."""
        try:
            table = dsse.load_json(signatures)
        except dsse.DocumentError as error:
            raise ApprovalRefused(Why.UNREADABLE, str(error)) from error
        if not isinstance(table, dict) or not set(table) <= {"proposal", "approvals"}:
            raise ApprovalRefused(Why.UNREADABLE, "must be an object of proposal and approvals")
        proposal, approvals = (
            dsse.dump_json(table[name]) if name in table else b"" for name in ("proposal", "approvals")
        )
        return cls(document, proposal, approvals)

    def to_file(self) -> bytes:
        """Return the file of signatures."""
        parts = (("proposal", self.proposal), ("approvals", self.approvals))
        return dsse.dump_json({name: dsse.load_json(data) for name, data in parts if data})


@dataclass(frozen=True, slots=True)
class Approval:
    """By whom a document was proposed and approved."""

    proposer: str
    approvers: Mapping[str, Duty]


def proposer_of(signed: Signed, member: Member) -> str:
    """Return the name of the officer who proposed the document. Raises ApprovalRefused."""
    names = _signers(PROPOSAL_TYPE, signed.document, signed.proposal, member, what="proposal")
    if len(names) != 1:
        raise ApprovalRefused(Why.UNREADABLE, "a document has one proposer")
    return next(iter(names))


def approvers_of(signed: Signed, member: Member) -> dict[str, Duty]:
    """Return the officers who approved so far, each with the duty: perhaps nobody. Raises ApprovalRefused."""
    proposer = proposer_of(signed, member)
    if not signed.approvals:
        return {}
    found = _signers(PAYLOAD_TYPE, signed.document, signed.approvals, member, what="approval")
    if proposer in found:
        raise ApprovalRefused(Why.PROPOSER_APPROVES, f"{proposer} proposed it, and another person must approve it")
    return {name: officer.duty for name, officer in found.items()}


def check_approved(signed: Signed, member: Member) -> Approval:
    """Return by whom the document was proposed and approved, if they suffice. Raises ApprovalRefused."""
    proposer = proposer_of(signed, member)
    if not signed.approvals:
        raise ApprovalRefused(Why.UNSIGNED, "nobody has approved it; " + _needed(member))
    approvers = approvers_of(signed, member)
    check_by_duty(approvers, member)
    return Approval(proposer, approvers)


def check_by_duty(approvers: Mapping[str, Duty], member: Member) -> None:
    """Return if there are enough approvers of each duty. Raises ApprovalRefused."""
    counts = {duty: sum(each is duty for each in approvers.values()) for duty in Duty}
    if all(counts[duty] >= member.approvals[duty] for duty in Duty):
        return
    why = Why.WRONG_DUTY if len(approvers) >= sum(member.approvals.values()) else Why.TOO_FEW
    given = " and ".join(f"{counts[duty]} {duty}" for duty in Duty)
    raise ApprovalRefused(why, f"approved by {given}; {_needed(member)}")


def with_signature(signed: Signed, approval: bytes, member: Member) -> Signed:
    """Return the document with the approval in another detached DSSE added. Raises ApprovalRefused."""
    new = approvers_of(Signed(signed.document, signed.proposal, approval), member)
    if twice := sorted(new.keys() & approvers_of(signed, member).keys()):
        raise ApprovalRefused(Why.SIGNED_TWICE, f"{', '.join(twice)} has approved it already; another person must")
    return added(signed, approval)


def added(signed: Signed, approval: bytes) -> Signed:
    """Return the document with the signatures in another detached DSSE added, unchecked. Raises DocumentError."""
    both = [*dsse.decode(signed.approvals).signatures.items()] if signed.approvals else []
    both += [*dsse.decode(approval).signatures.items()]
    return Signed(signed.document, signed.proposal, dsse.encode(PAYLOAD_TYPE, None, both))


def _signers(payload_type: str, document: bytes, signatures: bytes, member: Member, *, what: str) -> dict[str, Officer]:
    """Return the officers whose signatures hold, at least one."""
    if not signatures:
        raise ApprovalRefused(Why.UNSIGNED, f"there is no {what}; " + _needed(member))
    try:
        listed = dsse.decode(signatures)
    except dsse.SignedTwice as error:
        raise ApprovalRefused(Why.SIGNED_TWICE, f"{what}: one person signed twice") from error
    except dsse.DocumentError as error:
        raise ApprovalRefused(Why.UNREADABLE, f"{what}: {error}") from error
    if listed.payload is not None or listed.payload_type != payload_type:
        raise ApprovalRefused(Why.UNREADABLE, f"{what}: must be a detached signature of {payload_type}")
    keys = member.officer_keys()
    if not listed.signatures.keys() & {key_id.hex() for key_id in keys}:
        raise ApprovalRefused(Why.UNKNOWN_SIGNER, f"{what}: signed by nobody who is an officer of {member.code}")
    try:
        good = verify_document(payload_type, document, signatures, keys)
    except dsse.DocumentError as error:
        raise ApprovalRefused(Why.ALTERED, f"{what}: {error}") from error
    return {officer.name: officer for key_id in good if (officer := member.officer_of(key_id)) is not None}


def _needed(member: Member) -> str:
    return "it needs " + " and ".join(f"{member.approvals[duty]} {duty}" for duty in Duty) + ", not its proposer"
