"""A message that was reported here, found again by the id that a person has of it, and why who is shown what of it.

The recorded intake is looked through from its newest end, a batch at a time and only so far back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.ledger import INTAKE
from broker.gateway.release import Subject, explain
from broker.refusal import Reason, Refused
from broker.store import Compacted, StoreError
from vedette.v1 import journal_pb2

if TYPE_CHECKING:
    from broker.gateway.release import Policy
    from broker.store import Record, Store

KEY_CHARS_MIN: Final = 32  # of an intake key in hexadecimal, as the audit trail writes it


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded intake of one gateway."""

    store: Store

    async def explain(self, policy: Policy, message: str, recipient: str, *, now_ns: int, as_json: bool) -> str:
        """Return why a policy shows a recipient what it shows of a message. Raises Refused."""
        record = await self._find(message)
        subject = Subject(record.content, record.label, record.precedence)
        story = explain(policy, subject, recipient, now_ns=now_ns)
        text = story.to_json() if as_json else f"reported by {record.system}\n{story}"
        if len(text) > limits.EXPLANATION_CHARS_MAX:
            raise Refused(
                Reason.REASON_TOO_LARGE, "the explanation is too long; explain it from the file, with the policy"
            )
        return text

    async def _find(self, message: str) -> journal_pb2.IntakeRecord:
        """Return the newest message whose intake key begins so, or whose own id this is. Raises Refused."""
        try:
            bounds = await self.store.bounds(INTAKE)
            end, oldest = bounds.last, max(bounds.first, bounds.last - limits.EXPLAIN_RECORDS_MAX + 1)
            while end >= oldest:
                start = max(oldest, end - limits.READ_BATCH + 1)
                for stored in reversed(await self.store.read(INTAKE, after=start - 1, limit=end - start + 1)):
                    if (found := _matching(stored, message)) is not None:
                        return found
                end = start - 1
        except Compacted:  # forgotten while we looked
            pass
        except StoreError as error:
            raise Refused(Reason.REASON_UNAVAILABLE, "the recorded intake cannot be read now") from error
        raise Refused(
            Reason.REASON_POLICY_UNKNOWN,
            f"no such message among the last {limits.EXPLAIN_RECORDS_MAX}; the audit trail names messages",
        )


def _matching(stored: Record, message: str) -> journal_pb2.IntakeRecord | None:
    by_key = len(message) >= KEY_CHARS_MIN and stored.key.hex().startswith(message.lower())
    if not by_key and message.encode() not in stored.data:
        return None  # the id stands in the record as it is; most need not be parsed
    record = journal_pb2.IntakeRecord.FromString(stored.data)
    return record if by_key or record.content.header.message_id == message.encode() else None
