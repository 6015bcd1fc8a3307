"""What the solver says of a policy, as lines for people: broken promises, and what one policy releases beyond another.

Only the process of `trial` imports this: it loads the solver. Not knowing is an answer of its own, never a good one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.gateway.proof import Refuted, Unknown, changes, prove
from broker.gateway.proof.telling import outlasts

if TYPE_CHECKING:
    from broker.gateway.proof import Change
    from broker.gateway.release import Policy
    from broker.invariants import Invariants

NOTHING = "nothing is released that was not, and nothing withheld that was not"


class NotKnown(Exception):  # noqa: N818 - an answer
    """The solver does not know; the text says of what."""


def broken(policy: Policy, invariants: Invariants) -> list[str]:
    """Return each promise that is not proved for every message, and why."""
    lines: list[str] = []
    for proof in prove(policy, invariants):
        name = f"{proof.invariant.invariant_id} to {proof.recipient}"
        match proof.verdict:
            case Refuted(text=text):
                lines.append(f"{name} is broken: {text}")
            case Unknown(reason=reason):
                lines.append(f"{name} is not proved: {reason}")
            case _:
                pass
    return lines


def difference(old: Policy, new: Policy) -> tuple[str, bool]:
    """Return what changes, what is looser first, and whether it is proved that nothing is. Raises NotKnown."""
    found = changes(old, new)
    if found.unknown:
        raise NotKnown("; ".join(found.unknown))
    ordered = sorted(found.found, key=lambda change: (not change.kind.is_looser, change.recipient, change.body))
    lines = [f"+ {longer}"] if (longer := outlasts(old, new)) else []
    return "\n".join([*lines, *(map(_line, ordered) if ordered else [NOTHING])]), found.releases_nothing_new


def _line(change: Change) -> str:
    sign = "+" if change.kind.is_looser else "-"
    what = ", ".join(change.what)
    rules = ", ".join(change.after.rule_ids) or "no rule"
    return (
        f"{sign} {change.recipient} {change.body}: {change.kind.value}: {what}: {change.old} -> {change.new} ({rules})"
    )
