"""A nation's full picture, drawn in its own gateway from what it does not show to the hub: real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

from broker.cli import Exit, main

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import Floor, OpenWorld, Reporting, Watching
    from vedette.v1.national_pb2 import Warning as WarningMessage

REPORTS = 8
# Others are shown its tracks; the hub nothing, for there is no rule for `self`.
RULES = """
- id: TRACKS
  effect: release
  to: [JPN, USA]
  when: 'body == "track"'
  give: {when_observed: exact, track_time: exact, track_place: exact, motion: exact}
  reason: r
"""


def full(floor: Floor) -> list[WarningMessage]:
    """Return the pictures that were drawn at home."""
    return [one for one in floor.warnings if one.header.origin == "KOR" and one.content.HasField("fused")]


def spread_m2(warning: WarningMessage) -> float:
    """Return the variance of a picture's first track, of all three axes."""
    covariance = warning.content.fused.tracks[0].state.covariance
    return float(covariance[0] + covariance[6] + covariance[11])


def drawing_process(world: World) -> int:
    """Return the process that draws, among those of this world."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"broker.gateway.full.drawing" in command and str(world.folder).encode() in command:
                return int(entry.name)
    raise LookupError("nothing draws")


async def report(
    world: World, reports: ModuleType, reporting: Reporting, name: str, first: int, *, base: object
) -> None:
    async with reporting(world, "KOR", session=name) as kor, reporting(world, "USA", session=name) as usa:
        for number in range(first, first + REPORTS):
            local, event = f"{name}-{number}".encode(), name.encode()
            for nation, system in (("KOR", kor), ("USA", usa)):
                await system.report(
                    reports.track(local, event, base=base),
                    precedence=reports.IMMEDIATE,
                    label=reports.label(nation, to=("JPN", "KOR", "USA")),
                )


async def test_the_full_picture_is_sharper_where_the_policy_withholds_and_stays_at_home(
    open_world: OpenWorld,
    reports: ModuleType,
    reporting: Reporting,
    watching: Watching,
    policy_with: Callable[..., str],
) -> None:
    world = open_world(policies={"KOR": policy_with("KOR", RULES)}, full_pictures=("KOR",))
    base = reports.exercise("at-home")
    async with (
        watching(world, "KOR", exercise_id="at-home") as kor,
        watching(world, "JPN", exercise_id="at-home") as jpn,
    ):
        await report(world, reports, reporting, "at-home", 0, base=base)
        await kor.until(
            lambda: any({one.origin for one in w.content.fused.contributions} == {"KOR", "USA"} for w in full(kor))
        )
        await kor.until(lambda: any(w.content.fused.tracks for w in kor.pictures))
        hub_s, ours = [w for w in kor.pictures if w.content.fused.tracks][-1], full(kor)[-1]
        assert {one.origin for one in hub_s.content.fused.contributions} == {"USA"}, "the hub was shown nothing"
        assert spread_m2(ours) < 0.8 * spread_m2(hub_s)
        assert next(one.message_count for one in ours.content.fused.contributions if one.origin == "KOR") <= REPORTS
        assert hub_s.stamps.HasField("hub_sent_at")
        assert not ours.stamps.HasField("hub_sent_at"), "it was never there"
        assert set(ours.header.label.releasable_to) <= {"JPN", "KOR", "USA"}
        assert not [
            one for one in jpn.responses if one.warning.content.fused.event_id and one.warning.header.origin == "KOR"
        ]

        # It may die, and goes on with the event that it knew; nothing is told twice.
        number = ours.content.fused.event_id
        os.kill(await asyncio.to_thread(drawing_process, world), signal.SIGKILL)
        await report(world, reports, reporting, "at-home", REPORTS, base=base)
        seen = len(full(kor))
        await kor.until(
            lambda: any(
                one.content.fused.contributions[0].message_count == 2 * REPORTS for one in full(kor)[seen - 1 :]
            )
        )
        assert full(kor)[-1].content.fused.event_id == number
        bodies = [one.content.SerializeToString(deterministic=True) for one in full(kor)]
        assert len(set(bodies)) == len(bodies)

    done = await asyncio.to_thread(
        CliRunner().invoke, main, ["fusion", "verify", "--data", str(world.folder / "kor" / "data")]
    )
    assert done.exit_code == Exit.OK, done.output
