"""Resume tokens over a hub's restarts, the loss of its store, and a restore."""

from __future__ import annotations

import copy
import secrets
from typing import TYPE_CHECKING

from broker import limits
from broker.hub.runs import Runs
from broker.refusal import Reason, Refused
from broker.store import NewRecord, Store
from broker.store.memory import Kept, open_memory

if TYPE_CHECKING:
    import pytest


async def grow(store: Store, count: int) -> None:
    await store.append([NewRecord("log/JPN", secrets.token_bytes(8), bytes(32), b"") for _ in range(count)])


async def holds(store: Store, runs: Runs, token: bytes, recipient: str = "JPN") -> bool:
    head = (await store.bounds(f"log/{recipient}")).last
    try:
        runs.cursors(token, recipient, lanes=2, head=head)
    except Refused as refused:
        return refused.reason != Reason.REASON_BAD_POSITION
    return True


async def test_a_token_holds_over_restarts_and_says_where_each_lane_was() -> None:
    store = await open_memory()
    first = await Runs.begin(store)
    await grow(store, 10)
    token = first.token([10, 7])
    second = await Runs.begin(store)
    await grow(store, 5)
    third = await Runs.begin(store)
    for runs in (first, second, third):
        assert runs.cursors(token, "JPN", lanes=2, head=15) == (10, 7)
    assert not await holds(store, third, first.token([11, 7])), "the first run never came so far"
    assert not await holds(store, third, token, "USA"), "it is a token of JPN's log"
    assert third.cursors(b"", "JPN", lanes=2, head=15) == (0, 0)


async def test_a_token_of_a_store_that_was_lost_does_not_hold_however_long_the_new_log_is() -> None:
    lost = await open_memory()
    before = await Runs.begin(lost)
    await grow(lost, 10)
    token = before.token([10, 10])
    store = await open_memory()
    await Runs.begin(store)
    await grow(store, 100)
    assert not await holds(store, await Runs.begin(store), token)


async def test_after_a_restore_tokens_hold_as_far_as_the_backup_goes() -> None:
    kept = Kept()
    store = await open_memory(kept)
    runs = await Runs.begin(store)
    await grow(store, 10)
    backup = copy.deepcopy(kept)
    await grow(store, 10)
    restored = await open_memory(backup)
    after = await Runs.begin(restored)
    await grow(restored, 100)
    assert await holds(restored, after, runs.token([10, 4]))
    assert not await holds(restored, after, runs.token([11, 4])), "record 11 is another one here"


async def test_no_more_runs_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RUNS_KEPT", 3)
    store = await open_memory()
    tokens = [(await Runs.begin(store)).token([0, 0]) for _ in range(6)]
    last = await Runs.begin(store)
    assert [await holds(store, last, token) for token in tokens] == [False] * 3 + [True] * 3
