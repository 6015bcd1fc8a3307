"""One launch traced through, step by step, under the policies that the nations ship.

KOR's airborne radar detects and tracks it, the USA's ship and satellites report it too, JPN's coast radar sees it late.
JPN's gateway is away while the USA takes its part back.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from broker.clock import exercise_ns, nanoseconds
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, measures_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import Floor, OpenWorld, Reporting, Watching

CORRECTS, CANCELS = content_pb2.RELATION_CORRECTS, content_pb2.RELATION_CANCELS
AIRBORNE = measures_pb2.SENSOR_KIND_AIRBORNE_RADAR
RATE = 20.0  # KOR's delay to JPN, up to fifteen seconds of the exercise, is under one of ours


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world()


@pytest.fixture
def exercise(reports: ModuleType) -> content_pb2.Exercise:
    made: content_pb2.Exercise = reports.exercise("one-launch", rate=RATE)
    return made


def now_ns(exercise: content_pb2.Exercise) -> int:
    return exercise_ns(exercise, time.time_ns())


def relations(warning: national_pb2.Warning) -> list[tuple[int, bytes]]:
    return [(reference.relation, reference.message_id) for reference in warning.content.header.references]


def corrected(content: content_pb2.Content, target: bytes) -> content_pb2.Content:
    content.header.references.add(message_id=target, relation=CORRECTS)
    return content


def contributors(picture: national_pb2.Warning) -> set[str]:
    return {contribution.origin for contribution in picture.content.fused.contributions}


def newest_pictures(floor: Floor) -> dict[bytes, national_pb2.Warning]:
    """Return the newest revision of each fused event."""
    return {picture.content.fused.event_id: picture for picture in floor.pictures}


async def test_one_launch_from_the_first_report_to_a_picture_without_leftovers(
    world: World, exercise: content_pb2.Exercise, reports: ModuleType, watching: Watching, reporting: Reporting
) -> None:
    def seen(make: Callable[..., content_pb2.Content], *names: bytes, kind: int, **options: Any) -> content_pb2.Content:
        content = make(*names, base=exercise, at_ns=now_ns(exercise), **options)
        getattr(content, content.WhichOneof("body") or "").source.kind = kind
        return content

    sea = measures_pb2.SENSOR_KIND_SEA_RADAR
    async with (
        watching(world, "JPN") as jpn,
        watching(world, "USA") as usa,
        reporting(world, "KOR") as kor_system,
        reporting(world, "USA") as usa_system,
        reporting(world, "JPN") as jpn_system,
    ):
        say = {"KOR": kor_system, "USA": usa_system, "JPN": jpn_system}

        async def report(nation: str, content: content_pb2.Content, precedence: int = reports.FLASH) -> None:
            await say[nation].report(content, precedence=precedence, label=reports.label(nation))

        # KOR detects: both hear of it at once, the USA exactly, JPN in a cell of 10 km; neither learns whose radar.
        await report("KOR", seen(reports.launch, b"k-launch", b"k", kind=AIRBORNE))
        await jpn.until(lambda: jpn.of("launch", "KOR") and jpn.alarms)
        await usa.until(lambda: usa.of("launch", "KOR") and usa.alarms)
        (at_jpn,), (at_usa,) = jpn.of("launch", "KOR"), usa.of("launch", "KOR")
        assert at_usa.content.launch.launch_area.ellipse.centre.lat_deg == 40.61
        assert at_jpn.content.launch.launch_area.ellipse.centre.lat_deg != 40.61
        assert at_jpn.content.launch.launch_area.cell.size_m == 10_000
        assert at_jpn.content.launch.launch_time.best == at_usa.content.launch.launch_time.best
        assert not at_usa.content.launch.source.name
        assert at_jpn.content.launch.event_id != at_usa.content.launch.event_id
        assert list(at_jpn.header.label.caveats) == ["NO-ONWARD"]

        # KOR tracks: the USA exactly and at once, JPN coarse and late. A correction catches the first one up.
        await report("KOR", seen(reports.track, b"k-1", b"k", kind=AIRBORNE), reports.IMMEDIATE)
        await usa.until(lambda: usa.of("track", "KOR"))
        assert jpn.of("track") == [], "held"
        assert len(usa.of("track", "KOR")[0].content.track.state.velocity_mps) == 3
        await report(
            "KOR",
            corrected(seen(reports.track, b"k-1c", b"k", kind=AIRBORNE, lat_deg=40.9), b"k-1"),
            reports.IMMEDIATE,
        )
        await usa.until(lambda: len(usa.of("track", "KOR")) == 2)
        await jpn.until(lambda: jpn.of("track", "KOR"))
        first, second = usa.of("track", "KOR")
        assert relations(second) == [(CORRECTS, first.header.message_id)]
        (late,) = jpn.of("track", "KOR")
        assert relations(late) == [], "JPN never had what was corrected"
        assert late.content.track.state.cell.size_m == 10_000
        cell_end_ns = nanoseconds(late.content.track.state.valid_at) + 10 * SECOND_NS
        released_ns = exercise_ns(exercise, nanoseconds(late.header.released_at))
        assert released_ns >= cell_end_ns + 5 * SECOND_NS - 1000, "after the end of its cell, and the delay"

        # KOR corrects what was sent: each hears of it by its own ids.
        again = corrected(seen(reports.launch, b"k-launch-2", b"k", kind=AIRBORNE), b"k-launch")
        again.launch.count.most = 2
        await report("KOR", again)
        for floor, sent in ((jpn, at_jpn), (usa, at_usa)):
            await floor.until(lambda floor=floor: len(floor.of("launch", "KOR")) == 2)
            assert relations(floor.of("launch", "KOR")[1]) == [(CORRECTS, sent.header.message_id)]
            assert floor.of("launch", "KOR")[1].content.launch.event_id == sent.content.launch.event_id

        # The USA sees the same from a ship, JPN from its coast: JPN's picture is made of all three.
        for number in range(3):
            await report("USA", seen(reports.track, b"u-%d" % number, b"u", kind=sea), reports.IMMEDIATE)
            await report("JPN", seen(reports.track, b"j-%d" % number, b"j", kind=sea), reports.IMMEDIATE)
            await report("KOR", seen(reports.track, b"k-%d" % (number + 2), b"k", kind=AIRBORNE), reports.IMMEDIATE)
        await jpn.until(lambda: any(contributors(one) == {"JPN", "KOR", "USA"} for one in jpn.pictures))
        assert {warning.header.origin for warning in jpn.warnings} == {"KOR", "USA"}, "its own is not shown as foreign"
        usa_event = jpn.of("track", "USA")[0].content.track.event_id
        await jpn.until(lambda: ("RAISE", usa_event) in jpn.alarms)

        # JPN's gateway goes away. Meanwhile the USA takes back what JPN had, and something that JPN never heard of.
        gateway = world.gateways["JPN"]
        await asyncio.to_thread(gateway.kill)
        before = len(jpn.responses)
        await report("USA", seen(reports.launch, b"u-false", b"u-false", kind=sea))
        taken_back = reports.status(b"u-off", b"u", content_pb2.EVENT_STATE_NOT_A_LAUNCH, base=exercise)
        await report("USA", taken_back)
        await report("USA", reports.cancel(b"u-x", b"u-false", base=exercise), reports.IMMEDIATE)  # in the other lane
        await asyncio.to_thread(gateway.start)
        await asyncio.to_thread(gateway.wait)

        # It comes back: everything in order, marked; no siren for what is over; the standing one is lowered.
        await jpn.until(lambda: jpn.of("", "USA") and jpn.of("status", "USA") and jpn.of("launch", "USA"))
        (false,) = jpn.of("launch", "USA")
        assert relations(jpn.of("", "USA")[0]) == [(CANCELS, false.header.message_id)]
        for response in jpn.responses[before:]:
            if response.HasField("warning") and response.warning.header.origin == "USA":
                assert national_pb2.MARK_CATCHING_UP in response.warning.marks
        await jpn.until(lambda: ("LOWER", usa_event) in jpn.alarms)
        kor_event = at_jpn.content.launch.event_id
        since = [
            (response.alarm.alarm, response.alarm.event_id)
            for response in jpn.responses[before:]
            if response.HasField("alarm")
        ]
        assert all(
            event != false.content.launch.event_id for alarm, event in since if alarm == national_pb2.ALARM_RAISE
        )
        assert all(event == kor_event for alarm, event in since if alarm == national_pb2.ALARM_RAISE)

        # No leftover in the picture: what stands of the USA is that it took its word back.
        def is_clean() -> bool:
            pictures = newest_pictures(jpn).values()
            standing = [one for one in pictures if contributors(one) & {"KOR", "JPN"}]
            usa_parts = [part for one in pictures for part in one.content.fused.contributions if part.origin == "USA"]
            return (
                len(standing) == 1
                and contributors(standing[0]) >= {"JPN", "KOR"}
                and not any(part.HasField("track") or part.HasField("launch") for part in usa_parts)
            )

        await jpn.until(is_clean)
        warnings = [warning.header.message_id for warning in jpn.warnings]
        assert len(warnings) == len(set(warnings)), "nothing twice"
