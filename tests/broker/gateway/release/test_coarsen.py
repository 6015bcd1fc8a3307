from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.gateway.release import coarsen
from broker.gateway.release.lattice import Level

COARSE = st.sampled_from([Level.CELL_50KM, Level.CELL_10KM, Level.CELL_1KM])
LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)
COORDINATES = st.floats(-1e8, 1e8)


@given(LATITUDES, LONGITUDES, COARSE)
def test_a_place_made_coarse_twice_stays_where_it_is(lat_deg: float, lon_deg: float, level: Level) -> None:
    lat = coarsen.latitude_deg(lat_deg, level.space_m)
    lon = coarsen.longitude_deg(lon_deg, lat, level.space_m)
    assert -90 <= lat <= 90
    assert -180 <= lon <= 180
    assert coarsen.latitude_deg(lat, level.space_m) == lat
    assert coarsen.longitude_deg(lon, lat, level.space_m) == lon


@given(st.floats(-85, 85), LONGITUDES, COARSE)
def test_a_cell_is_about_as_large_as_it_says(lat_deg: float, lon_deg: float, level: Level) -> None:
    lat = coarsen.latitude_deg(lat_deg, level.space_m)
    lon = coarsen.longitude_deg(lon_deg, lat, level.space_m)
    north_m = (lat - lat_deg) * 111_000
    east_m = (lon - lon_deg) * 111_320 * math.cos(math.radians(lat))
    # No further than half a cell each way, and a tenth for bands that do not divide evenly near the poles.
    assert abs(north_m) <= level.space_m * 0.55
    assert abs(east_m) <= level.space_m * 0.55


@given(LATITUDES, LATITUDES, LONGITUDES, LONGITUDES, COARSE)
def test_a_coarse_place_is_a_function_of_its_cell_alone(
    lat: float, other_lat: float, lon: float, other_lon: float, level: Level
) -> None:
    """Two places are shown alike exactly if no edge of the grid lies between them."""
    band = 180.0 / math.floor(180.0 * coarsen.LATITUDE_DEGREE_M / level.space_m)
    count = round(180.0 / band)
    same_band = min(count - 1, math.floor((lat + 90) / band)) == min(count - 1, math.floor((other_lat + 90) / band))
    shown, other = coarsen.latitude_deg(lat, level.space_m), coarsen.latitude_deg(other_lat, level.space_m)
    assert (shown == other) == same_band
    if not same_band:
        return
    sector = coarsen.longitude_deg(lon, shown, level.space_m), coarsen.longitude_deg(other_lon, shown, level.space_m)
    if sector[0] == sector[1]:
        between = (lon + other_lon) / 2
        assert coarsen.longitude_deg(between, shown, level.space_m) == sector[0]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(-50, 50), COARSE)
def test_all_of_a_cube_is_shown_as_its_middle(one: float, other: float, index: int, level: Level) -> None:
    step = level.space_m
    assume(one < 0.999_999)
    assume(other < 0.999_999)
    first = coarsen.centre((index + one) * step, step, -1e8, 1e8)
    second = coarsen.centre((index + other) * step, step, -1e8, 1e8)
    assert first == second == (index + 0.5) * step


@given(COORDINATES, COARSE)
def test_a_middle_lies_inside_the_bounds_and_stays(value: float, level: Level) -> None:
    for least, most in ((-1e8, 1e8), (-1000.0, 5e7)):
        middle = coarsen.centre(value, level.space_m, least, most)
        assert least <= middle <= most
        assert coarsen.centre(middle, level.space_m, least, most) == middle


@given(st.floats(-15_000, 15_000), COARSE)
def test_a_velocity_stays_inside_its_bounds_and_its_cube(value: float, level: Level) -> None:
    middle = coarsen.centre(value, level.speed_mps, -15_000, 15_000)
    assert abs(middle) <= 15_000
    assert abs(middle - value) <= level.speed_mps / 2 + 1e-6
    assert coarsen.centre(middle, level.speed_mps, -15_000, 15_000) == middle


@given(st.integers(0, 2**62), COARSE)
def test_times_round_down_to_the_cell(value_ns: int, level: Level) -> None:
    floor_ns = coarsen.time_ns(value_ns, level.time_ns)
    assert 0 <= value_ns - floor_ns < level.time_ns
    assert coarsen.time_ns(floor_ns, level.time_ns) == floor_ns


@given(st.floats(0, 1e8), COARSE)
def test_lengths_round_down_and_spreads_up(value: float, level: Level) -> None:
    length, spread = coarsen.length_m(value, level.space_m), coarsen.spread(value, level.space_m)
    assert length <= value * (1 + 1e-9) + 1e-3
    assert value - length <= level.space_m
    assert spread >= max(level.space_m, value * (1 - 1e-9))
    assert spread - value <= level.space_m or spread == level.space_m
    assert coarsen.length_m(length, level.space_m) == length
    assert coarsen.spread(spread, level.space_m) == spread


@given(st.floats(0, 360), st.floats(0, 180), COARSE)
def test_a_direction_is_the_middle_of_its_sector_and_spreads_over_it(
    azimuth: float, sigma: float, level: Level
) -> None:
    middle = coarsen.sector_deg(azimuth, level.sector_deg)
    assert abs(middle - azimuth % 360) <= level.sector_deg / 2
    assert coarsen.sector_deg(middle, level.sector_deg) == middle
    spread = coarsen.sector_spread_deg(sigma, level.sector_deg)
    assert max(level.sector_deg, sigma * (1 - 1e-9)) <= spread <= 180
    assert coarsen.sector_spread_deg(spread, level.sector_deg) == spread


@given(st.floats(0, 1))
def test_shares_round_down_to_tenths(value: float) -> None:
    tenth = coarsen.fraction(value)
    assert tenth in {index / 10 for index in range(11)}
    assert tenth <= value + 1e-9
    assert coarsen.fraction(tenth) == tenth


LEVELS = st.sampled_from(list(Level))


@given(
    st.lists(st.floats(0, 1e9), min_size=21, max_size=21), st.lists(st.floats(-8e3, 8e3), min_size=3, max_size=3),
    st.sampled_from(list(Level)[1:]), st.sampled_from(list(Level)[1:]), LEVELS, LEVELS,
)  # fmt: skip
def test_a_covariance_is_shown_whole_or_in_all_directions_alike(
    terms: list[float], velocity: list[float], place: Level, time: Level, motion: Level, own: Level
) -> None:
    own = min(own, place)
    shown = velocity if motion else []
    made = coarsen.covariance(terms, shown, place=place, time=time, motion=motion, own=own)
    again = coarsen.covariance(made, shown, place=place, time=time, motion=motion, own=own)
    assert again == pytest.approx(made, rel=1e-9)
    assert len(made) in {0, 6, 21}
    if min(place, time) == Level.EXACT:
        return
    assert made, "a coarse position carries a covariance, whatever the policy says of the origin's own"
    assert made[0] >= place.space_m**2
    if len(made) == 6:
        assert made == [made[0], 0, 0, made[0], 0, made[0]]
    else:
        assert [made[0], made[6], made[11]] == [made[0]] * 3
        assert not any(made[index] for index in (1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14))
