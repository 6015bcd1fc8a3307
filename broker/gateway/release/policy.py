"""A nation's release policy, read from its document: what may be said to whom, how exactly, how late, and why.

    format: vedette-release/v1
    nation: KOR
    version: 7                        strictly increasing; going back means the old rules under a new number
    effective: 2026-01-01T00:00:00Z
    expires: 2028-01-01T00:00:00Z     past it nothing is released
    schema: sha256:…                  the agreement that it was written against (`broker.content.SCHEMA_DIGEST`)
    recipients: [self, USA, JPN]      self: what the hub may use for the nation's own picture
    groups:                           full leaf paths, each in one group; a leaf in none is withheld
      timing: [launch.launch_time.earliest, …]
    rules:
    - id: KOR-R1
      effect: release                 release | limit | deny
      to: [USA, JPN]
      when: 'body == "track"'         see `conditions`
      give: {timing: exact, place: 1km}
      reason: trilateral arrangement, article 3

Rules have no order. A `deny` that matches beats all; else each group is shown at the greatest level that a matching
`release` gives, and no finer than any matching `limit` caps; delays and intervals are the longest, caveats all.

Reading is strict: what is unknown, doubled, misspelt or of the wrong kind is a PolicyError with line and column, and
then nothing of the document is in force. A Policy is immutable; replacing one is replacing a reference. What officers
stopped (`stopping`) lies over the document as a denial before any rule, so that it cannot release anything.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.document import (
    Listing,
    Part,
    PolicyError,
    Section,
    Text,
    read,
    section_of,
    text_of,
    texts_of,
)
from broker.gateway.release.rules import Effect, Rule, rule_of
from broker.leaves import LEAVES, SCHEMA_DIGEST
from broker.limits import SECOND_NS
from vedette.v1.measures_pb2 import TimeWindow
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["EVERYBODY", "FORMAT", "KEYS", "SELF", "Effect", "Policy", "PolicyError", "Rule"]

FORMAT: Final = "vedette-release/v1"
SELF: Final = "self"
EVERYBODY: Final = "all"  # in `Policy.stopped`: also who joins later
MEMBER: Final = re.compile(r"[A-Z]{3,8}")
GROUP: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
KEYS: Final = frozenset(
    {"format", "nation", "version", "effective", "expires", "schema", "recipients", "groups", "rules"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A release policy. Only `parse` makes one. Two are the same only if they are one; compare digests otherwise."""

    nation: str
    version: int
    digest: str  # sha256:… of the document's bytes
    effective_ns: int
    expires_ns: int
    recipients: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]  # leaf paths by group
    rules: tuple[Rule, ...]
    stopped: frozenset[str] = frozenset()  # to whom nothing is released, whatever the document says

    @classmethod
    def parse(cls, text: str, *, nation: str | None = None, members: Collection[str] | None = None) -> Policy:
        """Return the policy in the document. Raises PolicyError.

        `nation` is whose it must be, `members` those who may be named as recipients; None: as the document says.
        """
        section = read(text)
        section.expect(KEYS)
        entries = section.entries
        _check_format(entries["format"])
        _check_schema(entries["schema"])
        code = _nation(entries["nation"], nation)
        recipients = _recipients(entries["recipients"], code, members)
        groups = _groups(section_of(entries["groups"]))
        effective_ns, expires_ns = _instant_ns(entries["effective"]), _instant_ns(entries["expires"])
        if expires_ns <= effective_ns:
            raise entries["expires"].refuse("expires before it takes effect")
        return cls(
            nation=code,
            version=_version(entries["version"]),
            digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
            effective_ns=effective_ns,
            expires_ns=expires_ns,
            recipients=recipients,
            groups=groups,
            rules=_rules(entries["rules"], recipients, groups),
        )

    def stopping(self, recipients: Collection[str]) -> Policy:
        """Return this policy with nothing released to these either; EVERYBODY for all. It can only get tighter."""
        return replace(self, stopped=self.stopped | frozenset(recipients))

    def stops(self, recipient: str) -> bool:
        """Say whether releasing to a recipient was stopped."""
        return bool(self.stopped) and (recipient in self.stopped or EVERYBODY in self.stopped)

    def is_in_force(self, now_ns: int) -> bool:
        """Say whether the policy releases anything at this wall time. Past its expiry: nothing, and an alarm."""
        return self.effective_ns <= now_ns < self.expires_ns

    def unplaced(self) -> tuple[str, ...]:
        """Return the leaves that stand in no group: withheld from everybody."""
        placed = {path for paths in self.groups.values() for path in paths}
        return tuple(path for path in LEAVES if path not in placed)


def _check_format(part: Part) -> None:
    if text_of(part) != FORMAT:
        raise part.refuse("unknown format", f"this version reads {FORMAT}")


def _check_schema(part: Part) -> None:
    if text_of(part) != SCHEMA_DIGEST:
        raise part.refuse("written against another version of the messages", f"check the groups, then {SCHEMA_DIGEST}")


def _nation(part: Part, expected: str | None) -> str:
    code = text_of(part)
    if not MEMBER.fullmatch(code):
        raise part.refuse("not a member's code", "three to eight capital letters")
    if expected is not None and code != expected:
        raise part.refuse(f"the policy of {code}", f"this gateway is {expected}'s")
    return code


def _version(part: Part) -> int:
    text = text_of(part)
    if not VERSION.fullmatch(text):
        raise part.refuse("not a version", "a whole number from 1, greater than that of every policy before")
    return int(text)


def _instant_ns(part: Part) -> int:
    text = text_of(part)
    if INSTANT.fullmatch(text):
        try:
            at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise part.refuse("no such day or time") from None
        return int(at.timestamp()) * SECOND_NS
    raise part.refuse("not an instant", "write 2026-01-01T00:00:00Z")


def _recipients(part: Part, nation: str, members: Collection[str] | None) -> tuple[str, ...]:
    texts = texts_of(part)
    for each in texts:
        if each.value == nation:
            raise each.refuse(f"{nation} itself", f"its own picture at the hub is written {SELF}")
        if each.value != SELF and not MEMBER.fullmatch(each.value):
            raise each.refuse("not a member's code", "three to eight capital letters, or self")
        if each.value != SELF and members is not None and each.value not in members:
            raise each.refuse(f"{each.value} is not a member", "members: " + ", ".join(sorted(members)))
    if not texts:
        raise part.refuse("no recipient", f"at least {SELF}")
    return tuple(each.value for each in texts)


def _groups(section: Section) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    placed: dict[str, Text] = {}
    for name, part in section.entries.items():
        if not GROUP.fullmatch(name):
            raise section.keys[name].refuse("not a name for a group", "small letters, digits and _")
        leaves = texts_of(part)
        for leaf in leaves:
            if leaf.value not in LEAVES:
                raise leaf.refuse(f"no such leaf: {leaf.value}", "`vedette policy leaves` lists them all")
            if leaf.value in placed:
                raise leaf.refuse(f"{leaf.value} is in two groups", f"first in line {placed[leaf.value].line}")
            placed[leaf.value] = leaf
        groups[name] = tuple(leaf.value for leaf in leaves)
    _check_windows(groups, placed)
    return groups


def _check_windows(groups: Mapping[str, tuple[str, ...]], placed: Mapping[str, Text]) -> None:
    """Keep the times of one window together: rounded to different cells, its latest could come before its earliest."""
    group_of = {path: name for name, paths in groups.items() for path in paths}
    first: dict[str, str] = {}
    for path, place in placed.items():
        leaf = LEAVES[path]
        above = path.rpartition(".")[0]
        is_in_window = leaf.fields[-1].containing_type == TimeWindow.DESCRIPTOR
        if is_in_window and leaf.coarsening == Coarsening.COARSENING_TIME:
            other = first.setdefault(above, path)
            if group_of[other] != group_of[path]:
                raise place.refuse(f"{path} is not in the group of {other}", "the times of one window go together")


def _rules(part: Part, recipients: tuple[str, ...], groups: Mapping[str, tuple[str, ...]]) -> tuple[Rule, ...]:
    if not isinstance(part, Listing):
        raise part.refuse("must be a list of rules")
    if len(part.items) > limits.POLICY_RULES_MAX:
        raise part.refuse(f"more than {limits.POLICY_RULES_MAX} rules")
    rules: dict[str, Rule] = {}
    errors: list[PolicyError] = []
    for each in part.items:  # a rule says nothing of another, so that all their errors can be told at once
        try:
            rule = rule_of(each, recipients=recipients, groups=groups)
            if rule.rule_id in rules:
                raise each.refuse(f"{rule.rule_id} is there twice", f"first in line {rules[rule.rule_id].line}")
            rules[rule.rule_id] = rule
        except PolicyError as error:
            errors.append(error)
    if errors:
        errors[0].more = tuple(errors[1:])
        raise errors[0]
    return tuple(rules.values())
