"""The demo on a terminal: a live table of the watch floors; without a terminal, plain lines."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from broker.clock import nanoseconds
from broker.demo.floor import HUB, is_coarse
from broker.demo.summary import audit_entries
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.demo.floor import Floor, Picture
    from broker.demo.story import Story

LINES_KEPT: Final = 10
REFRESH_S: Final = 0.25
PLAIN_S: Final = 4.0  # between two plain lines about all floors
RULES_SHOWN: Final = 4
REGIONS_SHOWN: Final = 4


class Screen:
    """Shows a story while it is told."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: deque[str] = deque(maxlen=LINES_KEPT)
        self._begun_s = time.monotonic()

    def say(self, text: str) -> None:
        """Take a line of the story."""
        line = f"{time.monotonic() - self._begun_s:5.1f} s  {text}"
        self._said.append(line)
        if not self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def show(self, story: Story) -> None:
        """Show the story until cancelled."""
        if not self._console.is_terminal:
            await self._show_plainly(story)
            return
        with Live(self._picture(story), console=self._console, refresh_per_second=4, transient=True) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(self._picture(story))

    async def _show_plainly(self, story: Story) -> None:
        while True:
            await asyncio.sleep(PLAIN_S)
            for floor in story.floors.values():
                foreign = sum(times for key, times in floor.shown.items() if key.origin != HUB)
                text = (
                    f"{floor.nation}: {foreign} messages, {len(floor.pictures)} fused events, "
                    f"{_sharpness(floor)}, newest {_latency(floor)}"
                )
                self.say(text)

    def _picture(self, story: Story) -> RenderableType:
        table = Table(title=f"EXERCISE {story.exercise.exercise_id}", expand=True)
        for heading in ("watch floor", "from", "has", "age", "precision", "withheld, and by which rules"):
            table.add_column(heading, overflow="fold")
        for floor in story.floors.values():
            for origin in sorted({*floor.newest}):
                table.add_row(floor.nation, origin, *_foreign(story, floor, origin))
            table.add_row(floor.nation, "fused", *_fused(floor), end_section=True)
        return Group(table, Panel(Text("\n".join(self._said)), title="what happens"))


def _foreign(story: Story, floor: Floor, origin: str) -> tuple[str, str, str, str]:
    content = floor.newest[origin]
    body = content.WhichOneof("body") or "?"
    count = sum(times for key, times in floor.shown.items() if key.origin == origin)
    age_s = (time.time_ns() - floor.newest_ns[origin]) / SECOND_NS
    withheld = ", ".join(content.header.disclosure.withheld) or "nothing"
    return (
        f"{body}, {count} messages",
        f"{age_s:.1f} s",
        "coarse" if is_coarse(content) or _cell_m(content) else "exact",
        f"{withheld}  [{_rules(story, origin, floor.nation)}]",
    )


def _cell_m(content: content_pb2.Content) -> float:
    match content.WhichOneof("body"):
        case "track":
            return content.track.state.cell.space_m
        case "launch":
            return content.launch.launch_area.cell.space_m
        case "impact":
            return content.impact.area.cell.space_m
        case _:
            return 0.0


def _rules(story: Story, origin: str, recipient: str) -> str:
    """Return the rules of the origin's newest decision for the recipient, from its audit trail."""
    newest: list[str] = []
    try:
        for entry in audit_entries(story, origin):
            if entry["recipient"] == recipient:
                newest = entry["rules"]
    except OSError:
        return "no decision yet"
    return ", ".join(newest[:RULES_SHOWN])


def _fused(floor: Floor) -> tuple[str, str, str, str]:
    newest = _newest(floor)
    if newest is None:
        return "nothing yet", "", "", ""
    age_s = (time.time_ns() - newest.at_ns) / SECOND_NS
    standing = content_pb2.Standing.Name(newest.event.standing).removeprefix("STANDING_").lower()
    contributors = ", ".join(contribution.origin for contribution in newest.event.contributions)
    return (
        f"{len(floor.pictures)} events, {standing}, revision {newest.event.revision}",
        f"{age_s:.1f} s",
        _sharpness(floor),
        "; ".join((f"from {contributors}", *_doubts(newest.event), f"newest {_latency(floor)}")),
    )


def _doubts(event: content_pb2.FusedEvent) -> list[str]:
    """Return whom it concerns, and why to trust its area less."""
    regions = sorted({code for one in event.objects for code in one.regions})
    found = [f"touches {' '.join(regions[:REGIONS_SHOWN])}"] if regions else []
    if any(one.motion == content_pb2.MOTION_NON_BALLISTIC for one in event.objects):
        found.append("NOT BALLISTIC")
    if any(one.implausible for one in event.objects):
        found.append("IMPLAUSIBLE")
    return found


def _newest(floor: Floor) -> Picture | None:
    pictures = [revisions[-1] for revisions in floor.pictures.values()]
    return max(pictures, key=lambda picture: picture.at_ns, default=None)


def _sharpness(floor: Floor) -> str:
    """Return how sharp the newest picture is: the impact area, or where there is none yet the track's error."""
    newest = _newest(floor)
    if newest is None:
        return "no picture yet"
    for impact in newest.event.impacts:
        ellipse = impact.area.ellipse
        return f"impact area {math.pi * ellipse.semi_major_m * ellipse.semi_minor_m / 1e6:.0f} km2"
    for track in newest.event.tracks:
        if len(track.state.covariance) >= 12:  # noqa: PLR2004 - the first three rows of the upper triangle
            sigma_m = math.sqrt(sum(track.state.covariance[index] for index in (0, 6, 11)) / 3)
            return f"position within {sigma_m:.0f} m"
    return "launch area only"


def _latency(floor: Floor) -> str:
    whole = floor.latencies_s.get("whole-way")
    return f"{whole[-1] * 1000:.0f} ms from release" if whole else "no latency yet"


def exercise_time(story: Story) -> str:
    """Return the exercise's time of day."""
    elapsed_ns = time.time_ns() - nanoseconds(story.exercise.wall_zero)
    now_ns = nanoseconds(story.exercise.exercise_zero) + round(elapsed_ns * story.exercise.rate)
    return time.strftime("%H:%M:%S", time.gmtime(now_ns / SECOND_NS))
