from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import main
from broker.gateway.proof.telling import brief_message, briefly
from broker.gateway.release import decide, subject_of
from broker.leaves import LEAVES
from tests.broker.gateway.proof.drawn import KOR, KOR_TEXT, seeded
from tests.broker.gateway.release.generate import random_subject

NATION = Path(__file__).parents[4] / "nations" / "kor"
OPENED = KOR_TEXT.replace("track_place: 1km\n    motion: 1km", "track_place: exact\n    motion: 1km")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)])


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """Return Korea's policy with a limit opened, and its invariants beside it."""
    (tmp_path / "invariants.yaml").write_text((NATION / "invariants.yaml").read_text())
    file = tmp_path / "release.yaml"
    file.write_text(OPENED)
    return file


def test_prove_ends_with_0_where_every_invariant_is_kept() -> None:
    found = _run("prove", NATION / "release.yaml")
    assert found.exit_code == 0
    assert found.output.endswith("9 proved, 0 refuted, 0 unknown\n")


def test_prove_says_of_whom_the_policy_does_not_speak(tmp_path: Path) -> None:
    """Nothing goes to a nation that is not named; a slip of the pen is kept just as well."""
    promised = tmp_path / "invariants.yaml"
    promised.write_text((NATION / "invariants.yaml").read_text().replace("[USA]", "[USB]"))
    found = _run("prove", NATION / "release.yaml", "--invariants", promised)
    (line,) = [line for line in found.output.splitlines() if "USB" in line]
    assert (found.exit_code, line.partition("USB")[2]) == (0, ": the policy does not name USB, nothing goes there")


def test_prove_shows_the_message_that_breaks_a_promise_and_ends_with_1(draft: Path) -> None:
    found = _run("prove", draft)
    assert found.exit_code == 1
    assert "REFUTED  KOR-I5 JPN: track.state.position_m is shown at exact" in found.output
    (message,) = [line.partition("message: ")[2] for line in found.output.splitlines() if "message: " in line]
    subject = subject_of(message)  # what is printed can be tried with `policy explain`
    assert subject.content.HasField("track")
    assert decide(KOR, subject, "JPN").released
    assert "rules: KOR-L3, KOR-R8" in found.output


def test_prove_as_json_has_the_message_and_the_decision(draft: Path) -> None:
    found = _run("prove", draft, "--json")
    assert found.exit_code == 1
    record = json.loads(found.output)
    refuted = [each for each in record["proofs"] if each["verdict"] == "refuted"]
    assert [(each["invariant"], each["recipient"]) for each in refuted] == [("KOR-I5", "JPN")]
    assert refuted[0]["decision"]["shown"]["track.state.position_m"] == "exact"
    assert refuted[0]["message"]["content"]["track"]["state"]["position_m"]


def test_diff_ends_with_1_where_something_new_is_released_and_with_0_where_nothing_is(draft: Path) -> None:
    opened = _run("diff", NATION / "release.yaml", draft)
    assert opened.exit_code == 1
    assert "JPN, track: finer: track.state.position_m, track.state.covariance\n    1km/1s -> exact" in opened.output
    assert "1 looser, 0 tighter, 0 unknown" in opened.output
    closed = _run("diff", draft, NATION / "release.yaml")
    assert closed.exit_code == 0
    assert "0 looser, 1 tighter, 0 unknown\nproved: releases nothing new\n" in closed.output


def test_diff_leaves_out_what_is_excepted(draft: Path) -> None:
    excepted = _run("diff", NATION / "release.yaml", draft, "--except", 'to == "JPN" && body == "track"')
    assert excepted.exit_code == 0
    assert "proved: releases nothing new but where --except holds\n" in excepted.output
    assert _run("diff", NATION / "release.yaml", draft, "--except", 'to == "USA"').exit_code == 1
    assert _run("diff", NATION / "release.yaml", draft, "--except", "size(to) > 1").exit_code == 2


def test_diff_says_that_a_policy_is_in_force_longer(draft: Path) -> None:
    """It is no change of what goes as long as both are in force; after that, everything that goes is new."""
    draft.write_text(KOR_TEXT.replace("expires: 2028-01-01", "expires: 2031-01-01"))
    longer = _run("diff", NATION / "release.yaml", draft)
    assert (longer.exit_code, longer.output.count("2028-01-01T00:00:00Z -> 2031-01-01T00:00:00Z")) == (0, 1)
    assert "in force longer" not in _run("diff", draft, NATION / "release.yaml").output
    assert json.loads(_run("diff", NATION / "release.yaml", draft, "--json").output)["outlasts"]


def test_diff_as_json_has_both_decisions(draft: Path) -> None:
    record = json.loads(_run("diff", NATION / "release.yaml", draft, "--json").output)
    assert record["releases_nothing_new"] is False
    (change,) = record["changes"]
    levels = [change[name]["shown"]["track.state.position_m"] for name in ("old_decision", "decision")]
    assert levels == ["1km/1s", "exact"]


def test_can_release_says_no_with_0_and_yes_with_1() -> None:
    never = _run("can-release", "sensor", "--to", "JPN", NATION / "release.yaml")
    assert (never.exit_code, never.output.partition(":")[0]) == (0, "proved")
    at_all = _run("can-release", "track.state.position_m", "--to", "JPN", NATION / "release.yaml")
    assert (at_all.exit_code, "yes: track.state.position_m is shown at 1km/1s" in at_all.output) == (1, True)
    place = ("can-release", "track.state.position_m", "--to", "JPN", NATION / "release.yaml")
    assert _run(*place, "--finer-than", "1km").exit_code == 0
    assert _run(*place, "--at-least", "1km").exit_code == 1
    assert _run(*place, "--at-least", "3km").exit_code == 2
    assert _run(*place, "--finer-than", "exact").exit_code == 2
    assert json.loads(_run(*place, "--json").output)["verdict"] == "refuted"


@pytest.mark.parametrize(
    "arguments",
    [
        ("can-release", "track.stat", "--to", "JPN", NATION / "release.yaml"),
        ("can-release", "track.state", "--to", "FRA", NATION / "release.yaml"),
        ("prove", NATION / "release.test.yaml", "--invariants", "nowhere.yaml"),
        ("diff", NATION / "release.yaml", NATION.parent / "usa" / "release.yaml"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[object, ...]) -> None:
    assert _run(*arguments).exit_code == 2


def test_many_leaves_are_told_by_the_largest_subtrees_that_are_whole() -> None:
    assert briefly(path for path in LEAVES if path.startswith("launch.")) == "launch"
    some = [path for path in LEAVES if path.startswith("launch.launch_area.")]
    assert briefly([*some, "track.phase", "delay_s"]) == "launch.launch_area, track.phase, delay_s"


def test_a_brief_message_is_decided_on_as_the_whole_one() -> None:
    rng = seeded(1)
    for _ in range(30):
        subject = random_subject(rng, KOR)
        brief = subject_of(brief_message(subject))
        assert decide(KOR, brief, "JPN").to_json() == decide(KOR, subject, "JPN").to_json()
