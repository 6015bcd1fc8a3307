"""kill -9 in full flow: of the hub, of the sending and of the receiving gateway, again and again.

What was acknowledged comes, once and in the order of its lane, to a watcher that resumes by position.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from types import ModuleType

    from broker.client import Reporter
    from broker.demo.world import World
    from tests.path.conftest import Floor, OpenWorld, Reporting, Watching
    from vedette.v1 import content_pb2

UNDER_WAY = 8  # reports that are not yet answered, at any time
FLOW_S = 0.4  # between two kills, all processes being up


class Source:
    """A system that reports without a pause. Every other report is urgent."""

    def __init__(self, reports: ModuleType, exercise: content_pb2.Exercise, reporter: Reporter) -> None:
        self._reports, self._exercise, self._reporter = reports, exercise, reporter
        self._numbers = itertools.count()
        self.acknowledged: list[int] = []

    async def run(self, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(UNDER_WAY):
                group.create_task(self._report(stopping))

    async def _report(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            number = next(self._numbers)
            await self._reporter.report(
                self._content(number),
                precedence=self._reports.FLASH if number % 2 else self._reports.IMMEDIATE,
                label=self._reports.label(),
            )
            self.acknowledged.append(number)
            await asyncio.sleep(0.02)

    def _content(self, number: int) -> content_pb2.Content:
        at_ns = self._exercise.exercise_zero.ToNanoseconds() + number * SECOND_NS
        content: content_pb2.Content = self._reports.launch(
            b"m-%d" % number, b"e-%d" % (number % 50), base=self._exercise, at_ns=at_ns
        )
        return content

    def shown(self, floor: Floor) -> list[int]:
        """Return the numbers of what a floor was shown, in order."""
        zero_ns = self._exercise.exercise_zero.ToNanoseconds()
        times_ns = [warning.content.launch.launch_time.best.ToNanoseconds() for warning in floor.of("launch")]
        return [(at_ns - zero_ns) // SECOND_NS for at_ns in times_ns]


@pytest.mark.parametrize("rounds", [6, pytest.param(20, marks=pytest.mark.slow)])
async def test_what_was_acknowledged_comes_once_whoever_is_killed(
    rounds: int, open_world: OpenWorld, reports: ModuleType, watching: Watching, reporting: Reporting
) -> None:
    world: World = open_world(nations=("KOR", "JPN"), pictures=False)
    victims = itertools.cycle([world.hub, world.gateways["KOR"], world.gateways["JPN"]])
    stopping = asyncio.Event()
    async with watching(world, "JPN") as floor, reporting(world, "KOR") as reporter:
        source = Source(reports, reports.exercise("kill"), reporter)
        running = asyncio.create_task(source.run(stopping))
        for victim in itertools.islice(victims, rounds):
            await asyncio.sleep(FLOW_S)
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.start)
            await asyncio.to_thread(victim.wait)
        await asyncio.sleep(FLOW_S)
        stopping.set()
        await running
        await floor.until(lambda: set(source.shown(floor)) >= set(source.acknowledged))
        shown = source.shown(floor)
    assert len(source.acknowledged) > rounds * 10, "in full flow"
    assert sorted(shown) == sorted(set(shown)), "nothing twice"
    assert set(shown) == set(source.acknowledged)
    gaps = [response for response in floor.responses if response.HasField("gap")]
    assert gaps == [], "no number is missing"
