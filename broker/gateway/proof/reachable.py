"""Whether a policy can show something at all: a message with which it does, or a proof that there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.gateway.proof.model import Model, spaces_of
from broker.gateway.proof.solver import Budget, Solver, Undecided, both, disj
from broker.gateway.proof.terms import NotModelled
from broker.gateway.proof.verdict import Proved, Refuted, Unknown, Verdict
from broker.gateway.proof.witness import Disagreement, confirmed, message_of
from broker.gateway.release.lattice import Level
from broker.leaves import BODIES_UNDER_POLICY, LEAVES

if TYPE_CHECKING:
    from broker.gateway.release.policy import Policy

__all__ = ["can_release", "leaves_of"]


def leaves_of(policy: Policy, name: str) -> tuple[str, ...]:
    """Return the leaves that a name stands for: a leaf, a subtree, or a group of the policy. Raises ValueError.

    Of a group and a subtree with one name, those of both: whichever was meant, "never" is true of it.
    """
    grouped = policy.groups.get(name, ())
    below = (path for path in LEAVES if f"{path}.".startswith(f"{name}."))
    found = tuple(dict.fromkeys((*grouped, *below)))
    if not found:
        raise ValueError(f"no such leaf, subtree or group: {name}")
    return found


def can_release(policy: Policy, name: str, recipient: str, at_least: Level = Level.CELL_50KM) -> Verdict:
    """Return whether any message makes the policy show it to the recipient, at that level or finer.

    `name` is a leaf, a subtree or a group; of several leaves, any. Refuted: this message does. Proved: none does.
    Raises ValueError where nothing has that name.
    """
    paths = leaves_of(policy, name)
    try:
        model, budget = Model(policy, spaces_of([policy])), Budget()
        for body in BODIES_UNDER_POLICY:
            case = model.case(recipient, body)
            shows = {path: case.shows(path, at_least) for path in paths}
            seen = (both(formula, case.space.has_leaf(path)) for path, formula in shows.items())
            example = Solver(case.space.domain, budget, case.space.usual).example(disj(shows.values()), (disj(seen),))
            if example is not None:
                shown = [path for path, formula in shows.items() if example.holds(formula)]
                witness = confirmed(case, example, message_of(case.space, example, shown))
                levels = witness.decision.shown.levels
                return Refuted(witness, "; ".join(f"{path} is shown at {levels[path].label}" for path in shown))
    except (Undecided, NotModelled, Disagreement) as error:
        return Unknown(str(error))
    return Proved()
