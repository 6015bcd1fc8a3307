"""Orders of an officer: stop releasing to somebody at once, or lift that again. What is signed, and how it is read.

    {"format":"vedette-order/v1","nation":"KOR","order":"stop","recipient":"JPN","version":7,"at":"2027-01-10T08:00:00Z",
     "officer":"officer-1","reason":"what was sent was passed on"}
    {"format":"vedette-order/v1","nation":"KOR","order":"resume","recipient":"JPN","stop":"sha256:…"}

An order is canonical JSON (keys sorted, no space), so that everybody who signs one signs the same bytes, and is signed
by a detached DSSE of a type of its own: no order can be passed off as a policy, nor one kind of order as the other. A
stop names the version in force and when it was given, so that an old one is not an order. Lifting names the very stop:
approvals for it are good for no other.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from broker import limits
from certs import dsse

__all__ = ["EVERYBODY", "RESUME_TYPE", "STOP_TYPE", "OrderError", "ResumeOrder", "StopOrder", "digest_of"]

FORMAT: Final = "vedette-order/v1"
STOP_TYPE: Final = "application/vnd.vedette.stop+json"
RESUME_TYPE: Final = "application/vnd.vedette.resume+json"
EVERYBODY: Final = "all"
_RECIPIENT: Final = re.compile(r"[A-Z][A-Z0-9]{2,7}|self|all")
_INSTANT: Final = "%Y-%m-%dT%H:%M:%SZ"
_STOP_KEYS: Final = frozenset({"format", "nation", "order", "recipient", "version", "at", "officer", "reason"})


class OrderError(ValueError):
    """What was given is not an order; the text says why."""


@dataclass(frozen=True, slots=True)
class StopOrder:
    """Release nothing more to `recipient`: a member's code, self, or all."""

    nation: str
    recipient: str
    version: int  # of the policy in force
    at_ns: int  # whole seconds
    officer: str
    reason: str

    def to_bytes(self) -> bytes:
        """Return what is signed."""
        return _canonical(
            {
                "format": FORMAT,
                "nation": self.nation,
                "order": "stop",
                "recipient": self.recipient,
                "version": self.version,
                "at": datetime.fromtimestamp(self.at_ns // limits.SECOND_NS, UTC).strftime(_INSTANT),
                "officer": self.officer,
                "reason": self.reason,
            }
        )

    @classmethod
    def of(cls, data: bytes) -> StopOrder:
        """Return the order in the bytes, and only if it is written as `to_bytes` writes it. Raises OrderError."""
        if len(data) > limits.ORDER_BYTES_MAX:
            raise OrderError(f"an order has at most {limits.ORDER_BYTES_MAX} bytes")
        try:
            table = dsse.load_json(data)
        except dsse.DocumentError as error:
            raise OrderError(f"an order is JSON: {error}") from error
        if not isinstance(table, dict) or set(table) != _STOP_KEYS:
            raise OrderError("an order to stop has exactly " + ", ".join(sorted(_STOP_KEYS)))
        version, texts = table.pop("version"), {name: str(value) for name, value in table.items()}
        if type(version) is not int or version < 0:
            raise OrderError("version must be that of the policy in force")
        try:
            at_ns = int(datetime.strptime(texts["at"], _INSTANT).replace(tzinfo=UTC).timestamp()) * limits.SECOND_NS
        except ValueError as error:
            raise OrderError("at must be an instant such as 2027-01-10T08:00:00Z") from error
        order = cls(texts["nation"], texts["recipient"], version, at_ns, texts["officer"], texts["reason"])
        order.check()
        if order.to_bytes() != data:
            raise OrderError("an order is canonical JSON: keys sorted, no space")
        return order

    def check(self) -> None:
        """Return if it can be obeyed. Raises OrderError."""
        if not _RECIPIENT.fullmatch(self.recipient):
            raise OrderError("recipient must be a member's code, self or all")
        if not 1 <= len(self.reason) <= limits.ORDER_REASON_CHARS_MAX or not self.reason.isprintable():
            raise OrderError(f"a reason of 1 to {limits.ORDER_REASON_CHARS_MAX} printable characters is needed")


@dataclass(frozen=True, slots=True)
class ResumeOrder:
    """Lift one stop."""

    nation: str
    recipient: str
    stop: str  # digest of the order to stop

    def to_bytes(self) -> bytes:
        """Return what is signed."""
        table = {"nation": self.nation, "order": "resume", "recipient": self.recipient, "stop": self.stop}
        return _canonical({"format": FORMAT, **table})


def digest_of(data: bytes) -> str:
    """Return by what an order, or a document, is named: `sha256:…`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _canonical(table: dict[str, object]) -> bytes:
    return json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
