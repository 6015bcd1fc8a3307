"""Whether apogee, range and time of flight fit together, as those of a falling body do.

A body that falls without air over a round Earth follows an ellipse; of apogee, range and time any two give the third
(R. R. Bate, D. D. Mueller and J. E. White, Fundamentals of Astrodynamics, 1971, chapter 6). A real flight takes longer,
by about half of what its motor burns and by what the air does; it is never much shorter. What does not fit is
flagged: one of the three is wrong (a rounded apogee, most often), or the body does not fall freely. Nothing is
corrected by it.

The slack was set on the publicly reported flights of reference (tests/broker/fusion/test_plausibility.py has them).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from broker.fusion.impact import Prediction
    from broker.fusion.node import Node
    from vedette.v1 import content_pb2

__all__ = ["claims_fit", "fits", "flight_s", "fused_fits"]

RADIUS_M: Final = 6_371_008.8
SHORTER: Final = 0.94  # of the time without air and motor
SHORTER_S: Final = 20.0
LONGER: Final = 1.05
LONGER_S: Final = 180.0
IN_AIR: Final = 1.6  # where most of the flight is in the air
IN_AIR_M: Final = 100_000.0
RANGE_LEAST_M: Final = 2_000.0  # straight up, the ellipse is a line
RANGE_MOST_M: Final = 0.95 * math.pi * RADIUS_M
APOGEE_MOST_M: Final = 30_000_000.0


def flight_s(apogee_m: float, range_m: float) -> float | None:
    """Return how long a body falls that rises to this height over this range, without air; None if none does."""
    if not (0.0 < apogee_m <= APOGEE_MOST_M and 0.0 <= range_m <= RANGE_MOST_M):
        return None
    top = RADIUS_M + apogee_m
    half = 0.5 * max(range_m, RANGE_LEAST_M) / RADIUS_M
    eccentricity = apogee_m / (top - RADIUS_M * math.cos(half))
    major = top / (1.0 + eccentricity)
    # From the ground on one side over the apogee, where the eccentric anomaly is pi, to the ground on the other.
    sin_half = math.sqrt(1.0 - eccentricity) * math.sin(0.5 * (math.pi - half))
    cos_half = math.sqrt(1.0 + eccentricity) * math.cos(0.5 * (math.pi - half))
    anomaly = 2.0 * math.atan2(sin_half, cos_half)
    mean = anomaly - eccentricity * math.sin(anomaly)
    return 2.0 * (math.pi - mean) * math.sqrt(major**3 / geodesy.GM_M3PS2)


def fits(
    apogee_m: float, range_m: float, least_s: float, most_s: float, *, apogee_slack_m: float = 0.0, slack_m: float = 0.0
) -> bool:
    """Say whether a flight of this apogee and range, or a little less or more, can take any time between these."""
    shortest_s = flight_s(max(apogee_m - apogee_slack_m, 1.0), max(range_m - slack_m, 0.0))
    longest_s = flight_s(apogee_m + apogee_slack_m, range_m + slack_m)
    if shortest_s is None or longest_s is None:
        return False
    longer = IN_AIR if apogee_m < IN_AIR_M else LONGER
    return most_s >= SHORTER * shortest_s - SHORTER_S and least_s <= longer * longest_s + LONGER_S


def fused_fits(track: content_pb2.TrackUpdate, launch: content_pb2.LaunchDetection | None, ends: Prediction) -> bool:
    """Say whether what is fused of an object fits together; so it does as long as not all of it is known."""
    if launch is None or not launch.launch_time.HasField("best") or not track.ground_range_m.value:
        return True
    window = launch.launch_time
    slack_s = 2.0 * ends.time_sigma_s
    earliest_s, latest_s = window.earliest.ToNanoseconds() / SECOND_NS, window.latest.ToNanoseconds() / SECOND_NS
    end_s = ends.time_ns / SECOND_NS
    return fits(
        track.apogee_m.value, track.ground_range_m.value, end_s - slack_s - latest_s, end_s + slack_s - earliest_s
    )


def claims_fit(node: Node) -> bool:
    """Say whether apogee, range and times that an origin states fit together, as far as it states all of them."""
    shown, launch, impact = node.shown("track"), node.launch(), node.impact()
    if shown is None or launch is None or impact is None or launch.time_ns is None or impact.time_ns is None:
        return True
    track = shown[1].track
    stated = (track.apogee_m, track.ground_range_m)
    if any(not quantity.value or quantity.lower_bound for quantity in stated):
        return True
    passed_s = (impact.time_ns - launch.time_ns) / SECOND_NS
    slack_s = 2.0 * math.hypot(launch.time_sigma_s, impact.time_sigma_s)
    apogee_slack_m, range_slack_m = (2.0 * quantity.sigma + quantity.cell.space_m for quantity in stated)
    return fits(
        track.apogee_m.value,
        track.ground_range_m.value,
        passed_s - slack_s,
        passed_s + slack_s,
        apogee_slack_m=apogee_slack_m,
        slack_m=range_slack_m,
    )
