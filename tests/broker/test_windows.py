"""Replay windows against the obvious model: the set of all numbers ever taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.windows import STATE_PREFIX, Epochs, Standing, Window, Windows
from vedette.v1 import content_pb2, envelope_pb2

SPAN = limits.REPLAY_WINDOW
NUMBERS = st.lists(
    st.one_of(st.integers(1, 40), st.integers(1, 3 * SPAN), st.integers(1, 2**64 - 1)), min_size=1, max_size=60
)


def header(sequence: int, *, epoch: int = 7, origin: str = "KOR") -> envelope_pb2.RoutingHeader:
    return envelope_pb2.RoutingHeader(
        origin=origin,
        recipient="JPN",
        mode=content_pb2.MODE_TEST,
        lane=envelope_pb2.LANE_NORMAL,
        epoch=epoch,
        sequence=sequence,
    )


@given(NUMBERS)
def test_a_number_is_fresh_once_and_old_only_behind_the_window(numbers: list[int]) -> None:
    window, taken = Window(), set[int]()
    for number in numbers:
        standing = window.standing(number)
        if number < max(taken, default=0) - SPAN:
            assert standing is Standing.OLD
            continue
        assert standing is (Standing.SEEN if number in taken else Standing.FRESH)
        if standing is Standing.FRESH:
            window = window.mark(number)
            taken.add(number)
            assert window.standing(number) is Standing.SEEN
            assert window.high == max(taken)


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 5000)), max_size=80))
def test_what_is_written_is_what_is_read_back(marks: list[tuple[int, int]]) -> None:
    epochs = Epochs()
    for epoch, sequence in marks:
        if epochs.standing(epoch, sequence) is Standing.FRESH:
            epochs = epochs.mark(epoch, sequence)
    assert Epochs.decode(epochs.encode()) == epochs
    assert len(epochs.windows) <= limits.STREAM_EPOCHS_MAX


def test_an_old_epoch_stays_open_until_there_are_too_many_and_then_is_closed_for_good() -> None:
    epochs = Epochs()
    for epoch in range(1, limits.STREAM_EPOCHS_MAX + 1):
        epochs = epochs.mark(epoch, 1)
    assert epochs.standing(1, 2) is Standing.FRESH
    epochs = epochs.mark(1000, 1)
    assert epochs.standing(1, 2) is Standing.OLD
    assert epochs.standing(2, 2) is Standing.FRESH


def test_the_oldest_number_of_the_window_can_still_come_and_the_one_before_it_cannot() -> None:
    window = Window().mark(SPAN + 2)
    assert window.standing(1) is Standing.OLD
    assert window.standing(2) is Standing.FRESH
    assert window.mark(2).standing(2) is Standing.SEEN
    assert window.mark(2).standing(3) is Standing.FRESH


def test_a_huge_number_costs_no_memory() -> None:
    window = Window().mark(1).mark(2**64 - 1)
    assert window.missing.bit_length() <= SPAN
    assert window.standing(1) is Standing.OLD


def test_a_stream_without_gaps_is_stored_in_a_few_bytes() -> None:
    epochs = Epochs()
    for sequence in range(1, 2000):
        epochs = epochs.mark(5, sequence)
    assert len(epochs.encode()) == 8 + 18


def test_a_plan_that_is_not_kept_leaves_no_trace() -> None:
    windows = Windows({})
    plan = windows.plan()
    assert plan.take(header(1)) is Standing.FRESH
    assert plan.take(header(1)) is Standing.SEEN, "within the batch"
    assert windows.standing(header(1)) is Standing.FRESH
    windows.keep(plan)
    assert windows.standing(header(1)) is Standing.SEEN


def test_windows_come_back_from_their_state() -> None:
    windows = Windows({})
    plan = windows.plan()
    for number in (1, 2, 4):
        plan.take(header(number))
    plan.take(header(9, epoch=8))
    windows.keep(plan)
    state = plan.state()
    assert all(name.startswith(STATE_PREFIX) for name in state)
    again = Windows(state)
    assert again.standing(header(3)) is Standing.FRESH
    assert again.standing(header(4)) is Standing.SEEN
    heads = [(head.recipient, head.epoch, head.sequence) for head in again.heads("KOR")]
    assert heads == [("JPN", 7, 4), ("JPN", 8, 9)]
    assert again.heads("USA") == []
