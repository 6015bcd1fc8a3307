"""Where a flight leads over the ground: what was reported of it, then the fall to where it comes down.

Good to a few kilometres, which is what regions need; `impact` is what says where it comes down.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.estimate import merged
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.fusion.estimate import Estimate
    from broker.fusion.history import History
    from broker.fusion.impact import Prediction
    from broker.fusion.regions import Waypoint

__all__ = ["fallen", "ground_track"]

PAST_POINTS: Final = 16
STEP_LEAST_S: Final = 10.0
STEPS_MOST: Final = 100


def ground_track(start: Waypoint | None, history: History, prediction: Prediction | None) -> list[Waypoint]:
    """Return the way over the ground: from `start`, by what was reported, and on to the predicted impact."""
    track = [] if start is None else [start]
    track += _reported(history)
    if prediction is not None:
        track += _ahead(history.newest, prediction)
    return track


def fallen(state: Sequence[float], passed_s: float, step_most_s: float) -> tuple[float, ...]:
    """Return a state some seconds later under gravity and nominal drag (midpoint rule)."""
    steps = max(1, math.ceil(passed_s / step_most_s))
    step_s = passed_s / steps
    half = 0.5 * step_s
    x, y, z, u, v, w = state
    for _ in range(steps):
        a, b, c = geodesy.ballistic_acceleration((x, y, z), (u, v, w))
        middle = (u + half * a, v + half * b, w + half * c)
        a, b, c = geodesy.ballistic_acceleration((x + half * u, y + half * v, z + half * w), middle)
        x, y, z = x + step_s * middle[0], y + step_s * middle[1], z + step_s * middle[2]
        u, v, w = u + step_s * a, v + step_s * b, w + step_s * c
    return x, y, z, u, v, w


def _reported(history: History) -> list[Waypoint]:
    """Return a few of the reported places, and the newest that is believed."""
    entries = history.entries
    every = max(1, math.ceil(len(entries) / PAST_POINTS))
    places = [entry.report.position_m for entry in entries[::every]]
    state, _ = merged(history.newest)
    return [geodesy.geodetic(*place)[:2] for place in (*places, (state[0], state[1], state[2]))]


def _ahead(estimate: Estimate, prediction: Prediction) -> list[Waypoint]:
    """Return the places that a body flies over from here to where it comes down."""
    left_s = (prediction.time_ns - estimate.time_ns) / SECOND_NS
    step_s = max(STEP_LEAST_S, left_s / STEPS_MOST)
    state: tuple[float, ...] = tuple(merged(estimate)[0])
    found = []
    for _ in range(math.floor(left_s / step_s) - 1):
        state = fallen(state, step_s, step_s)
        lat_deg, lon_deg, height_m = geodesy.geodetic(*state[:3])
        if height_m <= 0.0:
            break
        found.append((lat_deg, lon_deg))
    return [*found, (prediction.place.lat_deg, prediction.place.lon_deg)]
