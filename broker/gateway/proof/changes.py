"""What a new policy changes: per recipient and field, each with a message on which the real engine shows it.

A change is *looser* where more goes out than before: a leaf that was withheld, a finer level, a shorter delay or
interval, a caveat less. Everything else that changes is tighter. That a policy is nowhere looser is proved for all
messages, and so is that the list of changes is complete: at the end the solver finds no message with any other. Of each
kind of change of a leaf, the one that goes furthest is told.

Leaves are compared, not groups: two policies may group them as they like. Both policies are taken as in force; when
they take effect and expire is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.proof.model import Model, spaces_of
from broker.gateway.proof.needs import SHOWN_LEVELS
from broker.gateway.proof.solver import Budget, Formula, Solver, Undecided, both, disj, neg
from broker.gateway.proof.terms import CAVEATS, NotModelled
from broker.gateway.proof.verdict import Proved, Refuted, Unknown, Verdict, Witness
from broker.gateway.proof.witness import Disagreement, confirmed, message_of
from broker.gateway.release.lattice import Level
from broker.leaves import BODIES_UNDER_POLICY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from broker.gateway.proof.model import Case
    from broker.gateway.proof.solver import Example
    from broker.gateway.release.conditions import Predicate
    from broker.gateway.release.decision import Decision
    from broker.gateway.release.policy import Policy

    Progress = Callable[[int, int], None]

__all__ = ["Change", "Changes", "Kind", "changes", "only_tightens", "releases_nothing_new"]


class Kind(Enum):
    """How something changes."""

    RELEASED = "newly released"
    FINER = "finer"
    SOONER = "shorter delay"
    OFTENER = "shorter interval"
    CAVEAT_LOST = "caveat lost"
    WITHHELD = "newly withheld"
    COARSER = "coarser"
    LATER = "longer delay"
    SELDOMER = "longer interval"
    CAVEAT_ADDED = "caveat added"

    @property
    def is_looser(self) -> bool:
        """Whether more goes out than before."""
        return self in _LOOSER


_LOOSER: Final = frozenset({Kind.RELEASED, Kind.FINER, Kind.SOONER, Kind.OFTENER, Kind.CAVEAT_LOST})
_OF_LEAVES: Final = (Kind.RELEASED, Kind.FINER, Kind.WITHHELD, Kind.COARSER)


@dataclass(frozen=True, slots=True)
class Change:
    """What changes for one recipient in one kind of body, and a message on which it does."""

    kind: Kind
    recipient: str
    body: str
    what: tuple[str, ...]  # leaves; ("delay_s",), ("minimum_interval_s",) or the caveats
    old: str  # as people write it: a level, seconds, or "with" and "without" a caveat
    new: str
    before: Witness  # the message, as the old policy decides
    after: Witness  # the same message, as the new one does


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes. Complete only if nothing is unknown."""

    found: tuple[Change, ...]
    unknown: tuple[str, ...]  # what could not be decided, and why

    @property
    def releases_nothing_new(self) -> bool:
        """Whether it is proved that nothing is looser."""
        return not self.unknown and not any(change.kind.is_looser for change in self.found)


def changes(
    old: Policy,
    new: Policy,
    *,
    exception: Predicate | None = None,
    progress: Progress | None = None,
    within_s: float = limits.PROOF_S,
) -> Changes:
    """Return what the new policy changes, by recipient, body and kind.

    Messages that match `exception` are left out. Raises ValueError for policies of two nations. `progress` is told how
    many questions of how many are answered. What is not decided `within_s` is unknown.
    """
    found: list[Change] = []
    unknown: list[str] = []
    try:
        pairs = list(_pairs(old, new, exception, Budget(within_s)))
        for number, pair in enumerate(pairs, start=1):
            try:
                found += _told(pair.all_changes())
            except (Undecided, NotModelled, Disagreement) as error:
                unknown.append(f"{pair.recipient}, {pair.body}: {error}")
            if progress is not None:
                progress(number, len(pairs))
    except NotModelled as error:
        unknown.append(str(error))
    return Changes(tuple(found), tuple(unknown))


def releases_nothing_new(old: Policy, new: Policy, *, exception: Predicate | None = None) -> Verdict:
    """Return whether the new policy shows nobody more than the old one: proved, refuted by a message, or unknown.

    For going back to earlier rules, `new` is their document under its new number and `old` what is in force. What is
    asked is whether anything is looser: shown that was not, finer, sooner, oftener or without a caveat. The text of a
    Refuted names it. Raises ValueError for policies of two nations.
    """
    try:
        for pair in _pairs(old, new, exception, Budget()):
            looser = pair.first_looser()
            if looser is not None:
                text = f"{looser.recipient}, {looser.body}: {', '.join(looser.what)}: {looser.old} -> {looser.new}"
                return Refuted(looser.after, f"{looser.kind.value}: {text}")
    except (Undecided, NotModelled, Disagreement) as error:
        return Unknown(str(error))
    return Proved()


def only_tightens(old: Policy, new: Policy) -> Verdict:
    """Return whether the new policy only takes away, for every message: what one person alone may put in force.

    The same question as `releases_nothing_new` without exceptions; Proved is the only answer that permits it.
    """
    return releases_nothing_new(old, new)


def _pairs(old: Policy, new: Policy, exception: Predicate | None, budget: Budget) -> Iterator[_Pair]:
    if old.nation != new.nation:
        raise ValueError(f"the old policy is {old.nation}'s, the new one {new.nation}'s")
    spaces = spaces_of((old, new), () if exception is None else (exception,))
    before, after = Model(old, spaces), Model(new, spaces)
    solvers = {body: Solver(space.domain, budget, space.usual) for body, space in spaces.items()}
    for recipient in dict.fromkeys((*old.recipients, *new.recipients)):
        for body in BODIES_UNDER_POLICY:
            left_out = False if exception is None else spaces[body].formula(exception, recipient)
            yield _Pair(before.case(recipient, body), after.case(recipient, body), solvers[body], neg(left_out))


@dataclass(frozen=True, slots=True)
class _Question:
    """One change that may be: of leaves that are alike, to this level or finer (from it, where that is tighter)."""

    kind: Kind
    what: tuple[str, ...]
    level: Level = Level.WITHHELD


class _Pair:
    """What two policies decide for one recipient on messages with one kind of body."""

    def __init__(self, old: Case, new: Case, solver: Solver, where: Formula) -> None:
        self.old = old
        self.new = new
        self.recipient = old.recipient
        self.body = old.space.body
        self._solver = solver
        self._where = where

    def all_changes(self) -> Iterator[Change]:
        """Yield every change there is, in examples that each show some of them. Raises what a proof may."""
        still_open = dict(self._questions(Kind))
        while still_open:
            example = self._example(still_open)
            if example is None:
                return
            answered = [question for question, formula in still_open.items() if example.holds(formula)]
            if not answered:
                raise Undecided("an example that answers no question")
            yield from self._confirmed(example, answered)
            for question in answered:
                del still_open[question]

    def first_looser(self) -> Change | None:
        """Return some change that is looser, or None: it is proved that there is none. Raises what a proof may."""
        questions = dict(self._questions(_LOOSER))
        example = self._example(questions)
        if example is None:
            return None
        answered = [question for question, formula in questions.items() if example.holds(formula)]
        return next(self._confirmed(example, answered))

    def _example(self, questions: Mapping[_Question, Formula]) -> Example | None:
        """Return a message with any of these changes, and with one of the leaves that change set, if there is one."""
        return self._solver.example(both(self._where, disj(questions.values())), self._seen(questions))

    def _seen(self, questions: Mapping[_Question, Formula]) -> Iterator[Formula]:
        yield disj(
            both(formula, self.old.space.has_leaf(question.what[0]))
            for question, formula in questions.items()
            if question.kind in _OF_LEAVES
        )

    # -- what may change ----------------------------------------------------------------------------------------------
    def _questions(self, kinds: object) -> Iterator[tuple[_Question, Formula]]:
        wanted = frozenset(kinds) if isinstance(kinds, frozenset) else frozenset(Kind)
        for question, formula in (*self._of_leaves(wanted), *self._of_terms()):
            if question.kind in wanted and formula is not False:
                yield question, formula

    def _of_leaves(self, wanted: frozenset[Kind]) -> Iterator[tuple[_Question, Formula]]:
        for paths, old, new in self._alike():
            if all(_same(one, other) for one, other in zip(old, new, strict=True)):
                continue
            for level, (was, becomes) in zip(SHOWN_LEVELS, zip(old, new, strict=True), strict=True):
                for kind, more, less, first in (
                    (Kind.RELEASED, becomes, was, old[0]),
                    (Kind.WITHHELD, was, becomes, new[0]),
                ):
                    if kind in wanted:
                        yield _Question(kind, paths, level), both(more, neg(first))
                    if level > SHOWN_LEVELS[0] and _TO_FINER[kind] in wanted:
                        yield _Question(_TO_FINER[kind], paths, level), both(more, first, neg(less))

    def _alike(self) -> Iterator[tuple[tuple[str, ...], list[Formula], list[Formula]]]:
        """Yield the leaves that both policies show alike, with whether each shows them at each level or finer."""
        old, new = (case.model.needs(self.body).leaves for case in (self.old, self.new))
        together: dict[object, list[str]] = {}
        for path in old:
            together.setdefault((old[path], new[path]), []).append(path)
        for paths in together.values():
            yield (
                tuple(paths),
                [self.old.has(need) for need in old[paths[0]]],
                [self.new.has(need) for need in new[paths[0]]],
            )

    def _of_terms(self) -> Iterator[tuple[_Question, Formula]]:
        goes = both(self.old.is_released, self.new.is_released)
        for kind, case, other in ((Kind.SOONER, self.old, self.new), (Kind.LATER, self.new, self.old)):
            shorter = (both(case.delay_at_least(each), neg(other.delay_at_least(each))) for each in case.delays_s)
            yield _Question(kind, ("delay_s",)), both(goes, disj(shorter))
        for kind, case, other in ((Kind.OFTENER, self.old, self.new), (Kind.SELDOMER, self.new, self.old)):
            shorter = (
                both(case.interval_at_least(each), neg(other.interval_at_least(each))) for each in case.intervals_s
            )
            yield _Question(kind, ("minimum_interval_s",)), both(goes, disj(shorter))
        for caveat in sorted(self.old.caveats | self.new.caveats):
            unlabelled = neg(self.old.space.lists[CAVEATS].contains.get(caveat, False))
            one, other = self.old.adds(caveat), self.new.adds(caveat)
            yield _Question(Kind.CAVEAT_LOST, (caveat,)), both(goes, unlabelled, one, neg(other))
            yield _Question(Kind.CAVEAT_ADDED, (caveat,)), both(goes, unlabelled, other, neg(one))

    # -- what does change ---------------------------------------------------------------------------------------------
    def _confirmed(self, example: Example, answered: list[_Question]) -> Iterator[Change]:
        leaves = [path for question in answered if question.kind in _OF_LEAVES for path in question.what]
        subject = message_of(self.old.space, example, leaves)
        before, after = confirmed(self.old, example, subject), confirmed(self.new, example, subject)
        for question in answered:
            old, new = _told_of(question, before.decision), _told_of(question, after.decision)
            if old == new:
                raise Disagreement(f"{', '.join(question.what)}: the engine sees no change")
            yield Change(question.kind, self.recipient, self.body, question.what, old, new, before, after)


_TO_FINER: Final[Mapping[Kind, Kind]] = {Kind.RELEASED: Kind.FINER, Kind.WITHHELD: Kind.COARSER}


def _same(one: Formula, other: Formula) -> bool:
    """Say whether two formulas are one. The solver keeps equal ones once, so two policies' equal rules are cheap."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one.eq(other))


def _told_of(question: _Question, decision: Decision) -> str:
    match question.kind:
        case Kind.SOONER | Kind.LATER:
            return f"{decision.delay_s:g} s"
        case Kind.OFTENER | Kind.SELDOMER:
            return f"{decision.minimum_interval_s:g} s"
        case Kind.CAVEAT_LOST | Kind.CAVEAT_ADDED:
            return "with" if question.what[0] in decision.caveats else "without"
        case _:
            return decision.shown.levels.get(question.what[0], Level.WITHHELD).label


def _told(found: Iterator[Change]) -> list[Change]:
    """Keep of each kind of change of a leaf the one that goes furthest, and tell together what changes alike."""
    furthest: dict[tuple[Kind, tuple[str, ...]], Change] = {}
    for change in found:
        key = (change.kind, change.what)
        if key not in furthest or _distance(change) > _distance(furthest[key]):
            furthest[key] = change
    together: dict[tuple[object, ...], list[Change]] = {}
    for change in furthest.values():
        same = (change.kind, change.old, change.new, id(change.after) if change.kind in _OF_LEAVES else change.what)
        together.setdefault(same, []).append(change)
    joined = (_joined(several) for several in together.values())
    return sorted(joined, key=lambda change: (_ORDER.index(change.kind), change.what))


_ORDER: Final = tuple(Kind)


def _joined(several: list[Change]) -> Change:
    one = several[0]
    what = tuple(path for each in several for path in each.what)
    return Change(one.kind, one.recipient, one.body, what, one.old, one.new, one.before, one.after)


def _distance(change: Change) -> int:
    if change.kind not in _OF_LEAVES:
        return 0
    path = change.what[0]
    before, after = (each.decision.shown.levels.get(path, Level.WITHHELD) for each in (change.before, change.after))
    return abs(after - before)
