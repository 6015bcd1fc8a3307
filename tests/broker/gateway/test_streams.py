from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.gateway.streams import Line, Number, Streams
from broker.limits import STREAM_EPOCHS_MAX

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


@given(
    st.lists(st.tuples(st.sampled_from([LINE, OTHER]), st.sampled_from(["stored", "killed", "undone"])), max_size=30)
)
def test_every_process_numbers_in_an_epoch_of_its_own_without_a_gap(steps: list[tuple[Line, str]]) -> None:
    state: dict[str, bytes] = {}
    durable: dict[Line, list[Number]] = {LINE: [], OTHER: []}
    streams = Streams(state, now_ms=NOW_MS)
    for line, what in steps:
        number = streams.take(line)
        if what == "stored":
            state |= streams.pending_state()
            streams.keep()
            durable[line].append(number)
        elif what == "undone":
            streams.drop()
        else:
            streams = Streams(state, now_ms=NOW_MS)  # within the same millisecond
    for numbers in durable.values():
        assert numbers == sorted(set(numbers))
        for before, after in pairwise(numbers):
            if before.epoch == after.epoch:
                assert after.sequence == before.sequence + 1
            else:
                assert after.sequence == 1
        assert all(number.sequence == 1 for number in numbers[:1])


def test_a_restored_outbox_gives_no_number_again() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    streams.take(LINE)
    backup = streams.pending_state()
    streams.keep()
    given_after = {streams.take(LINE) for _ in range(3)}
    restored = Streams(backup, now_ms=NOW_MS + 5_000)
    assert restored.take(LINE) == Number(NOW_MS + 5_000, 1)
    assert restored.take(LINE) not in given_after


def test_a_new_epoch_is_greater_than_every_one_before_also_with_a_clock_that_went_back() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    streams.take(LINE)
    again = Streams(streams.pending_state(), now_ms=NOW_MS - 60_000)
    assert again.take(LINE) == Number(NOW_MS + 1, 1)


def test_what_the_hub_holds_of_our_own_epoch_ends_it_and_of_an_older_one_does_not() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    streams.take(LINE)
    streams.learn(LINE, Number(NOW_MS - 7, 3))
    assert streams.take(LINE) == Number(NOW_MS, 2)
    streams.learn(LINE, Number(NOW_MS, 9))
    assert streams.take(LINE) == Number(NOW_MS + 1, 1)


def test_an_outbox_holds_what_it_sealed_or_learnt_of_each_epoch_and_nothing_more() -> None:
    streams = Streams({}, now_ms=NOW_MS)
    streams.take(LINE)
    streams.learn(LINE, Number(5, 3))
    assert not streams.holds(LINE, Number(5, 1)), "not before the batch is durable"
    state = streams.pending_state()
    streams.keep()
    for held in (streams, Streams(state, now_ms=NOW_MS)):
        assert [held.holds(LINE, Number(5, sequence)) for sequence in (3, 4)] == [True, False]
        assert [held.holds(LINE, Number(NOW_MS, sequence)) for sequence in (1, 2)] == [True, False]
        assert not held.holds(LINE, Number(4, 1))


def test_of_a_line_that_was_never_used_nothing_is_known() -> None:
    assert Streams({}, now_ms=NOW_MS).known(LINE) is None


def test_epochs_that_are_too_old_to_be_remembered_are_taken_as_held() -> None:
    state = {f"{LINE.name}/{epoch}": bytes(7) + b"\x01" for epoch in range(10, 10 + STREAM_EPOCHS_MAX + 1)}
    streams = Streams(state, now_ms=NOW_MS)
    assert streams.holds(LINE, Number(10, 99))
    assert not streams.holds(LINE, Number(11, 99))


def test_epochs_too_old_to_be_remembered_are_taken_out_of_the_store() -> None:
    state = {f"{LINE.name}/{epoch}": (1).to_bytes(8, "big") for epoch in range(1, STREAM_EPOCHS_MAX + 3)}
    streams = Streams(state, now_ms=NOW_MS)
    forgotten = {f"{LINE.name}/{epoch}": b"" for epoch in (1, 2)}
    assert streams.pending_state() == forgotten
    streams.drop()
    assert streams.pending_state() == forgotten, "the batch was not stored"
    streams.keep()
    assert streams.pending_state() == {}
