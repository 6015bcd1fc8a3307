"""`vedette fusion verify`: the pictures that the hub sent us, recomputed from our own inbox and compared.

What is judged, and how, stands in `broker.views.verify`; here the log goes in, and one account of it comes out. With a
folder to keep it in, the state at the end is a checkpoint of ours: the next run reads the inbox only from there, and
what retention has forgotten meanwhile was verified while it was there. Such a checkpoint is believed because it is the
nation's own; without it everything is folded anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.views import checkpoint
from broker.views.verify import Outcome, Verifier
from vedette.v1.envelope_pb2 import Envelope, RoutingHeader

if TYPE_CHECKING:
    from pathlib import Path

    from broker.gateway.logbook import Entry, Logbook
    from broker.views.picture import Picture
    from broker.views.verify import Finding
    from vedette.v1.exchange_pb2 import Delivery

__all__ = ["Verified", "verify"]

FINDINGS_MAX: Final = 200


@dataclass(slots=True)
class Verified:
    """What was found of a whole log."""

    recipient: str = ""
    records: int = 0
    already: int = 0  # records that an earlier run had looked at
    parts: int = 1  # logs that it holds: the hub began anew in between
    holes: int = 0
    unreadable: int = 0
    ahead: int = 0
    faults: int = 0  # records that a View passed over
    to_come: int = 0
    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    findings: list[Finding] = field(default_factory=list)  # the first of them

    @property
    def has_differences(self) -> bool:
        """Return whether a picture is not what the log leads to, or is left out."""
        return self.counts[Outcome.DIFFERS] + self.counts[Outcome.PASSED_OVER] > 0

    @property
    def has_unchecked(self) -> bool:
        """Return whether nothing can be said of some pictures."""
        return self.counts[Outcome.UNCHECKED] > 0


def verify(log: Logbook, keep: Path | None = None) -> Verified:
    """Return what was found of the pictures in a log. Raises StoreError, and OSError where nothing can be kept."""
    found = Verified(_recipient(log))
    kept = checkpoint.load(keep, found.recipient) if keep is not None and found.recipient else None
    part = _part_of(kept, log) if kept is not None else None
    run = _Run(found, log.is_partial, kept if part is not None else None, part or 0)
    for entry in log:
        run.take(entry)
    run.settle()
    found.unreadable, found.ahead, found.to_come = len(log.unreadable), log.ahead, run.verifier.to_come
    if keep is not None and found.recipient:
        picture = run.verifier.picture
        picture.resume = run.last or picture.resume
        checkpoint.save(keep, picture)
    return found


def _recipient(log: Logbook) -> str:
    """Return whose log it is, by the first envelope; nobody's if it has none."""
    for entry in log:
        if entry.delivery.WhichOneof("record") == "envelope":
            envelope = Envelope.FromString(entry.delivery.envelope)
            return RoutingHeader.FromString(envelope.header).recipient
    return ""


def _part_of(kept: Picture, log: Logbook) -> int | None:
    """Return in which of the logs an earlier run ended: where its last record stands. None if it was another log."""
    first: Entry | None = None
    for entry in log:
        first = first or entry
        if entry.position == kept.cursor and _mark(entry.delivery) == kept.resume:
            return entry.part
    # What it ended with may be forgotten: then all that is left came later.
    return 0 if first is not None and first.position > kept.cursor > 0 else None


def _mark(delivery: Delivery) -> bytes:
    """Return by what a record is known again."""
    return hashlib.sha256(delivery.envelope or delivery.tick.SerializeToString(deterministic=True)).digest()


class _Run:
    """One log after the other, each with a Verifier of its own. With `kept` it goes on in the part where that ended."""

    def __init__(self, found: Verified, is_partial: bool, kept: Picture | None, part: int) -> None:  # noqa: FBT001 - private
        self._found, self._part = found, part
        self._kept = kept.cursor if kept is not None else 0
        self.verifier = Verifier(found.recipient, is_partial=is_partial, picture=kept)
        self.last = b""  # by what the newest record is known

    def take(self, entry: Entry) -> None:
        """Take in one record."""
        if entry.part > self._part:
            self.settle()
            # Whether the new log began where the old one did, or goes on from a backup, nobody tells us.
            self.verifier = Verifier(self._found.recipient, is_partial=True)
            self._kept, self._part = 0, entry.part
            self._found.parts += 1
        if entry.part < self._part or entry.position <= self._kept:
            self._found.already += 1
            return
        if entry.is_after_hole and entry.position != self._kept + 1:
            self._found.holes += 1
            self.verifier.note_hole()
        for finding in self.verifier.take(entry.position, entry.delivery):
            if len(self._found.findings) < FINDINGS_MAX:
                self._found.findings.append(finding)
        self._found.records += 1
        self.last = _mark(entry.delivery)

    def settle(self) -> None:
        """Sum up one log."""
        self._found.faults += self.verifier.picture.faults
        for outcome, count in self.verifier.counts.items():
            self._found.counts[outcome] += count
