"""Step 2: what each recipient gets of one message, as the nation's policy and what the recipient holds demand.

The policy decides what a recipient may see (`broker.gateway.release`, pure). Here that becomes messages:

* ids are made anew for the recipient; references name only what was sealed to it, or nothing;
* a correction is owed if what the recipient may see of the new differs from what it saw of the old; one of which it may
  now see nothing goes as a bare CANCELS, unless what denies it says nothing of the message (an officer's stop, a policy
  past its time, a fault of ours): to take back a launch for that would end an alarm that stands;
* a cancellation is owed to everyone who got any version, as a bare reference; NOT_A_LAUNCH to everyone who ever got
  anything of the event, as a bare status; both even if the policy now denies, and without a reason then;
* a message under a delay is held, decided again when due, and may only get tighter; a cancel of it drops both, a
  correction replaces it, due at the later of the two times;
* a message whose event was taken back is set aside when it is due: if what took the event back is itself taken back, it
  is decided again, and may only get tighter;
* an object, or an event, that may be shown only every so often is not shown in between.

Everything here runs in one task and is tentative until the batch is durable (see ledger.py).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import exercise_ns, timestamp, wall_of_exercise_ns
from broker.gateway.about import (
    event_id_of,
    event_key_of,
    object_key_of,
    takes_back_event,
    target_of,
    targets_of,
    valid_ns,
)
from broker.gateway.ids import Kind, intake_key
from broker.gateway.release import (
    NO_ONWARD,
    Decision,
    Subject,
    combine,
    decide,
    decision_from_json,
    onward,
    redact,
    release_instant_ns,
    same_for,
)
from broker.gateway.release.decision import ENGINES_DISAGREE, FAULT, NOT_IN_FORCE, STOPPED
from broker.gateway.seal import Outgoing
from broker.gateway.versions import Versions
from broker.store import StoreError
from vedette.v1 import content_pb2, envelope_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.gateway.held import Held
    from broker.gateway.intake import Taken
    from broker.gateway.ledger import Issued, Ledger
    from broker.gateway.release import Policy

log = logging.getLogger(__name__)

SELF: Final = "self"
_SAYS_NOTHING: Final = frozenset({STOPPED, NOT_IN_FORCE, FAULT, ENGINES_DISAGREE})
THIRD_PARTY: Final = "VEDETTE-THIRD-PARTY"  # in the audit trail, beside the rules of the policy


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What became of one message for one recipient: for the audit trail, and for whoever asks why."""

    recipient: str
    outcome: str  # sent | held | held-full | withheld | unchanged | too-soon | nothing-owed
    decision: Decision
    outgoing: Outgoing | None = None
    due_ns: int = 0
    held_ns: int | None = None  # how long it waited for its delay; None: it did not


@dataclass(slots=True)
class Discloser:
    """Step 2 for one nation."""

    us: str
    ledger: Ledger
    held: Held
    may_pass_on: Callable[[str, str], bool]  # whether the one may pass on to the other what belongs to a third member
    _newest: tuple[Taken, int, content_pb2.Content] | None = None  # what `_stamped` made last
    _asked: tuple[Taken, int, Versions] | None = None  # for which report, in which batch, versions were asked for last

    async def disclose(
        self, taken: Taken, policy: Policy, recipient: str, *, now_ns: int, held: journal_pb2.HeldRecord | None = None
    ) -> Disclosed:
        """Return what the recipient (a member code; our own for `self`) gets of the message now.

        `held` is the record of a message that waited for its delay: it is decided again, only tighter.
        """
        subject = Subject(taken.content, taken.label, taken.precedence)
        decision = decide(policy, subject, SELF if recipient == self.us else recipient, now_ns=now_ns)
        if not self._is_ours_to_give(taken.label, recipient):
            decision = replace(decision, released=False, rule_ids=(*decision.rule_ids, THIRD_PARTY))
        try:
            others = self._others(taken.label, recipient)
            if held is not None:
                first = decision_from_json(held.decision)
                decision = combine(first, decision)
                others = [each for each in others if each in first.onward]
            if decision.released and others:
                decision = replace(decision, onward=onward(policy, subject, decision, others, now_ns=now_ns))
            if self.ledger.was_read_back and await self._was_sealed(taken, recipient):
                return Disclosed(recipient, "unchanged", decision)
            return await self._dispatch(taken, recipient, decision, now_ns)
        except StoreError:
            raise  # nobody gets anything of this batch, and it is tried again
        except Exception as fault:  # an error in disclosing is a denial for this recipient, and an alarm
            log.exception("disclosing to %s failed", recipient)
            return Disclosed(recipient, "withheld", replace(decision, released=False, fault=type(fault).__name__))

    def _versions_for(self, taken: Taken) -> Versions:
        """Return what knows the versions that a report speaks of: one for all its recipients."""
        if self._asked is None or self._asked[0] is not taken or self._asked[1] != self.ledger.batches:
            self._asked = (taken, self.ledger.batches, Versions(self.ledger))
        return self._asked[2]

    def _is_ours_to_give(self, label: envelope_pb2.SecurityLabel, recipient: str) -> bool:
        """Return whether what belongs to another may go there. The hub asks too; but a number would be used up then."""
        if label.policy in (self.us, recipient) or recipient == self.us:
            return True
        kept = label.originator_controlled or NO_ONWARD in label.caveats
        return self.may_pass_on(self.us, recipient) and not kept

    def _others(self, label: envelope_pb2.SecurityLabel, recipient: str) -> list[str]:
        """Return to whom the recipient could pass on what it gets, were it for the report's label and the members."""
        if recipient == self.us:
            return []
        return [
            member
            for member in label.releasable_to
            if member not in (self.us, recipient) and self.may_pass_on(recipient, member)
        ]

    async def _was_sealed(self, taken: Taken, recipient: str) -> bool:
        """Return whether this very message went to the recipient already, from an outbox that was lost since."""
        return await self.ledger.sealed(recipient, taken.scope, taken.content.header.message_id) is not None

    async def _dispatch(self, taken: Taken, recipient: str, decision: Decision, now_ns: int) -> Disclosed:
        references = taken.content.header.references
        cancelled = targets_of(references, content_pb2.RELATION_CANCELS)
        corrected = target_of(references, content_pb2.RELATION_CORRECTS)
        if cancelled:
            return await self._cancel(taken, recipient, decision, cancelled, now_ns)
        if takes_back_event(taken.content):
            return await self._take_back(taken, recipient, decision, now_ns)
        if corrected is not None:
            return await self._correct(taken, recipient, decision, corrected, now_ns)
        return await self._new(taken, recipient, decision, now_ns)

    # -- new messages -------------------------------------------------------------------------------------------------
    async def _new(
        self,
        taken: Taken,
        recipient: str,
        decision: Decision,
        now_ns: int,
        *,
        correcting: bytes | None = None,
        not_before_ns: int = 0,
    ) -> Disclosed:
        if not decision.released or self.ledger.is_cancelled(taken.key):  # perhaps before it came
            return Disclosed(recipient, "withheld", decision)
        due_ns = max(self._released_ns(taken, decision), not_before_ns)
        if due_ns > now_ns:
            event_key = event_key_of(taken.content, taken.scope)
            if not self.held.hold(taken.key, recipient, decision, due_ns=due_ns, event_key=event_key):
                log.error("no room to hold a message for %s: it is withheld", recipient)
                return Disclosed(recipient, "held-full", replace(decision, released=False))
            return Disclosed(recipient, "held", decision, due_ns=due_ns)
        if self._set_aside(taken, recipient, decision):
            return Disclosed(recipient, "withheld", decision)
        if correcting is None and self._too_soon(taken, recipient, decision):
            return Disclosed(recipient, "too-soon", decision)
        content = await self._view(taken, recipient, decision, now_ns)
        if correcting is not None:
            content.header.references.add(message_id=correcting, relation=content_pb2.RELATION_CORRECTS)
        return self._send(taken, recipient, decision, content, due_ns)

    def _set_aside(self, taken: Taken, recipient: str, decision: Decision) -> bool:
        """Set a message aside if its event was taken back: nobody hears of it as long as that stands."""
        event_key = event_key_of(taken.content, taken.scope)
        if event_key is None or not self.ledger.is_taken_back(event_key):
            return False
        self.ledger.renew_taken_back(event_key)
        self.held.set_aside(taken.key, recipient, decision, event_key=event_key)
        return True

    def _released_ns(self, taken: Taken, decision: Decision) -> int:
        """Return the wall time at which the message may go: a function of the cell where a time is coarse."""
        instant_ns = self._instant_ns(taken, decision)
        header = taken.content.header
        if not header.HasField("exercise"):
            return instant_ns
        if instant_ns <= exercise_ns(header.exercise, taken.received_ns):
            return taken.received_ns  # at once; the way to the exercise's time and back rounds
        return wall_of_exercise_ns(header.exercise, instant_ns)

    def _instant_ns(self, taken: Taken, decision: Decision) -> int:
        """Return the same in the content's own time: the exercise's, or the wall's."""
        header = taken.content.header
        received_ns = taken.received_ns
        if header.HasField("exercise"):
            received_ns = exercise_ns(header.exercise, received_ns)
        return release_instant_ns(decision, taken.content, received_ns)

    def _too_soon(self, taken: Taken, recipient: str, decision: Decision) -> bool:
        object_key = object_key_of(taken)
        if object_key is None or decision.minimum_interval_s <= 0:
            return False
        at_ns = valid_ns(taken)
        last_ns = self.ledger.shown_at_ns(recipient, object_key)
        if last_ns is not None and abs(at_ns - last_ns) < decision.minimum_interval_s * limits.SECOND_NS:
            return True
        self.ledger.note_shown(recipient, object_key, at_ns)
        return False

    # -- corrections --------------------------------------------------------------------------------------------------
    async def _correct(self, taken: Taken, recipient: str, decision: Decision, target: bytes, now_ns: int) -> Disclosed:
        if self.ledger.is_cancelled(taken.key):
            return Disclosed(recipient, "withheld", decision)  # cancelled with what it corrects
        versions = await self._versions_for(taken).replaced(taken, target)
        not_before_ns = 0
        for local in versions:
            not_before_ns = max(not_before_ns, self.held.drop(intake_key(taken.scope, local), recipient) or 0)
        holds = await self._versions_for(taken).holds(taken.scope, recipient, versions)
        if not holds:
            found = await self._new(taken, recipient, decision, now_ns, not_before_ns=not_before_ns)
            if found.outcome == "sent":
                self.ledger.note_first(recipient, taken.key, taken.content.header.message_id)
            return found
        if not decision.released:
            if not _SAYS_NOTHING.isdisjoint(decision.rule_ids):
                return Disclosed(recipient, "withheld", decision)
            return self._bare_cancel(taken, recipient, decision, holds[:1], now_ns)
        old = holds[-1].content
        if same_for(old, await self._view(taken, recipient, decision, now_ns)):
            return Disclosed(recipient, "unchanged", decision)
        return await self._new(
            taken,
            recipient,
            decision,
            now_ns,
            correcting=old.header.message_id,
            not_before_ns=not_before_ns,
        )

    # -- cancellations ------------------------------------------------------------------------------------------------
    async def _cancel(
        self, taken: Taken, recipient: str, decision: Decision, targets: Sequence[bytes], now_ns: int
    ) -> Disclosed:
        """Take back messages and their corrections, held or sent."""
        owed: list[Issued] = []
        for target in targets:
            versions = await self._versions_for(taken).of(taken.scope, [target])
            for local in versions:
                self.held.drop(intake_key(taken.scope, local), recipient)
            owed += (await self._versions_for(taken).holds(taken.scope, recipient, versions))[:1]
        if not owed:
            return Disclosed(recipient, "nothing-owed", decision)
        return self._bare_cancel(taken, recipient, decision, owed, now_ns)

    def _bare_cancel(
        self, taken: Taken, recipient: str, decision: Decision, owed: Sequence[Issued], now_ns: int
    ) -> Disclosed:
        content = self._bare(taken, recipient)
        for issued in owed:
            message_id = issued.content.header.message_id
            content.header.references.add(message_id=message_id, relation=content_pb2.RELATION_CANCELS)
        known = max((issued.label for issued in owed), key=lambda label: label.classification)
        return self._send(taken, recipient, decision, content, now_ns, label=_bare_label(known, recipient))

    async def _take_back(self, taken: Taken, recipient: str, decision: Decision, now_ns: int) -> Disclosed:
        """Tell everyone who got anything of the event that it was no launch."""
        if not self.ledger.stands(taken.key):
            return Disclosed(recipient, "withheld", decision)  # cancelled or corrected before it came
        event_id = self._id(taken, recipient, Kind.EVENT, taken.content.status.event_id)
        known = self.ledger.event_label(recipient, event_id)
        if known is None:
            return Disclosed(recipient, "nothing-owed", decision)
        released_ns = self._released_ns(taken, decision)
        if decision.released and released_ns <= now_ns:
            content, label = await self._view(taken, recipient, decision, now_ns), None
        else:  # at once, and so without any value that would have to wait
            content, label, released_ns = self._bare(taken, recipient), _bare_label(known, recipient), now_ns
            content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
            content.status.event_id = event_id
            content.status.state = taken.content.status.state
        await self._correct_taking_back(taken, recipient, content)
        return self._send(taken, recipient, decision, content, released_ns, label=label)

    async def _correct_taking_back(self, taken: Taken, recipient: str, content: content_pb2.Content) -> None:
        """Name the status that this one corrects, so that whoever takes this one back takes both back."""
        corrected = target_of(taken.content.header.references, content_pb2.RELATION_CORRECTS)
        if corrected is None:
            return
        versions = self._versions_for(taken)
        holds = await versions.holds(taken.scope, recipient, await versions.replaced(taken, corrected))
        if holds and takes_back_event(holds[-1].content):
            message_id = holds[-1].content.header.message_id
            content.header.references.add(message_id=message_id, relation=content_pb2.RELATION_CORRECTS)

    # -- what a recipient sees ------------------------------------------------------------
    async def _view(self, taken: Taken, recipient: str, decision: Decision, now_ns: int) -> content_pb2.Content:
        """Return the redacted content with the recipient's own ids and the references that it can follow."""
        content = redact(self._stamped(taken, now_ns), decision, released_ns=self._instant_ns(taken, decision))
        content.header.message_id = self._id(taken, recipient, Kind.MESSAGE, taken.content.header.message_id)
        body = getattr(content, taken.body)
        for name, kind in (("event_id", Kind.EVENT), ("object_id", Kind.OBJECT), ("notice_id", Kind.NOTICE)):
            local = getattr(getattr(taken.content, taken.body), name, b"")
            if local:
                setattr(body, name, self._id(taken, recipient, kind, local))
        content.header.ClearField("references")
        for reference in taken.content.header.references:
            await self._refer(taken, recipient, content, reference)
        await self._descend(taken, recipient, content)
        return content

    def _stamped(self, taken: Taken, now_ns: int) -> content_pb2.Content:
        """Return the message with our stamps: the same for all its recipients, and so made once."""
        if self._newest is not None and self._newest[0] is taken and self._newest[1] == now_ns:
            return self._newest[2]
        original = content_pb2.Content()
        original.CopyFrom(taken.content)
        stamps = original.header.stamps
        stamps.received_at.CopyFrom(timestamp(taken.received_ns))
        stamps.decided_at.CopyFrom(timestamp(now_ns))
        stamps.sealed_at.CopyFrom(stamps.decided_at)  # in the same batch
        self._newest = (taken, now_ns, original)
        return original

    async def _refer(
        self, taken: Taken, recipient: str, content: content_pb2.Content, reference: content_pb2.Reference
    ) -> None:
        match reference.relation:
            case content_pb2.RELATION_CORRECTS | content_pb2.RELATION_CANCELS:
                return  # written by whoever knows what the recipient holds
            case content_pb2.RELATION_SAME_EVENT_AS | content_pb2.RELATION_NOT_SAME_EVENT_AS:
                if recipient == self.us:
                    message_id = await self._as_we_hold_it(taken, reference.message_id)
                    if message_id is not None:
                        content.header.references.add(message_id=message_id, relation=reference.relation)
            case _:
                sealed = await self._versions_for(taken).newest_sealed(taken.scope, recipient, reference.message_id)
                if sealed is not None:
                    content.header.references.add(message_id=sealed.header.message_id, relation=reference.relation)

    async def _as_we_hold_it(self, taken: Taken, local: bytes) -> bytes | None:
        """Return the id in our own picture of what an operator speaks of; another's came under the id that it has."""
        scope = taken.scope
        ours = await self._versions_for(taken).newest_sealed(scope, self.us, local)
        if ours is not None:
            return ours.header.message_id
        is_foreign = len(local) == limits.ID_BYTES and await self.ledger.intake(intake_key(scope, local)) is None
        return local if is_foreign else None

    async def _descend(self, taken: Taken, recipient: str, content: content_pb2.Content) -> None:
        """Lineage names only messages that the recipient holds; if any is left out, it is PARTIAL."""
        lineage = taken.content.header.lineage
        content.header.lineage.kind = lineage.kind
        del content.header.lineage.message_ids[:]
        for local in lineage.message_ids:
            issued = await self.ledger.sealed(recipient, taken.scope, local)
            if issued is None or not issued.content.WhichOneof("body"):
                content.header.lineage.kind = content_pb2.LINEAGE_KIND_PARTIAL
            else:
                content.header.lineage.message_ids.append(issued.content.header.message_id)

    def _bare(self, taken: Taken, recipient: str) -> content_pb2.Content:
        content = content_pb2.Content()
        header = taken.content.header
        content.header.message_id = self._id(taken, recipient, Kind.MESSAGE, header.message_id)
        content.header.origin = header.origin
        content.header.mode = header.mode
        if header.HasField("exercise"):
            content.header.exercise.CopyFrom(header.exercise)
        return content

    def _send(
        self,
        taken: Taken,
        recipient: str,
        decision: Decision,
        content: content_pb2.Content,
        released_ns: int,
        *,
        label: envelope_pb2.SecurityLabel | None = None,
    ) -> Disclosed:
        label = label or self._label(taken, recipient, decision)
        event_id = event_id_of(content)
        if event_id:
            self.ledger.note_event(recipient, event_id, label)
        self.ledger.note_sealed(recipient, content, label)
        outgoing = Outgoing(recipient, content, taken.precedence, label, released_ns)
        return Disclosed(recipient, "sent", decision, outgoing)

    def _label(self, taken: Taken, recipient: str, decision: Decision) -> envelope_pb2.SecurityLabel:
        """Return the label for one recipient: itself, and those to whom it may pass this on."""
        label = taken.label
        return envelope_pb2.SecurityLabel(
            policy=label.policy,
            classification=label.classification,
            releasable_to=sorted({recipient, *decision.onward}),
            caveats=sorted({*label.caveats, *decision.caveats}),
            originator_controlled=label.originator_controlled,
        )

    def _id(self, taken: Taken, recipient: str, kind: Kind, local: bytes) -> bytes:
        return self.ledger.ids.of(kind, taken.scope, recipient=recipient, local=local)


def _bare_label(known: envelope_pb2.SecurityLabel, recipient: str) -> envelope_pb2.SecurityLabel:
    """Return the label of what only takes back: it says of the report behind it no more than the recipient knew."""
    return envelope_pb2.SecurityLabel(
        policy=known.policy, classification=known.classification, releasable_to=[recipient]
    )
