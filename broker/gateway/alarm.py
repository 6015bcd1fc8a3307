"""Whether people are to be woken, as a function of what a watch was shown, in order. Pure.

An event's alarm is raised by a launch, a track or an impact prediction, and lowered when its origin takes it back
(NOT_A_LAUNCH), says that it is over (ALL_CLEAR, IMPACTED, PASSED, FAILED_IN_FLIGHT), or cancels every message that
raised it, a message being cancelled together with its corrections. The lanes overtake each other: what takes back may
come before what it takes back, which then wakes nobody. The fused picture raises nothing: what it shows was reported,
and raised, before. In doubt, alarm.

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


class _Message(NamedTuple):
    origin: str
    message_id: bytes


@dataclass(slots=True)
class _Known:
    """What is held of one event."""

    message_id: bytes  # the newest that changed its alarm or speaks for it
    stood: bool = False  # whether its alarm was ever raised
    stands: bool = False
    is_over: bool = False  # as its origin said; what trails behind does not wake anybody again
    speaking: dict[bytes, None] = field(default_factory=dict)  # the messages for it, oldest first
    corrections: dict[bytes, list[bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class AlarmBook:
    """What is raised. `fold` one warning after the other; it answers with the changes."""

    _events: dict[Event, _Known] = field(default_factory=dict)
    _event_of: dict[_Message, Event] = field(default_factory=dict)
    _cancelled: dict[_Message, None] = field(default_factory=dict)  # perhaps before they came; oldest first

    def fold(self, content: content_pb2.Content, *, impact_is_past: bool = False) -> list[national_pb2.AlarmChange]:
        """Take one warning. `impact_is_past` is sure knowledge, not a guess."""
        changes = self._take_back(content)
        body = content.WhichOneof("body")
        if body == "status" and content.status.state in OVER:
            changes += self._end(Event(content.header.origin, content.status.event_id), content.header.message_id)
        elif body in RAISING:
            event = Event(content.header.origin, getattr(content, body).event_id)
            changes += self._raise(event, content.header, quietly=impact_is_past)
        return changes

    def raised(self) -> list[national_pb2.AlarmChange]:
        """Return an ALARM_RAISE for every event whose alarm stands now."""
        return [
            _change(national_pb2.ALARM_RAISE, event, known.message_id)
            for event, known in self._events.items()
            if known.stands
        ]

    def lowered(self) -> list[national_pb2.AlarmChange]:
        """Return an ALARM_LOWER for every event whose alarm stood once and does not stand now."""
        return [
            _change(national_pb2.ALARM_LOWER, event, known.message_id)
            for event, known in self._events.items()
            if known.stood and not known.stands
        ]

    def _raise(
        self, event: Event, header: content_pb2.ContentHeader, *, quietly: bool
    ) -> list[national_pb2.AlarmChange]:
        message = _Message(header.origin, header.message_id)
        corrected = [each.message_id for each in header.references if each.relation == content_pb2.RELATION_CORRECTS]
        if any(_Message(header.origin, each) in self._cancelled for each in (header.message_id, *corrected)):
            self._note_cancelled(message)
            return []
        if quietly and event not in self._events:
            return []
        known = self._known(event, header.message_id)
        self._speak(known, message, event)
        for target in corrected:
            known.corrections.setdefault(target, []).append(header.message_id)
        if known.is_over:
            return []
        known.message_id = header.message_id
        if known.stands:
            return []
        known.stands = known.stood = True
        return [_change(national_pb2.ALARM_RAISE, event, header.message_id)]

    def _speak(self, known: _Known, message: _Message, event: Event) -> None:
        known.speaking[message.message_id] = None
        self._event_of[message] = event
        if len(known.speaking) > limits.REPORTS_PER_OBJECT_MAX:
            self._silence(known, message.origin, next(iter(known.speaking)))

    def _silence(self, known: _Known, origin: str, message_id: bytes) -> None:
        known.speaking.pop(message_id, None)
        self._event_of.pop(_Message(origin, message_id), None)

    def _end(self, event: Event, message_id: bytes) -> list[national_pb2.AlarmChange]:
        known = self._known(event, message_id)
        known.is_over = True
        return self._lower(event, known, message_id)

    @staticmethod
    def _lower(event: Event, known: _Known, message_id: bytes) -> list[national_pb2.AlarmChange]:
        if not known.stands:
            return []
        known.stands, known.message_id = False, message_id
        return [_change(national_pb2.ALARM_LOWER, event, message_id)]

    def _take_back(self, content: content_pb2.Content) -> list[national_pb2.AlarmChange]:
        changes: list[national_pb2.AlarmChange] = []
        for reference in content.header.references:
            if reference.relation != content_pb2.RELATION_CANCELS:
                continue
            target = _Message(content.header.origin, reference.message_id)  # nobody takes back what another said
            self._note_cancelled(target)
            event = self._event_of.get(target)
            if event is None:
                continue
            known = self._events[event]
            todo = [target.message_id]
            while todo:
                message_id = todo.pop()
                self._silence(known, target.origin, message_id)
                todo += known.corrections.pop(message_id, [])
            if not known.speaking:
                changes += self._lower(event, known, content.header.message_id)
        return changes

    def _note_cancelled(self, message: _Message) -> None:
        self._cancelled[message] = None
        if len(self._cancelled) > limits.ALARM_CANCELLED_MAX:
            self._cancelled.pop(next(iter(self._cancelled)))

    def _known(self, event: Event, message_id: bytes) -> _Known:
        known = self._events.get(event)
        if known is None:
            if len(self._events) >= limits.EVENTS_MAX:
                oldest = next(iter(self._events))
                for spoken in self._events.pop(oldest).speaking:
                    self._event_of.pop(_Message(oldest.origin, spoken), None)
            known = self._events[event] = _Known(message_id)
        return known


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
