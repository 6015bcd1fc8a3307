from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from broker.clock import ManualClock, exercise_ns, nanoseconds
from broker.exercise.player import Ended, Unreported, make_exercise, play
from broker.exercise.scenario import read_scenario
from broker.exercise.timeline import Timeline, make_timeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.exercise.announcements import AnnouncedLaunch
    from broker.plugin import Nation, Sensor
    from vedette.v1.content_pb2 import Exercise

TEXT = """\
format: vedette-scenario/v1
name: small
date: 2022-10-04
shows: one short launch
start: 2022-10-03T22:22:00Z
rate: 50
seed: 7
nations: [KOR, USA, JPN]
launches:
  - name: one
    site: {lat_deg: 39.2, lon_deg: 125.7}
    time: 2022-10-03T22:22:30Z
    azimuth_deg: 70
    range_km: 400
    apogee_km: 90
    class: SRBM
"""


@dataclass
class Gateways:
    """In place of the nations' gateways: keeps what arrived, and when."""

    clock: ManualClock
    lines: list[tuple[int, str, str, bytes, str]] = field(default_factory=list)
    exercises: list[Exercise] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    refusing: str = ""
    answer: Exception = field(default_factory=lambda: Unreported("the gateway is down"))
    open: int = 0

    @asynccontextmanager
    async def reporter(self, nation: str, sensor: Sensor, *, session: str) -> AsyncIterator[Stream]:
        self.sessions.add(session)
        self.open += 1
        yield Stream(self, nation, sensor)
        self.open -= 1

    async def sleep(self, seconds: float) -> None:
        """Let everybody else run, then a millisecond or less pass: whoever waits longer sleeps again."""
        await asyncio.sleep(0)
        self.clock.advance(min(round(seconds * 1e9), 1_000_000))


@dataclass
class Stream:
    gateways: Gateways
    nation: str
    sensor: Sensor

    async def report(self, line: bytes, *, format: str, exercise: Exercise) -> None:  # noqa: A002
        if self.nation == self.gateways.refusing:
            raise self.gateways.answer
        wall_ns = self.gateways.clock.wall_ns()
        self.gateways.lines.append((wall_ns, self.nation, self.sensor.name, line, format))
        self.gateways.exercises.append(exercise)


@pytest.fixture(scope="module")
def timeline(nations: dict[str, Nation], table: dict[str, AnnouncedLaunch]) -> Timeline:
    return make_timeline(read_scenario(TEXT, "small.yaml", table), nations)


@pytest.fixture
def gateways() -> Gateways:
    return Gateways(ManualClock())


async def test_every_report_is_sent_once_in_each_sensor_s_order(
    timeline: Timeline, nations: dict[str, Nation], gateways: Gateways
) -> None:
    played = await play(timeline, nations, gateways.reporter, clock=gateways.clock, sleep=gateways.sleep)
    assert len(played.sent) == len(timeline.reports) == len(gateways.lines) > 100
    for nation, sensor in {(report.nation, report.sensor) for report in timeline.reports}:
        write = nations[nation].formats[sensor.format].write
        expected = [
            write(report.observation, sensor)
            for report in timeline.reports
            if (report.nation, report.sensor.name) == (nation, sensor.name)
        ]
        assert [line for _, code, name, line, _ in gateways.lines if (code, name) == (nation, sensor.name)] == expected
    assert gateways.open == 0


async def test_nothing_is_sent_before_it_is_due(
    timeline: Timeline, nations: dict[str, Nation], gateways: Gateways
) -> None:
    played = await play(timeline, nations, gateways.reporter, clock=gateways.clock, sleep=gateways.sleep)
    for sent in played.sent:
        now_ns = exercise_ns(played.exercise, sent.wall_ns)
        assert -1_000 < now_ns - sent.report.due_ns < 100_000_000 * timeline.scenario.rate


async def test_everything_is_an_exercise_with_one_time_base(
    timeline: Timeline, nations: dict[str, Nation], gateways: Gateways
) -> None:
    wall_ns = gateways.clock.wall_ns()
    played = await play(timeline, nations, gateways.reporter, clock=gateways.clock, sleep=gateways.sleep)
    assert all(exercise == played.exercise for exercise in gateways.exercises)
    assert nanoseconds(played.exercise.wall_zero) == wall_ns
    assert nanoseconds(played.exercise.exercise_zero) == timeline.scenario.start_ns
    assert played.exercise.rate == 50
    assert gateways.sessions == {played.exercise.exercise_id}


async def test_an_exercise_made_before_begins_at_its_own_zero(
    timeline: Timeline, nations: dict[str, Nation], gateways: Gateways
) -> None:
    exercise = make_exercise(timeline.scenario, gateways.clock.wall_ns() + 3 * 10**9)
    begun_ns = gateways.clock.wall_ns()
    played = await play(
        timeline, nations, gateways.reporter, clock=gateways.clock, sleep=gateways.sleep, exercise=exercise
    )
    assert played.exercise is exercise
    assert min(sent.wall_ns for sent in played.sent) > begun_ns + 3 * 10**9


async def test_a_gateway_that_takes_nothing_is_counted_and_delays_nobody(
    timeline: Timeline, nations: dict[str, Nation], gateways: Gateways
) -> None:
    gateways.refusing = "KOR"
    played = await play(timeline, nations, gateways.reporter, clock=gateways.clock, sleep=gateways.sleep)
    of_korea = sum(report.nation == "KOR" for report in timeline.reports)
    assert played.unreported == {"KOR": of_korea}
    assert played.reasons == {"the gateway is down"}
    assert len(played.sent) == len(timeline.reports) - of_korea


async def test_a_system_that_may_report_nothing_ends_the_exercise(
    timeline: Timeline, nations: dict[str, Nation], gateways: Gateways
) -> None:
    gateways.refusing, gateways.answer = "KOR", Ended("not your role", denied=True)
    with pytest.raises(Ended, match="not your role"):
        await play(timeline, nations, gateways.reporter, clock=gateways.clock, sleep=gateways.sleep)
    assert len(gateways.lines) < len(timeline.reports)


def test_two_runs_have_two_ids_that_fit(timeline: Timeline) -> None:
    now_ns = 1_700_000_000 * 10**9
    longest = replace(timeline.scenario, name="x" * 32)
    first, second = make_exercise(longest, now_ns), make_exercise(longest, now_ns + 10**6)
    assert first.exercise_id != second.exercise_id
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,48}", first.exercise_id)
