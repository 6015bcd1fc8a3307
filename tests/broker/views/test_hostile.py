"""Whatever may stand in a log without being refused: no View fails, hangs or grows, and every picture can be sent.

Contents are those of random stories with random leaves replaced, mostly by what lies at or beyond the edge; those that
`broker.content` refuses never reach a log. Ids come from a small pool, so that corrections, cancellations, lineage and
operators' words go round in circles; numbers are extreme; clocks jump; events come in floods.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from broker import limits
from broker.content import parse_content
from broker.fusion.view import fused_content
from broker.refusal import Refused
from tests.broker.fusion import random_logs
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from broker.fusion.view import View

NUMBERS: Final = (
    *(0.0, -0.0, 1.0, -1.0, 1e-9, 5e-324, 1e-300, 0.95, 1.0 - 1e-16, 45.0, 90.0, -90.0, 180.0, -180.0, 359.999, 1e3),
    *(7.9e3, -1.2e4, 1e5, 6.378137e6, -6.4e6, 4.2e7, 1e8, 1e12, -1e12, 1e15, 1e300, -1e300),
)
INTEGERS: Final = (0, 1, 2, 3, 63, 255, 4_095, 2**31 - 1, 2**32 - 1, 2**63 - 1, -1)
IDS: Final = tuple(bytes([number]) * 16 for number in range(6))
MUTATIONS_MAX: Final = 6
RECORD_CPU_S: Final = (
    20.0  # a bound and no measurement: what takes this long hangs; the usual record takes milliseconds
)
MINUTES: Final = 10.0


def _leaves(message: Message) -> list[tuple[Message, Any]]:
    """Return every field of a message that could be set to something else, and of the messages in it."""
    found: list[tuple[Message, Any]] = [(message, field) for field in message.DESCRIPTOR.fields]
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                found += _leaves(inner)
    return found


def _any(draw: random.Random, field: Any) -> Any:
    """Return some value for a field."""
    match field.type:
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return draw.choice(NUMBERS) if draw.random() < 0.7 else draw.uniform(-1e7, 1e7)
        case FieldDescriptor.TYPE_BYTES:
            return draw.choice(IDS)
        case FieldDescriptor.TYPE_STRING:
            return draw.choice(("", "KOR", "USA", "JPN", "x" * 64, "ЖЖ"))
        case FieldDescriptor.TYPE_BOOL:
            return draw.random() < 0.5
        case FieldDescriptor.TYPE_ENUM:
            return draw.choice(field.enum_type.values).number
        case _:
            return draw.choice(INTEGERS)


def _replace(draw: random.Random, content: content_pb2.Content, zero_s: int) -> None:
    """Replace one leaf of a content."""
    message, field = draw.choice(_leaves(content))
    if isinstance(message, Timestamp):
        message.seconds = draw.choice((0, 1, zero_s, zero_s + 25, zero_s - 200, zero_s + 10_000, limits.TIME_MAX_S - 1))
        message.nanos = draw.choice((0, 1, 999_999_999))
    elif field.is_repeated:
        values = getattr(message, field.name)
        if values and draw.random() < 0.5:
            del values[draw.randrange(len(values))]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            values.add()
        elif values:
            values[draw.randrange(len(values))] = _any(draw, field)
        else:
            values.append(_any(draw, field))
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if message.HasField(field.name):
            message.ClearField(field.name)
        elif field.containing_oneof is None:
            getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _any(draw, field))


def hostile(draw: random.Random, content: content_pb2.Content, zero_s: int) -> content_pb2.Content | None:
    """Return a content that was changed at a few places; None if the door refuses it."""
    found = content_pb2.Content()
    found.CopyFrom(content)
    if draw.random() < 0.7:
        found.header.message_id = draw.choice((*IDS, draw.randbytes(16), draw.randbytes(16)))
    if draw.random() < 0.4:
        relation = draw.choice((1, 2, 3, 4, 5, 6))
        found.header.references.add(message_id=draw.choice(IDS), relation=relation)
    if draw.random() < 0.3:
        found.header.lineage.kind = draw.choice((2, 3))  # type: ignore[assignment] # a number
        found.header.lineage.message_ids.append(draw.choice(IDS))
    body = found.WhichOneof("body")
    if body and draw.random() < 0.3:
        getattr(found, body).event_id = draw.choice((*IDS, draw.randbytes(16)))
    for _ in range(draw.randrange(MUTATIONS_MAX)):
        try:
            _replace(draw, found, zero_s)
        except (ValueError, TypeError, OverflowError):
            continue  # protobuf itself would not take it
    found.header.mode = content.header.mode
    found.header.origin = content.header.origin
    found.header.ClearField("exercise")
    try:
        return parse_content(found.SerializeToString(), incoming=True)
    except Refused:
        return None


def size_of(view: View) -> int:
    """Return how many things a View holds."""
    board = view.board
    return (
        len(view.ledger.messages)
        + sum(len(own) for own in view.ledger.tombstones.values())
        + len(board.nodes)
        + sum(len(event.objects) for event in board.events)
        + len(view.packed)
        + len(view.forgotten)
        + len(view.register.entries)
    )


def attack(world: Any, seed: int, records: int) -> int:
    """Feed a View what is hostile; return how many contents passed the door."""
    draw = random.Random(seed)  # noqa: S311 - a test's malice
    story = random_logs.Story(world, seed, length_s=10.0)
    log, zero_s, passed = world.log(), world.ZERO_NS // limits.SECOND_NS, 0
    for _ in range(records):
        at_s, honest = draw.choice(story.said)
        content = hostile(draw, honest, zero_s) if draw.random() < 0.8 else honest
        if content is None:
            continue
        passed += 1
        began_s = time.process_time()
        published = log.take(content)
        if draw.random() < 0.2:
            second = max(int(at_s), log.now_s or 0) + draw.choice((0, 0, 1, 1, 30, 700))
            published += log.tick(min(second, int(at_s) + 9_000))
        assert time.process_time() - began_s < RECORD_CPU_S, f"seed {seed}: a record hangs"
        for fused in published:
            sent = fused_content(fused, recipient="JPN", mode=content_pb2.MODE_TEST).SerializeToString()
            assert len(sent) <= limits.BODY_BYTES_MAX
            parse_content(sent, incoming=True)
    assert size_of(log.view) < 6 * records + 100, "what it holds is bounded by what it was given"
    again = type(log.view).restore(log.view.checkpoint())
    assert again.checkpoint() == log.view.checkpoint()
    return passed


@pytest.mark.parametrize("seed", range(6))
def test_a_hostile_log_neither_fails_nor_hangs_nor_grows(world: Any, seed: int) -> None:
    assert attack(world, seed, 60) > 15


def test_a_report_whose_cell_ends_after_all_times_leads_to_pictures_that_can_be_sent(world: Any) -> None:
    last = world.nation("KOR").track("k", 0.0, world.fly().at(90.0), sigma_m=300.0)
    last.track.state.valid_at.FromSeconds(limits.TIME_MAX_S - 1)
    last.track.state.cell.space_m = 1_000.0
    last.track.state.cell.time.FromSeconds(10)
    (fused,) = world.log().take(parse_content(last.SerializeToString(), incoming=True))
    sent = fused_content(fused, recipient="JPN", mode=content_pb2.MODE_TEST).SerializeToString()
    assert parse_content(sent, incoming=True).fused.contributions[0].HasField("track")


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_ten_minutes_of_hostile_logs(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    began_s, seed, passed = time.monotonic(), 10_000, 0
    while (spent_s := time.monotonic() - began_s) < MINUTES * 60.0:
        passed += attack(world, seed, 200)
        seed += 1
        with capsys.disabled():
            print(f"\rhostile logs: {seed - 10_000}, contents: {passed}, {spent_s / 60.0:.1f} min", end="", flush=True)  # noqa: T201 - progress
    assert passed
