"""What is wrong with a policy before it is in force: everything that can be said without a message.

An error keeps a policy from being used; a warning is for its author to judge. Each finding has a place in the document
and says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.gateway.release.cases import cases
from broker.gateway.release.conditions import Truth
from broker.gateway.release.engine import settle
from broker.gateway.release.finding import Finding, Severity
from broker.gateway.release.inference import inferred
from broker.gateway.release.policy import SELF, Effect, Policy, PolicyError, Rule
from broker.gateway.release.timely import untimely
from broker.leaves import BODIES_UNDER_POLICY, LEAVES
from vedette.v1 import content_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Finding", "Severity", "lint"]


def lint(text: str, *, nation: str | None = None, members: Collection[str] | None = None) -> list[Finding]:
    """Return what is wrong with the document, in its order. An error of reading hides all that comes after it."""
    try:
        policy = Policy.parse(text, nation=nation, members=members)
    except PolicyError as error:
        message = f"{error.reason} ({error.hint})" if error.hint else error.reason
        return [Finding(Severity.ERROR, "unreadable", error.line, error.column, message)]
    findings = [*_unplaced(policy), *_never(policy), *_coarse_forms(policy), *_own_picture(policy)]
    looked_at = list(cases(policy))
    remarks = (*untimely(policy, looked_at), *inferred(policy, looked_at))
    findings += [_warning(each.rule, each.code, each.message) for each in remarks]
    return sorted(findings, key=lambda finding: (finding.line, finding.column, finding.code))


def _unplaced(policy: Policy) -> Iterator[Finding]:
    for path in policy.unplaced():
        yield Finding(
            Severity.ERROR, "leaf-in-no-group", 1, 1, f"{path}: put it into a group; until then it is withheld"
        )


def _never(policy: Policy) -> Iterator[Finding]:
    """Find rules whose condition is settled to `false` whatever the body and mode, for everybody whom they name."""
    for rule in policy.rules:
        known: Iterator[dict[str, str | int]] = (
            {"to": to, "body": body, "mode": mode}
            for to in rule.to
            for body in BODIES_UNDER_POLICY
            for mode in content_pb2.Mode.values()
        )
        if not rule.is_guard and all(settle(rule.predicate, each) == Truth(value=False) for each in known):
            yield _warning(rule, "never-matches", "no message can match the condition")


def _coarse_forms(policy: Policy) -> Iterator[Finding]:
    """Find releases at a coarse level whose leaves have no coarse form: they are withheld, which surprises people."""
    for rule in policy.rules:
        for group, level in rule.levels.items() if rule.effect is Effect.RELEASE else ():
            lost = [path for path in policy.groups[group] if not _has_form(path)]
            if level.is_coarse and lost and len(lost) == len(policy.groups[group]):
                yield _warning(rule, "no-coarse-form", f"{group} at {level.label} shows nothing: give exact or nothing")


def _has_form(path: str) -> bool:
    leaf = LEAVES[path]
    return leaf.coarsening != Coarsening.COARSENING_UNSPECIFIED and ".source." not in path


def _own_picture(policy: Policy) -> Iterator[Finding]:
    if SELF not in {recipient for rule in policy.rules if rule.effect is Effect.RELEASE for recipient in rule.to}:
        message = f"nothing is released to {SELF}: the hub's picture for this nation is made without its own reports"
        yield Finding(Severity.WARNING, "no-own-picture", 1, 1, message)


def _warning(rule: Rule, code: str, message: str) -> Finding:
    return Finding(Severity.WARNING, code, rule.line, rule.column, f"{rule.rule_id}: {message}")
