"""What is written out gives the bits of the loops that it stands for."""

from __future__ import annotations

import math
import random
from functools import reduce
from itertools import product
from operator import add
from typing import TYPE_CHECKING

import pytest

from broker.fusion import kalman, models, unrolled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.fusion.kalman import Matrix

CHANCE = random.Random(1)  # noqa: S311 - a test's numbers
BOTH = (unrolled.BURNING, unrolled.FALLING)


def matrix(rows: int, columns: int) -> Matrix:
    return tuple(tuple(CHANCE.gauss(0.0, 10.0) for _ in range(columns)) for _ in range(rows))


def covariance(terms: int) -> Matrix:
    """Return a covariance that is not quite symmetric, as rounding makes them."""
    root = matrix(terms, terms)
    return tuple(
        tuple(math.fsum(map(math.prod, zip(one, two, strict=True))) * (1.0 + 1e-15 * CHANCE.random()) for two in root)
        for one in root
    )


def total(terms: Iterable[float]) -> float:
    """Return the terms added from the left: from Python 3.12 on, `sum` does better than that."""
    return reduce(add, terms, 0.0)


def product_of(one: Matrix, two: Matrix) -> Matrix:
    return tuple(
        tuple(total(a * b for a, b in zip(row, column, strict=True)) for column in zip(*two, strict=True))
        for row in one
    )


def turned(one: Matrix) -> Matrix:
    return tuple(zip(*one, strict=True))


@pytest.mark.parametrize(("terms", "size"), list(product(BOTH, (3, 6))))
def test_an_exact_report_is_taken_as_a_coarse_one_without_a_bias_would_be(terms: int, size: int) -> None:
    for _ in range(50):
        state, measured = matrix(2, terms)
        noise, measured_noise = covariance(terms), covariance(size)
        links = [matrix(terms, 3)]
        none = ((0.0, 0.0, 0.0),) * terms
        exact, coarse = (
            kalman.corrected(state, noise, measured[:size], measured_noise, kalman.Links(links, own, 0.0), common=False)
            for own in (None, none)
        )
        assert exact == kalman.Corrected(
            coarse.state, coarse.noise, coarse.links[:1], coarse.distance, coarse.log_likelihood
        )


@pytest.mark.parametrize("terms", BOTH)
def test_a_mixture_is_that_of_its_loops(terms: int) -> None:
    weight, (one, two) = 0.3, matrix(2, terms)
    one_noise, two_noise = covariance(terms), covariance(terms)
    rest = 1.0 - weight
    away = [a - b for a, b in zip(one, two, strict=True)]
    expected = tuple(
        tuple(weight * p + rest * q + weight * rest * a * b for p, q, b in zip(row, other, away, strict=True))
        for row, other, a in zip(one_noise, two_noise, away, strict=True)
    )
    mean = tuple(weight * a + rest * b for a, b in zip(one, two, strict=True))
    assert unrolled.mixture_of(weight, one, one_noise, two, two_noise) == (mean, expected)


@pytest.mark.parametrize("terms", BOTH)
def test_what_follows_from_a_bias_moves_on_as_in_its_loops(terms: int) -> None:
    flow, one, two = matrix(terms, terms), matrix(terms, 3), matrix(terms, 3)
    assert unrolled.TIMES[terms](flow, one) == product_of(flow, one)
    assert unrolled.WEIGHED[terms](0.3, one, two) == tuple(
        tuple(0.3 * a + (1.0 - 0.3) * b for a, b in zip(*rows, strict=True)) for rows in zip(one, two, strict=True)
    )


def test_the_falling_models_covariance_goes_along_its_flow() -> None:
    flow, noise = matrix(6, 6), covariance(6)
    moved = product_of(product_of(flow, noise), turned(flow))
    assert unrolled.falling_spread(flow, noise, 0.0, 0.0, 0.0) == moved
    white = models.falling_spread(flow, noise, 2.0, 3.0)
    for row, column in product(range(6), repeat=2):
        at = (row % 3 == column % 3, row // 3 + column // 3)
        extra = {(True, 0): 18.0, (True, 1): 9.0, (True, 2): 6.0}.get(at, 0.0)
        assert white[row][column] == moved[row][column] + extra


def test_the_burning_models_covariance_goes_along_its_flow() -> None:
    noise, step_s = covariance(9), 0.7
    flow = models.burning_flow(step_s)
    moved = product_of(product_of(flow, noise), turned(flow))
    found = models.burning_spread(noise, step_s)
    jerk = models.JERK_DENSITY * step_s
    powers = [jerk * step_s**power / divisor for power, divisor in ((4, 20.0), (3, 8.0), (2, 6.0))]
    assert [found[0][column] - moved[0][column] for column in (0, 3, 6)] == pytest.approx(powers, abs=1e-9)
    assert found[6][6] - moved[6][6] == pytest.approx(jerk)
