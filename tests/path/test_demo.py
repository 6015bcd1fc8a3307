"""`vedette demo`: exits 0, because every promise held, and writes down what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

import pytest

from broker.cli import Exit
from broker.demo.floor import LEGS
from broker.demo.summary import GOOD_ERROR_M

if TYPE_CHECKING:
    from pathlib import Path

NATIONS: Final = ("KOR", "USA", "JPN")
RUN_S: Final = 200.0


@pytest.mark.slow
@pytest.mark.timeout(RUN_S + 20)
def test_the_demo_keeps_every_promise_and_writes_its_summary(tmp_path: Path) -> None:
    file = tmp_path / "out" / "demo.json"
    command = [sys.executable, "-m", "broker", "demo", "--rate", "60", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)  # noqa: S603 - ours
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "every promise held"
    assert "EXERCISE over-japan-2022-10-04" in done.stdout
    summary = json.loads(file.read_text())
    assert all(promise["held"] for promise in summary["promises"])
    check_pairs(summary["pairs"])
    check_legs(summary["legs_ms"])
    check_refusals(summary)
    assert set(summary["recipients"]) == set(NATIONS)
    for facts in summary["recipients"].values():
        check_recipient(facts)
    back = summary["recipients"][summary["cut_off"]["nation"]]
    assert sum(back["caught_up"].values()) > 0


def check_pairs(pairs: dict[str, Any]) -> None:
    assert set(pairs) == {f"{origin}->{recipient}" for origin, recipient in permutations(NATIONS, 2)}
    for facts in pairs.values():
        assert set(facts) == {"sent", "delivered", "duplicates", "missing", "groups_withheld"}
        assert facts["sent"] == facts["delivered"] > 0
        assert facts["duplicates"] == facts["missing"] == 0
        assert "sensor" in facts["groups_withheld"], "nobody's sensor is named to anybody"


def check_legs(legs: dict[str, Any]) -> None:
    assert list(legs) == list(LEGS)
    for facts in legs.values():
        assert facts["count"] > 0
        assert 0 <= facts["p50"] <= facts["p99"]


def check_refusals(summary: dict[str, Any]) -> None:
    for attempt in summary["attacks"]:
        assert attempt["answer"] == attempt["expected"] != "STORED"
    assert {"BAD_SEAL", "MISADDRESSED"} & set(summary["refusals"])
    assert sum(summary["refusals"].values()) == len(summary["attacks"]) >= 3


def check_recipient(facts: dict[str, Any]) -> None:
    # From the launch on. The picture is made of the nation's own reports too, and may be there before any foreign one.
    assert 0 < facts["first_report_s"] < 200
    assert 0 < facts["first_fused_track_s"] < 200
    areas_km2 = [found["km2"] for found in facts["impact_ellipse_km2"]]
    assert min(areas_km2) < areas_km2[0], "the picture gets sharper"
    assert all(found["at_s"] > 0 for found in facts["impact_ellipse_km2"])
    assert facts["position_error_m_least"] <= facts["position_error_m_median"] <= GOOD_ERROR_M
    assert facts["impact_error_m"] >= 0
