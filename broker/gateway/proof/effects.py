"""Rules that do nothing: for what the linter says of a policy once the solver is at hand.

* `unreachable`: no valid message matches the condition, whoever the recipient.
* `always-overridden`: whenever the rule matches and is asked, a deny or the limits take away all that it gives; or a
  limit, whenever it matches, meets a deny.
* `no-effect`: without the rule, every decision is the same for these recipients: what is shown of each leaf, delay,
  interval and caveats. Each rule is left out by itself: of two that do the same, both are named, and one must stay.
  Caveats that only it names are taken as known without it, too.

A guard stands for its own sake and is never named. What the solver does not know is no finding: these are advice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.gateway.proof.model import Model, spaces_of
from broker.gateway.proof.solver import Budget, Formula, Solver, Undecided, both, disj, neg
from broker.gateway.proof.terms import NotModelled
from broker.gateway.release import Finding, Severity
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import Effect
from broker.leaves import BODIES_UNDER_POLICY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from broker.gateway.proof.model import Case
    from broker.gateway.release.policy import Policy
    from broker.gateway.release.rules import Rule

    _Matching = Mapping[str, Sequence[tuple[Case, Formula]]]  # by recipient

__all__ = ["ineffective"]


def ineffective(policy: Policy) -> Iterator[Finding]:
    """Yield the rules that do nothing, in the order of the document."""
    try:
        model, budget = Model(policy, spaces_of([policy])), Budget()
        solvers = {
            body: Solver(model.spaces[body].domain, budget, model.spaces[body].usual) for body in BODIES_UNDER_POLICY
        }
        for rule in policy.rules:
            if not rule.is_guard:
                yield from _finding(model, solvers, rule)
    except (Undecided, NotModelled):
        return


def _finding(model: Model, solvers: Mapping[str, Solver], rule: Rule) -> Iterator[Finding]:
    recipients = [recipient for recipient in model.policy.recipients if recipient in rule.to]
    cases = {to: [model.case(to, body) for body in BODIES_UNDER_POLICY] for to in recipients}
    matching = {
        to: [(case, _formula(case, rule)) for case in several if _formula(case, rule) is not False]
        for to, several in cases.items()
    }
    if not _any(solvers, matching, lambda _case, matches: matches):
        yield _warning(rule, "unreachable", "no message can match the condition")
        return
    if not _any(solvers, matching, lambda case, matches: both(matches, _counts(case, rule))):
        yield _warning(rule, "always-overridden", "whenever it matches, other rules take away all that it does")
        return
    idle = [to for to in recipients if not _any(solvers, {to: matching[to]}, lambda case, _: _difference(case, rule))]
    if idle:
        yield _warning(rule, "no-effect", f"without it nothing changes for {', '.join(idle)}")


def _any(solvers: Mapping[str, Solver], matching: _Matching, asked: Callable[[Case, Formula], Formula]) -> bool:
    """Say whether there is any message, for any of these recipients, for which it is so."""
    return any(
        solvers[case.space.body].example(asked(case, matches)) is not None
        for several in matching.values()
        for case, matches in several
    )


def _formula(case: Case, rule: Rule) -> Formula:
    return case.space.formula(rule.predicate, case.recipient)


def _counts(case: Case, rule: Rule) -> Formula:
    """Return whether anything is left for the rule to do, by itself, if it matches."""
    if rule.effect is Effect.DENY:
        return neg(case.is_refused)
    if rule.effect is Effect.LIMIT or rule.delay_s or rule.minimum_interval_s or rule.caveats:
        return case.is_open
    return both(case.is_open, disj(neg(_is_taken(case, group)) for group, level in rule.levels.items() if level))


def _is_taken(case: Case, group: str) -> Formula:
    """Return whether some limit takes all of the group."""
    return disj(
        formula
        for other, formula in case.matches
        if other.effect is Effect.LIMIT and other.levels.get(group, Level.EXACT) is Level.WITHHELD
    )


def _difference(case: Case, rule: Rule) -> Formula:
    """Return whether the decision is another one without the rule."""
    rest, matches = case.without(rule), _formula(case, rule)
    if rule.effect is Effect.DENY:
        return both(matches, rest.is_released)
    goes = both(matches, case.is_released)
    return disj(
        (
            both(matches, disj(_levels_differ(case, rest, rule))),
            *(both(goes, neg(rest.adds(caveat))) for caveat in sorted(rule.caveats)),
            both(goes, neg(rest.delay_at_least(rule.delay_s))),
            both(goes, neg(rest.interval_at_least(rule.minimum_interval_s))),
        )
    )


def _levels_differ(case: Case, rest: Case, rule: Rule) -> Iterator[Formula]:
    needs = {need for rungs in case.model.needs(case.space.body).leaves.values() for need in rungs}
    for need in needs:
        if any(group in rule.levels for way in need for group, _ in way):
            with_it, without_it = case.has(need), rest.has(need)
            if rule.effect is Effect.RELEASE:
                yield both(with_it, neg(without_it))
            else:
                yield both(without_it, neg(with_it))


def _warning(rule: Rule, code: str, message: str) -> Finding:
    return Finding(Severity.WARNING, code, rule.line, rule.column, f"{rule.rule_id}: {message}")
