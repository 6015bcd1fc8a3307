from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import nations.jpn
import nations.kor
import nations.usa
from broker import geodesy
from broker.exercise.document import BadScenario
from broker.exercise.falsehood import falsified
from broker.exercise.scenario import Scenario, Status, read_scenario, read_scenarios
from broker.exercise.timeline import Timeline, make_timeline
from broker.plugin import Nation, Observation, PlainMemory, Sight

if TYPE_CHECKING:
    from broker.exercise.announcements import AnnouncedLaunch

SHIPPED = {nation.code: nation for nation in (nations.kor.NATION, nations.usa.NATION, nations.jpn.NATION)}


@pytest.fixture(scope="module")
def scenarios() -> dict[str, Scenario]:
    return read_scenarios()


@pytest.fixture(scope="module")
def over_japan(scenarios: dict[str, Scenario]) -> Timeline:
    return make_timeline(scenarios["over-japan-2022-10-04"], SHIPPED)


@pytest.fixture(scope="module")
def salvo(scenarios: dict[str, Scenario]) -> Timeline:
    return make_timeline(scenarios["salvo-2022-06-05"], SHIPPED)


@pytest.fixture(scope="module")
def false_alarm(scenarios: dict[str, Scenario]) -> Timeline:
    return make_timeline(scenarios["false-alarm"], SHIPPED)


def lines_a_second(timeline: Timeline, rate: float) -> int:
    """Return the busiest second of the wall's time."""
    start_ns = timeline.scenario.start_ns
    return max(Counter(int((report.due_ns - start_ns) / 1e9 / rate) for report in timeline.reports).values())


def test_the_launch_over_japan_is_some_hundreds_of_tracks_by_three_nations(over_japan: Timeline) -> None:
    tracks = Counter(report.nation for report in over_japan.reports if report.observation.sight is Sight.TRACK)
    assert set(tracks) == {"KOR", "USA", "JPN"}
    assert 500 < sum(tracks.values()) < 2000
    assert min(tracks.values()) > 100
    assert lines_a_second(over_japan, 60) < 150


def test_the_salvo_is_eight_objects_to_korea_and_six_to_japan(salvo: Timeline) -> None:
    objects: dict[str, set[str]] = defaultdict(set)
    for report in salvo.reports:
        objects[report.nation].add(report.launch)
    assert (len(objects["KOR"]), len(objects["JPN"])) == (8, 6)
    times_ns = [launched.time_ns for launched in salvo.launched.values()]
    assert 30 * 60 < (max(times_ns) - min(times_ns)) / 1e9 < 40 * 60
    assert lines_a_second(salvo, 60) < 150


def test_the_false_alarm_is_one_nation_s_and_is_taken_back_minutes_later(false_alarm: Timeline) -> None:
    sights = [report.observation.sight for report in false_alarm.reports]
    assert {report.nation for report in false_alarm.reports} == {"JPN"}
    assert sights[0] is Sight.TRACK or sights[0] is Sight.LAUNCH
    assert Sight.LAUNCH in sights
    assert sights[-2:] == [Sight.NOT_A_LAUNCH, Sight.ALL_CLEAR]
    launch = next(report for report in false_alarm.reports if report.observation.sight is Sight.LAUNCH)
    taken_back = false_alarm.reports[-2]
    assert 180 < (taken_back.due_ns - launch.due_ns) / 1e9 < 600
    assert taken_back.observation.track_number == launch.observation.track_number
    assert false_alarm.impact("ghost") is None
    assert false_alarm.position_m("ghost", launch.due_ns) is None


@pytest.fixture(scope="module")
def overflight(scenarios: dict[str, Scenario]) -> Timeline:
    return make_timeline(scenarios["overflight-2022-11-02"], SHIPPED)


@pytest.fixture(scope="module")
def lying(scenarios: dict[str, Scenario]) -> Timeline:
    return make_timeline(scenarios["lying-nation"], SHIPPED)


@pytest.mark.parametrize("name", ["over_japan", "salvo", "false_alarm", "overflight", "lying"])
def test_every_line_can_be_written_and_read_by_its_nation(name: str, request: pytest.FixtureRequest) -> None:
    timeline: Timeline = request.getfixturevalue(name)
    adapters = {
        (nation.code, sensor.name): nation.formats[sensor.format].open(PlainMemory())
        for nation in SHIPPED.values()
        for sensor in nation.sensors
    }
    ids = set()
    for report in timeline.reports:
        line = SHIPPED[report.nation].formats[report.sensor.format].write(report.observation, report.sensor)
        for reported in adapters[report.nation, report.sensor.name].read(line):
            ids.add((report.nation, report.sensor.name, bytes(reported.content.header.message_id)))
    assert len(ids) == len(timeline.reports)


def test_reports_are_in_order_of_time_after_their_latency(over_japan: Timeline) -> None:
    dues = [report.due_ns for report in over_japan.reports]
    assert dues == sorted(dues)
    assert dues[0] > over_japan.scenario.start_ns
    for report in over_japan.reports:
        assert report.due_ns >= report.observation.time_ns


def test_the_same_scenario_and_seed_give_the_same_timeline(
    scenarios: dict[str, Scenario], over_japan: Timeline
) -> None:
    again = make_timeline(scenarios["over-japan-2022-10-04"], SHIPPED)
    other = make_timeline(scenarios["over-japan-2022-10-04"].at(seed=1), SHIPPED)
    assert again.reports == over_japan.reports
    assert other.reports != over_japan.reports


def test_a_nation_that_is_left_out_changes_nothing_of_what_the_others_see(
    scenarios: dict[str, Scenario], over_japan: Timeline
) -> None:
    scenario = scenarios["over-japan-2022-10-04"]
    alone = make_timeline(replace(scenario, nations=("USA",), statements=(), statuses=()), SHIPPED)
    assert list(alone.reports) == [report for report in over_japan.reports if report.nation == "USA"]


def test_announcements_are_each_nation_s_own_figures_to_the_minute(over_japan: Timeline) -> None:
    said = {
        report.nation: report.observation
        for report in over_japan.reports
        if report.observation.sight is Sight.LAUNCH and report.observation.confidence == 1.0
    }
    assert set(said) == {"KOR", "JPN"}
    assert (said["KOR"].ground_range_m, said["JPN"].ground_range_m) == (4.5e6, 4.6e6)
    assert (said["KOR"].apogee_m, said["JPN"].apogee_m) == (9.7e5, 1.0e6)
    times_ns = [said["KOR"].launch_time_ns or 0, said["JPN"].launch_time_ns or 0]
    assert times_ns[0] - times_ns[1] == 60 * 10**9
    assert all(time_ns % (60 * 10**9) == 0 for time_ns in times_ns)


def test_what_is_said_of_a_launch_speaks_of_the_track_that_the_nation_has(over_japan: Timeline) -> None:
    japan = [report for report in over_japan.reports if report.nation == "JPN"]
    clear = japan[-1]
    assert clear.observation.sight is Sight.ALL_CLEAR
    assert (clear.sensor, clear.observation.track_number) == (japan[0].sensor, japan[0].observation.track_number)


def test_a_sensor_numbers_its_tracks_from_one_without_a_gap(salvo: Timeline) -> None:
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for report in salvo.reports:
        if report.observation.track_number not in numbers[report.nation, report.sensor.name]:
            numbers[report.nation, report.sensor.name].append(report.observation.track_number)
    assert all(taken == list(range(1, len(taken) + 1)) for taken in numbers.values())


def test_two_launches_never_share_a_track_number(salvo: Timeline) -> None:
    launches: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for report in salvo.reports:
        launches[report.nation, report.sensor.name, report.observation.track_number].add(report.launch)
    assert all(len(names) == 1 for names in launches.values())


def test_the_truth_is_kept(over_japan: Timeline) -> None:
    launched, start_ns = over_japan.launched["overflight"], over_japan.launched["overflight"].time_ns
    assert over_japan.position_m("overflight", start_ns - 1) is None
    assert over_japan.position_m("overflight", launched.ns(launched.flight.impact_s + 1)) is None
    impact = over_japan.impact("overflight")
    assert impact
    assert impact[2] == launched.ns(launched.flight.impact_s)
    report = next(report for report in over_japan.reports if report.observation.sight is Sight.TRACK)
    truly = over_japan.position_m("overflight", report.observation.time_ns)
    assert truly
    assert report.observation.position_m
    assert np.linalg.norm(np.subtract(truly, report.observation.position_m)) < 100e3


def test_the_false_overflight_is_announced_and_corrected_within_the_hour(overflight: Timeline) -> None:
    said = [report for report in overflight.reports if report.nation == "JPN" and report.observation.overflight]
    assert [report.observation.nations_affected for report in said] == [("JPN",)]
    (corrected,) = (report for report in overflight.reports if report.observation.corrects == said[0].observation)
    assert not corrected.observation.overflight
    assert corrected.observation.ground_range_m == 7.5e5
    assert corrected.sensor == said[0].sensor
    assert 1200 < (corrected.due_ns - said[0].due_ns) / 1e9 < 3600
    impact = overflight.impact("false-overflight")
    assert impact
    assert impact[1] < 136.0, "it falls into the sea before Japan"


def test_a_nation_that_falls_silent_reports_nothing_until_it_speaks_again(scenarios: dict[str, Scenario]) -> None:
    scenario = scenarios["silent-nation"]
    silence = scenario.silences[0]
    silent = make_timeline(scenario, SHIPPED)
    spoken = make_timeline(replace(scenario, silences=()), SHIPPED)
    between = [
        report
        for report in spoken.reports
        if report.nation == silence.nation
        and silence.from_s <= (report.due_ns - scenario.start_ns) / 1e9 < silence.to_s
    ]
    assert len(between) > 50
    assert set(silent.reports) == set(spoken.reports) - set(between)


def test_a_liar_s_tracks_and_impacts_are_off_by_as_much_as_the_scenario_says_and_nobody_else_s(lying: Timeline) -> None:
    falsehood = lying.scenario.falsehoods[0]
    honest = make_timeline(replace(lying.scenario, falsehoods=()), SHIPPED)
    begins_ns = lying.launched["medium"].ns(falsehood.from_s)
    moved = {Sight.TRACK: 0, Sight.IMPACT: 0}
    for told, true in zip(lying.reports, honest.reports, strict=True):
        seen, off = true.observation, told.observation
        if told.nation != falsehood.nation or seen.time_ns < begins_ns or seen.sight not in moved:
            assert told == true
            continue
        moved[seen.sight] += 1
        aside_m = falsehood.jump_m + falsehood.drift_mps * (seen.time_ns - begins_ns) / 1e9
        if seen.sight is Sight.IMPACT:
            ends = (seen.lat_deg or 0.0, seen.lon_deg or 0.0, off.lat_deg or 0.0, off.lon_deg or 0.0)
            assert geodesy.distance_azimuth(*ends)[0] == pytest.approx(aside_m, rel=1e-3)
            continue
        # At its own height the way is longer than over the ground, by at most 200 km in 6400.
        assert math.dist(off.position_m or (), seen.position_m or ()) == pytest.approx(aside_m, rel=0.04)
        assert off.covariance == seen.covariance
    assert min(moved.values()) > 10


def test_a_liar_s_velocity_agrees_with_where_it_says_that_the_object_is(lying: Timeline) -> None:
    """Over ten seconds the told positions move as the told velocities say, drift and all: nothing gives it away."""
    launched, falsehood = lying.launched["medium"], lying.scenario.falsehoods[0]
    exact = [
        falsified(
            Observation(
                Sight.TRACK, "x", 1, launched.ns(at_s), position_m=state[:3], velocity_mps=state[3:], covariance=()
            ),
            falsehood,
            launched,
        )
        for at_s in (300.0, 305.0, 310.0)
        for state in (launched.flight.at(at_s),)
    ]
    first, middle, last = (np.array(one.position_m) for one in exact)
    assert np.linalg.norm((last - first) / 10.0 - np.array(exact[1].velocity_mps)) < 1.0
    assert np.linalg.norm(middle - np.array(launched.flight.at(305.0)[:3])) > falsehood.jump_m


def test_what_cannot_be_flown_or_seen_is_refused(scenarios: dict[str, Scenario], nations: dict[str, Nation]) -> None:
    scenario = scenarios["false-alarm"]
    ghost = scenario.launches["ghost"]
    glide = replace(ghost, announcement=replace(ghost.announcement, range_m=1.0e6, apogee_m=2.0e3))
    with pytest.raises(BadScenario, match="launch ghost: no burn found"):
        make_timeline(replace(scenario, launches={"ghost": glide}), SHIPPED)
    blind = {code: replace(nation, sensors=()) for code, nation in SHIPPED.items()}
    with pytest.raises(BadScenario, match="KOR has no sensors"):
        make_timeline(scenario, blind)
    only_ships = {code: replace(nation, sensors=nations["USA"].sensors[2:]) for code, nation in SHIPPED.items()}
    with pytest.raises(BadScenario, match="JPN has no sensor of the artefact's kind"):
        make_timeline(scenario, only_ships)


def test_a_nation_that_saw_nothing_still_speaks_by_its_first_sensor(
    nations: dict[str, Nation], table: dict[str, AnnouncedLaunch]
) -> None:
    text = """\
format: vedette-scenario/v1
name: small
date: 2022-10-04
shows: one launch
start: 2022-10-03T22:22:00Z
rate: 20
seed: 7
nations: [KOR]
launches:
  - {name: one, announced: L17, missed_by: [KOR]}
"""
    scenario = replace(
        read_scenario(text, "small.yaml", table), statuses=(Status("KOR", "one", 100.0, Sight.NOT_A_LAUNCH),)
    )
    (report,) = make_timeline(scenario, nations).reports
    assert (report.sensor.name, report.observation.track_number) == ("radar-1", 1)
