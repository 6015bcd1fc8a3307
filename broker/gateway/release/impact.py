"""What a draft would do to messages that were recorded, beside the policy in force: the report that `comparison` makes.

Every message is decided for every recipient of either policy, under both, by one and the same engine, as if both were
in force at that moment. What is counted are decisions: one message, one recipient. A leaf that is shown otherwise is
counted twice: in how many decisions, and in how many of them the message had a value there, without which nothing new
is said. (A plain number that is zero counts as none.)

What this cannot see, and a report must say (`BLIND`): what never came in the window; that a least interval passes over
some of the messages; what is owed because of corrections and cancellations; what a message waits for besides its delay;
to whom the members document lets anything go at all; to whom a recipient may pass it on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.gateway.release.change import Change
    from broker.gateway.release.lattice import Level

__all__ = [
    "BLIND",
    "PARTS",
    "Coverage",
    "Example",
    "FieldImpact",
    "GroupImpact",
    "Impact",
    "RecipientImpact",
    "TermImpact",
    "Window",
]

BLIND: Final = (
    "It does not see: messages that never came in this window; that a minimum interval passes over some of them; "
    "corrections and cancellations that would be owed; how long a message waits because a time is not shown exactly; "
    "to whom the members document lets anything go; to whom a recipient may pass it on."
)
PARTS: Final = 24  # of the window, to say how much of it has messages


@dataclass(frozen=True, slots=True)
class Window:
    """From when until when messages are looked at, in ns since 1970."""

    since_ns: int
    until_ns: int

    def part(self, at_ns: int) -> int:
        """Return in which of its PARTS an instant lies."""
        return (at_ns - self.since_ns) * PARTS // max(1, self.until_ns - self.since_ns)


@dataclass(frozen=True, slots=True)
class Example:
    """A message by which something can be seen. Says what it is and when it came, and nothing of what it said."""

    message: str
    at_ns: int
    body: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was recorded, and what of the draft that tries."""

    window: Window
    messages: int
    unreadable: int
    first_ns: int  # 0 without messages
    last_ns: int
    parts: int  # of PARTS, in which any message came
    bodies: Mapping[str, int]
    modes: Mapping[str, int]
    systems: Mapping[str, int]
    rule_matches: Mapping[str, int]  # of every rule of the draft: in how many decisions it matched
    unexercised: tuple[str, ...]  # groups of the draft of which no message had a value

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The rules of the draft that no message matched."""
        return tuple(rule for rule, count in self.rule_matches.items() if not count)


@dataclass(frozen=True, slots=True)
class RecipientImpact:
    """What becomes of whole messages for one recipient."""

    recipient: str
    decisions: int
    released_before: int
    released_after: int
    changes: Mapping[Change, int]  # each decision once, by its gravest change


@dataclass(frozen=True, slots=True)
class FieldImpact:
    """One leaf that would be shown otherwise to one recipient."""

    recipient: str
    group: str
    path: str
    old: Level
    new: Level
    change: Change
    decisions: int
    with_value: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class GroupImpact:
    """A group of the draft of which some leaf would change so, for one recipient."""

    recipient: str
    group: str
    change: Change
    decisions: int
    with_value: int


@dataclass(frozen=True, slots=True)
class TermImpact:
    """A delay, least interval or caveats that would be others, where both release something."""

    recipient: str
    term: str
    old: str
    new: str
    releases_more: bool
    decisions: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """The report. Rows stand by recipient, then by what releases more."""

    old: tuple[int, str]  # version and digest
    new: tuple[int, str]
    coverage: Coverage
    recipients: tuple[RecipientImpact, ...]
    groups: tuple[GroupImpact, ...]
    fields: tuple[FieldImpact, ...]
    terms: tuple[TermImpact, ...]

    @property
    def releases_more(self) -> bool:
        """Whether anything would be shown that was not, or more exactly, sooner, more often, under fewer caveats."""
        return any(row.new > row.old for row in self.fields) or any(row.releases_more for row in self.terms)
