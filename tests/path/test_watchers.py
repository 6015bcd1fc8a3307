"""Nine watch floors on one gateway, as programs of their own, and one of them stopped: nobody waits for it."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from broker.demo.world import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import OpenWorld, Reporting

WATCHERS = 9
MESSAGES = 1200  # over a megabyte: more than the transport and the gateway's queues hold for one watcher
WAIT_S = 60.0


class WatchProgram:
    """`vedette watch -o jsonl`, writing into a file."""

    def __init__(self, world: World, folder: Path, number: int) -> None:
        self.path = folder / f"watch-{number}.jsonl"
        certificate = world.authority.home("JPN") / "watch" / "exercise" / FLOOR
        command = [sys.executable, "-m", "broker", "watch", "--gateway", world.address("JPN")]
        with self.path.open("wb") as out:
            self.running = subprocess.Popen(  # noqa: S603 - ours
                [*command, "--cert", str(certificate), "-o", "jsonl"], stdout=out, stdin=subprocess.DEVNULL
            )

    def warnings(self) -> list[str]:
        """Return the ids of the messages shown so far, in order."""
        lines = self.path.read_bytes().split(b"\n")[:-1]  # the last one may be half written
        events = [json.loads(line) for line in lines]
        return [event["warning"]["header"]["message_id"] for event in events if "warning" in event]

    def count(self) -> int:
        """Return how many warnings were shown so far."""
        return self.path.read_bytes().count(b'"warning"')

    def is_connected(self) -> bool:
        return self.path.stat().st_size > 0

    def end(self) -> None:
        self.running.kill()
        self.running.wait()


async def until(holds: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)


async def test_eight_get_everything_while_the_ninth_is_stopped_and_it_misses_nothing_when_it_goes_on(
    open_world: OpenWorld, tmp_path: Path, reports: ModuleType, reporting: Reporting
) -> None:
    world = open_world(nations=("KOR", "JPN"), pictures=False)
    exercise = reports.exercise()
    with ExitStack() as stack:
        programs = [WatchProgram(world, tmp_path, number) for number in range(WATCHERS)]
        for program in programs:
            stack.callback(program.end)
        await until(lambda: all(program.is_connected() for program in programs))
        stopped, *others = programs
        stopped.running.send_signal(signal.SIGSTOP)
        async with reporting(world, "KOR") as reporter:
            for first in range(0, MESSAGES, 50):
                reports_under_way = [
                    reporter.report(
                        reports.launch(b"m-%d" % number, b"e-%d" % (number % 20), base=exercise),
                        precedence=reports.FLASH,
                        label=reports.label(),
                    )
                    for number in range(first, first + 50)
                ]
                await asyncio.gather(*reports_under_way)
        await until(lambda: all(program.count() >= MESSAGES for program in others))
        held = stopped.count()
        stopped.running.send_signal(signal.SIGCONT)
        await until(lambda: stopped.count() >= MESSAGES)
        await asyncio.sleep(0.2)  # the rest of a line
        shown = [program.warnings() for program in programs]
    assert held < MESSAGES, "it was stopped"
    assert len(set(shown[0])) == MESSAGES, "nothing twice"
    assert all(one == shown[0] for one in shown), "all the same, in the same order"
    assert len(base64.b64decode(shown[0][0])) == 16
