"""The members document in force in a running process, and how a newer one takes its place.

The file is looked at again every second. A newer version that is signed as it must be is swapped in whole, and whoever
listens is told (streams of somebody who was revoked are cut by that). Anything else, an older version included, changes
nothing and is logged once.
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
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Look at the file once."""
        try:
            newest = load_members(self.path, previous=self.current, now_ns=self.clock.wall_ns())
        except MembersError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.error("members document not taken over: %s", error)  # noqa: TRY400 - expected, no trace
            return
        self._complaint = ""
        if newest.version > self.current.version:
            log.warning("members document version=%d in force", newest.version)
            self.current = newest
            for listener in self.listeners:
                listener(newest)
