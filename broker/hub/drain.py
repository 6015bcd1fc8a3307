"""Going down without losing anybody: a hub that is told to stop says goodbye first.

In two steps, both inside `limits.DRAIN_S`. `begin`: every stream sends Goodbye, Follow streams send nothing more and
wait for their followers to hang up, Submit streams still take what is under way; nobody new comes in. `finish`: Follow
streams end, Submit streams stop reading, send the receipts that are owed and end. What was received and not receipted
is sent again by its origin, to us or to the next hub.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from broker.refusal import Reason, Refused
from vedette.v1.exchange_pb2 import Goodbye

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

RETURN_AFTER_MS: Final = 500  # about what a restart takes

GOODBYE: Final = Goodbye(reason="restarting", return_after_ms=RETURN_AFTER_MS)


class Drain:
    """How far the hub has gone down. Every open stream registers the event that wakes it."""

    def __init__(self) -> None:
        self.begun = False
        self.finishing = False
        self._streams: set[asyncio.Event] = set()

    @contextmanager
    def watched_by(self, wake: asyncio.Event) -> Iterator[None]:
        """Have a stream woken at each step. Raises Refused once draining has begun."""
        if self.begun:
            raise Refused(Reason.REASON_UNAVAILABLE, "the hub is going down: come back in a moment")
        self._streams.add(wake)
        try:
            yield
        finally:
            self._streams.discard(wake)

    def __len__(self) -> int:
        return len(self._streams)

    def begin(self) -> None:
        """Say goodbye to everybody."""
        self.begun = True
        self._wake_all()

    def finish(self) -> None:
        """End what is still open."""
        self.finishing = True
        self._wake_all()

    def _wake_all(self) -> None:
        for wake in self._streams:
            wake.set()
