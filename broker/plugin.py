"""The contract of a nation: what a folder under nations/, or a wheel of somebody else's, brings.

A plugin holds only what is national: how the nation's own sensors write, and what it releases to whom. It sees lines
and makes Content; it never sees a key, a network or another nation. Entry point group: `vedette.nations`, one entry
named after the member code, whose value is a `Nation`. `broker.conformance.check_nation` says whether it will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from vedette.v1 import measures_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.resources.abc import Traversable

    from vedette.v1 import content_pb2, envelope_pb2


class UnreadableLine(ValueError):  # noqa: N818 - refused as UNREADABLE_LINE, with this text
    """A native line that the adapter cannot read. The text says why, without the values: it crosses a wire."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What one native line said. Origin, mode and exercise are not the adapter's to set: the gateway does.

    Ids in the content are the sensor's own, as bytes of at most 64: `b"aegis-1/0042"`. Where a sensor uses a number
    again after dropping a track, the adapter keeps the two apart (`b"aegis-1/0042#2"`).
    """

    content: content_pb2.Content
    precedence: envelope_pb2.Precedence.ValueType
    label: envelope_pb2.SecurityLabel


class Adapter(Protocol):
    """Reads one sensor's lines, in order. May remember: a sensor's lines depend on each other.

    What the next lines depend on and no report shows goes into its `Memory` as soon as it changes, so that an adapter
    opened over the same memory, at any later time, reads on as this one would have.
    """

    def read(self, line: bytes) -> Sequence[Reported]:
        """Return what the line says, possibly nothing. Raises UnreadableLine; then nothing of it was taken over.

        What `Memory.reported` raises it lets pass, likewise with nothing taken over: the line is then read again.
        """


class Memory(Protocol):
    """What is known of one session of one sensor system, from before this process too. The gateway keeps it durably."""

    def noted(self) -> Mapping[str, bytes]:
        """Return all notes, by their names. Both are the adapter's own."""

    def note(self, name: str, value: bytes) -> None:
        """Write a note in the place of an earlier one; an empty value forgets it. For what changes seldom."""

    def reported(self, message_id: bytes) -> content_pb2.Content | None:
        """Return what was reported under an id before this adapter was opened; None if nothing is known of it.

        Asked only for what the adapter does not remember itself.
        """


@dataclass(slots=True)
class PlainMemory:
    """A memory that ends with the process: for tools, tests, and an adapter that runs by itself."""

    notes: dict[str, bytes] = field(default_factory=dict)
    contents: dict[bytes, content_pb2.Content] = field(default_factory=dict)  # by message id; whoever reads adds them

    def noted(self) -> Mapping[str, bytes]:
        """Return all notes."""
        return dict(self.notes)

    def note(self, name: str, value: bytes) -> None:
        """Write a note, or forget it."""
        if value:
            self.notes[name] = value
        else:
            self.notes.pop(name, None)

    def reported(self, message_id: bytes) -> content_pb2.Content | None:
        """Return what was reported under an id."""
        return self.contents.get(message_id)


class Sight(Enum):
    """What an exercise's generic sensor has seen."""

    LAUNCH = "launch"  # a launch: time, place, direction
    TRACK = "track"  # a state vector
    IMPACT = "impact"  # where it will come down
    LOST = "lost"  # no longer seen
    NOT_A_LAUNCH = "not-a-launch"  # a false alarm is taken back
    ALL_CLEAR = "all-clear"


@dataclass(frozen=True, slots=True)
class Observation:
    """One sighting by a simulated sensor, in physical units. Times are UTC nanoseconds of the exercise."""

    sight: Sight
    sensor: str  # the sensor's name, as in the nation's `sensors`
    track_number: int  # the sensor's own number for the object
    time_ns: int  # when it was true
    position_m: tuple[float, float, float] | None = None  # ECEF
    velocity_mps: tuple[float, float, float] | None = None  # ECEF
    covariance: tuple[float, ...] = ()  # 21 terms, upper triangle of (position, velocity)
    burning: bool = False
    lat_deg: float | None = None  # launch point or impact point
    lon_deg: float | None = None
    area_semi_major_m: float = 0.0  # 95 %
    area_semi_minor_m: float = 0.0
    area_orientation_deg: float = 0.0
    azimuth_deg: float | None = None
    azimuth_sigma_deg: float | None = None
    launch_time_ns: int | None = None
    launch_time_sigma_s: float = 0.0
    impact_time_ns: int | None = None
    impact_time_sigma_s: float = 0.0
    missile_class: measures_pb2.MissileClass.ValueType = measures_pb2.MISSILE_CLASS_UNSPECIFIED
    apogee_m: float | None = None
    ground_range_m: float | None = None
    confidence: float | None = None
    nations_affected: tuple[str, ...] = ()
    overflight: bool = False  # of an impact: it passes over them and falls beyond; a format may be unable to say so
    corrects: Observation | None = None  # whose place it takes; likewise


@dataclass(frozen=True, slots=True)
class Sensor:
    """A generic sensor of the nation, for exercises: invented figures, no real system's."""

    name: str
    kind: measures_pb2.SensorKind.ValueType
    format: str  # one of the nation's `formats`
    lat_deg: float
    lon_deg: float
    height_m: float
    range_max_m: float  # slant
    elevation_min_deg: float
    period_s: float  # between two looks at an object
    range_sigma_m: float  # along the line of sight
    angle_sigma_deg: float  # across it
    latency_s: float  # from the look to the line
    dropout: float  # probability that a look gives nothing
    first_look_s: float = 0.0  # earliest time after launch
    predicts_impact: bool = False
    boost_only: bool = False  # sees the burning motor and nothing after it (space infrared)


@dataclass(frozen=True, slots=True)
class NativeFormat:
    """One native feed: how its lines are read and, for exercises, written."""

    name: str
    open: Callable[[Memory], Adapter]  # an adapter for one session, which goes on where its memory ends
    write: Callable[[Observation, Sensor], bytes]  # one line, without its line end


@dataclass(frozen=True, slots=True)
class Nation:
    """What a member brings."""

    code: str  # ISO 3166-1 alpha-3: also the entry point's name
    name: str
    formats: Mapping[str, NativeFormat]
    sensors: Sequence[Sensor] = field(default=())
    # A folder with release.yaml, release.test.yaml, README.md and samples/<format>/*.
    home: Traversable | None = None
