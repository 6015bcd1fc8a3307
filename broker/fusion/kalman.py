"""The linear algebra of the estimate, in scalar steps of a fixed order: no library is asked.

Libraries change the last bits with the number of objects in a call and with the processor; these sums do not. Matrices
are tuples of rows. Corrections go through a Cholesky factor and never through an inverse. What an exact report takes is
in `unrolled`, written out; here is the general form, and what coarse reports take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from broker.fusion import unrolled

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Corrected",
    "Links",
    "Matrix",
    "State",
    "corrected",
    "distance_squared",
]

State: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Links:
    """How a model depends on the biases of other tracks, and on the one of the track that reports (last)."""

    others: list[Matrix]
    own: Matrix | None
    variance: float


@dataclass(frozen=True, slots=True)
class Corrected:
    """One model after a report."""

    state: State
    noise: Matrix
    links: list[Matrix]
    distance: float
    log_likelihood: float


def corrected(
    state: State, noise: Matrix, measured: Sequence[float], measured_noise: Matrix, links: Links, *, common: bool
) -> Corrected:
    """Return one model after a measurement of its first three or six terms (Cholesky, no inverse)."""
    size, terms = len(measured), len(state)
    if common:
        noise, measured_noise = _intersected(noise, measured_noise)
    if links.own is None:
        after, noise, triangle, found, distance, log_det = unrolled.CORRECTED[terms, size](
            state, noise, measured, measured_noise
        )
        relinked = _relinked(links, triangle, found, terms)
        return Corrected(after, noise, relinked, distance, -0.5 * (distance + log_det))
    # Column by column: how each term of the state goes with each term measured.
    columns = [list(noise[k]) for k in range(size)]
    spread = [[p + r for p, r in zip(noise[k], measured_noise[k], strict=False)] for k in range(size)]
    for k in range(3):
        columns[k] = [a + row[k] for a, row in zip(columns[k], links.own, strict=True)]
        for j in range(3):
            spread[k][j] += links.own[k][j] + links.own[j][k]
        spread[k][k] += links.variance
    lower, log_det = _cholesky(spread)
    distance = 0.0
    whitened: list[float] = []
    gains: list[list[float]] = []
    for k in range(size):
        row = lower[k]
        miss, column = measured[k] - state[k], columns[k]
        for j in range(k):
            factor = row[j]
            miss -= factor * whitened[j]
            column = [a - factor * b for a, b in zip(column, gains[j], strict=True)]
        inverse = 1.0 / row[k]
        miss *= inverse
        whitened.append(miss)
        gains.append([a * inverse for a in column])
        distance += miss * miss
    moved = list(state)
    for miss, gain in zip(whitened, gains, strict=True):
        moved = [a + miss * b for a, b in zip(moved, gain, strict=True)]
    return Corrected(
        tuple(moved),
        _reduced(noise, gains, terms),
        _relinked(links, lower, gains, terms),
        distance,
        -0.5 * (distance + log_det),
    )


def distance_squared(miss: Sequence[float], spread: list[list[float]]) -> tuple[float, float]:
    """Return the squared distance normalised by a covariance, and the logarithm of its determinant."""
    lower, log_det = _cholesky(spread)
    distance = 0.0
    whitened: list[float] = []
    for k, row in enumerate(lower):
        rest = miss[k]
        for j in range(k):
            rest -= row[j] * whitened[j]
        whitened.append(rest / row[k])
        distance += whitened[-1] * whitened[-1]
    return distance, log_det


def _reduced(noise: Matrix, gains: list[list[float]], terms: int) -> Matrix:
    """Return the covariance less what the measurement explained."""
    if len(gains) == 3:  # noqa: PLR2004 - a position
        g0, g1, g2 = gains
        return tuple(
            [
                tuple([p - a * x - b * y - c * z for p, x, y, z in zip(noise[k], g0, g1, g2, strict=True)])
                for k, a, b, c in zip(range(terms), g0, g1, g2, strict=True)
            ]
        )
    g0, g1, g2, g3, g4, g5 = gains
    return tuple(
        [
            tuple(
                [
                    p - a * x - b * y - c * z - d * u - e * v - f * w
                    for p, x, y, z, u, v, w in zip(noise[k], g0, g1, g2, g3, g4, g5, strict=True)
                ]
            )
            for k, a, b, c, d, e, f in zip(range(terms), g0, g1, g2, g3, g4, g5, strict=True)
        ]
    )


def _relinked(
    links: Links, lower: Sequence[Sequence[float]], gains: Sequence[Sequence[float]], terms: int
) -> list[Matrix]:
    """Return how the corrected model depends on the biases: others first, the reporting track's own last."""
    size = len(gains)
    other = unrolled.RELINKED[terms, size, False]
    after = [other(link, lower, gains, links.variance) for link in links.others]
    if links.own is not None:
        after.append(unrolled.RELINKED[terms, size, True](links.own, lower, gains, links.variance))
    return after


def _intersected(noise: Matrix, measured_noise: Matrix) -> tuple[Matrix, Matrix]:
    """Weigh both so that nothing is counted twice, whatever they have in common (fast covariance intersection)."""
    own = noise[0][0] + noise[1][1] + noise[2][2]
    other = measured_noise[0][0] + measured_noise[1][1] + measured_noise[2][2]
    weight = min(max(other / (own + other), 0.05), 0.999)
    one, two = 1.0 / weight, 1.0 / (1.0 - weight)
    return (
        tuple([tuple([one * a for a in row]) for row in noise]),
        tuple([tuple([two * a for a in row]) for row in measured_noise]),
    )


def _cholesky(matrix: list[list[float]]) -> tuple[list[list[float]], float]:
    """Return the lower factor and the logarithm of the determinant. A pivot that rounding has eaten is made 1 m2."""
    lower: list[list[float]] = []
    log_det = 0.0
    for row in range(len(matrix)):
        line: list[float] = []
        for column in range(row):
            rest, above = matrix[row][column], lower[column]
            for k in range(column):
                rest -= line[k] * above[k]
            line.append(rest / above[column])
        pivot = matrix[row][row]
        for term in line:
            pivot -= term * term
        if pivot <= 0.0:
            pivot = 1.0
        log_det += math.log(pivot)
        line.append(math.sqrt(pivot))
        lower.append(line)
    return lower, log_det
