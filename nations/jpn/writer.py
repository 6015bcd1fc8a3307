"""Lines of the Japanese feed for exercises.

Resolution: times 1 ms; places and positions 0.01 seconds of arc (0.3 m), heights 0.1 m; velocity 0.01 m/s; axes of
ellipses 1 m, grown and never shrunk; deviations 0.001 m and m/s, correlations nine digits. Apogee to the nearest
10 km. Ground range is always "at least", rounded down to 10 km: a radar seldom sees the end of the flight.
"""

from __future__ import annotations

import math
from typing import Final

from broker.plugin import Observation, Sensor, Sight
from nations import bodies, fields, motion
from nations.jpn import adapter
from nations.jpn.columns import AT_LEAST, written_angle, written_row
from nations.session import line_number

__all__ = ["write"]

FORM: Final = "%Y/%m/%d %H:%M:%S.{ms}"
GRADE: Final = "GOKUHI"
RELEASABLE: Final = "KOR USA"
CLOCK_MS: Final = "10"
TYPES: Final = {kind: name for name, kind in adapter.KINDS.items()}
ROUND_M: Final = 10_000.0
Row = dict[str, str]


def write(observation: Observation, sensor: Sensor) -> bytes:
    """Return the line in which the sensor reports the sighting. Raises ValueError where a track has no position."""
    head = {
        "serial": line_number(observation),
        "sensor": sensor.name,
        "kind": TYPES[sensor.kind],
        "time": _time(observation.time_ns),
        "clock_ms": CLOCK_MS,
        "grade": GRADE,
        "releasable": RELEASABLE,
        "track": str(observation.track_number),
    }
    if observation.corrects is not None:
        head["corrects"] = line_number(observation.corrects)
    own = {
        "own_lat": written_angle(sensor.lat_deg, "NS"),
        "own_lon": written_angle(sensor.lon_deg, "EW"),
        "own_height_m": f"{sensor.height_m:.0f}",
    }
    match observation.sight:
        case Sight.LAUNCH:
            return written_row("L", head | own | _launch(observation))
        case Sight.TRACK:
            return written_row("T", head | own | _track(observation))
        case Sight.IMPACT:
            return written_row("I", head | own | _impact(observation))
        case Sight.LOST | Sight.NOT_A_LAUNCH | Sight.ALL_CLEAR:
            return written_row("S", head | {"state": bodies.STATE_NAMES[bodies.SIGHTED[observation.sight]]})


def _launch(observation: Observation) -> Row:
    row = _area(observation) | _present(
        azimuth=(observation.azimuth_deg, ".4f"),
        azimuth_sd=(observation.azimuth_sigma_deg, ".4f"),
        confidence=(observation.confidence, ".4f"),
    )
    if observation.launch_time_ns is not None:
        row["launched"] = _time(observation.launch_time_ns)
        row["launched_pm_s"] = f"{bodies.SIGMAS * observation.launch_time_sigma_s:.3f}"
    if observation.missile_class:
        row["class"] = bodies.CLASS_NAMES[observation.missile_class]
    return row


def _track(observation: Observation) -> Row:
    local = motion.from_ecef(observation)
    row = {
        "lat": written_angle(local.lat_deg, "NS"),
        "lon": written_angle(local.lon_deg, "EW"),
        "height_km": f"{local.height_m / 1_000.0:.4f}",
    }
    if local.velocity_enu_mps is not None:
        row["velocity"] = " ".join(f"{component:.3f}" for component in local.velocity_enu_mps)
    if local.covariance_enu:
        deviations, correlations = motion.correlations(local.covariance_enu)
        row["deviations"] = " ".join(f"{deviation:.3f}" for deviation in deviations)
        row["correlations"] = " ".join(f"{correlation:.9f}" for correlation in correlations)
    if phase := bodies.phase_of(observation):
        row["phase"] = bodies.PHASE_NAMES[phase]
    if observation.apogee_m is not None:
        row["apogee_km"] = f"{round(observation.apogee_m / ROUND_M) * ROUND_M / 1_000.0:.0f}"
    if observation.ground_range_m is not None:
        row["range_km"] = f"{AT_LEAST}{math.floor(observation.ground_range_m / ROUND_M) * ROUND_M / 1_000.0:.0f}"
    return row | _present(confidence=(observation.confidence, ".4f"))


def _impact(observation: Observation) -> Row:
    row = _area(observation) | _present(confidence=(observation.confidence, ".4f"))
    if observation.impact_time_ns is not None:
        row["falls"] = _time(observation.impact_time_ns)
        row["falls_pm_s"] = f"{bodies.SIGMAS * observation.impact_time_sigma_s:.3f}"
    row["nations"] = " ".join(observation.nations_affected)
    if observation.overflight:
        row["passes"] = "1"
    return row


def _area(observation: Observation) -> Row:
    if observation.lat_deg is None or observation.lon_deg is None:
        return {}
    return {
        "lat": written_angle(observation.lat_deg, "NS"),
        "lon": written_angle(observation.lon_deg, "EW"),
        "major_km": f"{math.ceil(observation.area_semi_major_m) / 1_000.0:.3f}",
        "minor_km": f"{math.ceil(observation.area_semi_minor_m) / 1_000.0:.3f}",
        "orientation": f"{observation.area_orientation_deg % 360.0:.3f}",
    }


def _present(**values: tuple[float | None, str]) -> Row:
    return {name: format(value, form) for name, (value, form) in values.items() if value is not None}


def _time(time_ns: int) -> str:
    return fields.written_time(time_ns, FORM, offset_h=adapter.OFFSET_H)
