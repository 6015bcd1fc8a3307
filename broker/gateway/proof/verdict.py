"""What a question about a policy comes to: proved for all messages, refuted by one, or not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.gateway.release import Decision, Subject

__all__ = ["Proved", "Refuted", "Unknown", "Verdict", "Witness"]


@dataclass(frozen=True, slots=True)
class Witness:
    """One valid message, and what the real engine decides on it."""

    subject: Subject
    recipient: str
    body: str
    decision: Decision

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """Every rule that matches it, or the one built-in cause of its denial."""
        return self.decision.rule_ids


@dataclass(frozen=True, slots=True)
class Proved:
    """It holds for every valid message."""


@dataclass(frozen=True, slots=True)
class Refuted:
    """It does not hold for this message; the real engine confirms it."""

    witness: Witness
    text: str  # what is wrong with it, in a sentence


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows. Never to be taken for a proof: whatever asks for one refuses."""

    reason: str


Verdict = Proved | Refuted | Unknown
