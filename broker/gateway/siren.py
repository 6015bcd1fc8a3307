"""When one watch is told of alarms. Pure: the time comes in as an argument, in seconds of one clock that only grows.

Live, a change is told with the warning that made it. Behind, after an absence, it is not: something that came later may
take it back. So the book runs ahead of what the watcher was shown, over all that has arrived, and what it says is told

* at the head, once: what holds there;
* before that, in doubt: a change that has stood for `limits.CATCH_UP_WAIT_S`. Each waits from its own arrival, not from
  the beginning of the absence: however long that lasts, no alarm waits longer, and none sounds sooner because another
  has waited.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker import limits
from broker.gateway.alarm import AlarmBook, Event

if TYPE_CHECKING:
    from collections.abc import Container

    from vedette.v1 import content_pb2
    from vedette.v1.national_pb2 import AlarmChange


@dataclass(slots=True)
class Siren:
    """What a watch was told of alarms, and what it is still to be told."""

    folded: int  # the book holds what stands in the inbox up to here
    is_behind: bool = False
    _book: AlarmBook = field(default_factory=AlarmBook)
    _over: set[Event] = field(default_factory=set)  # events whose end the watcher knows
    _untold: dict[Event, float] = field(default_factory=dict)  # changes of an absence, by when they came; oldest first

    def recall(self, content: content_pb2.Content) -> None:
        """Take a warning from before the watcher's place: it knows what followed from that."""
        self._book.fold(content)

    def fall_behind(self, now_s: float) -> None:
        """Begin an absence: from now on nothing is told at once. What stands is told again, sooner or later."""
        self.is_behind = True
        self._over = {_event(change) for change in self._book.lowered()}
        self._untold = {_event(change): now_s for change in self._book.raised()}

    def fold(
        self, position: int, content: content_pb2.Content, *, impact_is_past: bool, now_s: float
    ) -> list[AlarmChange]:
        """Take a warning that has arrived, whether it was shown or not, once; return what is to be told with it."""
        if position <= self.folded:
            return []
        self.folded = position
        changes = self._book.fold(content, impact_is_past=impact_is_past)
        if not self.is_behind:
            return changes
        for change in changes:
            self._untold.pop(_event(change), None)  # so that it stands last
            self._untold[_event(change)] = now_s
        return []

    def due_s(self) -> float | None:
        """Return when something is to be told in doubt, if nothing else comes."""
        return next((since_s + limits.CATCH_UP_WAIT_S for since_s in self._untold.values()), None)

    def overdue(self, now_s: float) -> list[AlarmChange]:
        """Return what has waited long enough."""
        return self._tell({event for event, s in self._untold.items() if s + limits.CATCH_UP_WAIT_S <= now_s})

    def at_head(self) -> list[AlarmChange]:
        """End the absence; return what holds: the ends of which the watcher does not know, and what stands."""
        self.is_behind = False
        return self._tell(set(self._untold))

    def _tell(self, events: Container[Event]) -> list[AlarmChange]:
        ends = [each for each in self._book.lowered() if _event(each) in events and _event(each) not in self._over]
        stand = [each for each in self._book.raised() if _event(each) in events]
        self._over |= {_event(change) for change in ends}
        self._over -= {_event(change) for change in stand}
        self._untold = {event: since_s for event, since_s in self._untold.items() if event not in events}
        return [*ends, *stand]


def _event(change: AlarmChange) -> Event:
    return Event(change.origin, change.event_id)
