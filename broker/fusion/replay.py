"""A recipient's log from a file through its Views: the same input gives the same bytes in every run.

One record per line, in log order: `{"arrival_ns": 1700000000000000000, "content": {Content as protojson}}`. Before each
record, one Tick for every whole second in (previous arrival, this arrival]; none before the first or after the last
line. If there are Tick lines in the log (content with a tick body), those are obeyed instead. There is one View per
(mode, exercise_id), as the contents say; in an exercise, Ticks are whole seconds of the exercise's own time. A Tick
line without a mode goes to every View that there is, one of an exercise without an exercise_id to every exercise's.

What comes out: `{"after": N, "fused": {FusedEvent as protojson}}` per revision, keys sorted, where N is the number of
the line after which it was published.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

from google.protobuf import json_format

from broker.fusion.view import View
from broker.instant import exercise_ns, nanoseconds
from broker.limits import EXERCISE_RATE_LEAST, EXERCISE_RATE_MAX, SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BadLine", "replay"]

GAP_MAX_NS: Final = 7 * 24 * 3600 * SECOND_NS  # between two lines: one Tick a second is enough to wait for
TICKS_MAX: Final = GAP_MAX_NS // SECOND_NS  # between two lines, of all Views: a fast exercise has as many in hours
ARRIVAL_MOST_NS: Final = 1 << 63

_Key: TypeAlias = tuple[int, str]  # of a View: mode and exercise_id


class BadLine(ValueError):  # noqa: N818 - the field's name says what is so
    """A line that is no record."""

    def __init__(self, number: int, reason: str) -> None:
        """Name the line, from 1, and say what is wrong with it."""
        super().__init__(f"line {number}: {reason}")
        self.number = number


@dataclass(frozen=True, slots=True)
class _Record:
    """One line."""

    number: int
    arrival_ns: int
    content: content_pb2.Content


def replay(lines: Iterable[str], *, recipient: str) -> Iterator[str]:
    """Yield a line (without its end) for every revision. Raises BadLine, before anything is yielded."""
    records = [_record(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    for before, record in pairwise(records):
        if record.arrival_ns - before.arrival_ns > GAP_MAX_NS:
            raise BadLine(record.number, "arrives more than a week after the line above it")
    has_ticks = any(record.content.HasField("tick") for record in records)
    if not has_ticks:
        _check_ticks(records)
    views: dict[_Key, _Running] = {}
    for index, record in enumerate(records):
        if index > 0 and not has_ticks:
            before = records[index - 1]
            for event in (event for running in views.values() for event in running.ticks(before, record.arrival_ns)):
                yield _line(before.number, event)
        key = _key(record)
        if key not in views and not _is_for_several(record):
            views[key] = _Running(View(recipient, *key), record.content.header.exercise)
        for running in _views_of(record, views):
            for event in running.take(record):
                yield _line(record.number, event)


class _Running:
    """A View and the time base of its exercise, if it has one."""

    def __init__(self, view: View, exercise: content_pb2.Exercise) -> None:
        self._view = view
        self._exercise = exercise

    def ticks(self, before: _Record, until_ns: int) -> Iterator[content_pb2.FusedEvent]:
        """Let every whole second between two arrivals pass."""
        first, last = self._time_ns(before.arrival_ns) // SECOND_NS, self._time_ns(until_ns) // SECOND_NS
        for second in range(first + 1, last + 1):
            yield from self._view.tick(position=_position(before), time_ns=second * SECOND_NS)

    def take(self, record: _Record) -> list[content_pb2.FusedEvent]:
        """Take one line in."""
        if record.content.HasField("tick"):
            return self._view.tick(position=_position(record), time_ns=nanoseconds(record.content.tick.time))
        return self._view.fold(position=_position(record), content=record.content)

    def _time_ns(self, arrival_ns: int) -> int:
        """Return the View's time at a time of the wall."""
        return exercise_ns(self._exercise, arrival_ns) if _has_own_time(self._exercise) else arrival_ns


def _has_own_time(exercise: content_pb2.Exercise) -> bool:
    """Return whether an exercise says what time it has."""
    return exercise.HasField("wall_zero") and exercise.HasField("exercise_zero") and exercise.rate > 0.0


def _check_ticks(records: list[_Record]) -> None:
    """Raise BadLine where so many Ticks would pass before a line that nobody waits for it."""
    rates: dict[_Key, float] = {}
    for before, record in pairwise(records):
        exercise = before.content.header.exercise
        rates.setdefault(_key(before), exercise.rate if _has_own_time(exercise) else 1.0)
        gap_s = max(0, record.arrival_ns - before.arrival_ns) / SECOND_NS
        if gap_s * sum(rates.values()) > TICKS_MAX:
            reason = f"more than {TICKS_MAX} seconds of its Views pass before it: put Tick lines into the log"
            raise BadLine(record.number, reason)


def _key(record: _Record) -> _Key:
    """Return which View a line names."""
    header = record.content.header
    return header.mode, header.exercise.exercise_id


def _is_for_several(record: _Record) -> bool:
    """Return whether a line is a Tick that names no single View."""
    mode, exercise_id = _key(record)
    is_open = mode == content_pb2.MODE_UNSPECIFIED or (mode == content_pb2.MODE_EXERCISE and not exercise_id)
    return record.content.HasField("tick") and is_open


def _views_of(record: _Record, views: dict[_Key, _Running]) -> list[_Running]:
    """Return the Views that a line goes to, oldest first."""
    if not _is_for_several(record):
        return [views[_key(record)]]
    mode, exercise_id = _key(record)
    return [
        running
        for key, running in views.items()
        if mode in (content_pb2.MODE_UNSPECIFIED, key[0]) and exercise_id in ("", key[1])
    ]


def _position(record: _Record) -> bytes:
    """Return where in the log a line stands."""
    return record.number.to_bytes(8, "big")


def _record(number: int, line: str) -> _Record:
    """Return a line as a record."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine(number, f"not JSON: {error}") from error
    if not isinstance(document, dict) or set(document) != {"arrival_ns", "content"}:
        raise BadLine(number, 'expected {"arrival_ns": …, "content": {…}} and nothing else')
    arrival_ns = document["arrival_ns"]
    if isinstance(arrival_ns, str) and arrival_ns.isdecimal():
        arrival_ns = int(arrival_ns)  # protojson writes 64-bit numbers as text
    if not isinstance(arrival_ns, int) or isinstance(arrival_ns, bool) or not 0 <= arrival_ns < ARRIVAL_MOST_NS:
        raise BadLine(number, "arrival_ns is not a time in nanoseconds since 1970")
    if not isinstance(document["content"], dict):
        raise BadLine(number, "content is not an object")
    try:
        content = json_format.ParseDict(document["content"], content_pb2.Content())
    except json_format.ParseError as error:
        raise BadLine(number, f"not a Content: {error}") from error
    rate = content.header.exercise.rate
    if rate != 0.0 and not EXERCISE_RATE_LEAST <= rate <= EXERCISE_RATE_MAX:
        raise BadLine(number, f"the exercise's rate is not from {EXERCISE_RATE_LEAST:g} to {EXERCISE_RATE_MAX:g}")
    return _Record(number, arrival_ns, content)


def _line(after: int, event: content_pb2.FusedEvent) -> str:
    """Return a revision as a line of JSON."""
    fused = json_format.MessageToDict(event)
    return json.dumps({"after": after, "fused": fused}, sort_keys=True, ensure_ascii=False)
