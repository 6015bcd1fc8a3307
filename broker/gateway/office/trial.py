"""What must hold before a release policy may be in force: tried in a process, `python -m broker.gateway.office.trial`.

    standard input   {"nation": …, "members": […], "document": …, "tests": …, "invariants": …, "in_force": …}
    standard output  {"checks": [{"name": …, "passed": …, "text": …}, …], "diff": …, "releases_nothing_new": …}

A process of its own, because a proof loads a solver of a hundred megabytes and may take seconds, and no warning waits
for it; it runs at the lowest priority and `activation` ends it when its time is over. In order: the document can be
read and the linter finds no error; every leaf stands in a group; its tests pass; they try every rule; every invariant
of the nation is proved for all messages; and what it releases beyond the one in force is known. What cannot be answered
has not passed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.document import PolicyError
from broker.gateway.release import Policy, Severity, lint, run_tests
from broker.invariants import Invariants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

READ, PLACED, TESTS, COVERAGE, PROMISES, DIFFERENCE = (
    "document",
    "leaves",
    "tests",
    "coverage",
    "invariants",
    "difference",
)
NO_SOLVER: Final = (
    "the solver is not installed at the gateway: pip install 'vedette[prove]'; without it nothing is proved"
)
CUT: Final = "\n… and more"
NICE: Final = 19


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be tried, and beside what."""

    nation: str
    members: Sequence[str]
    document: str
    tests: str
    invariants: str | None
    in_force: str | None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold."""

    name: str
    passed: bool
    text: str


@dataclass(slots=True)
class Trial:
    """What came of it."""

    checks: list[Check] = field(default_factory=list)
    diff: str = ""
    releases_nothing_new: bool = False

    def note(self, name: str, lines: Sequence[str], ok: str) -> None:
        """Note a check: passed with `ok` where there are no lines against it."""
        self.checks.append(Check(name, not lines, _cut("\n".join(lines) or ok)))

    @property
    def passed(self) -> bool:
        """Say whether everything holds."""
        return bool(self.checks) and all(check.passed for check in self.checks)


def main() -> int:
    """Answer the question on standard input."""
    confine()
    question = Question(**json.load(sys.stdin))
    json.dump(asdict(tried(question)), sys.stdout)
    return 0


def confine() -> None:
    """Take little of the processor and no more than some memory: a gateway stands beside this process."""
    os.nice(NICE)
    most = limits.RELEASE_CHECKS_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def tried(question: Question) -> Trial:
    """Return what came of trying a policy. What is found out does not depend on what was found before it."""
    trial = Trial()
    findings = lint(question.document, nation=question.nation, members=question.members)
    errors = [str(finding) for finding in findings if finding.severity is Severity.ERROR]
    warnings = [str(finding) for finding in findings if finding.severity is not Severity.ERROR]
    trial.note(READ, errors, "\n".join(["no error", *warnings]))
    try:
        policy = Policy.parse(question.document, nation=question.nation, members=question.members)
    except PolicyError as error:
        trial.note(PLACED, [str(error)], "")
        return trial
    trial.note(PLACED, [f"in no group: {path}" for path in policy.unplaced()], "each leaf stands in one group")
    _run_tests(trial, policy, question.tests)
    _prove(trial, policy, question)
    return trial


def _run_tests(trial: Trial, policy: Policy, tests: str) -> None:
    if not tests.strip():
        trial.note(TESTS, ["there are none"], "")
        return
    try:
        run = run_tests(policy, tests)
    except PolicyError as error:
        trial.note(TESTS, [str(error)], "")
        return
    failed = [
        f"{result.name} ({result.recipient}): {difference}"
        for result in run.results
        if not result.passed
        for difference in result.differences or ("failed",)
    ]
    if not run.results:
        failed = ["there are none"]
    trial.note(TESTS, failed, f"{len(run.results)} passed")
    trial.note(
        COVERAGE, [f"no test matches {rule}" for rule in run.rules_untried], f"all {len(policy.rules)} rules tried"
    )


def _prove(trial: Trial, policy: Policy, question: Question) -> None:
    try:
        from broker.gateway.office import proven  # noqa: PLC0415 - it loads the solver, which need not be installed
    except ImportError:
        trial.note(PROMISES, [NO_SOLVER], "")
        trial.note(DIFFERENCE, [NO_SOLVER], "")
        return
    _try(trial, PROMISES, lambda: _promises(trial, policy, question, proven.broken))
    _try(trial, DIFFERENCE, lambda: _difference(trial, policy, question, proven.difference))


def _promises(
    trial: Trial, policy: Policy, question: Question, broken: Callable[[Policy, Invariants], list[str]]
) -> None:
    if question.invariants is None:
        trial.note(PROMISES, [], "the gateway is configured with none: nothing to prove")
        return
    invariants = Invariants.parse(question.invariants, nation=question.nation)
    trial.note(
        PROMISES,
        broken(policy, invariants) + _marked(policy, invariants),
        f"all {len(invariants.invariants)} proved for every message",
    )


def _marked(policy: Policy, invariants: Invariants) -> list[str]:
    """Return where the hub would hold a message to an invariant only because a rule marked it, and refuse a warning.

    It sees the caveats of the label as they went out, and cannot know which of them the report had.
    """
    return [
        f"{invariant.invariant_id} speaks of the caveat {caveat}, which {rule.rule_id} adds: the hub would take every "
        "message of that rule for one of those; use another caveat in one of them"
        for invariant in invariants.invariants
        for rule in policy.rules
        for caveat in rule.caveats
        if f'"{caveat}"' in invariant.when or f"'{caveat}'" in invariant.when
    ]


def _difference(
    trial: Trial, policy: Policy, question: Question, difference: Callable[[Policy, Policy], tuple[str, bool]]
) -> None:
    if question.in_force is None:
        trial.note(DIFFERENCE, [], "nothing is in force: everything that it releases is new")
        return
    text, trial.releases_nothing_new = difference(Policy.parse(question.in_force, nation=question.nation), policy)
    trial.diff = _cut(text)
    trial.note(DIFFERENCE, [], "releases nothing new (proved)" if trial.releases_nothing_new else "see the difference")


def _try(trial: Trial, name: str, work: Callable[[], None]) -> None:
    """Do one part; what it stumbles over is an answer, and the answer is no."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - the boundary of this process: whatever is not proved has not passed
        trial.note(name, [f"could not be answered: {type(error).__name__}: {error}"], "")


def _cut(text: str) -> str:
    """Return a text within its bound, in bytes: it crosses the wire together with others."""
    data = text.encode()
    if len(data) <= limits.RELEASE_REPORT_BYTES_MAX:
        return text
    kept = data[: limits.RELEASE_REPORT_BYTES_MAX - len(CUT.encode())].decode(errors="ignore")
    return kept + CUT


if __name__ == "__main__":
    sys.exit(main())
