"""The posterior Cramér-Rao bound: how well anything could know a flight from these looks (Tichavský et al. 1998).

The recursion of the information along the true flight, J' = (F J^-1 F' + Q)^-1 + H' R^-1 H, where the *mode is known*:
somebody told when the motor stopped. While it burns, the acceleration wanders (white jerk, as the estimate believes;
the true push is smooth, so that this part is a reference and no bound in the strict sense). From burnout on there is no
process noise at all: gravity is known, and what is not known of the drag is one constant, the body's ballistic
coefficient, with its prior. So the bound of the fall is that of a filter which can do everything right.

Terms: position, velocity (m, m/s), then the motor's acceleration (3, burning) or the coefficient's logarithm (1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.integrate import solve_ivp

from tests import truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.truth import Flight, Floats, Look

JERK_DENSITY: Final = 4.0  # m2/s5
SPEED_SIGMA_MPS: Final = 2_500.0  # before the first look
PUSH_SIGMA_MPS2: Final = 25.0
STEP_S: Final = 1.0
COEFFICIENT: Final = 6  # its place among the terms of the fall


@dataclass(frozen=True, slots=True)
class Known:
    """The bound after a look: 6x6 of position and velocity, and the whole of it."""

    time_s: float
    noise: Floats
    whole: Floats


def bound(flight: Flight, looks: Sequence[Look], *, burning: bool = True) -> list[Known]:
    """Return the bound after each look. `burning`: False if even the first look is known to see a fall."""
    found: list[Known] = []
    time_s, noise = looks[0].time_s, _before(burning=burning and looks[0].time_s < flight.burnout_s)
    for one in looks:
        noise = moved(flight, noise, time_s, one.time_s)
        time_s = one.time_s
        size, terms = len(one.measured), len(noise)
        information = np.linalg.inv(noise)
        information[:size, :size] += np.linalg.inv(np.array(one.noise))
        noise = np.linalg.inv(information)
        noise = 0.5 * (noise + noise.T)
        assert terms == len(noise)
        found.append(Known(time_s, noise[:6, :6], noise))
    return found


def moved(flight: Flight, noise: Floats, from_s: float, until_s: float) -> Floats:
    """Return the bound at a later time, nothing being seen in between."""
    time_s = from_s
    while time_s < until_s - 1e-9:
        if len(noise) > COEFFICIENT + 1 and time_s >= flight.burnout_s - 1e-9:
            noise = fallen(noise[:6, :6])
        edge_s = flight.burnout_s if time_s < flight.burnout_s - 1e-9 else math.inf
        step_s = min(STEP_S, until_s - time_s, edge_s - time_s)
        if len(noise) > COEFFICIENT + 1:
            flow, spread = _burning(step_s)
            noise = flow @ noise @ flow.T + spread
        else:
            flow = falling_flow(flight.at(time_s), step_s, flight.coefficient_kgpm2)
            noise = flow @ noise @ flow.T
        time_s += step_s
    return noise


def fallen(noise: Floats) -> Floats:
    """Return what is known of a fall that begins: the coefficient is its prior."""
    whole = np.zeros((7, 7))
    whole[:6, :6] = noise
    whole[COEFFICIENT, COEFFICIENT] = truth.COEFFICIENT_SIGMA**2
    return whole


def falling_flow(state: Floats, step_s: float, coefficient_kgpm2: float) -> Floats:
    """Return how position, velocity and the coefficient's logarithm depend on what they were (central differences)."""
    flow = np.eye(7)
    for term, change in enumerate([10.0] * 3 + [1.0] * 3 + [0.05]):
        ends = []
        for sign in (1.0, -1.0):
            start = state.copy()
            factor = 1.0
            if term < COEFFICIENT:
                start[term] += sign * change
            else:
                factor = math.exp(sign * change)
            ends.append(fallen_for(start, step_s, coefficient_kgpm2 * factor))
        flow[:6, term] = (ends[0] - ends[1]) / (2.0 * change)
    return flow


def fallen_for(state: Floats, step_s: float, coefficient_kgpm2: float) -> Floats:
    """Return a falling body's state a short step later (Runge-Kutta)."""

    def slope(at: Floats) -> Floats:
        return np.concatenate([at[3:], truth.fall(at, coefficient_kgpm2)])

    one = slope(state)
    two = slope(state + 0.5 * step_s * one)
    three = slope(state + 0.5 * step_s * two)
    four = slope(state + step_s * three)
    return np.asarray(state + step_s / 6.0 * (one + 2.0 * (two + three) + four))


def on_the_ground(flight: Flight, known: Known) -> Floats:
    """Return the covariance (2x2; east, north; m2) of the impact that follows from the bound after a look."""
    east, north, _ = truth.axes(flight.impact_lat_deg, flight.impact_lon_deg)
    start = flight.at(known.time_s)
    columns = []
    for term, change in enumerate([20.0] * 3 + [0.2] * 3 + [0.05]):
        ends = []
        for sign in (1.0, -1.0):
            state, factor = start.copy(), 1.0
            if term < COEFFICIENT:
                state[term] += sign * change
            else:
                factor = math.exp(sign * change)
            ends.append(_impact(state, flight.coefficient_kgpm2 * factor))
        columns.append((ends[0] - ends[1]) / (2.0 * change))
    flow = np.array([[column @ east for column in columns], [column @ north for column in columns]])
    whole = known.whole if len(known.whole) == COEFFICIENT + 1 else fallen(known.noise)
    return np.asarray(flow @ whole @ flow.T)


def _impact(state: Floats, coefficient_kgpm2: float) -> Floats:
    """Return where a falling body meets the ground."""

    def ground(_time_s: float, state: Floats) -> float:
        return truth.height(state[:3])

    ground.terminal, ground.direction = True, -1.0  # type: ignore[attr-defined]
    found = solve_ivp(
        lambda _time_s, state: np.concatenate([state[3:], truth.fall(state, coefficient_kgpm2)]),
        (0.0, 7_200.0), state, method="DOP853", rtol=1e-9, atol=1e-4, events=ground,
    )  # fmt: skip
    return np.asarray(found.y[:3, -1])


def _before(*, burning: bool) -> Floats:
    """Return what is known before the first look: nothing of the place, the speed and the push within their bounds."""
    falling = np.diag([1e12] * 3 + [SPEED_SIGMA_MPS**2] * 3)
    if not burning:
        return fallen(falling)
    whole = np.zeros((9, 9))
    whole[:6, :6] = falling
    whole[6:, 6:] = PUSH_SIGMA_MPS2**2 * np.eye(3)
    return whole


def _burning(step_s: float) -> tuple[Floats, Floats]:
    """Return flow and spread of three integrations of white jerk."""
    flow, spread = np.eye(9), np.zeros((9, 9))
    unit, s = np.eye(3), step_s
    flow[:3, 3:6] = flow[3:6, 6:] = s * unit
    flow[:3, 6:] = 0.5 * s * s * unit
    powers = [[s**5 / 20.0, s**4 / 8.0, s**3 / 6.0], [s**4 / 8.0, s**3 / 3.0, s**2 / 2.0], [s**3 / 6.0, s**2 / 2.0, s]]
    for row in range(3):
        for column in range(3):
            spread[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = JERK_DENSITY * powers[row][column] * unit
    return flow, spread
