"""What nations said in public about real launches: `data/launches.csv`, read strictly.

A launch is a row; what each nation announced of it are that row's columns, kept apart because nations disagree: in
time by minutes, in range by tens of kilometres. An empty cell was not announced. Every row names its sources. The
figures are rounded and were made after the event: they shape an exercise, they are no measure of a sensor.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Final, TypeGuard

from broker.limits import SECOND_NS
from vedette.v1.measures_pb2 import MissileClass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

COLUMNS: Final = (
    *("id", "date_utc", "t_rok_utc", "t_jp_utc", "t_other_utc", "system", "class"),
    *("count_rok", "count_jp", "count_us", "site", "lat_deg", "lon_deg", "azimuth_deg"),
    *("range_rok_km", "range_jp_km", "range_us_km", "range_dprk_km"),
    *("apogee_rok_km", "apogee_jp_km", "apogee_dprk_km"),
    *("flight_time_s", "flight_time_src", "disagreement", "source"),
)
# The columns' names of those who announce. PRK, who launched, is no member of anything here.
SPEAKERS: Final = {"KOR": "rok", "JPN": "jp", "USA": "us", "PRK": "dprk"}
CLASSES: Final = {
    "SRBM": MissileClass.MISSILE_CLASS_SRBM,
    "MRBM": MissileClass.MISSILE_CLASS_MRBM,
    "IRBM": MissileClass.MISSILE_CLASS_IRBM,
    "ICBM": MissileClass.MISSILE_CLASS_ICBM,
}


class BadTable(ValueError):  # noqa: N818 - says which cell, for whoever edits the table
    """The table of launches does not read; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Span:
    """A figure as announced: one number, or from-to for several missiles."""

    least: float
    most: float

    @property
    def single(self) -> bool:
        """Return whether it is one number."""
        return self.least == self.most


@dataclass(frozen=True, slots=True)
class Statement:
    """What one nation announced of a launch; None is what it did not."""

    time_ns: int | None  # to the minute
    count: int | None  # "several" is at least 2
    range_m: Span | None
    apogee_m: Span | None


@dataclass(frozen=True, slots=True)
class AnnouncedLaunch:
    """One launch, as nations announced it."""

    id: str
    time_ns: int  # the earliest that anybody named, to the minute
    missile_class: MissileClass.ValueType
    site: str
    lat_deg: float
    lon_deg: float
    azimuth_deg: float
    statements: Mapping[str, Statement]  # by ISO 3166-1 alpha-3
    flight_time_s: float | None
    disagreement: str
    source: str

    def range_and_apogee_m(self) -> tuple[float, float] | None:
        """Return one range and one apogee to fit a flight to, or None if the row has no such pair.

        Whoever launched knows best and is taken at its word if it named both; then a nation that named both; then any.
        """
        for speaker in ("PRK", "KOR", "JPN"):
            said = self.statements[speaker]
            if _known(said.range_m) and _known(said.apogee_m):
                return said.range_m.least, said.apogee_m.least
        ranges = [said.range_m.least for said in self.statements.values() if _known(said.range_m)]
        apogees = [said.apogee_m.least for said in self.statements.values() if _known(said.apogee_m)]
        return (ranges[0], apogees[0]) if ranges and apogees else None


def read_launches(table: Traversable | None = None) -> dict[str, AnnouncedLaunch]:
    """Return the launches by id, from our own table unless another is given. Raises BadTable."""
    table = table or resources.files("broker.exercise").joinpath("data/launches.csv")
    rows = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"), newline=""), restkey="surplus", strict=True)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise BadTable(f"{table.name}: the columns are not {', '.join(COLUMNS)}")
    launches: dict[str, AnnouncedLaunch] = {}
    for row in rows:
        where = f"{table.name}: {row['id'] or 'a row without an id'}"
        if "surplus" in row or None in row.values():
            raise BadTable(f"{where}: too many or too few cells")
        if row["id"] in launches:
            raise BadTable(f"{where}: twice")
        launches[row["id"]] = _launch(row, where)
    return launches


def _launch(row: Mapping[str, str], where: str) -> AnnouncedLaunch:
    if not row["id"] or not row["source"]:
        raise BadTable(f"{where}: id and source are needed")
    if row["class"] not in CLASSES:
        raise BadTable(f"{where}: class must be one of {', '.join(CLASSES)}")
    statements = {speaker: _statement(row, column, where) for speaker, column in SPEAKERS.items()}
    times_ns = [said.time_ns for said in statements.values() if said.time_ns is not None]
    other_ns = _time_ns(row["date_utc"], row["t_other_utc"][:5], f"{where}, t_other_utc")
    if other_ns is not None:
        times_ns.append(other_ns)
    if not times_ns:
        raise BadTable(f"{where}: nobody named a time")
    return AnnouncedLaunch(
        id=row["id"],
        time_ns=min(times_ns),
        missile_class=CLASSES[row["class"]],
        site=row["site"],
        lat_deg=_number(row["lat_deg"], f"{where}, lat_deg", 90),
        lon_deg=_number(row["lon_deg"], f"{where}, lon_deg", 180),
        azimuth_deg=_number(row["azimuth_deg"], f"{where}, azimuth_deg", 360),
        statements=statements,
        flight_time_s=_number(row["flight_time_s"], f"{where}, flight_time_s", 7200) if row["flight_time_s"] else None,
        disagreement=row["disagreement"],
        source=row["source"],
    )


def _statement(row: Mapping[str, str], column: str, where: str) -> Statement:
    count = row.get(f"count_{column}", "")
    if count not in {"", "several"} and not count.isdecimal():
        raise BadTable(f"{where}, count_{column}: not a count")
    return Statement(
        time_ns=_time_ns(row["date_utc"], row.get(f"t_{column}_utc", ""), f"{where}, t_{column}_utc"),
        count=2 if count == "several" else int(count) if count else None,
        range_m=_span_m(row[f"range_{column}_km"], f"{where}, range_{column}_km"),
        apogee_m=_span_m(row.get(f"apogee_{column}_km", ""), f"{where}, apogee_{column}_km"),
    )


def _time_ns(date: str, time: str, where: str) -> int | None:
    if not time:
        return None
    try:
        moment = datetime.strptime(f"{date} {time}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise BadTable(f"{where}: not a date and a time") from None
    return int(moment.timestamp()) * SECOND_NS


def _span_m(cell: str, where: str) -> Span | None:
    """Return a cell in kilometres, `600` or `110-670`, in metres."""
    if not cell:
        return None
    least, dash, most = cell.partition("-")
    span = Span(_number(least, where, 20_000) * 1e3, _number(most if dash else least, where, 20_000) * 1e3)
    if span.most < span.least:
        raise BadTable(f"{where}: from is more than to")
    return span


def _number(cell: str, where: str, size_most: float) -> float:
    if not re.fullmatch(r"-?\d{1,6}(\.\d{1,9})?", cell) or abs(float(cell)) > size_most:
        raise BadTable(f"{where}: not a number of at most {size_most:g}")
    return float(cell)


def _known(span: Span | None) -> TypeGuard[Span]:
    return span is not None and span.single
