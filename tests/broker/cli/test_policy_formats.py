from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

from broker.cli.policy.formats import Case, Note, as_json, github, junit, pretty, sarif

FILE: Final = Path("nations/kor/release.yaml")
TEXT: Final = "format: x\nnation: NO\n  when: '대한 label.caveat'\n"
ERROR: Final = Note(is_error=True, code="unreadable", line=2, column=9, message="100% wrong: a, b\nand c")
WARNING: Final = Note(is_error=False, code="too-late", line=3, column=18, message="<slow> & \x07 late")


def test_people_see_the_line_and_a_caret_under_the_place() -> None:
    lines = pretty([ERROR, WARNING], FILE, TEXT, colour=False).splitlines()
    assert lines[0] == "nations/kor/release.yaml:2:9: error unreadable: 100% wrong: a, b\N{REPLACEMENT CHARACTER}and c"
    assert lines[1:3] == ["     2 | nation: NO", "       |         ^"]
    assert lines[1][lines[2].index("^")] == "N"
    assert lines[-1] == "1 errors, 1 warnings"


def test_a_caret_stands_right_behind_wide_characters() -> None:
    _, shown, caret, _ = pretty([WARNING], FILE, TEXT, colour=False).splitlines()
    assert shown.endswith("'대한 label.caveat'")
    before = shown.partition(".caveat")[0]
    assert caret.index("^") == len(before) + 2  # two characters, each as wide as two


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    text = "a" * 300 + "X" + "b" * 300
    note = Note(is_error=True, code="c", line=1, column=301, message="m")
    _, shown, caret, _ = pretty([note], FILE, text, colour=False).splitlines()
    assert len(shown) < 140
    assert shown[caret.index("^")] == "X"


def test_a_place_behind_the_last_line_is_named_without_a_line() -> None:
    note = Note(is_error=True, code="c", line=9, column=1, message="m")
    assert pretty([note], FILE, TEXT, colour=False).splitlines() == [f"{FILE}:9:1: error c: m", "1 errors, 0 warnings"]


def test_nothing_from_a_policy_reaches_the_terminal_as_a_command() -> None:
    evil = Note(is_error=True, code="c", line=1, column=1, message="\x1b[2Jgone")
    assert "\x1b" not in pretty([evil], FILE, "\x1b]0;title\x07", colour=False)
    coloured = pretty([evil], FILE, "\x1b]0;title\x07", colour=True)
    assert "\x1b[31m" in coloured
    assert "\x1b[2J" not in coloured
    assert "\x1b]" not in coloured


def test_json_is_one_object_that_names_the_file() -> None:
    assert json.loads(as_json(FILE, {"errors": 1})) == {"file": "nations/kor/release.yaml", "errors": 1}


def test_sarif_has_the_structure_that_code_scanning_asks_for() -> None:
    meanings = {"too-late": "comes too late", "unused": "is never seen"}
    log: Any = json.loads(sarif([ERROR, WARNING], FILE, tool="lint", version="1.2", meanings=meanings))
    assert (log["version"], set(log)) == ("2.1.0", {"$schema", "version", "runs"})
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("lint", "1.2")
    assert [rule["id"] for rule in driver["rules"]] == ["too-late", "unused", "unreadable"]
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in driver["rules"])
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    for result, note in zip(run["results"], (ERROR, WARNING), strict=True):
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == note.code
        assert result["message"]["text"] == note.message
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "nations/kor/release.yaml"
        assert place["physicalLocation"]["region"] == {"startLine": note.line, "startColumn": note.column}


def test_sarif_names_files_as_uris() -> None:
    def uri(file: Path) -> object:
        log: Any = json.loads(sarif([ERROR], file, tool="t", version="1", meanings={}))
        return log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]

    assert uri(Path("a b/ü#.yaml")) == "a%20b/%C3%BC%23.yaml"
    assert uri(Path("/a b/c.yaml")) == "file:///a%20b/c.yaml"


def test_a_workflow_command_stays_one_line_whatever_is_in_it() -> None:
    first, second = github([ERROR, WARNING], Path("a,b:c%.yaml")).splitlines()
    assert first == ("::error file=a%2Cb%3Ac%25.yaml,line=2,col=9,title=unreadable::100%25 wrong: a, b%0Aand c")
    assert second.startswith("::warning ")
    assert github([], FILE) == ""


def test_a_junit_report_counts_and_holds_whatever_text_it_is_given() -> None:
    cases = [
        Case("good", "g", 1, ()),
        Case("<bad> & \x00\ud800", "g", 7, ("first \x1b", 'second "')),
        Case("fine", "g", 2, ()),
    ]
    root = ET.fromstring(junit("suite", FILE, cases))  # noqa: S314 - our own
    suite = root.find("testsuite")
    assert suite is not None
    assert (root.tag, suite.get("tests"), suite.get("failures"), suite.get("name")) == ("testsuites", "3", "1", "suite")
    good, bad, _ = suite.findall("testcase")
    assert good.find("failure") is None
    assert (bad.get("name"), bad.get("line")) == ("<bad> & \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}", "7")
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "first \N{REPLACEMENT CHARACTER}"
    assert (failure.text or "").splitlines()[1] == 'nations/kor/release.yaml:7: second "'


def test_a_junit_report_without_cases_says_that_it_passed() -> None:
    root = ET.fromstring(junit("suite", FILE, []))  # noqa: S314 - our own
    assert (root.get("tests"), root.get("failures")) == ("1", "0")


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_text_of_all_scripts_stays_readable(form: str) -> None:
    note = Note(is_error=True, code="c", line=1, column=1, message="대한민국")
    said = (
        as_json(FILE, {"m": note.message}) if form == "json" else sarif([note], FILE, tool="", version="", meanings={})
    )
    assert "대한민국" in said
