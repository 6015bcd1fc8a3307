"""`vedette fusion verify`: the pictures that the hub sent us, recomputed from our own inbox and compared.

What is judged, and how, stands in `broker.views.verify`; here the log goes in, and one account of it comes out. With a
folder to keep it in, the state at the end is a checkpoint of ours: the next run reads the inbox only from there, and
what retention has forgotten meanwhile was verified while it was there. Such a checkpoint is believed because it is the
nation's own; without it everything is folded anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.views import checkpoint
from broker.views.verify import Outcome, Verifier
from vedette.v1.envelope_pb2 import Envelope, RoutingHeader

if TYPE_CHECKING:
    from pathlib import Path

    from broker.gateway.logbook import Logbook
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
    found = Verified()
    run = _Run(found, log.is_partial, keep)
    for entry in log:
        run.begin(entry.part, entry.delivery)
        run.take(entry.position, entry.delivery, is_after_hole=entry.is_after_hole)
    run.end()
    found.unreadable, found.ahead = len(log.unreadable), log.ahead
    return found


class _Run:
    """One log after the other, each with a Verifier of its own."""

    def __init__(self, found: Verified, is_partial: bool, keep: Path | None) -> None:  # noqa: FBT001 - private
        self._found, self._is_partial, self._keep = found, is_partial, keep
        self._part = 0
        self._verifier: Verifier | None = None
        self._waiting: list[tuple[int, Delivery]] = []
        self._kept: Picture | None = None

    def begin(self, part: int, delivery: Delivery) -> None:
        """Make a Verifier where a log begins. Ticks before the first envelope change nothing and name nobody."""
        if self._verifier is not None and part != self._part:
            self._settle()
            # Whether the new log began where the old one did, or goes on from a backup, nobody tells us.
            self._verifier, self._part, self._is_partial = None, part, True
            self._found.parts += 1
        if self._verifier is None and delivery.WhichOneof("record") == "envelope":
            header = RoutingHeader.FromString(Envelope.FromString(delivery.envelope).header)
            self._found.recipient = header.recipient
            if self._keep is not None and part == 0:
                kept = checkpoint.load(self._keep, header.recipient)
                self._kept = kept if kept.cursor else None
            self._verifier = Verifier(header.recipient, is_partial=self._is_partial, picture=self._kept)

    def take(self, position: int, delivery: Delivery, *, is_after_hole: bool) -> None:
        """Take in one record."""
        if self._verifier is None:
            return
        if self._kept is not None and position <= self._kept.cursor:
            self._found.already += 1
            return
        is_next_to_kept = self._kept is not None and position == self._kept.cursor + 1
        if is_after_hole and not is_next_to_kept:
            self._found.holes += 1
            self._verifier.note_hole()
        for finding in self._verifier.take(position, delivery):
            if len(self._found.findings) < FINDINGS_MAX:
                self._found.findings.append(finding)
        self._found.records += 1

    def end(self) -> None:
        """Sum up, and keep the state for the next run."""
        if self._verifier is None:
            return
        self._settle()
        self._found.to_come = self._verifier.to_come
        if self._keep is not None and self._part == 0:
            checkpoint.save(self._keep, self._verifier.picture)

    def _settle(self) -> None:
        assert self._verifier is not None  # noqa: S101 - for the type
        self._found.faults += self._verifier.picture.faults
        for outcome, count in self._verifier.counts.items():
            self._found.counts[outcome] += count
