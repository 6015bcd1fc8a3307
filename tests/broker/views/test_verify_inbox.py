"""A whole inbox verified: from its beginning, what retention left of it, day by day, and after the hub began anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from broker.gateway.downlink import INBOX
from broker.gateway.logbook import Logbook
from broker.gateway.verify import Verified, verify
from broker.store import NewRecord
from broker.store.beside import Beside
from broker.store.load import load_store
from broker.views.verify import Outcome
from vedette.v1 import exchange_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Log = list[tuple[int, exchange_pb2.Delivery]]


@pytest.fixture(scope="module")
def log(hub: Any, arrivals: Any) -> Log:
    found: Log = hub().feed(arrivals).log
    return found


def write(folder: Path, deliveries: Sequence[exchange_pb2.Delivery], *, forgotten: int = 0) -> None:
    """Append to an inbox, and forget its first records."""

    async def write_all() -> None:
        store = await load_store("sqlite")(folder / "gateway.sqlite")
        try:
            known = (await store.bounds(INBOX)).last
            await store.append(
                [
                    NewRecord(
                        INBOX,
                        b"%d" % (known + number),
                        bytes(32),
                        journal_pb2.InboxRecord(delivery=delivery).SerializeToString(),
                    )
                    for number, delivery in enumerate(deliveries)
                ]
            )
            if forgotten:
                await store.trim(INBOX, before=forgotten + 1)
        finally:
            await store.close()

    asyncio.run(write_all())


def verified(folder: Path, keep: Path | None = None) -> Verified:
    with Beside(folder / "gateway.sqlite") as store:
        return verify(Logbook(store), keep)


def deliveries(log: Log) -> list[exchange_pb2.Delivery]:
    return [delivery for _, delivery in log]


def test_what_retention_left_can_be_checked_only_by_who_kept_on_checking(log: Log, tmp_path: Path) -> None:
    folder, kept = tmp_path / "data", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    write(folder, deliveries(log[:20]))
    first = verified(folder, kept)
    assert (first.recipient, first.has_differences, first.has_unchecked) == ("JPN", False, False)
    write(folder, deliveries(log[20:]), forgotten=15)
    later, anew = verified(folder, kept), verified(folder)
    assert later.already == 5
    assert (later.has_differences, later.has_unchecked, later.holes) == (False, False, 0)
    assert first.counts[Outcome.AGREED] + later.counts[Outcome.AGREED] > 12
    assert anew.has_unchecked
    assert not anew.has_differences
    assert anew.counts[Outcome.AGREED] == 0


def test_what_came_between_two_runs_and_was_forgotten_is_a_hole(log: Log, tmp_path: Path) -> None:
    folder, kept = tmp_path / "data", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    write(folder, deliveries(log[:20]))
    verified(folder, kept)
    write(folder, deliveries(log[20:]), forgotten=26)
    later = verified(folder, kept)
    assert later.holes == 1
    assert later.has_unchecked
    assert not later.has_differences


def test_a_hub_that_began_its_log_anew_is_verified_by_what_digests_prove(log: Log, tmp_path: Path) -> None:
    write(tmp_path, [*deliveries(log), *deliveries(log)])
    found = verified(tmp_path)
    assert found.parts == 2
    assert (found.has_differences, found.has_unchecked) == (False, False)
    assert found.counts[Outcome.AGREED] == 2 * verified_pictures(log)


def verified_pictures(log: Log) -> int:
    return sum(1 for _, delivery in log if b"HUB" in delivery.envelope[:40])


def test_a_hub_that_began_its_log_anew_is_not_taken_for_the_one_that_was_verified_before(
    log: Log, tmp_path: Path
) -> None:
    """Its positions begin again: what has been looked at is known by what it is, not by where it stands."""
    folder, kept = tmp_path / "data", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    write(folder, deliveries(log))
    verified(folder, kept)
    write(folder, deliveries(log[:-3]))
    second = verified(folder, kept)
    assert (second.parts, second.already, second.records) == (2, len(log), len(log) - 3)
    write(folder, deliveries(log[-3:]), forgotten=len(log))
    third = verified(folder, kept)
    assert (third.already, third.records, third.has_differences, third.has_unchecked) == (len(log) - 3, 3, False, False)


def test_a_checkpoint_of_another_log_is_not_gone_on_from(log: Log, hub: Any, arrivals: Any, tmp_path: Path) -> None:
    folder, other, kept = tmp_path / "data", tmp_path / "other", tmp_path / "kept"
    for one in (folder, other, kept):
        one.mkdir()
    write(folder, deliveries(log))
    verified(folder, kept)
    write(other, deliveries(hub().feed(arrivals[1:]).log))
    found = verified(other, kept)
    assert found.already == 0
    assert (found.has_differences, found.has_unchecked) == (False, False)


def test_an_empty_inbox_has_nothing_to_say(tmp_path: Path) -> None:
    write(tmp_path, [])
    found = verified(tmp_path)
    assert (found.recipient, found.records, found.has_differences, found.has_unchecked) == ("", 0, False, False)
