"""What is drawn at home: from reports as they are, from what was sent, and from nothing twice."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from broker import geodesy
from broker.fusion.view import fused_content
from broker.gateway.full import drawing, frames
from broker.gateway.full.drawing import Drawer
from broker.gateway.full.frames import Frame, Kind
from broker.instant import timestamp
from broker.limits import SECOND_NS
from broker.views import checkpoint
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2, journal_pb2, measures_pb2

if TYPE_CHECKING:
    from pathlib import Path

ZERO_NS = 1_700_000_000 * SECOND_NS
LABEL = envelope_pb2.SecurityLabel(
    policy="KOR", classification=envelope_pb2.CLASSIFICATION_SECRET, releasable_to=["JPN", "KOR"]
)


def at(second: float) -> int:
    return ZERO_NS + round(second * SECOND_NS)


def track(origin: str, local: bytes, second: float, *, event: bytes = b"e") -> content_pb2.Content:
    """Return one report of an object that flies east."""
    content = content_pb2.Content()
    content.header.message_id, content.header.origin = local, origin
    content.header.mode = content_pb2.MODE_TEST
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    content.header.observed_at.CopyFrom(timestamp(at(second)))
    body = content.track
    body.event_id, body.object_id = event, b"o"
    body.state.frame = measures_pb2.FRAME_ECEF_WGS84
    body.state.valid_at.CopyFrom(timestamp(at(second)))
    body.state.position_m.extend(geodesy.ecef(39.0, 127.0 + 0.02 * second, 60_000.0))
    body.state.covariance.extend([1e4, 0.0, 0.0, 1e4, 0.0, 1e4])
    return content


def own(position: int, content: content_pb2.Content, second: float, *, session: str = "") -> Frame:
    """Return a report of ours as the gateway recorded it."""
    record = journal_pb2.IntakeRecord(
        content=content, label=LABEL, system="aegis", session=session, received_at=timestamp(at(second))
    )
    return Frame(Kind.INTAKE, position, record.SerializeToString())


def sent(position: int, content: content_pb2.Content, second: float) -> Frame:
    """Return what came down."""
    header = envelope_pb2.RoutingHeader(
        origin=content.header.origin,
        recipient="KOR",
        mode=content.header.mode,
        message_id=content.header.message_id,
        label=LABEL,
    )
    envelope = envelope_pb2.Envelope(header=header.SerializeToString(), body=content.SerializeToString())
    delivery = exchange_pb2.Delivery(position=position.to_bytes(8, "big"), envelope=envelope.SerializeToString())
    record = journal_pb2.InboxRecord(delivery=delivery, received_at=timestamp(at(second)))
    return Frame(Kind.INBOX, position, record.SerializeToString())


def back(position: int, told: Frame) -> Frame:
    """Return a picture as it comes back in the inbox."""
    return Frame(Kind.INBOX, position, told.data)


def fused(told: Frame) -> content_pb2.FusedEvent:
    record = journal_pb2.InboxRecord.FromString(told.data)
    envelope = envelope_pb2.Envelope.FromString(record.delivery.envelope)
    return content_pb2.Content.FromString(envelope.body).fused


@pytest.fixture
def live(tmp_path: Path) -> Drawer:
    drawer = Drawer.start(tmp_path, "KOR")
    assert list(drawer.take(Frame(Kind.LIVE, 0))) == []
    return drawer


def test_what_is_ours_goes_in_exactly_and_what_comes_down_of_it_does_not(live: Drawer) -> None:
    (first,) = live.take(own(1, track("KOR", b"1", 10.0), 10.2))
    assert list(fused(first).tracks[0].state.position_m) == pytest.approx(geodesy.ecef(39.0, 127.2, 60_000.0), abs=0.01)
    assert list(live.take(sent(1, track("KOR", b"c" * 16, 10.0), 10.4))) == [], "our own, for the hub's picture"
    (second,) = live.take(sent(2, track("USA", b"u" * 16, 11.0), 11.2))
    assert {one.origin: one.message_count for one in fused(second).contributions} == {"KOR": 1, "USA": 1}


def test_the_hub_s_own_pictures_and_ticks_go_in_nowhere(live: Drawer) -> None:
    (told,) = live.take(own(1, track("KOR", b"1", 10.0), 10.2))
    before = live.picture.drawings[next(iter(live.picture.drawings))].view.checkpoint()
    picture = fused_content(fused(told), recipient="KOR", mode=content_pb2.MODE_TEST)
    assert list(live.take(sent(1, picture, 10.3))) == []
    tick = exchange_pb2.Delivery(position=b"12345678", tick=exchange_pb2.HubTick(mode=content_pb2.MODE_TEST))
    tick.tick.tick.time.CopyFrom(timestamp(at(5_000.0)))
    record = journal_pb2.InboxRecord(delivery=tick, received_at=timestamp(at(10.4)))
    assert list(live.take(Frame(Kind.INBOX, 2, record.SerializeToString()))) == []
    assert live.picture.drawings[next(iter(live.picture.drawings))].view.checkpoint() == before


def test_a_system_s_own_ids_refer_within_its_session_alone(live: Drawer) -> None:
    list(live.take(own(1, track("KOR", b"1", 10.0), 10.2, session="a")))
    list(live.take(own(2, track("KOR", b"1", 11.0), 11.2, session="b")))
    cancel = content_pb2.Content()
    cancel.CopyFrom(track("KOR", b"2", 12.0))
    cancel.ClearField("track")
    cancel.header.references.add(message_id=b"1", relation=content_pb2.RELATION_CANCELS)
    list(live.take(own(3, cancel, 12.2, session="b")))
    (drawing_,) = live.picture.drawings.values()
    standing = [one for one in drawing_.view.ledger.standing() if one.field]
    assert [one.key[0] for one in standing] == [at(10.0)]


def test_an_operator_s_word_on_another_nation_s_message_reaches_it(live: Drawer) -> None:
    list(live.take(sent(1, track("USA", b"u" * 16, 10.0), 10.2)))
    word = track("KOR", b"2", 11.0)
    word.header.references.add(message_id=b"u" * 16, relation=content_pb2.RELATION_NOT_SAME_EVENT_AS)
    list(live.take(own(1, word, 11.2)))
    (drawing_,) = live.picture.drawings.values()
    assert len(drawing_.view.board.events) == 2


def test_time_passes_while_nothing_comes(live: Drawer) -> None:
    list(live.take(own(1, track("KOR", b"1", 10.0), 10.2)))
    states = [fused(one).status.state for second in range(11, 400) for one in live.take(Frame(Kind.TIME, at(second)))]
    assert content_pb2.EVENT_STATE_TRACK_LOST in states
    assert list(live.take(Frame(Kind.TIME, at(20.0)))) == [], "and never back"


def test_nothing_is_told_before_all_that_stood_there_and_then_only_how_it_is(tmp_path: Path) -> None:
    drawer = Drawer.start(tmp_path, "KOR")
    for number in range(1, 5):
        assert list(drawer.take(own(number, track("KOR", b"%d" % number, 10.0 + number), 10.2 + number))) == []
    (told,) = drawer.take(Frame(Kind.LIVE, 0))
    assert fused(told).contributions[0].message_count == 4


def test_it_goes_on_where_it_was_and_tells_again_only_what_did_not_come_back(live: Drawer, tmp_path: Path) -> None:
    (first,) = live.take(own(1, track("KOR", b"1", 10.0), 10.2))
    assert list(live.take(back(1, first))) == []
    (second,) = live.take(own(2, track("KOR", b"2", 11.0), 11.2))
    checkpoint.save(tmp_path, live.picture)
    again = Drawer.start(tmp_path, "KOR")
    assert (again.intake, again.inbox) == (2, 1)
    (told,) = again.take(Frame(Kind.LIVE, 0))
    assert fused(told) == fused(second)
    list(again.take(back(2, told)))
    (third,) = again.take(own(3, track("KOR", b"3", 12.0), 12.2))
    assert (fused(third).event_id, fused(third).revision) == (fused(first).event_id, 3)


def test_it_is_labelled_as_the_nation_s_and_kept_without_a_position(live: Drawer) -> None:
    (told,) = live.take(own(1, track("KOR", b"1", 10.0), 10.2))
    record = journal_pb2.InboxRecord.FromString(told.data)
    header = envelope_pb2.RoutingHeader.FromString(envelope_pb2.Envelope.FromString(record.delivery.envelope).header)
    assert (header.origin, header.recipient, header.label.policy) == ("KOR", "KOR", "KOR")
    assert list(header.label.releasable_to) == ["JPN", "KOR"]
    assert not record.delivery.position
    assert told.number == content_pb2.MODE_TEST


def test_a_record_that_is_none_is_passed_over_and_the_end_of_input_ends_it(tmp_path: Path) -> None:
    given = [Frame(Kind.INTAKE, 1, b"\xff\xff"), Frame(Kind.LIVE, 0), own(2, track("KOR", b"2", 10.0), 10.2)]
    source, sink = io.BytesIO(b"".join(frame.encoded() for frame in given)), io.BytesIO()
    drawing.run(Drawer.start(tmp_path, "KOR"), tmp_path, source, sink)
    sink.seek(0)
    begin, told, end = frames.read(sink), frames.read(sink), frames.read(sink)
    assert begin == Frame(Kind.BEGIN, 0, bytes(8))
    assert told is not None
    assert fused(told).revision == 1
    assert end is None
    assert Drawer.start(tmp_path, "KOR").intake == 2
