"""The gateway's recorded intake, read beside the running gateway and replayed under two policies.

Only reads, and the gateway notices nothing (`broker.store.beside`). Records are taken in the order in which they became
durable; the window is found by halving, with SLACK_NS to spare, since that is the order in which they were received but
for what waited together, or a clock that was set. A record that its hash or its form refuses is counted and passed
over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from broker import limits
from broker.clock import nanoseconds
from broker.gateway.ledger import INTAKE
from broker.gateway.release import Subject
from broker.gateway.release.comparison import Comparison, Recorded
from broker.store import Compacted, Corrupt
from vedette.v1 import journal_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.gateway.release import Policy
    from broker.gateway.release.impact import Impact, Window
    from broker.store import Record
    from broker.store.beside import Beside

__all__ = ["replay"]

SLACK_NS: Final = 600 * limits.SECOND_NS  # about how far reports of one window may stand among those of another
MESSAGE_CHARS: Final = 16  # of a message's name in the audit trail: enough to find it there


def replay(
    store: Beside, old: Policy, new: Policy, window: Window, progress: Callable[[int, int], None] = lambda _a, _b: None
) -> Impact:
    """Return what the new policy would do to the messages of a window, beside the old one. Raises StoreError.

    `progress` is told after each turn of reading how many records of how many were looked at.
    """
    comparison = Comparison(old, new, window)
    reading = _Reading(store)
    end = store.bounds(INTAKE).last
    after = reading.position_before(window.since_ns - SLACK_NS, end)
    begun = after
    while after < end:
        records, after = reading.turn(after)
        for record in records:
            if record.position > end:
                break
            recorded = reading.recorded(record)
            if recorded is not None and window.since_ns <= recorded.at_ns < window.until_ns:
                comparison.add(recorded)
        progress(min(after, end) - begun, end - begun)
    return comparison.report(unreadable=reading.unreadable)


@dataclass(slots=True)
class _Reading:
    """Records, past those that cannot be read."""

    store: Beside
    unreadable: int = 0

    def turn(self, after: int) -> tuple[list[Record], int]:
        """Return some records past a position, and the last position that is dealt with."""
        try:
            found = self.store.read(INTAKE, after=after, limit=limits.READ_BATCH)
        except Corrupt:
            self.unreadable += 1
            return [], after + 1
        except Compacted as compacted:  # forgotten meanwhile
            return [], compacted.first - 1
        return found.records, found.through

    def recorded(self, record: Record) -> Recorded | None:
        """Return the message of a record; None, and counted, if it is none."""
        try:
            intake = journal_pb2.IntakeRecord.FromString(record.data)
        except DecodeError:
            self.unreadable += 1
            return None
        subject = Subject(intake.content, intake.label, intake.precedence)
        name = record.key.hex()[:MESSAGE_CHARS]
        return Recorded(subject, name, nanoseconds(intake.received_at), intake.system)

    def position_before(self, at_ns: int, end: int) -> int:
        """Return a position behind which everything stands that was received at an instant or later."""
        low = self.store.bounds(INTAKE).first - 1
        high = end
        while low < high:
            middle = (low + high) // 2
            received_ns = self._received_ns(middle, high)
            if received_ns is None or received_ns >= at_ns:
                high = middle
            else:
                low = middle + 1
        return low

    def _received_ns(self, after: int, end: int) -> int | None:
        """Return when the first readable record past a position was received; None if none is before the end."""
        while after < end:
            try:
                found = self.store.read(INTAKE, after=after, limit=1)
                return nanoseconds(journal_pb2.IntakeRecord.FromString(found.records[0].data).received_at)
            except (Corrupt, DecodeError):
                after += 1
            except Compacted as compacted:
                after = compacted.first - 1
        return None
