"""What lint says: one finding, its place in the document, and for each code what it is about.

An error keeps a policy from being used; a warning is for its author to judge. Codes are stable: scripts, code reviews
and the suppressions of other tools name them. `MEANINGS` is what such a tool shows beside a code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MEANINGS", "Finding", "Severity"]


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where. Lines and columns count from 1."""

    severity: Severity
    code: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.severity.value} {self.code}: {self.message}"


# The findings of `lint`, in the order of its modules, and those that `broker.gateway.proof` adds.
MEANINGS: Final[Mapping[str, str]] = {
    "unreadable": "The document cannot be read as a release policy: nothing of it can be in force.",
    "leaf-in-no-group": "Every leaf of every message stands in one group; one in none is withheld from everybody.",
    "expired": "Past its expiry a policy releases nothing.",
    "expires-soon": "Past its expiry a policy releases nothing; the next version needs time for its approvals.",
    "no-own-picture": "Without a release to self the hub makes the nation's picture without the nation's own reports.",
    "recipient-gets-nothing": "A recipient is listed to whom no rule releases anything.",
    "mixed-group": "Sensors' names and sites stand in one group with other leaves: releasing these names sensors.",
    "empty-reason": "A reason tells whoever approves or audits a rule on whose word it stands, or why.",
    "misspelt-name": "A condition names a caveat or nation that no label holds, or nearly one that the policy names.",
    "never-matches": "No message can match the rule's condition.",
    "no-coarse-form": "What has no coarse form is withheld at any level but exact.",
    "names-no-body": "A release for every kind of message also releases what is added to its groups later.",
    "sensor-to-everybody": "A sensor's name or site is released to every other nation of the policy.",
    "limit-at-exact": "A cap at exact caps nothing.",
    "caps-nothing": "A limit caps a group that no rule releases to those whom it names.",
    "duplicate-rule": "Two rules say the same.",
    "given-already": "Another release gives at least the same, to the same, in at least the same messages.",
    "denied-already": "A deny for every message covers those whom this deny names.",
    "late-first-report": "A launch waits for the end of the cell of a time that is not shown exactly.",
    "withheld-time-waits": "A message waits for the end of the coarsest cell of a time that is withheld.",
    "too-late-for-fusion": "What comes so late is shown to people and moves no fused picture.",
    "places-average-out": "Many coarse positions at close intervals give back the exact one.",
    "gives-away-place": "From what is shown a place can be computed more finely than it is shown itself.",
    "unreachable": "No message can match the rule's condition: found by the solver.",
    "always-overridden": "Whenever the rule matches, others take away all that it does: found by the solver.",
    "no-effect": "Without the rule nothing changes for those whom it names: found by the solver.",
    "gives-away-time": "From what is shown a time can be computed more finely than it is shown itself.",
}
