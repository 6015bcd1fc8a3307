"""Deciding: which rules match one message for one recipient, and what they come to.

Fast because almost nothing is left to do per message: conditions are compiled and settled beforehand, and what a set
of matching rules comes to is worked out once and kept. Safe because it never raises: whatever goes wrong in deciding
is a denial for this recipient, with a `fault` that the gateway counts and alarms on. `decider_of`, which a gateway
decides with, has every condition read by two engines, and takes their disagreement for such a fault.

Before any rule, in this order, nothing goes: past the policy's time; to somebody to whom an officer stopped releasing;
to somebody whom it does not name; of a body that no nation sends under policy; unlabelled; to a nation that the label
does not list (for `self` the nation's own rules decide); with a caveat that no rule of the policy speaks of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.release import decision as built_in
from broker.gateway.release.decision import Decision, Terms, denied, released
from broker.gateway.release.engine import Compared, Compiled, Engine, EnginesDisagree, Evaluated, Facts
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import SELF, Effect, Policy, Rule
from broker.leaves import BODIES_UNDER_POLICY
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Decider", "Subject", "both_engines", "decide", "decider_of", "levels_of", "terms_of"]

UNDER_POLICY: Final = frozenset(BODIES_UNDER_POLICY)
FAULT_RULES_MAX: Final = 4  # rules named in a fault: enough to find the condition


@dataclass(frozen=True, slots=True)
class Subject:
    """One message to be decided on: it has passed `check_content`."""

    content: content_pb2.Content
    label: envelope_pb2.SecurityLabel
    precedence: int


class Decider:
    """One policy, compiled. Immutable but for what it remembers; one is made per policy and shared by all messages."""

    def __init__(self, policy: Policy, engine: Callable[[Sequence[Rule]], Engine] | None = None) -> None:
        """Compile the policy. `engine` makes another kind of engine from rules; without it, the fast one decides."""
        make = engine or (lambda rules: Compiled([rule.predicate for rule in rules]))
        self.policy = policy
        self._rules = {
            recipient: tuple(rule for rule in policy.rules if recipient in rule.to) for recipient in policy.recipients
        }
        self._engines = {recipient: make(rules) for recipient, rules in self._rules.items()}
        self._known_caveats = frozenset(caveat for rule in policy.rules for caveat in rule.caveats_named())
        self._settled: dict[tuple[str, str, tuple[bool, ...]], Decision] = {}

    def decide(self, subject: Subject, recipient: str, *, now_ns: int | None = None) -> Decision:
        """Return what the recipient is shown. Never raises. `now_ns`: see `decide`."""
        body = ""
        try:
            body = subject.content.WhichOneof("body") or ""
            cause = self.refusal(subject, recipient, body, now_ns)
            if cause:
                return self._denied(body, (cause,))
            matched = self.matching(subject, recipient, body)
            key = (recipient, body, matched)
            found = self._settled.get(key)
            if found is None:
                found = self._settle(recipient, body, matched)
                if len(self._settled) >= limits.POLICY_DECISIONS_MAX:
                    self._settled.clear()  # forgetting costs a millisecond later; growing would have no end
                self._settled[key] = found
        except EnginesDisagree as error:
            named = ", ".join(self._rules[recipient][place].rule_id for place in error.places[:FAULT_RULES_MAX])
            return self._denied(body, (built_in.ENGINES_DISAGREE,), fault=f"{type(error).__name__}: {named}")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in deciding, the answer is no, with an alarm
            return self._denied(body, (built_in.FAULT,), fault=type(error).__name__)
        return found

    def warm(self) -> None:
        """Have the engines settle what they can for every recipient and body, before a message pays for it.

        Raises whatever an engine raises that cannot read a condition.
        """
        nothing, unlabelled = content_pb2.Content(), envelope_pb2.SecurityLabel()
        for recipient, engine in self._engines.items():
            for body in BODIES_UNDER_POLICY:
                engine.matches(Facts(nothing, unlabelled, 0, recipient, body, 0))

    def refusal(  # noqa: PLR0911 - one for each check
        self, subject: Subject, recipient: str, body: str, now_ns: int | None
    ) -> str:
        """Return the built-in cause for which no rule is asked; "" where rules decide."""
        if now_ns is not None and not self.policy.is_in_force(now_ns):
            return built_in.NOT_IN_FORCE
        if self.policy.stops(recipient):
            return built_in.STOPPED
        if recipient not in self._rules:
            return built_in.UNKNOWN_RECIPIENT
        if body not in UNDER_POLICY:
            return built_in.BODY_OUTSIDE_POLICY
        label = subject.label
        if label.classification == envelope_pb2.CLASSIFICATION_UNSPECIFIED:
            return built_in.UNLABELLED
        if recipient != SELF and recipient not in label.releasable_to:
            return built_in.NOT_RELEASABLE
        if not self._known_caveats.issuperset(label.caveats):
            return built_in.UNKNOWN_CAVEAT
        return ""

    def matching(self, subject: Subject, recipient: str, body: str) -> tuple[bool, ...]:
        """Return which of the rules for this recipient match, in the order of `rules_for`."""
        content = subject.content
        facts = Facts(content, subject.label, subject.precedence, recipient, body, content.header.mode)
        return self._engines[recipient].matches(facts)

    def rules_for(self, recipient: str) -> tuple[Rule, ...]:
        """Return the rules that name the recipient, in the order of the document."""
        return self._rules.get(recipient, ())

    def _settle(self, recipient: str, body: str, matched: tuple[bool, ...]) -> Decision:
        rules = [rule for rule, holds in zip(self._rules[recipient], matched, strict=True) if holds]
        rule_ids = tuple(sorted(rule.rule_id for rule in rules))
        if any(rule.effect is Effect.DENY for rule in rules):
            return self._denied(body, rule_ids)
        levels = levels_of(rules, self.policy.groups)
        allowed = {path: level for group, level in levels.items() for path in self.policy.groups[group]}
        return released(
            allowed,
            body,
            rule_ids=rule_ids,
            levels=levels,
            terms=terms_of(rules),
            policy_version=self.policy.version,
            policy_digest=self.policy.digest,
        )

    def _denied(self, body: str, rule_ids: tuple[str, ...], fault: str = "") -> Decision:
        return denied(
            body,
            rule_ids=rule_ids,
            levels=dict.fromkeys(self.policy.groups, Level.WITHHELD),
            policy_version=self.policy.version,
            policy_digest=self.policy.digest,
            fault=fault,
        )


def levels_of(rules: Sequence[Rule], groups: Mapping[str, object]) -> dict[str, Level]:
    """Return the level of every group: the greatest that any release gives, capped by every limit."""
    levels = dict.fromkeys(groups, Level.WITHHELD)
    for rule in rules:
        if rule.effect is Effect.RELEASE:
            for group, level in rule.levels.items():
                levels[group] = max(levels[group], level)
    for rule in rules:
        if rule.effect is Effect.LIMIT:
            for group, level in rule.levels.items():
                levels[group] = min(levels[group], level)
    return levels


def terms_of(rules: Sequence[Rule]) -> Terms:
    """Return the longest delay and interval of the rules, and all their caveats."""
    return Terms(
        delay_s=max((rule.delay_s for rule in rules), default=0.0),
        minimum_interval_s=max((rule.minimum_interval_s for rule in rules), default=0.0),
        caveats=tuple(sorted({caveat for rule in rules for caveat in rule.caveats})),
    )


@lru_cache(maxsize=limits.POLICIES_COMPILED_MAX)
def decider_of(policy: Policy) -> Decider:
    """Return the policy compiled, each condition read by two engines; made at the first call.

    Call it, and `warm`, when a policy is loaded, not at its first message.
    """
    return Decider(policy, both_engines)


def both_engines(rules: Sequence[Rule]) -> Engine:
    """Return the two engines that have to agree on every condition."""
    return Compared(Compiled([rule.predicate for rule in rules]), Evaluated([rule.when for rule in rules]))


def decide(policy: Policy, subject: Subject, recipient: str, *, now_ns: int | None = None) -> Decision:
    """Return what the recipient (a member's code, or "self") is shown of the message. Never raises.

    `now_ns` is the wall time; with it, a policy that is not in force releases nothing. Without it the caller must have
    asked `policy.is_in_force` itself.
    """
    return decider_of(policy).decide(subject, recipient, now_ns=now_ns)
