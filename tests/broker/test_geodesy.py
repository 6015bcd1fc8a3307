from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from broker import geodesy

latitudes = st.floats(-89.9, 89.9)
longitudes = st.floats(-180.0, 179.999)


def test_known_points_of_the_ellipsoid() -> None:
    assert geodesy.ecef(0, 0) == pytest.approx((6378137.0, 0, 0), abs=1e-6)
    assert geodesy.ecef(90, 0) == pytest.approx((0, 0, 6356752.314245), abs=1e-6)
    # EPSG Guidance Note 7-2, 4.1.1: 53 48 33.820 N, 2 07 46.380 E, 73.0 m
    assert geodesy.ecef(53 + 48 / 60 + 33.820 / 3600, 2 + 7 / 60 + 46.380 / 3600, 73.0) == pytest.approx(
        (3771793.968, 140253.342, 5124304.349), abs=1e-3
    )


@given(latitudes, longitudes, st.floats(-5000, 4e7))
def test_geodetic_undoes_ecef(lat_deg: float, lon_deg: float, height_m: float) -> None:
    back = geodesy.geodetic(*geodesy.ecef(lat_deg, lon_deg, height_m))
    assert back == pytest.approx((lat_deg, lon_deg, height_m), abs=1e-6)


@given(latitudes, longitudes, st.floats(-1000, 200_000))
def test_the_quick_height_is_within_a_metre_and_a_half_below_200_km(
    lat_deg: float, lon_deg: float, height_m: float
) -> None:
    assert geodesy.height_m(*geodesy.ecef(lat_deg, lon_deg, height_m)) == pytest.approx(height_m, abs=1.5)


def test_the_centre_of_the_earth_is_no_exception() -> None:
    assert geodesy.height_m(0, 0, 0) < 0
    assert all(map(math.isfinite, geodesy.geodetic(0, 0, 0)))


def test_vincenty_published_line() -> None:
    # Flinders Peak to Buninyong (GDA technical manual): 54 972.271 m, 306 52 05.37. GRS 80 and WGS-84 agree to 0.1 mm.
    flinders = (-(37 + 57 / 60 + 3.72030 / 3600), 144 + 25 / 60 + 29.52440 / 3600)
    buninyong = (-(37 + 39 / 60 + 10.15610 / 3600), 143 + 55 / 60 + 35.38390 / 3600)
    distance_m, azimuth_deg = geodesy.distance_azimuth(*flinders, *buninyong)
    assert distance_m == pytest.approx(54_972.271, abs=1e-3)
    assert azimuth_deg == pytest.approx(306 + 52 / 60 + 5.37 / 3600, abs=3e-6)
    assert geodesy.destination(*flinders, azimuth_deg, distance_m) == pytest.approx(buninyong, abs=1e-8)


@given(latitudes, longitudes, st.floats(0, 359.999), st.floats(1, 1.9e7))
def test_destination_and_distance_agree(lat_deg: float, lon_deg: float, azimuth_deg: float, distance_m: float) -> None:
    there = geodesy.destination(lat_deg, lon_deg, azimuth_deg, distance_m)
    back_m, _ = geodesy.distance_azimuth(lat_deg, lon_deg, *there)
    assert back_m == pytest.approx(distance_m, abs=1e-2)


@pytest.mark.parametrize("opposite", [(0.0, 180.0), (0.1, 179.9), (-40.0, -140.0)])
def test_opposite_points_get_an_answer_within_a_percent(opposite: tuple[float, float]) -> None:
    distance_m, azimuth_deg = geodesy.distance_azimuth(0.0, 0.0, *opposite)
    assert math.isfinite(azimuth_deg)
    angle = math.acos(math.cos(math.radians(opposite[0])) * math.cos(math.radians(opposite[1])))
    assert distance_m == pytest.approx(6_371_000.0 * angle, rel=1e-2)


@given(latitudes, longitudes)
def test_the_axes_are_right_handed_and_of_unit_length(lat_deg: float, lon_deg: float) -> None:
    east, north, up = geodesy.enu_axes(lat_deg, lon_deg)
    cross = (
        east[1] * north[2] - east[2] * north[1],
        east[2] * north[0] - east[0] * north[2],
        east[0] * north[1] - east[1] * north[0],
    )
    assert cross == pytest.approx(up, abs=1e-12)


def test_an_ellipse_of_a_covariance_points_along_its_long_axis() -> None:
    major, minor, orientation = geodesy.ellipse_of_covariance(100.0, 0.0, 1.0)
    assert (major, minor, orientation) == pytest.approx((10 * 2.4477, 2.4477, 90.0), rel=1e-4)
    assert geodesy.ellipse_of_covariance(1.0, 0.9, 1.0)[2] == pytest.approx(45.0)
    assert geodesy.ellipse_of_covariance(1.0, -0.9, 1.0)[2] == pytest.approx(135.0)


def test_points_of_an_ellipse_lie_at_its_axes() -> None:
    points = geodesy.ellipse_points(40.0, 130.0, 5000.0, 1000.0, 30.0, count=4)
    found = [geodesy.distance_azimuth(40.0, 130.0, *point) for point in points]
    assert [distance for distance, _ in found] == pytest.approx([5000.0, 1000.0, 5000.0, 1000.0], abs=0.01)
    assert [azimuth for _, azimuth in found] == pytest.approx([30.0, 120.0, 210.0, 300.0], abs=0.01)


def test_normal_gravity_at_equator_and_pole() -> None:
    still = (0.0, 0.0, 0.0)
    assert -geodesy.ballistic_acceleration(geodesy.ecef(0, 0), still)[0] == pytest.approx(9.7803, abs=5e-4)
    assert -geodesy.ballistic_acceleration(geodesy.ecef(90, 0), still)[2] == pytest.approx(9.8322, abs=5e-4)


def test_a_body_in_a_vacuum_keeps_its_energy() -> None:
    def move(_time: float, state: list[float]) -> tuple[float, ...]:
        position, velocity = tuple(state[:3]), tuple(state[3:])
        return (*velocity, *geodesy.ballistic_acceleration(position, velocity, 1e30))  # type: ignore[arg-type]

    def jacobi(state: list[float]) -> float:
        x, y, z, u, v, w = state
        squared = x * x + y * y + z * z
        flat = 0.5 * geodesy.J2 * geodesy.EQUATORIAL_RADIUS_M**2 / squared * (3 * z * z / squared - 1)
        potential = -geodesy.GM_M3PS2 / math.sqrt(squared) * (1 - flat)
        return 0.5 * (u * u + v * v + w * w) + potential - 0.5 * geodesy.EARTH_RATE_RADPS**2 * (x * x + y * y)

    start = [*geodesy.ecef(40, 127, 200_000), 1500.0, -2500.0, 3000.0]
    end = solve_ivp(move, (0, 600), start, method="DOP853", rtol=1e-11, atol=1e-6).y[:, -1]
    assert jacobi(list(end)) == pytest.approx(jacobi(start), rel=1e-10)


def test_drag_works_against_the_velocity_and_ends_with_the_air() -> None:
    low, high = geodesy.ecef(40, 127, 10_000), geodesy.ecef(40, 127, 160_000)
    velocity = (1000.0, 0.0, 0.0)
    with_air = geodesy.ballistic_acceleration(low, velocity)[0]
    without = geodesy.ballistic_acceleration(low, velocity, 1e30)[0]
    assert with_air < without
    assert geodesy.drag_per_speed(high, 1000.0) == 0.0
