"""Which regions (ISO 3166-2) an area touches, and which a ground track flies over.

An area is a Gaussian's ellipse of 95 %. It touches a region if the region has a point in it, or within `MARGIN_M` of
it: the outlines are simplified, and a region warned for nothing is better than one missed. So no region that the
ellipse reaches into is ever left out, as far as the outlines go; one that it misses by a few kilometres may be named.

Distances are taken in the azimuthal equidistant plane around the middle of the area, on a sphere; what that leaves out
(below 0.6 % of the distance) is added to the axes. Rectangles around the regions are asked first. No outline crosses
the 180th meridian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.outlines import OUTLINES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.fusion.contribution import Place

__all__ = [
    "MARGIN_M",
    "NATIONS",
    "Region",
    "Waypoint",
    "nations_of",
    "nearest",
    "overflown",
    "region_at",
    "regions",
    "touched",
]

Waypoint = tuple[float, float]  # latitude and longitude, degrees

# Prefixes of ISO 3166-2 to ISO 3166-1 alpha-3.
NATIONS: Final = {"JP": "JPN", "KR": "KOR", "KP": "PRK", "US": "USA", "RU": "RUS", "CN": "CHN"}
MARGIN_M: Final = 3_000.0  # the home outlines are good to 2 km
SPHERE_SLACK: Final = 0.006  # of the distance: what a sphere differs from the ellipsoid
RADIUS_M: Final = 6_371_008.8
METRES_PER_DEGREE_LEAST: Final = 110_500.0
REMEMBERED_MAX: Final = 1_024  # an impact stays the same over many revisions
POLE_DEG: Final = 89.0
REACH_MOST_M: Final = 5_000_000.0  # of an area that says anything


@dataclass(frozen=True, slots=True)
class Region:
    """A region's outline: rings of (latitude, longitude), the last corner joined to the first; inside is odd."""

    code: str
    rings: tuple[tuple[Waypoint, ...], ...]
    south: float
    north: float
    west: float
    east: float

    def holds(self, lat_deg: float, lon_deg: float) -> bool:
        """Say whether a point is inside."""
        if not (self.south <= lat_deg <= self.north and self.west <= lon_deg <= self.east):
            return False
        inside = False
        for ring in self.rings:
            lat, lon = ring[-1]
            for to_lat, to_lon in ring:
                if (lat > lat_deg) != (to_lat > lat_deg):
                    inside ^= lon_deg < lon + (lat_deg - lat) / (to_lat - lat) * (to_lon - lon)
                lat, lon = to_lat, to_lon
        return inside


def regions() -> tuple[Region, ...]:
    """Return all regions, in the order of the alphabet."""
    return _REGIONS


def region_at(lat_deg: float, lon_deg: float) -> str | None:
    """Return the region that a point is in; None at sea or abroad."""
    return next((region.code for region in _REGIONS if region.holds(lat_deg, lon_deg)), None)


def nations_of(codes: Iterable[str]) -> tuple[str, ...]:
    """Return the nations of regions (ISO 3166-1 alpha-3), in the order of the alphabet."""
    return tuple(sorted({NATIONS[code[:2]] for code in codes}))


@lru_cache(maxsize=REMEMBERED_MAX)
def touched(place: Place) -> tuple[str, ...]:
    """Return the regions that the ellipse of 95 % touches, in the order of the alphabet."""
    major_m, minor_m, orientation_deg = geodesy.ellipse_of_covariance(
        place.east_m2, place.east_north_m2, place.north_m2
    )
    major_m, minor_m = (
        min(axis_m, REACH_MOST_M) + SPHERE_SLACK * min(major_m, REACH_MOST_M) + MARGIN_M
        for axis_m in (major_m, minor_m)
    )
    lat_reach = major_m / METRES_PER_DEGREE_LEAST
    highest = abs(place.lat_deg) + lat_reach
    shrink = math.cos(math.radians(highest)) if highest < POLE_DEG else 0.0
    lon_reach = min(lat_reach / shrink, 180.0) if shrink > 0.0 else 180.0
    plane = _Plane(place.lat_deg, place.lon_deg, major_m, minor_m, orientation_deg)
    return tuple(
        region.code
        for region in _REGIONS
        if region.south - lat_reach <= place.lat_deg <= region.north + lat_reach
        and _turn(place.lon_deg - 0.5 * (region.west + region.east)) <= 0.5 * (region.east - region.west) + lon_reach
        and plane.touches(region)
    )


def nearest(codes: Sequence[str], place: Place, most: int) -> tuple[str, ...]:
    """Return regions, in their order; of more than fit into a message, those nearest to the middle of the area."""
    if len(codes) <= most:
        return tuple(codes)
    away = {
        region.code: math.hypot(
            max(region.south - place.lat_deg, place.lat_deg - region.north, 0.0),
            max(_turn(place.lon_deg - 0.5 * (region.west + region.east)) - 0.5 * (region.east - region.west), 0.0)
            * math.cos(math.radians(place.lat_deg)),
        )
        for region in _REGIONS
    }
    kept = set(sorted(codes, key=lambda code: (away[code], code))[:most])
    return tuple(code for code in codes if code in kept)


def overflown(track: Sequence[Waypoint]) -> tuple[str, ...]:
    """Return the regions that a ground track flies over, in the order of flight. Points of it are near each other."""
    found: dict[str, None] = {}
    for (lat, lon), (to_lat, to_lon) in pairwise(track):
        # Beyond the 180th meridian there is no outline: a step across it is cut off at it.
        ends_lon = lon + (to_lon - lon + 180.0) % 360.0 - 180.0
        south, north, west, east = min(lat, to_lat), max(lat, to_lat), min(lon, ends_lon), max(lon, ends_lon)
        entries = []
        for region in _REGIONS:
            if region.south > north or region.north < south or region.west > east or region.east < west:
                continue
            if region.code not in found and (at := _entry(region, lat, lon, to_lat, ends_lon)) is not None:
                entries.append((at, region.code))
        found.update(dict.fromkeys(code for _, code in sorted(entries)))
    return tuple(found)


def _entry(region: Region, lat: float, lon: float, to_lat: float, to_lon: float) -> float | None:
    """Return where a step first meets a region, as a part of the step; None if it does not."""
    if region.holds(lat, lon):
        return 0.0
    step_lat, step_lon = to_lat - lat, to_lon - lon
    first: float | None = None
    for ring in region.rings:
        a_lat, a_lon = ring[-1]
        for b_lat, b_lon in ring:
            edge_lat, edge_lon = b_lat - a_lat, b_lon - a_lon
            across = step_lat * edge_lon - step_lon * edge_lat
            if across != 0.0:
                off_lat, off_lon = a_lat - lat, a_lon - lon
                at = (off_lat * edge_lon - off_lon * edge_lat) / across
                along = (off_lat * step_lon - off_lon * step_lat) / across
                if 0.0 <= at <= 1.0 and 0.0 <= along <= 1.0 and (first is None or at < first):
                    first = at
            a_lat, a_lon = b_lat, b_lon
    return first


class _Plane:
    """The plane around the middle of an ellipse, in which that ellipse is the unit circle."""

    __slots__ = ("_cos_lat", "_cos_turn", "_lon", "_major_m", "_minor_m", "_sin_lat", "_sin_turn")

    def __init__(self, lat_deg: float, lon_deg: float, major_m: float, minor_m: float, orientation_deg: float) -> None:
        self._lon = math.radians(lon_deg)
        self._sin_lat, self._cos_lat = math.sin(math.radians(lat_deg)), math.cos(math.radians(lat_deg))
        self._sin_turn, self._cos_turn = (
            math.sin(math.radians(orientation_deg)),
            math.cos(math.radians(orientation_deg)),
        )
        self._major_m, self._minor_m = major_m, minor_m

    def touches(self, region: Region) -> bool:
        """Say whether the region has a point in the circle: an edge that comes near enough, or all around it."""
        inside = False
        for ring in region.rings:
            points = [self._point(lat, lon) for lat, lon in ring]
            u, v = points[-1]
            for to_u, to_v in points:
                if _distance_squared(u, v, to_u, to_v) <= 1.0:
                    return True
                if (v > 0.0) != (to_v > 0.0):
                    inside ^= u - v / (to_v - v) * (to_u - u) > 0.0
                u, v = to_u, to_v
        return inside

    def _point(self, lat_deg: float, lon_deg: float) -> tuple[float, float]:
        """Return a place along the major and the minor axis, in units of them."""
        lat, lon = math.radians(lat_deg), math.radians(lon_deg) - self._lon
        sin_lat, cos_lat, cos_lon = math.sin(lat), math.cos(lat), math.cos(lon)
        east = cos_lat * math.sin(lon)
        north = self._cos_lat * sin_lat - self._sin_lat * cos_lat * cos_lon
        across = math.hypot(east, north)
        arc = math.atan2(across, self._sin_lat * sin_lat + self._cos_lat * cos_lat * cos_lon)
        scale_m = RADIUS_M * arc / across if across > 0.0 else RADIUS_M
        east_m, north_m = east * scale_m, north * scale_m
        along_m = east_m * self._sin_turn + north_m * self._cos_turn
        aside_m = east_m * self._cos_turn - north_m * self._sin_turn
        return along_m / self._major_m, aside_m / self._minor_m


def _distance_squared(u: float, v: float, to_u: float, to_v: float) -> float:
    """Return the squared distance of a segment from the origin."""
    along_u, along_v = to_u - u, to_v - v
    length = along_u * along_u + along_v * along_v
    part = min(max(-(u * along_u + v * along_v) / length, 0.0), 1.0) if length > 0.0 else 0.0
    near_u, near_v = u + part * along_u, v + part * along_v
    return near_u * near_u + near_v * near_v


def _turn(degrees: float) -> float:
    """Return how far apart two longitudes are, from their difference."""
    return abs((degrees + 180.0) % 360.0 - 180.0)


def _region(code: str, outline: str) -> Region:
    """Return a region of its outline as the module has it."""
    rings = []
    for text in outline.split(";"):
        numbers = [int(word) for word in text.split()]
        lat, lon, ring = 0, 0, []
        for step_lat, step_lon in zip(numbers[::2], numbers[1::2], strict=True):
            lat, lon = lat + step_lat, lon + step_lon
            ring.append((lat / 100.0, lon / 100.0))
        rings.append(tuple(ring))
    lats = [lat for ring in rings for lat, _ in ring]
    lons = [lon for ring in rings for _, lon in ring]
    return Region(code, tuple(rings), min(lats), max(lats), min(lons), max(lons))


_REGIONS: Final = tuple(_region(code, outline) for code, outline in sorted(OUTLINES.items()))
