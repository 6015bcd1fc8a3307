"""The solver: formulas over yes-or-no questions, and whether some answer to all of them makes one true.

Everything that a proof asks is brought down to Booleans (`terms` says how), so that nothing of the solver is used but
what it does best and what is easiest to trust. Three answers are possible: nothing makes it true (that is a proof), an
example, or `Undecided`, which nobody may take for either. Each question has a bound, and all of them together have one.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Final

import z3

from broker import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Budget", "Example", "Formula", "Solver", "Undecided", "both", "conj", "disj", "neg", "variable"]

# True, False, or something that depends: z3's own type, which no stubs describe.
Formula = Any

MILLISECONDS: Final = 1_000


class Undecided(Exception):  # noqa: N818 - an answer, not a fault
    """The solver does not know, or had no time to find out. Never a proof."""


class Budget:
    """How long all questions of one proof may take together."""

    def __init__(self, total_s: float = limits.PROOF_S) -> None:
        """Begin to count now."""
        self._ends_s = time.monotonic() + total_s

    def next_ms(self) -> int:
        """Return how long the next question may take. Raises Undecided where no time is left."""
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise Undecided("the time for the whole proof is over")
        return max(1, int(min(left_s, limits.PROOF_QUESTION_S) * MILLISECONDS))


class Example:
    """One answer to all questions. What a formula does not depend on is answered with no."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - z3 has no types
        """Take z3's model."""
        self._model = model

    def holds(self, formula: Formula) -> bool:
        """Say whether the formula is true of this example."""
        if isinstance(formula, bool):
            return formula
        return bool(z3.is_true(self._model.eval(formula, model_completion=True)))


class Solver:
    """Answers questions about what lies in one domain."""

    def __init__(self, domain: Iterable[Formula], budget: Budget, usual: Iterable[Formula] = ()) -> None:
        """`domain`: what is true of all that can occur; `usual`: of what people expect, so of examples if possible."""
        self._solver = z3.SolverFor("QF_FD")
        self._budget = budget
        self._is_empty = False
        self._usual = list(usual)
        for each in domain:
            if isinstance(each, bool):
                self._is_empty |= not each
            else:
                self._solver.add(each)

    def example(self, formula: Formula, likely: Iterable[Formula] = ()) -> Example | None:
        """Return something in the domain of which the formula is true; None: there is nothing. Raises Undecided.

        `likely`: what should also be true of the example if anything can be; looked at only once there is one.
        """
        if formula is False or self._is_empty:
            return None
        budget_ms = self._budget.next_ms()
        depth = self._solver.num_scopes()
        self._solver.push()
        try:
            self._solver.set("timeout", budget_ms)
            if formula is not True:
                self._solver.add(formula)
            answer = self._solver.check()
            if answer == z3.unsat:
                return None
            if answer != z3.sat:
                raise Undecided(f"the solver says: {self._solver.reason_unknown()}")
            return self._likely(Example(self._solver.model()), itertools.chain(likely, self._usual))
        except z3.Z3Exception as error:
            raise Undecided(f"the solver failed: {error}") from None
        finally:  # all of it, whatever failed where: what stayed would narrow every later question
            self._solver.pop(self._solver.num_scopes() - depth)

    def _likely(self, found: Example, likely: Iterable[Formula]) -> Example:
        """Return an example that is also as people expect, as far as there is one. What it pushes, it leaves."""
        for each in likely:
            if each is False:
                continue
            self._solver.push()
            self._solver.add(each)
            if not found.holds(each):
                if self._solver.check() == z3.sat:
                    found = Example(self._solver.model())
                else:
                    self._solver.pop()
        return found


def variable(name: str) -> Formula:
    """Return the question of that name."""
    return z3.Bool(name)


def neg(formula: Formula) -> Formula:
    """Return the opposite."""
    return not formula if isinstance(formula, bool) else z3.Not(formula)


def conj(parts: Iterable[Formula]) -> Formula:
    """Return whether all are true."""
    return _joined(parts, absorbing=False)


def disj(parts: Iterable[Formula]) -> Formula:
    """Return whether any is true."""
    return _joined(parts, absorbing=True)


def both(*parts: Formula) -> Formula:
    """Return whether all of these are true."""
    return _joined(parts, absorbing=False)


def _joined(parts: Iterable[Formula], *, absorbing: bool) -> Formula:
    still_open: dict[int, Formula] = {}
    for part in parts:
        if isinstance(part, bool):
            if part is absorbing:
                return absorbing
        else:
            still_open[part.get_id()] = part
    if not still_open:
        return not absorbing
    several = list(still_open.values())
    if len(several) == 1:
        return several[0]
    return z3.Or(several) if absorbing else z3.And(several)
