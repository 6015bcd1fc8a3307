from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.exercise.document import BadScenario
from broker.exercise.scenario import Scenario, read_scenario, read_scenarios
from broker.plugin import Sight

if TYPE_CHECKING:
    from pathlib import Path

    from broker.exercise.announcements import AnnouncedLaunch

GOOD = """\
format: vedette-scenario/v1
name: small
date: 2022-10-04
shows: one launch
start: 2022-10-03T22:22:00Z
rate: 20
seed: 7
nations: [KOR, JPN]
launches:
  - {name: one, announced: L17, time: 2022-10-03T22:22:30Z}
  - name: two
    site: {lat_deg: 39.2, lon_deg: 125.7}
    time: 2022-10-03T22:23:00Z
    azimuth_deg: 70
    range_km: 400
    apogee_km: 90
    class: SRBM
    missed_by: [JPN]
announcements:
  - {nation: JPN, launch: one, after_s: 600}
  - {nation: JPN, launch: two, after_s: 600, time: 2022-10-03T22:25:00Z, range_km: 380, apogee_km: 100, class: MRBM}
statuses:
  - {nation: KOR, launch: two, after_s: 700, says: not-a-launch}
outages:
  - {nation: KOR, from_s: 10, to_s: 20}
silences:
  - {nation: JPN, from_s: 30, to_s: 40}
falsehoods:
  - {nation: KOR, launch: one, from_s: 100, bearing_deg: 90, jump_km: 3}
"""


def read(text: str, table: dict[str, AnnouncedLaunch]) -> Scenario:
    return read_scenario(text, "small.yaml", table)


def test_a_scenario_is_read_whole(table: dict[str, AnnouncedLaunch]) -> None:
    scenario = read(GOOD, table)
    one, two = scenario.launches["one"], scenario.launches["two"]
    assert one.announcement.range_m == 4.5e6
    assert one.announced is table["L17"]
    assert two.announced is None
    assert two.missed_by == {"JPN"}
    assert scenario.statements[0].range_m == 4.6e6
    assert scenario.statements[0].time_ns == table["L17"].statements["JPN"].time_ns
    assert scenario.statements[1].range_m == 3.8e5
    assert scenario.statuses[0].sight is Sight.NOT_A_LAUNCH
    assert scenario.outages[0].to_s == 20.0
    assert (scenario.silences[0].nation, scenario.silences[0].from_s, scenario.silences[0].to_s) == ("JPN", 30.0, 40.0)
    assert (scenario.falsehoods[0].jump_m, scenario.falsehoods[0].drift_mps) == (3_000.0, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("seed: 7", "seed: 7\nspeed: 3", "small.yaml: unknown key speed"),
        ("missed_by: [JPN]", "missed: [JPN]", "launches[1]: unknown key missed"),
        ("{lat_deg: 39.2,", "{lat_deg: 39.2, height: 3,", "launches[1].site: unknown key height"),
        ("seed: 7\n", "", "seed: is missing"),
        ("seed: 7", "seed: 7\nseed: 8", "a key appears twice"),
        ("seed: 7", "seed: -7", "seed: must be text like"),
        ("rate: 20", "rate: 101", "rate: must be a number from 0.01 to 100"),
        ("rate: 20", "rate: nan", "rate: must be a number"),
        ("rate: 20", "rate: [1]", "rate: must be a number"),
        ("vedette-scenario/v1", "vedette-scenario/v2", "format: must be one of vedette-scenario/v1"),
        ("name: small", "name: other", "name: must be the file's name"),
        ("[KOR, JPN]", "[KOR, KOR]", "nations: must be a list of different words"),
        ("[KOR, JPN]", "[]", "nations: must be a list of different words"),
        ("2022-10-03T22:22:00Z", "2022-10-03 22:22", "start: must be text like"),
        ("2022-10-03T22:22:00Z", "2022-13-03T22:22:00Z", "start: no such time"),
        ("2022-10-03T22:23:00Z", "2022-10-03T22:21:00Z", "launches[1].time: is before the start"),
        ("announced: L17", "announced: L99", "launches[0].announced: must be one of L01"),
        ("name: two", "name: one", "launches[1].name: is used twice"),
        ("class: SRBM", "class: BIG", "launches[1].class: must be one of ICBM"),
        ("azimuth_deg: 70\n", "\n", "launches[1].azimuth_deg: is missing"),
        ("range_km: 400", "range_km: 0", "launches[1].range_km: must be a number from 1"),
        ("missed_by: [JPN]", "missed_by: [USA]", "launches[1].missed_by: must be a list"),
        ("launch: two, after_s: 700", "launch: six, after_s: 700", "statuses[0].launch: must be one of one, two"),
        ("says: not-a-launch", "says: launch", "statuses[0].says: must be one of all-clear"),
        ("from_s: 10, to_s: 20", "from_s: 10, to_s: 10", "outages[0].to_s: must be after from_s"),
        ("from_s: 30, to_s: 40", "from_s: 40, to_s: 30", "silences[0].to_s: must be after from_s"),
        (", jump_km: 3}", "}", "falsehoods[0].jump_km: or drift_mps is needed"),
        ("jump_km: 3", "drift_mps: 9999", "falsehoods[0].drift_mps: must be a number from 0 to 1000"),
        ("KOR, launch: one, from_s", "USA, launch: one, from_s", "falsehoods[0].nation: must be one of JPN, KOR"),
        (
            "launch: two, after_s: 600,",
            "launch: two, after_s: 600, passes_over: [here],",
            "announcements[1].passes_over",
        ),
        ("range_km: 380,", "passes_over: [JPN],", "announcements[1].range_km: is needed to say what it passes over"),
        ("site: {lat_deg: 39.2, lon_deg: 125.7}", "site: here", "launches[1].site: must be a mapping"),
        ("launches:\n", "launches: 3\nmore:\n", "launches: must be a list"),
        ("format:", "- format:", "not YAML"),
        ("seed: 7", "seed: &a 7\nagain: *a", "aliases are not used"),
    ],
)
def test_what_is_not_understood_is_refused_with_file_place_and_reason(
    old: str, new: str, place: str, table: dict[str, AnnouncedLaunch]
) -> None:
    assert old in GOOD
    with pytest.raises(BadScenario) as refused:
        read(GOOD.replace(old, new, 1), table)
    assert str(refused.value).startswith("small.yaml: ")
    assert place in str(refused.value)


def test_a_file_that_is_too_long_is_not_read(table: dict[str, AnnouncedLaunch]) -> None:
    with pytest.raises(BadScenario, match="more than 100000 characters"):
        read("#" * 100_001, table)


def test_a_deeply_nested_file_is_refused(table: dict[str, AnnouncedLaunch]) -> None:
    with pytest.raises(BadScenario, match="not YAML"):
        read("[" * 50_000, table)


def test_the_shipped_scenarios_are_read() -> None:
    assert set(read_scenarios()) == {
        "false-alarm",
        "lofted-2023-07-12",
        "lying-nation",
        "over-japan-2022-10-04",
        "overflight-2022-11-02",
        "salvo-2022-06-05",
        "silent-nation",
    }


def test_a_scenario_is_added_by_writing_a_file(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no scenario", encoding="utf-8")
    assert "small" in read_scenarios(tmp_path)


def test_a_shipped_scenario_is_not_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "false-alarm.yaml").write_text(GOOD.replace("name: small", "name: false-alarm"), encoding="utf-8")
    with pytest.raises(BadScenario, match="there is a scenario named false-alarm already"):
        read_scenarios(tmp_path)


def test_rate_and_seed_can_be_set_within_their_bounds(table: dict[str, AnnouncedLaunch]) -> None:
    scenario = read(GOOD, table)
    assert (scenario.at(rate=100).rate, scenario.at(seed=3).seed) == (100, 3)
    assert scenario.at() == scenario
    for rate in (0.0, 100.1, float("nan")):
        with pytest.raises(BadScenario, match="the rate must be"):
            scenario.at(rate=rate)
