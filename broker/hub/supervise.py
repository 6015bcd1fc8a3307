"""Keeps the fusion process alive: another process, started by exec, so that nothing it does can delay a warning.

It gets what it needs on its command line and nothing else; it comes back to us as a member, over mutual TLS. Its
standard input is a pipe that we hold: when we are gone, however we went, it reads the end of it and goes too.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

from broker.child import keep_running, send_away

if TYPE_CHECKING:
    from broker.hub.metrics import HubMetrics
    from broker.hub.settings import HubSettings

log = logging.getLogger(__name__)


async def keep_views(settings: HubSettings, target: str, *, metrics: HubMetrics) -> None:
    """Start the fusion process, and start it again whenever it ends; until cancelled."""

    async def run() -> None:
        metrics.views_starts.inc()
        code = await _run_once(_command(settings, target))
        log.error("the fusion process ended code=%d", code)

    await keep_running(run)


async def _run_once(command: list[str]) -> int:
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            await send_away(process)


def _command(settings: HubSettings, target: str) -> list[str]:
    options = {
        "target": target,
        "certs-dir": settings.certs_dir,
        "data-dir": settings.data_dir,
        "members": settings.members,
        "members-digest": settings.members_digest,
        "log-level": settings.log_level,
    }
    return [
        sys.executable,
        "-P",  # not from the folder that the hub was started in: this process loads the picture keys
        "-m",
        "broker.hub.views",
        "--until-eof",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
