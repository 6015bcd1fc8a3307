"""Time in the logs: Tick records, written by the hub alone, so that silence too can be replayed.

For each (recipient, mode, exercise) seen in a log, a Tick says that a whole second has come, of real time or of the
exercise's own. The rules:

* Tick times are whole multiples of `limits.TICK_NS` and never go backwards, not over a restart either: the last one
  written is stored together with its Tick.
* Between two Ticks time advances by the monotonic clock. Only where ticking begins (anew) is the wall clock asked, and
  where it has fallen behind the last Tick, time goes on from there. A step of the wall clock moves no picture.
* A picture depends on a Tick's time, not on how many came: an exercise at a rate of 100 is ticked every
  `limits.TICK_PACE_S` by several seconds at once.
* A log that has had no record for `limits.TICK_IDLE_NS`, or for `limits.EXERCISE_IDLE_NS` of an exercise's own time if
  that is over sooner, stops ticking until the next one. Ticks and canaries do not count as records: neither changes a
  picture.
* Ticks are the one thing that a record makes many of. So at most `limits.EXERCISES_TICKING_MAX` exercises tick at once
  that one origin set going in one recipient's log: one more, and the one of them that was silent longest stops.

`Ticks` is pure; `broker.hub.commit` writes what is due.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.clock import exercise_ns, timestamp
from broker.hub.route import log_of
from broker.limits import SECOND_NS
from broker.store import NewRecord
from vedette.v1.content_pb2 import Mode, Tick
from vedette.v1.envelope_pb2 import Lane
from vedette.v1.exchange_pb2 import Delivery, HubTick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.hub.exercises import Exercises
    from vedette.v1.content_pb2 import Exercise

STATE_PREFIX: Final = "tick/"
_TIME_BYTES: Final = 8


class TickKey(NamedTuple):
    """Whose time, and which."""

    recipient: str
    mode: Mode.ValueType
    exercise_id: str  # empty outside exercises

    @property
    def state_name(self) -> str:
        """Return the name under which the last Tick is stored."""
        return f"{STATE_PREFIX}{self.recipient}/{self.mode}/{self.exercise_id}"


@dataclass(frozen=True, slots=True)
class DueTick:
    """A Tick to be written."""

    key: TickKey
    time_ns: int  # of the log: real, or the exercise's

    def record(self) -> NewRecord:
        """Return the record to store."""
        tick = HubTick(mode=self.key.mode, exercise_id=self.key.exercise_id, tick=Tick(time=timestamp(self.time_ns)))
        data = Delivery(tick=tick).SerializeToString()
        name = f"tick|{self.key.mode}|{self.key.exercise_id}|{self.time_ns // limits.TICK_NS}".encode()
        return NewRecord(log_of(self.key.recipient), name, hashlib.sha256(data).digest(), data, lane=Lane.LANE_NORMAL)

    def state(self) -> dict[str, bytes]:
        """Return what is stored together with the record."""
        return {self.key.state_name: self.time_ns.to_bytes(_TIME_BYTES, "big")}


@dataclass(slots=True)
class _LogTime:
    """The time of one log: from an anchor on, by the monotonic clock."""

    anchor_ns: int  # log time at `since_ns`
    since_ns: int  # monotonic
    rate: float
    last_record_ns: int  # monotonic
    last_tick_ns: int  # log time
    origin: str  # whose record set it going
    idle_ns: int  # monotonic: it stops after so long without a record
    under_way: bool = False  # a Tick is being written

    def now_ns(self, monotonic_ns: int) -> int:
        """Return the log's time."""
        return self.anchor_ns + round((monotonic_ns - self.since_ns) * self.rate)


class Ticks:
    """Which logs tick, and what is due."""

    def __init__(self, state: Mapping[str, bytes], exercises: Exercises, *, wall_ns: int, monotonic_ns: int) -> None:
        """Take over what `Store.state(STATE_PREFIX)` returned; logs that ticked lately go on ticking."""
        self._exercises = exercises
        self._last = {_key(name): int.from_bytes(data, "big") for name, data in state.items()}
        self._logs: dict[TickKey, _LogTime] = {}
        for key, last_ns in self._last.items():
            base = exercises.get(key.recipient, key.exercise_id) if key.exercise_id else None
            silent_ns = _log_time_ns(base, wall_ns) - last_ns
            if silent_ns < _idle_ns(base) * _rate(base):
                origin = exercises.origin(key.recipient, key.exercise_id)
                self._begin(key, origin, wall_ns=wall_ns, monotonic_ns=monotonic_ns)

    def __len__(self) -> int:
        return len(self._logs)

    def seen(self, key: TickKey, origin: str, *, wall_ns: int, monotonic_ns: int) -> None:
        """Note a record of an origin in a log: it ticks from now on."""
        log = self._logs.get(key)
        if log is not None:
            log.last_record_ns = monotonic_ns
        else:
            self._begin(key, origin, wall_ns=wall_ns, monotonic_ns=monotonic_ns)

    def due(self, *, monotonic_ns: int) -> list[DueTick]:
        """Return the Ticks to write now, at most one for each log. Each must be answered by `written`."""
        due = []
        for key, log in list(self._logs.items()):
            if monotonic_ns - log.last_record_ns > log.idle_ns:
                del self._logs[key]
                continue
            time_ns = log.now_ns(monotonic_ns) // limits.TICK_NS * limits.TICK_NS
            if time_ns > log.last_tick_ns and not log.under_way and 0 <= time_ns < limits.TIME_MAX_S * SECOND_NS:
                log.under_way = True
                due.append(DueTick(key, time_ns))
        return due

    def written(self, tick: DueTick, *, durable: bool) -> None:
        """Note what became of a Tick. One that was not stored is made up for by the next."""
        if durable:
            self._last[tick.key] = tick.time_ns
        log = self._logs.get(tick.key)
        if log is not None:
            log.under_way = False
            if durable:
                log.last_tick_ns = tick.time_ns

    def _begin(self, key: TickKey, origin: str, *, wall_ns: int, monotonic_ns: int) -> None:
        base = None
        if key.exercise_id:
            self._make_room(key.recipient, origin)
            base = self._exercises.get(key.recipient, key.exercise_id)
        time_ns, last_ns = _log_time_ns(base, wall_ns), self._last.get(key)
        if last_ns is None:  # the first Tick is the next whole second, after the record that began it
            anchor_ns, last_ns = time_ns, time_ns // limits.TICK_NS * limits.TICK_NS
        else:
            anchor_ns = max(time_ns, last_ns)
        self._logs[key] = _LogTime(
            anchor_ns, monotonic_ns, _rate(base), monotonic_ns, last_ns, origin=origin, idle_ns=_idle_ns(base)
        )

    def _make_room(self, recipient: str, origin: str) -> None:
        """Stop the exercise of an origin that was silent longest, if it has as many going as it may."""
        going = [
            key
            for key, log in self._logs.items()
            if key.recipient == recipient and key.exercise_id and log.origin == origin
        ]
        if len(going) >= limits.EXERCISES_TICKING_MAX:
            del self._logs[min(going, key=lambda key: self._logs[key].last_record_ns)]


def _log_time_ns(base: Exercise | None, wall_ns: int) -> int:
    return wall_ns if base is None else exercise_ns(base, wall_ns)


def _rate(base: Exercise | None) -> float:
    return 1.0 if base is None else base.rate


def _idle_ns(base: Exercise | None) -> int:
    if base is None:
        return limits.TICK_IDLE_NS
    return round(min(limits.TICK_IDLE_NS, limits.EXERCISE_IDLE_NS / base.rate))


def _key(name: str) -> TickKey:
    recipient, mode, exercise_id = name.removeprefix(STATE_PREFIX).split("/", 2)
    return TickKey(recipient, Mode.ValueType(int(mode)), exercise_id)
