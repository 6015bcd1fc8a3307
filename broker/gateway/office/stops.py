"""To whom releasing is stopped, by whose order, and who approved so far that it is lifted.

One officer, of either duty, may stop at any moment: that can only tighten, since it lies over the policy as a denial
before any rule (`Policy.stopping`). A stop outlives restarts and every later version of the policy. Lifting it lets
something out again, so it needs what a policy needs: as many officers of each duty as the members document demands, who
all sign the order to lift this very stop. Whoever ordered the stop may be one of them.

As in `releases`, a method returns the record as it would be; it is so once that is durable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import timestamp
from broker.gateway.office.releases import is_officer, missing
from broker.orders import EVERYBODY, RESUME_TYPE, STOP_TYPE, OrderError, ResumeOrder, StopOrder, digest_of
from broker.refusal import Reason, Refused
from certs import dsse
from certs.roster import Duty
from certs.signature import verify_document
from vedette.v1 import admin_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from certs.roster import Member

PREFIX: Final = "release/stop/"
SELF: Final = "self"


@dataclass(slots=True)
class Stops:
    """The stops of one gateway, by recipient."""

    nation: str
    _records: dict[str, journal_pb2.StopRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, nation: str, state: Mapping[str, bytes]) -> Stops:
        """Take over what the store's state under PREFIX says."""
        records = [journal_pb2.StopRecord.FromString(data) for data in state.values() if data]
        return cls(nation, {record.recipient: record for record in records})

    def recipients(self) -> frozenset[str]:
        """Return to whom releasing is stopped."""
        return frozenset(self._records)

    def listed(self) -> list[journal_pb2.StopRecord]:
        """Return all stops, by recipient."""
        return [self._records[recipient] for recipient in sorted(self._records)]

    def find(self, recipient: str) -> journal_pb2.StopRecord:
        """Return the stop of a recipient. Raises Refused."""
        record = self._records.get(recipient)
        if record is None:
            raise Refused(Reason.REASON_POLICY_UNKNOWN, f"releasing to {recipient[:8]!r} is not stopped")
        return record

    def stop(
        self,
        request: admin_pb2.StopRequest,
        member: Member,
        caller: str,
        *,
        version: int,
        known: Collection[str],
        now_ns: int,
    ) -> journal_pb2.StopRecord:
        """Return the stop that an officer orders now; the one that stands where there is one. Raises Refused."""
        try:
            order = StopOrder.of(request.order)
        except OrderError as error:
            raise Refused(Reason.REASON_MALFORMED, str(error)) from error
        if order.nation != self.nation:
            raise Refused(
                Reason.REASON_POLICY_NATION, f"an order to {order.nation[:8]}, this gateway is {self.nation}'s"
            )
        signers = _signers(STOP_TYPE, request.order, request.signature, member)
        if set(signers) != {caller} or order.officer != caller:
            raise Refused(Reason.REASON_POLICY_SIGNER, f"{caller} must name and sign it, and nobody else")
        if order.recipient not in {*known, SELF, EVERYBODY}:
            raise Refused(Reason.REASON_UNKNOWN_RECIPIENT, f"{order.recipient} is nobody to whom we release")
        if order.version != version:
            raise Refused(Reason.REASON_POLICY_STALE, f"it must name version {version}, in force")
        behind_s = (now_ns - order.at_ns) // limits.SECOND_NS
        if abs(now_ns - order.at_ns) > limits.ORDER_AGE_NS:
            text = f"it must be given now, and its clock is {behind_s} s behind the gateway's: mend whichever is wrong"
            raise Refused(Reason.REASON_POLICY_STALE, text)
        if order.recipient in self._records:
            return self._records[order.recipient]
        if len(self._records) >= limits.RELEASE_STOPS_MAX and order.recipient != EVERYBODY:
            raise Refused(Reason.REASON_POLICY_LIMIT, f"at most {limits.RELEASE_STOPS_MAX} stops: stop all")
        return journal_pb2.StopRecord(
            recipient=order.recipient,
            order=request.order,
            signature=request.signature,
            officer=caller,
            reason=order.reason,
            stopped_at=timestamp(now_ns),
        )

    def resume(self, request: admin_pb2.ResumeRequest, member: Member, caller: str) -> journal_pb2.StopRecord:
        """Return a stop with one officer's approval more that it is lifted. Raises Refused."""
        record = self.find(request.recipient)
        order = self.resume_order(record)
        fresh = _signers(RESUME_TYPE, order, request.approval, member)
        if set(fresh) != {caller}:
            raise Refused(Reason.REASON_POLICY_SIGNER, f"{caller} must sign it, and nobody else")
        lifters = {each.name: Duty(each.duty) for each in record.lifters}
        if caller in lifters and is_officer(caller, lifters[caller], member):
            raise Refused(Reason.REASON_POLICY_SIGNED_TWICE, f"{caller} has approved it already; another person must")
        changed = journal_pb2.StopRecord()
        changed.CopyFrom(record)
        before = dict(dsse.decode(record.lifting).signatures) if record.lifting else {}
        both = before | dict(dsse.decode(request.approval).signatures)
        changed.lifting = dsse.encode(RESUME_TYPE, None, list(both.items()))
        changed.lifters.add(name=caller, duty=fresh[caller].value)
        return changed

    def resume_order(self, record: journal_pb2.StopRecord) -> bytes:
        """Return what everybody signs who approves that a stop is lifted."""
        return ResumeOrder(self.nation, record.recipient, digest_of(record.order)).to_bytes()

    def change(self, record: journal_pb2.StopRecord) -> dict[str, bytes]:
        """Return how the store's state becomes what it is with this record."""
        return {PREFIX + record.recipient: record.SerializeToString(deterministic=True)}

    def removal(self, record: journal_pb2.StopRecord) -> dict[str, bytes]:
        """Return how the store's state becomes what it is when the stop is lifted."""
        return {PREFIX + record.recipient: b""}

    def keep(self, record: journal_pb2.StopRecord) -> None:
        """Note that a change is durable."""
        self._records[record.recipient] = record

    def drop(self, record: journal_pb2.StopRecord) -> None:
        """Note that a removal is durable."""
        del self._records[record.recipient]


def missing_to_lift(record: journal_pb2.StopRecord, member: Member) -> str:
    """Return which approvals lifting a stop still needs; "" where none."""
    return missing({each.name: Duty(each.duty) for each in record.lifters}, member)


def on_wire(record: journal_pb2.StopRecord, member: Member) -> admin_pb2.ReleaseStop:
    """Return a stop as officers are told of it."""
    return admin_pb2.ReleaseStop(
        recipient=record.recipient,
        officer=record.officer,
        reason=record.reason,
        stopped_at=record.stopped_at,
        lifting=record.lifters,
        missing=missing_to_lift(record, member),
        digest=digest_of(record.order),
    )


def _signers(payload_type: str, order: bytes, signature: bytes, member: Member) -> dict[str, Duty]:
    """Return whose signatures stand under an order, each with the duty. Raises Refused."""
    if not signature:
        raise Refused(Reason.REASON_POLICY_UNSIGNED, "an order is signed; there is no unsigned mode")
    try:
        listed = dsse.decode(signature)
        is_ours = bool(listed.signatures.keys() & {key_id.hex() for key_id in member.officer_keys()})
    except dsse.DocumentError as error:
        raise Refused(Reason.REASON_MALFORMED, f"signature: {error}") from error
    if len(listed.signatures) != 1:  # strangers' beside it would fill the record up
        raise Refused(Reason.REASON_POLICY_SIGNER, "whoever calls signs it alone")
    if listed.payload_type != payload_type:
        raise Refused(Reason.REASON_POLICY_ALTERED, f"must be a signature of {payload_type}")
    if not is_ours:
        raise Refused(Reason.REASON_POLICY_SIGNER, f"signed by nobody who is an officer of {member.code}")
    try:
        good = verify_document(payload_type, order, signature, member.officer_keys())
    except dsse.DocumentError as error:
        raise Refused(Reason.REASON_POLICY_ALTERED, str(error)) from error
    officers = [member.officer_of(key_id) for key_id in good]
    return {officer.name: officer.duty for officer in officers if officer is not None}
