"""Rules that change nothing, as far as can be seen by comparing them with each other.

These are the slips of editing: a rule copied and not changed, a cap of what nobody gives, a release that another one
has overtaken. They are found by looking at the rules alone, in no time; that a rule can never match, or is always
overridden by several others together, is for the solver to find. A guard rule stands for its own sake, so nothing is
said of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.gateway.release.cases import ALWAYS, Remark
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import Effect

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from broker.gateway.release.policy import Policy, Rule

__all__ = ["without_effect"]


def without_effect(policy: Policy) -> Iterator[Remark]:
    """Yield the rules, and the parts of rules, that could as well be taken out."""
    rules = [rule for rule in policy.rules if not rule.is_guard]
    doubles = list(_doubles(rules))
    for rule, first in doubles:
        yield Remark(
            rule, "duplicate-rule", f"says the same as {first.rule_id} in line {first.line}; take one of them out"
        )
    twice = {rule.rule_id for rule, _ in doubles}
    single = [rule for rule in rules if rule.rule_id not in twice]
    yield from _caps(policy, single)
    yield from _given_already(single)
    yield from _denied_already(single)


def _doubles(rules: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Yield each rule that says what an earlier one says, whatever their ids and reasons, and the earlier one."""
    first: dict[Hashable, Rule] = {}
    for rule in rules:
        terms = (rule.delay_s, rule.minimum_interval_s, rule.caveats)
        before = first.setdefault((rule.effect, rule.to, rule.predicate, frozenset(rule.levels.items()), terms), rule)
        if before is not rule:
            yield rule, before


def _caps(policy: Policy, rules: Sequence[Rule]) -> Iterator[Remark]:
    finest: dict[tuple[str, str], Level] = {}
    for rule in policy.rules:
        for group, level in rule.levels.items() if rule.effect is Effect.RELEASE else ():
            for recipient in rule.to:
                finest[recipient, group] = max(level, finest.get((recipient, group), level))
    for rule in rules:
        for group, level in rule.levels.items() if rule.effect is Effect.LIMIT else ():
            given = max(finest.get((recipient, group), Level.WITHHELD) for recipient in rule.to)
            if level == Level.EXACT:
                yield Remark(
                    rule, "limit-at-exact", f"{group} at exact caps nothing; cap it at a coarser level, or not"
                )
            elif given <= level:
                how = f"at no more than {given.label}" if given else "by no rule"
                advice = "take the cap out, or mark the rule guard: 'true' if it stands for rules to come"
                text = f"{group} at {level.label} caps nothing: it is given to {_names(rule)} {how}; {advice}"
                yield Remark(rule, "caps-nothing", text)


def _given_already(rules: Sequence[Rule]) -> Iterator[Remark]:
    alike: dict[Hashable, list[Rule]] = {}
    for rule in rules:
        if rule.effect is Effect.RELEASE:
            alike.setdefault(rule.predicate, []).append(rule)
    always = alike.get(ALWAYS, [])
    for predicate, releases in alike.items():
        for rule in releases:
            wider = (other for other in (*releases, *(always if predicate != ALWAYS else ())) if _covers(other, rule))
            if (other := next(wider, None)) is not None:
                text = (
                    f"{other.rule_id} in line {other.line} gives at least as much whenever this one does; take it out"
                )
                yield Remark(rule, "given-already", text)


def _covers(other: Rule, rule: Rule) -> bool:
    """Say whether a release whose condition is no narrower leaves another one nothing to add: no group and no term."""
    return (
        other is not rule
        and other.to >= rule.to
        and all(other.levels.get(group, Level.WITHHELD) >= level for group, level in rule.levels.items())
        and other.delay_s >= rule.delay_s
        and other.minimum_interval_s >= rule.minimum_interval_s
        and other.caveats >= rule.caveats
    )


def _denied_already(rules: Sequence[Rule]) -> Iterator[Remark]:
    denied: dict[str, Rule] = {}
    denies = [rule for rule in rules if rule.effect is Effect.DENY]
    for rule in sorted(denies, key=lambda rule: rule.predicate != ALWAYS):  # those for every message come first
        if rule.to <= denied.keys():
            others = " and ".join(dict.fromkeys(denied[recipient].rule_id for recipient in sorted(rule.to)))
            yield Remark(rule, "denied-already", f"{others} denies {_names(rule)} every message; take this one out")
        elif rule.predicate == ALWAYS:
            denied |= {recipient: rule for recipient in rule.to if recipient not in denied}


def _names(rule: Rule) -> str:
    return " and ".join(sorted(rule.to))
