"""Our filter beside Stone Soup's (dstl/Stone-Soup) on the same reports, with the same dynamics and Jacobians.

Its own finite differences take steps of the wrong size where a component is negative, so analytic Jacobians go in.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from broker.fusion import kernel, unrolled
from broker.fusion.unrolled import LINK, SIZE

stonesoup = pytest.importorskip("stonesoup.updater.kalman")

REPORTS = 40
SIGMA_M = 300.0
AT, NOISE_AT = 55, 61
UPPER = np.triu_indices(6)
FIRST_NOISE = np.diag([9e4] * 3 + [1e4] * 3) + 500.0


def row(state: Any, noise: Any, biases: int = 0) -> list[float]:
    """Return the numbers of an estimate of which only the falling model matters."""
    s = [0.0] * (SIZE + LINK * biases)
    s[0] = 0.5
    s[1:7] = s[AT : AT + 6] = [float(value) for value in state]
    s[NOISE_AT : NOISE_AT + 21] = [float(value) for value in np.asarray(noise)[UPPER]]
    return s


def step(state: Any) -> tuple[Any, Any, Any]:
    """Return where a falling state is a second later, how it depends on the earlier one, and the noise between."""
    s = row(state, np.zeros((6, 6)), biases=2)
    for column in range(6):  # two biases, of which the state is the sum: what depends on them moves with the flow
        s[SIZE + LINK * (column // 3) + 27 + 3 * column + column % 3] = 1.0
    kernel.moved(s, 2, 1.0)
    links = [np.array(s[SIZE + LINK * index + 27 : SIZE + LINK * (index + 1)]).reshape(6, 3) for index in range(2)]
    noise = np.zeros((6, 6))
    noise[UPPER] = s[NOISE_AT : NOISE_AT + 21]
    return np.array(s[AT : AT + 6]), np.hstack(links), noise + np.triu(noise, 1).T


def measurements(start: list[float]) -> list[Any]:
    chance, state, found = np.random.default_rng(7), np.array(start), []
    for _ in range(REPORTS):
        state = step(state)[0]
        found.append(state[:3] + chance.normal(0.0, SIGMA_M, 3))
    return found


def theirs(start: list[float], measured: list[Any]) -> list[Any]:
    from stonesoup.models.measurement.linear import LinearGaussian  # noqa: PLC0415 - takes seconds
    from stonesoup.models.transition.nonlinear import GaussianTransitionModel  # noqa: PLC0415 - as above
    from stonesoup.predictor.kalman import ExtendedKalmanPredictor  # noqa: PLC0415 - as above
    from stonesoup.types.detection import Detection  # noqa: PLC0415 - as above
    from stonesoup.types.hypothesis import SingleHypothesis  # noqa: PLC0415 - as above
    from stonesoup.types.state import GaussianState  # noqa: PLC0415 - as above

    class Falling(GaussianTransitionModel):  # type: ignore[misc] # no types published
        """Ours, at the state that is predicted from."""

        at: Any = None

        @property
        def ndim_state(self) -> int:
            return 6

        def function(self, state: Any, **_: Any) -> Any:
            self.__class__.at = np.asarray(state.state_vector, dtype=float)[:, 0]
            return step(self.at)[0].reshape(6, 1)

        def jacobian(self, state: Any, **_: Any) -> Any:
            return step(np.asarray(state.state_vector, dtype=float)[:, 0])[1]

        def covar(self, **_: Any) -> Any:
            return step(self.at)[2]

        def rvs(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    model = LinearGaussian(6, (0, 1, 2), np.eye(3) * SIGMA_M**2)
    predictor, updater = ExtendedKalmanPredictor(Falling()), stonesoup.ExtendedKalmanUpdater(model)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    state: Any = GaussianState(np.array(start).reshape(6, 1), FIRST_NOISE, timestamp=began)
    found = []
    for second, position in enumerate(measured, start=1):
        at = began + timedelta(seconds=second)
        report = Detection(position.reshape(3, 1), timestamp=at, measurement_model=model)
        state = updater.update(SingleHypothesis(predictor.predict(state, timestamp=at), report))
        found.append((np.asarray(state.state_vector, dtype=float)[:, 0], np.asarray(state.covar, dtype=float)))
    return found


@pytest.mark.parametrize("height", [1.0, 0.975], ids=["above the air", "in the air"])
def test_an_update_is_that_of_stone_soup(height: float) -> None:
    start = [-3.1e6 * height, 3.9e6 * height, 4.3e6 * height, 900.0, 2500.0, -1000.0]
    measured = measurements(start)
    s = row(start, FIRST_NOISE)
    for position, (state, noise) in zip(measured, theirs(start, measured), strict=True):
        kernel.moved(s, 0, 1.0)
        variance = SIGMA_M * SIGMA_M
        unrolled.falling_3(s, 0, [*position.tolist(), variance, 0.0, 0.0, variance, 0.0, variance], 1.0, 0.0)
        assert np.allclose(s[AT : AT + 3], state[:3], rtol=0.0, atol=1e-4)
        assert np.allclose(s[AT + 3 : AT + 6], state[3:], rtol=0.0, atol=1e-5)
        assert np.allclose(np.array(s[NOISE_AT : NOISE_AT + 21]), noise[UPPER], rtol=1e-6, atol=1e-6)
