"""What the demo shows, in order: a launch seen by three nations, attacks, an outage, a false alarm taken back.

The story only acts and watches, as the people and systems of three nations would; what it says at the end is measured
at the watch floors, read from the hub and from the origins' audit trails, and compared with the truth of the exercise.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from broker.client import Client, Unreachable
from broker.clock import SystemClock, timestamp
from broker.demo.attack import Attempt, attack, captured
from broker.demo.floor import Floor
from broker.demo.world import OPERATOR
from broker.exercise.player import Played, make_exercise, play
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.demo.world import World
    from broker.exercise.player import OpenReporter
    from broker.exercise.timeline import Timeline
    from broker.plugin import Nation

LEAD_S: Final = 0.5  # from here to the exercise's zero
SETTLE_S: Final = 10.0  # how long the last messages may take
FALSE_LAUNCH: Final = b"demo-false-launch"
CANCEL: Final = b"demo-cancel"
LIAR: Final = "KOR"  # who raises the false alarm, and takes it back
FALSE_LATITUDE_DEG: Final = 41.9
FALSE_LONGITUDE_DEG: Final = 129.9
ATTACKED: Final = ("KOR", "USA")  # whose messages, and by whom


@dataclass(slots=True)
class Story:
    """The state of the demo, for the screen and for the summary."""

    world: World
    timeline: Timeline
    nations: Mapping[str, Nation]
    say: Callable[[str], None]
    exercise: content_pb2.Exercise = field(default_factory=content_pb2.Exercise)
    floors: dict[str, Floor] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    played: Played | None = None
    cut_off: str = ""
    behind_s: float = 0.0  # how long the nation that was cut off took to have everything
    sirens_after_return: int = 0
    sealed: dict[tuple[str, str], set[bytes]] = field(default_factory=dict)  # what the hub holds, by ordered pair

    async def tell(self, open_reporter: OpenReporter) -> None:
        """Play it from beginning to end."""
        self.floors = {nation: Floor(nation) for nation in self.nations}
        async with AsyncExitStack() as stack:
            for nation, floor in self.floors.items():
                client = await stack.enter_async_context(
                    Client.open(self.world.address(nation), self.world.watch(nation))
                )
                watching = asyncio.create_task(floor.watch(client))
                stack.callback(watching.cancel)
            await self._until(lambda: all(floor.hub_connected for floor in self.floors.values()))
            self.exercise = make_exercise(self.timeline.scenario, time.time_ns() + round(LEAD_S * SECOND_NS))
            self.say(f"EXERCISE {self.timeline.scenario.name}: {self.timeline.scenario.shows}")
            await asyncio.gather(self._play(open_reporter), self._outage(), self._attacks())
            await self._settle()

    async def _play(self, open_reporter: OpenReporter) -> None:
        self.played = await play(
            self.timeline, self.nations, open_reporter, clock=SystemClock(), exercise=self.exercise
        )
        self.say(f"the last line was reported: {len(self.played.sent)} in all")

    async def _attacks(self) -> None:
        """Once there is something to capture, try what an adversary would."""
        victim, attacker = ATTACKED
        await self._until(lambda: self.floors[attacker].bodies[victim, "launch"] > 0)
        self.attempts = await attack(self.world, victim=victim, attacker=attacker)
        for attempt in self.attempts:
            self.say(f"attack: {attempt.what}: {attempt.answer}{'' if attempt.held else '  (NOT as it must be)'}")

    async def _outage(self) -> None:
        """Cut one gateway off; raise a false alarm meanwhile and take it back; let the gateway catch up."""
        outage = self.timeline.scenario.outages[0]
        self.cut_off = outage.nation
        await self._at(outage.from_s)
        process, floor = self.world.gateways[outage.nation], self.floors[outage.nation]
        killed_ns = time.time_ns()
        self._note_absent(killed_ns, inf)
        await asyncio.to_thread(process.kill)
        self.say(f"the gateway of {outage.nation} was killed")
        alarms_before = len(floor.alarms)
        await self._false_alarm()
        await self._at(outage.to_s)
        begun = time.monotonic()
        self._note_absent(killed_ns, time.time_ns())
        process.start()
        await asyncio.to_thread(process.wait)
        self.say(f"the gateway of {outage.nation} is back and catches up")
        await self._until(lambda: floor.bodies[LIAR, "cancellation"] > 0)
        self.behind_s = time.monotonic() - begun
        await asyncio.sleep(1.5)  # an alarm may wait a second for the state at the head of the log
        false_events = self.false_events(floor)
        self.sirens_after_return = sum(change.event_id in false_events for change in floor.alarms[alarms_before:])
        sirens = "no siren" if self.sirens_after_return == 0 else "A SIREN"
        self.say(f"{outage.nation} has everything after {self.behind_s:.1f} s, and {sirens} for what was cancelled")

    def _note_absent(self, from_ns: int, to_ns: float) -> None:
        """Let the floors tell what waited for the gateway that was cut off from what was on its way."""
        for floor in self.floors.values():
            floor.absent[self.cut_off] = (from_ns, to_ns)

    async def _false_alarm(self) -> None:
        others = [nation for nation in self.nations if nation not in (LIAR, self.cut_off)]
        async with (
            Client.open(self.world.address(LIAR), self.world.system(LIAR, OPERATOR)) as client,
            client.reporter(session=self.exercise.exercise_id) as reporter,
        ):
            label = envelope_pb2.SecurityLabel(
                policy=LIAR,
                classification=envelope_pb2.CLASSIFICATION_RESTRICTED,
                releasable_to=sorted(self.nations),
            )
            await reporter.report(self._false_launch(), precedence=envelope_pb2.PRECEDENCE_FLASH, label=label)
            self.say(f"{LIAR} reports a launch that never was")
            await self._until(lambda: all(self.false_events(self.floors[nation]) for nation in others))
            await reporter.report(self._cancellation(), precedence=envelope_pb2.PRECEDENCE_FLASH, label=label)
            await self._until(lambda: all(self.floors[nation].bodies[LIAR, "cancellation"] > 0 for nation in others))
            self.say(f"{LIAR} took it back: {' and '.join(others)} had the alarm raised and lowered")

    def false_events(self, floor: Floor) -> set[bytes]:
        """Return the events of a floor that hold the false launch: what its origin sealed of it to that nation."""
        return {
            content.launch.event_id
            for content in floor.launches.get(LIAR, [])
            if abs(content.launch.launch_area.ellipse.centre.lat_deg - FALSE_LATITUDE_DEG) < 1.0
        }

    def _false_launch(self) -> content_pb2.Content:
        content = content_pb2.Content()
        content.header.message_id = FALSE_LAUNCH
        content.header.exercise.CopyFrom(self.exercise)
        now = timestamp(self._exercise_now_ns())
        content.header.observed_at.CopyFrom(now)
        content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        content.launch.event_id = FALSE_LAUNCH
        content.launch.launch_time.earliest.CopyFrom(now)
        content.launch.launch_time.best.CopyFrom(now)
        content.launch.launch_time.latest.CopyFrom(now)
        ellipse = content.launch.launch_area.ellipse
        ellipse.centre.lat_deg, ellipse.centre.lon_deg = FALSE_LATITUDE_DEG, FALSE_LONGITUDE_DEG
        ellipse.semi_major_m = ellipse.semi_minor_m = 20_000.0
        ellipse.probability = 0.95
        return content

    def _cancellation(self) -> content_pb2.Content:
        content = content_pb2.Content()
        content.header.message_id = CANCEL
        content.header.exercise.CopyFrom(self.exercise)
        content.header.references.add(message_id=FALSE_LAUNCH, relation=content_pb2.RELATION_CANCELS)
        return content

    async def _settle(self) -> None:
        """Wait until every floor shows all that the hub holds for it, or until that has taken too long."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            self.sealed = await self._sealed()
            missing = sum(len(self.missing(*pair)) for pair in self.sealed)
            if missing == 0 or time.monotonic() > deadline:
                return
            await asyncio.sleep(0.5)

    async def _sealed(self) -> dict[tuple[str, str], set[bytes]]:
        """Return the ids of what the hub holds of this exercise, by ordered pair, as the origins get it back."""
        found: dict[tuple[str, str], set[bytes]] = {
            (origin, recipient): set() for origin in self.nations for recipient in self.nations if origin != recipient
        }
        for origin in self.nations:
            for data in await captured(self.world, origin):
                header = envelope_pb2.RoutingHeader.FromString(envelope_pb2.Envelope.FromString(data).header)
                pair = (origin, header.recipient)
                if pair in found and header.exercise.exercise_id == self.exercise.exercise_id:
                    found[pair].add(header.message_id)
        return found

    def missing(self, origin: str, recipient: str) -> set[bytes]:
        """Return what the hub holds for a nation and its floor was not shown."""
        shown = {key.message_id for key in self.floors[recipient].shown if key.origin == origin}
        return self.sealed.get((origin, recipient), set()) - shown

    def _exercise_now_ns(self) -> int:
        elapsed_ns = time.time_ns() - self.exercise.wall_zero.ToNanoseconds()
        return self.exercise.exercise_zero.ToNanoseconds() + round(elapsed_ns * self.exercise.rate)

    async def _at(self, since_start_s: float) -> None:
        wall_ns = self.exercise.wall_zero.ToNanoseconds() + round(since_start_s * SECOND_NS / self.exercise.rate)
        await asyncio.sleep(max(0.0, (wall_ns - time.time_ns()) / SECOND_NS))

    async def _until(self, holds: Callable[[], bool], *, wait_s: float = 20.0) -> None:
        deadline = time.monotonic() + wait_s
        while not holds():
            if time.monotonic() > deadline:
                raise Unreachable("the demo waited in vain; look into the logs of its processes")
            await asyncio.sleep(0.02)
