"""Canaries: a signed message to each nation every few seconds, the same way as a warning, in its lane, with its keys.

They carry the service level between launches, which are rare, and show a broken way before it is needed. They stand
outside the release policy because they hold nothing of the nation's: a number that counts this process's canaries to
that recipient and the time. They never alarm and are never fused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.clock import timestamp
from broker.gateway.ids import Kind, Scope
from broker.gateway.seal import Outgoing
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.clock import Clock
    from broker.gateway.ids import Ids

MODE = content_pb2.MODE_REAL_WORLD  # the way that must be known to work


async def keep_singing(
    *,
    us: str,
    period_s: float,
    recipients: Callable[[], list[str]],
    ids: Ids,
    clock: Clock,
    send: Callable[[Outgoing], Awaitable[None]],
) -> None:
    """Send a canary to every nation with whom we exchange, every `period_s` seconds, until cancelled."""
    number = 0
    session = str(clock.wall_ns())
    while True:
        number += 1
        for recipient in recipients():
            if recipient != us:
                await send(canary(us, recipient, number, session, ids, clock.wall_ns()))
        await asyncio.sleep(period_s)


def canary(us: str, recipient: str, number: int, session: str, ids: Ids, now_ns: int) -> Outgoing:
    """Return the canary of that number to one nation. `session`: another for every process."""
    scope = Scope(MODE, "", "gateway", session)
    content = content_pb2.Content()
    content.header.message_id = ids.of(Kind.CANARY, scope, recipient=recipient, local=str(number).encode())
    content.header.origin = us
    content.header.mode = MODE
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    content.canary.number = number
    content.canary.sent_at.CopyFrom(timestamp(now_ns))
    label = envelope_pb2.SecurityLabel(
        policy=us, classification=envelope_pb2.CLASSIFICATION_UNCLASSIFIED, releasable_to=[recipient]
    )
    return Outgoing(recipient, content, envelope_pb2.PRECEDENCE_FLASH, label, now_ns)
