"""What a nation's release policy promises: it parses, places every leaf, and its own tests pass and try every rule."""

from __future__ import annotations

from dataclasses import dataclass

from broker.conformance.error import ConformanceError
from broker.gateway.release import Policy, PolicyError
from broker.gateway.release.lint import Severity, lint
from broker.gateway.release.policy import SELF
from broker.gateway.release.policytest import TestRun, run_tests

__all__ = ["PolicyReport", "check_policy"]

POLICY = "release.yaml"
TESTS = "release.test.yaml"


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """How much of a policy was tried."""

    version: int
    digest: str
    rules: int
    tests: int  # one for each message and recipient


def check_policy(code: str, policy_text: str, tests_text: str) -> PolicyReport:
    """Check a policy and its tests. Raises ConformanceError."""
    try:
        policy = Policy.parse(policy_text, nation=code)
    except PolicyError as error:
        raise ConformanceError(f"{POLICY}: a policy can be read, but {error}") from None
    if unplaced := policy.unplaced():
        raise ConformanceError(f"{POLICY}: every leaf stands in a group, but not {unplaced[0]}, of {len(unplaced)}")
    for finding in lint(policy_text, nation=code):
        if finding.severity is Severity.ERROR:
            raise ConformanceError(f"{POLICY}: a policy has no errors, but {finding}")
    if SELF not in policy.recipients:
        raise ConformanceError(f"{POLICY}: {SELF} is a recipient: what the hub may use for the nation's own picture")
    run = _run(policy, tests_text)
    for result in run.results:
        if not result.passed:
            differences = "; ".join(result.differences)
            raise ConformanceError(f"{TESTS}: every test passes, but {result.name}, {result.recipient}: {differences}")
    if run.rules_untried:
        raise ConformanceError(f"{TESTS}: every rule is tried, but not {', '.join(run.rules_untried)}")
    return PolicyReport(policy.version, policy.digest, len(policy.rules), len(run.results))


def _run(policy: Policy, tests_text: str) -> TestRun:
    try:
        return run_tests(policy, tests_text)
    except PolicyError as error:
        raise ConformanceError(f"{TESTS}: tests can be read, but {error}") from None
