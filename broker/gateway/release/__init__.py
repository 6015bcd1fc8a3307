"""Step 2: what of a message may be said to whom. Pure: no network, disk, clock, key or chance.

    policy = Policy.parse(text)                       strict; PolicyError with line and column
    decision = decide(policy, subject, "JPN")         never raises; a fault is a denial
    due_ns = release_instant_ns(decision, content, decided_ns)
    view = redact(content, decision, released_ns=due_ns)

A policy is read by `rules`, `conditions` and `policy` (with `broker.document`); a message passes `engine`, `decide`,
`shown`, `due` and `redact` with its `steps` and `coarsen`. `combine` tightens a decision that is made again, `owed`
says which corrections are owed, `onward` to whom a recipient may pass something on, `explain` tells people why; `lint`
with `timely`, `inference`, `effects` and `breadth`, and `policytest`, try a policy beforehand; `comparison` tries it on
messages that were recorded, and makes an `impact` of what each `change` comes to; `schema` is for editors.
"""

from broker.gateway.release.decide import Subject, decide, decider_of
from broker.gateway.release.decision import Decision, combine, decision_from_json
from broker.gateway.release.due import release_instant_ns, rounded_up_ns
from broker.gateway.release.explain import Explanation, explain
from broker.gateway.release.lattice import Level
from broker.gateway.release.lint import Finding, Severity, lint
from broker.gateway.release.onward import NO_ONWARD, onward
from broker.gateway.release.owed import same_for
from broker.gateway.release.policy import EVERYBODY, Policy, PolicyError
from broker.gateway.release.policytest import TestResult, TestRun, run_tests, subject_of
from broker.gateway.release.redact import redact

__all__ = [
    "EVERYBODY",
    "NO_ONWARD",
    "Decision",
    "Explanation",
    "Finding",
    "Level",
    "Policy",
    "PolicyError",
    "Severity",
    "Subject",
    "TestResult",
    "TestRun",
    "combine",
    "decide",
    "decider_of",
    "decision_from_json",
    "explain",
    "lint",
    "onward",
    "redact",
    "release_instant_ns",
    "rounded_up_ns",
    "run_tests",
    "same_for",
    "subject_of",
]
