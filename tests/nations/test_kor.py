"""The Korean feed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from broker import geodesy
from broker.plugin import PlainMemory, Reported, UnreadableLine
from nations.kor import NATION
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

FORMAT = NATION.formats["radar-json"]


def line(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "no": "1",
        "sensor": "aegis-1",
        "type": "AEGIS",
        "units": "metric",
        "time": "2022-10-04T07:26:00.250+09:00",
        "clock_ms": 5,
        "mark": {"grade": "GRADE-2", "to": ["USA", "JPN"], "caveats": []},
        "kind": "TRACK",
        "track": 42,
        "at": [40.0, 135.0, 100.0],
    }
    fields |= changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def read(*lines: bytes) -> list[Reported]:
    adapter = FORMAT.open(PlainMemory())
    return [reported for each in lines for reported in adapter.read(each)]


def test_a_local_time_with_its_offset_becomes_utc() -> None:
    (reported,) = read(line())
    stamp = reported.content.header.observed_at
    assert datetime.fromtimestamp(stamp.seconds, UTC) == datetime(2022, 10, 3, 22, 26, tzinfo=UTC)
    assert stamp.nanos == 250_000_000


@pytest.mark.parametrize(
    ("units", "length_m", "speed_mps"), [("metric", 1_000.0, 1.0), ("nautical", 1_852.0, 0.514444)]
)
def test_each_sensor_writes_in_its_own_units(units: str, length_m: float, speed_mps: float) -> None:
    covariance = [4.0 if i == j else 0.0 for i in range(6) for j in range(i, 6)]
    (reported,) = read(line(units=units, at=[0.0, 0.0, 50.0], moves=[100.0, 90.0, 10.0], cov=covariance, range=300.0))
    state = reported.content.track.state
    # On the equator at Greenwich east is +y, north +z and up +x.
    assert list(state.position_m) == pytest.approx(geodesy.ecef(0.0, 0.0, 50.0 * length_m))
    assert list(state.velocity_mps) == pytest.approx([10.0 * speed_mps, 100.0 * speed_mps, 0.0], rel=1e-5, abs=1e-9)
    assert state.covariance[0] == pytest.approx(4.0 * length_m**2)
    assert state.covariance[20] == pytest.approx(4.0 * speed_mps**2, rel=1e-5)
    assert reported.content.track.ground_range_m.value == pytest.approx(300.0 * length_m)


def test_a_launch_keeps_every_class_with_its_weight_and_the_count_as_an_interval() -> None:
    (reported,) = read(line(kind="LAUNCH", at=None, classes={"SRBM": 0.6, "MRBM": 0.3}, count=[6, 8]))
    launch = reported.content.launch
    assert {each.missile_class: each.probability for each in launch.classes} == {
        measures_pb2.MISSILE_CLASS_SRBM: 0.6,
        measures_pb2.MISSILE_CLASS_MRBM: 0.3,
    }
    assert (launch.count.least, launch.count.most) == (6, 8)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AEGIS", measures_pb2.SENSOR_KIND_SEA_RADAR),
        ("AEW", measures_pb2.SENSOR_KIND_AIRBORNE_RADAR),
        ("GROUND", measures_pb2.SENSOR_KIND_GROUND_RADAR),
    ],
)
def test_the_source_names_kind_sensor_and_where_it_was(name: str, kind: int) -> None:
    (reported,) = read(line(type=name, own=[38.0, 130.0, 20.0]))
    source = reported.content.track.source
    assert (source.kind, source.name) == (kind, "aegis-1")
    assert (source.site.lat_deg, source.site.lon_deg, source.site.height_m) == (38.0, 130.0, 20.0)


def test_the_label_is_korean_sorted_and_includes_korea() -> None:
    (reported,) = read(line(mark={"grade": "GRADE-3", "to": ["USA", "JPN"], "caveats": ["ORCON", "KOR-ONLY"]}))
    label = reported.label
    assert label.policy == "KOR"
    assert label.classification == envelope_pb2.CLASSIFICATION_CONFIDENTIAL
    assert list(label.releasable_to) == ["JPN", "KOR", "USA"]
    assert list(label.caveats) == ["KOR-ONLY", "ORCON"]
    assert label.originator_controlled


def test_a_clock_of_unknown_error_is_not_called_synchronized() -> None:
    (known,), (unknown,) = read(line()), read(line(clock_ms=None))
    assert known.content.header.clock.synchronized
    assert known.content.header.clock.max_error.nanos == 5_000_000
    assert not unknown.content.header.clock.synchronized


def test_launch_impact_and_status_flash_and_tracks_do_not() -> None:
    reports = read(
        line(no="1"),
        line(no="2", kind="LAUNCH", at=None),
        line(no="3", kind="IMPACT", at=None, nations=["JPN"]),
        line(no="4", kind="STATUS", at=None, state="ALL_CLEAR"),
    )
    assert [reported.precedence for reported in reports] == [
        envelope_pb2.PRECEDENCE_IMMEDIATE,
        envelope_pb2.PRECEDENCE_FLASH,
        envelope_pb2.PRECEDENCE_FLASH,
        envelope_pb2.PRECEDENCE_FLASH,
    ]


def test_a_cancellation_is_a_bare_reference() -> None:
    (reported,) = read(line(no="9", kind="CANCEL", track=None, at=None, cancels="4"))
    content = reported.content
    assert content.WhichOneof("body") is None
    assert [(each.message_id, each.relation) for each in content.header.references] == [
        (b"aegis-1/4", content_pb2.RELATION_CANCELS)
    ]
    assert {field.name for field, _ in content.header.ListFields()} == {"message_id", "references"}
    assert reported.precedence == envelope_pb2.PRECEDENCE_FLASH


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"at": [91.0, 135.0, 100.0]}, "at: not within"),
        ({"at": ["40.0", 135.0, 100.0]}, "at: not a number"),
        ({"at": [True, 135.0, 100.0]}, "at: not a number"),
        ({"at": None}, "at: missing"),
        ({"track": 4.0}, "track: not a whole number"),
        ({"track": 0}, "track: not within"),
        ({"surplus": 1}, "does not belong"),
        ({"type": "SONAR"}, "type: not one of"),
        ({"time": "2022-10-04T07:26:00.250Z"}, "time: not a time"),
        ({"time": "2022-13-04T07:26:00.250+09:00"}, "time: no such time"),
        ({"kind": "FIRE"}, "kind: not one of"),
        ({"cov": [1.0] * 20}, "cov: "),
        ({"cov": [1.0] * 21}, "covariance: not as many"),
        ({"cov": [-1.0, 0.0, 0.0, 1.0, 0.0, 1.0]}, "variance below zero"),
        ({"cov": [1.0, 2.0, 0.0, 1.0, 0.0, 1.0]}, "covariance: "),
        ({"mark": {"grade": "GRADE-2", "to": ["USA"], "caveats": ["UNHEARD-OF"]}}, "caveats: not one of"),
        ({"mark": {"grade": "GRADE-2", "to": ["USA", "USA"], "caveats": []}}, "twice"),
        ({"mark": None}, "mark: missing"),
    ],
)
def test_what_is_not_as_agreed_is_unreadable_and_says_why(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableLine, match=reason):
        read(line(**changes))


def test_json_that_python_alone_would_take_is_unreadable() -> None:
    good = line().decode()
    for bad in (
        good.replace('"track": 42', '"track": 42, "track": 43'),
        good.replace("40.0", "NaN"),
        good.replace("40.0", "1e999"),
        good.replace("40.0", "9" * 400),
        good + good,
        f"[{good}]",
    ):
        with pytest.raises(UnreadableLine):
            read(bad.encode())
