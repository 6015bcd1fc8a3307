"""Time in the logs, on a clock that only moves when it is told to."""

from __future__ import annotations

import pytest

from broker import limits
from broker.clock import ManualClock
from broker.hub.exercises import Exercises
from broker.hub.ticks import DueTick, TickKey, Ticks
from broker.limits import MILLISECOND_NS, SECOND_NS
from broker.refusal import Refused
from vedette.v1.content_pb2 import MODE_EXERCISE, MODE_REAL_WORLD, Exercise
from vedette.v1.envelope_pb2 import RoutingHeader
from vedette.v1.exchange_pb2 import Delivery

REAL = TickKey("JPN", MODE_REAL_WORLD, "")
PLAYED = TickKey("JPN", MODE_EXERCISE, "ex-1")
ZERO_S = 1_600_000_000


def ticking(clock: ManualClock, *, state: dict[str, bytes] | None = None, rate: float = 10.0) -> Ticks:
    base = Exercise(exercise_id="ex-1", rate=rate)
    base.wall_zero.FromNanoseconds(1_700_000_000 * SECOND_NS)
    base.exercise_zero.FromSeconds(ZERO_S)
    exercises = Exercises({"exercise/JPN/KOR/ex-1": base.SerializeToString()})
    return Ticks(state or {}, exercises, wall_ns=clock.wall_ns(), monotonic_ns=clock.monotonic_ns())


def seen(ticks: Ticks, clock: ManualClock, key: TickKey = REAL) -> None:
    ticks.seen(key, "KOR", wall_ns=clock.wall_ns(), monotonic_ns=clock.monotonic_ns())


def written(ticks: Ticks, clock: ManualClock) -> list[DueTick]:
    due = ticks.due(monotonic_ns=clock.monotonic_ns())
    for tick in due:
        ticks.written(tick, durable=True)
    return due


def test_nothing_ticks_before_something_was_said() -> None:
    clock = ManualClock()
    ticks = ticking(clock)
    clock.advance(5 * SECOND_NS)
    assert written(ticks, clock) == []


def test_a_log_ticks_at_every_whole_second_once() -> None:
    clock = ManualClock(now_ns=1_700_000_000 * SECOND_NS + 300 * MILLISECOND_NS)
    ticks = ticking(clock)
    seen(ticks, clock)
    times = []
    for _ in range(50):
        times += [tick.time_ns for tick in written(ticks, clock)]
        clock.advance(100 * MILLISECOND_NS)
    assert times == [(1_700_000_000 + second) * SECOND_NS for second in range(1, 6)]


def test_a_step_of_the_wall_clock_moves_no_tick() -> None:
    clock = ManualClock()
    ticks = ticking(clock)
    seen(ticks, clock)
    clock.advance(SECOND_NS)
    (first,) = written(ticks, clock)
    clock.now_ns -= 3600 * SECOND_NS
    seen(ticks, clock)
    clock.advance(SECOND_NS)
    (second,) = written(ticks, clock)
    assert second.time_ns - first.time_ns == SECOND_NS


def test_time_never_goes_back_over_a_restart() -> None:
    clock = ManualClock()
    ticks = ticking(clock)
    seen(ticks, clock)
    clock.advance(30 * SECOND_NS)
    (last,) = written(ticks, clock)
    clock.now_ns -= 20 * SECOND_NS  # the clock was set back while the hub was down
    again = ticking(clock, state=last.state())
    clock.advance(SECOND_NS)
    (after,) = written(again, clock)
    assert after.time_ns == last.time_ns + SECOND_NS


def test_a_log_that_ticked_lately_goes_on_after_a_restart_and_an_idle_one_does_not() -> None:
    clock = ManualClock()
    ticks = ticking(clock)
    seen(ticks, clock)
    clock.advance(SECOND_NS)
    (last,) = written(ticks, clock)
    clock.advance(limits.TICK_IDLE_NS // 2)
    assert len(ticking(clock, state=last.state())) == 1
    clock.advance(limits.TICK_IDLE_NS)
    assert len(ticking(clock, state=last.state())) == 0


def test_an_idle_log_stops_and_begins_again_with_the_next_record() -> None:
    clock = ManualClock()
    ticks = ticking(clock)
    seen(ticks, clock)
    clock.advance(limits.TICK_IDLE_NS + SECOND_NS)
    assert written(ticks, clock) == []
    clock.advance(3600 * SECOND_NS)
    seen(ticks, clock)
    clock.advance(SECOND_NS)
    (tick,) = written(ticks, clock)
    assert tick.time_ns == clock.wall_ns()


def test_an_exercise_ticks_in_its_own_time_by_several_seconds_at_once() -> None:
    clock = ManualClock()
    ticks = ticking(clock, rate=25.0)
    seen(ticks, clock, PLAYED)
    times = []
    for _ in range(10):
        clock.advance(100 * MILLISECOND_NS)
        times += [tick.time_ns // SECOND_NS - ZERO_S for tick in written(ticks, clock)]
    assert times == [2, 5, 7, 10, 12, 15, 17, 20, 22, 25]


def test_a_tick_that_was_not_stored_is_made_up_for() -> None:
    clock = ManualClock()
    ticks = ticking(clock)
    seen(ticks, clock)
    clock.advance(SECOND_NS)
    (first,) = ticks.due(monotonic_ns=clock.monotonic_ns())
    clock.advance(SECOND_NS)
    assert ticks.due(monotonic_ns=clock.monotonic_ns()) == [], "one at a time"
    ticks.written(first, durable=False)
    (second,) = ticks.due(monotonic_ns=clock.monotonic_ns())
    assert second.time_ns == first.time_ns + SECOND_NS


def test_a_tick_is_a_delivery_in_the_log_of_its_recipient() -> None:
    record = DueTick(PLAYED, ZERO_S * SECOND_NS).record()
    tick = Delivery.FromString(record.data).tick
    assert record.stream == "log/JPN"
    assert (tick.mode, tick.exercise_id, tick.tick.time.seconds) == (MODE_EXERCISE, "ex-1", ZERO_S)


def header_of(origin: str, exercise_id: str) -> RoutingHeader:
    header = RoutingHeader(origin=origin, recipient="JPN", mode=MODE_EXERCISE)
    header.exercise.exercise_id, header.exercise.rate = exercise_id, 100.0
    header.exercise.wall_zero.seconds = header.exercise.exercise_zero.seconds = 1_700_000_000
    return header


def told(exercises: Exercises, header: RoutingHeader) -> None:
    plan = exercises.plan()
    plan.take(header)
    exercises.keep(plan)


def flooded(clock: ManualClock, count: int) -> tuple[Exercises, Ticks, dict[str, bytes]]:
    """Return a log that USA speaks into, and KOR under many exercise ids; the last is what was stored of its Ticks."""
    exercises, state = Exercises({}), dict[str, bytes]()
    ticks = Ticks({}, exercises, wall_ns=clock.wall_ns(), monotonic_ns=clock.monotonic_ns())
    for header in (header_of("USA", "spring"), *(header_of("KOR", str(number)) for number in range(count))):
        told(exercises, header)
        key = TickKey("JPN", MODE_EXERCISE, header.exercise.exercise_id)
        ticks.seen(key, header.origin, wall_ns=clock.wall_ns(), monotonic_ns=clock.monotonic_ns())
        clock.advance(20 * MILLISECOND_NS)
        state |= {name: data for tick in written(ticks, clock) for name, data in tick.state().items()}
    return exercises, ticks, state


def test_a_flood_of_exercises_makes_few_logs_tick_and_stops_none_of_another_origin() -> None:
    clock = ManualClock()
    _, ticks, _ = flooded(clock, 500)
    seen(ticks, clock)
    assert len(ticks) == limits.EXERCISES_TICKING_MAX + 2
    clock.advance(SECOND_NS)
    going = {tick.key.exercise_id for tick in written(ticks, clock)}
    assert going == {"", "spring", "496", "497", "498", "499"}, "of KOR's the newest"


def test_a_flood_of_exercises_is_not_taken_up_again_at_a_restart() -> None:
    clock = ManualClock()
    exercises, _, state = flooded(clock, 500)
    again = Ticks(state, exercises, wall_ns=clock.wall_ns(), monotonic_ns=clock.monotonic_ns())
    assert len(again) == limits.EXERCISES_TICKING_MAX + 1


def test_an_exercise_that_is_silent_stops_ticking_after_the_longest_flight_in_its_own_time() -> None:
    clock = ManualClock()
    ticks = ticking(clock, rate=10.0)
    seen(ticks, clock, PLAYED)
    clock.advance(limits.EXERCISE_IDLE_NS // 10 - SECOND_NS)
    assert len(written(ticks, clock)) == 1
    clock.advance(2 * SECOND_NS)
    assert written(ticks, clock) == []
    assert len(ticks) == 0


def test_one_origins_exercises_leave_room_for_those_of_others() -> None:
    exercises = Exercises({})
    plan = exercises.plan()
    for number in range(limits.EXERCISES_MAX):
        plan.take(header_of("KOR", str(number)))
    with pytest.raises(Refused, match="too many exercises"):
        plan.take(header_of("KOR", "one more in the same batch"))
    exercises.keep(plan)
    with pytest.raises(Refused, match="too many exercises"):
        exercises.check(header_of("KOR", "one more"))
    exercises.check(header_of("KOR", "7"))
    exercises.check(header_of("USA", "spring"))
    again = Exercises(plan.state())
    assert again.get("JPN", "7") == header_of("KOR", "7").exercise
    with pytest.raises(Refused, match="too many exercises"):
        again.check(header_of("KOR", "one more"))
