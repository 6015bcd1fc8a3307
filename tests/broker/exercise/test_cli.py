"""The commands, run as a person would; a small gateway over real TLS answers where one is needed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from broker import limits
from broker.cli import Exit
from broker.cli.exercise import exercise
from certs.issue import authority

if TYPE_CHECKING:
    from pathlib import Path

SMALL = """\
format: vedette-scenario/v1
name: small
date: 2022-10-04
shows: one short launch
start: 2022-10-03T22:22:00Z
rate: 100
seed: 7
nations: [KOR]
launches:
  - {name: one, announced: L17}
"""


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(exercise, [str(word) for word in words])


def test_list_names_every_scenario(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    result = invoke("list", "--scenarios", tmp_path)
    assert result.exit_code == Exit.OK
    for name in ("over-japan-2022-10-04", "salvo-2022-06-05", "false-alarm", "small"):
        assert name in result.output


def test_show_tells_what_happens_when() -> None:
    result = invoke("show", "over-japan-2022-10-04")
    assert result.exit_code == Exit.OK
    lines = result.output.splitlines()
    assert "overflight flies 4500 km at 970 km, azimuth 80: burnout after 140 s, apogee 701 s, impact 1319 s" in lines
    assert "  400.0 s  JPN is cut off from the hub" in lines
    times_s = [float(line.split(" s ")[0]) for line in lines if " s  " in line]
    assert times_s == sorted(times_s)


def test_show_with_another_seed_is_another_exercise() -> None:
    first, second = (invoke("show", "false-alarm", "--seed", seed).output for seed in ("1", "2"))
    assert first != second


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("show", "nothing"), "no scenario 'nothing'; there are false-alarm"),
        (("run", "false-alarm", "--certs", "."), "Missing option '--gateway'"),
        (("run", "false-alarm", "--certs", ".", "--gateway", "KOR=a:1"), "no --gateway for USA, JPN"),
        (("run", "false-alarm", "--certs", ".", "--gateway", "FRA=a:1"), "say CODE=HOST:PORT"),
        (("run", "false-alarm", "--certs", ".", "--gateway", "KOR=a:1", "--rate", "101"), "the rate must be from"),
    ],
)
def test_wrong_usage_says_what_would_be_right(words: tuple[str, ...], reason: str) -> None:
    result = invoke(*words)
    assert result.exit_code == Exit.USAGE
    assert reason in result.output


def test_a_scenario_that_does_not_read_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL + "speed: 3\n", encoding="utf-8")
    result = invoke("list", "--scenarios", tmp_path)
    assert result.exit_code == Exit.USAGE
    assert "small.yaml: unknown key speed" in result.output


def test_a_nation_without_a_plugin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL.replace("KOR", "XYZ"), encoding="utf-8")
    result = invoke("show", "small", "--scenarios", tmp_path)
    assert result.exit_code == Exit.USAGE
    assert "no plugin for XYZ is installed" in result.output


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    result = invoke("run", "small", "--scenarios", tmp_path, "--certs", tmp_path, "--gateway", "KOR=127.0.0.1:1")
    assert result.exit_code == Exit.USAGE
    assert "holds no certificate of a system" in result.output


def test_a_gateway_that_is_away_is_waited_for_as_long_as_one_says(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    authority(tmp_path / "certs", nations=["KOR", "USA"])
    words = ("run", "small", "--scenarios", tmp_path, "--certs", tmp_path / "certs", "--gateway", "KOR=127.0.0.1:1")
    began_s = time.monotonic()
    result = invoke(*words, "--timeout", "0.3")
    assert result.exit_code == Exit.UNREACHABLE
    assert "no answer within 0.3 s" in result.output
    assert time.monotonic() - began_s < limits.CALL_DEADLINE_S
