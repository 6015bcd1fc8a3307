"""What one of the nation's systems reported, as a View takes it: the content as it is, under names of this gateway.

A system's ids are unique within its session; here they become ids of 16 bytes that are the same after a restart and
never those of another session. Ids of messages that the nation was sent are left as they are: operators refer to them,
and what is made from them says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import limits
from broker.gateway.ids import intake_key, lasting_key
from broker.gateway.pipeline import scope_of
from vedette.v1.content_pb2 import Content
from vedette.v1.envelope_pb2 import Envelope, RoutingHeader
from vedette.v1.exchange_pb2 import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.gateway.ids import Scope
    from vedette.v1.journal_pb2 import IntakeRecord

__all__ = ["delivery_of"]


def delivery_of(record: IntakeRecord, position: int, is_foreign: Callable[[bytes], bool]) -> Delivery:
    """Return a recorded report as a record of the log of this nation. `is_foreign`: a message that it was sent."""
    content = Content()
    content.CopyFrom(record.content)
    scope = scope_of(record)
    content.header.message_id = _message(scope, content.header.message_id)
    for reference in content.header.references:
        if not is_foreign(reference.message_id):
            reference.message_id = _message(scope, reference.message_id)
    sources = [one if is_foreign(one) else _message(scope, one) for one in content.header.lineage.message_ids]
    del content.header.lineage.message_ids[:]
    content.header.lineage.message_ids.extend(sources)
    _name(content, scope)
    header = RoutingHeader(
        origin=content.header.origin,
        recipient=content.header.origin,
        mode=content.header.mode,
        exercise=content.header.exercise if content.header.HasField("exercise") else None,
        label=record.label,
        sequence=position,
        message_id=content.header.message_id,
    )
    envelope = Envelope(header=header.SerializeToString(), body=content.SerializeToString())
    return Delivery(envelope=envelope.SerializeToString())


def _name(content: Content, scope: Scope) -> None:
    """Give event and object their names."""
    which = content.WhichOneof("body")
    if which not in {"launch", "track", "impact", "status"}:
        return
    body = getattr(content, which)
    for field, kind in (("event_id", b"event"), ("object_id", b"object")):
        if field in body.DESCRIPTOR.fields_by_name and getattr(body, field):
            setattr(body, field, lasting_key(scope, kind, getattr(body, field))[: limits.ID_BYTES])


def _message(scope: Scope, local: bytes) -> bytes:
    return intake_key(scope, local)[: limits.ID_BYTES]
