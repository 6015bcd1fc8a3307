"""What is older than `limits.RETENTION_S` leaves the logs, so that the disk does not fill up and stop the warnings.

A record does not say in one place when it was stored, and need not: once a day a *mark* notes where each log ends, and
when a mark is as old as records may become, all up to it is forgotten. Marks are kept in the store. At each look at
most one mark falls due, so that a clock that is set to the wrong year costs a day of records an hour and not all.

Whoever still followed there goes on where the log begins (`broker.hub.route`); replay windows do not depend on records.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.hub.route import LOG_PREFIX
from broker.limits import SECOND_NS
from broker.store import Fenced, StoreError

if TYPE_CHECKING:
    from broker.clock import Clock
    from broker.store import Store

log = logging.getLogger(__name__)

STATE_NAME: Final = "retention"
LOOK_S: Final = 3600.0
MARK_S: Final = 24 * 3600.0


async def keep_forgetting(store: Store, clock: Clock) -> None:
    """Look every hour until cancelled. Raises Fenced; what else the store cannot do now, it is asked again later."""
    while True:
        try:
            await forget_old(store, clock.wall_ns())
        except Fenced:
            raise
        except StoreError as error:
            log.error("nothing was forgotten: %s", error)  # noqa: TRY400 - a store's errors are a closed set
        await asyncio.sleep(LOOK_S)


async def forget_old(store: Store, now_ns: int) -> None:
    """Make a mark if the newest is a day old, and forget what lies before the oldest if its time is over."""
    now_s = now_ns // SECOND_NS
    state = await store.state(STATE_NAME)
    marks: list[tuple[int, dict[str, int]]] = json.loads(state.get(STATE_NAME, b"[]"))
    known = len(marks)
    if not marks or now_s - marks[-1][0] >= MARK_S:
        marks.append((now_s, await _heads(store)))
    due = now_s - marks[0][0] >= limits.RETENTION_S
    if due:
        for stream, head in marks[0][1].items():
            await store.trim(stream, before=head + 1)
            log.info("forgotten stream=%s up_to=%d", stream, head)
    if due or len(marks) != known:
        await store.append([], state={STATE_NAME: json.dumps(marks[1:] if due else marks).encode()})


async def _heads(store: Store) -> dict[str, int]:
    return {stream: (await store.bounds(stream)).last for stream in await store.streams(LOG_PREFIX)}
