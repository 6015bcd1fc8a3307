"""Who goes away and comes back: the hub, a gateway, a policy, a disk. Nothing is lost, and nothing is shown twice."""

from __future__ import annotations

import asyncio
import functools
import itertools
import shutil
from typing import TYPE_CHECKING

import pytest

from broker.geodesy import ecef
from broker.limits import SECOND_NS
from broker.plugin import Observation, Sight
from nations.kor import NATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from broker.client import Receipt, Reporter
    from broker.demo.process import Process
    from broker.demo.world import World
    from tests.path.conftest import Floor, OpenWorld, Reporting, Watching
    from vedette.v1 import content_pb2

RADAR = NATION.sensors[-1]
RULES = """
- id: TRACKS
  effect: release
  to: [JPN]
  when: 'body == "track"'
  give: {{when_observed: exact, track_time: exact, track_place: {place}, motion: {place}}}
  reason: r
- id: STATUS
  effect: release
  to: [JPN]
  when: 'body == "status"'
  give: {{when_observed: exact, status: exact}}
  reason: r
- {{id: HOLD, effect: limit, to: [JPN], when: '"LATER" in label.caveats', delay_s: 3, reason: r}}
"""
# A file that is newer than what is in force passes the checks of a draft; so it brings tests of each rule.
TESTS = """
policy: release.yaml
base:
  precedence: PRECEDENCE_IMMEDIATE
  label: {policy: KOR, classification: CLASSIFICATION_SECRET, releasable_to: [JPN, KOR]}
  content:
    header: {observed_at: '2026-10-03T22:26:00Z', lineage: {kind: LINEAGE_KIND_RAW}}
tests:
- name: a status goes
  with: {content: {status: {event_id: 'ZTE=', state: EVENT_STATE_DETECTED}}}
  expect: {JPN: {decision: release, rules: [STATUS]}}
- name: one that is marked goes late
  with: {label: {caveats: [LATER]}, content: {status: {event_id: 'ZTE=', state: EVENT_STATE_DETECTED}}}
  expect: {JPN: {decision: release, rules: [HOLD, STATUS]}}
- name: a track goes
  with:
    content:
      track:
        state:
          frame: FRAME_ECEF_WGS84
          valid_at: '2026-10-03T22:26:00Z'
          position_m: [-3964948.7, 3633206.1, 4679764.7]
          velocity_mps: [-2802.5, -3128.5, 1420.5]
  expect: {JPN: {decision: release, rules: [TRACKS]}}
"""


@pytest.fixture(scope="module")
def world(open_shared_world: OpenWorld, policy_with: Callable[..., str]) -> World:
    policies = {"KOR": policy_with("KOR", RULES.format(place="exact"))}
    return open_shared_world(start=("KOR", "JPN"), policies=policies, tests={"KOR": TESTS}, pictures=False)


@pytest.fixture(scope="module")
def versions() -> Iterator[int]:
    return itertools.count(2)


@pytest.fixture
def exercise(reports: ModuleType, request: pytest.FixtureRequest) -> content_pb2.Exercise:
    made: content_pb2.Exercise = reports.exercise(request.node.name[-48:].replace("[", ".").replace("]", "."))
    return made


async def start(process: Process) -> None:
    await asyncio.to_thread(process.start)
    await asyncio.to_thread(process.wait)


class Source:
    """KOR's system: it numbers its tracks by the second of their time."""

    def __init__(self, reports: ModuleType, exercise: content_pb2.Exercise, reporter: Reporter) -> None:
        self._reports, self._exercise, self._reporter = reports, exercise, reporter
        self._begin_ns = exercise.exercise_zero.ToNanoseconds()

    def content(self, number: int) -> content_pb2.Content:
        made: content_pb2.Content = self._reports.track(
            b"t-%d" % number, b"e-1", base=self._exercise, at_ns=self._begin_ns + number * SECOND_NS
        )
        return made

    async def say(self, number: int, *caveats: str) -> Receipt:
        label = self._reports.label(caveats=caveats)
        return await self._reporter.report(self.content(number), precedence=self._reports.IMMEDIATE, label=label)

    def told(self, floor: Floor) -> list[int]:
        """Return the numbers of the tracks that a floor was shown, in order."""
        times_ns = [warning.content.track.state.valid_at.ToNanoseconds() for warning in floor.of("track")]
        return [(at_ns - self._begin_ns) // SECOND_NS for at_ns in times_ns]

    def has_told(self, floor: Floor, number: int) -> bool:
        return number in self.told(floor)


async def test_while_the_hub_is_away_reports_are_taken_and_they_go_once_and_in_order_when_it_is_back(
    world: World, reports: ModuleType, exercise: content_pb2.Exercise, watching: Watching, reporting: Reporting
) -> None:
    async with (
        watching(world, "JPN", exercise_id=exercise.exercise_id) as floor,
        watching(world, "KOR", exercise_id=exercise.exercise_id) as own,
        reporting(world, "KOR") as reporter,
    ):
        source = Source(reports, exercise, reporter)
        for one in (own, floor):
            await one.until_linked(True)
        assert (await source.say(0)).hub_connected
        await floor.until(lambda: source.told(floor) == [0])
        await asyncio.to_thread(world.hub.kill)
        for one in (own, floor):
            await one.until_linked(False)
        receipts = [await source.say(number) for number in range(1, 20)]
        assert not any(receipt.hub_connected or receipt.duplicate for receipt in receipts)
        assert (await source.say(7)).duplicate
        assert source.told(floor) == [0]
        await start(world.hub)
        await floor.until(lambda: len(source.told(floor)) >= 20)
        for one in (own, floor):
            await one.until_linked(True)
        assert (await source.say(20)).hub_connected
        await floor.until(lambda: 20 in source.told(floor))
        assert source.told(floor) == list(range(21))


async def test_held_messages_survive_their_gateway_and_go_when_they_are_due(
    world: World, reports: ModuleType, exercise: content_pb2.Exercise, watching: Watching, reporting: Reporting
) -> None:
    async with (
        watching(world, "JPN", exercise_id=exercise.exercise_id) as floor,
        reporting(world, "KOR") as reporter,
    ):
        source = Source(reports, exercise, reporter)
        for number in range(3):
            await source.say(number, "LATER")
        await asyncio.to_thread(world.gateways["KOR"].kill)
        assert source.told(floor) == []
        await start(world.gateways["KOR"])
        await floor.until(lambda: len(source.told(floor)) >= 3)
        assert (await source.say(1, "LATER")).duplicate
        await source.say(3)
        await floor.until(lambda: 3 in source.told(floor))
        assert source.told(floor) == [0, 1, 2, 3]


def line(sight: Sight, second: int, base: content_pb2.Exercise) -> bytes:
    """Return what KOR's ground radar writes of its track 42, so many seconds into the exercise."""
    at_ns = base.exercise_zero.ToNanoseconds() + second * SECOND_NS
    state = (
        {"position_m": ecef(40.0, 130.0, 100_000.0), "velocity_mps": (1.0, 2.0, 3.0)} if sight is Sight.TRACK else {}
    )
    seen = Observation(sight, RADAR.name, 42, at_ns, **state)  # type: ignore[arg-type] # both are of three numbers
    return NATION.formats[RADAR.format].write(seen, RADAR)


async def test_a_track_number_used_again_after_its_gateway_was_killed_is_another_event(
    world: World, exercise: content_pb2.Exercise, watching: Watching, reporting: Reporting
) -> None:
    story = [line(Sight.TRACK, 0, exercise), line(Sight.NOT_A_LAUNCH, 5, exercise)]
    async with watching(world, "JPN", exercise_id=exercise.exercise_id) as floor:
        async with reporting(world, "KOR", session="radar") as reporter:
            for each in story:
                await reporter.report_line(each, format=RADAR.format, exercise=exercise)
            await floor.until_count("status", 1)
        await asyncio.to_thread(world.gateways["KOR"].kill)
        await start(world.gateways["KOR"])
        async with reporting(world, "KOR", session="radar") as reporter:
            for each in story:
                assert (await reporter.report_line(each, format=RADAR.format, exercise=exercise)).duplicate
            await reporter.report_line(line(Sight.TRACK, 60, exercise), format=RADAR.format, exercise=exercise)
            await floor.until_count("track", 2)
    first, second = (warning.content.track.event_id for warning in floor.of("track"))
    assert first == floor.of("status")[0].content.status.event_id
    assert second != first, "it is not withheld with what was taken back"


async def test_a_policy_is_changed_under_load_without_a_message_dropped_or_shown_too_well(
    world: World,
    reports: ModuleType,
    exercise: content_pb2.Exercise,
    watching: Watching,
    reporting: Reporting,
    policy_with: Callable[..., str],
    versions: Iterator[int],
) -> None:
    async with (
        watching(world, "JPN", exercise_id=exercise.exercise_id) as floor,
        reporting(world, "KOR") as reporter,
    ):
        source = Source(reports, exercise, reporter)
        coarse = policy_with("KOR", RULES.format(place="10km"), version=next(versions))
        for number in range(400):
            if number == 100:
                world.set_policy("KOR", coarse, TESTS)
            await source.say(number)
            await asyncio.sleep(0.003)
        await _until_in_force(world, exact=False, source=source, floor=floor, first=400)
        cells = [warning.content.track.state.cell.space_m for warning in floor.of("track")]
        assert source.told(floor) == list(range(len(cells)))
        assert cells == sorted(cells), "from one message on"
        assert (cells[0], cells[-1]) == (0, 10_000)
        world.set_policy("KOR", policy_with("KOR", RULES.format(place="exact"), version=next(versions)), TESTS)
        await _until_in_force(world, exact=True, source=source, floor=floor, first=len(cells))


async def _until_in_force(world: World, *, exact: bool, source: Source, floor: Floor, first: int) -> None:
    """Report until what comes is as the policy in force shows it."""
    for number in itertools.count(first):
        await source.say(number)
        await floor.until(functools.partial(source.has_told, floor, number))
        if (floor.of("track")[-1].content.track.state.cell.space_m == 0) == exact:
            return
        assert number < first + 1_000, world.gateways["KOR"].tail()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("fault", ["unsigned", "older", "broken", "gone"])
async def test_a_policy_that_may_not_be_in_force_leaves_the_last_good_one(
    fault: str,
    world: World,
    reports: ModuleType,
    exercise: content_pb2.Exercise,
    watching: Watching,
    reporting: Reporting,
    policy_with: Callable[..., str],
    versions: Iterator[int],
) -> None:
    log = world.gateways["KOR"].log
    before = len(log.read_text(encoding="utf-8"))
    path = world.policy_path("KOR")
    good, signature = path.read_text(encoding="utf-8"), path.with_suffix(".sig.json").read_bytes()
    open_wide = RULES.format(place="10km")
    match fault:
        case "unsigned":
            path.write_text(policy_with("KOR", open_wide, version=next(versions)), encoding="utf-8")
        case "older":
            world.set_policy("KOR", policy_with("KOR", open_wide, version=1))
        case "broken":
            world.set_policy("KOR", policy_with("KOR", open_wide, version=next(versions)).replace("rules:", "rule:"))
        case _:
            path.unlink()
    async with (
        watching(world, "JPN", exercise_id=exercise.exercise_id) as floor,
        reporting(world, "KOR") as reporter,
    ):
        source = Source(reports, exercise, reporter)
        await floor.until(lambda: "policy not taken over" in log.read_text(encoding="utf-8")[before:])
        await source.say(0)
        await floor.until(lambda: source.told(floor) == [0])
        assert floor.of("track")[0].content.track.state.cell.space_m == 0
        path.write_text(good, encoding="utf-8")
        path.with_suffix(".sig.json").write_bytes(signature)
        world.set_policy("KOR", policy_with("KOR", RULES.format(place="exact"), version=next(versions)), TESTS)
        await _until_in_force(world, exact=True, source=source, floor=floor, first=1)


async def test_a_lost_outbox_is_read_back_and_what_is_told_again_is_shown_once(
    world: World, reports: ModuleType, exercise: content_pb2.Exercise, watching: Watching, reporting: Reporting
) -> None:
    gateway = world.gateways["KOR"]
    async with watching(world, "JPN", exercise_id=exercise.exercise_id) as floor:
        async with reporting(world, "KOR") as reporter:
            source = Source(reports, exercise, reporter)
            for number in range(10):
                await source.say(number)
            await floor.until(lambda: len(source.told(floor)) == 10)
        await asyncio.to_thread(gateway.kill)
        shutil.rmtree(world.folder / "kor" / "data")
        await start(gateway)
        async with reporting(world, "KOR") as reporter:
            source = Source(reports, exercise, reporter)
            for number in range(12):
                assert not (await source.say(number)).duplicate, "the gateway knows nothing of it any more"
            await floor.until(lambda: 11 in source.told(floor))
            await source.say(12)
            await floor.until(lambda: 12 in source.told(floor))
            assert source.told(floor) == list(range(13))
            cancel = reports.cancel(b"x-1", b"t-3", base=exercise)
            await reporter.report(cancel, precedence=reports.FLASH, label=reports.label())
            await floor.until(lambda: floor.of(""))
            (reference,) = floor.of("")[0].content.header.references
            assert reference.message_id == floor.of("track")[3].header.message_id, "what was sealed before is known"


async def test_a_lost_outbox_and_no_hub_seals_at_once_under_salted_ids(
    world: World, reports: ModuleType, exercise: content_pb2.Exercise, watching: Watching, reporting: Reporting
) -> None:
    gateway = world.gateways["KOR"]
    async with watching(world, "JPN", exercise_id=exercise.exercise_id) as floor:
        async with reporting(world, "KOR") as reporter:
            source = Source(reports, exercise, reporter)
            await source.say(0)
            await floor.until(lambda: source.told(floor) == [0])
        await asyncio.to_thread(gateway.kill)
        await asyncio.to_thread(world.hub.kill)
        shutil.rmtree(world.folder / "kor" / "data")
        await start(gateway)
        async with reporting(world, "KOR") as reporter:
            source = Source(reports, exercise, reporter)
            for number in range(2):
                assert not (await source.say(number)).hub_connected
            await start(world.hub)
            await floor.until(lambda: 1 in source.told(floor))
            await source.say(2)
            await floor.until(lambda: 2 in source.told(floor))
            assert source.told(floor) == [0, 0, 1, 2], "a duplicate is better than a silence"
            ids = {warning.header.message_id for warning in floor.of("track")}
            assert len(ids) == 4
