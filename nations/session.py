"""The lines of one sensor, in order: what a line says depends on those before it.

A nation brings a function that reads one line and remembers nothing; the session remembers:

* Sensors use a track number again after dropping the track. A launch or a track line that bears a dropped number
  speaks of a new object, so its ids get a generation: `aegis-1/0042`, then `aegis-1/0042#2`. Impact and status lines
  begin nothing: they speak of the newest object of that number.
* A line that corrects another speaks of the object of which that one spoke, dropped or not. A correction or a
  cancellation of the line that dropped a track takes up the track again.
* A line that is sent again says the same again and changes nothing.

The line is read whole before anything is remembered: what raises UnreadableLine leaves no trace. A correction or a
cancellation is never refused for want of memory: it names its target, and the gateway knows what it sent.

A session outlives its process. Of each track number whose next use would not be the first, the generation and what
dropped it are noted in the gateway's memory; of which object an earlier line spoke is seen from what it reported.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, assert_never

from google.protobuf.duration_pb2 import Duration

from broker import limits
from broker.plugin import Reported
from nations import bodies
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.plugin import Memory, Observation

__all__ = ["Body", "Head", "Retraction", "Session", "Statement", "line_number"]

Body = content_pb2.LaunchDetection | content_pb2.TrackUpdate | content_pb2.ImpactPrediction | content_pb2.EventStatus

_EVENT: Final = re.compile(rb"([^#]+)(?:#([0-9]{1,9}))?")

# After these a sensor no longer holds the object, and its number is free.
DROPPED: Final = frozenset(
    {
        content_pb2.EVENT_STATE_TRACK_LOST,
        content_pb2.EVENT_STATE_FAILED_IN_FLIGHT,
        content_pb2.EVENT_STATE_IMPACTED,
        content_pb2.EVENT_STATE_PASSED,
        content_pb2.EVENT_STATE_ALL_CLEAR,
        content_pb2.EVENT_STATE_NOT_A_LAUNCH,
    }
)


@dataclass(frozen=True, slots=True)
class Head:
    """What every line says."""

    sensor: str
    number: str  # the line's own, unique in the session
    time_ns: int
    clock_error_s: float | None  # None: the sensor does not know how good its clock is
    label: envelope_pb2.SecurityLabel


@dataclass(frozen=True, slots=True)
class Statement:
    """A line that says something of an object. The body's ids are the session's to set."""

    head: Head
    track: int
    body: Body
    corrects: str = ""  # the number of an earlier line


@dataclass(frozen=True, slots=True)
class Retraction:
    """A line that cancels an earlier one."""

    head: Head
    cancels: str


@dataclass(slots=True)
class _Track:
    """A track number of a sensor."""

    generation: int = 1
    dropped_by: str = ""  # the line that dropped it; empty while it is held

    def pack(self) -> bytes:
        """Return what `unpack` reads; nothing for a number that was used once at most."""
        return f"{self.generation} {self.dropped_by}".encode() if self != _Track() else b""

    @classmethod
    def unpack(cls, note: bytes) -> _Track:
        generation, _, dropped_by = note.decode().partition(" ")
        return cls(int(generation), dropped_by)


@dataclass(frozen=True, slots=True)
class _Subject:
    """The object that a line spoke of."""

    track: str
    generation: int

    def id(self) -> bytes:
        suffix = f"#{self.generation}" if self.generation > 1 else ""
        return f"{self.track}{suffix}".encode()

    @classmethod
    def of(cls, content: content_pb2.Content) -> _Subject | None:
        """Return the object that a reported message spoke of; None for one that is not of this kind."""
        found = _EVENT.fullmatch(_event_id(content))
        return cls(found[1].decode(), int(found[2] or 1)) if found else None


@dataclass(slots=True)
class Session:
    """The adapter of a nation whose lines stand alone but for the numbers in them."""

    parse: Callable[[bytes], Statement | Retraction]  # raises UnreadableLine
    memory: Memory
    tracks_most: int = limits.NATIVE_TRACKS_MAX
    lines_most: int = limits.NATIVE_LINES_MAX
    _tracks: OrderedDict[str, _Track] = field(default_factory=OrderedDict)
    _lines: OrderedDict[str, _Subject] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Take up the track numbers as an earlier process left them."""
        for name, note in self.memory.noted().items():
            self._tracks[name] = _Track.unpack(note)

    def read(self, line: bytes) -> Sequence[Reported]:
        """Return what the line says. Raises UnreadableLine; then nothing of it was taken over."""
        said = self.parse(line)
        match said:
            case Retraction():
                self._take_back(said)
                return [_retracted(said)]
            case Statement():
                return [_stated(said, self._subject(said).id())]

    def _subject(self, said: Statement) -> _Subject:
        """Return the object that the line speaks of, and remember that it did."""
        line = f"{said.head.sensor}/{said.head.number}"
        known = self._spoke_of(line)
        if known is not None:
            return known
        corrected = self._spoke_of(f"{said.head.sensor}/{said.corrects}") if said.corrects else None
        name = f"{said.head.sensor}/{said.track:04d}"
        track = self._track(name)
        begins = isinstance(said.body, content_pb2.LaunchDetection | content_pb2.TrackUpdate) and not said.corrects
        if begins and track.dropped_by:
            track.generation += 1
            track.dropped_by = ""
        subject = _Subject(name, track.generation)
        if corrected is not None and corrected.track == name:
            subject = corrected
        if subject.generation == track.generation:
            _hold_or_drop(track, said)
        self.memory.note(name, track.pack())
        return self._remember(line, subject)

    def _take_back(self, said: Retraction) -> None:
        """Take up a track again whose drop was cancelled."""
        subject = self._spoke_of(f"{said.head.sensor}/{said.cancels}")
        track = self._tracks.get(subject.track) if subject else None
        if subject is not None and track is not None and track.dropped_by == said.cancels:
            track.dropped_by = ""
            self.memory.note(subject.track, track.pack())

    def _spoke_of(self, line: str) -> _Subject | None:
        """Return the object of which an earlier line spoke; None for a line that is not known. Changes nothing else."""
        if line in self._lines:
            return self._lines[line]
        content = self.memory.reported(line.encode())
        subject = None if content is None else _Subject.of(content)
        return None if subject is None else self._remember(line, subject)

    def _remember(self, line: str, subject: _Subject) -> _Subject:
        self._lines[line] = subject
        while len(self._lines) > self.lines_most:
            self._lines.popitem(last=False)
        return subject

    def _track(self, name: str) -> _Track:
        """Return what is known of a track number; what was not used for longest is forgotten."""
        track = self._tracks.setdefault(name, _Track())
        self._tracks.move_to_end(name)
        while len(self._tracks) > self.tracks_most:
            forgotten, _ = self._tracks.popitem(last=False)
            self.memory.note(forgotten, b"")
        return track


def line_number(observation: Observation) -> str:
    """Return the number under which an exercise's sensor writes a sighting: `track-42-1664835780123`."""
    return f"{observation.sight.value}-{observation.track_number}-{observation.time_ns // limits.MILLISECOND_NS}"


def _hold_or_drop(track: _Track, said: Statement) -> None:
    if isinstance(said.body, content_pb2.EventStatus) and said.body.state in DROPPED:
        track.dropped_by = said.head.number
    elif said.corrects and track.dropped_by == said.corrects:
        track.dropped_by = ""


def _stated(said: Statement, subject: bytes) -> Reported:
    header = _header(said.head)
    if said.corrects:
        _refer(header, said.head.sensor, said.corrects, content_pb2.RELATION_CORRECTS)
    content = content_pb2.Content(header=header)
    precedence = envelope_pb2.PRECEDENCE_FLASH
    match said.body:
        case content_pb2.LaunchDetection() as launch:
            content.launch.CopyFrom(launch)
            content.launch.event_id = subject
        case content_pb2.TrackUpdate() as track:
            content.track.CopyFrom(track)
            content.track.event_id = content.track.object_id = subject
            precedence = envelope_pb2.PRECEDENCE_IMMEDIATE
        case content_pb2.ImpactPrediction() as impact:
            content.impact.CopyFrom(impact)
            content.impact.event_id = content.impact.object_id = subject
        case content_pb2.EventStatus() as status:
            content.status.CopyFrom(status)
            content.status.event_id = subject  # of the event as a whole: it has this one object
        case _:
            assert_never(said.body)
    return Reported(content, precedence, said.head.label)


def _retracted(said: Retraction) -> Reported:
    # A bare reference: the id of this line, the id of that one, and nothing that a policy would have to withhold.
    header = content_pb2.ContentHeader(message_id=_message_id(said.head.sensor, said.head.number))
    _refer(header, said.head.sensor, said.cancels, content_pb2.RELATION_CANCELS)
    return Reported(content_pb2.Content(header=header), envelope_pb2.PRECEDENCE_FLASH, said.head.label)


def _header(head: Head) -> content_pb2.ContentHeader:
    clock = content_pb2.Clock(synchronized=False)
    if head.clock_error_s is not None:
        max_error = Duration()
        max_error.FromNanoseconds(round(head.clock_error_s * 1e9))
        clock = content_pb2.Clock(synchronized=True, max_error=max_error)
    return content_pb2.ContentHeader(
        message_id=_message_id(head.sensor, head.number),
        observed_at=bodies.timestamp(head.time_ns),
        clock=clock,
        lineage=content_pb2.Lineage(kind=content_pb2.LINEAGE_KIND_RAW),
    )


def _refer(
    header: content_pb2.ContentHeader, sensor: str, number: str, relation: content_pb2.Relation.ValueType
) -> None:
    header.references.add(message_id=_message_id(sensor, number), relation=relation)


def _event_id(content: content_pb2.Content) -> bytes:
    body = content.WhichOneof("body")
    event_id: bytes = getattr(getattr(content, body), "event_id", b"") if body else b""
    return event_id


def _message_id(sensor: str, number: str) -> bytes:
    return f"{sensor}/{number}".encode()
