"""Proofs about release policies, for every possible message: promises kept, changes found, rules that do nothing.

Never on the way of a message: only an administrator's commands and the activation of a policy import this. It needs the
solver z3, the extra `prove`.
"""

try:
    import z3  # noqa: F401 - asked for here, so that the answer is the same whatever is imported
except ImportError as error:
    raise ImportError("proofs need the solver z3: pip install vedette[prove]") from error

from broker.gateway.proof.changes import Change, Changes, Kind, changes, only_tightens, releases_nothing_new
from broker.gateway.proof.effects import ineffective
from broker.gateway.proof.promises import Proof, prove
from broker.gateway.proof.reachable import can_release, leaves_of
from broker.gateway.proof.verdict import Proved, Refuted, Unknown, Verdict, Witness

__all__ = [
    "Change",
    "Changes",
    "Kind",
    "Proof",
    "Proved",
    "Refuted",
    "Unknown",
    "Verdict",
    "Witness",
    "can_release",
    "changes",
    "ineffective",
    "leaves_of",
    "only_tightens",
    "prove",
    "releases_nothing_new",
]
