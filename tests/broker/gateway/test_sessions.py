"""Sessions of native feeds and time bases of exercises: a gateway that was restarted answers as one that was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from broker.clock import timestamp
from broker.gateway.notes import PREFIX, Notes
from broker.limits import SECOND_NS
from broker.plugin import Observation, Sight
from broker.refusal import Reason, Refused
from broker.store import Full
from broker.store.memory import Kept, MemoryStore
from nations.kor import NATION
from vedette.v1 import measures_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from broker.gateway.release import Policy
    from broker.store import NewRecord, StoreError, Written
    from tests.broker.gateway.conftest import Origin
    from vedette.v1 import content_pb2

NOW_NS = 1_780_000_000 * SECOND_NS
RADAR = NATION.sensors[-1]
WRITE = NATION.formats[RADAR.format].write
RULES = """
- id: ALL
  effect: release
  to: [USA, JPN]
  when: 'body == "launch" || body == "status"'
  give: {when_observed: exact, launch_time: exact, launch_place: exact, status: exact}
  reason: r
"""


class FailingStore(MemoryStore):
    """Refuses the next batches as a disk would."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept)
        self.faults: list[StoreError] = []

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        if self.faults:
            raise self.faults.pop(0)
        return await super().append(batch, state=state)


@pytest.fixture(scope="session")
def exercise(reports: ModuleType) -> content_pb2.Exercise:
    made: content_pb2.Exercise = reports.exercise("test-1")
    made.wall_zero.CopyFrom(timestamp(NOW_NS))
    made.exercise_zero.CopyFrom(made.wall_zero)
    return made


def line(sight: Sight, second: int, *, track: int = 42) -> bytes:
    """Return what the radar writes at a second."""
    at_ns = NOW_NS + second * SECOND_NS
    seen = Observation(sight, RADAR.name, track, at_ns)
    if sight is Sight.LAUNCH:
        seen = Observation(
            sight,
            RADAR.name,
            track,
            at_ns,
            lat_deg=40.6,
            lon_deg=126.4,
            area_semi_major_m=5_000.0,
            area_semi_minor_m=3_000.0,
            launch_time_ns=at_ns,
            launch_time_sigma_s=1.0,
            missile_class=measures_pb2.MISSILE_CLASS_IRBM,
        )
    return WRITE(seen, RADAR)


@dataclass
class Feed:
    """The lines of one system, and what the gateway took them for."""

    kor: Origin
    exercise: content_pb2.Exercise
    restarting: bool
    events: list[bytes] = field(default_factory=list)

    async def say(self, *lines: bytes) -> None:
        for each in lines:
            (content,) = await self.kor.report_line(each, exercise=self.exercise)
            body = content.WhichOneof("body")
            self.events.append(getattr(content, body).event_id if body else b"")
            if self.restarting:
                await self.kor.restart()


@pytest.fixture
async def kor(origin: Callable[..., Origin], policy_of: Callable[[str], Policy]) -> Origin:
    kept = Kept()
    return await origin(policy_of(RULES), kept=kept).start(FailingStore(kept))


async def test_a_number_used_again_after_a_restart_is_another_event_and_is_not_withheld_with_the_first(
    kor: Origin, exercise: content_pb2.Exercise
) -> None:
    feed = Feed(kor, exercise, restarting=False)
    await feed.say(line(Sight.LAUNCH, 0), line(Sight.NOT_A_LAUNCH, 5))
    await kor.restart()
    await feed.say(line(Sight.LAUNCH, 60))
    assert feed.events == [b"ground-1/0042", b"ground-1/0042", b"ground-1/0042#2"]
    for recipient in ("USA", "JPN"):
        first, taken_back, second = (item.content for item in await kor.outbox(recipient))
        assert first.launch.event_id == taken_back.status.event_id
        assert second.WhichOneof("body") == "launch"
        assert second.launch.event_id != first.launch.event_id


@pytest.mark.parametrize("restarting", [False, True])
async def test_a_line_sent_again_is_a_duplicate_and_a_late_one_is_of_its_own_object_also_after_restarts(
    restarting: bool,  # noqa: FBT001 - a parameter of the test
    kor: Origin,
    exercise: content_pb2.Exercise,
) -> None:
    feed = Feed(kor, exercise, restarting=restarting)
    story = [line(Sight.LAUNCH, 0), line(Sight.NOT_A_LAUNCH, 5), line(Sight.LAUNCH, 60), line(Sight.LOST, 70)]
    await feed.say(*story, *story, line(Sight.LAUNCH, 80))
    first, second, third = b"ground-1/0042", b"ground-1/0042#2", b"ground-1/0042#3"
    assert feed.events == [first, first, second, second, first, first, second, second, third]
    assert len(await kor.outbox("JPN")) == 5


async def test_a_drop_that_was_not_stored_is_known_after_a_restart_once_a_later_line_was(
    kor: Origin, exercise: content_pb2.Exercise
) -> None:
    feed = Feed(kor, exercise, restarting=False)
    await feed.say(line(Sight.LAUNCH, 0))
    assert isinstance(kor.store, FailingStore)
    kor.store.faults.append(Full("no room"))
    with pytest.raises(Refused):
        await feed.say(line(Sight.LOST, 5))
    await feed.say(line(Sight.LAUNCH, 6, track=7))
    await kor.restart()
    await feed.say(line(Sight.LOST, 5), line(Sight.LAUNCH, 60))
    assert feed.events[-2:] == [b"ground-1/0042", b"ground-1/0042#2"]


async def test_two_exercises_know_nothing_of_each_others_tracks(kor: Origin, exercise: content_pb2.Exercise) -> None:
    feed = Feed(kor, exercise, restarting=False)
    await feed.say(line(Sight.LAUNCH, 0), line(Sight.LOST, 5))
    feed.exercise = type(exercise).FromString(exercise.SerializeToString())
    feed.exercise.exercise_id = "test-2"
    await feed.say(line(Sight.LAUNCH, 60))
    assert feed.events[-1] == b"ground-1/0042"


async def test_one_exercise_has_one_time_base_over_restarts_of_the_gateway(
    kor: Origin, exercise: content_pb2.Exercise
) -> None:
    feed = Feed(kor, exercise, restarting=True)
    await feed.say(line(Sight.LAUNCH, 0))
    feed.exercise = type(exercise).FromString(exercise.SerializeToString())
    feed.exercise.rate = 7.0
    with pytest.raises(Refused) as refused:
        await feed.say(line(Sight.LOST, 5))
    assert refused.value.reason == Reason.REASON_EXERCISE_BASE
    feed.exercise = exercise
    await feed.say(line(Sight.LOST, 5))


def test_what_changes_while_a_batch_is_under_way_goes_with_the_next_one() -> None:
    notes = Notes({f"{PREFIX}group/a/b": b"1"})
    assert notes.of("group") == {"a/b": b"1"}
    notes.note("group", "a/b", b"1")
    assert notes.pending_state() == {}
    notes.note("group", "a/b", b"2")
    assert notes.pending_state() == {f"{PREFIX}group/a/b": b"2"}
    notes.note("group", "a/b", b"")
    notes.keep()
    assert notes.pending_state() == {f"{PREFIX}group/a/b": b""}
    assert notes.pending_state() == {f"{PREFIX}group/a/b": b""}, "the first batch was not stored"
    notes.keep()
    assert notes.pending_state() == {}
    assert notes.of("group") == {}
