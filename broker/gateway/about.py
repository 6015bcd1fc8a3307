"""What a message is about: the messages, the event and the object it speaks of, and the time for which it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.clock import exercise_ns, nanoseconds
from broker.gateway.ids import lasting_key
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.gateway.ids import Scope
    from broker.gateway.intake import Taken


def targets_of(references: Iterable[content_pb2.Reference], relation: int) -> list[bytes]:
    """Return the messages to which there is such a relation."""
    return [reference.message_id for reference in references if reference.relation == relation]


def target_of(references: Iterable[content_pb2.Reference], relation: int) -> bytes | None:
    """Return the first message to which there is such a relation."""
    return next(iter(targets_of(references, relation)), None)


def object_key_of(taken: Taken) -> bytes | None:
    """Return the key of what the values in the message belong to; None for a body without such values."""
    body_name = taken.body
    if body_name == "status" or not body_name:
        return None
    body = getattr(taken.content, body_name)
    for name in ("object_id", "event_id", "notice_id"):
        if local := getattr(body, name, b""):
            return lasting_key(taken.scope, f"{body_name}/{name}".encode(), local)
    return None


def valid_ns(taken: Taken) -> int:
    """Return the time for which the values in the message hold, in the content's own time."""
    header = taken.content.header
    if taken.body == "track" and taken.content.track.state.HasField("valid_at"):
        return nanoseconds(taken.content.track.state.valid_at)
    if header.HasField("observed_at"):
        return nanoseconds(header.observed_at)
    if header.HasField("exercise"):
        return exercise_ns(header.exercise, taken.received_ns)
    return taken.received_ns


def takes_back_event(content: content_pb2.Content) -> bool:
    """Return whether the message says that there was no launch: it takes back all that its origin said of the event."""
    return content.WhichOneof("body") == "status" and content.status.state == content_pb2.EVENT_STATE_NOT_A_LAUNCH


def event_key_of(content: content_pb2.Content, scope: Scope) -> bytes | None:
    """Return the key under which this gateway keeps the message's event; None for a body without one."""
    event_id = event_id_of(content)
    return lasting_key(scope, b"event", event_id) if event_id else None


def event_id_of(content: content_pb2.Content) -> bytes:
    """Return the event that the message speaks of; empty for a body without one."""
    body = content.WhichOneof("body")
    event_id: bytes = getattr(getattr(content, body), "event_id", b"") if body else b""
    return event_id
