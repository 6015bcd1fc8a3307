"""Lines of the American feed for exercises.

Resolution: times 1 ms; places 1e-6 degrees; positions 0.1 m; velocity 0.001 m/s; lengths 1 m; covariance nine digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import quoteattr

from broker.plugin import Observation, Sensor, Sight
from nations import bodies, fields, motion
from nations.session import line_number
from nations.usa import adapter
from vedette.v1 import measures_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write"]

FORM: Final = "%Y-%m-%dT%H:%M:%S.{ms}Z"
ACCESS: Final = "secret"
RELEASABLE_TO: Final = "JPN KOR"
CLOCK_ERROR_MS: Final = "2"
HOW: Final = {kind: name for name, kind in adapter.HOW.items()}
AXES: Final = ("x", "y", "z")
Attributes = dict[str, str]


def write(observation: Observation, sensor: Sensor) -> bytes:
    """Return the line in which the sensor reports the sighting. Raises ValueError where a track has no position."""
    kind, children = _said(observation)
    event = {
        "version": "1",
        "uid": line_number(observation),
        "type": kind,
        "how": HOW[sensor.kind],
        "sensor": sensor.name,
        "track": str(observation.track_number),
        "time": _time(observation.time_ns),
        "clock-error-ms": CLOCK_ERROR_MS,
        "access": ACCESS,
        "releasable-to": RELEASABLE_TO,
    }
    if observation.corrects is not None:
        event["corrects"] = line_number(observation.corrects)
    if sensor.kind != measures_pb2.SENSOR_KIND_SPACE_INFRARED:
        children["site"] = {
            "lat": f"{sensor.lat_deg:.4f}",
            "lon": f"{sensor.lon_deg:.4f}",
            "hae": f"{sensor.height_m:.0f}",
        }
    inside = "".join(f"<{name}{_attributes(child)}/>" for name, child in children.items())
    return f"<event{_attributes(event)}>{inside}</event>".encode()


def _said(observation: Observation) -> tuple[str, dict[str, Attributes]]:
    """Return the event's type, and its children with their attributes."""
    match observation.sight:
        case Sight.LAUNCH:
            return "launch", _launch(observation)
        case Sight.TRACK:
            return "track", _track(observation)
        case Sight.IMPACT:
            return "impact", _impact(observation)
        case Sight.LOST | Sight.NOT_A_LAUNCH | Sight.ALL_CLEAR:
            return "status", {"status": {"state": bodies.STATE_NAMES[bodies.SIGHTED[observation.sight]]}}


def _launch(observation: Observation) -> dict[str, Attributes]:
    launch = _window(observation.launch_time_ns, observation.launch_time_sigma_s) | _present(
        azimuth=(observation.azimuth_deg, ".4f"),
        azimuth_sigma=(observation.azimuth_sigma_deg, ".4f"),
        confidence=(observation.confidence, ".4f"),
    )
    if observation.missile_class:
        launch |= {"class": bodies.CLASS_NAMES[observation.missile_class], "class-probability": "1"}
    return {"launch": launch} | _point(observation)


def _track(observation: Observation) -> dict[str, Attributes]:
    if observation.position_m is None:
        raise ValueError("a track without a position")
    at = {axis: f"{value:.1f}" for axis, value in zip(AXES, observation.position_m, strict=True)}
    if observation.velocity_mps is not None:
        at |= {f"v{axis}": f"{value:.3f}" for axis, value in zip(AXES, observation.velocity_mps, strict=True)}
    if covariance := motion.known_covariance(observation):
        at["covariance"] = " ".join(f"{term:.9g}" for term in covariance)
    moving = _present(
        apogee=(observation.apogee_m, ".0f"),
        range=(observation.ground_range_m, ".0f"),
        confidence=(observation.confidence, ".4f"),
    )
    if phase := bodies.phase_of(observation):
        moving["phase"] = bodies.PHASE_NAMES[phase]
    return {"ecef": at, "motion": moving}


def _impact(observation: Observation) -> dict[str, Attributes]:
    impact = _window(observation.impact_time_ns, observation.impact_time_sigma_s)
    impact |= _present(confidence=(observation.confidence, ".4f"))
    if observation.nations_affected:
        impact["nations"] = " ".join(observation.nations_affected)
    if observation.overflight:
        impact["overflight"] = "true"
    return {"impact": impact} | _point(observation)


def _point(observation: Observation) -> dict[str, Attributes]:
    if observation.lat_deg is None or observation.lon_deg is None:
        return {}
    return {
        "point": {
            "lat": f"{observation.lat_deg:.6f}",
            "lon": f"{observation.lon_deg:.6f}",
            "major": f"{observation.area_semi_major_m:.0f}",
            "minor": f"{observation.area_semi_minor_m:.0f}",
            "orientation": f"{observation.area_orientation_deg % 360.0:.3f}",
        }
    }


def _window(best_ns: int | None, sigma_s: float) -> Attributes:
    if best_ns is None:
        return {}
    return {"at": _time(best_ns), "plus-minus": f"{bodies.SIGMAS * sigma_s:.3f}"}


def _present(**values: tuple[float | None, str]) -> Attributes:
    return {name.replace("_", "-"): format(value, form) for name, (value, form) in values.items() if value is not None}


def _attributes(values: Mapping[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items())


def _time(time_ns: int) -> str:
    return fields.written_time(time_ns, FORM, offset_h=0)
