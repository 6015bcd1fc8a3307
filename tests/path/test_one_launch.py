"""One launch traced through, step by step, under the policies that the nations ship.

KOR's airborne radar detects and tracks it; a ship of the USA and JPN's coast see it at the same instant. JPN's gateway
is away while the USA takes its part back.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker.clock import exercise_ns, nanoseconds
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from broker.client import Reporter
    from broker.demo.world import World
    from tests.path.conftest import Floor, OpenWorld, Reporting, Watching

CORRECTS, CANCELS = content_pb2.RELATION_CORRECTS, content_pb2.RELATION_CANCELS
FLASH, IMMEDIATE = envelope_pb2.PRECEDENCE_FLASH, envelope_pb2.PRECEDENCE_IMMEDIATE
AIRBORNE, SEA = measures_pb2.SENSOR_KIND_AIRBORNE_RADAR, measures_pb2.SENSOR_KIND_SEA_RADAR
RATE = 20.0  # KOR's delay to JPN, up to fifteen seconds of the exercise, is under one of ours
NATIONS = ("KOR", "USA", "JPN")


async def test_one_launch_from_the_first_report_to_a_picture_without_leftovers(
    open_world: OpenWorld, reports: ModuleType, watching: Watching, reporting: Reporting
) -> None:
    world = open_world()
    async with AsyncExitStack() as stack:
        trace = Trace(world, reports, reports.exercise("one-launch", rate=RATE))
        for nation in NATIONS:
            trace.systems[nation] = await stack.enter_async_context(reporting(world, nation))
        trace.jpn = await stack.enter_async_context(watching(world, "JPN"))
        trace.usa = await stack.enter_async_context(watching(world, "USA"))
        await trace.kor_detects()
        await trace.kor_tracks_and_corrects_what_is_held()
        await trace.kor_corrects_what_was_sent()
        await trace.jpn_has_one_picture_of_three_nations()
        await trace.usa_takes_its_part_back_while_jpn_is_away()
        await trace.jpn_comes_back_without_a_false_siren()
        await trace.jpn_comes_back_without_a_leftover()


@dataclass
class Trace:
    """The launch as far as it was told. Each step leaves what the next one needs."""

    world: World
    reports: ModuleType
    exercise: content_pb2.Exercise
    systems: dict[str, Reporter] = field(default_factory=dict)
    jpn: Floor = field(init=False)
    usa: Floor = field(init=False)
    seen_ns: int = 0  # when all sensors looked: at one place, so that their tracks are of one thing
    usa_event: bytes = b""  # as JPN knows it
    kor_event: bytes = b""
    before: int = 0  # how much JPN had been shown when its gateway went away

    async def report(self, nation: str, content: content_pb2.Content, precedence: int = IMMEDIATE) -> None:
        await self.systems[nation].report(
            content, precedence=envelope_pb2.Precedence.ValueType(precedence), label=self.reports.label(nation)
        )

    def seen(
        self, make: Callable[..., content_pb2.Content], local: str, event: str, kind: int, **options: Any
    ) -> content_pb2.Content:
        self.seen_ns = self.seen_ns or exercise_ns(self.exercise, time.time_ns())
        content = make(local.encode(), event.encode(), base=self.exercise, at_ns=self.seen_ns, **options)
        getattr(content, content.WhichOneof("body") or "").source.kind = kind
        return content

    async def kor_detects(self) -> None:
        """Both hear of it at once, the USA exactly, JPN in a cell of 10 km; neither learns whose radar it was."""
        await self.report("KOR", self.seen(self.reports.launch, "k-launch", "k", AIRBORNE), FLASH)
        for floor in (self.jpn, self.usa):
            await floor.until_count("launch", 1)
        (at_jpn,), (at_usa,) = self.jpn.of("launch"), self.usa.of("launch")
        exact, coarse = at_usa.content.launch, at_jpn.content.launch
        assert exact.launch_area.ellipse.centre.lat_deg == 40.61
        assert coarse.launch_area.ellipse.centre.lat_deg != 40.61
        assert coarse.launch_area.cell.space_m == 10_000
        assert coarse.launch_time.best == exact.launch_time.best
        assert not exact.source.name
        assert not coarse.source.name
        assert list(at_jpn.header.label.caveats) == ["NO-ONWARD"]
        assert coarse.event_id != exact.event_id
        self.kor_event = coarse.event_id
        await self.jpn.until(lambda: ("RAISE", self.kor_event) in self.jpn.alarms)

    async def kor_tracks_and_corrects_what_is_held(self) -> None:
        """The USA sees the track exactly and at once, and its correction; JPN only the corrected, coarse and late."""
        await self.report("KOR", self.seen(self.reports.track, "k-1", "k", AIRBORNE, lat_deg=40.0))
        await self.usa.until(lambda: self.usa.of("track"))
        assert self.jpn.of("track") == [], "held"
        assert not self.usa.of("track")[0].content.track.state.HasField("cell")
        correction = self.seen(self.reports.track, "k-1c", "k", AIRBORNE)
        correction.header.references.add(message_id=b"k-1", relation=CORRECTS)
        await self.report("KOR", correction)
        await self.usa.until(lambda: len(self.usa.of("track")) == 2)
        await self.jpn.until(lambda: self.jpn.of("track"))
        first, second = self.usa.of("track")
        assert relations(second) == [(CORRECTS, first.header.message_id)]
        (late,) = self.jpn.of("track")
        assert relations(late) == [], "JPN never had what was corrected"
        state = late.content.track.state
        assert state.cell.space_m == 10_000
        cell_end_ns = nanoseconds(state.valid_at) + 10 * SECOND_NS
        released_ns = exercise_ns(self.exercise, nanoseconds(late.header.released_at))
        assert released_ns >= cell_end_ns + 5 * SECOND_NS - 1000, "the end of its cell and the delay, but for rounding"

    async def kor_corrects_what_was_sent(self) -> None:
        """Each hears of it by its own ids."""
        correction = self.seen(self.reports.launch, "k-launch-2", "k", AIRBORNE)
        correction.launch.count.most = 2
        correction.header.references.add(message_id=b"k-launch", relation=CORRECTS)
        await self.report("KOR", correction, FLASH)
        for floor in (self.jpn, self.usa):
            await floor.until_count("launch", 2)
            first, second = floor.of("launch")
            assert relations(second) == [(CORRECTS, first.header.message_id)]
            assert second.content.launch.event_id == first.content.launch.event_id

    async def jpn_has_one_picture_of_three_nations(self) -> None:
        for number in range(3):
            await self.report("USA", self.seen(self.reports.track, f"u-{number}", "u", SEA))
            await self.report("JPN", self.seen(self.reports.track, f"j-{number}", "j", SEA))
        await self.jpn.until(lambda: any(contributors(one) == set(NATIONS) for one in self.jpn.pictures))
        assert {warning.header.origin for warning in self.jpn.warnings} == {"KOR", "USA"}, (
            "its own is not foreign to it"
        )
        self.usa_event = self.jpn.of("track", "USA")[0].content.track.event_id
        await self.jpn.until(lambda: ("RAISE", self.usa_event) in self.jpn.alarms)

    async def usa_takes_its_part_back_while_jpn_is_away(self) -> None:
        """What JPN had, and something that JPN has not heard of yet: its cancellation comes in the other lane."""
        await asyncio.to_thread(self.world.gateways["JPN"].kill)
        self.before = len(self.jpn.responses)
        not_a_launch = content_pb2.EVENT_STATE_NOT_A_LAUNCH
        await self.report("USA", self.seen(self.reports.launch, "u-false", "u-false", SEA), FLASH)
        await self.report("USA", self.reports.status(b"u-off", b"u", not_a_launch, base=self.exercise), FLASH)
        await self.report("USA", self.reports.cancel(b"u-x", b"u-false", base=self.exercise))
        await asyncio.to_thread(self.world.gateways["JPN"].start)
        await asyncio.to_thread(self.world.gateways["JPN"].wait)

    async def jpn_comes_back_without_a_false_siren(self) -> None:
        """Everything comes, marked; nobody is woken for what is over; what stood and is over is lowered."""
        jpn = self.jpn
        await jpn.until(lambda: jpn.of("", "USA") and jpn.of("status", "USA") and jpn.of("launch", "USA"))
        (false,) = jpn.of("launch", "USA")
        assert relations(jpn.of("", "USA")[0]) == [(CANCELS, false.header.message_id)]
        for warning in (false, *jpn.of("status", "USA"), *jpn.of("", "USA")):
            assert national_pb2.MARK_CATCHING_UP in warning.marks
        await jpn.until(lambda: ("LOWER", self.usa_event) in jpn.alarms)
        since = [response.alarm for response in jpn.responses[self.before :] if response.HasField("alarm")]
        raised = {change.event_id for change in since if change.alarm == national_pb2.ALARM_RAISE}
        assert raised <= {self.kor_event}, "what holds may be said again, and nothing else"

    async def jpn_comes_back_without_a_leftover(self) -> None:
        """One event is left in the picture, and nothing in it rests on what the USA took back."""

        def is_clean() -> bool:
            newest = {picture.content.fused.event_id: picture for picture in self.jpn.pictures}
            standing = [one for one in newest.values() if contributors(one)]
            return [contributors(one) for one in standing] == [{"JPN", "KOR"}]

        await self.jpn.until(is_clean)
        shown = [warning.header.message_id for warning in self.jpn.warnings]
        assert len(shown) == len(set(shown)), "nothing twice"


def relations(warning: national_pb2.Warning) -> list[tuple[int, bytes]]:
    return [(reference.relation, reference.message_id) for reference in warning.content.header.references]


def contributors(picture: national_pb2.Warning) -> set[str]:
    """Return who the picture rests on: a contribution that is a status alone carries nothing."""
    return {
        contribution.origin
        for contribution in picture.content.fused.contributions
        if any(contribution.HasField(body) for body in ("launch", "track", "impact"))
    }
