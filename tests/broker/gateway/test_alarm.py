from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.clock import timestamp
from broker.gateway.alarm import OVER, STATUSES_MAX, AlarmBook, impact_is_past
from vedette.v1 import content_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

EVENT = b"e" * 16
OTHER_EVENT = b"o" * 16
ONE, TWO = b"1" * 16, b"2" * 16
NOT_A_LAUNCH, ALL_CLEAR = content_pb2.EVENT_STATE_NOT_A_LAUNCH, content_pb2.EVENT_STATE_ALL_CLEAR
CONFIRMED = content_pb2.EVENT_STATE_CONFIRMED
RAISE, LOWER = national_pb2.ALARM_RAISE, national_pb2.ALARM_LOWER
NOW_NS = 1_780_000_000 * limits.SECOND_NS


def said(
    name: str,
    body: str = "track",
    *,
    event: bytes = EVENT,
    of: bytes = b"",
    origin: str = "KOR",
    cancels: Iterable[str] = (),
    corrects: Iterable[str] = (),
) -> content_pb2.Content:
    content = content_pb2.Content()
    content.header.message_id = name.encode().ljust(16, b".")
    content.header.origin = origin
    for targets, relation in ((cancels, content_pb2.RELATION_CANCELS), (corrects, content_pb2.RELATION_CORRECTS)):
        for target in targets:
            content.header.references.add(message_id=target.encode().ljust(16, b"."), relation=relation)
    if body:
        getattr(content, body).event_id = event
    if of:
        getattr(content, body).object_id = of
    return content


def status(name: str, state: int, **options: Any) -> content_pb2.Content:
    content = said(name, "status", **options)
    content.status.state = content_pb2.EventState.ValueType(state)
    return content


def told(book: AlarmBook, *contents: content_pb2.Content) -> list[int]:
    return [change.alarm for content in contents for change in book.fold(content)]


@pytest.mark.parametrize("body", ["launch", "track", "impact"])
def test_a_first_report_of_an_event_raises_its_alarm_once(body: str) -> None:
    book = AlarmBook()
    (change,) = book.fold(said("a", body))
    assert (change.alarm, change.origin, change.event_id) == (RAISE, "KOR", EVENT)
    assert told(book, said("b", "track"), said("c", "impact")) == []
    assert [change.event_id for change in book.raised()] == [EVENT]


@pytest.mark.parametrize("body", ["fused", "heartbeat", "notice", "canary"])
def test_a_picture_a_heartbeat_a_notice_and_a_canary_wake_nobody(body: str) -> None:
    content = content_pb2.Content()
    content.header.origin = "HUB" if body == "fused" else "KOR"
    getattr(content, body).SetInParent()
    assert AlarmBook().fold(content) == []


@pytest.mark.parametrize("state", sorted(OVER))
def test_an_end_lowers_it_and_a_track_that_trails_behind_does_not_raise_it_again(state: int) -> None:
    book = AlarmBook()
    assert told(book, said("a"), status("s", state), said("late"), said("later", "impact")) == [RAISE, LOWER]
    assert book.raised() == []


@pytest.mark.parametrize("state", sorted(set(content_pb2.EventState.values()) - OVER))
def test_any_other_status_changes_nothing(state: int) -> None:
    book = AlarmBook()
    assert told(book, said("a"), status("s", state)) == [RAISE]


def test_a_lost_track_is_no_all_clear() -> None:
    assert content_pb2.EVENT_STATE_TRACK_LOST not in OVER


def test_it_stands_until_the_last_message_that_raised_it_is_cancelled() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("b"), said("x", "", cancels=["a"])) == [RAISE]
    assert told(book, said("y", "", cancels=["b"])) == [LOWER]


def test_one_message_that_cancels_the_reports_of_two_events_lowers_both() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("b", event=OTHER_EVENT), said("x", "", cancels=["a", "b"]))[2:] == [LOWER, LOWER]


def test_an_event_that_was_cancelled_and_is_reported_again_wakes_again() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("x", "", cancels=["a"]), said("b"), said("a")) == [RAISE, LOWER, RAISE]


def test_nobody_lowers_what_another_nation_raised() -> None:
    book = AlarmBook()
    changes = told(
        book,
        said("a"),
        said("x", "", origin="USA", cancels=["a"]),
        status("s", content_pb2.EVENT_STATE_NOT_A_LAUNCH, origin="USA"),
    )
    assert changes == [RAISE]


def test_two_nations_reports_of_one_thing_are_two_alarms_and_each_stands_alone() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("b", origin="USA")) == [RAISE, RAISE]
    assert told(book, status("s", content_pb2.EVENT_STATE_NOT_A_LAUNCH)) == [LOWER]
    assert [change.origin for change in book.raised()] == ["USA"]
    assert [change.origin for change in book.lowered()] == ["KOR"]


def test_a_message_is_cancelled_together_with_its_corrections() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("b", corrects=["a"]), said("c", corrects=["b"])) == [RAISE]
    assert told(book, said("x", "", cancels=["a"])) == [LOWER]


def test_a_correction_that_is_cancelled_leaves_what_it_corrected() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("b", corrects=["a"]), said("x", "", cancels=["b"])) == [RAISE]


def test_what_was_cancelled_before_it_came_wakes_nobody() -> None:
    assert told(AlarmBook(), said("x", "", cancels=["a"]), said("a")) == []


def test_a_correction_of_what_was_cancelled_wakes_nobody() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("x", "", cancels=["a"]), said("b", corrects=["a"])) == [RAISE, LOWER]


def test_what_was_over_before_it_came_wakes_nobody_and_nothing_is_lowered() -> None:
    book = AlarmBook()
    assert told(book, status("s", content_pb2.EVENT_STATE_NOT_A_LAUNCH), said("a")) == []
    assert (book.raised(), book.lowered()) == ([], [])


def test_nobody_keeps_an_alarm_up_by_using_another_nations_id() -> None:
    book = AlarmBook()
    assert told(book, said("a"), said("a", origin="USA", event=OTHER_EVENT)) == [RAISE, RAISE]
    assert told(book, said("x", "", cancels=["a"])) == [LOWER]
    assert [change.origin for change in book.raised()] == ["USA"]


def test_a_flood_of_reports_of_one_event_takes_no_more_room() -> None:
    book = AlarmBook()
    for number in range(limits.REPORTS_PER_OBJECT_MAX + 5):
        book.fold(said(f"m{number}"))
    for number in range(limits.ALARM_CANCELLED_MAX + 5):
        book.fold(said("x", "", cancels=[f"n{number}"]))
    kept = book._nations["KOR"]
    assert (len(kept.said), len(kept.cancelled)) == (limits.REPORTS_PER_OBJECT_MAX, limits.ALARM_CANCELLED_MAX)
    assert len(book.raised()) == 1


def test_a_flood_of_corrections_and_of_statuses_takes_no_more_room() -> None:
    book = AlarmBook()
    for number in range(limits.REPORTS_PER_OBJECT_MAX + 5):
        book.fold(said(f"m{number}", corrects=[f"n{number}"]))
    for number in range(STATUSES_MAX + 5):
        book.fold(status(f"s{number}", ALL_CLEAR, corrects=[f"t{number}"]))
    kept = book._nations["KOR"]
    assert len(kept.said) == len(kept.correctors) == limits.REPORTS_PER_OBJECT_MAX + STATUSES_MAX


def test_an_impact_that_is_surely_past_raises_nothing_and_in_doubt_it_does() -> None:
    assert AlarmBook().fold(said("a", "impact"), impact_is_past=True) == []
    assert len(AlarmBook().fold(said("a", "impact"), impact_is_past=False)) == 1


def test_lateness_lowers_nothing() -> None:
    book = AlarmBook()
    book.fold(said("a"))
    assert book.fold(said("b", "impact"), impact_is_past=True) == []
    assert len(book.raised()) == 1


def test_past_means_later_than_the_latest_time_the_clocks_error_and_a_minute() -> None:
    content = said("a", "impact")
    assert not impact_is_past(content, now_ns=NOW_NS, clock_error_ns=0), "no time, no knowledge"
    content.impact.time.latest.CopyFrom(timestamp(NOW_NS - 62 * limits.SECOND_NS))
    assert impact_is_past(content, now_ns=NOW_NS, clock_error_ns=limits.SECOND_NS)
    assert not impact_is_past(content, now_ns=NOW_NS, clock_error_ns=3 * limits.SECOND_NS)
    assert not impact_is_past(said("t", "track"), now_ns=NOW_NS, clock_error_ns=0)


def test_a_flood_of_events_takes_no_more_room_and_the_newest_still_wakes() -> None:
    book = AlarmBook()
    for number in range(limits.NODES_PER_ORIGIN_MAX + 10):
        assert told(book, said(f"m{number}", event=number.to_bytes(16, "big"))) == [RAISE]
    assert len(book.raised()) == limits.NODES_PER_ORIGIN_MAX
    assert book.fold(said("x", "", cancels=["m0"])) == [], "of what gave way nothing is kept"


def test_one_nations_flood_of_events_pushes_out_no_event_of_another() -> None:
    book = AlarmBook()
    assert told(book, said("a")) == [RAISE]
    for number in range(limits.NODES_PER_ORIGIN_MAX + 10):
        book.fold(said(f"m{number}", event=number.to_bytes(16, "big"), origin="USA"))
        book.fold(said("x", "", origin="USA", cancels=[f"n{number}"]))
    assert told(book, status("s", NOT_A_LAUNCH)) == [LOWER], "or the siren would never end"


def test_one_nations_flood_of_cancellations_pushes_out_none_of_another() -> None:
    book = AlarmBook()
    book.fold(said("x", "", cancels=["a"]))
    for number in range(limits.ALARM_CANCELLED_MAX + 5):
        book.fold(said("y", "", origin="USA", cancels=[f"n{number}"]))
    assert told(book, said("a")) == []


def test_what_is_over_gives_way_before_what_stands() -> None:
    book = AlarmBook()
    book.fold(said("a"))
    assert told(book, said("b", event=OTHER_EVENT), said("y", "", cancels=["b"])) == [RAISE, LOWER]
    for number in range(limits.NODES_PER_ORIGIN_MAX - 1):
        book.fold(said(f"m{number}", event=number.to_bytes(16, "big")))
    assert len(book.raised()) == limits.NODES_PER_ORIGIN_MAX
    assert told(book, said("x", "", cancels=["a"])) == [LOWER], "the oldest, but it stood"


OF_AN_OBJECT = sorted(OVER - {NOT_A_LAUNCH})


@pytest.mark.parametrize("state", OF_AN_OBJECT)
def test_the_end_of_one_object_of_a_salvo_leaves_the_alarm_up(state: int) -> None:
    book = AlarmBook()
    assert told(book, said("a", of=ONE), said("b", of=TWO), status("s", state, of=ONE), said("c", of=TWO)) == [RAISE]
    assert told(book, status("t", state, of=TWO)) == [LOWER]
    assert told(book, said("late", of=ONE), said("later", "impact", of=TWO)) == []


@pytest.mark.parametrize("state", OF_AN_OBJECT)
def test_an_object_that_comes_after_the_end_of_another_wakes(state: int) -> None:
    assert told(AlarmBook(), status("s", state, of=ONE), said("a", of=ONE), said("b", of=TWO)) == [RAISE]


@pytest.mark.parametrize("state", OF_AN_OBJECT)
@pytest.mark.parametrize("body", ["launch", "impact"])
def test_the_end_of_an_object_is_no_end_of_what_was_said_of_the_whole_event(body: str, state: int) -> None:
    book = AlarmBook()
    assert told(book, said("a", body), said("b", of=ONE), status("s", state, of=ONE)) == [RAISE]
    assert told(book, status("t", state)) == [LOWER]


@pytest.mark.parametrize("rare", [said("a", "launch"), said("a", of=TWO)])
def test_many_reports_of_one_object_do_not_make_the_book_forget_another(rare: content_pb2.Content) -> None:
    book = AlarmBook()
    book.fold(rare)
    for number in range(limits.REPORTS_PER_OBJECT_MAX + 5):
        book.fold(said(f"m{number}", of=ONE))
    assert told(book, status("s", content_pb2.EVENT_STATE_PASSED, of=ONE)) == []


def test_not_a_launch_takes_back_the_whole_event_whatever_object_it_names() -> None:
    assert told(AlarmBook(), said("a", "launch"), said("b", of=TWO), status("s", NOT_A_LAUNCH, of=ONE))[1:] == [LOWER]


@pytest.mark.parametrize("state", sorted(OVER))
def test_an_end_that_is_cancelled_is_none_and_what_speaks_raises_again(state: int) -> None:
    book = AlarmBook()
    assert told(book, said("a"), status("s", state), said("b")) == [RAISE, LOWER]
    (change,) = book.fold(said("x", "", cancels=["s"]))
    assert (change.alarm, change.event_id, change.message_id) == (RAISE, EVENT, b"x".ljust(16, b"."))
    assert told(book, said("c")) == []
    assert told(book, status("t", state)) == [LOWER]


@pytest.mark.parametrize("state", sorted(OVER))
def test_an_end_that_was_cancelled_before_it_came_ends_nothing(state: int) -> None:
    assert told(AlarmBook(), said("a"), said("x", "", cancels=["s"]), status("s", state)) == [RAISE]


def test_what_comes_after_an_end_that_was_cancelled_wakes() -> None:
    assert told(AlarmBook(), status("s", ALL_CLEAR), said("x", "", cancels=["s"]), said("a")) == [RAISE]


def test_of_two_ends_the_other_still_holds() -> None:
    book = AlarmBook()
    assert told(book, said("a"), status("s", ALL_CLEAR), status("t", NOT_A_LAUNCH)) == [RAISE, LOWER]
    assert told(book, said("x", "", cancels=["s"])) == []
    assert told(book, said("y", "", cancels=["t"])) == [RAISE]


def test_the_end_of_an_object_that_is_cancelled_is_none() -> None:
    book = AlarmBook()
    passed = status("s", content_pb2.EVENT_STATE_PASSED, of=ONE)
    assert told(book, said("a", of=ONE), passed, said("x", "", cancels=["s"])) == [RAISE, LOWER, RAISE]


@pytest.mark.parametrize(
    "correction",
    [
        status("t", CONFIRMED, corrects=["s"]),
        status("t", ALL_CLEAR, event=OTHER_EVENT, corrects=["s"]),
        said("t", "track", corrects=["s"]),
    ],
)
def test_an_end_that_is_corrected_to_something_else_is_none(correction: content_pb2.Content) -> None:
    assert told(AlarmBook(), said("a"), status("s", ALL_CLEAR), correction) == [RAISE, LOWER, RAISE]
    assert told(AlarmBook(), said("a"), correction, status("s", ALL_CLEAR)) == [RAISE], "in either order"


def test_an_end_that_is_corrected_to_another_end_wakes_nobody() -> None:
    book = AlarmBook()
    other = status("t", NOT_A_LAUNCH, corrects=["s"])
    assert told(book, said("a"), status("s", ALL_CLEAR), other) == [RAISE, LOWER]
    assert told(book, said("x", "", cancels=["s"])) == [RAISE], "it goes with its corrections"


def test_an_end_whose_correction_is_cancelled_is_one_again() -> None:
    book = AlarmBook()
    assert told(book, said("a"), status("s", ALL_CLEAR), status("t", CONFIRMED, corrects=["s"])) == [
        RAISE,
        LOWER,
        RAISE,
    ]
    assert told(book, said("x", "", cancels=["t"])) == [LOWER]


def test_an_end_stays_undone_when_its_correction_gives_way_to_newer_messages() -> None:
    book = AlarmBook()
    book.fold(status("s", ALL_CLEAR))
    assert told(book, said("t", "track", corrects=["s"])) == [RAISE]
    for number in range(limits.REPORTS_PER_OBJECT_MAX + 5):
        assert told(book, said(f"m{number}")) == []
    assert len(book.raised()) == 1


def test_nobody_takes_back_the_end_that_another_nation_gave() -> None:
    book = AlarmBook()
    assert told(book, said("a"), status("s", ALL_CLEAR)) == [RAISE, LOWER]
    assert (
        told(book, said("x", "", origin="USA", cancels=["s"]), status("t", CONFIRMED, origin="USA", corrects=["s"]))
        == []
    )


def test_a_chain_of_corrections_goes_with_what_began_it_in_whatever_order_it_comes() -> None:
    chain = [said("a"), said("b", corrects=["a"]), said("c", corrects=["b"]), said("x", "", cancels=["a"])]
    for order in permutations(chain):
        book = AlarmBook()
        told(book, *order)
        assert book.raised() == []


messages = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.sampled_from("abc"), st.sampled_from([EVENT, OTHER_EVENT])),
        st.tuples(st.just("cancel"), st.sampled_from("abc"), st.just(b"")),
        st.tuples(st.just("over"), st.just(""), st.sampled_from([EVENT, OTHER_EVENT])),
    ),
    max_size=12,
)


@given(messages)
def test_the_changes_told_are_those_of_what_stands(steps: list[tuple[str, str, bytes]]) -> None:
    """Whoever takes the changes one after the other holds what the book holds."""
    book = AlarmBook()
    standing: set[bytes] = set()
    for number, (what, name, event) in enumerate(steps):
        match what:
            case "report":
                changes = book.fold(said(name + event[:1].decode(), event=event))
            case "cancel":
                changes = book.fold(said(f"x{number}", "", cancels=[name + "e", name + "o"]))
            case _:
                changes = book.fold(status(f"s{number}", content_pb2.EVENT_STATE_ALL_CLEAR, event=event))
        for change in changes:
            assert (change.event_id in standing) == (change.alarm == LOWER)
            standing ^= {change.event_id}
    assert {change.event_id for change in book.raised()} == standing


steps = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.sampled_from(["", "1", "2"]), st.none()),
        st.tuples(st.sampled_from(["over", "going on"]), st.sampled_from(["", "1", "2"]), st.none()),
        st.tuples(
            st.sampled_from(["cancel", "correct to over", "correct to going on"]), st.just(""), st.integers(0, 7)
        ),
    ),
    max_size=8,
)


def written(number: int, step: tuple[str, str, int | None]) -> content_pb2.Content:
    what, of, target = step
    corrects = [] if target is None else [f"m{target}"]
    match what:
        case "report":
            return said(f"m{number}", of=of.encode())
        case "cancel":
            return said(f"m{number}", "", cancels=corrects)
        case _:
            state = ALL_CLEAR if what.endswith("over") else CONFIRMED
            return status(f"m{number}", state, of=of.encode(), corrects=corrects)


@given(steps, st.randoms(use_true_random=False))
def test_what_stands_does_not_depend_on_the_order_in_which_it_came(
    said_so: list[tuple[str, str, int | None]], random: Random
) -> None:
    contents = [written(number, step) for number, step in enumerate(said_so)]
    one, two = AlarmBook(), AlarmBook()
    told(one, *contents)
    random.shuffle(contents)
    told(two, *contents)
    assert [change.event_id for change in one.raised()] == [change.event_id for change in two.raised()]
