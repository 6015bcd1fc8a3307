"""A draft is checked by a process of its own; what that does not answer well has not passed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from broker import limits
from broker.demo.world import shipped, shipped_policy, shipped_tests
from broker.gateway.office.activation import Activation, check_passed
from broker.gateway.office.trial import (
    COVERAGE,
    DIFFERENCE,
    NO_SOLVER,
    PLACED,
    PROMISES,
    READ,
    TESTS,
    Question,
    Trial,
    tried,
)
from broker.refusal import Reason, Refused
from tests.path.small_policy import TESTS as SMALL_TESTS
from tests.path.small_policy import small_policy

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.v1 import admin_pb2

MEMBERS: Final = ("JPN", "KOR", "USA")
OLD: Final = small_policy(1)
QUESTION: Final = Question("KOR", MEMBERS, small_policy(2, "10km"), SMALL_TESTS, shipped("KOR", "invariants.yaml"), OLD)


def failed(trial: Trial) -> set[str]:
    return {check.name for check in trial.checks if not check.passed}


def text_of(trial: Trial, name: str) -> str:
    return next(check.text for check in trial.checks if check.name == name)


# -- what is checked ---------------------------------------------------------------------------------------------------
def test_a_good_draft_passes_everything_and_says_what_it_changes() -> None:
    trial = tried(QUESTION)
    assert trial.passed, trial.checks
    assert [check.name for check in trial.checks] == [READ, PLACED, TESTS, COVERAGE, PROMISES, DIFFERENCE]
    assert trial.releases_nothing_new
    assert "coarser: track.state.position_m" in trial.diff


def test_what_is_newly_released_is_told_and_does_not_fail_by_itself() -> None:
    trial = tried(replace(QUESTION, document=OLD.replace("version: 1\n", "version: 3\n"), in_force=QUESTION.document))
    assert trial.passed
    assert not trial.releases_nothing_new
    assert "+ JPN track: finer: track.state.position_m" in trial.diff


def test_that_a_draft_is_in_force_longer_is_told() -> None:
    trial = tried(replace(QUESTION, document=small_policy(2, expires="2031-01-01T00:00:00Z")))
    assert "+ in force longer, 2028-01-01T00:00:00Z -> 2031-01-01T00:00:00Z" in trial.diff
    assert "longer" not in tried(QUESTION).diff


def test_the_policy_that_a_nation_ships_passes() -> None:
    trial = tried(replace(QUESTION, document=shipped_policy("KOR"), tests=shipped_tests("KOR")))
    assert trial.passed, trial.checks


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"document": OLD.replace("track_place: 1km", "trak_place: 1km")}, {READ, PLACED}),
        ({"document": OLD.replace("  clock: [header.clock.synchronized]\n", "")}, {READ, PLACED}),
        ({"members": ("KOR", "USA")}, {READ, PLACED}),
        ({"tests": SMALL_TESTS.replace("delay_s: 4", "delay_s: 3")}, {TESTS}),
        ({"tests": ""}, {TESTS}),
        ({"tests": "policy: release.yaml\ntests: []\n"}, {TESTS, COVERAGE}),
        ({"tests": "nonsense: ["}, {TESTS}),
        ({"tests": SMALL_TESTS.partition("- name: nobody")[0]}, {COVERAGE}),
        ({"document": OLD.replace("track_place: 1km", "track_place: exact")}, {PROMISES}),
        ({"invariants": "format: vedette-invariants/v1\n"}, {PROMISES}),
        ({"in_force": "format: vedette-release/v1\n"}, {DIFFERENCE}),
    ],
)
def test_what_does_not_hold_is_found(changes: dict[str, object], fails: set[str]) -> None:
    trial = tried(replace(QUESTION, **changes))  # type: ignore[arg-type] # by name
    assert failed(trial) == fails, trial.checks
    assert not trial.passed


def test_a_broken_promise_is_named_with_what_breaks_it() -> None:
    trial = tried(replace(QUESTION, document=OLD.replace("track_place: 1km", "track_place: exact")))
    assert text_of(trial, PROMISES).startswith("KOR-I5 to JPN is broken")


def test_a_rule_may_not_add_a_caveat_that_an_invariant_speaks_of() -> None:
    """The hub cannot know that the report itself did not have it, and would refuse the warning."""
    assert '"ORCON" in label.caveats' in str(QUESTION.invariants)
    document = QUESTION.document.replace("delay_s: 4, reason: r", "delay_s: 4, caveats: [ORCON], reason: r")
    assert document != QUESTION.document
    trial = tried(replace(QUESTION, document=document))
    assert failed(trial) == {PROMISES}
    assert "ORCON, which HOLD adds" in text_of(trial, PROMISES)


def test_no_text_of_a_report_is_longer_than_its_bound() -> None:
    many = "".join(f"- name: {number}\n  expect: {{JPN: {{decision: deny}}}}\n" for number in range(1_500))
    trial = tried(replace(QUESTION, tests=SMALL_TESTS + many, invariants=None, in_force=None))
    assert len(text_of(trial, TESTS).encode()) <= limits.RELEASE_REPORT_BYTES_MAX
    assert text_of(trial, TESTS).endswith("and more")


# -- the process -------------------------------------------------------------------------------------------------------
async def report(*code: str, patience_s: float = 60.0) -> admin_pb2.ReleaseReport:
    activation = Activation((sys.executable, *code), patience_s)
    return await activation.report(QUESTION, "officer-1", now_ns=1)


def refusal(found: admin_pb2.ReleaseReport) -> str:
    with pytest.raises(Refused) as caught:
        check_passed(found)
    assert caught.value.reason == Reason.REASON_POLICY_CHECKS
    return caught.value.detail


async def test_the_process_answers_as_the_checks_do() -> None:
    found = await Activation().report(QUESTION, "officer-1", now_ns=1)
    check_passed(found)
    trial = tried(QUESTION)
    assert [(each.name, each.passed, each.text) for each in found.checks] == [
        (each.name, each.passed, each.text) for each in trial.checks
    ]
    assert (found.diff, found.releases_nothing_new) == (trial.diff, True)


async def test_without_the_solver_nothing_is_activated_and_the_reason_says_what_to_install() -> None:
    program = "import sys; sys.modules['z3'] = None; from broker.gateway.office import trial; sys.exit(trial.main())"
    found = await report("-c", program)
    assert NO_SOLVER in {each.text for each in found.checks}
    assert "pip install" in refusal(found)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "status -9"),
        ("raise SystemExit(3)", "status 3"),
        ("print('ok')", "cannot be read"),
        ("print('{}')", "cannot be read"),
        ("""print('{"checks": [], "diff": "", "releases_nothing_new": true}')""", "no check"),
        ("print('x' * 2**20)", "too much"),
    ],
)
async def test_an_answer_that_is_none_has_not_passed(program: str, says: str) -> None:
    assert says in refusal(await report("-c", program))


async def test_a_check_that_takes_too_long_is_ended() -> None:
    assert "not done" in refusal(await report("-c", "import time; time.sleep(60)", patience_s=0.2))


async def test_the_checks_of_one_officer_do_not_keep_out_those_of_another() -> None:
    activation = Activation((sys.executable, "-c", "import time; time.sleep(60)"), patience_s=60.0)
    ask = partial(activation.report, QUESTION, now_ns=1)
    asked = [asyncio.create_task(ask("officer-1")) for _ in range(limits.RELEASE_WAITING_EACH_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Refused) as caught:
        await ask("officer-1")
    assert caught.value.reason == Reason.REASON_UNAVAILABLE
    asked.append(asyncio.create_task(ask("security-1")))
    await asyncio.sleep(0)
    assert not asked[-1].done(), "it waits for its turn"
    for each in asked:
        each.cancel()
    assert all(
        isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*asked, return_exceptions=True)
    )
    activation.command = (sys.executable, "-c", "print('ok')")
    assert "cannot be read" in refusal(await ask("officer-1")), "who gave up does not count"


async def test_the_gateway_itself_never_loads_the_solver() -> None:
    program = (
        "import sys, broker.gateway.server, broker.cli.policy\n"
        "assert 'z3' not in sys.modules and 'broker.gateway.proof' not in sys.modules"
    )
    assert "status" not in refusal(await report("-c", program)), "it ends well, having said nothing"


async def test_the_process_takes_no_code_from_the_folder_that_the_gateway_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broker.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    report = await Activation().report(replace(QUESTION, document="no policy"), "", now_ns=1)
    assert READ in [check.name for check in report.checks], report.checks


def test_the_process_may_not_take_all_memory() -> None:
    greedy = "from broker.gateway.office import trial; from broker import limits; trial.confine(); "
    greedy += "bytearray(limits.RELEASE_CHECKS_MEMORY_BYTES)"
    ended = subprocess.run([sys.executable, "-c", greedy], capture_output=True, check=False)  # noqa: S603 - our own
    assert ended.stderr.decode().rstrip().endswith("MemoryError")
