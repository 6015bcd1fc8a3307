"""Which rows go with which columns so that the sum of costs is least: rectangular linear assignment.

Shortest augmenting paths with dual prices (Jonker and Volgenant 1987, in the rectangular form of Crouse 2016): one row
after the other finds the cheapest way to a free column, by moving those that sit in its way. Additions and comparisons
of floats in a fixed order, and of equal ways the one whose column comes first: the answer is a function of the matrix
alone, on every processor. Time is of the order of rows² x columns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["assigned"]

FREE: Final = -1


def assigned(costs: Sequence[Sequence[float]]) -> list[int]:
    """Return the column of each row, no column twice, with the least sum of costs. At most as many rows as columns.

    Costs are finite. Raises ValueError for a matrix that is ragged, has more rows than columns, or an infinite cost.
    """
    width = len(costs[0]) if costs else 0
    if len(costs) > width:
        raise ValueError("more rows than columns")
    if any(len(row) != width for row in costs):
        raise ValueError("rows of different lengths")
    if not all(math.isfinite(cost) for row in costs for cost in row):
        raise ValueError("a cost that is not finite")
    row_prices, column_prices = [0.0] * len(costs), [0.0] * width
    row_of = [FREE] * width
    for row in range(len(costs)):
        _seat(row, costs, row_prices, column_prices, row_of)
    found = [FREE] * len(costs)
    for column, row in enumerate(row_of):
        if row != FREE:
            found[row] = column
    return found


def _seat(
    row: int,
    costs: Sequence[Sequence[float]],
    row_prices: list[float],
    column_prices: list[float],
    row_of: list[int],
) -> None:
    """Find a column for one more row, along the cheapest way through those that have one."""
    width = len(column_prices)
    distances = [math.inf] * width  # of the cheapest way to each column that is known so far
    came_from = [FREE] * width  # the row by which that way comes
    reached: list[int] = []
    left = list(range(width))
    current, so_far = row, 0.0
    while True:
        base = so_far - row_prices[current]
        line = costs[current]
        for column in left:
            distance = base + line[column] - column_prices[column]
            if distance < distances[column]:
                distances[column], came_from[column] = distance, current
        nearest = min(left, key=distances.__getitem__)
        so_far = distances[nearest]
        if row_of[nearest] == FREE:
            break
        left.remove(nearest)
        reached.append(nearest)
        current = row_of[nearest]
    row_prices[row] += so_far
    for column in reached:
        row_prices[row_of[column]] += so_far - distances[column]
        column_prices[column] -= so_far - distances[column]
    # Everybody along the way moves on by one seat.
    columns = {row_of[column]: column for column in reached}
    while True:
        mover = came_from[nearest]
        row_of[nearest] = mover
        if mover == row:
            return
        nearest = columns[mover]
