"""Small versions of `make bench BENCH="fusion accuracy"`: enough to see a loss, on seeds that nothing was tuned on."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from broker import geodesy
from broker.fusion import estimate, impact
from tests import truth
from tests.bench.fusion import accuracy

SEEDS = range(2_002, 2_032, 5)  # one ballistic coefficient, the middle one
TRACK = ("KOR", b"event", b"object")


@cache
def lofted() -> tuple[list[list[accuracy.Step]], list[accuracy.Area]]:
    """Return some lofted flights, followed."""
    found = [accuracy.followed("lofted", "fine", seed, (30, 100)) for seed in SEEDS]
    return [steps for steps, _ in found], [area for _, areas in found for area in areas]


@pytest.mark.parametrize(("from_s", "most"), [(5.0, 1.7), (10.0, 1.35), (60.0, 1.25)])
def test_a_fall_is_known_nearly_as_well_as_anything_could_know_it(from_s: float, most: float) -> None:
    runs, _ = lofted()
    until_s = {5.0: 10.0, 10.0: 60.0, 60.0: 120.0}[from_s]
    for what in ("position", "velocity"):
        value, _, _ = accuracy.ratio(runs, what, from_s, until_s)
        assert 0.7 < value < most, what


def test_claims_hold_in_every_second_from_burnout_on() -> None:
    runs, _ = lofted()
    nees = accuracy.by_second([[(step.after_s, step.nees) for step in run] for run in runs])
    assert max(value for second, value in nees.items() if second >= 0) < 2.8
    late = [value for second, value in nees.items() if second >= 20]
    assert 0.6 < float(np.mean(late)) < 1.4


def test_the_area_of_impact_holds_the_truth_and_is_little_larger_than_the_bounds() -> None:
    _, areas = lofted()
    assert len(areas) == 2 * len(SEEDS)
    inside = [area.distance is not None and area.distance < accuracy.REACH for area in areas]
    assert sum(inside) >= len(inside) - 2
    sizes = [area.size for area in areas if area.size is not None]
    assert 0.7 < float(np.median(sizes)) < 1.6


def test_claims_drawn_from_the_model_are_as_the_model_says() -> None:
    assert accuracy.matched(range(2_000, 2_012)) > 0.85


@pytest.mark.parametrize(("cell_m", "cell_s"), [(10e3, 0.0), (10e3, 10.0), (50e3, 60.0)])
def test_what_is_shown_in_cells_claims_no_more_than_it_knows(cell_m: float, cell_s: float) -> None:
    runs = accuracy.coarse_nees(cell_m, cell_s, [2_000, 2_001])
    assert max(accuracy.by_second(runs).values()) < 2.5


def test_a_speed_is_not_known_by_air_at_a_height_that_is_not() -> None:
    flight = truth.fly(truth.MISSILES["short"])
    look = truth.look(truth.FIXES["fine"], flight, truth.chance(1), from_s=30.0, until_s=30.0)[0]
    report = truth.report_of(truth.coarse(look.content("event"), 50e3, 60.0))
    one = estimate.start(report, TRACK)
    after = estimate.advance(one, one.time_ns + 60 * 10**9)
    assert estimate.velocity_variance(after) > 0.9 * estimate.velocity_variance(one)


def test_a_rough_sensor_gives_no_impact_while_the_motor_burns() -> None:
    flight = truth.fly(truth.MISSILES["intermediate"])
    for seed in range(2_000, 2_003):
        seen = truth.look(truth.FIXES["rough"], flight, truth.chance(seed), from_s=30.0, until_s=flight.burnout_s - 0.1)
        for look, one in accuracy.fold(seen):
            assert impact.predict(one) is None, look.time_s


def test_a_motor_that_starts_again_widens_what_is_claimed() -> None:
    flight = truth.fly(truth.MISSILES["lofted"])
    until_s = flight.burnout_s + 60.0
    seen = truth.look(truth.FIXES["fine"], flight, truth.chance(7), from_s=flight.burnout_s + 5.0, until_s=until_s)
    one = [after for _, after in accuracy.fold(seen)][-1]
    quiet = estimate.velocity_variance(one)
    up = np.array(geodesy.enu_axes(40.0, 128.0)[2])
    widest = 0.0
    for second in range(1, 25):
        state = flight.at(until_s + second)
        state[:3] += 0.5 * 15.0 * second**2 * up
        look = truth.Look("KOR", until_s + second, tuple(state[:3].tolist()), seen[-1].noise)
        one = estimate.absorb(one, look.report(), TRACK, common=False)
        _, noise = estimate.merged(one)
        widest = max(widest, noise[3][3] + noise[4][4] + noise[5][5])
    assert one.burning_probability > impact.BURNING_MOST
    assert widest > 25.0 * quiet
    assert impact.predict(one) is None
