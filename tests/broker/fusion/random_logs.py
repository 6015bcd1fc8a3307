"""Random logs: launches, sensors of three nations, and everything that can happen to messages on their way.

A story is what is said, each message with the time at which it is true. `orders` tells it once as it happened, and once
as it may arrive: up to 60 s late, twice, a correction or a cancellation before what it speaks of.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

Arrivals = list[tuple[float, content_pb2.Content]]
CODES: Final = ("KOR", "USA", "JPN")
LATE_MAX_S: Final = 60.0
FLIGHTS: Final[tuple[dict[str, float], ...]] = (
    {},
    {"lat_deg": 40.2, "lon_deg": 126.3, "azimuth_deg": 85.0},
    {"lat_deg": 41.5, "lon_deg": 129.0},
    {"lat_deg": 39.2, "lon_deg": 125.5, "burn_s": 60.0, "push_mps2": 45.0},
)


@dataclass
class Story:
    """What is said, in the order of its own times."""

    world: Any
    seed: int
    length_s: float = 12.0
    said: Arrivals = field(default_factory=list)
    end_s: float = 0.0

    def __post_init__(self) -> None:
        """Make it up."""
        self.draw = random.Random(self.seed)  # noqa: S311 - a test's story
        for number in range(self.draw.choice((1, 1, 2))):
            self._launch(number)
        for _ in range(self.draw.randrange(7)):
            self._afterthought(self.draw.choice(self.said))
        for _ in range(self.draw.choice((0, 0, 1))):
            self._take_back()
        self.said.sort(key=lambda one: (one[0], one[1].header.message_id))
        self.end_s = max(time_s for time_s, _ in self.said) + LATE_MAX_S + 12.0

    def orders(self, late_share: float = 0.5, twice_share: float = 0.2) -> tuple[Arrivals, Arrivals]:
        """Return the log as it happened, and as it arrives."""
        draw = random.Random(self.seed + 1)  # noqa: S311 - as above
        late: Arrivals = []
        for time_s, content in self.said:
            delays = [0.3 if draw.random() > late_share else draw.uniform(0.3, LATE_MAX_S)]
            if draw.random() < twice_share:
                delays.append(draw.uniform(0.3, LATE_MAX_S))
            late += [(time_s + delay_s, content) for delay_s in delays]
        return [(time_s + 0.3, content) for time_s, content in self.said], late

    def _launch(self, number: int) -> None:
        draw = self.draw
        flight = self.world.fly(**draw.choice(FLIGHTS))
        launched_s = draw.uniform(0.0, 20.0)
        for code in draw.sample(CODES, draw.choice((1, 2, 2, 3))):
            nation, event = self.world.nation(code), f"{code}-{number}"
            if draw.random() < 0.4:
                place = (flight.lat_deg + draw.gauss(0.0, 0.02), flight.lon_deg)
                said_s = launched_s + draw.uniform(4.0, 30.0)
                word = nation.launch(event, said_s, launched_s=launched_s, place=place, name=(event, "launch"))
                self.said.append((said_s, word))
            first_s = draw.choice((27.0, 40.0, 75.0, 84.0))
            radar = nation.radar(
                flight,
                event,
                seed=self.seed,
                first_s=first_s + draw.random(),
                last_s=first_s + self.length_s,
                every_s=draw.choice((1.0, 2.0, 3.0)),
                sigma_m=draw.choice((100.0, 300.0, 800.0)),
                sigma_mps=draw.choice((None, 40.0)),
                launched_s=launched_s,
                latency_s=0.0,
            )
            if draw.random() < 0.25:
                cell_m, cell_s = draw.choice(((1_000.0, 1.0), (10_000.0, 10.0)))
                radar = [(time_s, self.world.coarse(content, cell_m, cell_s)) for time_s, content in radar]
            self.said += radar

    def _afterthought(self, about: tuple[float, content_pb2.Content]) -> None:
        """Have an origin correct or cancel a message, derive one from it, or say what belongs to what."""
        time_s, target = about
        nation = self.world.nation(target.header.origin)
        said_s = time_s + self.draw.uniform(0.0, 20.0)
        name = (self.seed, len(self.said))
        kind = self.draw.choice(("cancel", "correct", "correct", "made", "same", "not same", "status"))
        if kind == "cancel" or not target.WhichOneof("body"):
            word = nation.content(said_s, name)
            word.header.references.add(message_id=target.header.message_id, relation=content_pb2.RELATION_CANCELS)
        elif kind in {"correct", "made"}:
            word = content_pb2.Content()
            word.CopyFrom(target)
            word.header.message_id = nation.content(said_s, name).header.message_id
            if kind == "correct":
                word.header.references.add(message_id=target.header.message_id, relation=content_pb2.RELATION_CORRECTS)
                if word.HasField("track"):
                    word.track.state.position_m[0] += self.draw.uniform(-400.0, 400.0)
            else:
                word.header.lineage.kind = self.draw.choice(
                    (content_pb2.LINEAGE_KIND_COMPLETE, content_pb2.LINEAGE_KIND_PARTIAL)
                )
                word.header.lineage.message_ids.append(target.header.message_id)
            said_s = time_s
        elif kind == "status":
            state = self.draw.choice(
                (
                    content_pb2.EVENT_STATE_CONFIRMED,
                    content_pb2.EVENT_STATE_TRACK_LOST,
                    content_pb2.EVENT_STATE_ALL_CLEAR,
                )
            )
            word = nation.content(said_s, name)
            word.status.event_id = _event_of(target)
            word.status.state = state
        else:
            _, other = self.draw.choice(self.said)
            relation = content_pb2.RELATION_SAME_EVENT_AS if kind == "same" else content_pb2.RELATION_NOT_SAME_EVENT_AS
            word = self.world.nation("JPN").content(said_s, name)
            word.status.event_id = _event_of(target)
            word.status.state = content_pb2.EVENT_STATE_DETECTED
            word.header.references.add(message_id=other.header.message_id, relation=relation)
        self.said.append((said_s, word))

    def _take_back(self) -> None:
        """Have an origin say that something was no launch."""
        time_s, target = self.draw.choice([one for one in self.said if one[1].WhichOneof("body")])
        nation, said_s = self.world.nation(target.header.origin), time_s + self.draw.uniform(0.0, 15.0)
        word = nation.content(said_s, (self.seed, "no launch"))
        word.status.event_id = _event_of(target)
        word.status.state = content_pb2.EVENT_STATE_NOT_A_LAUNCH
        self.said.append((said_s, word))


def _event_of(content: content_pb2.Content) -> bytes:
    body = content.WhichOneof("body")
    return bytes(getattr(content, body).event_id) if body else b"none"


def final_picture(revisions: Sequence[content_pb2.FusedEvent]) -> list[bytes]:
    """Return what was published last of every event that somebody still speaks of, without names of our own making.

    Track numbers and revisions follow from the log; so do the names of objects, which are made from numbers, and
    whether an event was ever shown that all took back: what was taken back before it came is never shown.
    """
    newest = {event.event_id: event for event in revisions}
    merged = {number for event in newest.values() for number in event.merged_event_ids}
    return sorted(
        _plain(event)
        for number, event in newest.items()
        if number not in merged and event.status.state != content_pb2.EVENT_STATE_NOT_A_LAUNCH
    )


def _plain(event: content_pb2.FusedEvent) -> bytes:
    plain = content_pb2.FusedEvent()
    plain.CopyFrom(event)
    for name in ("event_id", "revision", "basis", "merged_event_ids", "parted_from_event_id"):
        plain.ClearField(name)
    plain.status.ClearField("event_id")
    plain.launch.ClearField("event_id")
    for part in (*plain.tracks, *plain.impacts, *plain.objects):
        part.ClearField("event_id") if "event_id" in part.DESCRIPTOR.fields_by_name else None
        part.ClearField("object_id")
    for one in plain.objects:
        one.ClearField("former_object_ids")  # names too, and which there were depends on what was told when
        one.parted_from = b"another" if one.parted_from else b""
    return plain.SerializeToString(deterministic=True)
