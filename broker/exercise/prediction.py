"""What a small error in a state does to the predicted impact: point, time, apogee and range.

A sensor that knows a falling body's state with an error predicts an impact with an error; to first order the two are
proportional. The factors are found once for each flight, by flying it on from burnout with each of the six numbers
changed a little, so that any number of predictions at any time cost two small matrix products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from broker import geodesy
from broker.exercise.trajectory import Trajectory, flown_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANGES: Final = (100.0, 100.0, 100.0, 0.1, 0.1, 0.1)  # m, m/s: far above rounding, far below the Earth's curvature
# A predictor does not know the body's drag nor the day's air.
FLOOR_M: Final = 500.0
FLOOR_S: Final = 1.0
LAST_S: Final = 10.0  # nothing is predicted in the last seconds of a flight


@dataclass(frozen=True, slots=True)
class Predicted:
    """Where a body will come down, as one sensor believes, and how well it knows."""

    lat_deg: float
    lon_deg: float
    semi_major_m: float  # of the ellipse that holds the truth with 95 %
    semi_minor_m: float
    orientation_deg: float
    after_s: float  # since launch
    after_sigma_s: float
    apogee_m: float
    range_m: float


class Predictor:
    """Predictions for one flight."""

    def __init__(self, flight: Trajectory) -> None:
        """Fly the flight on from burnout, with each of the six numbers of its state changed."""
        self._flight = flight
        burnout = flight.at(flight.burnout_s)
        self._changed = [
            flown_on(
                flight,
                flight.burnout_s,
                tuple(value + change * (place == index) for place, value in enumerate(burnout)),  # type: ignore[arg-type]
            )
            for index, change in enumerate(CHANGES)
        ]
        columns = [self._difference(other) / change for other, change in zip(self._changed, CHANGES, strict=True)]
        self._outcome_by_burnout = np.column_stack(columns)
        self._site = geodesy.geodetic(*flight.states[0][:3])

    def factors(self, elapsed_s: float) -> NDArray[np.float64]:
        """Return the 4 x 6 factors from a state at a time after burnout to (east m, north m, time s, apogee m)."""
        here = np.array(self._flight.at(elapsed_s))
        moved = [
            (np.array(other.at(elapsed_s)) - here) / change
            for other, change in zip(self._changed, CHANGES, strict=True)
        ]
        factors: NDArray[np.float64] = np.linalg.solve(np.column_stack(moved).T, self._outcome_by_burnout.T).T
        return factors

    def predict(
        self, elapsed_s: float, covariance: NDArray[np.float64], draws: NDArray[np.float64]
    ) -> Predicted | None:
        """Return the prediction of a sensor whose state has this 6 x 6 covariance; None before burnout or at the end.

        `draws` are nine independent standard normal numbers: six become the error of the state, three the floor's.
        """
        flight = self._flight
        if not flight.burnout_s <= elapsed_s <= flight.impact_s - LAST_S:
            return None
        factors = self.factors(elapsed_s)
        floor = np.array((FLOOR_M, FLOOR_M, FLOOR_S, 0.0))
        error = factors @ (np.linalg.cholesky(covariance) @ draws[:6])
        error[:3] += floor[:3] * draws[6:]
        spread = factors @ covariance @ factors.T + np.diag(floor**2)
        east_m, north_m, late_s, higher_m = (float(part) for part in error)
        lat_deg, lon_deg = geodesy.destination(
            flight.impact_lat_deg,
            flight.impact_lon_deg,
            math.degrees(math.atan2(east_m, north_m)),
            math.hypot(east_m, north_m),
        )
        major_m, minor_m, orientation_deg = geodesy.ellipse_of_covariance(
            float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1])
        )
        return Predicted(
            lat_deg=lat_deg,
            lon_deg=lon_deg,
            semi_major_m=major_m,
            semi_minor_m=minor_m,
            orientation_deg=orientation_deg,
            after_s=flight.impact_s + late_s,
            after_sigma_s=math.sqrt(float(spread[2, 2])),
            apogee_m=max(flight.apogee_m + higher_m, 0.0),
            range_m=geodesy.distance_azimuth(*self._site[:2], lat_deg, lon_deg)[0],
        )

    def _difference(self, other: Trajectory) -> NDArray[np.float64]:
        """Return how far east (m), north (m), late (s) and high (m) another flight is than ours."""
        flight = self._flight
        aside_m, bearing_deg = geodesy.distance_azimuth(
            flight.impact_lat_deg, flight.impact_lon_deg, other.impact_lat_deg, other.impact_lon_deg
        )
        bearing = math.radians(bearing_deg)
        return np.array(
            (
                aside_m * math.sin(bearing),
                aside_m * math.cos(bearing),
                other.impact_s - flight.impact_s,
                other.apogee_m - flight.apogee_m,
            )
        )
