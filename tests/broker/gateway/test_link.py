"""The connection to the hub: what runs together ends together, and a gateway that is told to stop stops."""

from __future__ import annotations

import asyncio

import pytest

from broker.gateway.link import Leaving, keep_trying, together


async def fails(*, after_s: float) -> None:
    await asyncio.sleep(after_s)
    raise Leaving(0)


async def tidies_up(*, for_s: float, ended: asyncio.Event) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(for_s)
        ended.set()


async def test_a_failure_ends_the_others_first_and_is_raised_as_it_is() -> None:
    ended = asyncio.Event()
    with pytest.raises(Leaving):
        await together(fails(after_s=0), tidies_up(for_s=0.01, ended=ended))
    assert ended.is_set()


@pytest.mark.parametrize("stop_after_s", [0.0, 0.02, 0.05, 0.08])
async def test_who_is_told_to_stop_stops_also_while_it_tidies_up_after_a_failure(stop_after_s: float) -> None:
    """It fails at 0.02 s and tidies up until 0.07 s. Left running it would try again for ever."""

    async def attempt() -> None:
        await together(fails(after_s=0.02), tidies_up(for_s=0.05, ended=asyncio.Event()))

    trying = asyncio.create_task(keep_trying("test", attempt))
    await asyncio.sleep(stop_after_s)
    trying.cancel()
    done, _ = await asyncio.wait({trying}, timeout=1.0)
    while not trying.done():
        trying.cancel()
        await asyncio.wait({trying}, timeout=0.01)
    assert done, "the cancellation was swallowed"
