"""Our geodesy beside that of two other authors: pymap3d and PROJ."""

from __future__ import annotations

import numpy as np
import pymap3d
import pyproj
import pytest

from broker import geodesy

CHANCE = np.random.default_rng(3)
PLACES = [
    (float(lat), float(lon), float(height))
    for lat, lon, height in zip(
        [*CHANCE.uniform(-89.9, 89.9, 60), 0.0, 90.0, -90.0, 45.0],
        [*CHANCE.uniform(-180.0, 180.0, 60), 0.0, 0.0, 0.0, -180.0],
        [*CHANCE.uniform(-1e4, 5e6, 60), 0.0, 100.0, 100.0, 3e7],
        strict=True,
    )
]
PROJ = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
GEOD = pyproj.Geod(ellps="WGS84")


@pytest.mark.parametrize(("lat_deg", "lon_deg", "height_m"), PLACES)
def test_a_position_is_where_others_say(lat_deg: float, lon_deg: float, height_m: float) -> None:
    place = geodesy.ecef(lat_deg, lon_deg, height_m)
    assert place == pytest.approx(pymap3d.geodetic2ecef(lat_deg, lon_deg, height_m), abs=1e-6)
    assert place == pytest.approx(PROJ.transform(lon_deg, lat_deg, height_m), abs=1e-6)
    back = geodesy.geodetic(*place)
    assert back[0] == pytest.approx(lat_deg, abs=1e-10)
    assert back[2] == pytest.approx(height_m, abs=1e-5)
    assert back[2] == pytest.approx(float(pymap3d.ecef2geodetic(*place)[2]), abs=1e-3)
    if abs(lat_deg) < 90.0:
        assert (back[1] - lon_deg + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-10)


def test_east_north_and_up_are_those_of_others() -> None:
    for lat_deg, lon_deg, _ in PLACES:
        axes = geodesy.enu_axes(lat_deg, lon_deg)
        for one, axis in zip(np.eye(3), axes, strict=True):
            assert axis == pytest.approx(pymap3d.enu2uvw(*one, lat_deg, lon_deg), abs=1e-12)


def test_geodesics_are_those_of_proj() -> None:
    for (lat_deg, lon_deg, _), (to_lat_deg, to_lon_deg, _) in zip(PLACES, PLACES[7:60], strict=False):
        azimuth_deg, _, length_m = GEOD.inv(lon_deg, lat_deg, to_lon_deg, to_lat_deg)
        found_m, found_deg = geodesy.distance_azimuth(lat_deg, lon_deg, to_lat_deg, to_lon_deg)
        if length_m > 19_900_000.0:
            continue  # nearly opposite: the great circle's answer, as the module says
        assert found_m == pytest.approx(length_m, abs=1e-3)
        assert (found_deg - azimuth_deg + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-6)
        lon, lat, _ = GEOD.fwd(lon_deg, lat_deg, azimuth_deg, length_m / 2.0)
        assert geodesy.distance_azimuth(*geodesy.destination(lat_deg, lon_deg, azimuth_deg, length_m / 2.0), lat, lon)[
            0
        ] == pytest.approx(0.0, abs=1e-3)
