"""Whether the pictures that a recipient was sent are those that its own log leads to, byte for byte.

The records go in as they stand in the recipient's log; each goes through the same `Picture` as at the hub. A picture in
the log is looked for among those that were drawn from what stands before it, and compared: its body, its label.

Every picture names its basis: the last record that went into it, and the digest of all of them. So two questions are
kept apart. Was it made from this log? And if so, is it what this log leads to?

* agreed: the same bytes from the same records.
* differs: the same records, other bytes; or records that this log does not have, though nothing of the log is missing.
* cannot be checked: other records, and part of the log is missing here: it begins in the middle, or has a hole (refused
  here, damaged, not kept). Nobody can say then who is right. As soon as a digest agrees again, nothing was missing that
  mattered to that View.
* passed over: drawn from this log, and not sent, though one that was drawn later was. Load merges no revisions.
* to come: drawn, not sent, and nothing drawn later was: it is on its way, or the fusion process stands still.

What is kept is bounded: `DRAWN_MAX` pictures that were not seen yet, and the digests of `DIGESTS_MAX` records.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Final

from broker.fusion.view import fused_content
from broker.views.picture import PUBLISHER, Picture, RevisionKey, ViewKey
from broker.views.telling import differences
from vedette.v1.content_pb2 import Content
from vedette.v1.envelope_pb2 import Envelope, RoutingHeader

if TYPE_CHECKING:
    from broker.views.picture import Revision
    from vedette.v1.content_pb2 import FusedEvent
    from vedette.v1.exchange_pb2 import Delivery

__all__ = ["Finding", "Outcome", "Verifier"]

DRAWN_MAX: Final = 4_096
DIGESTS_MAX: Final = 16_384
TOLD_MAX: Final = 32  # fields of one picture; the first says most


class Outcome(Enum):
    """What was found of one picture."""

    AGREED = "agreed"
    DIFFERS = "differs"
    UNCHECKED = "cannot be checked"
    PASSED_OVER = "passed over"


@dataclass(frozen=True, slots=True)
class Finding:
    """One picture that did not agree: where it stands in the log, which it is, and what is wrong."""

    outcome: Outcome
    position: int  # of the picture in the log; of one that was passed over, where the next stands
    key: RevisionKey
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Account:
    """What is known of one View of the sender: how its log went, as far as we can tell."""

    digests: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)  # by position, newest last
    is_doubtful: bool = False  # part of the log may be missing here


class Verifier:
    """Takes a recipient's log record by record; see the module. `is_partial`: the log does not begin here."""

    def __init__(self, recipient: str, *, is_partial: bool = False, picture: Picture | None = None) -> None:
        """Begin with an empty log, or go on where a picture of a checkpoint ends."""
        self.picture = picture or Picture(recipient)
        self.counts = dict.fromkeys(Outcome, 0)
        self.records = 0
        self.overflowed = 0  # pictures that were drawn and let go of before they were seen
        self._is_partial = is_partial
        self._accounts: dict[ViewKey, _Account] = {}

    @property
    def to_come(self) -> int:
        """Return how many pictures were drawn after all that were sent."""
        return len(self.picture.pending)

    def note_hole(self) -> None:
        """Note that records are missing before the next: every View may have missed one of them."""
        self._is_partial = True
        for account in self._accounts.values():
            account.is_doubtful = True

    def take(self, position: int, delivery: Delivery) -> list[Finding]:
        """Take in the record at a position; return what is not as it should be."""
        self.records += 1
        findings: list[Finding] = []
        if delivery.WhichOneof("record") == "envelope":
            envelope = Envelope.FromString(delivery.envelope)
            content = Content.FromString(envelope.body)
            if content.WhichOneof("body") == "fused":
                findings = self._judge(position, envelope, content.fused)
        self.picture.take(position, delivery)
        self._note_digests()
        while len(self.picture.pending) > DRAWN_MAX:
            self.picture.pending.popitem(last=False)
            self.overflowed += 1
        for finding in findings:
            self.counts[finding.outcome] += 1
        return findings

    def _note_digests(self) -> None:
        """Remember the digest of each View that took a record in, and forget Views that are gone."""
        for key, drawing in self.picture.drawings.items():
            account = self._accounts.get(key)
            if account is None:
                account = self._accounts[key] = _Account(is_doubtful=self._is_partial)
            view = drawing.view
            if view.position and view.position not in account.digests:
                account.digests[view.position] = view.digest
                if len(account.digests) > DIGESTS_MAX:
                    account.digests.popitem(last=False)
        if len(self._accounts) > len(self.picture.drawings):
            self._accounts = {key: one for key, one in self._accounts.items() if key in self.picture.drawings}

    def _judge(self, position: int, envelope: Envelope, fused: FusedEvent) -> list[Finding]:
        """Compare a picture that was sent with what was drawn, and say which were passed over before it."""
        header = RoutingHeader.FromString(envelope.header)
        key = RevisionKey(ViewKey(header.mode, header.exercise.exercise_id), fused.event_id, fused.revision)
        drawn = self.picture.pending.get(key)
        outcome, reasons = self._outcome(key, header, envelope.body, fused, drawn)
        found = self._passed_over(position, key) if drawn is not None else []
        if outcome is Outcome.AGREED:
            self.counts[Outcome.AGREED] += 1
        else:
            found.append(Finding(outcome, position, key, reasons))
        return found

    def _outcome(
        self, key: RevisionKey, header: RoutingHeader, body: bytes, fused: FusedEvent, drawn: Revision | None
    ) -> tuple[Outcome, tuple[str, ...]]:
        if header.origin != PUBLISHER:
            return Outcome.DIFFERS, (f"it comes from {header.origin}, which draws no pictures for others",)
        account = self._accounts.setdefault(key.view, _Account(is_doubtful=self._is_partial))
        known = account.digests.get(fused.basis.position)
        if known is None and drawn is not None and drawn.event.basis.position == fused.basis.position:
            known = drawn.event.basis.digest  # drawn so long ago that only the picture is left
        is_of_this_log = known == fused.basis.digest
        if is_of_this_log:
            account.is_doubtful = False  # all that went in there went in here
        elif account.is_doubtful:
            return Outcome.UNCHECKED, ("it was made from records of which some are missing here",)
        if drawn is None and self.overflowed:
            return Outcome.UNCHECKED, ("it was drawn so long before that it is not kept here",)
        reasons: tuple[str, ...] = () if is_of_this_log else ("it was made from other records than this log has",)
        if drawn is None:
            return Outcome.DIFFERS, reasons or ("this log leads to no such revision",)
        reasons += self._differences(header, body, drawn)
        return (Outcome.DIFFERS, reasons) if reasons else (Outcome.AGREED, ())

    def _differences(self, header: RoutingHeader, body: bytes, drawn: Revision) -> tuple[str, ...]:
        """Return where a picture that was sent is not the one that was drawn; nothing if it is, to the byte."""
        exercise = header.exercise if header.HasField("exercise") else None
        expected = fused_content(
            drawn.event, recipient=self.picture.recipient, mode=drawn.key.view.mode, exercise=drawn.exercise
        )
        found: list[str] = []
        if body != expected.SerializeToString():
            sent = Content.FromString(body)
            found += islice(differences(sent, expected), TOLD_MAX)
            if not found:
                found.append("the same fields in other bytes")
        if header.label != drawn.label:
            found += [f"label.{reason}" for reason in islice(differences(header.label, drawn.label), TOLD_MAX)]
        if exercise != drawn.exercise:
            found.append("header.exercise: not that of its records")
        if header.message_id != expected.header.message_id:
            found.append("header.message_id: not that of this revision")
        return tuple(found)

    def _passed_over(self, position: int, seen: RevisionKey) -> list[Finding]:
        """Let go of what was drawn in the same View before a picture that was sent, and was not sent itself."""
        passed: list[RevisionKey] = []
        for key in self.picture.pending:
            if key == seen:
                break
            if key.view == seen.view:
                passed.append(key)
        for key in passed:
            del self.picture.pending[key]
        return [Finding(Outcome.PASSED_OVER, position, key, ("drawn, and not sent",)) for key in passed]
