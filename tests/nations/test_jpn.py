"""The Japanese feed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker import geodesy
from broker.plugin import PlainMemory, Reported, UnreadableLine
from nations.jpn import NATION
from nations.jpn.columns import COLUMNS, written_angle
from vedette.v1 import content_pb2, envelope_pb2

FORMAT = NATION.formats["radar-csv"]
HEAD = {
    "serial": "1",
    "sensor": "aegis-1",
    "kind": "AEGIS",
    "time": "2022/10/04 07:26:00.250",
    "clock_ms": "10",
    "grade": "GOKUHI",
    "releasable": "USA KOR",
    "track": "88",
}
AT = {"lat": "N0400000.00", "lon": "E1350000.00", "height_km": "100"}


def row(record: str, **changes: str) -> bytes:
    values = (HEAD if record != "C" else {name: HEAD[name] for name in HEAD if name != "track"}) | changes
    assert values.keys() <= set(COLUMNS[record]), "a test's own mistake"
    return ",".join([record, *(values.get(name, "") for name in COLUMNS[record][1:])]).encode()


def read(*lines: bytes) -> list[Reported]:
    adapter = FORMAT.open(PlainMemory())
    return [reported for each in lines for reported in adapter.read(each)]


def test_a_time_without_a_zone_is_japan_standard_time() -> None:
    (reported,) = read(row("S", state="TRACK_LOST"))
    stamp = reported.content.header.observed_at
    assert datetime.fromtimestamp(stamp.seconds, UTC) == datetime(2022, 10, 3, 22, 26, tzinfo=UTC)


@pytest.mark.parametrize(("text", "value_m", "is_bound"), [(">=500", 500_000.0, True), ("500", 500_000.0, False)])
def test_at_least_stays_at_least(text: str, value_m: float, is_bound: bool) -> None:  # noqa: FBT001
    (reported,) = read(row("T", **AT, range_km=text, apogee_km=text))
    for quantity in (reported.content.track.ground_range_m, reported.content.track.apogee_m):
        assert (quantity.value, quantity.lower_bound) == (value_m, is_bound)


def test_degrees_minutes_and_seconds_become_degrees() -> None:
    (reported,) = read(row("T", lat="S0403036.00", lon="W1351500.00", height_km="100"))
    assert list(reported.content.track.state.position_m) == pytest.approx(geodesy.ecef(-40.51, -135.25, 100_000.0))


@pytest.mark.parametrize("value_deg", [0.0, 59.9999999, -0.0000001, 89.99999999, -89.5, 179.99999999])
def test_an_angle_never_rounds_to_sixty_seconds(value_deg: float) -> None:
    text = written_angle(value_deg, "EW")
    assert int(text[4:6]) < 60
    assert float(text[6:]) < 60.0


def test_deviations_and_correlations_become_a_covariance() -> None:
    # On the equator at Greenwich east is +y, north +z and up +x.
    (reported,) = read(
        row("T", lat="N0000000.00", lon="E0000000.00", height_km="0", deviations="10 20 30", correlations="0.5 0 0")
    )
    assert list(reported.content.track.state.covariance) == pytest.approx([900.0, 0.0, 0.0, 100.0, 100.0, 400.0])


def test_an_impact_names_prefectures_and_nations() -> None:
    area = {"lat": "N0404500.00", "lon": "E1410000.00", "major_km": "40", "minor_km": "20", "orientation": "90"}
    (reported,) = read(row("I", **area, nations="JPN", prefectures="JP-01 JP-02", passes="1"))
    impact = reported.content.impact
    assert list(impact.area.iso_3166_2) == ["JP-01", "JP-02"]
    assert list(impact.nations_affected) == ["JPN"]
    assert impact.overflight_only


def test_an_impact_without_a_place_has_no_area() -> None:
    (reported,) = read(row("I", nations="JPN"))
    assert not reported.content.impact.HasField("area")


def test_a_cancellation_names_the_row_that_it_cancels() -> None:
    (reported,) = read(row("C", serial="9", cancels="4"))
    assert [(each.message_id, each.relation) for each in reported.content.header.references] == [
        (b"aegis-1/4", content_pb2.RELATION_CANCELS)
    ]
    assert reported.precedence == envelope_pb2.PRECEDENCE_FLASH
    assert list(reported.label.releasable_to) == ["JPN", "KOR", "USA"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row("T", **AT | {"lat": "E0400000.00"}), "hemispheres"),
        (row("T", **AT | {"lat": "N0406000.00"}), "sixty"),
        (row("T", **AT | {"lat": "N0910000.00"}), "not within"),
        (row("T", **AT | {"lon": ""}), "one without the other"),
        (row("T", **AT | {"lat": "", "lon": ""}), "missing"),
        (row("T", **AT, range_km=">=x"), "range_km: not a number"),
        (row("T", **AT, range_km=">="), "at least nothing"),
        (row("T", **AT, range_km=">=-5"), "range_km: not within"),
        (row("T", **AT, velocity="1 2"), "velocity: 2 numbers"),
        (row("T", **AT, velocity="1  2 3"), "two blanks"),
        (row("T", **AT, deviations="1 2 3"), "correlations: not as many"),
        (row("T", **AT, deviations="-1 2 3", correlations="0 0 0"), "below zero"),
        (row("T", **AT, deviations="1 2 3", correlations="1.5 0 0"), "not within"),
        (row("I", prefectures="JP-48"), "prefectures: not of the form"),
        (row("I", prefectures="JP-01"), "an area that is not there"),
        (row("S", state="TRACK_LOST", time="2022/02/30 00:00:00.000"), "no such time"),
        (row("S", state="TRACK_LOST", track="\u0664"), "not a number"),
        (row("S", state="LOST"), "state: not one of"),
        (row("S", state="TRACK_LOST") + b",", "columns, not"),
        (row("S", state="TRACK_LOST").replace(b"S,", b"X,", 1), "record: not one of"),
        (row("S", state='"TRACK'), "not a row"),
    ],
)
def test_what_is_not_as_agreed_is_unreadable_and_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(UnreadableLine, match=reason):
        read(line)
