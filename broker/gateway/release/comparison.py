"""A draft beside the policy in force, over messages that were recorded. Pure: a fold, and at its end a report.

    comparison = Comparison(in_force, draft, window)
    comparison.add(recorded) …              once for each message of the window
    impact = comparison.report(unreadable=0)

What is counted, and what it cannot see, stands in `impact`. It is quick because decisions that are alike are only
counted: the same two decisions, made for one recipient about messages with the same leaves set. What they differ in is
worked out once for each kind, when the report is made or when too many kinds were met.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.release.change import Change, Delta, delta_of
from broker.gateway.release.decide import Decider
from broker.gateway.release.engine import Compiled
from broker.gateway.release.impact import (
    Coverage,
    Example,
    FieldImpact,
    GroupImpact,
    Impact,
    RecipientImpact,
    TermImpact,
    Window,
)
from broker.leaves import LEAVES, set_leaves
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.gateway.release.decide import Subject
    from broker.gateway.release.decision import Decision
    from broker.gateway.release.lattice import Level
    from broker.gateway.release.policy import Policy

__all__ = ["Comparison", "Recorded", "one_engine"]

NO_BODY: Final = "(reference)"  # how a message without a body is counted
NO_GROUP: Final = "(none)"
EXAMPLES: Final = 3
# The gateway writes them when a message is disclosed, after deciding: none is recorded, and all are sent.
STAMPS: Final = frozenset(path for path in LEAVES if path.startswith("header.stamps."))


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message as it was taken in, and by what people find it again."""

    subject: Subject
    message: str  # the beginning of its name in the audit trail
    at_ns: int
    system: str


def one_engine(policy: Policy) -> Decider:
    """Return the policy compiled for itself: one engine, and a memory that it shares with nobody."""
    return Decider(policy, engine=lambda rules: Compiled([rule.predicate for rule in rules]))


@dataclass(slots=True)
class _Rows:
    """How often something was met, and the first messages by which it can be seen."""

    decisions: int = 0
    with_value: int = 0
    valued: list[Example] = field(default_factory=list)
    others: list[Example] = field(default_factory=list)

    def add(self, seen: _Seen, *, has_value: bool) -> None:
        self.decisions += seen.count
        self.with_value += seen.count if has_value else 0
        kept = self.valued if has_value else self.others
        kept += seen.examples[: EXAMPLES - len(kept)]

    @property
    def examples(self) -> tuple[Example, ...]:
        """A few of those with a value, or else of the others; the earlier first."""
        return tuple(sorted(self.valued or self.others, key=lambda each: each.at_ns))


@dataclass(slots=True)
class _Seen:
    """Decisions that are alike: the same pair of decisions, about messages with the same leaves set."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class _Pair:
    """Two decisions that were made about some messages for one recipient."""

    recipient: str
    old: Decision
    new: Decision
    delta: Delta
    change: Change
    by_shape: dict[frozenset[str], _Seen] = field(default_factory=dict)


class Comparison:
    """The fold. Decisions that are alike are only counted; what they come to is worked out for each kind once."""

    def __init__(self, old: Policy, new: Policy, window: Window) -> None:
        """Compile both policies."""
        self._old, self._new = one_engine(old), one_engine(new)
        self._window = window
        self._recipients = tuple(dict.fromkeys((*old.recipients, *new.recipients)))
        before = {path: group for group, paths in old.groups.items() for path in paths}
        self._group_of = before | {path: group for group, paths in new.groups.items() for path in paths}
        self._pairs: dict[tuple[object, ...], _Pair] = {}
        self._kinds = 0  # of decisions that are alike
        self._shapes: dict[frozenset[str], frozenset[str]] = {}
        self._set: set[str] = set()  # leaves that some message had
        self._bodies: Counter[str] = Counter()
        self._modes: Counter[int] = Counter()
        self._systems: Counter[str] = Counter()
        self._parts: set[int] = set()
        self._first_ns = self._last_ns = 0
        self._made = _Made()

    def add(self, recorded: Recorded) -> None:
        """Decide one message of the window for every recipient, under both."""
        subject, content = recorded.subject, recorded.subject.content
        body = content.WhichOneof("body") or NO_BODY
        self._note(recorded, body)
        shape = STAMPS.union(set_leaves(content))
        known = self._shapes.get(shape)
        if known is None:
            self._shapes[shape] = known = shape
            self._set |= shape
        for recipient in self._recipients:
            pair = self._pair(recipient, self._old.decide(subject, recipient), self._new.decide(subject, recipient))
            seen = pair.by_shape.get(known)
            if seen is None:
                seen = pair.by_shape[known] = _Seen()
                self._kinds += 1
            seen.count += 1
            if seen.count <= EXAMPLES and pair.change is not Change.SAME:
                seen.examples.append(Example(recorded.message, recorded.at_ns, body))
        if self._kinds >= limits.IMPACT_KINDS_MAX:
            self._fold()

    def report(self, *, unreadable: int = 0) -> Impact:
        """Return what all messages so far come to."""
        self._fold()
        made, new = self._made, self._new.policy
        rule_matches = {rule.rule_id: made.rules[rule.rule_id] for rule in new.rules}
        unexercised = tuple(group for group, paths in new.groups.items() if self._set.isdisjoint(paths))
        coverage = Coverage(
            window=self._window,
            messages=self._bodies.total(),
            unreadable=unreadable,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            parts=len(self._parts),
            bodies=_most_first(self._bodies),
            modes=_most_first(Counter({_mode_name(mode): count for mode, count in self._modes.items()})),
            systems=_most_first(self._systems),
            rule_matches=rule_matches,
            unexercised=unexercised,
        )
        old = self._old.policy
        return made.impact((old.version, old.digest), (new.version, new.digest), coverage, self._recipients)

    def _note(self, recorded: Recorded, body: str) -> None:
        at_ns = recorded.at_ns
        self._bodies[body] += 1
        self._modes[recorded.subject.content.header.mode] += 1
        self._systems[recorded.system] += 1
        self._parts.add(self._window.part(at_ns))
        self._first_ns = min(self._first_ns or at_ns, at_ns)
        self._last_ns = max(self._last_ns, at_ns)

    def _pair(self, recipient: str, old: Decision, new: Decision) -> _Pair:
        key = (recipient, _name(old), _name(new))
        pair = self._pairs.get(key)
        if pair is None:
            delta = delta_of(old, new)
            pair = self._pairs[key] = _Pair(recipient, old, new, delta, delta.change)
        return pair

    def _fold(self) -> None:
        """Work out what was counted, and forget how: so that no traffic, however odd, fills the memory."""
        for pair in self._pairs.values():
            self._made.add(pair, self._group_of)
        self._pairs.clear()
        self._shapes.clear()
        self._kinds = 0


def _name(decision: Decision) -> object:
    """Return what decisions that say the same share: the decider makes one object of what rules come to.

    Whoever keeps the name keeps the decision, so that no other gets its place in memory. What is refused before any
    rule is made anew each time, and is known by its cause.
    """
    return id(decision) if decision.released else (decision.rule_ids, decision.fault)


class _Made:
    """Rows under way."""

    def __init__(self) -> None:
        self.rules: Counter[str] = Counter()
        self._decisions: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._after: Counter[str] = Counter()
        self._changes: Counter[tuple[str, Change]] = Counter()
        self._fields: dict[tuple[str, str, str, Level, Level, Change], _Rows] = {}
        self._groups: dict[tuple[str, str, Change], _Rows] = {}
        self._terms: dict[tuple[str, str, str, str, bool], _Rows] = {}

    def add(self, pair: _Pair, group_of: Mapping[str, str]) -> None:
        """Add decisions that are alike."""
        recipient, delta = pair.recipient, pair.delta
        count = sum(seen.count for seen in pair.by_shape.values())
        self._decisions[recipient] += count
        self._before[recipient] += count if pair.old.released else 0
        self._after[recipient] += count if pair.new.released else 0
        self._changes[recipient, pair.change] += count
        self.rules.update(dict.fromkeys(pair.new.rule_ids, count))
        groups: dict[tuple[str, Change], set[str]] = {}
        for leaf in delta.leaves:
            groups.setdefault((group_of.get(leaf.path, NO_GROUP), leaf.change), set()).add(leaf.path)
        for shape, seen in pair.by_shape.items():
            for leaf in delta.leaves:
                group = group_of.get(leaf.path, NO_GROUP)
                key = (recipient, group, leaf.path, leaf.old, leaf.new, leaf.change)
                self._fields.setdefault(key, _Rows()).add(seen, has_value=leaf.path in shape)
            for (group, change), paths in groups.items():
                row = self._groups.setdefault((recipient, group, change), _Rows())
                row.add(seen, has_value=not paths.isdisjoint(shape))
            for term in delta.terms:
                named = (recipient, term.term, term.old, term.new, term.releases_more)
                self._terms.setdefault(named, _Rows()).add(seen, has_value=True)

    def impact(
        self, old: tuple[int, str], new: tuple[int, str], coverage: Coverage, recipients: Iterable[str]
    ) -> Impact:
        """Return the rows made so far, sorted."""
        place = {recipient: index for index, recipient in enumerate(recipients)}
        fields = [
            FieldImpact(*key, rows.decisions, rows.with_value, rows.examples) for key, rows in self._fields.items()
        ]
        groups = [GroupImpact(*key, rows.decisions, rows.with_value) for key, rows in self._groups.items()]
        terms = [TermImpact(*key, rows.decisions, rows.examples) for key, rows in self._terms.items()]
        return Impact(
            old,
            new,
            coverage,
            tuple(self._recipient(recipient) for recipient in place),
            tuple(sorted(groups, key=lambda row: (place[row.recipient], _ORDER[row.change], row.group))),
            tuple(sorted(fields, key=lambda row: (place[row.recipient], _ORDER[row.change], row.group, row.path))),
            tuple(sorted(terms, key=lambda row: (place[row.recipient], not row.releases_more, row.term, row.new))),
        )

    def _recipient(self, recipient: str) -> RecipientImpact:
        changes = {change: count for (to, change), count in self._changes.items() if to == recipient}
        return RecipientImpact(
            recipient,
            self._decisions[recipient],
            self._before[recipient],
            self._after[recipient],
            {change: changes.get(change, 0) for change in Change},
        )


_ORDER: Final = {
    change: index
    for index, change in enumerate(
        (Change.NEWLY_RELEASED, Change.FINER, Change.NEWLY_WITHHELD, Change.COARSER, Change.TERMS, Change.FAULT)
    )
}


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _mode_name(mode: int) -> str:
    known = {value: name for name, value in content_pb2.Mode.items()}
    return known.get(content_pb2.Mode.ValueType(mode), str(mode)).removeprefix("MODE_").lower().replace("_", "-")
