"""What is wrong with a policy before it is in force: everything that can be said without a message.

An error keeps a policy from being used; a warning is for its author to judge. Each finding has a place in the document
and says what to do. What takes more than a look at single rules has a module of its own: `misspelt`,
`breadth`, `effects`, `timely`, `inference`. What only a solver can say, `broker.gateway.proof` adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.document import Section, read, section_of, texts_of
from broker.gateway.release.breadth import SENSORS, over_broad
from broker.gateway.release.cases import Remark, cases
from broker.gateway.release.conditions import Truth
from broker.gateway.release.effects import without_effect
from broker.gateway.release.engine import settle
from broker.gateway.release.finding import Finding, Severity
from broker.gateway.release.inference import inferred
from broker.gateway.release.misspelt import misspelt
from broker.gateway.release.policy import SELF, Effect, Policy, PolicyError
from broker.gateway.release.timely import untimely
from broker.leaves import BODIES_UNDER_POLICY, LEAVES
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Finding", "Severity", "lint"]

REASON_CHARS_MIN: Final = 8  # "as asked" is one; what is shorter is a placeholder
EXPIRY_WARN_DAYS: Final = 30  # what a ministry takes to approve the next version
DAY_S: Final = 86_400


def lint(
    text: str, *, nation: str | None = None, members: Collection[str] | None = None, now_ns: int | None = None
) -> list[Finding]:
    """Return what is wrong with the document, in its order. Errors of reading hide all that comes after them.

    `now_ns` is the wall time; without it nothing is said of the policy's expiry.
    """
    try:
        policy = Policy.parse(text, nation=nation, members=members)
    except PolicyError as error:
        return [_unreadable(each) for each in (error, *error.more)]
    document = read(text)
    looked_at = list(cases(policy))
    remarks = (
        *_never(policy),
        *_coarse_forms(policy),
        *_empty_reasons(policy),
        *misspelt(policy),
        *over_broad(policy),
        *without_effect(policy),
        *untimely(policy, looked_at),
        *inferred(policy, looked_at),
    )
    findings = [
        *_unplaced(policy),
        *_own_picture(policy),
        *_gets_nothing(policy, document),
        *_mixed_groups(policy, document),
        *_expiry(policy, document, now_ns),
        *(_warning(each) for each in remarks),
    ]
    return sorted(findings, key=lambda finding: (finding.line, finding.column, finding.code))


def _unreadable(error: PolicyError) -> Finding:
    message = f"{error.reason} ({error.hint})" if error.hint else error.reason
    return Finding(Severity.ERROR, "unreadable", error.line, error.column, message)


def _unplaced(policy: Policy) -> Iterator[Finding]:
    for path in policy.unplaced():
        yield Finding(
            Severity.ERROR, "leaf-in-no-group", 1, 1, f"{path}: put it into a group; until then it is withheld"
        )


def _never(policy: Policy) -> Iterator[Remark]:
    """Find rules whose condition is settled to `false` whatever the body and mode, for everybody whom they name."""
    for rule in policy.rules:
        known: Iterator[dict[str, str | int]] = (
            {"to": to, "body": body, "mode": mode}
            for to in rule.to
            for body in BODIES_UNDER_POLICY
            for mode in content_pb2.Mode.values()
        )
        if not rule.is_guard and all(settle(rule.predicate, each) == Truth(value=False) for each in known):
            yield Remark(rule, "never-matches", "no message can match the condition")


def _coarse_forms(policy: Policy) -> Iterator[Remark]:
    """Find releases at a coarse level whose leaves have no coarse form: they are withheld, which surprises people."""
    for rule in policy.rules:
        for group, level in rule.levels.items() if rule.effect is Effect.RELEASE else ():
            lost = [path for path in policy.groups[group] if not _has_form(path)]
            if level.is_coarse and lost and len(lost) == len(policy.groups[group]):
                yield Remark(rule, "no-coarse-form", f"{group} at {level.label} shows nothing: give exact or nothing")


def _has_form(path: str) -> bool:
    leaf = LEAVES[path]
    return leaf.coarsening != Coarsening.COARSENING_UNSPECIFIED and ".source." not in path


def _own_picture(policy: Policy) -> Iterator[Finding]:
    if SELF not in {recipient for rule in policy.rules if rule.effect is Effect.RELEASE for recipient in rule.to}:
        message = f"nothing is released to {SELF}: the hub's picture for this nation is made without its own reports"
        yield Finding(Severity.WARNING, "no-own-picture", 1, 1, message)


def _empty_reasons(policy: Policy) -> Iterator[Remark]:
    for rule in policy.rules:
        if len(rule.reason) < REASON_CHARS_MIN or rule.reason.casefold() == rule.rule_id.casefold():
            text = f"the reason {rule.reason!r} says nothing: name the agreement or order, or what the rule protects"
            yield Remark(rule, "empty-reason", text)


def _gets_nothing(policy: Policy, document: Section) -> Iterator[Finding]:
    given = {recipient for rule in policy.rules if rule.effect is Effect.RELEASE for recipient in rule.to}
    for each in texts_of(document.entries["recipients"]):
        if each.value != SELF and each.value not in given:
            message = f"{each.value}: no rule releases anything to it; take it out of the list, or write a release"
            yield Finding(Severity.WARNING, "recipient-gets-nothing", each.line, each.column, message)


def _mixed_groups(policy: Policy, document: Section) -> Iterator[Finding]:
    for name, part in section_of(document.entries["groups"]).entries.items():
        sensors = [each for each in texts_of(part) if each.value in SENSORS]
        if sensors and len(sensors) < len(policy.groups[name]):
            first = sensors[0]
            message = f"{first.value} names a sensor, and {name} holds other leaves too: put it into a group of its own"
            yield Finding(Severity.WARNING, "mixed-group", first.line, first.column, message)


def _expiry(policy: Policy, document: Section, now_ns: int | None) -> Iterator[Finding]:
    if now_ns is None:
        return
    place = document.entries["expires"]
    days = (policy.expires_ns - now_ns) / SECOND_NS / DAY_S
    if days <= 0:
        message = "the policy has expired and releases nothing: issue it again under a greater version"
        yield Finding(Severity.ERROR, "expired", place.line, place.column, message)
    elif days < EXPIRY_WARN_DAYS:
        message = f"{days:.1f} days left, and then nothing is released: issue the next version in time"
        yield Finding(Severity.WARNING, "expires-soon", place.line, place.column, message)


def _warning(remark: Remark) -> Finding:
    rule = remark.rule
    return Finding(Severity.WARNING, remark.code, rule.line, rule.column, f"{rule.rule_id}: {remark.message}")
