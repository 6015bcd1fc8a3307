"""Refused: an answer, not a failure. It is counted, audited and sent; the stream lives on.

Any other exception is a bug. Its text never crosses the wire (grpc.aio would send it): `broker.rpc` maps it to
INTERNAL and an incident number that both sides can quote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import limits
from vedette.v1 import refusal_pb2
from vedette.v1.refusal_pb2 import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PREFIX", "Reason", "Refused", "reason_name"]

PREFIX = "REASON_"


class Refused(Exception):  # noqa: N818 - it is an answer, not an error
    """What was sent is refused, for one reason.

    `detail` says to a person what to do next. It never carries content: it crosses the wire and stands in logs.
    """

    def __init__(self, reason: Reason.ValueType, detail: str = "") -> None:
        """Take one reason and at most `limits.DETAIL_CHARS_MAX` characters of detail."""
        super().__init__(f"{reason_name(reason)}: {detail}" if detail else reason_name(reason))
        self.reason = reason
        self.detail = detail[: limits.DETAIL_CHARS_MAX]

    def on_wire(self) -> refusal_pb2.Refusal:
        """Return the message that is sent to whoever was refused."""
        return refusal_pb2.Refusal(reason=self.reason, detail=self.detail)


def reason_name(reason: Reason.ValueType) -> str:
    """Return the reason as metrics, logs and people write it: `WRONG_ORIGIN`."""
    names: Mapping[int, str] = {value: name for name, value in Reason.items()}
    return names.get(reason, f"UNKNOWN_{reason}").removeprefix(PREFIX)
