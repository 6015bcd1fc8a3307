"""What a sensor's lines mean depends on those before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.plugin import PlainMemory, UnreadableLine
from nations.session import Body, Head, Retraction, Session, Statement
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

LOST = content_pb2.EVENT_STATE_TRACK_LOST
LABEL = envelope_pb2.SecurityLabel(policy="KOR", releasable_to=["KOR"])


def parse(line: bytes) -> Statement | Retraction:
    """A feed of a few words: `number track T|L|S [corrects]`, or `number cancels number`."""
    words = line.decode().split()
    if len(words) < 3:
        raise UnreadableLine("too short")
    head = Head("radar", words[0], 1_664_835_780 * 10**9, 0.005, LABEL)
    if words[1] == "cancels":
        return Retraction(head, words[2])
    bodies: dict[str, Body] = {
        "T": content_pb2.TrackUpdate(),
        "L": content_pb2.LaunchDetection(),
        "I": content_pb2.ImpactPrediction(),
        "S": content_pb2.EventStatus(state=LOST),
        "C": content_pb2.EventStatus(state=content_pb2.EVENT_STATE_CONFIRMED),
    }
    return Statement(head, int(words[1]), bodies[words[2]], words[3] if len(words) > 3 else "")


def read_all(lines: Sequence[str], *, restarting: bool) -> list[str]:
    """Return the event of each line, without the sensor; empty where a line has none."""
    memory, found = PlainMemory(), []
    session = Session(parse, memory)
    for line in lines:
        (reported,) = session.read(line.encode())
        body = reported.content.WhichOneof("body")
        found.append(getattr(reported.content, body).event_id.decode().removeprefix("radar/") if body else "")
        if restarting:
            memory.contents.setdefault(reported.content.header.message_id, reported.content)
            session = Session(parse, memory)
    return found


def events(*lines: str) -> list[str]:
    """Return what the lines are of, the same by a session that never stopped and by one that did after each line."""
    found = read_all(lines, restarting=False)
    assert read_all(lines, restarting=True) == found
    return found


def test_a_number_used_again_after_a_drop_is_another_object() -> None:
    assert events("1 7 L", "2 7 T", "3 7 S", "4 7 T", "5 7 S", "6 7 L") == [
        "0007",
        "0007",
        "0007",
        "0007#2",
        "0007#2",
        "0007#3",
    ]


def test_two_numbers_are_two_objects() -> None:
    assert events("1 7 T", "2 8 T", "3 7 S", "4 8 T", "5 7 T") == ["0007", "0008", "0007", "0008", "0007#2"]


def test_impact_and_status_after_a_drop_still_mean_the_object_that_was_dropped() -> None:
    assert events("1 7 T", "2 7 S", "3 7 I", "4 7 S", "5 7 T") == ["0007", "0007", "0007", "0007", "0007#2"]


def test_a_correction_means_the_object_of_the_line_that_it_corrects() -> None:
    assert events("1 7 L", "2 7 S", "3 7 T", "4 7 L 1", "5 7 T") == ["0007", "0007", "0007#2", "0007", "0007#2"]


def test_a_correction_of_an_unknown_line_means_the_newest_object_and_is_not_refused() -> None:
    assert events("1 7 T", "2 7 S", "3 7 T 99") == ["0007", "0007", "0007"]


def test_a_correction_under_another_number_means_that_number() -> None:
    assert events("1 7 T", "2 8 T 1") == ["0007", "0008"]


def test_a_cancelled_drop_takes_the_track_up_again() -> None:
    assert events("1 7 T", "2 7 S", "3 cancels 2", "4 7 T") == ["0007", "0007", "", "0007"]


def test_a_corrected_drop_takes_the_track_up_again() -> None:
    assert events("1 7 T", "2 7 S", "3 7 C 2", "4 7 T") == ["0007", "0007", "0007", "0007"]


def test_a_cancellation_of_something_else_takes_nothing_up() -> None:
    assert events("1 7 T", "2 7 S", "3 cancels 1", "4 7 T")[-1] == "0007#2"


def test_a_line_sent_again_says_the_same_and_changes_nothing() -> None:
    assert events("1 7 T", "2 7 S", "1 7 T", "2 7 S", "3 7 T", "2 7 S", "3 7 T", "4 7 T") == [
        "0007",
        "0007",
        "0007",
        "0007",
        "0007#2",
        "0007",
        "0007#2",
        "0007#2",
    ]


def test_an_unreadable_line_leaves_no_trace() -> None:
    session = Session(parse, PlainMemory())
    session.read(b"1 7 T")
    with pytest.raises(UnreadableLine):
        session.read(b"2 7")
    (reported,) = session.read(b"3 7 T")
    assert reported.content.track.event_id == b"radar/0007"


def test_what_is_remembered_is_bounded() -> None:
    session = Session(parse, PlainMemory(), tracks_most=3, lines_most=5)
    for number in range(1, 50):
        session.read(b"%d %d T" % (number, number))
    assert len(session._tracks) == 3
    assert len(session._lines) == 5


def test_no_more_is_noted_than_of_numbers_that_were_dropped() -> None:
    memory = PlainMemory()
    session = Session(parse, memory, tracks_most=3)
    for number in range(1, 50):
        session.read(b"%d %d T" % (number, number))
    assert memory.notes == {}
    for number in range(50, 60):
        session.read(b"%d %d S" % (number, number))
    assert set(memory.notes) == {"radar/0057", "radar/0058", "radar/0059"}
