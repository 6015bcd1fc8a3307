"""What an exercise's sensor writes, the adapter reads: each format within the resolution that its writer documents."""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import geodesy
from broker.content import check_content
from broker.plugin import Observation, PlainMemory, Sight
from nations import bodies
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from broker.plugin import Nation, NativeFormat, Reported, Sensor

NATIONS: dict[str, Nation] = {code: import_module(f"nations.{code}").NATION for code in ("kor", "usa", "jpn")}
SENSORS = [(nation, sensor) for nation in NATIONS.values() for sensor in nation.sensors]
SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000

TIMES = st.integers(946_771_200 * SECOND_NS, 4_102_358_400 * SECOND_NS)  # 2000-01-02 to 2099-12-31
LATITUDES, LONGITUDES = st.floats(-89.9, 89.9), st.floats(-180.0, 180.0)
NUMBERS = st.integers(1, 9_999)
FRACTIONS = st.none() | st.floats(0.0, 1.0)
SPREADS_S = st.floats(0.0, 600.0)


@st.composite
def ellipses(draw: st.DrawFn) -> dict[str, Any]:
    minor, more = draw(st.floats(0.0, 1e6)), draw(st.floats(0.0, 1e6))
    return {
        "lat_deg": draw(LATITUDES),
        "lon_deg": draw(LONGITUDES),
        "area_semi_major_m": minor + more,
        "area_semi_minor_m": minor,
        "area_orientation_deg": draw(st.floats(0.0, 359.99)),
    }


@st.composite
def covariances(draw: st.DrawFn) -> tuple[float, ...]:
    """A covariance that a radar may have: one axis up to a thousand times better than the others."""
    spread_m = 10.0 ** draw(st.floats(0.0, 5.0))
    sight = np.array([draw(st.floats(-1.0, 1.0)), draw(st.floats(-1.0, 1.0)), 1.0])
    sight /= np.linalg.norm(sight)
    ratio = 10.0 ** draw(st.floats(-3.0, 0.0))
    place = spread_m**2 * (np.eye(3) + (ratio**2 - 1.0) * np.outer(sight, sight))
    velocity = place * 10.0 ** draw(st.floats(-4.0, -2.0))
    cross = draw(st.floats(-0.5, 0.5)) * math.sqrt(velocity[0, 0] / place[0, 0]) * place
    full = np.block([[place, cross], [cross.T, velocity]])
    return tuple(float(full[i, j]) for i in range(6) for j in range(i, 6))


@st.composite
def launches(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "sight": Sight.LAUNCH,
        "launch_time_ns": draw(st.none() | TIMES),
        "launch_time_sigma_s": draw(SPREADS_S),
        "azimuth_deg": draw(st.none() | st.floats(0.0, 360.0)),
        "azimuth_sigma_deg": draw(st.none() | st.floats(0.0, 180.0)),
        "missile_class": draw(st.sampled_from(measures_pb2.MissileClass.values())),
        "confidence": draw(FRACTIONS),
    } | draw(st.just({}) | ellipses())


@st.composite
def tracks(draw: st.DrawFn) -> dict[str, Any]:
    speed = st.floats(-4_000.0, 4_000.0)
    place = geodesy.ecef(draw(LATITUDES), draw(LONGITUDES), draw(st.floats(-500.0, 4e7)))
    return {
        "sight": Sight.TRACK,
        "position_m": place,
        "velocity_mps": draw(st.none() | st.tuples(speed, speed, speed)),
        "covariance": draw(st.just(()) | covariances()),
        "burning": draw(st.booleans()),
        "apogee_m": draw(st.none() | st.floats(0.0, 1e7)),
        "ground_range_m": draw(st.none() | st.floats(0.0, 1.9e7)),
        "confidence": draw(FRACTIONS),
    }


@st.composite
def impacts(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "sight": Sight.IMPACT,
        "impact_time_ns": draw(st.none() | TIMES),
        "impact_time_sigma_s": draw(SPREADS_S),
        "nations_affected": tuple(draw(st.lists(st.sampled_from(["JPN", "KOR", "USA", "AUS"]), unique=True))),
        "confidence": draw(FRACTIONS),
    } | draw(st.just({}) | ellipses())


STATUSES = st.sampled_from([Sight.LOST, Sight.NOT_A_LAUNCH, Sight.ALL_CLEAR]).map(lambda sight: {"sight": sight})


def round_trip(nation: Nation, sensor: Sensor, number: int, time_ns: int, said: dict[str, Any]) -> tuple[Any, Reported]:
    seen = Observation(sensor=sensor.name, track_number=number, time_ns=time_ns, **said)
    native: NativeFormat = nation.formats[sensor.format]
    (reported,) = native.open(PlainMemory()).read(native.write(seen, sensor))
    check_content(reported.content, incoming=False)
    return seen, reported


def assert_window(window: measures_pb2.TimeWindow, best_ns: int, sigma_s: float) -> None:
    assert abs(window.best.ToNanoseconds() - best_ns) <= MILLISECOND_NS // 2
    spread_ns = (window.latest.ToNanoseconds() - window.earliest.ToNanoseconds()) / 2
    assert abs(spread_ns - bodies.SIGMAS * sigma_s * SECOND_NS) <= MILLISECOND_NS


def assert_area(area: measures_pb2.Area, seen: Observation) -> None:
    ellipse = area.ellipse
    assert seen.lat_deg is not None
    assert seen.lon_deg is not None
    apart_m, _ = geodesy.distance_azimuth(ellipse.centre.lat_deg, ellipse.centre.lon_deg, seen.lat_deg, seen.lon_deg)
    assert apart_m <= 0.5
    assert abs(ellipse.semi_major_m - seen.area_semi_major_m) <= 1.0
    assert abs(ellipse.semi_minor_m - seen.area_semi_minor_m) <= 1.0
    assert abs(ellipse.orientation_deg - seen.area_orientation_deg) <= 0.001
    assert ellipse.probability == 0.95


def assert_same_number(said: float | None, seen: float | None, most: float) -> None:
    assert (said is None) == (seen is None)
    assert said is None or seen is None or abs(said - seen) <= most


def value_of(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


every_sensor = pytest.mark.parametrize(
    ("nation", "sensor"), SENSORS, ids=[f"{nation.code}-{sensor.name}" for nation, sensor in SENSORS]
)


@every_sensor
@given(number=NUMBERS, time_ns=TIMES, said=launches())
@settings(max_examples=8, deadline=None)
def test_a_launch_comes_back(nation: Nation, sensor: Sensor, number: int, time_ns: int, said: dict[str, Any]) -> None:
    seen, reported = round_trip(nation, sensor, number, time_ns, said)
    launch = reported.content.launch
    assert abs(reported.content.header.observed_at.ToNanoseconds() - time_ns) <= MILLISECOND_NS // 2
    assert launch.HasField("launch_time") == (seen.launch_time_ns is not None)
    if seen.launch_time_ns is not None:
        assert_window(launch.launch_time, seen.launch_time_ns, seen.launch_time_sigma_s)
    assert launch.HasField("launch_area") == (seen.lat_deg is not None)
    if seen.lat_deg is not None:
        assert_area(launch.launch_area, seen)
    assert_same_number(value_of(launch, "azimuth_deg"), seen.azimuth_deg, 1e-4)
    assert_same_number(value_of(launch, "azimuth_sigma_deg"), seen.azimuth_sigma_deg, 1e-4)
    assert_same_number(value_of(launch, "confidence"), seen.confidence, 1e-4)
    assert {each.missile_class for each in launch.classes} == {seen.missile_class} - {0}


@every_sensor
@given(number=NUMBERS, time_ns=TIMES, said=tracks())
@settings(max_examples=12, deadline=None)
def test_a_track_comes_back(nation: Nation, sensor: Sensor, number: int, time_ns: int, said: dict[str, Any]) -> None:
    seen, reported = round_trip(nation, sensor, number, time_ns, said)
    track, state = reported.content.track, reported.content.track.state
    assert abs(state.valid_at.ToNanoseconds() - time_ns) <= MILLISECOND_NS // 2
    assert seen.position_m is not None
    # Half a metre on the ground: what is written as an angle is coarser in proportion further out.
    assert math.dist(state.position_m, seen.position_m) <= 0.5 * max(1.0, math.hypot(*seen.position_m) / 6.4e6)
    assert bool(state.velocity_mps) == (seen.velocity_mps is not None)
    if seen.velocity_mps is not None:
        assert math.dist(state.velocity_mps, seen.velocity_mps) <= 0.01
    assert_covariance(list(state.covariance), seen)
    assert (track.phase == content_pb2.PHASE_BOOST) == seen.burning
    for name in ("apogee_m", "ground_range_m"):
        assert_length(value_of(track, name), getattr(seen, name), nation.code)
    assert_same_number(value_of(track, "confidence"), seen.confidence, 1e-4)


def assert_covariance(said: list[float], seen: Observation) -> None:
    """Every term, in units of what its row and column can be at most."""
    if not seen.covariance:
        assert not said
        return
    size = 6 if seen.velocity_mps is not None else 3
    before = np.zeros((6, 6))
    before[np.triu_indices(6)] = seen.covariance
    after = np.zeros((size, size))
    after[np.triu_indices(size)] = said
    # A deviation is written to a thousandth of a metre, or of a metre a second, where it is written as such.
    scale = np.array([math.sqrt(max(np.diag(before)[:3]))] * 3 + [math.sqrt(max(np.diag(before)[3:]))] * 3)[:size]
    slack = (1e-6 * scale + 0.001)[:, None] * scale[None, :]
    assert np.all(np.abs(after - before[:size, :size]) <= slack + slack.T)


def assert_length(said: measures_pb2.Quantity | None, seen_m: float | None, code: str) -> None:
    assert (said is None) == (seen_m is None)
    if said is None or seen_m is None:
        return
    if said.lower_bound:
        assert code == "JPN"
        assert seen_m - 10_000.0 < said.value <= seen_m
    else:
        assert abs(said.value - seen_m) <= (5_000.0 if code == "JPN" else 1.0)


@every_sensor
@given(number=NUMBERS, time_ns=TIMES, said=impacts())
@settings(max_examples=8, deadline=None)
def test_an_impact_comes_back(nation: Nation, sensor: Sensor, number: int, time_ns: int, said: dict[str, Any]) -> None:
    seen, reported = round_trip(nation, sensor, number, time_ns, said)
    impact = reported.content.impact
    assert impact.HasField("time") == (seen.impact_time_ns is not None)
    if seen.impact_time_ns is not None:
        assert_window(impact.time, seen.impact_time_ns, seen.impact_time_sigma_s)
    assert impact.HasField("area") == (seen.lat_deg is not None)
    if seen.lat_deg is not None:
        assert_area(impact.area, seen)
    assert tuple(impact.nations_affected) == seen.nations_affected
    assert_same_number(value_of(impact, "confidence"), seen.confidence, 1e-4)


@every_sensor
@given(number=NUMBERS, time_ns=TIMES, said=STATUSES)
@settings(max_examples=4, deadline=None)
def test_a_status_comes_back(nation: Nation, sensor: Sensor, number: int, time_ns: int, said: dict[str, Any]) -> None:
    seen, reported = round_trip(nation, sensor, number, time_ns, said)
    assert reported.content.status.state == bodies.SIGHTED[seen.sight]
    assert reported.content.status.event_id == f"{sensor.name}/{number:04d}".encode()


@every_sensor
def test_a_track_without_a_position_is_not_written(nation: Nation, sensor: Sensor) -> None:
    with pytest.raises(ValueError, match="without a position"):
        nation.formats[sensor.format].write(Observation(Sight.TRACK, sensor.name, 1, SECOND_NS), sensor)
