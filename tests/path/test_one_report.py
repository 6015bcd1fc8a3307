"""The way of a message: one report from KOR to JPN through real processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from broker.demo.world import World
    from vedette.v1.national_pb2 import Warning as WarningMessage


async def next_warning(client: Client, *, wait_s: float = 10.0) -> WarningMessage:
    async with asyncio.timeout(wait_s):
        async for response in client.watch():
            if response.WhichOneof("event") == "warning" and response.warning.header.origin != "HUB":
                return response.warning
    raise AssertionError


async def test_a_track_seen_by_kor_reaches_the_watch_floor_of_jpn(
    open_world: Callable[..., World], reports: ModuleType
) -> None:
    world = open_world(nations=("KOR", "JPN"), pictures=False)
    base = reports.exercise()
    content = reports.track(b"t-1", b"e-1", base=base)
    async with (
        Client.open(world.address("KOR"), world.system("KOR", "operator")) as system,
        Client.open(world.address("JPN"), world.watch("JPN")) as floor,
        system.reporter() as reporter,
    ):
        receipt = await reporter.report(content, precedence=reports.IMMEDIATE, label=reports.label())
        warning = await next_warning(floor)
    assert not receipt.duplicate
    assert warning.header.origin == "KOR"
    assert warning.header.recipient == "JPN"
    assert warning.content.WhichOneof("body") == "track"
    assert warning.content.header.message_id != b"t-1"
    assert len(warning.content.header.message_id) == 16
