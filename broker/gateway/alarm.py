"""Whether people are to be woken, as a function of what a watch was shown. Pure.

The alarm of an event stands while a launch, a track or an impact prediction speaks for it and its origin has not said
that it is over (NOT_A_LAUNCH, ALL_CLEAR, IMPACTED, PASSED, FAILED_IN_FLIGHT). What was cancelled, a message being
cancelled together with its corrections, counts for neither: it no longer speaks, and it no longer ends anything, nor
does an end in whose place a correction stands. So a wrong all-clear that is taken back wakes again whoever it let
sleep. The lanes overtake each other: what takes back may come before what it takes back. Nobody takes back what another
nation said. The fused picture raises nothing: what it shows was reported, and raised, before. In doubt, alarm.

A status that names an object ends that object: what was said of it speaks no more, and an event of which more was said
stands. Only NOT_A_LAUNCH is of the whole event whatever it names, for it takes back all that was said of it.

Late lowers nothing by itself. A late first report of an event raises no alarm only if the clocks are known to be right
and the impact that it predicts is past.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.clock import nanoseconds
from vedette.v1 import content_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

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
STATUSES_MAX: Final = 64  # of one event that are remembered; the newest say it again


class Event(NamedTuple):
    """An event as one origin names it to us."""

    origin: str
    event_id: bytes


@dataclass(frozen=True, slots=True)
class _Said:
    """One message, as far as it matters here."""

    event_id: bytes
    object_id: bytes  # empty: of the event as a whole
    speaks: bool  # for the alarm
    ends: bool  # the event or the object
    corrects: tuple[bytes, ...]


@dataclass(slots=True)
class _Known:
    """What is held of one event."""

    stands: bool = False
    stood: bool = False  # whether its alarm was ever raised
    changed_by: bytes = b""  # the message that changed it last
    speaking: dict[bytes, None] = field(default_factory=dict)  # messages, oldest first
    objects: Counter[bytes] = field(default_factory=Counter)  # of which they speak
    statuses: dict[bytes, None] = field(default_factory=dict)  # that end something or correct what did, oldest first


@dataclass(slots=True)
class AlarmBook:
    """What is raised. `fold` one warning after the other; it answers with the changes."""

    _nations: dict[str, _Nation] = field(default_factory=dict)  # only members get as far as here

    def fold(self, content: content_pb2.Content, *, impact_is_past: bool = False) -> list[national_pb2.AlarmChange]:
        """Take one warning. `impact_is_past` is sure knowledge, not a guess."""
        origin = content.header.origin
        nation = self._nations.setdefault(origin, _Nation())
        changes = nation.fold(content, quietly=impact_is_past)
        return [_change(alarm, Event(origin, event_id), content.header.message_id) for event_id, alarm in changes]

    def raised(self) -> list[national_pb2.AlarmChange]:
        """Return an ALARM_RAISE for every event whose alarm stands now, with the newest message that speaks for it."""
        return [
            _change(national_pb2.ALARM_RAISE, event, next(reversed(known.speaking)))
            for event, known in self._events()
            if known.stands
        ]

    def lowered(self) -> list[national_pb2.AlarmChange]:
        """Return an ALARM_LOWER for every event whose alarm stood once and does not stand now."""
        return [
            _change(national_pb2.ALARM_LOWER, event, known.changed_by)
            for event, known in self._events()
            if known.stood and not known.stands
        ]

    def _events(self) -> Iterator[tuple[Event, _Known]]:
        for origin, nation in self._nations.items():
            for event_id, known in nation.events.items():
                yield Event(origin, event_id), known


@dataclass(slots=True)
class _Nation:
    """What one nation said, in room of its own: its flood displaces nothing of another's."""

    events: dict[bytes, _Known] = field(default_factory=dict)
    said: dict[bytes, _Said] = field(default_factory=dict)  # by message
    correctors: dict[bytes, dict[bytes, None]] = field(default_factory=dict)  # of a message, those in `said`
    cancelled: dict[bytes, None] = field(default_factory=dict)  # perhaps before they came; oldest first

    def fold(self, content: content_pb2.Content, *, quietly: bool) -> list[tuple[bytes, Alarm.ValueType]]:
        """Take one message; return the events whose alarm it changed, each once."""
        touched: dict[bytes, None] = {}
        for reference in content.header.references:
            if reference.relation == content_pb2.RELATION_CANCELS:
                touched |= self._cancel(reference.message_id)
        said = _said(content)
        if said is not None:
            touched |= self._hold(content.header.message_id, said, quietly=quietly)
        changes = ((event_id, self._settle(event_id, content.header.message_id)) for event_id in touched)
        return [(event_id, alarm) for event_id, alarm in changes if alarm is not None]

    def _settle(self, event_id: bytes, message_id: bytes) -> Alarm.ValueType | None:
        """Bring the alarm of an event to where it follows from the messages held; return the change."""
        known = self.events.get(event_id)
        if known is None:
            return None
        over = {self.said[each].object_id for each in known.statuses if self._is_end(each)}
        stands = b"" not in over and any(object_id not in over for object_id in known.objects)
        if stands == known.stands:
            return None
        known.stands, known.stood, known.changed_by = stands, True, message_id
        return national_pb2.ALARM_RAISE if stands else national_pb2.ALARM_LOWER

    def _is_end(self, message_id: bytes) -> bool:
        return self.said[message_id].ends and message_id not in self.correctors

    def _hold(self, message_id: bytes, said: _Said, *, quietly: bool) -> dict[bytes, None]:
        """Take a message in; return the events that it touches."""
        if any(each in self.cancelled for each in (message_id, *said.corrects)):
            return self._cancel(message_id)
        known = self.events.get(said.event_id)
        if message_id in self.said or (quietly and (known is None or not known.stood)):
            return {}
        if known is None:
            known = self._new_event(said.event_id)
        self.said[message_id] = said
        if said.speaks:
            known.speaking[message_id] = None
            known.objects[said.object_id] += 1
        else:
            known.statuses[message_id] = None
        touched = {said.event_id: None}
        for target in said.corrects:
            self.correctors.setdefault(target, {})[message_id] = None
            touched |= self._event_of(target)
        self._bound(known)
        return touched

    def _bound(self, known: _Known) -> None:
        """Forget the oldest messages of an event beyond the bounds; of each object that spoke the last one stays."""
        if len(known.statuses) > STATUSES_MAX:
            self._forget(next(iter(known.statuses)))
        if len(known.speaking) > limits.REPORTS_PER_OBJECT_MAX:
            several = (each for each in known.speaking if known.objects[self.said[each].object_id] > 1)
            self._forget(next(several, next(iter(known.speaking))))

    def _cancel(self, message_id: bytes) -> dict[bytes, None]:
        """Take a message back with all its corrections, whether they came or not; return the events touched."""
        touched: dict[bytes, None] = {}
        todo = [message_id]
        while todo:
            one = todo.pop()
            self.cancelled[one] = None
            if len(self.cancelled) > limits.ALARM_CANCELLED_MAX:
                del self.cancelled[next(iter(self.cancelled))]
            touched |= self._remove(one)
            todo += self.correctors.get(one, ())
        return touched

    def _remove(self, message_id: bytes) -> dict[bytes, None]:
        """Let a message go, as if it had never been; return the events touched: what it corrected counts again."""
        touched = self._event_of(message_id)
        said = self.said.pop(message_id, None)
        if said is None:
            return touched
        known = self.events[said.event_id]
        if said.speaks:
            del known.speaking[message_id]
            known.objects[said.object_id] -= 1
            if not known.objects[said.object_id]:
                del known.objects[said.object_id]
        else:
            del known.statuses[message_id]
        for target in dict.fromkeys(said.corrects):
            del self.correctors[target][message_id]
            if not self.correctors[target]:
                del self.correctors[target]
            touched |= self._event_of(target)
        return touched

    def _forget(self, message_id: bytes) -> None:
        """Let a message go for want of room. What it corrected goes with it: else an end that is none would count."""
        todo = [message_id]
        while todo:
            one = todo.pop()
            said = self.said.get(one)
            self._remove(one)
            todo += [each for each in said.corrects if each in self.said and self.said[each].ends] if said else []

    def _event_of(self, message_id: bytes) -> dict[bytes, None]:
        said = self.said.get(message_id)
        return {} if said is None else {said.event_id: None}

    def _new_event(self, event_id: bytes) -> _Known:
        if len(self.events) >= limits.NODES_PER_ORIGIN_MAX:
            # What is over gives way first, then the oldest.
            oldest = min(self.events, key=lambda each: self.events[each].stands)
            for message_id in (*self.events[oldest].speaking, *self.events[oldest].statuses):
                self._forget(message_id)
            del self.events[oldest]
        known = self.events[event_id] = _Known()
        return known


def _said(content: content_pb2.Content) -> _Said | None:
    """Return what a message says of an event's alarm; None if nothing."""
    corrects = tuple(
        each.message_id for each in content.header.references if each.relation == content_pb2.RELATION_CORRECTS
    )
    match content.WhichOneof("body"):
        case "launch":
            return _Said(content.launch.event_id, b"", speaks=True, ends=False, corrects=corrects)
        case "track":
            track = content.track
            return _Said(track.event_id, track.object_id, speaks=True, ends=False, corrects=corrects)
        case "impact":
            impact = content.impact
            return _Said(impact.event_id, impact.object_id, speaks=True, ends=False, corrects=corrects)
        case "status" if content.status.state in OVER or corrects:
            status = content.status
            is_whole = status.state == content_pb2.EVENT_STATE_NOT_A_LAUNCH
            object_id = b"" if is_whole else status.object_id
            return _Said(status.event_id, object_id, speaks=False, ends=status.state in OVER, corrects=corrects)
        case _:
            return None


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
