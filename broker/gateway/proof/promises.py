"""Whether a policy keeps a nation's invariants: for every valid message, to each recipient that they name.

An invariant speaks of the messages that its condition matches, and of all where it has none. Towards each of its
recipients it is broken by one such message

* of which a leaf under `never` is shown (with `finer_than`: finer than that; what only says how the rest is to be read
  (STRUCTURE) has no size and is then no breach), or of which anything goes where `never` says `everything`;
* that goes sooner than `delay_s`;
* that is a track, which always names its object, and may follow the one before sooner than `minimum_interval_s`; of
  other bodies the promise says nothing, for they speak of events, and the first word of an event cannot wait;
* whose label, as it goes, lacks one of the `caveats`.

"Shown" is the level that the decision has, whether the leaf is set in that message or not. To a recipient whom the
policy does not name nothing goes, so everything is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.proof.model import Model, spaces_of
from broker.gateway.proof.solver import Budget, Formula, Solver, Undecided, both, disj, neg
from broker.gateway.proof.terms import NotModelled, bounds_of
from broker.gateway.proof.verdict import Proved, Refuted, Unknown, Verdict, Witness
from broker.gateway.proof.witness import Disagreement, confirmed, message_of
from broker.gateway.release.conditions import ConditionError, Predicate, condition
from broker.gateway.release.engine import Facts, truth_of
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import PolicyError
from broker.leaves import BODIES_UNDER_POLICY, LEAVES, node_of
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from broker.gateway.proof.model import Case
    from broker.gateway.release.policy import Policy
    from broker.invariants import Invariant, Invariants

    Progress = Callable[[int, int], None]

__all__ = ["Proof", "breaches", "prove"]


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of one invariant towards one recipient."""

    invariant: Invariant
    recipient: str
    verdict: Verdict

    @property
    def holds(self) -> bool:
        """Whether it is proved. Not knowing is not enough."""
        return isinstance(self.verdict, Proved)


@dataclass(frozen=True, slots=True)
class _Claim:
    invariant: Invariant
    predicate: Predicate
    recipient: str


def prove(
    policy: Policy, invariants: Invariants, *, progress: Progress | None = None, within_s: float = limits.PROOF_S
) -> list[Proof]:
    """Return what holds of each invariant towards each of its recipients, in their order.

    Raises PolicyError where a condition is not in the language of rules, or the invariants are another nation's.
    `progress` is told how many questions of how many are answered. What is not decided `within_s` is unknown.
    """
    if policy.nation != invariants.nation:
        raise PolicyError(1, 1, f"the invariants are {invariants.nation}'s, the policy {policy.nation}'s")
    claims = [
        _Claim(invariant, predicate, recipient)
        for invariant, predicate in [(each, _predicate(each)) for each in invariants.invariants]
        for recipient in sorted(invariant.to)
    ]
    verdicts: dict[int, Verdict] = {}
    steps = 0
    try:
        model = Model(policy, spaces_of([policy], [claim.predicate for claim in claims]))
        budget = Budget(within_s)
        for body in BODIES_UNDER_POLICY:
            solver = Solver(model.spaces[body].domain, budget, model.spaces[body].usual)
            for recipient in policy.recipients:
                open_claims = [
                    (number, claim)
                    for number, claim in enumerate(claims)
                    if claim.recipient == recipient and number not in verdicts
                ]
                verdicts.update(_judged(model.case(recipient, body), solver, open_claims))
                steps += 1
                if progress is not None:
                    progress(steps, len(BODIES_UNDER_POLICY) * len(policy.recipients))
    except NotModelled as error:
        return [Proof(claim.invariant, claim.recipient, Unknown(str(error))) for claim in claims]
    return [
        Proof(claim.invariant, claim.recipient, verdicts.get(number, Proved())) for number, claim in enumerate(claims)
    ]


def _predicate(invariant: Invariant) -> Predicate:
    try:
        return condition(invariant.when)
    except ConditionError as error:
        reason = f"{invariant.invariant_id}: condition, character {error.at}: {error.reason}"
        raise PolicyError(invariant.line, invariant.column, reason, error.hint) from None


def _judged(case: Case, solver: Solver, claims: Sequence[tuple[int, _Claim]]) -> Iterator[tuple[int, Verdict]]:
    """Yield a verdict for each claim that is not kept on messages of this case."""
    broken = [(number, claim, _broken(case, claim)) for number, claim in claims]
    broken = [each for each in broken if each[2] is not False]
    try:
        if solver.example(disj(formula for _, _, formula in broken)) is None:
            return  # one question for all of them: most of the time none is broken
    except Undecided:
        pass  # together they were too much; each is asked by itself
    for number, claim, formula in broken:
        verdict = _verdict(case, solver, claim, formula)
        if not isinstance(verdict, Proved):
            yield number, verdict


def _verdict(case: Case, solver: Solver, claim: _Claim, formula: Formula) -> Verdict:
    try:
        level = _least_broken(claim.invariant)
        shows = {path: case.shows(path, level) for path in sorted(_measured(claim.invariant, case.space.body))}
        seen = (both(shown, case.space.has_leaf(path)) for path, shown in shows.items())
        example = solver.example(formula, (disj(seen),))
        if example is None:
            return Proved()
        shown = [path for path, formula in shows.items() if example.holds(formula)]
        witness = confirmed(case, example, message_of(case.space, example, shown))
    except (Undecided, NotModelled, Disagreement) as error:
        return Unknown(str(error))
    found = list(breaches(claim.invariant, claim.predicate, witness))
    if not found:
        return Unknown(f"the engine keeps {claim.invariant.invariant_id} where the model does not")
    return Refuted(witness, "; ".join(found))


# --- as a formula -----------------------------------------------------------------------------------------------------


def _broken(case: Case, claim: _Claim) -> Formula:
    invariant = claim.invariant
    when = case.space.formula(claim.predicate, case.recipient)
    level = _least_broken(invariant)
    ways = [case.shows(path, level) for path in sorted(_measured(invariant, case.space.body))]
    if invariant.is_everything:
        ways.append(case.is_released)
    ways.append(both(case.is_released, neg(case.delay_at_least(invariant.delay_s))))
    if case.space.body in ABOUT_OBJECTS:
        ways.append(both(case.is_released, neg(case.interval_at_least(invariant.minimum_interval_s))))
    ways += [both(case.is_released, neg(case.bears(caveat))) for caveat in sorted(invariant.caveats)]
    return both(when, disj(ways))


def _is_about_objects(body: str) -> bool:
    below = {each.field.name: each.field for each in node_of(body).below.values()}
    return "object_id" in below and bool(bounds_of(below["object_id"]).required)


# The bodies whose messages are each about one object.
ABOUT_OBJECTS: Final = frozenset(body for body in BODIES_UNDER_POLICY if _is_about_objects(body))


def _least_broken(invariant: Invariant) -> Level:
    """Return the coarsest level that breaks the promise."""
    cell = invariant.finer_than
    if cell is None:
        return Level.CELL_50KM
    finer = (
        level for level in Level if level.is_coarse and (level.space_m < cell.space_m or level.time_s < cell.time_s)
    )
    return min(finer, default=Level.EXACT)


def _measured(invariant: Invariant, body: str) -> Iterator[str]:
    """Yield the leaves of the header and of this body of which the invariant says that they are not shown."""
    for path in invariant.never:
        leaf = LEAVES[path]
        is_sized = invariant.finer_than is None or leaf.coarsening != Coarsening.COARSENING_STRUCTURE
        if leaf.body in {"header", body} and is_sized:
            yield path


# --- on one message, without any of the model -------------------------------------------------------------------------


def breaches(invariant: Invariant, predicate: Predicate, witness: Witness) -> Iterator[str]:
    """Yield how one message breaks the invariant, as the real engine decided on it."""
    subject, decision = witness.subject, witness.decision
    header = subject.content.header
    facts = Facts(subject.content, subject.label, subject.precedence, witness.recipient, witness.body, header.mode)
    if not decision.released or not truth_of(predicate, facts):
        return
    if invariant.is_everything:
        yield f"{witness.body} is released"
    level = _least_broken(invariant)
    for path in sorted(_measured(invariant, witness.body)):
        shown = decision.shown.levels.get(path, Level.WITHHELD)
        if shown >= level and not invariant.is_everything:
            yield f"{path} is shown at {shown.label}"
    if decision.delay_s < invariant.delay_s:
        yield f"it goes after {decision.delay_s:g} s, not {invariant.delay_s:g} s"
    if witness.body in ABOUT_OBJECTS and decision.minimum_interval_s < invariant.minimum_interval_s:
        yield f"the next may follow after {decision.minimum_interval_s:g} s, not {invariant.minimum_interval_s:g} s"
    for caveat in sorted(invariant.caveats - {*subject.label.caveats, *decision.caveats}):
        yield f"it goes without {caveat}"
