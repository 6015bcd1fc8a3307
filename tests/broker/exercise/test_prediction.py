from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from broker import geodesy
from broker.exercise.trajectory import flown_on

if TYPE_CHECKING:
    from broker.exercise.motion import State
    from broker.exercise.sensors import Launched


@pytest.mark.parametrize("elapsed_s", [145.0, 500.0, 1200.0])
def test_the_factors_agree_with_flying_on_from_a_changed_state(elapsed_s: float, launched: Launched) -> None:
    flight = launched.flight
    change = np.array((400.0, -300.0, 200.0, 0.5, 0.4, -0.6))
    moved = np.array(flight.at(elapsed_s)) + change
    state: State = (*(float(value) for value in moved),)  # type: ignore[assignment]
    other = flown_on(flight, elapsed_s, state)
    predicted = launched.predictor.factors(elapsed_s) @ change
    aside_m, _ = geodesy.distance_azimuth(
        flight.impact_lat_deg, flight.impact_lon_deg, other.impact_lat_deg, other.impact_lon_deg
    )
    assert np.hypot(predicted[0], predicted[1]) == pytest.approx(aside_m, rel=0.01, abs=5.0)
    assert predicted[2] == pytest.approx(other.impact_s - flight.impact_s, rel=0.01, abs=0.01)
    if elapsed_s < flight.apogee_s:
        assert predicted[3] == pytest.approx(other.apogee_m - flight.apogee_m, rel=0.01, abs=5.0)


def test_without_an_error_the_prediction_is_the_truth(launched: Launched) -> None:
    predicted = launched.predictor.predict(600.0, np.eye(6), np.zeros(9))
    assert predicted
    assert (predicted.lat_deg, predicted.lon_deg) == pytest.approx(
        (launched.flight.impact_lat_deg, launched.flight.impact_lon_deg)
    )
    assert predicted.after_s == launched.flight.impact_s
    assert predicted.apogee_m == launched.flight.apogee_m
    assert predicted.range_m == pytest.approx(4.5e6, rel=1e-4)


def test_nothing_is_predicted_while_the_motor_burns_nor_at_the_very_end(launched: Launched) -> None:
    flight = launched.flight
    for elapsed_s in (flight.burnout_s - 1.0, flight.impact_s - 5.0, flight.impact_s + 5.0):
        assert launched.predictor.predict(elapsed_s, np.eye(6), np.zeros(9)) is None
