from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.content import (
    LEAVES,
    SCHEMA_DIGEST,
    check_content,
    check_message,
    parse_content,
    parse_strict,
    set_leaves,
)
from broker.leaves import node_of, schema_lines
from broker.refusal import Reason, Refused
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2, options_pb2
from vedette.v1.content_pb2 import Content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

UNKNOWN = b"\xf8\xff\x01\x01"  # field 4095, a varint


def full_track() -> Content:
    """Return a valid track with every message below it present."""
    content = Content()
    header = content.header
    header.message_id, header.origin, header.mode = b"m" * 16, "KOR", content_pb2.MODE_EXERCISE
    header.exercise.exercise_id, header.exercise.rate = "ex-1", 10.0
    header.exercise.wall_zero.seconds = header.exercise.exercise_zero.seconds = 1_780_000_000
    header.observed_at.seconds = 1_780_000_000
    header.observed_cell.time.seconds = 1
    header.clock.max_error.seconds = 1
    header.references.add(message_id=b"r" * 16, relation=content_pb2.RELATION_CORRECTS)
    header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    header.provenance.add(actor="kor").at.seconds = 1
    header.stamps.received_at.seconds = 1
    header.disclosure.withheld.append("source")
    track = content.track
    track.event_id, track.object_id = b"e" * 16, b"o" * 16
    track.state.frame = measures_pb2.FRAME_ECEF_WGS84
    track.state.valid_at.seconds = 1_780_000_000
    track.state.position_m.extend([-3e6, 4e6, 4e6])
    track.state.velocity_mps.extend([1e3, 2e3, 3e3])
    track.state.covariance.extend([1.0] * 21)
    track.state.cell.space_m = 10.0
    track.apogee_m.value = 1e5
    track.apogee_m.cell.space_m = 1.0
    track.ground_range_m.value = 1e6
    track.phase = content_pb2.PHASE_COAST
    track.confidence = 0.5
    track.source.name = "Aegis 1"
    track.source.site.lat_deg = 35.0
    return content


def reason_of(content: Content, *, incoming: bool = True) -> str:
    with pytest.raises(Refused) as refused:
        check_content(content, incoming=incoming)
    return Reason.Name(refused.value.reason).removeprefix("REASON_")


def messages_below(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else (value,):
                yield from messages_below(each)


def test_a_full_track_passes() -> None:
    check_content(full_track(), incoming=True)
    check_content(full_track(), incoming=False)


def test_an_unknown_field_is_refused_at_every_level() -> None:
    for index in range(len(list(messages_below(full_track())))):
        content = full_track()
        target = list(messages_below(content))[index]
        target.MergeFromString(UNKNOWN)
        assert reason_of(content) == "UNKNOWN_FIELD", target.DESCRIPTOR.full_name


@pytest.mark.parametrize("value", [99, -1, 2**31 - 1, -(2**31)])
def test_an_unknown_enum_value_is_refused_at_every_level(value: int) -> None:
    tried = set()
    for index in range(len(list(messages_below(full_track())))):
        for name in [f.name for f in list(messages_below(full_track()))[index].DESCRIPTOR.fields if f.enum_type]:
            content = full_track()
            setattr(list(messages_below(content))[index], name, value)
            assert reason_of(content) == "UNKNOWN_ENUM_VALUE", name
            tried.add(name)
    assert tried == {"mode", "relation", "kind", "action", "frame", "phase"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -math.nan])
def test_what_is_not_finite_is_refused_in_every_number(value: float) -> None:
    for index in range(len(list(messages_below(full_track())))):
        fields = list(messages_below(full_track()))[index].DESCRIPTOR.fields
        for field in (each for each in fields if each.type == FieldDescriptor.TYPE_DOUBLE):
            content = full_track()
            target: Any = list(messages_below(content))[index]
            if field.is_repeated:
                getattr(target, field.name)[0] = value
            else:
                setattr(target, field.name, value)
            assert reason_of(content) == "NOT_FINITE", field.full_name


@pytest.mark.parametrize("place", [0, 1, 10, 20])
def test_what_is_not_finite_does_not_hide_among_the_terms_of_a_vector(place: int) -> None:
    for value in (math.nan, math.inf, -math.inf):
        content = full_track()
        content.track.state.covariance[place] = value
        assert reason_of(content) == "NOT_FINITE"


def test_every_bounded_number_is_refused_just_outside_its_bounds() -> None:
    tried = 0
    for index in range(len(list(messages_below(full_track())))):
        for field in list(messages_below(full_track()))[index].DESCRIPTOR.fields:
            bounds = field.GetOptions().Extensions[options_pb2.bounds]
            for bound, side in ((bounds.least, -math.inf), (bounds.most, math.inf)):
                if field.type == FieldDescriptor.TYPE_DOUBLE and bounds.HasField("least"):
                    content = full_track()
                    target: Any = list(messages_below(content))[index]
                    if field.is_repeated:
                        getattr(target, field.name)[0] = math.nextafter(bound, side)
                    else:
                        setattr(target, field.name, math.nextafter(bound, side))
                    assert reason_of(content) == "OUT_OF_RANGE", field.full_name
                    tried += 1
    assert tried >= 30


CASES: dict[str, tuple[str, Callable[[Content], object]]] = {
    "no message id": ("MISSING_FIELD", lambda c: c.header.ClearField("message_id")),
    "no header": ("MISSING_FIELD", lambda c: c.ClearField("header")),
    "no origin": ("MISSING_FIELD", lambda c: c.header.ClearField("origin")),
    "no mode": ("MODE_NOT_ALLOWED", lambda c: c.header.ClearField("mode")),
    "no exercise in an exercise": ("EXERCISE_BASE", lambda c: c.header.ClearField("exercise")),
    "an exercise in the real world": ("EXERCISE_BASE", lambda c: setattr(c.header, "mode", 1)),
    "no rate": ("MISSING_FIELD", lambda c: c.header.exercise.ClearField("rate")),
    "an exercise id with a space": ("OUT_OF_RANGE", lambda c: setattr(c.header.exercise, "exercise_id", "a b")),
    "a newline after a good text": ("OUT_OF_RANGE", lambda c: setattr(c.header, "origin", "KOR\n")),
    "a digit of another script": ("OUT_OF_RANGE", lambda c: setattr(c.track.source, "name", "٣")),
    "a name too long": ("TOO_LARGE", lambda c: setattr(c.track.source, "name", "a" * 33)),
    "too many provenance steps": ("TOO_LARGE", lambda c: [c.header.provenance.add() for _ in range(17)]),
    "an id too short": ("OUT_OF_RANGE", lambda c: setattr(c.header, "message_id", b"m" * 15)),
    "an id too long": ("TOO_LARGE", lambda c: setattr(c.header, "message_id", b"m" * 65)),
    "an empty id in a list": ("MISSING_FIELD", lambda c: c.header.lineage.message_ids.append(b"")),
    "two coordinates": ("OUT_OF_RANGE", lambda c: c.track.state.position_m.pop()),
    "no position": ("MISSING_FIELD", lambda c: c.track.state.ClearField("position_m")),
    "20 terms": ("OUT_OF_RANGE", lambda c: c.track.state.covariance.pop()),
    "21 terms without a velocity": ("MISSING_FIELD", lambda c: c.track.state.ClearField("velocity_mps")),
    "a negative variance": ("OUT_OF_RANGE", lambda c: c.track.state.covariance.__setitem__(20, -1.0)),
    "no frame": ("MISSING_FIELD", lambda c: c.track.state.ClearField("frame")),
    "a time before 1970": ("OUT_OF_RANGE", lambda c: setattr(c.header.observed_at, "seconds", -1)),
    "a time after 2200": ("OUT_OF_RANGE", lambda c: setattr(c.header.observed_at, "seconds", limits.TIME_MAX_S)),
    "too many nanoseconds": ("OUT_OF_RANGE", lambda c: setattr(c.header.observed_at, "nanos", 10**9)),
    "negative nanoseconds": ("OUT_OF_RANGE", lambda c: setattr(c.header.observed_at, "nanos", -1)),
    "a negative duration": ("OUT_OF_RANGE", lambda c: setattr(c.header.clock.max_error, "seconds", -1)),
    "a duration too long": ("OUT_OF_RANGE", lambda c: setattr(c.header.clock.max_error, "seconds", 3601)),
    "a duration of two signs": ("MALFORMED", lambda c: setattr(c.header.clock.max_error, "nanos", -1)),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_with_its_own_reason(name: str) -> None:
    reason, spoil = CASES[name]
    content = full_track()
    spoil(content)
    assert reason_of(content) == reason


def test_a_nations_own_system_may_use_its_own_ids_and_leave_out_origin_and_mode() -> None:
    content = full_track()
    content.header.message_id = b"aegis-1/0042"
    content.track.event_id = b"e"
    for name in ("origin", "mode", "exercise"):
        content.header.ClearField(name)
    check_content(content, incoming=False)
    assert reason_of(content, incoming=True) in {"OUT_OF_RANGE", "MISSING_FIELD"}


def test_a_time_window_runs_from_earliest_over_best_to_latest() -> None:
    content = full_track()
    content.launch.event_id = b"e" * 16
    window = content.launch.launch_time
    window.earliest.FromSeconds(10)
    window.best.FromSeconds(11)
    window.latest.FromSeconds(11)
    check_content(content, incoming=True)
    window.best.FromSeconds(12)
    assert reason_of(content) == "OUT_OF_RANGE"
    window.ClearField("best")
    window.latest.FromSeconds(9)
    assert reason_of(content) == "OUT_OF_RANGE"


def test_a_count_runs_from_least_to_most() -> None:
    content = full_track()
    content.launch.event_id = b"e" * 16
    content.launch.count.least, content.launch.count.most = 8, 10
    check_content(content, incoming=True)
    content.launch.count.least = 11
    assert reason_of(content) == "OUT_OF_RANGE"
    content.launch.count.ClearField("least")
    assert reason_of(content) == "MISSING_FIELD"


def bare(*relations: content_pb2.Relation.ValueType) -> Content:
    content = Content()
    content.header.message_id, content.header.origin, content.header.mode = b"m" * 16, "KOR", content_pb2.MODE_TEST
    for relation in relations:
        content.header.references.add(message_id=b"r" * 16, relation=relation)
    return content


def test_a_message_without_a_body_cancels_and_does_nothing_else() -> None:
    check_content(bare(content_pb2.RELATION_CANCELS), incoming=True)
    check_content(bare(content_pb2.RELATION_CANCELS, content_pb2.RELATION_CANCELS), incoming=True)
    assert reason_of(bare()) == "MISSING_FIELD"
    assert reason_of(bare(content_pb2.RELATION_CORRECTS)) == "MISSING_FIELD"
    assert reason_of(bare(content_pb2.RELATION_CANCELS, content_pb2.RELATION_CORRECTS)) == "MISSING_FIELD"
    content = bare(content_pb2.RELATION_CANCELS)
    content.header.observed_at.FromSeconds(1)
    check_content(content, incoming=False)  # its own gateway takes the rest away
    assert reason_of(content) == "BODY_NOT_ALLOWED"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_strictly_valid(data: bytes) -> None:
    try:
        content = parse_content(data, incoming=True)
    except Refused:
        return
    check_content(content, incoming=True)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_strictly_valid(place: int, byte: int) -> None:
    data = bytearray(full_track().SerializeToString(deterministic=True))
    data[place % len(data)] = byte
    try:
        content = parse_content(bytes(data), incoming=True)
    except Refused as refused:
        assert refused.reason in Reason.values()  # noqa: PT017 - either outcome is right
        return
    check_content(content, incoming=True)


def test_bytes_that_do_not_parse_are_malformed() -> None:
    with pytest.raises(Refused) as refused:
        parse_content(b"\xff", incoming=True)
    assert refused.value.reason == Reason.REASON_MALFORMED


def test_more_than_the_transport_carries_is_not_even_parsed() -> None:
    with pytest.raises(Refused) as refused:
        parse_strict(Content, b"\0" * (limits.TRANSPORT_BYTES_MAX + 1))
    assert refused.value.reason == Reason.REASON_TOO_LARGE


def test_the_protocol_around_a_content_is_checked_as_strictly() -> None:
    header = envelope_pb2.RoutingHeader(origin="KOR", recipient="JPN", mode=content_pb2.MODE_TEST)
    assert parse_strict(envelope_pb2.RoutingHeader, header.SerializeToString()) == header
    for spoilt, reason in (
        (header.SerializeToString() + UNKNOWN, Reason.REASON_UNKNOWN_FIELD),
        (envelope_pb2.RoutingHeader(lane=99).SerializeToString(), Reason.REASON_UNKNOWN_ENUM_VALUE),  # type: ignore[arg-type]
    ):
        with pytest.raises(Refused) as refused:
            parse_strict(envelope_pb2.RoutingHeader, spoilt)
        assert refused.value.reason == reason
    # Bounds of a Content's own fields do not cut off what carries it.
    check_message(envelope_pb2.Envelope(header=b"h" * 2000, body=b"b" * limits.BODY_BYTES_MAX))


def test_a_refusal_never_tells_the_value() -> None:
    content = full_track()
    content.track.source.name = "secret-site!"
    with pytest.raises(Refused) as refused:
        check_content(content, incoming=True)
    assert "secret" not in str(refused.value)


def test_set_leaves_names_what_is_set_and_no_identity_or_cell() -> None:
    assert set(set_leaves(full_track())) == {
        "header.observed_at",
        "header.clock.max_error",
        "header.provenance.actor",
        "header.provenance.at",
        "header.stamps.received_at",
        "track.state.frame",
        "track.state.valid_at",
        "track.state.position_m",
        "track.state.velocity_mps",
        "track.state.covariance",
        "track.apogee_m.value",
        "track.ground_range_m.value",
        "track.phase",
        "track.confidence",
        "track.source.name",
        "track.source.site.lat_deg",
    }


def test_set_leaves_names_bodies_that_no_policy_places_too() -> None:
    content = Content()
    content.fused.launch.confidence = 0.5
    assert list(set_leaves(content)) == ["fused.launch.confidence"]


def test_leaves_are_of_bodies_under_policy_alone() -> None:
    assert {leaf.body for leaf in LEAVES.values()} == {
        "header",
        "launch",
        "track",
        "impact",
        "status",
        "operator_ack",
        "heartbeat",
        "notice",
    }
    assert all(path == ".".join(field.name for field in leaf.fields) for path, leaf in LEAVES.items())
    with pytest.raises(KeyError):
        node_of("nothing")


def test_the_schema_digest_names_the_messages() -> None:
    assert SCHEMA_DIGEST.startswith("sha256:")
    assert len(SCHEMA_DIGEST) == len("sha256:") + 64


def test_what_a_picture_says_makes_no_policy_another() -> None:
    messages = {line.split()[1].rsplit(".", 1)[0] for line in schema_lines() if line.startswith("field ")}
    assert {"vedette.v1.Content", "vedette.v1.TrackUpdate", "vedette.v1.SecurityLabel"} <= messages
    assert not messages & {"vedette.v1.FusedEvent", "vedette.v1.ObjectAssessment", "vedette.v1.Tick"}
