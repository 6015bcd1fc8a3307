"""Which rules match together, as far as can be seen without a message.

What a recipient is shown follows from all rules that match a message, and which do depends on the message. So each rule
is looked at with those that surely match whenever it does: those whose condition is settled to `true` by recipient,
kind of body and mode, and those with the same condition. A limit that matches only sometimes is looked at with all
releases at their finest, for it may meet any of them. What is found so is found "as far as can be seen without a
message".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.gateway.release.conditions import Truth
from broker.gateway.release.decide import levels_of, terms_of
from broker.gateway.release.engine import settle
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import Effect
from broker.gateway.release.shown import Shown, shown_of
from broker.leaves import BODIES_UNDER_POLICY
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from broker.gateway.release.conditions import Predicate
    from broker.gateway.release.policy import Policy, Rule

__all__ = ["ALWAYS", "NEVER", "WHOM", "Case", "Remark", "cases", "culprit", "gathered", "settlements"]

NEVER: Final = Truth(value=False)
ALWAYS: Final = Truth(value=True)
WHOM: Final = "\0"  # where a remark names the recipients


@dataclass(frozen=True, slots=True)
class Case:
    """Rules that match together for one recipient and kind of body, and the one among them that is looked at."""

    recipient: str
    body: str
    rules: Sequence[Rule]
    rule: Rule
    interval_s: float
    shown: Shown  # what the rules come to; something of the body


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that a rule comes to."""

    rule: Rule
    code: str
    message: str


def gathered(remarks: Iterable[tuple[str, Remark]]) -> Iterator[Remark]:
    """Yield each remark once for all recipients whom it concerns, named where its message says WHOM."""
    concerned: dict[tuple[str, str, str], tuple[Rule, list[str]]] = {}
    for recipient, remark in remarks:
        _, named = concerned.setdefault((remark.rule.rule_id, remark.code, remark.message), (remark.rule, []))
        if recipient not in named:
            named.append(recipient)
    for (_, code, text), (rule, named) in concerned.items():
        yield Remark(rule, code, text.replace(WHOM, " and ".join(named)))


def cases(policy: Policy) -> Iterator[Case]:
    """Yield the cases of all recipients, body by body, in which anything of the body is shown."""
    group_of = {path: group for group, paths in policy.groups.items() for path in paths}
    known: dict[tuple[str, tuple[Level, ...]], Shown] = {}  # rules differ more often than what they come to
    for recipient in policy.recipients:
        rules = [rule for rule in policy.rules if recipient in rule.to]
        for body in BODIES_UNDER_POLICY:
            for settled in settlements(rules, recipient, body):
                alive = [rule for rule in rules if settled[rule.rule_id] != NEVER]
                for together, rule, interval_s in _cases_of(alive, settled):
                    levels = levels_of(together, policy.groups)
                    key = (body, tuple(levels.values()))
                    if key not in known:
                        known[key] = shown_of({path: levels[group] for path, group in group_of.items()}, body)
                    if known[key].is_anything:
                        yield Case(recipient, body, together, rule, interval_s, known[key])


def settlements(rules: Sequence[Rule], recipient: str, body: str) -> Iterator[Mapping[str, Predicate]]:
    """Yield what is left of the rules' conditions, by id, for a recipient and a body; of modes, each that differs."""
    seen: list[dict[str, Predicate]] = []
    for mode in content_pb2.Mode.values():
        known: dict[str, str | int] = {"to": recipient, "body": body, "mode": mode}
        settled = {rule.rule_id: settle(rule.predicate, known) for rule in rules}
        if settled not in seen:  # most rules do not speak of modes
            seen.append(settled)
            yield settled


def culprit(case: Case, group: str, level: Level) -> Rule | None:
    """Return the rule to which it is owed that a group is no finer; None where another case is about that."""
    caps = [rule for rule in case.rules if rule.effect is Effect.LIMIT and rule.levels.get(group) == level]
    if case.rule.effect is Effect.LIMIT:
        return case.rule if case.rule in caps and len(caps) == 1 else None
    given = max(rule.levels.get(group, Level.WITHHELD) for rule in case.rules if rule.effect is Effect.RELEASE)
    return caps[0] if caps and given > level else case.rule


def _cases_of(rules: Sequence[Rule], settled: Mapping[str, Predicate]) -> Iterator[tuple[Sequence[Rule], Rule, float]]:
    releases = [rule for rule in rules if rule.effect is Effect.RELEASE]
    sure = [rule for rule in rules if settled[rule.rule_id] == ALWAYS]
    for rule in releases:
        same = [other for other in rules if settled[other.rule_id] in (ALWAYS, settled[rule.rule_id])]
        if not any(other.effect is Effect.DENY for other in same):
            yield same, rule, terms_of(same).minimum_interval_s
    limits_sure = [rule for rule in sure if rule.effect is Effect.LIMIT]
    least_s = min((rule.minimum_interval_s for rule in releases), default=0.0)
    for rule in rules if releases and not any(other.effect is Effect.DENY for other in sure) else ():
        if rule.effect is Effect.LIMIT and rule not in sure:
            with_it = [*limits_sure, rule]
            yield [*releases, *with_it], rule, max(least_s, terms_of(with_it).minimum_interval_s)
