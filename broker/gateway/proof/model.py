"""A policy as formulas: what it decides on every message at once, for one recipient and one kind of body.

It says of `release.decide` what a proof needs: the built-in causes of a denial, which rules match, the level of each
group, what is really shown of each leaf (`needs`), and on what terms. All of a `Case` is built from what the policy's
reader made of the document, so the two can only differ in how they decide. That they do not is tested three ways (this,
the compiled engine, Google's evaluator), and no counterexample is believed before the real engine has confirmed it.

Taken as given: the policy is in force, and what is decided on is a report with a body. Of cancellations, which show
nothing, of corrections, which show what both decisions allow, and of what others may pass on, nothing is said here.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from broker.gateway.proof.needs import SHOWN_LEVELS, Needs
from broker.gateway.proof.solver import Formula, both, conj, disj, neg
from broker.gateway.proof.space import Space
from broker.gateway.proof.terms import CAVEATS, RELEASABLE, asked_of
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import SELF, Effect, Policy, Rule
from broker.leaves import BODIES_UNDER_POLICY
from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.gateway.proof.needs import Need
    from broker.gateway.proof.solver import Example
    from broker.gateway.release.conditions import Predicate

__all__ = ["Case", "Model", "spaces_of"]

# What a leaf's rungs come to; leaves with equal ones are shown alike, whatever the message.
Alike = tuple["Need", "Need", "Need", "Need"]


def spaces_of(policies: Iterable[Policy], conditions: Iterable[Predicate] = ()) -> dict[str, Space]:
    """Return the messages that these policies and further conditions can tell apart, by kind of body."""
    several = list(policies)
    recipients = sorted({to for policy in several for to in policy.recipients})
    rules = [rule for policy in several for rule in policy.rules]
    asked = asked_of(
        (*(rule.predicate for rule in rules), *conditions),
        recipients=recipients,
        bodies=BODIES_UNDER_POLICY,
        caveats={caveat for rule in rules for caveat in rule.caveats_named()},
    )
    return {body: Space(body, several[0].nation, asked) for body in BODIES_UNDER_POLICY}


class Model:
    """One policy over the spaces."""

    def __init__(self, policy: Policy, spaces: Mapping[str, Space]) -> None:
        """`spaces`: made of this policy, and of whatever it is compared with."""
        self.policy = policy
        self.spaces = spaces
        self.known_caveats = frozenset(caveat for rule in policy.rules for caveat in rule.caveats_named())
        self._cases: dict[tuple[str, str], Case] = {}
        self._needs: dict[str, Needs] = {}

    def case(self, recipient: str, body: str) -> Case:
        """Return what is decided on messages with this body for this recipient."""
        key = (recipient, body)
        if key not in self._cases:
            rules = [rule for rule in self.policy.rules if recipient in rule.to]
            self._cases[key] = Case(self, recipient, self.spaces[body], rules)
        return self._cases[key]

    def needs(self, body: str) -> Needs:
        """Return what each leaf needs of the policy's groups."""
        if body not in self._needs:
            self._needs[body] = Needs(body, self.policy.groups)
        return self._needs[body]


class Case:
    """What one policy decides for one recipient on messages with one kind of body."""

    def __init__(self, model: Model, recipient: str, space: Space, rules: Iterable[Rule]) -> None:
        """`rules`: those of the policy that name the recipient, or fewer: what would be decided without the rest."""
        self.model = model
        self.recipient = recipient
        self.space = space
        found = ((rule, space.formula(rule.predicate, recipient)) for rule in rules)
        self.matches = [(rule, formula) for rule, formula in found if formula is not False]
        self._groups: dict[tuple[str, Level], Formula] = {}
        self._known: dict[Need, Formula] = {}

    def without(self, rule: Rule) -> Case:
        """Return what would be decided without a rule; caveats that only it names stay known."""
        return Case(self.model, self.recipient, self.space, [each for each, _ in self.matches if each is not rule])

    # -- whether rules decide at all ----------------------------------------------------------------------------------
    @cached_property
    def is_refused(self) -> Formula:
        """Whether a built-in cause denies it."""
        policy = self.model.policy
        if policy.stops(self.recipient) or self.recipient not in policy.recipients:
            return True
        unlabelled = self.space.choices["label", "classification"].where(
            lambda value: value == envelope_pb2.CLASSIFICATION_UNSPECIFIED
        )
        releasable, caveats = self.space.lists[RELEASABLE], self.space.lists[CAVEATS]
        not_releasable = False if self.recipient == SELF else neg(releasable.contains.get(self.recipient, False))
        known = self.model.known_caveats
        unknown = (formula for caveat, formula in caveats.contains.items() if caveat not in known)
        return disj((unlabelled, not_releasable, caveats.other, *unknown))

    @cached_property
    def is_open(self) -> Formula:
        """Whether nothing denies it."""
        denied = disj(formula for rule, formula in self.matches if rule.effect is Effect.DENY)
        return both(neg(self.is_refused), neg(denied))

    # -- what is shown ------------------------------------------------------------------------------------------------
    def group_at_least(self, group: str, level: Level) -> Formula:
        """Return whether the rules leave the group at this level or finer, if nothing denies."""
        key = (group, level)
        found = self._groups.get(key)
        if found is None:
            given, capped = [], []
            for rule, formula in self.matches:
                if rule.effect is Effect.RELEASE and rule.levels.get(group, Level.WITHHELD) >= level:
                    given.append(formula)
                elif rule.effect is Effect.LIMIT and rule.levels.get(group, Level.EXACT) < level:
                    capped.append(formula)
            found = self._groups[key] = both(disj(given), neg(disj(capped)))
        return found

    def has(self, need: Need) -> Formula:
        """Return whether what is needed is allowed, and nothing denies."""
        found = self._known.get(need)
        if found is None:
            ways = (conj(self.group_at_least(group, level) for group, level in sorted(way)) for way in need)
            found = self._known[need] = both(self.is_open, disj(ways))
        return found

    def shows(self, path: str, level: Level) -> Formula:
        """Return whether the leaf is shown at this level or finer."""
        return self.has(self.model.needs(self.space.body).at_least(path, level))

    @cached_property
    def is_released(self) -> Formula:
        """Whether anything of the body goes."""
        return self.has(self.model.needs(self.space.body).anything)

    def alike(self) -> dict[Alike, list[str]]:
        """Return the leaves of header and body by what they need."""
        found: dict[Alike, list[str]] = {}
        for path, rungs in self.model.needs(self.space.body).leaves.items():
            found.setdefault(rungs, []).append(path)
        return found

    # -- on what terms ------------------------------------------------------------------------------------------------
    def delay_at_least(self, delay_s: float) -> Formula:
        """Return whether what goes waits at least so long."""
        return delay_s <= 0 or disj(formula for rule, formula in self.matches if rule.delay_s >= delay_s)

    def interval_at_least(self, interval_s: float) -> Formula:
        """Return whether there is at least so long between two messages about one object."""
        return interval_s <= 0 or disj(
            formula for rule, formula in self.matches if rule.minimum_interval_s >= interval_s
        )

    def adds(self, caveat: str) -> Formula:
        """Return whether the decision adds the caveat to the label."""
        return disj(formula for rule, formula in self.matches if caveat in rule.caveats)

    def bears(self, caveat: str) -> Formula:
        """Return whether the label that goes with it has the caveat: added, or there from the beginning."""
        return disj((self.adds(caveat), self.space.lists[CAVEATS].contains.get(caveat, False)))

    @cached_property
    def delays_s(self) -> tuple[float, ...]:
        """All delays that some rule sets."""
        return tuple(sorted({rule.delay_s for rule, _ in self.matches if rule.delay_s > 0}))

    @cached_property
    def intervals_s(self) -> tuple[float, ...]:
        """All intervals that some rule sets."""
        return tuple(sorted({rule.minimum_interval_s for rule, _ in self.matches if rule.minimum_interval_s > 0}))

    @cached_property
    def caveats(self) -> frozenset[str]:
        """All caveats that some rule adds."""
        return frozenset(caveat for rule, _ in self.matches for caveat in rule.caveats)

    # -- in one example -----------------------------------------------------------------------------------------------
    def level_in(self, example: Example, rungs: Alike) -> Level:
        """Return at which level leaves with these rungs are shown in one example."""
        shown = [level for level, need in zip(SHOWN_LEVELS, rungs, strict=True) if example.holds(self.has(need))]
        return max(shown, default=Level.WITHHELD)

    def delay_in(self, example: Example) -> float:
        """Return how long what goes waits in one example."""
        return max((each for each in self.delays_s if example.holds(self.delay_at_least(each))), default=0.0)

    def interval_in(self, example: Example) -> float:
        """Return the interval in one example."""
        return max((each for each in self.intervals_s if example.holds(self.interval_at_least(each))), default=0.0)

    def added_in(self, example: Example) -> tuple[str, ...]:
        """Return the caveats that the decision adds in one example."""
        return tuple(sorted(each for each in self.caveats if example.holds(self.adds(each))))
