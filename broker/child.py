"""A process of ours that we keep alive: how long it waits before it starts again, and how it is sent away.

Its standard input is a pipe that we hold: when we are gone, however we went, it reads the end of it and goes too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker import limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["keep_running", "send_away"]

_SETTLED_S: Final = 30.0  # a process that lived so long is started again at once
_LEAVE_S: Final = 2.0  # from the end of its input to being killed


async def keep_running(run: Callable[[], Awaitable[None]]) -> None:
    """Run a process, and again whenever it ends, with a pause that grows while it ends at once; until cancelled.

    `run` returns when the process has ended, whatever ended it; what it raises ends this too.
    """
    pause_s = limits.RECONNECT_FIRST_S
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await run()
        if loop.time() - began > _SETTLED_S:
            pause_s = limits.RECONNECT_FIRST_S
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, limits.RECONNECT_MAX_S)


async def send_away(process: asyncio.subprocess.Process) -> None:
    """End a process: by the end of its input, and if it stays, by force. Returns when it is gone."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _LEAVE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
