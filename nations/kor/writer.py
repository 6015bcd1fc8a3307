"""Lines of the Korean feed for exercises.

Resolution: times 1 ms; places 1e-6 and positions 1e-7 degrees, heights 0.1 m; velocity 0.01 m/s; lengths 1 m;
covariance nine digits. Airborne early warning writes in nautical units, the others in metric ones.
"""

from __future__ import annotations

import json
import math
from typing import Final

from broker.plugin import Observation, Sensor, Sight
from nations import bodies, fields, motion
from nations.kor import adapter
from nations.kor.units import METRIC, NAUTICAL, Units
from nations.session import line_number
from vedette.v1 import measures_pb2

__all__ = ["write"]

FORM: Final = "%Y-%m-%dT%H:%M:%S.{ms}+09:00"
MARK: Final = {"grade": "GRADE-2", "to": ["JPN", "USA"], "caveats": []}
CLOCK_MS: Final = 5
Line = dict[str, object]
TYPES: Final = {kind: name for name, kind in adapter.KINDS.items()}


def write(observation: Observation, sensor: Sensor) -> bytes:
    """Return the line in which the sensor reports the sighting. Raises ValueError where a track has no position."""
    units = NAUTICAL if sensor.kind == measures_pb2.SENSOR_KIND_AIRBORNE_RADAR else METRIC
    line: Line = {
        "no": line_number(observation),
        "sensor": sensor.name,
        "type": TYPES[sensor.kind],
        "units": units.name,
        "time": _time(observation.time_ns),
        "clock_ms": CLOCK_MS,
        "mark": MARK,
        "own": [sensor.lat_deg, sensor.lon_deg, sensor.height_m],
        "track": observation.track_number,
    }
    if observation.corrects is not None:
        line["corrects"] = line_number(observation.corrects)
    match observation.sight:
        case Sight.LAUNCH:
            line |= {"kind": "LAUNCH"} | _launch(observation, units)
        case Sight.TRACK:
            line |= {"kind": "TRACK"} | _track(observation, units)
        case Sight.IMPACT:
            line |= {"kind": "IMPACT"} | _impact(observation, units)
        case Sight.LOST | Sight.NOT_A_LAUNCH | Sight.ALL_CLEAR:
            line |= {"kind": "STATUS", "state": bodies.STATE_NAMES[bodies.SIGHTED[observation.sight]]}
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode()


def _launch(observation: Observation, units: Units) -> Line:
    line = _place(observation, units) | _present(
        azimuth=_rounded(observation.azimuth_deg, 4),
        azimuth_sd=_rounded(observation.azimuth_sigma_deg, 4),
        confidence=_rounded(observation.confidence, 4),
    )
    if observation.launch_time_ns is not None:
        line["launched"] = _time(observation.launch_time_ns)
        line["launched_pm_s"] = round(bodies.SIGMAS * observation.launch_time_sigma_s, 3)
    if observation.missile_class:
        line["classes"] = {bodies.CLASS_NAMES[observation.missile_class]: 1.0}
    return line


def _track(observation: Observation, units: Units) -> Line:
    local = motion.from_ecef(observation)
    line: Line = {"at": [round(local.lat_deg, 7), round(local.lon_deg, 7), round(local.height_m / units.length_m, 5)]}
    if local.velocity_enu_mps is not None:
        east, north, up = (component / units.speed_mps for component in local.velocity_enu_mps)
        course_deg = round(math.degrees(math.atan2(east, north)) % 360.0, 5)
        line["moves"] = [round(math.hypot(east, north), 3), course_deg, round(up, 3)]
    if local.covariance_enu:
        line["cov"] = [float(f"{term:.9g}") for term in units.covariance_native(local.covariance_enu)]
    if phase := bodies.phase_of(observation):
        line["phase"] = bodies.PHASE_NAMES[phase]
    return line | _present(
        apogee=_length(observation.apogee_m, units),
        range=_length(observation.ground_range_m, units),
        confidence=_rounded(observation.confidence, 4),
    )


def _impact(observation: Observation, units: Units) -> Line:
    line = _place(observation, units) | _present(confidence=_rounded(observation.confidence, 4))
    if observation.impact_time_ns is not None:
        line["falls"] = _time(observation.impact_time_ns)
        line["falls_pm_s"] = round(bodies.SIGMAS * observation.impact_time_sigma_s, 3)
    if observation.nations_affected:
        line["nations"] = list(observation.nations_affected)
    if observation.overflight:
        line["overflight"] = True
    return line


def _place(observation: Observation, units: Units) -> Line:
    if observation.lat_deg is None or observation.lon_deg is None:
        return {}
    return {
        "place": [round(observation.lat_deg, 6), round(observation.lon_deg, 6)],
        "ellipse": [
            _length(observation.area_semi_major_m, units),
            _length(observation.area_semi_minor_m, units),
            round(observation.area_orientation_deg % 360.0, 3),
        ],
    }


def _present(**values: float | None) -> Line:
    return {name: value for name, value in values.items() if value is not None}


def _length(value_m: float | None, units: Units) -> float | None:
    return None if value_m is None else round(value_m / units.length_m, 4)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _time(time_ns: int) -> str:
    return fields.written_time(time_ns, FORM, offset_h=adapter.OFFSET_H)
