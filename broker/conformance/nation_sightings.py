"""What a nation's sensors might see in an exercise, and whether a line still says it.

A format may be coarser than what it writes; it must not be coarser than a warning can bear. `same` holds the read
content against the sighting: times within 10 ms, tracks within 20 m and 0.5 m/s, places within 100 m, angles within a
tenth of a degree, lengths within 10 km (never above, where it says "at least"), and a spread never smaller than it was.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.plugin import Observation, Sight
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from broker.plugin import Sensor

__all__ = ["differences", "life_of_a_track"]

SECOND_NS: Final = 1_000_000_000
ZERO_NS: Final = 1_664_835_780 * SECOND_NS  # some night
TIME_NS: Final = 10_000_000
POSITION_M: Final = 20.0
VELOCITY_MPS: Final = 0.5
PLACE_M: Final = 100.0
ANGLE_DEG: Final = 0.1
LENGTH_M: Final = 10_000.0
ROUNDING: Final = 1e-3  # of a spread
DIAGONAL: Final = {21: (0, 6, 11, 15, 18, 20), 6: (0, 3, 5)}

STATES: Final = {
    Sight.LOST: content_pb2.EVENT_STATE_TRACK_LOST,
    Sight.NOT_A_LAUNCH: content_pb2.EVENT_STATE_NOT_A_LAUNCH,
    Sight.ALL_CLEAR: content_pb2.EVENT_STATE_ALL_CLEAR,
}
BODIES: Final = {Sight.LAUNCH: "launch", Sight.TRACK: "track", Sight.IMPACT: "impact"}


def life_of_a_track(sensor: Sensor, number: int, from_s: int) -> list[Observation]:
    """Return what a sensor says of one object, in order: launched, tracked, predicted, lost, taken back, over."""
    zero_ns = ZERO_NS + from_s * SECOND_NS
    return [
        _launch(sensor, number, zero_ns),
        _track(sensor, number, zero_ns + 60 * SECOND_NS, 80.0 + number % 7, burning=True),
        _track(sensor, number, zero_ns + 62 * SECOND_NS + 123_456_789, 95.0, burning=False),
        _impact(sensor, number, zero_ns + 63 * SECOND_NS),
        Observation(Sight.LOST, sensor.name, number, zero_ns + 64 * SECOND_NS),
        Observation(Sight.NOT_A_LAUNCH, sensor.name, number, zero_ns + 65 * SECOND_NS),
        Observation(Sight.ALL_CLEAR, sensor.name, number, zero_ns + 66 * SECOND_NS),
    ]


def differences(seen: Observation, content: content_pb2.Content) -> list[str]:
    """Return what the content says otherwise than the sighting; nothing if it says the same."""
    body = content.WhichOneof("body")
    found = _times_apart("header.observed_at", content.header.observed_at, seen.time_ns)
    if seen.sight in STATES:
        if body != "status" or content.status.state != STATES[seen.sight]:
            found.append("status.state")
        return found
    if body != BODIES[seen.sight]:
        return [*found, f"a {body} instead of a {BODIES[seen.sight]}"]
    match seen.sight:
        case Sight.LAUNCH:
            return found + _launch_differences(seen, content.launch)
        case Sight.TRACK:
            return found + _track_differences(seen, content.track)
        case _:
            return found + _impact_differences(seen, content.impact)


def _launch(sensor: Sensor, number: int, time_ns: int) -> Observation:
    return Observation(
        Sight.LAUNCH,
        sensor.name,
        number,
        time_ns,
        lat_deg=39.4567,
        lon_deg=125.9876,
        area_semi_major_m=5_200.0,
        area_semi_minor_m=2_600.0,
        area_orientation_deg=63.5,
        azimuth_deg=84.25,
        azimuth_sigma_deg=2.5,
        launch_time_ns=time_ns - 31 * SECOND_NS,
        launch_time_sigma_s=2.0,
        missile_class=measures_pb2.MISSILE_CLASS_MRBM,
        confidence=0.9,
    )


def _track(sensor: Sensor, number: int, time_ns: int, height_km: float, *, burning: bool) -> Observation:
    """Return a state a few hundred kilometres from the sensor, with the covariance that a look at it has."""
    lat_deg, lon_deg = geodesy.destination(sensor.lat_deg, sensor.lon_deg, 40.0, 300_000.0)
    position = geodesy.ecef(lat_deg, lon_deg, height_km * 1_000.0)
    site = geodesy.ecef(sensor.lat_deg, sensor.lon_deg, min(sensor.height_m, 50_000.0))
    range_m = math.dist(position, site)
    sight = [(p - s) / range_m for p, s in zip(position, site, strict=True)]
    along_m2 = sensor.range_sigma_m**2
    across_m2 = (math.radians(sensor.angle_sigma_deg) * range_m) ** 2
    covariance = []
    for i in range(6):
        for j in range(i, 6):
            same = 1.0 if i % 3 == j % 3 else 0.0
            term = across_m2 * same + (along_m2 - across_m2) * sight[i % 3] * sight[j % 3]
            scale = 1.0 if j < 3 else 0.05 if i < 3 else 0.01  # noqa: PLR2004 - position, cross term, velocity
            covariance.append(term * scale)
    return Observation(
        Sight.TRACK,
        sensor.name,
        number,
        time_ns,
        position_m=position,
        velocity_mps=(-2_711.25, 1_204.5, 1_890.75),
        covariance=tuple(covariance),
        burning=burning,
        apogee_m=543_210.0,
        ground_range_m=1_234_567.0,
        confidence=0.8,
    )


def _impact(sensor: Sensor, number: int, time_ns: int) -> Observation:
    return Observation(
        Sight.IMPACT,
        sensor.name,
        number,
        time_ns,
        lat_deg=40.1234,
        lon_deg=-179.9876,
        area_semi_major_m=41_000.0,
        area_semi_minor_m=9_000.0,
        area_orientation_deg=120.0,
        impact_time_ns=time_ns + 611 * SECOND_NS,
        impact_time_sigma_s=15.0,
        nations_affected=("JPN",),
        confidence=0.7,
    )


def _launch_differences(seen: Observation, said: content_pb2.LaunchDetection) -> list[str]:
    found = _area_differences("launch_area", seen, said.launch_area)
    found += _window_differences("launch_time", seen.launch_time_ns, seen.launch_time_sigma_s, said.launch_time)
    if seen.azimuth_deg is not None and not _near(said.azimuth_deg, seen.azimuth_deg, ANGLE_DEG):
        found.append("azimuth_deg")
    if seen.missile_class and seen.missile_class not in {each.missile_class for each in said.classes}:
        found.append("classes")
    return found


def _track_differences(seen: Observation, said: content_pb2.TrackUpdate) -> list[str]:
    state, found = said.state, _times_apart("state.valid_at", said.state.valid_at, seen.time_ns)
    if state.frame != measures_pb2.FRAME_ECEF_WGS84:
        found.append("state.frame")
    if not _vectors_near(state.position_m, seen.position_m, POSITION_M):
        found.append("state.position_m")
    if not _vectors_near(state.velocity_mps, seen.velocity_mps, VELOCITY_MPS):
        found.append("state.velocity_mps")
    # A format without covariance is allowed; one that makes the sensor look better than it is, is not.
    if state.covariance and _spread_m2(state.covariance) < _spread_m2(seen.covariance) * (1.0 - ROUNDING):
        found.append("state.covariance")
    if (said.phase == content_pb2.PHASE_BOOST) != seen.burning:
        found.append("phase")
    if seen.apogee_m is not None and said.HasField("apogee_m") and not _lengths_agree(said.apogee_m, seen.apogee_m):
        found.append("apogee_m")
    far_m = seen.ground_range_m
    if far_m is not None and said.HasField("ground_range_m") and not _lengths_agree(said.ground_range_m, far_m):
        found.append("ground_range_m")
    return found


def _impact_differences(seen: Observation, said: content_pb2.ImpactPrediction) -> list[str]:
    found = _area_differences("area", seen, said.area)
    found += _window_differences("time", seen.impact_time_ns, seen.impact_time_sigma_s, said.time)
    if sorted(said.nations_affected) != sorted(seen.nations_affected):
        found.append("nations_affected")
    return found


def _area_differences(name: str, seen: Observation, area: measures_pb2.Area) -> list[str]:
    if seen.lat_deg is None or seen.lon_deg is None:
        return []
    ellipse = area.ellipse
    apart_m, _ = geodesy.distance_azimuth(ellipse.centre.lat_deg, ellipse.centre.lon_deg, seen.lat_deg, seen.lon_deg)
    found = [] if apart_m <= PLACE_M else [f"{name}.ellipse.centre"]
    for axis, value in (("semi_major_m", seen.area_semi_major_m), ("semi_minor_m", seen.area_semi_minor_m)):
        if getattr(ellipse, axis) < value * (1.0 - ROUNDING):
            found.append(f"{name}.ellipse.{axis}")
    if not _near(ellipse.orientation_deg % 180.0, seen.area_orientation_deg % 180.0, ANGLE_DEG):
        found.append(f"{name}.ellipse.orientation_deg")
    return found


def _window_differences(name: str, best_ns: int | None, sigma_s: float, window: measures_pb2.TimeWindow) -> list[str]:
    if best_ns is None:
        return []
    found = _times_apart(f"{name}.best", window.best, best_ns)
    half_s = (window.latest.ToNanoseconds() - window.earliest.ToNanoseconds()) / 2 / SECOND_NS
    return found if half_s >= sigma_s else [*found, f"{name}: narrower than one standard deviation"]


def _times_apart(name: str, stamp: Timestamp, time_ns: int) -> list[str]:
    return [] if abs(stamp.ToNanoseconds() - time_ns) <= TIME_NS else [name]


def _lengths_agree(said: measures_pb2.Quantity, value_m: float) -> bool:
    return abs(said.value - value_m) <= LENGTH_M and not (said.lower_bound and said.value > value_m)


def _vectors_near(said: Sequence[float], seen: tuple[float, float, float] | None, most: float) -> bool:
    if seen is None or not said:
        return seen is None and not said
    return math.dist(said, seen) <= most


def _spread_m2(terms: Sequence[float]) -> float:
    return math.fsum(terms[place] for place in DIAGONAL[len(terms)][:3])


def _near(said: float, seen: float, most: float) -> bool:
    return abs(said - seen) <= most
