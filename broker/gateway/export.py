"""`vedette fusion export`: the nation's log as lines that `vedette fusion replay` reads (`broker.fusion.replay`).

Ticks stand in it as they stood in the log, so that silence is replayed too. Pictures and canaries are left out: neither
goes into a picture. Times of arrival are the gateway's, and never go backwards.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf import json_format

from vedette.v1.content_pb2 import Content
from vedette.v1.envelope_pb2 import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from broker.gateway.logbook import Entry
    from vedette.v1.exchange_pb2 import Delivery

__all__ = ["lines"]


def lines(log: Iterable[Entry]) -> Iterator[str]:
    """Yield the log, a record a line."""
    arrival_ns = 0
    for entry in log:
        content = _content(entry.delivery)
        if content is None:
            continue
        arrival_ns = max(arrival_ns, entry.received_ns)
        document = {"arrival_ns": arrival_ns, "content": json_format.MessageToDict(content)}
        yield json.dumps(document, sort_keys=True, ensure_ascii=False)


def _content(delivery: Delivery) -> Content | None:
    """Return what a View is fed; None for what is never folded."""
    if delivery.WhichOneof("record") == "tick":
        content = Content(tick=delivery.tick.tick)
        content.header.mode = delivery.tick.mode
        if delivery.tick.exercise_id:
            content.header.exercise.exercise_id = delivery.tick.exercise_id
        return content
    content = Content.FromString(Envelope.FromString(delivery.envelope).body)
    return None if content.WhichOneof("body") in {"fused", "canary"} else content
