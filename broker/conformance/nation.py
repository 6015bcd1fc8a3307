"""What every nation must keep, in a folder under nations/ or in a wheel of its own: `check_nation(NATION)`.

1. It has a code, formats and sensors that fit together, and a home with release.yaml, release.test.yaml and README.md.
2. Each of its native feeds keeps the promises of `nation_feed`.
3. Its release policy parses, places every leaf, passes its tests, and its tests cover every rule: `nation_policy`.

The first promise that is broken is named by the ConformanceError.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.conformance.error import ConformanceError
from broker.conformance.nation_feed import FeedReport, check_feed
from broker.conformance.nation_policy import PolicyReport, check_policy
from vedette.v1 import measures_pb2

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from broker.plugin import Nation, Sensor

__all__ = ["Report", "check_nation"]

CODE: Final = re.compile(r"[A-Z]{3}")
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
HOME: Final = ("README.md", "release.yaml", "release.test.yaml")


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked of a nation that keeps every promise."""

    code: str
    feeds: tuple[FeedReport, ...]
    policy: PolicyReport


def check_nation(
    nation: Nation, *, policy_text: str | None = None, patience_s: float = limits.CONFORMANCE_FEED_S
) -> Report:
    """Check a nation; `policy_text` instead of its own release.yaml. Raises ConformanceError.

    A feed that is not through after `patience_s` hangs: that too is a broken promise.
    """
    home = _check_home(nation)
    _check_sensors(nation)
    feeds = tuple(check_feed(nation, native, home, patience_s=patience_s) for native in nation.formats.values())
    text = (home / "release.yaml").read_text("utf-8") if policy_text is None else policy_text
    return Report(nation.code, feeds, check_policy(nation.code, text, (home / "release.test.yaml").read_text("utf-8")))


def _check_home(nation: Nation) -> Traversable:
    if CODE.fullmatch(nation.code) is None or not nation.name:
        raise ConformanceError("a nation has an ISO 3166-1 alpha-3 code and a name")
    if not nation.formats:
        raise ConformanceError("a nation has at least one native format")
    for name, native in nation.formats.items():
        if NAME.fullmatch(name) is None or name != native.name:
            raise ConformanceError(f"formats: {name!r} is lower case, and the name of the format itself")
    if nation.home is None:
        raise ConformanceError("home: a nation has a folder with its policy, tests, samples and README")
    for name in HOME:
        if not (nation.home / name).is_file():
            raise ConformanceError(f"home: {name} is missing")
    return nation.home


def _check_sensors(nation: Nation) -> None:
    names = [sensor.name for sensor in nation.sensors]
    if len(set(names)) != len(names):
        raise ConformanceError("sensors: each has a name of its own")
    for sensor in nation.sensors:
        if sensor.format not in nation.formats:
            raise ConformanceError(f"sensor {sensor.name}: its format is one of the nation's")
        if NAME.fullmatch(sensor.name) is None:
            raise ConformanceError(f"sensor {sensor.name!r}: a name is lower case letters, digits and hyphens")
        if sensor.kind not in measures_pb2.SensorKind.values() or not sensor.kind:
            raise ConformanceError(f"sensor {sensor.name}: it has a kind")
        if wrong := [name for name, (least, value, most) in _figures(sensor).items() if not least <= value <= most]:
            raise ConformanceError(f"sensor {sensor.name}: {', '.join(wrong)} cannot be")


def _figures(sensor: Sensor) -> dict[str, tuple[float, float, float]]:
    """Return each figure between what it may be at least and at most."""
    tiny = math.ulp(0.0)
    return {
        "lat_deg": (-90.0, sensor.lat_deg, 90.0),
        "lon_deg": (-180.0, sensor.lon_deg, 180.0),
        "height_m": (-1_000.0, sensor.height_m, 5e7),
        "range_max_m": (tiny, sensor.range_max_m, 1e8),
        "elevation_min_deg": (-90.0, sensor.elevation_min_deg, 90.0),
        "period_s": (0.1, sensor.period_s, 3_600.0),
        "range_sigma_m": (tiny, sensor.range_sigma_m, 1e6),
        "angle_sigma_deg": (tiny, sensor.angle_sigma_deg, 45.0),
        "latency_s": (0.0, sensor.latency_s, 3_600.0),
        "dropout": (0.0, sensor.dropout, 1.0),
        "first_look_s": (0.0, sensor.first_look_s, 3_600.0),
    }
