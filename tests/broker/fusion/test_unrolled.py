"""What is written out is what the matrices say; numpy and scipy are the oracles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.linalg import block_diag

from broker.fusion import kernel, models, unrolled
from broker.fusion.unrolled import LINK, SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

CHANCE = np.random.default_rng(1)
MODELS = {9: (1, 10, 0), 6: (55, 61, 27)}  # where the state, the covariance and what follows from a bias stand


def test_each_matrix_has_its_place_and_no_two_share_one() -> None:
    for size in (3, 6, 9):
        places = [unrolled.triangle(size, row, column) for row in range(size) for column in range(row, size)]
        assert places == list(range(size * (size + 1) // 2))
        assert unrolled.triangle(size, 2, 0) == unrolled.triangle(size, 0, 2)


def covariance(terms: int, scale: float = 30.0) -> Numbers:
    root = CHANCE.normal(0.0, scale, (terms, terms))
    return np.asarray(root @ root.T)


def some(count: int) -> list[float]:
    """Return the numbers of an estimate with so many biases."""
    numbers: list[float] = [0.3]
    for terms in MODELS:
        noise = covariance(terms)
        numbers += CHANCE.normal(0.0, 100.0, terms).tolist()
        numbers += [float(noise[row, column]) for row in range(terms) for column in range(row, terms)]
    numbers += CHANCE.normal(0.0, 5.0, LINK * count).tolist()
    return numbers


def state_of(s: list[float], terms: int) -> Numbers:
    first = MODELS[terms][0]
    return np.array(s[first : first + terms])


def noise_of(s: list[float], terms: int) -> Numbers:
    first = MODELS[terms][1]
    return np.array([[s[first + unrolled.triangle(terms, a, b)] for b in range(terms)] for a in range(terms)])


def link_of(s: list[float], terms: int, index: int) -> Numbers:
    first = SIZE + LINK * index + MODELS[terms][2]
    return np.array(s[first : first + 3 * terms]).reshape(terms, 3)


def mixture(weight: float, one: Numbers, p: Numbers, two: Numbers, q: Numbers) -> tuple[Numbers, Numbers]:
    away = one - two
    return weight * one + (1 - weight) * two, weight * p + (1 - weight) * q + weight * (1 - weight) * np.outer(
        away, away
    )


def close(found: Numbers, expected: Numbers) -> bool:
    return np.allclose(found, expected, rtol=1e-9, atol=1e-9 * float(np.abs(expected).max()))


def test_a_blend_is_the_mixture_of_both_models_and_of_what_depends_on_biases() -> None:
    before = some(2)
    s = list(before)
    unrolled.blend(s, 0.8, 0.1, 400.0)
    unrolled.blend_links(s, 2, 0.8, 0.1)
    burning, falling = state_of(before, 9), state_of(before, 6)
    padded = np.concatenate([falling, np.zeros(3)])
    mean, noise = mixture(0.8, burning, noise_of(before, 9), padded, block_diag(noise_of(before, 6), 400.0 * np.eye(3)))
    assert close(state_of(s, 9), mean)
    assert close(noise_of(s, 9), noise)
    mean, noise = mixture(0.1, burning[:6], noise_of(before, 9)[:6, :6], falling, noise_of(before, 6))
    assert close(state_of(s, 6), mean)
    assert close(noise_of(s, 6), noise)
    for index in range(2):
        one, two = link_of(before, 9, index), link_of(before, 6, index)
        assert close(link_of(s, 9, index), 0.8 * one + 0.2 * np.vstack([two, np.zeros((3, 3))]))
        assert close(link_of(s, 6, index), 0.1 * one[:6] + 0.9 * two)


def test_what_is_said_of_both_models_together_is_their_mixture() -> None:
    s, out = some(0), [0.0] * kernel.MERGED_SIZE
    unrolled.merged(s, out)
    mean, noise = mixture(0.3, state_of(s, 9)[:6], noise_of(s, 9)[:6, :6], state_of(s, 6), noise_of(s, 6))
    assert close(np.array(out[:6]), mean)
    assert close(np.array(out[6:]), noise[np.triu_indices(6)])


def test_a_motor_that_hardly_burns_is_left_out_of_what_is_said() -> None:
    s, out = some(0), [0.0] * kernel.MERGED_SIZE
    s[0] = 0.9 * unrolled.NEGLIGIBLE
    unrolled.merged(s, out)
    assert close(np.array(out[:6]), state_of(s, 6))
    assert close(np.array(out[6:]), noise_of(s, 6)[np.triu_indices(6)])


def test_noise_along_the_flight_widens_that_direction_alone() -> None:
    before = some(0)
    s, along = list(before), np.array([0.6, 0.0, -0.8])
    unrolled.spread_along(s, float(along[0]), float(along[1]), float(along[2]), 7.0, 5.0, 3.0)
    white = np.kron(np.array([[7.0, 5.0], [5.0, 3.0]]), np.outer(along, along))
    assert close(noise_of(s, 6), noise_of(before, 6) + white)


def test_covariances_and_what_depends_on_biases_go_along_the_flow() -> None:
    before, step_s, jerk = some(2), 0.7, 3.0
    s = list(before)
    flow = CHANCE.normal(0.0, 1.0, (6, 6))
    third = np.diag(np.ones(6), 3)
    burning_flow = np.eye(9) + step_s * third + 0.5 * step_s**2 * third @ third
    unrolled.spread_burning(s, step_s, jerk)
    unrolled.spread_falling(s, tuple(flow.ravel().tolist()), 7.0, 5.0, 3.0)
    unrolled.flow_links(s, 2, step_s, tuple(flow.ravel().tolist()))
    t = step_s
    white = jerk * np.array([[t**4 / 20, t**3 / 8, t**2 / 6], [t**3 / 8, t**2 / 3, t / 2], [t**2 / 6, t / 2, 1.0]])
    assert close(noise_of(s, 9), burning_flow @ noise_of(before, 9) @ burning_flow.T + np.kron(white, np.eye(3)))
    white = np.array([[7.0, 5.0], [5.0, 3.0]])
    assert close(noise_of(s, 6), flow @ noise_of(before, 6) @ flow.T + np.kron(white, np.eye(3)))
    for index in range(2):
        assert close(link_of(s, 9, index), burning_flow @ link_of(before, 9, index))
        assert close(link_of(s, 6, index), flow @ link_of(before, 6, index))


TAKERS = {
    (9, 3, False): unrolled.burning_3,
    (9, 6, False): unrolled.burning_6,
    (9, 3, True): unrolled.burning_own,
    (6, 3, False): unrolled.falling_3,
    (6, 6, False): unrolled.falling_6,
    (6, 3, True): unrolled.falling_own,
}


@pytest.mark.parametrize(("terms", "size", "own"), TAKERS)
def test_a_report_is_taken_as_schmidt_and_kalman_say(terms: int, size: int, *, own: bool) -> None:
    # The state with all three biases as one larger state: the biases are considered and never estimated.
    before = some(3)
    others, variance, weight = 2, 90.0, 1.5
    s, noise = list(before), covariance(size)
    measured = CHANCE.normal(0.0, 100.0, size)
    z = measured.tolist() + noise[np.triu_indices(size)].tolist()
    distance, determinant = TAKERS[terms, size, own](s, others, z, weight, variance if own else 0.0)
    x, p = state_of(before, terms), noise_of(before, terms)
    seen, link = np.eye(size, terms), link_of(before, terms, others) if own else np.zeros((terms, 3))
    bias = np.eye(size, 3) if own else np.zeros((size, 3))
    column = p @ seen.T + link @ bias.T
    spread = seen @ column + bias @ link.T @ seen.T + variance * bias @ bias.T + weight * noise
    gain = column @ np.linalg.inv(spread)
    miss = measured - x[:size]
    assert distance == pytest.approx(miss @ np.linalg.solve(spread, miss), rel=1e-9)
    assert determinant == pytest.approx(np.linalg.det(spread), rel=1e-9)
    assert close(state_of(s, terms), x + gain @ miss)
    assert close(noise_of(s, terms), p - gain @ column.T)
    for index in range(others):
        part = link_of(before, terms, index)
        assert close(link_of(s, terms, index), part - gain @ seen @ part)
    if own:
        assert close(link_of(s, terms, others), link - gain @ (seen @ link + variance * bias))
    else:
        assert close(link_of(s, terms, others), link_of(before, terms, others))


def test_what_nobody_can_explain_leaves_every_number_as_it_was() -> None:
    before = some(1)
    s = list(before)
    z = [1e7, 1e7, 1e7, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    assert not kernel.taken(s, list(before), z, 1, 0.0, True)
    assert s == before


def test_the_falling_models_flow_is_the_gradient_of_its_motion() -> None:
    state = (-3.1e6, 3.9e6, 4.3e6, 900.0, 2500.0, 3000.0)
    flow = np.array(models.falling_flow(state, 0.5, 1.0)[0]).reshape(6, 6)
    for column, reach in enumerate((10.0,) * 3 + (0.1,) * 3):
        ends = []
        for sign in (1.0, -1.0):
            moved = list(state)
            moved[column] += sign * reach
            ends.append(np.array(models.falling_moved(tuple(moved), 0.5)))
        assert np.allclose((ends[0] - ends[1]) / (2.0 * reach), flow[:, column], atol=2e-6)
