"""Nine watch floors on one gateway, as programs of their own; one is stopped in full flow, and nobody waits for it.

It stays stopped until the gateway has taken its connection for dead, so that it has to find its place again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from broker import limits
from broker.demo.world import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import OpenWorld, Reporting

WATCHERS: Final = 9
BEFORE: Final = 100  # messages until one is stopped
MESSAGES: Final = 1200  # over a megabyte: more than the transport and the gateway's queues hold for one watcher
AT_ONCE: Final = 50
GIVEN_UP_S: Final = (limits.KEEPALIVE_MS + limits.PING_TIMEOUT_MS) / 1000 + 1.0
WAIT_S: Final = 60.0


class WatchProgram:
    """`vedette watch -o jsonl`, writing into a file."""

    def __init__(self, world: World, folder: Path, number: int) -> None:
        self._path = folder / f"watch-{number}.jsonl"
        certificate = world.authority.home("USA") / "watch" / "exercise" / FLOOR
        command = [sys.executable, "-m", "broker", "watch", "--gateway", world.address("USA")]
        with self._path.open("wb") as out:
            self.running = subprocess.Popen(  # noqa: S603 - ours
                [*command, "--cert", str(certificate), "-o", "jsonl"], stdout=out, stdin=subprocess.DEVNULL
            )

    def count(self) -> int:
        """Return how many warnings were shown so far, without reading them."""
        return self._path.read_bytes().count(b'"warning"')

    def is_connected(self) -> bool:
        return self._path.stat().st_size > 0

    def warnings(self) -> list[dict[str, Any]]:
        """Return what was shown so far, in order."""
        lines = self._path.read_bytes().split(b"\n")[:-1]  # the last one may be half written
        return [event["warning"] for event in map(json.loads, lines) if "warning" in event]

    def end(self) -> None:
        self.running.kill()
        self.running.wait()


async def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.1)


async def test_eight_get_everything_while_the_ninth_is_stopped_and_it_misses_nothing_when_it_goes_on(
    open_world: OpenWorld, tmp_path: Path, reports: ModuleType, reporting: Reporting
) -> None:
    world = open_world(nations=("KOR", "USA"), pictures=False)
    exercise = reports.exercise()
    with ExitStack() as stack:
        programs = []
        for number in range(WATCHERS):
            programs.append(WatchProgram(world, tmp_path, number))
            stack.callback(programs[-1].end)
        await until(lambda: all(program.is_connected() for program in programs))
        stopped, *others = programs
        stopped_at_s = held = 0.0
        async with reporting(world, "KOR") as reporter:
            for first in range(0, MESSAGES, AT_ONCE):
                if first == BEFORE:
                    stopped.running.send_signal(signal.SIGSTOP)
                    stopped_at_s, held = time.monotonic(), stopped.count()
                under_way = [
                    reporter.report(
                        reports.track(b"m-%d" % number, b"e-%d" % (number % 20), base=exercise),
                        precedence=reports.FLASH,
                        label=reports.label(),
                    )
                    for number in range(first, first + AT_ONCE)
                ]
                await asyncio.gather(*under_way)
        await until(lambda: all(program.count() == MESSAGES for program in others))
        await asyncio.sleep(max(0.0, stopped_at_s + GIVEN_UP_S - time.monotonic()))
        assert stopped.count() == held, "it was stopped"
        stopped.running.send_signal(signal.SIGCONT)
        await until(lambda: stopped.count() >= MESSAGES)
        await asyncio.sleep(1.0)  # time for something to come twice
        shown = [program.warnings() for program in programs]

    assert held < MESSAGES
    for warnings in shown:
        assert [int(warning["header"]["sequence"]) for warning in warnings] == list(range(1, MESSAGES + 1))
    assert len({warning["header"]["message_id"] for warning in shown[0]}) == MESSAGES
    contents = [[warning["content"] for warning in warnings] for warnings in shown]
    assert all(one == contents[0] for one in contents), "all were shown the same"
