from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.gateway.streams import Line, Number, Streams

LINE = Line("JPN", 2, 1)
OTHER = Line("USA", 2, 1)
NOW_MS = 1_780_000_000_000


def test_numbers_run_from_one_without_a_gap_in_each_line() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    assert [streams.take(LINE).sequence for _ in range(3)] == [1, 2, 3]
    assert streams.take(OTHER) == Number(NOW_MS, 1)


def test_what_was_taken_and_not_kept_is_given_again() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    streams.take(LINE)
    streams.keep()
    assert streams.take(LINE).sequence == 2
    streams.drop()
    assert streams.known(LINE) == Number(NOW_MS, 1)
    assert streams.take(LINE).sequence == 2


@given(st.lists(st.tuples(st.sampled_from([LINE, OTHER]), st.booleans()), max_size=30))
def test_a_new_process_goes_on_where_the_store_ends_and_leaves_no_gap(steps: list[tuple[Line, bool]]) -> None:
    state: dict[str, bytes] = {}
    durable: dict[Line, list[int]] = {LINE: [], OTHER: []}
    streams = Streams(state, now_ms=NOW_MS)
    for line, is_stored in steps:
        number = streams.take(line)
        if is_stored:
            state |= streams.pending_state()
            streams.keep()
            durable[line].append(number.sequence)
        else:
            streams = Streams(state, now_ms=NOW_MS + 1)  # killed before the batch was durable
    for numbers in durable.values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_process_that_starts_again_keeps_its_epoch() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    streams.take(LINE)
    again = Streams(streams.pending_state(), now_ms=NOW_MS + 5_000)
    assert again.take(LINE) == Number(NOW_MS, 2)


def test_a_new_epoch_is_greater_than_every_one_before_also_with_a_clock_that_went_back() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    streams.take(LINE)
    streams.begin_epoch(LINE, after_epoch=NOW_MS + 7, now_ms=NOW_MS - 60_000)
    assert streams.take(LINE) == Number(NOW_MS + 8, 1)
    streams.begin_epoch(OTHER, after_epoch=0, now_ms=NOW_MS + 9)
    assert streams.take(OTHER) == Number(NOW_MS + 9, 1)


def test_of_a_line_that_was_never_used_nothing_is_known() -> None:
    assert Streams({}, now_ms=NOW_MS).known(LINE) is None
