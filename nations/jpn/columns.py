"""The columns of the Japanese feed, and the two forms that are its own.

An angle is degrees, minutes and seconds behind its hemisphere: `N0403600.00`, `E1262400.00`. A length is in kilometres
and may be "at least" so much: `>=500`. An empty column is a missing value.
"""

from __future__ import annotations

import csv
import re
from typing import Final

from broker.plugin import UnreadableLine
from nations import fields

__all__ = ["AT_LEAST", "COLUMNS", "columns_of", "length_m", "place", "written_angle", "written_row"]

HEAD: Final = "record serial sensor kind time clock_ms grade releasable caveats"
ABOUT: Final = f"{HEAD} corrects track"
SITE: Final = "own_lat own_lon own_height_m"
AREA: Final = "lat lon major_km minor_km orientation"
STATE: Final = "lat lon height_km velocity deviations correlations phase"
COLUMNS: Final = {
    "L": f"{ABOUT} launched launched_pm_s {AREA} azimuth azimuth_sd class confidence {SITE}".split(),
    "T": f"{ABOUT} {STATE} apogee_km range_km manoeuvre confidence {SITE}".split(),
    "I": f"{ABOUT} falls falls_pm_s {AREA} passes nations prefectures confidence {SITE}".split(),
    "S": f"{ABOUT} state reason".split(),
    "C": f"{HEAD} cancels".split(),
}
ANGLE: Final = re.compile(r"[NSEW][0-9]{7}\.[0-9]{2}")
SIGNS: Final = {"N": 1.0, "S": -1.0, "E": 1.0, "W": -1.0}
MOST_DEG: Final = {"N": 90.0, "S": 90.0, "E": 180.0, "W": 180.0}
PARTS: Final = 60  # of a degree, and of those
HUNDREDTHS: Final = 360_000  # of a second of arc, in a degree
AT_LEAST: Final = ">="


def columns_of(line: bytes) -> fields.TextFields:
    """Return a row's columns by name; `record` says which they are. Raises UnreadableLine."""
    try:
        rows = list(csv.reader([fields.text_of(line)], strict=True))
    except csv.Error:
        raise UnreadableLine("not a row of comma-separated values") from None
    row = rows[0]
    names = fields.chosen(row[0], "record", COLUMNS)
    if len(row) != len(names):
        raise UnreadableLine(f"{len(row)} columns, not {len(names)}")
    return fields.TextFields(dict(zip(names, row, strict=True)))


def written_row(record: str, values: dict[str, str]) -> bytes:
    """Return a row; a column without a value stays empty. Raises ValueError for a value that has no column."""
    names = COLUMNS[record]
    if unknown := values.keys() - set(names):
        raise ValueError(f"no such column in {record}: {', '.join(sorted(unknown))}")
    return ",".join(record if name == "record" else values.get(name, "") for name in names).encode()


def place(said: fields.TextFields, lat_name: str, lon_name: str) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees, or None if both columns are empty."""
    lat, lon = said.maybe_text(lat_name, ANGLE), said.maybe_text(lon_name, ANGLE)
    if not lat and not lon:
        return None
    if not lat or not lon:
        raise UnreadableLine(f"{lat_name}, {lon_name}: one without the other")
    return _degrees(lat, lat_name, "NS"), _degrees(lon, lon_name, "EW")


def written_angle(value_deg: float, hemispheres: str) -> str:
    """Return degrees as the feed writes them, to a hundredth of a second (0.3 m)."""
    hundredths = round(abs(value_deg) * HUNDREDTHS)
    degrees, rest = divmod(hundredths, HUNDREDTHS)
    minutes, seconds = divmod(rest, HUNDREDTHS // PARTS)
    return f"{hemispheres[value_deg < 0.0]}{degrees:03d}{minutes:02d}{seconds / 100.0:05.2f}"


def length_m(said: fields.TextFields, name: str) -> tuple[float | None, bool]:
    """Return a length in metres, None if the column is empty, and whether it is "at least" so much (`>=500`)."""
    text = said.maybe(name)
    at_least = text.startswith(AT_LEAST)
    inner = fields.TextFields({name: text.removeprefix(AT_LEAST)})
    if at_least and text == AT_LEAST:
        raise UnreadableLine(f"{name}: at least nothing")
    least, most = fields.LENGTH_M
    value_km = inner.maybe_number(name, least / 1_000.0, most / 1_000.0)
    return (None if value_km is None else value_km * 1_000.0), at_least


def _degrees(text: str, name: str, hemispheres: str) -> float:
    """Return the degrees of an angle that matches ANGLE."""
    if text[0] not in hemispheres:
        raise UnreadableLine(f"{name}: not one of the hemispheres {hemispheres}")
    degrees, minutes, seconds = int(text[1:4]), int(text[4:6]), float(text[6:])
    if minutes >= PARTS or seconds >= PARTS:
        raise UnreadableLine(f"{name}: sixty minutes or seconds, or more")
    value_deg = degrees + minutes / PARTS + seconds / (PARTS * PARTS)
    return SIGNS[text[0]] * fields.within(value_deg, name, 0.0, MOST_DEG[text[0]])
