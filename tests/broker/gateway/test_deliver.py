"""Step 9 over an inbox in memory: what a watcher is shown, in which order, and when it is woken."""

from __future__ import annotations

import asyncio
import selectors
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import limits
from broker.clock import ManualClock, timestamp
from broker.gateway.deliver import Delivery
from broker.gateway.downlink import INBOX
from broker.gateway.link import LinkState
from broker.gateway.retention import FORGOTTEN
from broker.refusal import Reason, Refused
from broker.stages import Metrics
from broker.store import NewRecord
from broker.store.memory import open_memory
from broker.store.sqlite import open_sqlite
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2, journal_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

NOW_NS = 1_780_000_000 * limits.SECOND_NS
EXERCISE, TEST = content_pb2.MODE_EXERCISE, content_pb2.MODE_TEST
NOT_A_LAUNCH = content_pb2.EVENT_STATE_NOT_A_LAUNCH


class Floor:
    """A gateway's inbox and one watch of it."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.clock = delivery.clock

    async def put(
        self, name: str, *, event: bytes = b"e" * 16, mode: int = EXERCISE, state: int = 0, **options: Any
    ) -> None:
        """Append a track to the inbox, or a status, or with `cancels` a bare reference."""
        await self.flush(self.record(name, event=event, mode=mode, state=state, **options))

    async def flush(self, *records: NewRecord) -> None:
        """Append what came in one frame."""
        await self.delivery.store.append(records)

    @staticmethod
    def record(
        name: str, *, event: bytes = b"e" * 16, mode: int = EXERCISE, state: int = 0, **options: Any
    ) -> NewRecord:
        """Return what `put` appends."""
        content = content_pb2.Content()
        content.header.message_id = name.encode().ljust(16, b".")
        content.header.origin = "KOR"
        if "cancels" in options:
            target = options["cancels"].encode().ljust(16, b".")
            content.header.references.add(message_id=target, relation=content_pb2.RELATION_CANCELS)
        elif state:
            content.status.event_id, content.status.state = event, content_pb2.EventState.ValueType(state)
        else:
            content.track.event_id = event
        header = envelope_pb2.RoutingHeader(origin="KOR", recipient="JPN", message_id=content.header.message_id)
        header.stale_after.CopyFrom(timestamp(options.get("stale_ns", NOW_NS + 10**12)))
        envelope = envelope_pb2.Envelope(header=header.SerializeToString(), body=content.SerializeToString())
        entry = journal_pb2.InboxRecord(
            delivery=exchange_pb2.Delivery(envelope=envelope.SerializeToString()),
            received_at=timestamp(NOW_NS),
            catching_up=options.get("catching_up", False),
        )
        key = content.header.message_id + bytes([mode])
        return NewRecord(INBOX, key, bytes(32), entry.SerializeToString(), lane=mode)

    @staticmethod
    def gap(number: int, *, mode: int = EXERCISE) -> NewRecord:
        gap = national_pb2.Gap(origin="KOR", first_missing=2 * number, last_missing=2 * number)
        entry = journal_pb2.InboxRecord(gap=gap).SerializeToString()
        return NewRecord(INBOX, b"gap" + bytes([mode]) + number.to_bytes(4, "big"), bytes(32), entry, lane=mode)

    @asynccontextmanager
    async def watching(self, *, after: bytes = b"", mode: int = EXERCISE, **options: Any) -> AsyncIterator[Watching]:
        request = national_pb2.WatchRequest(resume_after=after, **options)
        watch = Watching(self.delivery.watch(request, mode))
        try:
            yield watch
        finally:
            await watch.close()


class Watching:
    def __init__(self, responses: AsyncIterator[national_pb2.WatchResponse]) -> None:
        self._responses = responses
        self._waiting: asyncio.Future[national_pb2.WatchResponse] | None = None
        self.position = b""

    async def next(self, *, wait_s: float = 5.0) -> str:
        """Return the next event in short: `a`, `RAISE e`, `LOWER e`, `link True`, `gap`; marks behind it."""
        self._waiting = self._waiting or asyncio.ensure_future(anext(self._responses))
        response = await asyncio.wait_for(self._waiting, wait_s)
        self._waiting = None
        self.position = response.position
        match response.WhichOneof("event"):
            case "warning":
                name = response.warning.header.message_id.rstrip(b".").decode()
                marks = [national_pb2.Mark.Name(mark).removeprefix("MARK_") for mark in response.warning.marks]
                return " ".join([name, *marks])
            case "alarm":
                alarm = national_pb2.Alarm.Name(response.alarm.alarm).removeprefix("ALARM_")
                return f"{alarm} {response.alarm.event_id[:1].decode()}"
            case "link":
                return f"link {response.link.hub_connected}"
            case _:
                gap = response.gap
                return "gap" if gap.origin else f"forgotten {gap.first_missing} to {gap.last_missing}"

    async def take(self, count: int) -> list[str]:
        return [await self.next() for _ in range(count)]

    async def nothing_more(self, wait_s: float = 0.1) -> bool:
        self._waiting = self._waiting or asyncio.ensure_future(anext(self._responses))
        done, _ = await asyncio.wait({self._waiting}, timeout=wait_s)
        return not done

    async def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        await self._responses.aclose()  # type: ignore[attr-defined] # it is an async generator


@pytest.fixture
async def floor() -> Floor:
    return await new_floor()


async def new_floor() -> Floor:
    clock, metrics = ManualClock(NOW_NS), Metrics()
    live = asyncio.Event()
    live.set()
    return Floor(Delivery(await open_memory(), LinkState(clock, metrics), live, clock, metrics))


async def test_a_watch_gets_all_from_before_marked_and_then_what_comes(floor: Floor) -> None:
    await floor.put("a")
    async with floor.watching() as watch:
        assert await watch.take(3) == ["link False", "a CATCHING_UP", "RAISE e"]
        await floor.put("b")
        assert await watch.take(1) == ["b"]
        await floor.put("c", event=b"f" * 16)
        assert await watch.take(2) == ["c", "RAISE f"]


async def test_what_was_cancelled_meanwhile_wakes_nobody(floor: Floor) -> None:
    await floor.put("a")
    await floor.put("b", event=b"f" * 16)
    await floor.put("x", cancels="a")
    async with floor.watching() as watch:
        shown = await watch.take(6)
        assert shown[1:4] == ["a CATCHING_UP", "b CATCHING_UP", "x CATCHING_UP"]
        assert shown[4:] == ["LOWER e", "RAISE f"], "what holds at the head, once"
        assert await watch.nothing_more()


async def test_who_resumes_gets_what_came_after_its_position_and_nothing_twice(floor: Floor) -> None:
    for name in "abc":
        await floor.put(name)
    async with floor.watching() as watch:
        await watch.take(3)
        position = watch.position
    async with floor.watching(after=position) as watch:
        assert await watch.take(3) == ["link False", "c CATCHING_UP", "RAISE e"]
        assert await watch.nothing_more()


async def test_who_resumes_is_told_of_the_end_of_what_it_was_woken_for(floor: Floor) -> None:
    await floor.put("a")
    await floor.put("b", event=b"f" * 16)
    async with floor.watching() as watch:
        await watch.take(5)
        position = watch.position
    await floor.put("x", cancels="a")
    await floor.put("s", event=b"f" * 16, state=NOT_A_LAUNCH)
    async with floor.watching(after=position) as watch:
        shown = await watch.take(5)
        assert shown[1:3] == ["x CATCHING_UP", "s CATCHING_UP"]
        assert sorted(shown[3:]) == ["LOWER e", "LOWER f"], "or the alarm would stand for ever"


async def test_a_track_that_trails_behind_the_end_does_not_wake_who_resumes_in_between(floor: Floor) -> None:
    await floor.put("a")
    await floor.put("s", state=NOT_A_LAUNCH)
    async with floor.watching() as watch:
        await watch.take(4)
        position = watch.position
    async with floor.watching(after=position) as watch:
        assert await watch.take(1) == ["link False"]
        await floor.put("late")
        assert await watch.take(1) == ["late"]
        assert await watch.nothing_more()


async def test_who_wants_only_what_is_live_is_told_which_alarms_stand(floor: Floor) -> None:
    await floor.put("a")
    async with floor.watching(live_only=True) as watch:
        assert await watch.take(2) == ["link False", "RAISE e"]
        await floor.put("b")
        assert await watch.take(1) == ["b"]


async def test_while_the_gateway_catches_up_alarms_wait_and_no_longer_than_a_second(floor: Floor) -> None:
    floor.delivery.live.clear()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await floor.put("a")
    async with floor.watching() as watch:
        assert await watch.take(3) == ["link False", "a CATCHING_UP", "RAISE e"]
    assert limits.CATCH_UP_WAIT_S <= loop.time() - begun < 3 * limits.CATCH_UP_WAIT_S


async def test_after_an_absence_of_the_gateway_a_watch_that_stayed_hears_what_holds_once(floor: Floor) -> None:
    async with floor.watching() as watch:
        assert await watch.take(1) == ["link False"]
        await floor.put("a")
        assert await watch.take(2) == ["a", "RAISE e"]
        floor.delivery.live.clear()
        await floor.put("b", event=b"f" * 16, catching_up=True)
        await floor.put("x", cancels="b", catching_up=True)
        await floor.put("y", cancels="a", catching_up=True)
        assert await watch.take(3) == ["b CATCHING_UP", "x CATCHING_UP", "y CATCHING_UP"]
        floor.delivery.live.set()
        assert await watch.take(2) == ["LOWER e", "LOWER f"]
        assert await watch.nothing_more()
        await floor.put("c", event=b"g" * 16)
        assert await watch.take(2) == ["c", "RAISE g"]


async def test_late_is_a_mark_and_wakes_all_the_same(floor: Floor) -> None:
    async with floor.watching() as watch:
        await watch.take(1)
        await asyncio.sleep(0.05)
        await floor.put("a", stale_ns=NOW_NS - 1)
        assert await watch.take(2) == ["a LATE", "RAISE e"]


async def test_a_watch_sees_its_own_mode_and_no_gap_of_another(floor: Floor) -> None:
    await floor.put("a", mode=TEST)
    async with floor.watching() as watch:
        assert await watch.take(1) == ["link False"]
        await asyncio.sleep(0)
        await floor.flush(floor.gap(1, mode=TEST))
        assert await watch.nothing_more()
        await floor.flush(floor.gap(1), floor.record("b"))
        assert await watch.take(3) == ["gap", "b", "RAISE e"]


async def test_who_was_away_is_told_of_a_gap_where_it_was_and_once(floor: Floor) -> None:
    await floor.put("a")
    async with floor.watching() as watch:
        assert await watch.take(3) == ["link False", "a CATCHING_UP", "RAISE e"]
        position = watch.position
    await floor.flush(floor.gap(1), floor.record("b"), floor.record("c"))
    async with floor.watching(after=position) as watch:
        assert await watch.take(3) == ["link False", "gap", "b CATCHING_UP"]
        position = watch.position
    async with floor.watching(after=position) as watch:
        assert await watch.take(3) == ["link False", "c CATCHING_UP", "RAISE e"]
        assert await watch.nothing_more()
        await floor.flush(floor.gap(2))
        assert await watch.take(1) == ["gap"]
    async with floor.watching(after=watch.position) as watch:
        assert await watch.take(2) == ["link False", "RAISE e"], "a gap at its place is no warning"


async def test_every_change_of_the_link_is_told(floor: Floor) -> None:
    link = floor.delivery.link
    async with floor.watching() as watch:
        assert await watch.next() == "link False"
        for up in (True, False, True):
            floor.clock.advance(1)  # type: ignore[attr-defined] # a ManualClock
            await link.set(up=up, down=up)
            assert await watch.next() == f"link {up}"


@pytest.mark.parametrize("token", [b"\x01", bytes(9), b"\xff" * 8])
async def test_a_position_that_was_never_given_out_is_refused(token: bytes, floor: Floor) -> None:
    await floor.put("a")
    with pytest.raises(Refused) as refused:
        async with floor.watching(after=token) as watch:
            await watch.next()
    assert refused.value.reason == Reason.REASON_BAD_POSITION


async def test_who_resumes_behind_what_was_trimmed_goes_on_from_the_oldest_kept(floor: Floor) -> None:
    for name in "abcd":
        await floor.put(name)
    async with floor.watching() as watch:
        await watch.take(2)
        position = watch.position
    await floor.delivery.store.trim(INBOX, before=4)
    async with floor.watching(after=position) as watch:
        assert await watch.take(2) == ["link False", "d CATCHING_UP"]


async def test_a_watch_that_does_not_read_holds_up_nobody(floor: Floor) -> None:
    async with floor.watching() as stopped, floor.watching() as other:
        assert await stopped.next() == "link False"
        assert await other.next() == "link False"
        names = [f"m{number}" for number in range(3 * limits.FRAME_MESSAGES_MAX)]
        for name in names:
            await floor.put(name)
        assert [name for name in await other.take(len(names) + 1) if name != "RAISE e"] == names
        assert [name for name in await stopped.take(len(names) + 1) if name != "RAISE e"] == names


async def test_a_watch_that_ends_leaves_nothing_behind(floor: Floor) -> None:
    before = len(asyncio.all_tasks())
    async with floor.watching() as watch:
        await watch.next()
    await asyncio.sleep(0.05)
    assert (len(asyncio.all_tasks()), floor.delivery._watches) == (before, set())


async def test_no_flood_of_gaps_holds_up_an_alarm(floor: Floor) -> None:
    floor.delivery.live.clear()
    await floor.put("a")
    await floor.flush(*(floor.gap(number) for number in range(1_000)))
    async with floor.watching() as watch:
        assert await watch.take(3) == ["link False", "a CATCHING_UP", "gap"]
        await asyncio.sleep(limits.CATCH_UP_WAIT_S)
        assert "RAISE e" in await watch.take(2)


async def test_an_alarm_that_was_lowered_while_the_watch_stood_still_is_not_raised_again(floor: Floor) -> None:
    async with floor.watching() as watch:
        assert await watch.next() == "link False"
        await floor.put("a")
        assert await watch.take(2) == ["a", "RAISE e"]
        await _begin_anew(floor, watch)
        await floor.put("x", cancels="a")
        await asyncio.sleep(0.05)
        assert await watch.take(2) == ["x", "LOWER e"]
        assert await watch.nothing_more()


async def test_an_all_clear_that_is_cancelled_wakes_again_whoever_was_told_it(floor: Floor) -> None:
    async with floor.watching() as watch:
        assert await watch.next() == "link False"
        await floor.put("a")
        assert await watch.take(2) == ["a", "RAISE e"]
        await floor.put("s", state=content_pb2.EVENT_STATE_ALL_CLEAR)
        assert await watch.take(2) == ["s", "LOWER e"]
        await floor.put("x", cancels="s")
        assert await watch.take(2) == ["x", "RAISE e"]


@pytest.mark.parametrize("after", ["the first answer", "everything"])
async def test_a_store_that_fails_ends_a_watch_with_come_back_later(floor: Floor, after: str) -> None:
    await floor.put("a")
    async with floor.watching() as watch:
        assert await watch.next() == "link False"
        if after == "everything":
            assert await watch.take(2) == ["a CATCHING_UP", "RAISE e"]
        await floor.delivery.store.close()
        with pytest.raises(Refused) as refused:
            await watch.take(3)
    assert refused.value.reason == Reason.REASON_UNAVAILABLE


async def test_a_store_that_is_gone_refuses_a_watch_with_come_back_later(floor: Floor) -> None:
    await floor.delivery.store.close()
    with pytest.raises(Refused) as refused:
        async with floor.watching() as watch:
            await watch.next()
    assert refused.value.reason == Reason.REASON_UNAVAILABLE


async def test_a_second_is_waited_for_the_hub_and_the_head_together(floor: Floor) -> None:
    """The hub is there after most of the second; the watcher stands still, far behind the head."""
    floor.delivery.live.clear()
    for number in range(3 * limits.FRAME_MESSAGES_MAX):
        await floor.put(f"m{number}")
    async with floor.watching() as watch:
        assert await watch.next() == "link False"
        assert await watch.next() == "m0 CATCHING_UP"
        await asyncio.sleep(0.8 * limits.CATCH_UP_WAIT_S)
        floor.delivery.live.set()
        await asyncio.sleep(0.4 * limits.CATCH_UP_WAIT_S)
        assert "RAISE e" in await watch.take(3)


class VirtualTime(asyncio.SelectorEventLoop):
    """A loop whose time passes at once when nobody has anything to do: nothing here waits for a disk or a network."""

    def __init__(self) -> None:
        super().__init__(_Jumping(self))
        self.now_s = 1_000.0

    def time(self) -> float:
        return self.now_s


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for ever"
        if timeout > 0:
            self._loop.now_s += timeout
        return super().select(0)


def in_virtual_time(story: Callable[[Floor], Coroutine[Any, Any, None]]) -> None:
    """Run a story from the moment at which the gateway comes back after an absence that does not end."""

    async def run() -> None:
        floor = await new_floor()
        floor.delivery.live.clear()
        async with asyncio.timeout(600):
            await story(floor)

    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        runner.run(run())


async def write_down(watch: Watching, told: dict[str, float], *, pause_s: float = 0.0) -> None:
    """Note when each event came, for ever; with a pause after each a watcher is slow."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    while True:
        event = await watch.next(wait_s=1_000)
        told.setdefault(event, loop.time() - begun_s)
        await asyncio.sleep(pause_s)


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel until it helps: before Python 3.12 `wait_for` swallows a cancellation that meets its result."""
    for task in tasks:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)


@settings(deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["stands", "cancelled", "cancelled later"])),
        min_size=1,
        max_size=12,
    ),
    pause_ms=st.sampled_from([0, 1, 300, 2_000]),
    backlog=st.sampled_from([0, 3 * limits.FRAME_MESSAGES_MAX]),
)
def test_in_an_endless_absence_each_alarm_waits_a_second_from_its_own_arrival_and_what_was_taken_back_never_sounds(
    arrivals: list[tuple[int, str]], pause_ms: int, backlog: int
) -> None:
    """Time in hundredths of a second. Beside the watch one that stands still and one that is slow, behind a backlog."""

    async def story(floor: Floor) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        flushes: list[tuple[int, list[NewRecord]]] = []
        confirmed = content_pb2.EVENT_STATE_CONFIRMED
        await floor.flush(*(floor.record(f"s{number}", state=confirmed) for number in range(backlog)))
        for number, (at, fate) in enumerate(arrivals):
            launch = floor.record(f"m{number}", event=bytes([65 + number]) * 16, catching_up=True)
            cancel = floor.record(f"x{number}", cancels=f"m{number}", catching_up=True)
            flushes.append((at, [launch, cancel] if fate == "cancelled" else [launch]))
            if fate == "cancelled later":
                flushes.append((at + 95, [cancel]))
        async with floor.watching() as stopped, floor.watching() as slow, floor.watching() as watch:
            assert await stopped.next() == "link False"
            told: dict[str, float] = {}
            slowly: dict[str, float] = {}
            writing = [
                asyncio.create_task(write_down(watch, told)),
                asyncio.create_task(write_down(slow, slowly, pause_s=pause_ms / 1000)),
            ]
            for at, records in sorted(flushes, key=lambda flush: flush[0]):
                await asyncio.sleep(max(0.0, begun_s + at / 100 - loop.time()))
                await floor.flush(*records)
            await asyncio.sleep(5 + pause_ms / 1000 * 4 * len(arrivals))
            await end(*writing)
        for number, (at, fate) in enumerate(arrivals):
            name = f"RAISE {chr(65 + number)}"
            if fate == "stands":
                due_s = at / 100 + limits.CATCH_UP_WAIT_S
                assert told[name] == pytest.approx(due_s, abs=0.001)
                looks_s = pause_ms / 1000 * 2 * (len(arrivals) + 1)  # one event after the other
                assert due_s - 0.001 < slowly[name] < due_s + 0.001 + looks_s
            else:
                assert name not in told
                assert name not in slowly

    in_virtual_time(story)


@pytest.mark.parametrize("stuck_s", [0.3, 30.0])
def test_what_is_on_its_way_into_the_inbox_is_waited_for_and_no_disk_keeps_an_alarm_back(stuck_s: float) -> None:
    async def story(floor: Floor) -> None:
        await floor.put("a", catching_up=True)
        async with floor.watching() as watch:
            told: dict[str, float] = {}
            writing = asyncio.create_task(write_down(watch, told))
            await asyncio.sleep(0.9)
            async with floor.delivery.taking:
                await asyncio.sleep(stuck_s)
                await floor.put("x", cancels="a", catching_up=True)
            await asyncio.sleep(3)
            await end(writing)
            assert {"a CATCHING_UP", "x CATCHING_UP", "LOWER e"} <= set(told)
            if stuck_s < 1:
                assert "RAISE e" not in told
            else:
                wait_s = limits.CATCH_UP_WAIT_S + limits.IN_HAND_WAIT_S
                assert told["RAISE e"] == pytest.approx(wait_s, abs=0.01)

    in_virtual_time(story)


async def _begin_anew(floor: Floor, watch: Watching) -> None:
    """Let the gateway have been away for a moment, so that what holds is told again; the watch stands still then."""
    await floor.put("away", event=b"w" * 16, state=NOT_A_LAUNCH, catching_up=True)
    assert await watch.next() == "away CATCHING_UP"
    await asyncio.sleep(0.05)


async def forget(floor: Floor, *, before: int, last: int, mode: int = EXERCISE) -> None:
    store = floor.delivery.store
    await store.append([], state={f"{FORGOTTEN}{mode}": last.to_bytes(8, "big")})
    await store.trim(INBOX, before=before)


async def test_a_watch_that_was_away_for_longer_than_anything_is_kept_is_told_and_goes_on_from_the_oldest(
    floor: Floor,
) -> None:
    for name in "abcd":
        await floor.put(name)
    async with floor.watching() as watch:
        await watch.take(2)
        old = watch.position
    await forget(floor, before=4, last=3)
    async with floor.watching(after=old) as watch:
        assert await watch.take(3) == ["link False", "forgotten 2 to 3", "d CATCHING_UP"]
        newest = watch.position
        assert await watch.take(1) == ["RAISE e"]
    async with floor.watching(after=newest) as watch:
        assert (await watch.take(2))[0] == "link False", "it has been told"
    async with floor.watching() as watch:
        assert (await watch.take(2)) == ["link False", "d CATCHING_UP"], "who asks for all gets all there is"


async def test_nobody_is_told_of_what_was_forgotten_of_another_mode_or_seen_before(floor: Floor) -> None:
    await floor.put("a")
    for name in "bcd":
        await floor.put(name, mode=TEST)
    async with floor.watching() as watch:
        await watch.take(2)
        seen = watch.position
    await forget(floor, before=4, last=1)
    await forget(floor, before=4, last=3, mode=TEST)
    async with floor.watching(after=seen) as watch:
        assert await watch.take(1) == ["link False"]
        assert await watch.nothing_more()
        await floor.put("e")
        assert (await watch.take(1))[0] == "e"


async def test_a_watch_that_stood_still_for_longer_than_anything_is_kept_is_told_of_the_gap(floor: Floor) -> None:
    count = 2 * limits.FRAME_MESSAGES_MAX
    for number in range(1, count + 1):
        await floor.put(f"{number}")
    async with floor.watching() as watch:
        await watch.take(2)  # the others wait: so many for the watch, the rest in the store
        await asyncio.sleep(0.05)
        await forget(floor, before=count, last=count - 1)
        shown = await watch.take(1)
        while f"{count} CATCHING_UP" not in shown or not any(each.startswith("forgotten") for each in shown):
            shown += await watch.take(1)
        (gap,) = (each for each in shown if each.startswith("forgotten"))
        missed = range(int(gap.split()[1]), int(gap.split()[3]) + 1)
        assert missed[-1] == count - 1
        told = {each.split()[0] for each in shown if each.endswith("CATCHING_UP")}
        assert told == {str(number) for number in range(2, count + 1) if number not in missed}


@pytest.mark.parametrize("resumes_behind", [False, True])
async def test_a_damaged_record_of_the_inbox_is_said_to_be_and_ends_no_watch(
    tmp_path: Path, *, resumes_behind: bool
) -> None:
    path = tmp_path / "gateway.sqlite"
    clock, metrics, live = ManualClock(NOW_NS), Metrics(), asyncio.Event()
    live.set()
    store = await open_sqlite(path)
    floor = Floor(Delivery(store, LinkState(clock, metrics), live, clock, metrics))
    for name in "abc":
        await floor.put(name, event=name.encode() * 16)
    await store.close()
    with closing(sqlite3.connect(path)) as database:
        place, data = database.execute("SELECT place, data FROM records ORDER BY place").fetchall()[1]
        database.execute("UPDATE records SET data = ? WHERE place = ?", (data[:-1] + bytes([data[-1] ^ 1]), place))
        database.commit()
    store = await open_sqlite(path)
    floor = Floor(Delivery(store, LinkState(clock, metrics), live, clock, metrics))
    await floor.put("d", event=b"d" * 16)
    seen: list[str] = []
    async with floor.watching(after=(3).to_bytes(8, "big") if resumes_behind else b"") as watching:
        while not any(one.startswith("d") for one in seen):
            seen.append(await watching.next())
    await store.close()
    assert any(one.startswith("c") for one in seen) is not resumes_behind
    assert ("forgotten 2 to 2" in seen) is not resumes_behind, seen
