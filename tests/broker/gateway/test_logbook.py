"""The inbox, read in the order of the log at the hub."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.gateway.downlink import INBOX
from broker.gateway.logbook import Logbook
from broker.store import NewRecord
from broker.store.beside import Beside
from broker.store.load import load_store
from vedette.v1 import envelope_pb2, exchange_pb2, journal_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

URGENT, NORMAL = envelope_pb2.LANE_URGENT, envelope_pb2.LANE_NORMAL
TICK = 0


def entry(lane: int, position: int) -> bytes:
    delivery = exchange_pb2.Delivery(position=position.to_bytes(8, "big"))
    if lane == TICK:
        delivery.tick.tick.time.FromSeconds(position)
    else:
        header = envelope_pb2.RoutingHeader(recipient="JPN", lane=envelope_pb2.Lane.ValueType(lane))
        delivery.envelope = envelope_pb2.Envelope(header=header.SerializeToString()).SerializeToString()
    return journal_pb2.InboxRecord(delivery=delivery).SerializeToString()


@pytest.fixture
def inbox(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes an inbox; a None stands for a gap in an origin's numbers."""

    # Lane (or TICK) and position, in the order of arrival.
    def write(came: Sequence[tuple[int, int] | None], forgotten: int = 0) -> Path:
        async def write_all() -> None:
            store = await load_store("sqlite")(tmp_path / "gateway.sqlite")
            try:
                gap = journal_pb2.InboxRecord(gap=national_pb2.Gap(origin="KOR")).SerializeToString()
                records = [
                    NewRecord(INBOX, b"%d" % number, bytes(32), gap if one is None else entry(*one))
                    for number, one in enumerate(came)
                ]
                await store.append(records)
                if forgotten:
                    await store.trim(INBOX, before=forgotten + 1)
            finally:
                await store.close()

        asyncio.run(write_all())
        return tmp_path / "gateway.sqlite"

    return write


def read(path: Path) -> tuple[list[tuple[int, int, bool]], Logbook]:
    """Return part, position and whether it stands behind a hole."""
    told: list[tuple[int, int]] = []
    with Beside(path) as store:
        log = Logbook(store, lambda done, total: told.append((done, total)))
        found = [(one.part, one.position, one.is_after_hole) for one in log]
    assert told[-1][0] <= told[-1][1]
    return found, log


def test_two_lanes_that_came_apart_are_one_log_again(inbox: Callable[..., Path]) -> None:
    came = [(URGENT, 2), (URGENT, 5), (NORMAL, 1), (TICK, 3), None, (URGENT, 6), (NORMAL, 4), (TICK, 7)]
    found, log = read(inbox(came))
    assert found == [(0, position, False) for position in range(1, 8)]
    assert not log.is_partial


def test_more_than_a_turn_of_reading_apart(inbox: Callable[..., Path]) -> None:
    many = 2 * limits.READ_BATCH
    came = [(URGENT, 2 * number + 1) for number in range(many)] + [(NORMAL, 2 * number + 2) for number in range(many)]
    found, _ = read(inbox(came))
    assert [position for _, position, _ in found] == list(range(1, 2 * many + 1))


def test_a_hole_is_told_where_it_is(inbox: Callable[..., Path]) -> None:
    found, _ = read(inbox([(NORMAL, 1), (NORMAL, 2), (URGENT, 5), (NORMAL, 6)]))
    assert found == [(0, 1, False), (0, 2, False), (0, 5, True), (0, 6, False)]


def test_urgent_records_ahead_of_what_is_on_its_way_are_left_out(inbox: Callable[..., Path]) -> None:
    found, log = read(inbox([(NORMAL, 1), (URGENT, 2), (URGENT, 5), (URGENT, 6)]))
    assert [position for _, position, _ in found] == [1, 2]
    assert log.ahead == 2


def test_where_the_hub_s_log_begins_anew_another_log_begins(inbox: Callable[..., Path]) -> None:
    came = [(NORMAL, 1), (URGENT, 2), (NORMAL, 3), (URGENT, 1), (NORMAL, 2), (NORMAL, 3)]
    found, _ = read(inbox(came))
    assert found == [(0, 1, False), (0, 2, False), (0, 3, False), (1, 1, False), (1, 2, False), (1, 3, False)]


def test_an_inbox_that_was_shortened_says_so(inbox: Callable[..., Path]) -> None:
    found, log = read(inbox([(NORMAL, position) for position in range(1, 9)], forgotten=3))
    assert found == [(0, 4, True), *((0, position, False) for position in range(5, 9))]
    assert log.is_partial


def test_a_damaged_record_is_a_hole_and_no_end(inbox: Callable[..., Path]) -> None:
    path = inbox([(NORMAL, position) for position in range(1, 9)])
    data = bytearray(path.read_bytes())
    at = data.index(entry(NORMAL, 5))
    data[at + 12] ^= 1
    path.write_bytes(data)
    found, log = read(path)
    assert [position for _, position, is_after_hole in found if is_after_hole] == [6]
    assert len(log.unreadable) == 1
