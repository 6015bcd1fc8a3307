from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
import z3

from broker.content import LEAVES
from broker.gateway.proof.model import Model, spaces_of
from broker.gateway.proof.solver import Budget, Formula, Solver, Undecided, conj, disj, neg, variable
from broker.gateway.proof.terms import number_choice
from broker.gateway.proof.witness import Disagreement, confirmed, message_of
from broker.gateway.release.decide import decide
from tests.broker.gateway.proof.drawn import KOR, edited, seeded

if TYPE_CHECKING:
    from collections.abc import Iterator


def _pigeons(count: int) -> Formula:
    """Return that so many pigeons have a hole each, of one hole too few: hard to see for whoever tries them out."""
    holes = range(count - 1)
    sits = {(pigeon, hole): variable(f"{pigeon} in {hole}") for pigeon in range(count) for hole in holes}
    housed = [disj(sits[pigeon, hole] for hole in holes) for pigeon in range(count)]
    alone = [
        neg(conj((sits[one, hole], sits[other, hole])))
        for hole in holes
        for one, other in itertools.combinations(range(count), 2)
    ]
    return conj((*housed, *alone))


def test_nothing_makes_a_contradiction_true_and_an_example_makes_the_rest_true() -> None:
    one, other = variable("one"), variable("other")
    solver = Solver([disj((one, other))], Budget())
    assert solver.example(conj((neg(one), neg(other)))) is None
    example = solver.example(neg(one))
    assert example is not None
    assert (example.holds(one), example.holds(other)) == (False, True)


def test_what_takes_too_long_is_undecided_and_not_impossible() -> None:
    assert Solver([], Budget()).example(_pigeons(4)) is None
    many = _pigeons(16)
    with pytest.raises(Undecided, match="the solver says"):
        Solver([], Budget(0.2)).example(many)
    with pytest.raises(Undecided, match="the time for the whole proof is over"):
        Solver([], Budget(0.0)).example(many)


def test_an_example_is_as_people_expect_where_it_can_be() -> None:
    one, other = variable("one"), variable("other")
    usual = (conj((one, other)), one, neg(other))
    example = Solver([], Budget(), usual).example(disj((neg(one), neg(other))))
    assert example is not None
    assert (example.holds(one), example.holds(other)) == (True, False)  # the first is impossible, the others are not


def test_what_failed_on_the_way_narrows_no_later_question() -> None:
    """It runs out of memory, say, while a likely example is looked for; the solver goes on being asked."""
    one, other = variable("one"), variable("other")

    def likely() -> Iterator[Formula]:
        yield neg(one)
        raise z3.Z3Exception("out of memory")

    solver = Solver([], Budget())
    with pytest.raises(Undecided, match="out of memory"):
        solver.example(disj((one, other)), likely())
    assert solver.example(conj((neg(one), neg(other)))) is not None


def test_between_any_two_numbers_that_are_not_neighbours_there_is_a_class() -> None:
    field = LEAVES["launch.confidence"].fields[-1]
    rng = seeded(1)
    tiny = [5e-324 * count for count in range(40)]
    for before in (*tiny, *(rng.random() for _ in range(500))):
        after = math.nextafter(math.nextafter(before, 1.0), 1.0)
        values = number_choice("x", field, (before, after), default=True).values
        assert math.nextafter(before, 1.0) in values
        neighbours = number_choice("x", field, (before, math.nextafter(before, 1.0)), default=True).values
        assert not [each for each in neighbours if before < float(each) < math.nextafter(before, 1.0)]


@pytest.mark.parametrize(
    "edit",
    [
        ("track_place: 1km\n    motion: 1km", "track_place: 10km\n    motion: 1km"),
        ("  minimum_interval_s: 8\n  reason: enough", "  minimum_interval_s: 9\n  reason: enough"),
        ("  to: [JPN]\n  when: '\"ORCON\" in label.caveats'", "  to: [JPN]\n  when: 'true'"),
    ],
)
def test_where_model_and_engine_differ_no_example_is_believed(edit: tuple[str, str]) -> None:
    model = Model(KOR, spaces_of([KOR]))
    case = model.case("JPN", "track")
    example = Solver(case.space.domain, Budget()).example(case.is_released)
    assert example is not None
    subject = message_of(case.space, example)
    assert confirmed(case, example, subject).decision == decide(KOR, subject, "JPN")
    model.policy = edited(edit)  # what the engine now decides by
    with pytest.raises(Disagreement):
        confirmed(case, example, subject)
