from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from broker.exercise.announcements import COLUMNS, BadTable, Span, read_launches
from vedette.v1.measures_pb2 import MissileClass

if TYPE_CHECKING:
    from pathlib import Path

    from broker.exercise.announcements import AnnouncedLaunch

GOOD = dict.fromkeys(COLUMNS, "") | {
    "id": "X1", "date_utc": "2022-10-03", "t_rok_utc": "22:23", "class": "IRBM", "lat_deg": "40.6", "lon_deg": "126.4",
    "azimuth_deg": "80", "range_rok_km": "4500", "apogee_rok_km": "970", "source": "somebody",
}  # fmt: skip


def written(folder: Path, *rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / "table.csv"
    lines = [",".join(columns), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_each_nation_keeps_its_own_figures(table: dict[str, AnnouncedLaunch]) -> None:
    said = table["L17"].statements
    assert said["KOR"].range_m == Span(4.5e6, 4.5e6)
    assert said["JPN"].range_m == Span(4.6e6, 4.6e6)
    assert said["KOR"].apogee_m == Span(9.7e5, 9.7e5)
    assert said["USA"].range_m is None
    assert said["KOR"].time_ns == int(datetime(2022, 10, 3, 22, 23, tzinfo=UTC).timestamp()) * 10**9
    assert table["L17"].time_ns == said["JPN"].time_ns
    assert table["L17"].missile_class == MissileClass.MISSILE_CLASS_IRBM


def test_counts_that_disagree_are_kept(table: dict[str, AnnouncedLaunch]) -> None:
    assert (table["L15"].statements["KOR"].count, table["L15"].statements["JPN"].count) == (8, 6)
    assert table["L05"].statements["KOR"].count == 2  # "several"


def test_from_to_is_no_single_figure(table: dict[str, AnnouncedLaunch]) -> None:
    assert table["L15"].statements["KOR"].range_m == Span(1.1e5, 6.7e5)
    assert table["L15"].range_and_apogee_m() is None


def test_whoever_launched_is_taken_at_its_word_if_it_named_both(table: dict[str, AnnouncedLaunch]) -> None:
    assert table["L25"].range_and_apogee_m() == (1.0012e6, 6.6484e6)
    assert table["L17"].range_and_apogee_m() == (4.5e6, 9.7e5)


def test_every_launch_cites_its_source(table: dict[str, AnnouncedLaunch]) -> None:
    assert len(table) == 18
    assert all(launch.source for launch in table.values())


def test_a_good_row_is_read(tmp_path: Path) -> None:
    assert set(read_launches(written(tmp_path, GOOD))) == {"X1"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lat_deg": "91"}, "X1, lat_deg: not a number of at most 90"),
        ({"lon_deg": "nan"}, "X1, lon_deg: not a number"),
        ({"range_rok_km": "670-110"}, "X1, range_rok_km: from is more than to"),
        ({"apogee_jp_km": "1_000"}, "X1, apogee_jp_km: not a number"),
        ({"t_rok_utc": "25:00"}, "X1, t_rok_utc: not a date and a time"),
        ({"t_rok_utc": ""}, "X1: nobody named a time"),
        ({"class": "BIG"}, "X1: class must be one of"),
        ({"count_rok": "-3"}, "X1, count_rok: not a count"),
        ({"source": ""}, "X1: id and source are needed"),
        ({"flight_time_s": "x"}, "X1, flight_time_s: not a number"),
    ],
)
def test_a_bad_cell_is_refused_with_its_place(change: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadTable) as refused:
        read_launches(written(tmp_path, GOOD | change))
    assert str(refused.value).startswith(f"table.csv: {reason}")


def test_a_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="the columns are not"):
        read_launches(written(tmp_path, GOOD, columns=COLUMNS[1:]))
    with pytest.raises(BadTable, match="X1: twice"):
        read_launches(written(tmp_path, GOOD, GOOD))
    with pytest.raises(BadTable, match="too many or too few"):
        read_launches(written(tmp_path, GOOD | {"surplus": "1"}))
