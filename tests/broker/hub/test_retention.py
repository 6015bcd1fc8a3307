"""Old records leave the logs, young ones stay, and a clock that is wrong does no great harm."""

from __future__ import annotations

from broker import limits
from broker.hub.retention import LOOK_S, MARK_S, forget_old
from broker.limits import SECOND_NS
from broker.store import NewRecord
from broker.store.memory import open_memory

DAYS = int(limits.RETENTION_S / MARK_S)


async def test_what_is_older_than_the_retention_is_forgotten_and_nothing_else() -> None:
    store, now_ns = await open_memory(), 1_700_000_000 * SECOND_NS
    for hour in range(24 * (DAYS + 5)):
        await store.append(
            [NewRecord("log/JPN", b"%d" % hour, bytes(32), b""), NewRecord("other", b"%d" % hour, b"", b"")]
        )
        await forget_old(store, now_ns + int(hour * LOOK_S) * SECOND_NS)
        left = (await store.bounds("log/JPN")).records
        assert left >= min(hour + 1, 24 * DAYS), "nothing young is forgotten"
        assert left <= 24 * (DAYS + 1), "nothing old stays longer than a mark"
    assert (await store.bounds("other")).first == 1, "logs alone"
    assert len(await store.state("retention")) == 1


async def test_a_clock_in_another_year_costs_a_day_of_records_and_not_all() -> None:
    store, now_ns = await open_memory(), 1_700_000_000 * SECOND_NS
    for day in range(10):
        await store.append([NewRecord("log/JPN", b"%d" % day, bytes(32), b"")])
        await forget_old(store, now_ns + int(day * MARK_S) * SECOND_NS)
    await forget_old(store, now_ns + 365 * int(MARK_S) * SECOND_NS)
    assert (await store.bounds("log/JPN")).first == 2
    await forget_old(store, now_ns - 365 * int(MARK_S) * SECOND_NS)
    assert (await store.bounds("log/JPN")).first == 2
