"""Where an object may come down of which a falling body's impact says too little: one that glides, one that was lost.

A glider comes down nowhere in particular. What is said is how far its height and its speed could carry it, ahead and to
the sides, at a lift-to-drag ratio of `LIFT_TO_DRAG`: above what has been published of such vehicles (2.6: J. M. Acton,
Science & Global Security 23/3, 2015), so that the area errs on the large side. It may be earlier down, and later.

A falling body that nobody reports any more may have started its motor again, or turned. Its velocity is doubted more
with every second of silence (`LOST_DENSITY`), as if it had strayed at the last report, and the area grows by what that
makes at the ground. It never becomes smaller nor goes away, and nothing is done any more once it may be down. What was
lost while it burnt has no impact area: nobody knows when it burnt out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.contribution import Place
from broker.fusion.estimate import merged
from broker.fusion.impact import AXIS_MAX_M, Prediction
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from broker.fusion.estimate import Estimate

__all__ = ["FADING_NS", "faded", "glided"]

LIFT_TO_DRAG: Final = 3.0
GRAVITY_MPS2: Final = 9.81
ASIDE: Final = 0.5  # of the reach ahead
SLOWEST: Final = 1.0 / 3.0  # of its speed now, on the mean of the way
REACH_LEAST_M: Final = 50_000.0
FADING_NS: Final = 10 * SECOND_NS
LOST_DENSITY: Final = 0.1  # m2/s3: 3 m/s after 100 s; judgement, a thousandfold and more of what is doubted in sight
TWO_SIGMAS: Final = math.sqrt(-2.0 * math.log(0.05))  # of the ellipse of 95 %


def glided(estimate: Estimate, apogee_m: float) -> Prediction:
    """Return where and when an object may come down that is carried by the air."""
    state, noise = merged(estimate)
    lat_deg, lon_deg, height_m = geodesy.geodetic(*state[:3])
    east, north, _ = geodesy.enu_axes(lat_deg, lon_deg)
    velocity = state[3:]
    speed_mps = math.hypot(*velocity)
    ahead = [math.fsum(one * two for one, two in zip(axis, velocity, strict=True)) for axis in (east, north)]
    azimuth_deg = math.degrees(math.atan2(ahead[0], ahead[1])) % 360.0
    energy_m = max(height_m, 0.0) + speed_mps * speed_mps / (2.0 * GRAVITY_MPS2)
    reach_m = min(max(LIFT_TO_DRAG * energy_m, REACH_LEAST_M), AXIS_MAX_M)
    # The ellipse begins behind the object, whose place is not exactly known, and ends where it could get at most.
    major_m = 0.5 * reach_m + TWO_SIGMAS * math.sqrt(max(noise[0][0] + noise[1][1] + noise[2][2], 0.0))
    middle = geodesy.destination(lat_deg, lon_deg, azimuth_deg, 0.5 * reach_m)
    # Meridians converge: the direction at the middle is another than here.
    back_deg = geodesy.distance_azimuth(*middle, lat_deg, lon_deg)[1]
    longest_s = reach_m / max(SLOWEST * speed_mps, 100.0)
    return Prediction(
        time_ns=estimate.time_ns + round(0.5 * longest_s * SECOND_NS),
        time_sigma_s=0.25 * longest_s,  # two of them either way: from now to the latest
        place=_place(*middle, major_m, ASIDE * reach_m, back_deg),
        apogee_m=max(apogee_m, height_m),
        based_on_ns=estimate.time_ns,
    )


def faded(prediction: Prediction, newest: Estimate, silent_ns: int) -> Prediction:
    """Return an impact as it is known after a silence: never better than before it; no worse once it may be down."""
    earliest_ns = prediction.time_ns - round(2.0 * prediction.time_sigma_s * SECOND_NS)
    before_ns = (earliest_ns - newest.time_ns) // FADING_NS * FADING_NS
    silent_s = min(silent_ns, before_ns) / SECOND_NS
    if silent_s <= 0.0:
        return prediction
    left_s = (prediction.time_ns - newest.time_ns) / SECOND_NS
    strayed_m2 = LOST_DENSITY * silent_s * left_s * left_s
    speed_mps = max(math.hypot(*merged(newest)[0][3:]), 1.0)
    place = prediction.place
    return replace(
        prediction,
        time_sigma_s=math.hypot(prediction.time_sigma_s, math.sqrt(strayed_m2) / speed_mps),
        place=replace(place, east_m2=place.east_m2 + strayed_m2, north_m2=place.north_m2 + strayed_m2),
    )


def _place(lat_deg: float, lon_deg: float, major_m: float, aside_m: float, orientation_deg: float) -> Place:
    """Return the Gaussian whose ellipse of 95 % has these half axes."""
    major_m2, minor_m2 = (major_m / TWO_SIGMAS) ** 2, (min(aside_m, major_m) / TWO_SIGMAS) ** 2
    sin, cos = math.sin(math.radians(orientation_deg)), math.cos(math.radians(orientation_deg))
    return Place(
        lat_deg,
        lon_deg,
        east_m2=major_m2 * sin * sin + minor_m2 * cos * cos,
        east_north_m2=(major_m2 - minor_m2) * sin * cos,
        north_m2=major_m2 * cos * cos + minor_m2 * sin * sin,
    )
