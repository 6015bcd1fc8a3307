"""Plays a timeline: every sensor's lines, in its nation's own format, to its nation's gateway, at the exercise's pace.

Each sensor has a task of its own and a stream of its own, so that a slow gateway delays its own sensors and nobody
else's. A line is sent when it is due by the exercise's clock, never before; a line whose gateway was slow goes out at
once. What could not be reported is counted and the sensor goes on, as a real one would.

How lines travel is not the player's business: `open_reporter` is passed in, and so are the clock and the sleep.
Everything is EXERCISE: each line goes with the exercise's id and time base, and nothing here can say anything else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from broker import limits
from broker.clock import timestamp
from vedette.v1.content_pb2 import Exercise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from broker.clock import Clock
    from broker.exercise.scenario import Scenario
    from broker.exercise.timeline import Reported, Timeline
    from broker.plugin import Nation, Sensor


class Unreported(Exception):  # noqa: N818 - an answer: the gateway did not take the line
    """A line was not accepted, or nobody could be reached. The text says why, without the line."""


class Ended(Exception):  # noqa: N818 - an answer: there is no sense in going on
    """Nothing of this system will be accepted: the gateway denies it, or is not there. Ends the exercise."""

    def __init__(self, text: str, *, denied: bool) -> None:
        """Take a text that says why."""
        super().__init__(text)
        self.denied = denied


class Reporter(Protocol):
    """An open stream from one sensor to its nation's gateway."""

    async def report(self, line: bytes, *, format: str, exercise: Exercise) -> None:  # noqa: A002 - the wire's word
        """Return when the gateway has accepted the line, or raise Unreported or Ended, by a deadline of its own."""


class OpenReporter(Protocol):
    """Opens the stream of a sensor, for as long as a block lasts."""

    def __call__(self, nation: str, sensor: Sensor, *, session: str) -> AbstractAsyncContextManager[Reporter]:
        """Return a stream whose ids are of this session, not to be mixed with those of another run."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A line that a gateway accepted."""

    wall_ns: int  # when it did, by this machine's clock
    report: Reported


@dataclass(slots=True)
class Played:
    """What came of it: for a summary, beside the truth that the timeline holds."""

    exercise: Exercise
    sent: list[Sent] = field(default_factory=list)  # in the order in which they were accepted
    unreported: Counter[str] = field(default_factory=Counter)  # lines by nation
    reasons: set[str] = field(default_factory=set)  # why


def make_exercise(scenario: Scenario, wall_ns: int) -> Exercise:
    """Return the exercise that begins at a wall time. Its id is another for every run: one id has one time base."""
    return Exercise(
        exercise_id=f"{scenario.name}.{wall_ns // limits.MILLISECOND_NS}",
        wall_zero=timestamp(wall_ns),
        exercise_zero=timestamp(scenario.start_ns),
        rate=scenario.rate,
    )


async def play(
    timeline: Timeline,
    nations: Mapping[str, Nation],
    open_reporter: OpenReporter,
    *,
    clock: Clock,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    exercise: Exercise | None = None,
) -> Played:
    """Play a timeline from now to its end, and return what was sent. Raises Ended.

    An exercise that was made before, so that others may know it, begins at its own wall_zero.
    """
    begun_ns = clock.monotonic_ns()
    if exercise is None:
        exercise = make_exercise(timeline.scenario, clock.wall_ns())
    else:
        begun_ns += exercise.wall_zero.ToNanoseconds() - clock.wall_ns()
    pace = _Pace(begun_ns, timeline.scenario.start_ns, exercise.rate, clock, sleep)
    played = Played(exercise)
    by_sensor: dict[tuple[str, str], list[Reported]] = {}
    for report in timeline.reports:
        by_sensor.setdefault((report.nation, report.sensor.name), []).append(report)
    try:
        async with asyncio.TaskGroup() as tasks:
            for (code, _), reports in by_sensor.items():
                tasks.create_task(_feed(reports, nations[code], open_reporter, pace, played))
    except ExceptionGroup as group:
        if ended := group.subgroup(Ended):
            raise ended.exceptions[0] from None
        raise
    return played


@dataclass(frozen=True, slots=True)
class _Pace:
    """When is a moment of the exercise, by the monotonic clock: steps of the wall's clock do not hurry an exercise."""

    begun_ns: int
    start_ns: int
    rate: float
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]

    async def until(self, due_ns: int) -> None:
        """Return when a moment of the exercise has come."""
        at_ns = self.begun_ns + (due_ns - self.start_ns) / self.rate
        while (early_ns := at_ns - self.clock.monotonic_ns()) > 0:
            await self.sleep(early_ns / limits.SECOND_NS)


async def _feed(
    reports: Sequence[Reported], nation: Nation, open_reporter: OpenReporter, pace: _Pace, played: Played
) -> None:
    """Report one sensor's lines, each when it is due."""
    sensor, exercise = reports[0].sensor, played.exercise
    write = nation.formats[sensor.format].write
    async with open_reporter(nation.code, sensor, session=exercise.exercise_id) as reporter:
        for report in reports:
            await pace.until(report.due_ns)
            line = write(report.observation, sensor)
            try:
                await reporter.report(line, format=sensor.format, exercise=exercise)
            except Unreported as problem:
                played.unreported[nation.code] += 1
                played.reasons.add(str(problem))
            else:
                played.sent.append(Sent(pace.clock.wall_ns(), report))
