"""Before December 2023: Korea and Japan exchanged with the United States, and not with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.demo.attack import captured
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import OpenWorld, Reporting, Watching


@pytest.fixture(scope="module")
def world(open_shared_world: OpenWorld) -> World:
    return open_shared_world(exchange="bilateral", pictures=False)


async def test_what_kor_reports_goes_to_the_usa_and_not_to_jpn(
    world: World, reports: ModuleType, watching: Watching, reporting: Reporting
) -> None:
    exercise = reports.exercise("one")
    async with (
        watching(world, "USA") as usa,
        watching(world, "JPN") as jpn,
        reporting(world, "KOR") as kor,
        reporting(world, "USA") as usa_system,
    ):
        report = reports.launch(b"k-1", b"k", base=exercise)
        await kor.report(report, precedence=reports.FLASH, label=reports.label())
        await usa.until(lambda: usa.of("launch", "KOR"))
        confirmed = reports.status(b"k-2", b"k", content_pb2.EVENT_STATE_CONFIRMED, base=exercise)
        await kor.report(confirmed, precedence=reports.FLASH, label=reports.label())
        await usa.until(lambda: usa.of("status", "KOR"))
        # What the USA says afterwards comes to JPN: so nothing of KOR's is merely late.
        own = reports.launch(b"u-1", b"u", base=exercise)
        await usa_system.report(own, precedence=reports.FLASH, label=reports.label("USA"))
        await jpn.until(lambda: jpn.of("launch", "USA"))
        assert jpn.of("launch", "KOR") == jpn.of("status", "KOR") == []
        (warning,), (status,) = usa.of("launch", "KOR"), usa.of("status", "KOR")
        assert list(warning.header.label.releasable_to) == ["USA"], "KOR's policy would show JPN less of it"
        assert list(status.header.label.releasable_to) == ["JPN", "USA"], "through the USA, as KOR's label permits"
    sealed = [envelope_pb2.Envelope.FromString(data) for data in await captured(world, "KOR")]
    recipients = {envelope_pb2.RoutingHeader.FromString(envelope.header).recipient for envelope in sealed}
    assert recipients == {"USA", "KOR"}, "it was never even sealed"
    assert "refused" not in world.gateways["KOR"].tail(200)


async def test_what_belongs_to_another_nation_is_passed_on_only_with_its_consent(
    world: World, reports: ModuleType, watching: Watching, reporting: Reporting
) -> None:
    """The USA reports what it has from KOR. KOR's label travels with it, and JPN is on it or not."""
    exercise = reports.exercise("two")
    async with watching(world, "JPN", exercise_id="two") as jpn, reporting(world, "USA") as usa:

        async def pass_on(name: str, *, to: tuple[str, ...], kept: bool = False) -> None:
            content = reports.launch(name.encode(), name.encode(), base=exercise)
            label = reports.label("KOR", to=to)
            label.originator_controlled = kept
            await usa.report(content, precedence=reports.FLASH, label=label)

        await pass_on("not-for-jpn", to=("KOR", "USA"))
        await pass_on("kept", to=("JPN", "KOR", "USA"), kept=True)
        await pass_on("for-jpn", to=("JPN", "KOR", "USA"))
        own = reports.launch(b"own", b"own", base=exercise)
        await usa.report(own, precedence=reports.FLASH, label=reports.label("USA"))
        await jpn.until(lambda: any(warning.header.label.policy == "USA" for warning in jpn.of("launch")))
        policies = [warning.header.label.policy for warning in jpn.of("launch")]
    assert policies == ["KOR", "USA"], "the one that KOR lets go on, and the USA's own"
    assert "refused" not in world.gateways["USA"].tail(200), "the hub would have used up a number"
    assert not any(warning.header.label.originator_controlled for warning in jpn.of("launch"))
