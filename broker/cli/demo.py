"""`vedette demo`: three nations, one hub, a launch over Japan, live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli import Exit

if TYPE_CHECKING:
    from broker.demo.story import Story

SCENARIO = "over-japan-2022-10-04"
RATE = 45.0
PATIENCE_S = 30.0  # of a sensor whose gateway is cut off: it reports late, and loses nothing


@click.command()
@click.option(
    "--rate",
    type=click.FloatRange(1.0, 100.0),
    default=RATE,
    show_default=True,
    help="How many times faster than life.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the summary here.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Work in this new folder and keep it: keys, settings, logs, audit trails.",
)
def demo(rate: float, json_file: Path | None, keep: Path | None) -> None:
    """Start a hub and three gateways with fresh keys, play a launch over Japan, and show what each nation sees.

    Meanwhile a forged, a replayed and a misaddressed message are tried, one gateway is cut off and catches up, and a
    false alarm is taken back. Everything is marked EXERCISE; nothing leaves this machine.

    Exit: 0 every promise held, 1 one did not, 3 a process could not be started or reached.
    """
    import asyncio
    import json
    import tempfile

    from broker.client import Unreachable
    from broker.demo.process import DidNotStart
    from broker.demo.summary import lines, promises, summarise

    with tempfile.TemporaryDirectory(prefix="vedette-demo-") as scratch:
        folder = Path(scratch) / "world" if keep is None else keep
        try:
            story = asyncio.run(_tell(folder, rate))
        except (DidNotStart, Unreachable) as error:
            click.echo(f"vedette demo: {error}", err=True)
            raise SystemExit(Exit.UNREACHABLE) from error
        for line in lines(story):
            click.echo(line)
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(summarise(story), indent=1) + "\n", encoding="utf-8")
        held = all(promise.held for promise in promises(story))
    click.echo("every promise held" if held else "A PROMISE WAS BROKEN")
    raise SystemExit(Exit.OK if held else Exit.CHECK_FAILED)


async def _tell(folder: Path, rate: float) -> Story:
    import asyncio

    from rich.console import Console

    from broker.cli.exercise import reporters
    from broker.demo.screen import Screen
    from broker.demo.story import Story
    from broker.demo.world import OPERATOR, make_world
    from broker.exercise.scenario import read_scenarios
    from broker.exercise.timeline import make_timeline
    from broker.gateway.load import load_nation

    screen = Screen(Console())
    scenario = read_scenarios()[SCENARIO].at(rate=rate)
    nations = {code: load_nation(code) for code in scenario.nations}
    timeline = make_timeline(scenario, nations)
    systems = {code: (OPERATOR, *(sensor.name for sensor in nation.sensors)) for code, nation in nations.items()}
    world = make_world(folder, nations=scenario.nations, systems=systems, canary_s=2.0)
    story = Story(world, timeline, nations, screen.say)
    try:
        screen.say("starting a hub and three gateways, with fresh keys")
        await asyncio.to_thread(world.start)
        showing = asyncio.create_task(screen.show(story))
        try:
            addresses = {nation: world.address(nation) for nation in nations}
            opened = reporters(addresses, world.authority.directory, nations, deadline_s=PATIENCE_S)
            await story.tell(opened)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
    finally:
        world.close()
    return story
