"""To whom else a recipient may pass on what it gets: never to anybody whom our own policy denies it.

Passing on must not be a way round a policy. A nation stands in the label that another one gets only if it is on the
report's own list, and the policy would release the same message to it, now. Under the caveat NO-ONWARD, or the
originator's control, nobody does. The label cannot say how exactly something may be passed on: what somebody else may
see only coarsely needs NO-ONWARD for whoever sees it exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.gateway.release.decide import decide

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
    return tuple(other for other in others if decide(policy, subject, other, now_ns=now_ns).released)
