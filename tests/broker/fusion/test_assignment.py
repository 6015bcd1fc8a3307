from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from broker.fusion.assignment import assigned


@given(st.data(), st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_no_other_assignment_costs_less(data: st.DataObject, rows: int, more: int) -> None:
    cost = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))
    line = st.lists(cost, min_size=rows + more, max_size=rows + more)
    costs = data.draw(st.lists(line, min_size=rows, max_size=rows))
    found = assigned(costs)
    assert len(set(found)) == rows
    matrix = np.array(costs)
    best = matrix[linear_sum_assignment(matrix)].sum()
    assert sum(costs[row][column] for row, column in enumerate(found)) == pytest.approx(best, abs=1e-6)


def test_forty_by_fifty_as_scipy_has_it() -> None:
    for seed in range(5):
        matrix = np.random.default_rng(seed).normal(0.0, 100.0, (40, 50))
        assert assigned(matrix.tolist()) == linear_sum_assignment(matrix)[1].tolist()


def test_of_equal_assignments_the_first_columns_are_taken() -> None:
    assert assigned([[1.0] * 4] * 3) == [0, 1, 2]


def test_a_cost_that_stands_for_never_is_only_paid_where_nothing_else_is_left() -> None:
    assert assigned([[1.0, 1e9, 50.0], [1.0, 1e9, 1e9]]) == [2, 0]


def test_nothing_is_assigned_to_nothing() -> None:
    assert assigned([]) == []


@pytest.mark.parametrize("costs", [[[1.0], [2.0]], [[1.0, 2.0], [1.0]], [[math.inf, 1.0]], [[math.nan, 1.0]]])
def test_what_has_no_answer_is_refused(costs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"rows|lengths|finite"):
        assigned(costs)
