"""Regions touched and flown over, against samples as fine as it takes."""

from __future__ import annotations

import math
import re
from functools import cache
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import geodesy
from broker.fusion import regions
from broker.fusion.contribution import Place
from broker.fusion.outlines import OUTLINES

REACH: Final = math.sqrt(-2.0 * math.log(0.05))
# The seats of the prefectures of Japan in the order of their numbers, and of the provinces of South Korea.
SEATS: Final = """
JP-01 43.06 141.35; JP-02 40.82 140.74; JP-03 39.70 141.15; JP-04 38.27 140.87; JP-05 39.72 140.10; JP-06 38.24 140.36
JP-07 37.75 140.47; JP-08 36.34 140.45; JP-09 36.57 139.88; JP-10 36.39 139.06; JP-11 35.86 139.65; JP-12 35.60 140.12
JP-13 35.69 139.69; JP-14 35.47 139.60; JP-15 37.90 139.02; JP-16 36.70 137.21; JP-17 36.59 136.63; JP-18 36.07 136.22
JP-19 35.66 138.57; JP-20 36.65 138.18; JP-21 35.39 136.72; JP-22 34.98 138.38; JP-23 35.18 136.91; JP-24 34.73 136.51
JP-25 35.00 135.87; JP-26 35.02 135.76; JP-27 34.69 135.52; JP-28 34.69 135.18; JP-29 34.69 135.83; JP-30 34.23 135.17
JP-31 35.50 134.24; JP-32 35.47 133.05; JP-33 34.66 133.93; JP-34 34.40 132.46; JP-35 34.19 131.47; JP-36 34.07 134.56
JP-37 34.34 134.04; JP-38 33.84 132.77; JP-39 33.56 133.53; JP-40 33.61 130.42; JP-41 33.25 130.30; JP-42 32.74 129.87
JP-43 32.79 130.74; JP-44 33.24 131.61; JP-45 31.91 131.42; JP-46 31.60 130.50; JP-47 26.21 127.68
KR-11 37.57 126.98; KR-26 35.18 129.08; KR-27 35.87 128.60; KR-28 37.46 126.71; KR-29 35.18 126.90; KR-30 36.35 127.38
KR-31 35.54 129.31; KR-41 37.27 127.01; KR-42 37.88 127.73; KR-43 36.64 127.49; KR-44 36.66 126.67; KR-45 35.82 127.11
KR-46 34.82 126.46; KR-47 36.57 128.51; KR-48 35.24 128.69; KR-49 33.49 126.50; KR-50 36.48 127.29
KP-01 39.02 125.75; US-GU 13.47 144.79; US-MP 15.21 145.75; US-HI 21.31 -157.86; US-AK 61.22 -149.90; RU-PRI 43.15 132.0
KR-28 37.97 124.67; KR-28 37.70 126.45
"""


def seats() -> list[tuple[str, float, float]]:
    found = []
    for line in SEATS.replace("\n", ";").split(";"):
        if line.strip():
            code, lat, lon = line.split()
            found.append((code, float(lat), float(lon)))
    return found


def place(lat: float, lon: float, major_m: float, minor_m: float, orientation_deg: float) -> Place:
    """Return the Gaussian whose ellipse of 95 % has these axes."""
    major_m2, minor_m2 = (major_m / REACH) ** 2, (minor_m / REACH) ** 2
    sin, cos = math.sin(math.radians(orientation_deg)), math.cos(math.radians(orientation_deg))
    return Place(
        lat,
        lon,
        major_m2 * sin * sin + minor_m2 * cos * cos,
        (major_m2 - minor_m2) * sin * cos,
        major_m2 * cos * cos + minor_m2 * sin * sin,
    )


@cache
def corners(code: str) -> list[tuple[float, float]]:
    """Return points of a region's outline, at most a kilometre or so apart."""
    (region,) = [one for one in regions.regions() if one.code == code]
    found = []
    for ring in region.rings:
        for (lat, lon), (to_lat, to_lon) in zip(ring, (*ring[1:], ring[0]), strict=True):
            steps = max(1, round(math.hypot(to_lat - lat, to_lon - lon) * 60.0))
            found += [(lat + (to_lat - lat) * k / steps, lon + (to_lon - lon) * k / steps) for k in range(steps)]
    return found


def test_every_prefecture_and_province_is_there_and_holds_its_seat() -> None:
    codes = {region.code for region in regions.regions()}
    assert {f"JP-{number:02}" for number in range(1, 48)} <= codes
    assert {f"KR-{number}" for number in (11, *range(26, 32), *range(41, 51))} <= codes
    for code, lat, lon in seats():
        assert regions.region_at(lat, lon) == code


def test_what_is_in_no_region_is_in_none() -> None:
    for lat, lon in ((0.0, 0.0), (40.0, 135.0), (20.0, 180.0), (-90.0, 0.0), (36.7, 177.1)):
        assert regions.region_at(lat, lon) is None
        assert regions.touched(place(lat, lon, 20_000.0, 10_000.0, 30.0)) == ()


def test_codes_are_iso_3166_2_of_nations_that_are_known() -> None:
    for code in OUTLINES:
        assert re.fullmatch(r"[A-Z]{2}-[A-Z0-9]{1,3}", code)
        assert code[:2] in regions.NATIONS
    assert regions.nations_of(["KR-11", "JP-01", "JP-02"]) == ("JPN", "KOR")


areas = st.builds(
    place,
    st.floats(30.0, 45.0),
    st.floats(124.0, 146.0),
    st.floats(2_000.0, 400_000.0),
    st.floats(100.0, 2_000.0) | st.floats(2_000.0, 400_000.0),
    st.floats(0.0, 180.0),
)


@settings(max_examples=60, deadline=None)
@given(areas)
def test_no_region_that_the_area_reaches_into_is_left_out(area: Place) -> None:
    major_m, minor_m, orientation_deg = geodesy.ellipse_of_covariance(area.east_m2, area.east_north_m2, area.north_m2)
    found = set(regions.touched(area))
    for part in (0.0, 0.35, 0.7, 1.0):
        points = geodesy.ellipse_points(
            area.lat_deg, area.lon_deg, part * major_m, part * minor_m, orientation_deg, count=72 if part else 1
        )
        for lat, lon in points:
            code = regions.region_at(lat, lon)
            assert code is None or code in found, (lat, lon)


@settings(max_examples=40, deadline=None)
@given(areas)
def test_no_region_is_named_that_the_area_misses_by_more_than_the_margin(area: Place) -> None:
    major_m, minor_m, orientation_deg = geodesy.ellipse_of_covariance(area.east_m2, area.east_north_m2, area.north_m2)
    slack_m = regions.MARGIN_M + 2.0 * regions.SPHERE_SLACK * major_m + 1_500.0  # and the samples' distance
    for code in regions.touched(area):
        if regions.region_at(area.lat_deg, area.lon_deg) == code:
            continue
        nearest = math.inf
        for lat, lon in corners(code):
            away_m, azimuth_deg = geodesy.distance_azimuth(area.lat_deg, area.lon_deg, lat, lon)
            angle = math.radians(azimuth_deg - orientation_deg)
            nearest = min(
                nearest,
                math.hypot(
                    away_m * math.cos(angle) / (major_m + slack_m), away_m * math.sin(angle) / (minor_m + slack_m)
                ),
            )
        assert nearest <= 1.0, code


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(st.floats(32.0, 43.0), st.floats(124.0, 130.0)), st.tuples(st.floats(30.0, 45.0), st.floats(135.0, 150.0))
)
def test_what_is_flown_over_is_what_a_fine_sampling_of_the_track_meets_in_its_order(
    start: tuple[float, float], end: tuple[float, float]
) -> None:
    def at(part: float) -> tuple[float, float]:
        return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part

    sampled: dict[str, None] = {}
    for step in range(2001):
        code = regions.region_at(*at(step / 2000))
        if code is not None:
            sampled[code] = None
    found = regions.overflown([at(step / 40) for step in range(41)])
    # Outlines are simplified each on its own, so they overlap a little, and corners are cut that a sample misses.
    assert set(sampled) <= set(found)
    first = {code: index for index, code in enumerate(sampled)}
    order = [first[code] for code in found if code in first]
    swapped = sum(1 for one, two in pairwise(order) if one > two)
    assert swapped <= 1 + len(order) // 4


def test_an_area_around_the_180th_meridian_touches_what_lies_on_both_sides() -> None:
    found = regions.touched(place(52.0, -179.9, 400_000.0, 100_000.0, 90.0))
    assert found == ("US-AK",)
    assert regions.touched(place(52.5, 179.9, 200_000.0, 50_000.0, 90.0)) == ("US-AK",)
    assert regions.overflown([(52.0, 179.0), (52.5, -179.0), (52.5, -175.0)]) == ("US-AK",)


@pytest.mark.parametrize("wide_m", [5_000_000.0, 1e12])
def test_an_area_as_wide_as_the_sea_is_answered_too(wide_m: float) -> None:
    assert {"JP-01", "JP-47", "KR-49"} <= set(regions.touched(place(38.0, 135.0, wide_m, wide_m, 0.0)))
    assert regions.touched(place(89.9, 0.0, 10_000.0, 10_000.0, 0.0)) == ()


def test_of_more_regions_than_a_message_holds_the_nearest_are_named() -> None:
    wide = place(35.7, 139.7, 2_000_000.0, 2_000_000.0, 0.0)
    every = regions.touched(wide)
    assert len(every) > 64
    found = regions.nearest(every, wide, 64)
    assert len(found) == 64
    assert list(found) == sorted(found)
    assert {f"JP-{number:02}" for number in range(1, 47)} <= set(found)
    assert regions.nearest(("JP-13",), wide, 64) == ("JP-13",)
