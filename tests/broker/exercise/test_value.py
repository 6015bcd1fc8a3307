"""What sharing buys is true: who shares with more knows no less, and the published figures are those of the command."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import nations.jpn
import nations.kor
import nations.usa
from broker.cli import Exit
from broker.cli.fusion import VALUE_KINDS, VALUE_RUNS, VALUE_SEED, fusion
from broker.exercise.fit import fit
from broker.exercise.sensors import Launched
from broker.exercise.value import AFTER_BURNOUT_S, KINDS, Value, measure, shared
from broker.exercise.value_plot import svg
from broker.exercise.value_table import document, lines
from broker.fusion.view import View
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.plugin import Sensor

ROOT = Path(__file__).parents[3]
SENSORS = {one.NATION.code: one.NATION.sensors for one in (nations.kor, nations.usa, nations.jpn)}
ALL = tuple(SENSORS)
SHORT, SEED = KINDS[0], 5
LAUNCH_NS = 1_700_000_000 * SECOND_NS
PUBLISHED_S = (10, 30, 60)


@pytest.fixture(scope="module")
def values() -> list[Value]:
    """One kind of launch, one run: what a few seconds allow. The slow test has all of them."""
    return measure(SENSORS, runs=1, seed=SEED, kinds=(SHORT,))


def check_more_know_no_less(values: Sequence[Value], after_s: Sequence[int]) -> None:
    """All together, the area is no larger than for any fewer, and what can be seen no less."""
    for value in values:
        known = {one.nations: one for one in value.known}
        assert len(known) == 2 ** len(ALL) - 1
        together = known[ALL]
        for fewer in known.values():
            assert together.coverage >= fewer.coverage
            assert together.first_report_s <= fewer.first_report_s
            for moment_s in after_s:
                at = AFTER_BURNOUT_S.index(moment_s)
                assert together.areas_km2[at] <= fewer.areas_km2[at], (value.kind.name, fewer.nations, moment_s)


def test_together_nations_know_no_less_than_any_fewer_of_them(values: list[Value]) -> None:
    check_more_know_no_less(values, PUBLISHED_S)


def test_the_first_report_of_several_is_the_earliest_of_each(values: list[Value]) -> None:
    for value in values:
        first_s = {one.nations: one.first_report_s for one in value.known}
        for size in (2, 3):
            for codes in combinations(ALL, size):
                assert first_s[codes] == min(first_s[(code,)] for code in codes)


def test_an_area_is_what_a_view_publishes_that_holds_the_same_reports(values: list[Value]) -> None:
    """The View is fed until 30 s after burnout, then nothing comes and it predicts from what it has."""
    flight = fit(SHORT.announcement)
    launched = Launched(flight, LAUNCH_NS, SHORT.announcement.missile_class)
    until_s = flight.burnout_s + 30.0
    view = View("JPN", content_pb2.MODE_EXERCISE)
    arrivals = [one for code, own in SENSORS.items() for one in shared(code, own, launched, f"{SEED}/0/{SHORT.name}")]
    newest = content_pb2.FusedEvent()
    for number, arrival in enumerate(sorted(arrivals, key=lambda one: one.at_s)):
        if arrival.at_s > until_s:
            break
        for revision in view.fold(position=number.to_bytes(8, "big"), content=arrival.content):
            newest = revision
    for second in range(6):
        time_ns = LAUNCH_NS + round((until_s + second) * SECOND_NS)
        for revision in view.tick(position=f"tick {second}".encode(), time_ns=time_ns):
            newest = revision
    (published,) = newest.impacts
    ellipse = published.area.ellipse
    area_km2 = values[0].known[-1].areas_km2[AFTER_BURNOUT_S.index(30)]
    assert math.pi * ellipse.semi_major_m * ellipse.semi_minor_m / 1e6 == pytest.approx(area_km2, rel=1e-3)


def test_a_nation_that_sees_nothing_knows_nothing_and_takes_nothing_away() -> None:
    blind: list[Sensor] = []
    (value,) = measure({"JPN": SENSORS["JPN"], "XYZ": blind}, runs=1, seed=3, kinds=(SHORT,))
    jpn, nobody, both = value.known
    assert math.isinf(nobody.first_report_s)
    assert nobody.coverage == 0.0
    assert all(map(math.isinf, nobody.areas_km2))
    assert both.areas_km2 == jpn.areas_km2
    assert [line.split()[1:3] for line in lines([value]) if line.split()[:1] == ["XYZ"]] == [["-", "0%"]]
    assert document([value], runs=1, seed=3)["kinds"][0]["known"][1]["first_report_s"] is None


def test_the_picture_is_xml_with_a_title_a_text_and_a_line_for_everybody(values: list[Value]) -> None:
    picture = svg(values)
    assert picture == svg(values)
    root = ET.fromstring(picture)  # noqa: S314 - our own
    space = {"s": "http://www.w3.org/2000/svg"}
    title, told = root.find("s:title", space), root.find("s:desc", space)
    assert title is not None
    assert told is not None
    assert "KOR-USA-JPN" in (told.text or "")
    looks = [
        (one.get("class"), one.get("stroke-width"), one.get("stroke-dasharray"))
        for one in root.findall("s:path", space)
        if "h34" in (one.get("d") or "")
    ]
    assert len(set(looks)) == 7, "no two lines look the same"
    assert len({look[1:] for look in looks}) == 7, "nor do they without colours"
    assert "script" not in picture
    assert "prefers-color-scheme: dark" in picture


def test_the_command_prints_the_same_for_the_same_seed_and_tells_how_far_it_is(
    tmp_path: Path, values: list[Value]
) -> None:
    words = ["value", "--runs", "1", "--seed", str(SEED), "--kind", "short"]
    printed = CliRunner().invoke(fusion, [*words, "--plot", str(tmp_path / "new" / "value.svg")])
    assert printed.exit_code == Exit.OK
    assert printed.stdout == "\n".join(lines(values)) + "\n"
    assert printed.stderr == "short: run 1 of 1\n"
    assert (tmp_path / "new" / "value.svg").read_text(encoding="utf-8") == svg(values)
    assert json.loads(CliRunner().invoke(fusion, [*words, "--json"]).stdout) == document(values, runs=1, seed=SEED)
    assert tuple(kind.name for kind in KINDS) == VALUE_KINDS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_published_table_and_picture_are_those_of_the_command_and_more_know_no_less() -> None:
    """If this fails because the fusion has become better: README.md and docs/fusion.md say how they are remade."""
    values = measure(SENSORS, runs=VALUE_RUNS, seed=VALUE_SEED)
    check_more_know_no_less(values, PUBLISHED_S)
    for value in values:
        assert value.known[-1].small_s == min(known.small_s for known in value.known)
    assert (ROOT / "docs" / "value.svg").read_text(encoding="utf-8") == svg(values)
    printed = "\n".join(lines(values))
    for page in ("README.md", "docs/fusion.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        published = re.search(r"```text value\n(.*?)\n```", text, re.DOTALL)
        assert published is not None, page
        assert published[1] in printed, page
