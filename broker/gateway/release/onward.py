"""To whom else a recipient may pass on what it gets: never to anybody whom our own policy would show less of it.

Passing on must not be a way round a policy. A nation stands in the label that another one gets only if it is on the
report's own list, and the policy would show it all that it shows the other, now: every leaf at least as exactly, with
no longer delay and no longer interval. For a label says who may be told, and cannot say how exactly, or when. Under the
caveat NO-ONWARD, or the originator's control, nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.gateway.release.decide import decide
from broker.gateway.release.lattice import Level

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.gateway.release.decide import Subject
    from broker.gateway.release.decision import Decision
    from broker.gateway.release.policy import Policy

__all__ = ["NO_ONWARD", "onward"]

NO_ONWARD: Final = "NO-ONWARD"


def onward(
    policy: Policy, subject: Subject, decision: Decision, others: Iterable[str], *, now_ns: int
) -> tuple[str, ...]:
    """Return those of the others to whom the recipient of a released decision may pass the message on."""
    label = subject.label
    if label.originator_controlled or NO_ONWARD in (*label.caveats, *decision.caveats):
        return ()
    return tuple(
        other for other in others if _is_shown_as_much(decide(policy, subject, other, now_ns=now_ns), decision)
    )


def _is_shown_as_much(other: Decision, decision: Decision) -> bool:
    """Return whether somebody is shown at least what the decision shows, as soon and as often."""
    levels = other.shown.levels
    return (
        other.released
        and other.delay_s <= decision.delay_s
        and other.minimum_interval_s <= decision.minimum_interval_s
        and all(levels.get(path, Level.WITHHELD) >= level for path, level in decision.shown.levels.items())
    )
