"""Whether people are to be woken, as a function of what a watch was shown, in order. Pure.

An event's alarm is raised by a launch, a track or an impact prediction, and lowered when its origin takes it back
(NOT_A_LAUNCH), says that it is over (ALL_CLEAR, IMPACTED, PASSED, FAILED_IN_FLIGHT), or cancels every message that
raised it. The fused picture raises nothing: what it shows was reported, and raised, before. In doubt, alarm.

Late lowers nothing by itself. A late first report of an event raises no alarm only if the clocks are known to be right
and the impact that it predicts is past.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.clock import nanoseconds
from vedette.v1 import content_pb2, national_pb2

if TYPE_CHECKING:
    from vedette.v1.national_pb2 import Alarm

OVER: Final = frozenset(
    {
        content_pb2.EVENT_STATE_NOT_A_LAUNCH,
        content_pb2.EVENT_STATE_ALL_CLEAR,
        content_pb2.EVENT_STATE_IMPACTED,
        content_pb2.EVENT_STATE_PASSED,
        content_pb2.EVENT_STATE_FAILED_IN_FLIGHT,
    }
)
RAISING: Final = frozenset({"launch", "track", "impact"})


class Event(NamedTuple):
    """An event as one origin names it to us."""

    origin: str
    event_id: bytes


@dataclass(slots=True)
class _Raised:
    message_id: bytes  # the newest that speaks for it
    speaking: set[bytes] = field(default_factory=set)
    lowered: bool = False


@dataclass(slots=True)
class AlarmBook:
    """What is raised. `fold` one warning after the other; it answers with the change, if there is one."""

    _events: dict[Event, _Raised] = field(default_factory=dict)
    _event_of: dict[bytes, Event] = field(default_factory=dict)

    def fold(self, content: content_pb2.Content, *, impact_is_past: bool = False) -> national_pb2.AlarmChange | None:
        """Take one warning. `impact_is_past` is sure knowledge, not a guess."""
        change = self._fold_references(content)
        body = content.WhichOneof("body")
        if body == "status":
            event = Event(content.header.origin, content.status.event_id)
            if content.status.state in OVER:
                return self._lower(event, content.header.message_id) or change
        elif body in RAISING:
            event = Event(content.header.origin, getattr(content, body).event_id)
            return self._raise(event, content.header.message_id, quietly=impact_is_past) or change
        return change

    def raised(self) -> list[national_pb2.AlarmChange]:
        """Return an ALARM_RAISE for every event whose alarm stands now."""
        return [
            _change(national_pb2.ALARM_RAISE, event, raised.message_id)
            for event, raised in self._events.items()
            if not raised.lowered
        ]

    def lowered(self) -> list[national_pb2.AlarmChange]:
        """Return an ALARM_LOWER for every event whose alarm stood once and does not stand now."""
        return [
            _change(national_pb2.ALARM_LOWER, event, raised.message_id)
            for event, raised in self._events.items()
            if raised.lowered
        ]

    def _raise(self, event: Event, message_id: bytes, *, quietly: bool) -> national_pb2.AlarmChange | None:
        known = self._events.get(event)
        if known is None:
            if quietly:
                return None
            self._make_room()
            known = self._events[event] = _Raised(message_id, lowered=True)
        elif known.lowered and not known.speaking:
            known.lowered = True  # cancelled before, and reported again: it speaks again below
        elif known.lowered:
            return None  # over, as its origin said: a track that trails behind does not wake anybody again
        known.speaking.add(message_id)
        known.message_id = message_id
        self._event_of[message_id] = event
        if known.lowered:
            known.lowered = False
            return _change(national_pb2.ALARM_RAISE, event, message_id)
        return None

    def _lower(self, event: Event, message_id: bytes) -> national_pb2.AlarmChange | None:
        known = self._events.get(event)
        if known is None or known.lowered:
            return None
        known.lowered = True
        known.message_id = message_id
        return _change(national_pb2.ALARM_LOWER, event, message_id)

    def _fold_references(self, content: content_pb2.Content) -> national_pb2.AlarmChange | None:
        change = None
        for reference in content.header.references:
            event = self._event_of.get(reference.message_id)
            if event is None or event.origin != content.header.origin:
                continue  # nobody takes back what another nation said
            if reference.relation == content_pb2.RELATION_CANCELS:
                known = self._events[event]
                known.speaking.discard(reference.message_id)
                if not known.speaking:
                    change = self._lower(event, content.header.message_id) or change
        return change

    def _make_room(self) -> None:
        if len(self._events) >= limits.EVENTS_MAX:
            oldest = next(iter(self._events))
            for message_id in self._events.pop(oldest).speaking:
                self._event_of.pop(message_id, None)


def impact_is_past(content: content_pb2.Content, *, now_ns: int, clock_error_ns: int) -> bool:
    """Return whether the message predicts an impact that is surely over: its latest time, and the clocks' error, past.

    `now_ns` is in the content's own time: the exercise's, or the wall's.
    """
    if content.WhichOneof("body") != "impact" or not content.impact.time.HasField("latest"):
        return False
    margin_ns = clock_error_ns + 60 * limits.SECOND_NS
    return nanoseconds(content.impact.time.latest) + margin_ns < now_ns


def _change(alarm: Alarm.ValueType, event: Event, message_id: bytes) -> national_pb2.AlarmChange:
    return national_pb2.AlarmChange(alarm=alarm, origin=event.origin, event_id=event.event_id, message_id=message_id)
