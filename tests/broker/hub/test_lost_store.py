"""A hub that has lost its store, or was given an older one, and a gateway that holds what the hub does not."""

from __future__ import annotations

import asyncio
import copy
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.audit import AuditTrail
from broker.clock import SystemClock
from broker.gateway.downlink import INBOX, Downlink
from broker.gateway.link import LinkState, keep_trying
from broker.stages import Metrics
from broker.store.memory import Kept, open_memory
from vedette.v1.journal_pb2 import InboxRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.store import Store
    from tests.broker.hub.conftest import Running, Speaker


@asynccontextmanager
async def coming_down(running: Running, inbox: Store, folder: Path) -> AsyncIterator[None]:
    """Have what is for JPN come down from a hub into JPN's inbox."""
    clock, metrics = SystemClock(), Metrics()
    audit = AuditTrail.open(folder / "audit.jsonl", clock)
    async with running.line("JPN") as line:
        downlink = Downlink(
            us="JPN",
            store=inbox,
            channel=line.channel,
            link=LinkState(clock, metrics),
            clock=clock,
            metrics=metrics,
            audit=audit,
            members=lambda: running.hub.parts.door.members,
        )
        task = asyncio.create_task(keep_trying("down", downlink.run))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await audit.close()


async def held(inbox: Store, sealed: list[bytes]) -> None:
    """Wait until an inbox holds envelopes."""
    async with asyncio.timeout(10):
        async for record in inbox.follow(INBOX, after=0):
            delivery = InboxRecord.FromString(record.data).delivery
            sealed = [one for one in sealed if one != delivery.envelope]
            if not sealed:
                return


@pytest.mark.parametrize("backup_after", [None, 3])
async def test_what_stands_in_another_log_is_not_missed(
    backup_after: int | None,
    serve: Callable[..., AbstractAsyncContextManager[Running]],
    speaker: Callable[[str], Speaker],
    tmp_path: Path,
) -> None:
    kor, usa, inbox = speaker("KOR"), speaker("USA"), await open_memory()
    first = [kor.envelope("JPN") for _ in range(10)]
    kept, backup = Kept(), Kept()
    async with serve(await open_memory(kept)) as running, coming_down(running, inbox, tmp_path):
        async with running.line("KOR") as line, line.submitting() as up:
            for number, envelope in enumerate(first):
                if number == backup_after:
                    backup = copy.deepcopy(kept)
                await up.submit(envelope)
        await held(inbox, first)
    second = [usa.envelope("JPN") for _ in range(30)]
    async with serve(await open_memory(backup)) as running:
        async with running.line("USA") as line, line.submitting() as up:
            await up.submit(*second)  # the log is longer now than JPN's token says
        async with coming_down(running, inbox, tmp_path):
            await held(inbox, second)


async def test_what_we_said_ourselves_waits_for_a_warning_and_a_warning_for_nothing(
    running: Running, speaker: Callable[[str], Speaker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINGER_PICTURE_S", 60.0)
    ours, theirs, inbox = speaker("JPN").envelope("JPN"), speaker("KOR").envelope("JPN"), await open_memory()
    async with coming_down(running, inbox, tmp_path):
        async with running.line("JPN") as line, line.submitting() as up:
            await up.submit(ours)
        await asyncio.sleep(0.3)
        assert (await inbox.bounds(INBOX)).last == 0
        async with running.line("KOR") as line, line.submitting() as up:
            await up.submit(theirs)
        await held(inbox, [ours, theirs])
    found = await inbox.read(INBOX, after=0, limit=10)
    envelopes = [InboxRecord.FromString(record.data).delivery.envelope for record in found]
    assert [one for one in envelopes if one] == [ours, theirs], "in the order of the log, Ticks apart"


async def test_what_is_in_our_hands_when_the_hub_goes_is_brought_in(
    serve: Callable[..., AbstractAsyncContextManager[Running]],
    speaker: Callable[[str], Speaker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LINGER_PICTURE_S", 60.0)
    ours, inbox = speaker("JPN").envelope("JPN"), await open_memory()
    async with serve(await open_memory()) as running, coming_down(running, inbox, tmp_path):
        async with running.line("JPN") as line, line.submitting() as up:
            await up.submit(ours)
        await asyncio.sleep(0.3)
        assert (await inbox.bounds(INBOX)).last == 0
        await running.hub.drain()
        await held(inbox, [ours])
