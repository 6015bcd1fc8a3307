"""Rules that release more than their author may have had in mind.

Few of them, each a way in which policies have gone wrong elsewhere: a release that names no kind of message and so
grows with its groups, a sensor's name that goes to everybody, a group in which a sensor's name hides among others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.gateway.release.cases import ALWAYS, Remark
from broker.gateway.release.conditions import Compare, Contains, Flag, Present
from broker.gateway.release.engine import parts_of
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import SELF, Effect
from broker.leaves import BODIES_UNDER_POLICY, HEADER, LEAVES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.gateway.release.conditions import Term
    from broker.gateway.release.policy import Policy, Rule

__all__ = ["SENSORS", "over_broad"]

# What names a sensor: its name, and where it stands. Its kind is what policies decide by.
SENSORS: Final = frozenset(
    path
    for path in LEAVES
    for body in BODIES_UNDER_POLICY
    if path.startswith((f"{body}.source.name", f"{body}.source.site."))
)


def over_broad(policy: Policy) -> Iterator[Remark]:
    """Yield releases that are broader than they look."""
    for rule in policy.rules:
        if rule.effect is Effect.RELEASE:
            yield from _names_no_body(policy, rule)
            yield from _names_sensors(policy, rule)


def _names_no_body(policy: Policy, rule: Rule) -> Iterator[Remark]:
    bodies = {LEAVES[path].body for group in rule.levels for path in policy.groups[group]} - {HEADER}
    if rule.to != {SELF} and len(bodies) > 1 and not any(_is_of_body(term) for term in _terms(rule)):
        text = f"holds for every kind of message, and gives groups of {', '.join(sorted(bodies))}"
        yield Remark(rule, "names-no-body", f'{text}; name the kinds, as in body in ["launch", "impact"]')


def _terms(rule: Rule) -> Iterator[Term]:
    return (part.term for part in parts_of(rule.predicate) if isinstance(part, Flag | Present | Compare | Contains))


def _is_of_body(term: Term) -> bool:
    return term.root == "body" or (term.root == "content" and term.path[0] != HEADER)


def _names_sensors(policy: Policy, rule: Rule) -> Iterator[Remark]:
    others = {recipient for recipient in policy.recipients if recipient != SELF}
    if len(others) < 2 or not rule.to >= others:  # noqa: PLR2004 - to the only other is no "everybody"
        return
    for group, level in rule.levels.items():
        named = SENSORS.intersection(policy.groups[group])
        if named and level > Level.WITHHELD and not _is_capped(policy, group, others):
            text = f"{group} names sensors ({min(named)}) to {' and '.join(sorted(others))}"
            yield Remark(rule, "sensor-to-everybody", f"{text}; release it to whom it concerns, by a rule of its own")


def _is_capped(policy: Policy, group: str, others: set[str]) -> bool:
    """Say whether limits for every message withhold the group from somebody, so that not everybody gets it."""
    limits = (rule for rule in policy.rules if rule.effect is Effect.LIMIT and rule.predicate == ALWAYS)
    return any(rule.levels.get(group, Level.EXACT) == Level.WITHHELD and rule.to & others for rule in limits)
