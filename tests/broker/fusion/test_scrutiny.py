"""Who contradicts whom: liars, faults, clocks and surveys, at the level of the findings and of the picture."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from broker.fusion.registration import NOTHING_KNOWN, added, inverse, solved
from broker.fusion.reliance import clock_offset, offsets_of
from broker.fusion.scrutiny import Scrutiny, flagged_of
from tests.bench.fusion.deception import LIAR, launch, told_of


def pairs(*named: str) -> list[frozenset[str]]:
    return [frozenset(one) for one in named]


@pytest.mark.parametrize(
    ("origins", "differences", "wrong"),
    [
        ("AB", pairs("AB"), ""),
        ("ABC", pairs("AB"), ""),
        ("ABC", pairs("AB", "AC"), "A"),
        ("ABC", pairs("AB", "AC", "BC"), ""),
        ("ABCD", pairs("AC", "AD", "BC", "BD"), ""),
        ("ABCDE", pairs("AC", "AD", "AE", "BC", "BD", "BE"), "AB"),
        ("ABCDE", pairs("AB", "AC", "AD", "AE", "BC", "BD", "BE"), "AB"),
    ],
)
def test_only_who_stands_against_a_majority_is_called_wrong(
    origins: str, differences: list[frozenset[str]], wrong: str
) -> None:
    assert flagged_of(origins, differences, differences) == frozenset(wrong)


def test_who_may_only_repeat_another_is_no_witness() -> None:
    against_c = pairs("AC", "BC")
    assert flagged_of("ABC", against_c, against_c) == {"C"}
    assert not flagged_of("ABC", against_c, against_c, frozenset("B"))


def test_who_differs_without_contradicting_anybody_is_not_called_wrong() -> None:
    assert not flagged_of("ABC", pairs("AB", "AC"), [])


def test_the_regression_is_that_of_least_squares() -> None:
    """Against numpy, on invented misses."""
    chance = np.random.default_rng(1)
    information, right, sums = np.diag([1 / 300.0**2] * 3 + [1 / 0.5**2]), np.zeros(4), NOTHING_KNOWN
    for _ in range(20):
        velocity, miss = chance.normal(0.0, 2_000.0, 3), chance.normal(0.0, 300.0, 3)
        root = chance.normal(0.0, 200.0, (3, 3))
        noise = root @ root.T + 100.0 * np.eye(3)
        design = np.hstack([np.eye(3), -velocity[:, None]])
        weight = np.linalg.inv(noise)
        information += design.T @ weight @ design
        right += design.T @ weight @ miss
        terms = tuple(noise[np.triu_indices(3)].tolist())
        sums = added(sums, tuple(miss.tolist()), terms, tuple(velocity.tolist()))
        assert inverse(terms) == pytest.approx(np.linalg.inv(noise)[np.triu_indices(3)].tolist())
    found, expected = solved(sums), np.linalg.solve(information, right)
    spread = np.linalg.inv(information)
    assert [*found.position_m, found.clock_s] == pytest.approx(expected.tolist(), rel=1e-6)
    assert found.position_m2 == pytest.approx(spread[:3, :3][np.triu_indices(3)].tolist(), rel=1e-6)
    assert [*found.position_clock_ms, found.clock_s2] == pytest.approx(spread[3].tolist(), rel=1e-6)


def test_a_jump_and_a_drift_are_flagged_in_time_and_nobody_else() -> None:
    for lie, most_s in ((lambda _: 3_000.0, 15.0), (lambda since_s: 30.0 * since_s, 50.0)):
        for seed in (1, 2):
            flagged_s = None
            for time_s, found in launch(
                seed,
                until_s=150.0,
                lie=lambda at_s, _: (0.0, lie(at_s - 95.0) * (at_s >= 95.0), 0.0),  # noqa: B023
            ):
                assert found.flagged <= {LIAR}
                if found.flagged and flagged_s is None:
                    flagged_s = time_s
            assert flagged_s is not None
            assert 95.0 < flagged_s <= 95.0 + most_s


def test_honest_nations_are_not_flagged() -> None:
    for seed in range(10, 16):
        for _, found in launch(seed):
            assert not found.flagged


def test_a_clock_that_is_half_a_second_off_is_a_clock_and_no_lie() -> None:
    for seed in (3, 4, 5):
        for _, found in launch(seed, until_s=180.0, clock_s=0.5):
            assert not found.flagged
        clock_s, sigma_s = clock_offset(offsets_of(found, LIAR))
        assert abs(clock_s - 0.5) < 3.0 * sigma_s
        assert sigma_s < 0.15


def test_findings_do_not_depend_on_the_order_of_arrival() -> None:
    entries = told_of(7, until_s=120.0, lie=lambda at_s, _: (3_000.0 * (at_s > 90.0), 0.0, 0.0))
    expected = Scrutiny()
    expected.change(added=entries, removed=())
    assert expected.findings.flagged == {LIAR}
    shuffled = list(entries)
    random.Random(1).shuffle(shuffled)  # noqa: S311 - an order
    other = Scrutiny()
    for index, entry in enumerate(shuffled):
        other.change(added=[entry], removed=())
        if index % 40 == 0:
            assert other.findings is not None  # asked for now and then, as a picture does
    assert other.findings == expected.findings
    for entry in entries[::3]:
        other.change(added=(), removed=[entry.key])
    assert other.findings != expected.findings
    other.change(added=entries[::3], removed=())
    assert other.findings == expected.findings


def test_a_flood_of_reports_is_not_followed_faster_than_once_a_second() -> None:
    entries = [one for one in told_of(8, until_s=100.0) if one.key[1] != LIAR]
    calm, flooded = Scrutiny(), Scrutiny()
    calm.change(added=entries, removed=())
    flooded.change(added=entries, removed=())
    for entry in entries:
        if entry.key[1] == "KOR":
            for number in range(1, 20):
                key = (entry.key[0], "KOR", 0, 1, number, bytes([number]) + entry.key[5])
                flooded.change(added=[replace(entry, key=key)], removed=())
    assert len(flooded.entries) > 5 * len(calm.entries)
    assert flooded.findings == calm.findings
