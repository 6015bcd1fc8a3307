"""What a sensor says that sees an object where it is not: everything moved aside by the same, as in `Falsehood`.

A track moves over the ground at its own height, and its velocity with it, so that it contradicts itself nowhere; a
predicted impact moves likewise. What it claims of its accuracy stays as it was: that is what makes it a lie.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.limits import SECOND_NS
from broker.plugin import Observation, Sight

if TYPE_CHECKING:
    from broker.exercise.scenario import Falsehood
    from broker.exercise.sensors import Launched

__all__ = ["falsified"]

LOOK_AHEAD_S: Final = 1.0  # over which a velocity is moved


def falsified(seen: Observation, falsehood: Falsehood, launched: Launched) -> Observation:
    """Return what is told of a sighting; the sighting itself before the falsehood begins, and if it has no place."""
    since_s = (seen.time_ns - launched.ns(falsehood.from_s)) / SECOND_NS
    if since_s < 0.0:
        return seen
    aside_m = falsehood.jump_m + falsehood.drift_mps * since_s
    if seen.sight is Sight.IMPACT and seen.lat_deg is not None and seen.lon_deg is not None:
        lat_deg, lon_deg = geodesy.destination(seen.lat_deg, seen.lon_deg, falsehood.bearing_deg, aside_m)
        return replace(seen, lat_deg=lat_deg, lon_deg=lon_deg)
    if seen.sight is not Sight.TRACK or seen.position_m is None or seen.velocity_mps is None:
        return seen
    x_m, y_m, z_m = seen.position_m
    u_mps, v_mps, w_mps = seen.velocity_mps
    ahead = (x_m + u_mps * LOOK_AHEAD_S, y_m + v_mps * LOOK_AHEAD_S, z_m + w_mps * LOOK_AHEAD_S)
    here = _moved(seen.position_m, falsehood.bearing_deg, aside_m)
    there = _moved(ahead, falsehood.bearing_deg, aside_m + falsehood.drift_mps * LOOK_AHEAD_S)
    velocity = tuple((to - at) / LOOK_AHEAD_S for at, to in zip(here, there, strict=True))
    return replace(seen, position_m=here, velocity_mps=(velocity[0], velocity[1], velocity[2]))


def _moved(position_m: geodesy.Vector, bearing_deg: float, aside_m: float) -> geodesy.Vector:
    """Return a position moved over the ground, at its own height."""
    lat_deg, lon_deg, height_m = geodesy.geodetic(*position_m)
    return geodesy.ecef(*geodesy.destination(lat_deg, lon_deg, bearing_deg, aside_m), height_m)
