"""Step 6 when the disk is slow, full, away, or does not tell: nothing acknowledged is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.refusal import Reason
from broker.store import Full, NotDurable, Unavailable
from broker.store.memory import open_memory
from vedette.v1 import content_pb2, exchange_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from broker.store import Bounds, NewRecord, Record, Store, StoreError, Written
    from tests.broker.hub.conftest import Running, Speaker

    Serve = Callable[..., AbstractAsyncContextManager[Running]]
    Speakers = Callable[..., Speaker]

STORED = exchange_pb2.SUBMIT_OUTCOME_STORED
DUPLICATE = exchange_pb2.SUBMIT_OUTCOME_DUPLICATE


class GatedStore:
    """A real store whose appends wait at a gate, and fail when they are told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: StoreError | None = None

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        await self.gate.wait()
        if isinstance(self.fault, NotDurable) and self.fault.maybe:
            await self._store.append(batch, state=state)  # it was durable after all
        if self.fault is not None:
            raise self.fault
        return await self._store.append(batch, state=state)

    async def read(self, stream: str, *, after: int, limit: int, lane: int | None = None) -> list[Record]:
        return await self._store.read(stream, after=after, limit=limit, lane=lane)

    def follow(self, stream: str, *, after: int, lane: int | None = None) -> AsyncIterator[Record]:
        return self._store.follow(stream, after=after, lane=lane)

    async def find(self, stream: str, key: bytes) -> Record | None:
        return await self._store.find(stream, key)

    async def state(self, prefix: str) -> dict[str, bytes]:
        return await self._store.state(prefix)

    async def bounds(self, stream: str) -> Bounds:
        return await self._store.bounds(stream)

    async def streams(self, prefix: str) -> list[str]:
        return await self._store.streams(prefix)

    async def trim(self, stream: str, *, before: int) -> None:
        await self._store.trim(stream, before=before)

    async def close(self) -> None:
        self.gate.set()
        await self._store.close()


async def test_more_than_was_granted_is_refused_and_the_rest_is_stored(serve: Serve, speaker: Speakers) -> None:
    kor, usa = speaker("KOR"), speaker("USA")
    store = GatedStore(await open_memory())
    frame = limits.FRAME_MESSAGES_MAX
    sent = [kor.envelope("JPN") for _ in range(limits.CREDITS + frame)]
    async with serve(store) as running, running.line("KOR") as line, line.submitting() as up:
        store.gate.clear()
        for begin in range(0, len(sent), frame):
            await up.send(exchange_pb2.SubmitRequest(envelopes=sent[begin : begin + frame]))
        labels = {"step": "4-submit", "origin": "KOR", "reason": "NO_CREDIT"}
        registry = running.hub.parts.metrics.registry
        async with asyncio.timeout(20):
            while registry.get_sample_value("vedette_refusals_total", labels) != frame:  # noqa: ASYNC110 - counters have no event
                await asyncio.sleep(0.01)
        store.gate.set()
        receipts = await up.receipts(len(sent))
        assert {receipt.outcome for receipt in receipts[: limits.CREDITS]} == {STORED}
        assert {receipt.refusal.reason for receipt in receipts[limits.CREDITS :]} == {Reason.REASON_NO_CREDIT}
        assert up.credits == len(sent)
        (receipt,) = await up.submit(sent[-1])
        assert receipt.outcome == STORED, "the same again, once there is credit"
        async with running.line("USA") as other, other.submitting() as theirs:
            (receipt,) = await theirs.submit(usa.envelope("JPN"))
            assert receipt.outcome == STORED


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Full("no room"), Reason.REASON_STORE_FULL),
        (Unavailable("closed"), Reason.REASON_UNAVAILABLE),
        (NotDurable("the disk said no", maybe=False), Reason.REASON_UNAVAILABLE),
    ],
)
async def test_what_could_not_be_stored_is_refused_and_stored_when_it_comes_again(
    fault: StoreError, reason: Reason.ValueType, serve: Serve, speaker: Speakers
) -> None:
    store = GatedStore(await open_memory())
    sealed = speaker("KOR").envelope("JPN")
    async with serve(store) as running, running.line("KOR") as line, line.submitting() as up:
        store.fault = fault
        (receipt,) = await up.submit(sealed)
        assert receipt.refusal.reason == reason
        store.fault = None
        (receipt,) = await up.submit(sealed)
        assert receipt.outcome == STORED


async def test_what_was_stored_though_nobody_knew_is_delivered_once(serve: Serve, speaker: Speakers) -> None:
    store = GatedStore(await open_memory())
    kor = speaker("KOR")
    sealed, after = kor.envelope("JPN"), kor.envelope("JPN")
    async with (
        serve(store) as running,
        running.line("KOR") as line,
        running.line("JPN") as jpn,
        line.submitting() as up,
        jpn.following() as log,
    ):
        store.fault = NotDurable("the answer was lost", maybe=True)
        (receipt,) = await up.submit(sealed)
        assert receipt.refusal.reason == Reason.REASON_UNAVAILABLE
        store.fault = None
        (again,) = await up.submit(sealed)
        assert again.outcome == DUPLICATE
        (last,) = await up.submit(after)
        assert last.outcome == STORED
        delivered = [*await log.envelopes(1), *await log.envelopes(1)]
        assert [delivery.envelope for delivery in delivered] == [sealed, after]


async def test_nothing_is_acknowledged_or_routed_before_it_is_durable(serve: Serve, speaker: Speakers) -> None:
    store = GatedStore(await open_memory())
    async with (
        serve(store) as running,
        running.line("KOR") as line,
        running.line("JPN") as jpn,
        line.submitting() as up,
        jpn.following() as log,
    ):
        store.gate.clear()
        await up.send(exchange_pb2.SubmitRequest(envelopes=[speaker("KOR").envelope("JPN")]))
        answers = [asyncio.create_task(up.call.read()), asyncio.create_task(log.call.read())]
        done, _ = await asyncio.wait(answers, timeout=0.3)
        assert not done
        store.gate.set()
        done, _ = await asyncio.wait(answers, timeout=5)
        assert len(done) == 2


def fused(content: content_pb2.Content) -> None:
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_PARTIAL
    content.fused.event_id = secrets.token_bytes(16)
    content.fused.revision = 1
    content.fused.basis.position, content.fused.basis.digest = bytes(8), bytes(32)


async def test_a_picture_waits_for_a_warning_to_share_its_commit_and_a_warning_for_nothing(
    serve: Serve, speaker: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINGER_PICTURE_S", 60.0)
    kor, hub = speaker("KOR"), speaker("HUB")
    async with (
        serve() as running,
        running.line("KOR") as line,
        running.line("HUB", role="views") as views,
        line.submitting() as up,
        views.submitting() as pictures,
    ):
        (receipt,) = await up.submit(kor.envelope("JPN"))
        assert receipt.outcome == STORED, "alone, and at once"
        await pictures.send(exchange_pb2.SubmitRequest(envelopes=[hub.envelope("JPN", content=fused)]))
        await asyncio.sleep(0.3)
        assert (await running.hub.parts.store.bounds("log/JPN")).last == 1
        (receipt,) = await up.submit(kor.envelope("JPN"))
        assert receipt.outcome == STORED
        (receipt,) = await pictures.receipts(1)
        assert receipt.outcome == STORED


async def test_a_picture_that_no_warning_joins_is_stored_by_itself(serve: Serve, speaker: Speakers) -> None:
    async with serve() as running, running.line("HUB", role="views") as views, views.submitting() as pictures:
        (receipt,) = await pictures.submit(speaker("HUB").envelope("JPN", content=fused))
        assert receipt.outcome == STORED
