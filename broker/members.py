"""The members document in force in a running process, and how a newer one takes its place.

The file is looked at again every second. A newer version that is signed as it must be is swapped in whole, and whoever
listens is told (streams of somebody who was revoked are cut by that). Anything else, an older version included, changes
nothing and is logged once.

Certificates also run out while a document stays as it is. So whoever listens is told of the document in force once a
minute all the same, and cuts the streams of those that have.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from certs.members import MembersError, load_members

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.clock import Clock
    from certs.members import Members

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
TELL_AGAIN_S: Final = 60.0


@dataclass(slots=True)
class MembersInForce:
    """The document that this process obeys."""

    path: Path
    clock: Clock
    current: Members
    listeners: list[Callable[[Members], None]] = field(default_factory=list)
    _complaint: str = ""

    @classmethod
    def start(cls, path: Path, pinned_digest: str, clock: Clock) -> MembersInForce:
        """Begin with the document in a file, trusted by the digest of one that it follows. Raises MembersError."""
        return cls(path, clock, load_members(path, pinned_digest=pinned_digest, now_ns=clock.wall_ns()))

    async def watch(self) -> None:
        """Take over newer versions until cancelled."""
        loop = asyncio.get_running_loop()
        told_at = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except Exception as fault:  # noqa: BLE001
                # The boundary of this task, which would end the process: whoever can write the file could stop it.
                self._complain(f"{type(fault).__name__}: {fault}")
            if loop.time() - told_at >= TELL_AGAIN_S:
                told_at = loop.time()
                self._tell()

    def look(self) -> None:
        """Look at the file once."""
        try:
            newest = load_members(self.path, previous=self.current, now_ns=self.clock.wall_ns())
        except MembersError as error:
            self._complain(str(error))
            return
        self._complaint = ""
        if newest.version > self.current.version:
            log.warning("members document version=%d in force", newest.version)
            self.current = newest
            self._tell()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener(self.current)

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.error("members document not taken over: %s", complaint)
