"""Old records and old small values leave a gateway, and what is still needed stays, however old."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest

from broker.clock import timestamp
from broker.gateway.downlink import INBOX
from broker.gateway.ids import Scope
from broker.gateway.ledger import INTAKE, OUTBOX
from broker.gateway.ledger import PREFIX as LEDGER
from broker.gateway.link import LinkState
from broker.gateway.retention import MARK_S, Retention, last_forgotten
from broker.gateway.uplink import CURSOR, Uplink
from broker.limits import SECOND_NS
from broker.store import NewRecord
from vedette.v1 import content_pb2, envelope_pb2

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from broker.gateway.release import Policy
    from tests.broker.gateway.conftest import Origin

NOW_NS = 1_780_000_000 * SECOND_NS
DAY_S = int(MARK_S)
DAYS = 3
NOT_A_LAUNCH = content_pb2.EVENT_STATE_NOT_A_LAUNCH
URGENT, NORMAL = envelope_pb2.LANE_URGENT, envelope_pb2.LANE_NORMAL
FLASH = envelope_pb2.PRECEDENCE_FLASH
EXERCISE, TEST = content_pb2.MODE_EXERCISE, content_pb2.MODE_TEST
RULES = """
- id: ALL
  effect: release
  to: [JPN]
  when: 'body == "track"'
  give: {when_observed: exact, track_time: exact, track_place: exact}
  reason: r
- id: STATUS
  effect: release
  to: [JPN]
  when: 'body == "status"'
  give: {when_observed: exact, status: exact}
  reason: r
- {id: LATE, effect: limit, to: [JPN], when: '"LATER" in label.caveats', delay_s: 3600, reason: r}
"""


class Days:
    """A gateway that lives for days. Its pipeline works in the background, as in a process."""

    def __init__(self, kor: Origin, reports: ModuleType) -> None:
        self.kor, self.reports = kor, reports
        self.base = reports.exercise("test-1")
        self.base.wall_zero.CopyFrom(timestamp(NOW_NS))
        self.base.exercise_zero.CopyFrom(self.base.wall_zero)

    async def begin(self) -> None:
        self.retention = Retention(self.kor.store, self.kor.pipeline, float(DAYS * DAY_S))
        await self.retention.load()

    async def look(self) -> None:
        """Forget what is old, as the task in the gateway does."""
        looking = asyncio.create_task(self.retention.forget_old(self.kor.clock.wall_ns()))
        while not looking.done():
            await asyncio.sleep(0.001)
            while not self.kor.pipeline._queue.empty():
                await self.kor.pipeline.step()
        await looking

    async def pass_days(self, days: int) -> None:
        for _ in range(days):
            self.kor.clock.advance(DAY_S * SECOND_NS)
            await self.look()

    async def say(self, name: str, event: str = "e-1", *caveats: str, state: int = 0) -> None:
        at_ns = self.kor.clock.wall_ns()
        if state:
            content = self.reports.status(name.encode(), event.encode(), state, base=self.base)
        else:
            content = self.reports.track(name.encode(), event.encode(), base=self.base, at_ns=at_ns)
        await self.kor.report(content, self.reports.label(caveats=caveats), FLASH)

    async def acknowledged(self) -> None:
        """Say that the hub has all."""
        last = (await self.kor.store.bounds(OUTBOX)).last
        state = {f"{CURSOR}{lane}": last.to_bytes(8, "big") for lane in (URGENT, NORMAL)}
        await self.kor.store.append([], state=state)

    async def left(self, stream: str) -> int:
        return (await self.kor.store.bounds(stream)).records


@pytest.fixture
async def days(origin: Callable[..., Origin], policy_of: Callable[[str], Policy], reports: ModuleType) -> Days:
    made = Days(await origin(policy_of(RULES), recipients=("JPN",)).start(), reports)
    await made.begin()
    await made.look()
    return made


async def put(days: Days, name: str, mode: int) -> None:
    await days.kor.store.append([NewRecord(INBOX, name.encode(), bytes(32), b"", lane=mode)])


async def test_what_is_older_than_the_retention_is_forgotten_and_nothing_else(days: Days) -> None:
    for day in range(10):
        await days.say(f"t-{day}", f"e-{day}")
        await put(days, f"i-{day}", EXERCISE)
        await days.acknowledged()
        await days.pass_days(1)
        for stream in (INTAKE, OUTBOX, INBOX):
            assert await days.left(stream) == min(day + 1, DAYS), stream
    names = [name for name in await days.kor.store.state(LEDGER) if "/event/" in name]
    assert len(names) == DAYS, "small values go with the mark before which they were needed last"


async def test_memory_is_given_back_with_the_disk(days: Days) -> None:
    for day in range(10):
        await days.say(f"t-{day}", f"e-{day}")
        await days.acknowledged()
        await days.pass_days(1)
    ledger = days.kor.pipeline.ledger
    assert len(ledger._kept) == len(await days.kor.store.state(LEDGER))
    assert sum(len(names) for names in ledger._by_age.values()) <= len(ledger._kept)


async def test_what_the_hub_has_not_acknowledged_stays_however_old(days: Days) -> None:
    await days.say("t-1")
    await days.acknowledged()
    await days.say("t-2")
    await days.pass_days(10)
    assert [item.header.sequence for item in await days.kor.outbox()] == [2]
    await days.acknowledged()
    await days.pass_days(DAYS + 1)
    assert await days.left(OUTBOX) == 0


async def test_a_report_that_waits_for_a_delay_stays_and_is_sent(days: Days) -> None:
    days.base.rate = 0.01  # so that an hour of the exercise takes four days and four hours
    await days.say("t-1", "e-1", "LATER")
    await days.pass_days(DAYS + 1)
    assert (await days.left(INTAKE), await days.kor.outbox()) == (1, [])
    await days.kor.wait(DAY_S / 2)
    assert len(await days.kor.outbox()) == 1


async def test_an_event_that_goes_on_can_be_taken_back_however_long_ago_it_began(days: Days) -> None:
    for day in range(2 * DAYS):
        await days.say(f"t-{day}")
        await days.acknowledged()
        await days.pass_days(1)
    await days.say("s", state=NOT_A_LAUNCH)
    assert (await days.kor.outbox())[-1].content.status.state == NOT_A_LAUNCH
    count = len(await days.kor.outbox())
    for day in range(2 * DAYS):
        await days.say(f"u-{day}")
        assert len(await days.kor.outbox()) <= count, "and what is still said of it is told to nobody"
        await days.acknowledged()
        await days.pass_days(1)


async def test_what_was_set_aside_goes_with_the_memory_of_why(days: Days) -> None:
    await days.say("s", state=NOT_A_LAUNCH)
    await days.say("t-1")
    assert len(await days.kor.store.state("held/")) == 1
    await days.acknowledged()
    await days.pass_days(DAYS + 1)
    assert await days.kor.store.state("held/") == {}


async def test_marks_and_ages_go_on_after_a_restart(days: Days) -> None:
    await days.say("t-1")
    await days.acknowledged()
    await days.pass_days(1)
    await days.kor.restart()
    await days.begin()
    assert days.kor.pipeline.ledger.age == 3
    assert days.kor.pipeline.may_hold(Scope(EXERCISE, "test-1", "aegis-1", "s"))
    await days.pass_days(DAYS)
    assert await days.left(INTAKE) == 0
    assert not days.kor.pipeline.may_hold(Scope(EXERCISE, "test-1", "aegis-1", "s"))
    assert not [name for name in await days.kor.store.state(LEDGER) if "/event/" in name]


async def test_a_clock_in_another_year_costs_a_day_and_not_all(days: Days) -> None:
    for day in range(DAYS):
        await days.say(f"t-{day}", f"e-{day}")
        await days.acknowledged()
        if day < DAYS - 1:
            await days.pass_days(1)
    days.kor.clock.advance(365 * DAY_S * SECOND_NS)
    await days.look()
    assert await days.left(INTAKE) == DAYS, "the first mark was made before anything was said"
    await days.look()
    assert await days.left(INTAKE) == DAYS - 1
    assert len([name for name in await days.kor.store.state(LEDGER) if "/event/" in name]) == DAYS - 1


async def test_of_each_mode_the_last_position_forgotten_is_known(days: Days) -> None:
    for name, mode in (("a", EXERCISE), ("b", TEST), ("c", 0), ("d", 0)):
        await put(days, name, mode)
    assert await last_forgotten(days.kor.store, EXERCISE) == 0
    await days.pass_days(DAYS + 1)
    assert [await last_forgotten(days.kor.store, mode) for mode in (EXERCISE, TEST, 1)] == [1, 2, 0]
    await put(days, "e", TEST)
    await days.pass_days(DAYS + 1)
    assert [await last_forgotten(days.kor.store, mode) for mode in (EXERCISE, TEST, 1)] == [1, 5, 0]


async def test_an_uplink_whose_lane_was_quiet_for_longer_than_anything_is_kept_goes_on(days: Days) -> None:
    kor = days.kor
    await days.say("t-1")
    await days.acknowledged()
    state = {f"{CURSOR}{NORMAL}": b""}  # nothing ever went in this lane
    await kor.store.append([], state=state)
    await days.pass_days(DAYS + 1)
    channel = grpc.aio.insecure_channel("127.0.0.1:9")
    link = LinkState(kor.clock, kor.pipeline.metrics)
    uplink = Uplink(kor.store, channel, link, kor.clock, kor.pipeline.metrics, kor.audit, heads_known=_nobody)
    await uplink._load_cursors()
    uplink._waiting = {lane: deque() for lane in (URGENT, NORMAL)}
    filling = asyncio.create_task(uplink._fill(NORMAL))
    await asyncio.sleep(0.01)
    await kor.store.append([NewRecord(OUTBOX, b"new", bytes(32), b"data", lane=NORMAL)])
    async with asyncio.timeout(5):
        while not uplink._waiting[NORMAL]:
            assert not filling.done()
            await asyncio.sleep(0.001)
    filling.cancel()
    await channel.close()


async def _nobody(_heads: object, _stub: object) -> None:
    return None
