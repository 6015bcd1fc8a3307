from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.fusion.contribution import Report, contribution_of
from broker.fusion.history import KEPT_NEWEST, Entry, History


def entries(world: Any, count: int) -> list[Entry]:
    """Return the reports of one flight by two nations, in fold order."""
    flight = world.fly()
    arrivals = world.nation("KOR").radar(flight, "k", seed=1, first_s=60.0, last_s=60.0 + count / 2)
    arrivals += world.nation("JPN").radar(flight, "j", seed=1, first_s=60.3, last_s=60.3 + count / 2, sigma_mps=50.0)
    found = []
    for _, content in arrivals:
        one = contribution_of(content, epoch=0, lane=0, sequence=0)
        assert one is not None
        assert isinstance(one.body, Report)
        found.append(Entry(one.key, one.track_key, one.body, common=False))
    return sorted(found, key=lambda entry: entry.key)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_coming_and_going_leaves_no_trace(world: Any, data: st.DataObject) -> None:
    every = entries(world, 24)
    in_order = History(every)
    moved = History()
    for entry in data.draw(st.permutations(every)):
        moved.change(added=[entry], removed=[])
    gone = data.draw(st.sets(st.sampled_from(range(len(every))), max_size=6))
    moved.change(added=[], removed=[every[index].key for index in gone])
    moved.change(added=[every[index] for index in gone], removed=[])
    assert moved.newest == in_order.newest
    assert moved.entries == every


def test_a_late_report_deep_in_a_long_history_is_folded_exactly(world: Any) -> None:
    every = entries(world, 2 * KEPT_NEWEST + 60)
    late = every.pop(40)
    history = History(every)
    history.change(added=[late], removed=[])
    assert history.newest == History([*every, late]).newest


def test_a_late_report_that_teaches_nothing_leaves_what_follows_it_as_it_is(world: Any) -> None:
    every = entries(world, 2 * KEPT_NEWEST)
    late = every[2 * KEPT_NEWEST - 30]
    coarse = replace(
        late.report, bias_m=10_000.0, space_m=10_000.0, noise=((4e8, 0.0, 0.0), (0.0, 4e8, 0.0), (0.0, 0.0, 4e8))
    )
    key = (late.key[0] + 1, "USA", *late.key[2:])
    entry = Entry(key, ("USA", b"event", b"object"), coarse, common=False)
    history = History(every)
    before = history.newest
    history.change(added=[entry], removed=[])
    assert history.newest is before
    assert history.entries == sorted([*every, entry], key=lambda one: one.key)
    assert [taken for _, taken in history.recent(40)] == [True] * 40
    anew = History([*every, entry])
    history.change(added=[], removed=[late.key])
    anew.change(added=[], removed=[late.key])
    assert history.newest == anew.newest


def test_few_estimates_are_kept(world: Any) -> None:
    every = entries(world, 2 * KEPT_NEWEST)
    history = History(every)
    kept = sum(1 for state in history._estimates if state is not None)
    assert kept <= KEPT_NEWEST + len(every) // 32 + 2
    assert history.newest == History(every[::-1]).newest


def test_what_is_not_there_cannot_be_removed_and_hurts_nobody(world: Any) -> None:
    every = entries(world, 6)
    history = History(every[:4])
    before = history.newest
    history.change(added=[], removed=[every[5].key])
    assert history.newest == before


def test_a_history_that_lost_all_its_reports_has_no_estimate(world: Any) -> None:
    every = entries(world, 4)
    history = History(every)
    history.change(added=[], removed=[entry.key for entry in every])
    assert len(history) == 0
    with pytest.raises(IndexError):
        _ = history.newest
