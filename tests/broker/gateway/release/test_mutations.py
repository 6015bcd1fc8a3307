"""Bugs planted on purpose: for each of them some test of ours must fail, and without them all of these pass.

A mutant is a copy of the package in which one piece of text is replaced; the test that must notice runs against it in a
process of its own. A text that no longer stands in the source exactly once fails the check, so that it cannot rot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
TESTS = Path(__file__).parent
RELEASE = Path("broker/gateway/release")
FAILED = 1  # pytest's status where tests ran and some of them failed; broken imports and the like have others
WAIT_S = 110


@dataclass(frozen=True)
class Mutant:
    """One bug: in which file which text becomes which, and the test that must notice."""

    file: str
    old: str
    new: str
    noticed_by: str


MUTANTS = {
    "the least of what is released": Mutant(
        "decide.py",
        "levels[group] = max(levels[group], level)",
        "levels[group] = min(levels[group], level)",
        "test_decide.py::test_releases_join_by_the_greatest_and_limits_cap_by_the_least",
    ),
    "the greatest of what limits leave": Mutant(
        "decide.py",
        "levels[group] = min(levels[group], level)",
        "levels[group] = max(levels[group], level)",
        "test_decide.py::test_releases_join_by_the_greatest_and_limits_cap_by_the_least",
    ),
    "a limit ignored": Mutant(
        "decide.py",
        "if rule.effect is Effect.LIMIT:",
        "if rule.effect is Effect.LIMIT and rule.is_guard:",
        "test_decide.py::test_releases_join_by_the_greatest_and_limits_cap_by_the_least",
    ),
    "a deny dropped": Mutant(
        "decide.py",
        "if any(rule.effect is Effect.DENY for rule in rules):",
        "if all(rule.effect is Effect.DENY for rule in rules):",
        "test_decide.py::test_deny_beats_every_release",
    ),
    "to ignored": Mutant(
        "decide.py",
        "if recipient in rule.to)",
        "if rule.to)",
        "test_decide.py::test_deny_beats_every_release",
    ),
    "the shortest delay": Mutant(
        "decide.py",
        "delay_s=max((rule.delay_s",
        "delay_s=min((rule.delay_s",
        "test_decide.py::test_delay_and_interval_are_the_longest_and_caveats_all",
    ),
    "the shortest interval": Mutant(
        "decide.py",
        "minimum_interval_s=max((rule.minimum_interval_s",
        "minimum_interval_s=min((rule.minimum_interval_s",
        "test_decide.py::test_delay_and_interval_are_the_longest_and_caveats_all",
    ),
    "caveats lost": Mutant(
        "decide.py",
        "for rule in rules for caveat in rule.caveats}",
        "for rule in rules[:1] for caveat in rule.caveats}",
        "test_decide.py::test_delay_and_interval_are_the_longest_and_caveats_all",
    ),
    "what is unlabelled passes": Mutant(
        "decide.py",
        "if label.classification == envelope_pb2.CLASSIFICATION_UNSPECIFIED:",
        "if label.classification < envelope_pb2.CLASSIFICATION_UNSPECIFIED:",
        "test_decide.py::test_an_unlabelled_message_goes_to_nobody",
    ),
    "releasable_to ignored": Mutant(
        "decide.py",
        "if recipient != SELF and recipient not in label.releasable_to:",
        "if recipient != SELF and not label.releasable_to:",
        "test_decide.py::test_a_label_that_does_not_name_the_recipient_forbids",
    ),
    "an unknown caveat passes": Mutant(
        "decide.py",
        "if not self._known_caveats.issuperset(label.caveats):",
        "if not self._known_caveats and label.caveats:",
        "test_decide.py::test_a_caveat_that_no_rule_speaks_of_forbids",
    ),
    "bodies outside policy pass": Mutant(
        "decide.py",
        "if body not in UNDER_POLICY:",
        "if not body:",
        "test_decide.py::test_bodies_that_no_nation_sends_are_denied",
    ),
    "an expired policy passes": Mutant(
        "policy.py",
        "return self.effective_ns <= now_ns < self.expires_ns",
        "return self.effective_ns <= now_ns",
        "test_decide.py::test_past_its_time_a_policy_releases_nothing",
    ),
    "a held message gets looser": Mutant(
        "decision.py",
        "both = {path: min(level,",
        "both = {path: max(level,",
        "test_redact.py::test_two_decisions_combined_show_no_more_than_either",
    ),
    "the second engine is not heard": Mutant(
        "engine.py",
        "if answers != others:",
        "if len(answers) != len(others):",
        "test_decide.py::test_engines_that_disagree_deny_and_name_the_rules",
    ),
    "the second engine is not asked": Mutant(
        "decide.py",
        "return Decider(policy, both_engines)",
        "return Decider(policy)",
        "test_decide.py::test_a_gateway_decides_with_both_engines",
    ),
    "!= settled as ==": Mutant(
        "engine.py",
        '"!=": lambda value, to: value != to[0],',
        '"!=": lambda value, to: value == to[0],',
        "test_differential.py::test_both_engines_agree_on_20_000_random_messages",
    ),
    "an or settled as an and": Mutant(
        "engine.py",
        "return _joined(parts, known, absorbing=True)",
        "return _joined(parts, known, absorbing=False)",
        "test_differential.py::test_both_engines_agree_on_20_000_random_messages",
    ),
    "in with its first value only": Mutant(
        "generated.py",
        "for value in values)})",
        "for value in values[:1])})",
        "test_differential.py::test_both_engines_agree_on_20_000_random_messages",
    ),
    "a not dropped": Mutant(
        "generated.py",
        'return f"not ({self.expression(part)})"',
        'return f"({self.expression(part)})"',
        "test_differential.py::test_both_engines_agree_on_20_000_random_messages",
    ),
    "has() is always true": Mutant(
        "generated.py",
        ".HasField({_literal(term.path[-1])})",
        ".HasField({_literal(term.path[-1])}) in (False, True)",
        "test_differential.py::test_both_engines_agree_on_20_000_random_messages",
    ),
    "the first rule is lost": Mutant(
        "decide.py",
        "rule for rule in policy.rules if recipient",
        "rule for rule in policy.rules[1:] if recipient",
        "test_decide.py::test_releases_join_by_the_greatest_and_limits_cap_by_the_least",
    ),
    "coarsening skipped": Mutant(
        "steps.py",
        "    if not level.is_coarse:\n        return copy_step(field)",
        "    if level:\n        return copy_step(field)",
        "test_redact.py::test_the_coordinates_of_one_place_share_the_coarsest_of_their_levels",
    ),
    "a sibling leaf leaks": Mutant(
        "redact.py",
        "return leaf_step(node, level,",
        "level = max((each for path, each in shown.levels.items() if path[:9] == node.path[:9]), default=level)\n"
        "        return leaf_step(node, level,",
        "test_redact.py::test_what_is_disclosed_is_allowed_by_the_policy",
    ),
    "an essential is missing and the rest is shown": Mutant(
        "shown.py",
        "== Level.WITHHELD for path in essentials):",
        "== Level.WITHHELD for path in ()):",
        "test_redact.py::test_a_latitude_is_not_shown_without_its_longitude",
    ),
    "a coarse time is sent at once": Mutant(
        "due.py",
        "due_ns = max(start_ns + length_ns for start_ns, length_ns in cells) + delay_ns",
        "due_ns = decided_ns + delay_ns",
        "test_due.py::test_a_coarse_time_goes_at_the_end_of_its_cell_plus_delay",
    ),
}
SHORT = ("the greatest of what limits leave", "a deny dropped", "to ignored")


def planted(folder: Path, mutant: Mutant | None) -> dict[str, str]:
    """Copy the package, with the bug in it; return the environment in which the copy is what is imported."""
    shutil.copytree(ROOT / "broker", folder / "broker", ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        path = folder / RELEASE / mutant.file
        source = path.read_text(encoding="utf-8")
        assert source.count(mutant.old) == 1, f"{mutant.file} no longer says {mutant.old!r}, or says it twice"
        path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def outcome(folder: Path, environment: dict[str, str], tests: list[str]) -> subprocess.CompletedProcess[str]:
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-m",
        "not slow",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={ROOT}", *(str(TESTS / test) for test in tests)]
    return subprocess.run(  # noqa: S603 - our own tests
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.slow) for name in MUTANTS]
)
def test_a_planted_bug_is_noticed(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    done = outcome(tmp_path, planted(tmp_path, mutant), [mutant.noticed_by])
    assert done.returncode == FAILED, f"nobody noticed: {name}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("names", [SHORT, pytest.param(tuple(MUTANTS), marks=pytest.mark.slow)], ids=["short", "all"])
def test_without_a_bug_the_same_tests_pass(names: tuple[str, ...], tmp_path: Path) -> None:
    """The control: the copy is what runs, and nothing but the bug makes these tests fail."""
    environment = planted(tmp_path, None)
    where = [
        sys.executable,
        "-c",
        "import sys, broker.gateway.release; print(sys.modules['broker.gateway.release.decide'].__file__)",
    ]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert Path(found.stdout.strip()) == tmp_path / RELEASE / "decide.py"
    done = outcome(tmp_path, environment, sorted({MUTANTS[name].noticed_by for name in names}))
    assert done.returncode == 0, done.stdout + done.stderr
