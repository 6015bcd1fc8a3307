from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.content import LEAVES
from broker.gateway.release import Level, release_instant_ns, rounded_up_ns
from broker.gateway.release.decision import Terms, released
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.gateway.release import Decision

S = 10**9
START_S = 1_780_000_020  # a whole minute


def decision_of(levels: dict[str, Level], *, delay_s: float = 0.0, body: str = "track") -> Decision:
    allowed = dict.fromkeys(LEAVES, Level.EXACT) | levels
    return released(allowed, body, rule_ids=(), levels={}, terms=Terms(delay_s), policy_version=1, policy_digest="")


def track(valid_s: float) -> content_pb2.Content:
    content = content_pb2.Content()
    content.track.state.valid_at.FromNanoseconds(round(valid_s * S))
    return content


def test_with_exact_times_a_message_goes_at_once_or_after_its_delay() -> None:
    content = track(START_S)
    assert release_instant_ns(decision_of({}), content, START_S * S + 7) == START_S * S + 7
    assert release_instant_ns(decision_of({}, delay_s=2.5), content, START_S * S) == START_S * S + 5 * S // 2


@pytest.mark.parametrize(("level", "cell_s"), [(Level.CELL_50KM, 60), (Level.CELL_10KM, 10), (Level.CELL_1KM, 1)])
def test_a_coarse_time_goes_at_the_end_of_its_cell_plus_delay(level: Level, cell_s: int) -> None:
    decision = decision_of({"track.state.valid_at": level}, delay_s=5)
    for inside in (0, 0.3, 0.999):
        content = track(START_S + inside * cell_s)
        due_ns = release_instant_ns(decision, content, round((START_S + inside * cell_s) * S))
        assert due_ns == (START_S + cell_s + 5) * S


@settings(max_examples=200)
@given(
    st.floats(0, 9.99), st.floats(0, 9.99), st.integers(0, 10), st.floats(0, 9.99), st.floats(0, 9.99),
    st.sampled_from([0.0, 3.0, 10.0, 25.0]),
)  # fmt: skip
def test_the_instant_depends_on_cells_alone(
    one: float, other: float, late_cells: int, at: float, other_at: float, delay_s: float
) -> None:
    """Two reports of one cell, decided in one cell, leave together, whatever happened inside those cells."""
    decision = decision_of({"track.state.valid_at": Level.CELL_10KM}, delay_s=delay_s)
    decided = [
        (START_S + 10 * late_cells + max(moment, seen if not late_cells else 0))
        for moment, seen in ((at, one), (other_at, other))
    ]
    dues = [
        release_instant_ns(decision, track(START_S + seen), round(now * S))
        for seen, now in zip((one, other), decided, strict=True)
    ]
    assert dues[0] == dues[1]
    assert all(due >= round(now * S) for due, now in zip(dues, decided, strict=True))


def test_a_time_ahead_holds_nothing_up() -> None:
    decision = decision_of({path: Level.CELL_50KM for path in LEAVES if path.startswith("impact.time.")}, body="impact")
    content = content_pb2.Content()
    content.impact.time.best.FromSeconds(START_S + 300)
    assert release_instant_ns(decision, content, START_S * S + 1) == START_S * S + 1


def test_the_header_counts_as_the_body_does() -> None:
    content = track(START_S)
    content.header.observed_at.FromSeconds(START_S + 31)
    decision = decision_of({"header.observed_at": Level.CELL_50KM})
    assert release_instant_ns(decision, content, (START_S + 33) * S) == (START_S + 60) * S


@settings(max_examples=200)
@given(seen_s=st.floats(0, 59.99), taken_s=st.floats(0, 59.99), delay_s=st.sampled_from([0.0, 5.0]))
def test_the_sending_tells_of_a_withheld_time_no_more_than_its_minute(
    seen_s: float, taken_s: float, delay_s: float
) -> None:
    """Less permission shows no more: as late as with the coarsest cell, and a function of that cell alone."""
    content = track(START_S)
    content.header.observed_at.FromNanoseconds(round((START_S + seen_s) * S))
    decided_ns = round((START_S + max(seen_s, taken_s)) * S)
    withheld = decision_of({"header.observed_at": Level.WITHHELD}, delay_s=delay_s)
    coarsest = decision_of({"header.observed_at": Level.CELL_50KM}, delay_s=delay_s)
    due_ns = release_instant_ns(withheld, content, decided_ns)
    assert due_ns == release_instant_ns(coarsest, content, decided_ns) == round((START_S + 60 + delay_s) * S)


def test_a_withheld_time_that_is_not_there_holds_nothing_up() -> None:
    decision = decision_of({"header.observed_at": Level.WITHHELD})
    assert release_instant_ns(decision, track(START_S), (START_S + 33) * S) == (START_S + 33) * S


def test_a_withheld_time_ahead_holds_nothing_up() -> None:
    decision = decision_of({path: Level.WITHHELD for path in LEAVES if path.startswith("impact.time.")}, body="impact")
    content = content_pb2.Content()
    content.impact.time.best.FromSeconds(START_S + 300)
    assert release_instant_ns(decision, content, START_S * S + 1) == START_S * S + 1


@given(st.integers(0, 2**62), st.sampled_from([1, 10, 60]))
def test_rounding_up_gives_the_end_of_the_cell(at_ns: int, cell_s: int) -> None:
    end_ns = rounded_up_ns(at_ns, cell_s * S)
    assert 0 < end_ns - at_ns <= cell_s * S
    assert end_ns % (cell_s * S) == 0
    assert rounded_up_ns(at_ns, 0) == at_ns


def test_a_random_message_is_never_due_before_it_was_decided(maker: Any) -> None:
    for seed in range(40):
        made = maker(seed)
        content = made.content()
        levels = dict.fromkeys(LEAVES, made.random.choice(list(Level)[1:]))
        decision = decision_of(levels, delay_s=made.random.choice((0, 7.0)), body=content.WhichOneof("body"))
        decided_ns = (1_780_000_000 + made.random.randint(-900, 1800)) * S
        assert release_instant_ns(decision, content, decided_ns) >= decided_ns


@pytest.mark.parametrize("level", [Level.CELL_50KM, Level.WITHHELD])
@pytest.mark.parametrize("ahead_s", [0.5, 30, 59, 600])
def test_a_prediction_that_lies_ahead_holds_nothing_up_not_even_in_its_last_minute(
    level: Level, ahead_s: float
) -> None:
    names = ("best", "earliest", "latest")
    decision = decision_of({f"impact.time.{name}": level for name in names}, body="impact")
    content = content_pb2.Content()
    now_ns = (START_S + 1) * S
    for name in names:
        getattr(content.impact.time, name).FromNanoseconds(now_ns + round(ahead_s * S))
    assert release_instant_ns(decision, content, now_ns) == now_ns
