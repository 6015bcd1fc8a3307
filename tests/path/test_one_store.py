"""A gateway's store belongs to one process: a second one does not start, and one whose store was replaced stops."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from broker.cli import Exit
from broker.client import Unreachable
from broker.demo.process import Process, free_port

if TYPE_CHECKING:
    from types import ModuleType

    from tests.path.conftest import OpenWorld, Reporting

WAIT_S = 30.0


async def ended(process: Process) -> int:
    """Return the exit status of a process that ends by itself."""
    assert process.running is not None
    return await asyncio.to_thread(process.running.wait, WAIT_S)


async def test_a_second_gateway_on_one_store_says_so_and_ends_and_a_replaced_store_ends_the_first(
    open_world: OpenWorld, reports: ModuleType, reporting: Reporting
) -> None:
    world = open_world(nations=("KOR", "JPN"), pictures=False, start=("KOR",))
    first, exercise = world.gateways["KOR"], reports.exercise("one-store")
    port = free_port()
    addresses = ("--listen", f"127.0.0.1:{port}", "--metrics-listen", f"127.0.0.1:{free_port()}")
    second = Process("second", (*first.arguments, *addresses), world.folder / "second.log", port)
    async with reporting(world, "KOR") as reporter:

        async def report(name: bytes) -> None:
            content = reports.track(name, b"e", base=exercise)
            await reporter.report(content, precedence=reports.FLASH, label=reports.label())

        await report(b"before")
        second.start()
        assert await ended(second) == Exit.CHECK_FAILED
        assert "is open in another process; stop that one first" in second.tail()
        await report(b"still the first one's")
        store = world.folder / "kor" / "data" / "gateway.sqlite"
        shutil.copy(store, store.with_suffix(".copy"))
        store.with_suffix(".copy").replace(store)
        waiting = asyncio.create_task(report(b"into a file that nobody will ever open again"))
        assert await ended(first) == Exit.CHECK_FAILED
        waiting.cancel()
        (why,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(why, asyncio.CancelledError | Unreachable), "it was not acknowledged"
    last = [line for line in first.tail().splitlines() if line.startswith("vedette gateway:")]
    assert len(last) == 1
    assert "another file was put in the place of" in last[0]
    assert "Traceback" not in first.tail(1)
