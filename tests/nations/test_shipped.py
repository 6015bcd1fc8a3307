"""The nations that are shipped: each keeps every promise, and their policies differ in substance."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.conformance import check_nation
from broker.gateway.release import Level, Policy, Subject, decide, lint, redact, release_instant_ns
from broker.plugin import Nation, Observation, PlainMemory, Sensor, Sight
from vedette.v1 import measures_pb2

if TYPE_CHECKING:
    from broker.gateway.release import Decision
    from broker.plugin import Reported

REPOSITORY = Path(__file__).parents[2]
SECOND_NS = 1_000_000_000
NOW_NS = 1_790_000_000 * SECOND_NS  # within the policies' time
CODES = ("KOR", "USA", "JPN")
PLACE_M = (-3_964_948.7, 3_633_206.1, 4_679_764.7)


@cache
def nation_of(code: str) -> Nation:
    found: Nation = import_module(f"nations.{code.lower()}").NATION
    return found


@cache
def policy_of(code: str) -> Policy:
    home = nation_of(code).home
    assert home is not None
    return Policy.parse((home / "release.yaml").read_text("utf-8"), nation=code, members=set(CODES))


def sensor_of(code: str, kind: int) -> Sensor:
    return next(sensor for sensor in nation_of(code).sensors if sensor.kind == kind)


def said(code: str, sensor: Sensor, sight: Sight) -> Reported:
    """What the sensor's line says of one sighting."""
    seen = Observation(
        sight,
        sensor.name,
        42,
        NOW_NS,
        position_m=PLACE_M,
        velocity_mps=(-2_802.5, -3_128.5, 1_420.5),
        covariance=tuple(100.0 if i == j else 0.0 for i in range(6) for j in range(i, 6)),
        lat_deg=40.6123,
        lon_deg=126.4321,
        area_semi_major_m=6_000.0,
        area_semi_minor_m=3_000.0,
        launch_time_ns=NOW_NS - 30 * SECOND_NS,
        launch_time_sigma_s=2.0,
        impact_time_ns=NOW_NS + 600 * SECOND_NS,
        impact_time_sigma_s=20.0,
        nations_affected=("JPN",),
    )
    native = nation_of(code).formats[sensor.format]
    (reported,) = native.open(PlainMemory()).read(native.write(seen, sensor))
    return reported


def decided(code: str, reported: Reported, recipient: str) -> Decision:
    subject = Subject(reported.content, reported.label, reported.precedence)
    return decide(policy_of(code), subject, recipient, now_ns=NOW_NS)


def test_every_nation_keeps_every_promise(nation: Nation) -> None:
    report = check_nation(nation)
    assert report.code == nation.code
    assert report.policy.rules >= 10
    assert all(feed.broken_lines > 2_000 for feed in report.feeds)


def test_every_folder_is_an_entry_point_and_the_other_way_round() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"]["vedette.nations"]
    folders = {path.parent.name for path in (REPOSITORY / "nations").glob("*/__init__.py")}
    assert {f"nations.{name}:NATION" for name in folders} == set(declared.values())
    assert {name.upper() for name in folders} == set(declared)


@pytest.mark.parametrize("code", CODES)
def test_the_entry_point_is_named_after_the_code(code: str) -> None:
    (found,) = entry_points(group="vedette.nations", name=code)
    nation = found.load()
    assert isinstance(nation, Nation)
    assert nation.code == code


@pytest.mark.parametrize("code", CODES)
def test_a_member_that_no_policy_names_gets_nothing(code: str) -> None:
    for sensor in nation_of(code).sensors:
        for sight in Sight:
            reported = said(code, sensor, sight)
            reported.label.releasable_to.append("AUS")
            decision = decided(code, reported, "AUS")
            assert not decision.released
            assert set(decision.levels.values()) == {Level.WITHHELD}


@pytest.mark.parametrize("code", CODES)
def test_no_sensors_name_or_site_ever_leaves(code: str) -> None:
    others = [other for other in CODES if other != code]
    for sensor in nation_of(code).sensors:
        for sight in Sight:
            reported = said(code, sensor, sight)
            for recipient in ("self", *others):
                decision = decided(code, reported, recipient)
                if decision.released:
                    shown = redact(reported.content, decision, released_ns=NOW_NS)
                    body = getattr(shown, shown.WhichOneof("body") or "")
                    source = getattr(body, "source", measures_pb2.Source())
                    assert not source.name
                    assert not source.HasField("site")


@pytest.mark.parametrize("code", CODES)
def test_no_sensor_is_known_by_its_clock(code: str) -> None:
    """What a sensor says of its clock's error is its own number, as good as a name."""
    for sensor in nation_of(code).sensors:
        for sight in Sight:
            shown = set()
            for error_ns in (1_234_567, 7_654_321):
                reported = said(code, sensor, sight)
                reported.content.header.clock.synchronized = True
                reported.content.header.clock.max_error.FromNanoseconds(error_ns)
                for recipient in ("self", *(other for other in CODES if other != code)):
                    decision = decided(code, reported, recipient)
                    if decision.released:
                        view = redact(reported.content, decision, released_ns=NOW_NS)
                        assert view.header.clock.synchronized
                        shown.add((recipient, view.SerializeToString(deterministic=True)))
            assert len(shown) == len({recipient for recipient, _ in shown})


@pytest.mark.parametrize("code", CODES)
def test_lint_has_nothing_to_say(code: str) -> None:
    home = nation_of(code).home
    assert home is not None
    assert lint((home / "release.yaml").read_text("utf-8"), nation=code, members=set(CODES)) == []


@pytest.mark.parametrize("code", CODES)
def test_statuses_reach_everybody_whatever_the_sensor(code: str) -> None:
    for sensor in nation_of(code).sensors:
        for sight in (Sight.LOST, Sight.NOT_A_LAUNCH, Sight.ALL_CLEAR):
            reported = said(code, sensor, sight)
            for recipient in ("self", *(other for other in CODES if other != code)):
                decision = decided(code, reported, recipient)
                assert decision.released
                assert decision.delay_s == 0.0


@pytest.mark.parametrize("code", CODES)
def test_first_reports_are_held_up_by_no_coarse_time(code: str) -> None:
    for sensor in nation_of(code).sensors:
        reported = said(code, sensor, Sight.LAUNCH)
        for recipient in (other for other in CODES if other != code):
            decision = decided(code, reported, recipient)
            assert decision.released
            assert release_instant_ns(decision, reported.content, NOW_NS) == NOW_NS


@pytest.mark.parametrize("code", CODES)
def test_the_own_picture_has_exact_tracks_of_every_sensor_and_no_source(code: str) -> None:
    for sensor in nation_of(code).sensors:
        reported = said(code, sensor, Sight.TRACK)
        shown = redact(reported.content, decided(code, reported, "self"), released_ns=NOW_NS)
        assert shown.track.state == reported.content.track.state
        assert not shown.track.HasField("source")


def test_korea_shows_its_airborne_radars_tracks_to_japan_coarse_late_and_seldom_and_to_america_exactly() -> None:
    aircraft = said("KOR", sensor_of("KOR", measures_pb2.SENSOR_KIND_AIRBORNE_RADAR), Sight.TRACK)
    radar = said("KOR", sensor_of("KOR", measures_pb2.SENSOR_KIND_GROUND_RADAR), Sight.TRACK)
    japan = decided("KOR", aircraft, "JPN")
    assert redact(aircraft.content, japan, released_ns=NOW_NS).track.state.cell.space_m == 10_000.0
    assert (japan.delay_s, japan.minimum_interval_s) == (5.0, 10.0)
    ground = decided("KOR", radar, "JPN")
    assert redact(radar.content, ground, released_ns=NOW_NS).track.state.cell.space_m == 1_000.0
    assert (ground.delay_s, ground.minimum_interval_s) == (0.0, 8.0)
    america = decided("KOR", aircraft, "USA")
    assert redact(aircraft.content, america, released_ns=NOW_NS).track.state == aircraft.content.track.state


def test_america_never_names_a_satellite() -> None:
    infrared = sensor_of("USA", measures_pb2.SENSOR_KIND_SPACE_INFRARED)
    launch = said("USA", infrared, Sight.LAUNCH)
    for recipient in ("KOR", "JPN", "self"):
        shown = redact(launch.content, decided("USA", launch, recipient), released_ns=NOW_NS)
        assert not shown.launch.HasField("source")
        assert shown.launch.launch_time == launch.content.launch.launch_time
    for recipient in ("KOR", "JPN"):
        shown = redact(launch.content, decided("USA", launch, recipient), released_ns=NOW_NS)
        assert shown.launch.launch_area.cell.space_m == 10_000.0
        assert not decided("USA", said("USA", infrared, Sight.TRACK), recipient).released


def test_japan_gives_impact_areas_exactly_to_both() -> None:
    impact = said("JPN", sensor_of("JPN", measures_pb2.SENSOR_KIND_GROUND_RADAR), Sight.IMPACT)
    for recipient in ("KOR", "USA"):
        shown = redact(impact.content, decided("JPN", impact, recipient), released_ns=NOW_NS)
        assert shown.impact.area == impact.content.impact.area
        assert shown.impact.time == impact.content.impact.time


@pytest.mark.parametrize(("code", "caveat"), [("KOR", "KOR-ONLY"), ("USA", "NOFORN"), ("JPN", "JPN-ONLY")])
def test_a_nations_own_eyes_caveat_beats_every_release(code: str, caveat: str) -> None:
    for sensor in nation_of(code).sensors:
        for sight in Sight:
            reported = said(code, sensor, sight)
            reported.label.caveats.append(caveat)
            for recipient in (other for other in CODES if other != code):
                assert not decided(code, reported, recipient).released


@pytest.mark.parametrize("code", CODES)
def test_a_label_that_does_not_list_a_nation_keeps_it_out(code: str) -> None:
    others = [other for other in CODES if other != code]
    for sensor in nation_of(code).sensors:
        reported = said(code, sensor, Sight.IMPACT)
        reported.label.releasable_to.remove(others[0])
        assert not decided(code, reported, others[0]).released
        assert decided(code, reported, others[1]).released
