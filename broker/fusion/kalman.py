"""The linear algebra beside the estimate, in scalar steps of a fixed order: no library is asked.

Libraries change the last bits with the number of objects in a call and with the processor; these sums do not. Matrices
are tuples of rows. What the estimate itself does is in `unrolled`, written out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Matrix", "State", "distance_squared"]

State: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[tuple[float, ...], ...]


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
