"""WGS-84 in plain floats: positions, geodesics, ellipses, and the forces on a body that no motor pushes.

Pure and scalar: nothing but `math`, so the same input gives the same bytes with every other library's version. Angles
are degrees, lengths metres, times seconds; vectors are ECEF tuples (rotating with the Earth). Longitudes are returned
in [-180, 180), azimuths clockwise from true north in [0, 360).

Sources: NIMA TR8350.2 (constants), B. R. Bowring 1976 (geodetic latitude), T. Vincenty, Survey Review 23/176, 1975
(geodesics: good to 0.1 mm, save between nearly opposite points, where the great circle's answer is given). The air is
one exponential, fitted to the US Standard Atmosphere 1976 within a factor of two up to 100 km: enough to know when drag
matters, and no more than a warning centre knows of a body that it has just seen for the first time.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = [
    "BALLISTIC_COEFFICIENT_KGPM2",
    "EARTH_RATE_RADPS",
    "EQUATORIAL_RADIUS_M",
    "GM_M3PS2",
    "J2",
    "POLAR_RADIUS_M",
    "Vector",
    "air_density_kgpm3",
    "ballistic_acceleration",
    "destination",
    "distance_azimuth",
    "drag_per_speed",
    "ecef",
    "ellipse_of_covariance",
    "ellipse_points",
    "enu_axes",
    "geodetic",
    "gravity",
    "height_m",
]

Vector = tuple[float, float, float]

EQUATORIAL_RADIUS_M: Final = 6_378_137.0
FLATTENING: Final = 1.0 / 298.257223563
POLAR_RADIUS_M: Final = EQUATORIAL_RADIUS_M * (1.0 - FLATTENING)
ECCENTRICITY_SQUARED: Final = FLATTENING * (2.0 - FLATTENING)
SECOND_ECCENTRICITY_SQUARED: Final = ECCENTRICITY_SQUARED / (1.0 - ECCENTRICITY_SQUARED)
GM_M3PS2: Final = 3.986004418e14
J2: Final = 1.082629821e-3
EARTH_RATE_RADPS: Final = 7.292115e-5

AIR_DENSITY_KGPM3: Final = 1.225
AIR_SCALE_M: Final = 7_200.0
AIR_TOP_M: Final = 150_000.0  # above it drag is below a millionth of gravity
BALLISTIC_COEFFICIENT_KGPM2: Final = 5_000.0  # mass over drag area: a nominal body, nobody's in particular

GEODESIC_STEPS_MAX: Final = 100
GEODESIC_TOLERANCE_RAD: Final = 1e-12  # 6 micrometres
GEODETIC_STEPS: Final = 4  # below a micrometre up to 50 000 km


def ecef(lat_deg: float, lon_deg: float, height_m: float = 0.0) -> Vector:
    """Return the ECEF position of a geodetic one."""
    lat, lon = math.radians(lat_deg), math.radians(lon_deg)
    sin_lat, cos_lat = math.sin(lat), math.cos(lat)
    normal_m = EQUATORIAL_RADIUS_M / math.sqrt(1.0 - ECCENTRICITY_SQUARED * sin_lat * sin_lat)
    across_m = (normal_m + height_m) * cos_lat
    return (
        across_m * math.cos(lon),
        across_m * math.sin(lon),
        (normal_m * (1.0 - ECCENTRICITY_SQUARED) + height_m) * sin_lat,
    )


def geodetic(x_m: float, y_m: float, z_m: float) -> tuple[float, float, float]:
    """Return latitude and longitude in degrees and height above the ellipsoid in metres. Defined everywhere."""
    across_m = math.hypot(x_m, y_m)
    reduced = math.atan2(z_m, across_m * (1.0 - FLATTENING))
    lat = 0.0
    for _ in range(GEODETIC_STEPS):
        sin_reduced, cos_reduced = math.sin(reduced), math.cos(reduced)
        lat = math.atan2(
            z_m + SECOND_ECCENTRICITY_SQUARED * POLAR_RADIUS_M * sin_reduced * sin_reduced * sin_reduced,
            across_m - ECCENTRICITY_SQUARED * EQUATORIAL_RADIUS_M * cos_reduced * cos_reduced * cos_reduced,
        )
        reduced = math.atan2((1.0 - FLATTENING) * math.sin(lat), math.cos(lat))
    sin_lat, cos_lat = math.sin(lat), math.cos(lat)
    above_m = across_m * cos_lat + z_m * sin_lat
    above_m -= EQUATORIAL_RADIUS_M * math.sqrt(1.0 - ECCENTRICITY_SQUARED * sin_lat * sin_lat)
    return math.degrees(lat), _longitude_deg(math.atan2(y_m, x_m)), above_m


def height_m(x_m: float, y_m: float, z_m: float) -> float:
    """Return the height above the ellipsoid along the radius: within a metre of the geodetic one below 200 km."""
    across_squared = x_m * x_m + y_m * y_m
    squared = across_squared + z_m * z_m
    if squared == 0.0:
        return -POLAR_RADIUS_M
    return math.sqrt(squared) - POLAR_RADIUS_M / math.sqrt(1.0 - ECCENTRICITY_SQUARED * across_squared / squared)


def enu_axes(lat_deg: float, lon_deg: float) -> tuple[Vector, Vector, Vector]:
    """Return the unit vectors east, north and up of a place, in ECEF."""
    lat, lon = math.radians(lat_deg), math.radians(lon_deg)
    sin_lat, cos_lat = math.sin(lat), math.cos(lat)
    sin_lon, cos_lon = math.sin(lon), math.cos(lon)
    return (
        (-sin_lon, cos_lon, 0.0),
        (-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat),
        (cos_lat * cos_lon, cos_lat * sin_lon, sin_lat),
    )


def destination(lat_deg: float, lon_deg: float, azimuth_deg: float, distance_m: float) -> tuple[float, float]:
    """Return latitude and longitude of the point that lies so far along the geodesic (Vincenty's direct problem)."""
    azimuth = math.radians(azimuth_deg)
    sin_azimuth, cos_azimuth = math.sin(azimuth), math.cos(azimuth)
    tan_u1 = (1.0 - FLATTENING) * math.tan(math.radians(lat_deg))
    cos_u1 = 1.0 / math.sqrt(1.0 + tan_u1 * tan_u1)
    sin_u1 = tan_u1 * cos_u1
    sigma1 = math.atan2(tan_u1, cos_azimuth)
    sin_alpha = cos_u1 * sin_azimuth
    cos_squared = 1.0 - sin_alpha * sin_alpha
    scale, bend = _vincenty_series(cos_squared)
    straight = distance_m / (POLAR_RADIUS_M * scale)
    sigma = straight
    for _ in range(GEODESIC_STEPS_MAX):
        before = sigma
        cos_2m = math.cos(2.0 * sigma1 + sigma)
        sigma = straight + _vincenty_delta(bend, math.sin(sigma), math.cos(sigma), cos_2m)
        if abs(sigma - before) < GEODESIC_TOLERANCE_RAD:
            break
    cos_2m = math.cos(2.0 * sigma1 + sigma)
    sin_sigma, cos_sigma = math.sin(sigma), math.cos(sigma)
    inner = sin_u1 * sin_sigma - cos_u1 * cos_sigma * cos_azimuth
    lat = math.atan2(
        sin_u1 * cos_sigma + cos_u1 * sin_sigma * cos_azimuth,
        (1.0 - FLATTENING) * math.hypot(sin_alpha, inner),
    )
    lon = math.atan2(sin_sigma * sin_azimuth, cos_u1 * cos_sigma - sin_u1 * sin_sigma * cos_azimuth)
    lon -= _longitude_correction(cos_squared, sin_alpha, sigma, sin_sigma, cos_sigma, cos_2m)
    return math.degrees(lat), _longitude_deg(math.radians(lon_deg) + lon)


def distance_azimuth(
    from_lat_deg: float, from_lon_deg: float, to_lat_deg: float, to_lon_deg: float
) -> tuple[float, float]:
    """Return the geodesic's length in metres and its azimuth at the first point (Vincenty's inverse problem)."""
    u1 = math.atan((1.0 - FLATTENING) * math.tan(math.radians(from_lat_deg)))
    u2 = math.atan((1.0 - FLATTENING) * math.tan(math.radians(to_lat_deg)))
    sin_u1, cos_u1, sin_u2, cos_u2 = math.sin(u1), math.cos(u1), math.sin(u2), math.cos(u2)
    difference = math.radians(to_lon_deg - from_lon_deg)
    difference = math.atan2(math.sin(difference), math.cos(difference))
    lon = difference
    for _ in range(GEODESIC_STEPS_MAX):
        east = cos_u2 * math.sin(lon)
        north = cos_u1 * sin_u2 - sin_u1 * cos_u2 * math.cos(lon)
        sin_sigma = math.hypot(east, north)
        cos_sigma = sin_u1 * sin_u2 + cos_u1 * cos_u2 * math.cos(lon)
        sigma = math.atan2(sin_sigma, cos_sigma)
        azimuth_deg = math.degrees(math.atan2(east, north)) % 360.0
        if sin_sigma == 0.0:
            return POLAR_RADIUS_M * sigma, azimuth_deg
        sin_alpha = cos_u1 * east / sin_sigma
        cos_squared = 1.0 - sin_alpha * sin_alpha
        cos_2m = cos_sigma - 2.0 * sin_u1 * sin_u2 / cos_squared if cos_squared > 0.0 else 0.0
        before = lon
        lon = difference + _longitude_correction(cos_squared, sin_alpha, sigma, sin_sigma, cos_sigma, cos_2m)
        if abs(lon) > math.pi:
            break
        if abs(lon - before) < GEODESIC_TOLERANCE_RAD:
            scale, bend = _vincenty_series(cos_squared)
            curve = _vincenty_delta(bend, sin_sigma, cos_sigma, cos_2m)
            return POLAR_RADIUS_M * scale * (sigma - curve), azimuth_deg
    return _great_circle(u1, u2, difference)


def ellipse_points(
    lat_deg: float,
    lon_deg: float,
    semi_major_m: float,
    semi_minor_m: float,
    orientation_deg: float,
    *,
    count: int = 36,
) -> list[tuple[float, float]]:
    """Return `count` points (latitude, longitude) of an ellipse's edge, clockwise from the end of its major axis."""
    points = []
    for step in range(count):
        angle = 2.0 * math.pi * step / count
        along, aside = semi_major_m * math.cos(angle), semi_minor_m * math.sin(angle)
        bearing_deg = orientation_deg + math.degrees(math.atan2(aside, along))
        points.append(destination(lat_deg, lon_deg, bearing_deg, math.hypot(along, aside)))
    return points


def ellipse_of_covariance(
    east_m2: float, east_north_m2: float, north_m2: float, *, probability: float = 0.95
) -> tuple[float, float, float]:
    """Return semi-major axis, semi-minor axis (m) and orientation (degrees, [0, 180)) of a Gaussian in the plane."""
    middle = 0.5 * (east_m2 + north_m2)
    half = math.hypot(0.5 * (north_m2 - east_m2), east_north_m2)
    reach = -2.0 * math.log(1.0 - probability)  # chi square with two degrees of freedom
    orientation_deg = 0.5 * math.degrees(math.atan2(2.0 * east_north_m2, north_m2 - east_m2)) % 180.0
    major_m2, minor_m2 = max(middle + half, 0.0), max(middle - half, 0.0)
    return math.sqrt(reach * major_m2), math.sqrt(reach * minor_m2), orientation_deg


def gravity(x_m: float, y_m: float, z_m: float) -> Vector:
    """Return the attraction of the Earth with its flattening (J2), m/s2, without the rotation of the frame."""
    squared = x_m * x_m + y_m * y_m + z_m * z_m
    pull = -GM_M3PS2 / (squared * math.sqrt(squared))
    flat = 1.5 * J2 * EQUATORIAL_RADIUS_M * EQUATORIAL_RADIUS_M / squared
    polar = 5.0 * z_m * z_m / squared
    across = pull * (1.0 + flat * (1.0 - polar))
    return across * x_m, across * y_m, pull * (1.0 + flat * (3.0 - polar)) * z_m


def air_density_kgpm3(height_above_m: float) -> float:
    """Return the nominal density of the air; 0 above 150 km."""
    if height_above_m > AIR_TOP_M:
        return 0.0
    return AIR_DENSITY_KGPM3 * math.exp(-max(height_above_m, 0.0) / AIR_SCALE_M)


def drag_per_speed(
    position_m: Vector, speed_mps: float, ballistic_coefficient_kgpm2: float = BALLISTIC_COEFFICIENT_KGPM2
) -> float:
    """Return the factor (1/s) by which drag takes from the velocity: acceleration = -factor * velocity.

    The air turns with the Earth, so the ECEF velocity is the one through the air.
    """
    density = air_density_kgpm3(height_m(*position_m))
    return 0.5 * density * speed_mps / ballistic_coefficient_kgpm2


def ballistic_acceleration(
    position_m: Vector, velocity_mps: Vector, ballistic_coefficient_kgpm2: float = BALLISTIC_COEFFICIENT_KGPM2
) -> Vector:
    """Return the acceleration (m/s2) in ECEF of a body that falls: gravity with J2, Coriolis, centrifugal, drag."""
    x_m, y_m, z_m = position_m
    u_mps, v_mps, w_mps = velocity_mps
    along_x, along_y, along_z = gravity(x_m, y_m, z_m)
    speed_mps = math.sqrt(u_mps * u_mps + v_mps * v_mps + w_mps * w_mps)
    drag = drag_per_speed(position_m, speed_mps, ballistic_coefficient_kgpm2)
    turn = EARTH_RATE_RADPS
    return (
        along_x + turn * turn * x_m + 2.0 * turn * v_mps - drag * u_mps,
        along_y + turn * turn * y_m - 2.0 * turn * u_mps - drag * v_mps,
        along_z - drag * w_mps,
    )


def _longitude_deg(radians: float) -> float:
    """Return a longitude in [-180, 180)."""
    return (math.degrees(radians) + 180.0) % 360.0 - 180.0


def _vincenty_series(cos_squared: float) -> tuple[float, float]:
    """Return A and B of Vincenty's equations 3 and 4."""
    u2 = cos_squared * SECOND_ECCENTRICITY_SQUARED
    scale = 1.0 + u2 / 16384.0 * (4096.0 + u2 * (-768.0 + u2 * (320.0 - 175.0 * u2)))
    bend = u2 / 1024.0 * (256.0 + u2 * (-128.0 + u2 * (74.0 - 47.0 * u2)))
    return scale, bend


def _vincenty_delta(bend: float, sin_sigma: float, cos_sigma: float, cos_2m: float) -> float:
    """Return the correction of the arc, equation 6."""
    inner = cos_sigma * (2.0 * cos_2m * cos_2m - 1.0)
    inner -= bend / 6.0 * cos_2m * (4.0 * sin_sigma * sin_sigma - 3.0) * (4.0 * cos_2m * cos_2m - 3.0)
    return bend * sin_sigma * (cos_2m + 0.25 * bend * inner)


def _longitude_correction(
    cos_squared: float, sin_alpha: float, sigma: float, sin_sigma: float, cos_sigma: float, cos_2m: float
) -> float:
    """Return the sphere's longitude minus the ellipsoid's, equations 10 and 11."""
    c = FLATTENING / 16.0 * cos_squared * (4.0 + FLATTENING * (4.0 - 3.0 * cos_squared))
    inner = cos_2m + c * cos_sigma * (2.0 * cos_2m * cos_2m - 1.0)
    return (1.0 - c) * FLATTENING * sin_alpha * (sigma + c * sin_sigma * inner)


def _great_circle(u1: float, u2: float, lon: float) -> tuple[float, float]:
    """Return distance and azimuth on a sphere: within half a percent, for points nearly opposite."""
    east = math.cos(u2) * math.sin(lon)
    north = math.cos(u1) * math.sin(u2) - math.sin(u1) * math.cos(u2) * math.cos(lon)
    arc = math.atan2(math.hypot(east, north), math.sin(u1) * math.sin(u2) + math.cos(u1) * math.cos(u2) * math.cos(lon))
    mean_radius_m = (2.0 * EQUATORIAL_RADIUS_M + POLAR_RADIUS_M) / 3.0
    return mean_radius_m * arc, math.degrees(math.atan2(east, north)) % 360.0
