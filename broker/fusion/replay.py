"""A recipient's log from a file through its Views: the same input gives the same bytes in every run.

One record per line, in log order: `{"arrival_ns": 1700000000000000000, "content": {Content as protojson}}`. Before each
record, one Tick for every whole second in (previous arrival, this arrival]; none before the first or after the last
line. If there are Tick lines in the log (content with a tick body), those are obeyed instead. There is one View per
(mode, exercise_id), as the contents say; in an exercise, Ticks are whole seconds of the exercise's own time.

What comes out: `{"after": N, "fused": {FusedEvent as protojson}}` per revision, keys sorted, where N is the number of
the line after which it was published.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format

from broker.fusion.view import View
from broker.instant import exercise_ns, nanoseconds
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BadLine", "replay"]

GAP_MAX_NS: Final = 7 * 24 * 3600 * SECOND_NS  # between two lines: one Tick a second is enough to wait for
ARRIVAL_MOST_NS: Final = 1 << 63


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
    views: dict[tuple[int, str], _Running] = {}
    has_ticks = any(record.content.HasField("tick") for record in records)
    for index, record in enumerate(records):
        if index > 0 and not has_ticks:
            before = records[index - 1]
            for event in (event for running in views.values() for event in running.ticks(before, record.arrival_ns)):
                yield _line(before.number, event)
        header = record.content.header
        key = (header.mode, header.exercise.exercise_id)
        if key not in views:
            views[key] = _Running(View(recipient, *key), header.exercise)
        for event in views[key].take(record):
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
        known = self._exercise.HasField("wall_zero") and self._exercise.HasField("exercise_zero")
        return exercise_ns(self._exercise, arrival_ns) if known and self._exercise.rate > 0.0 else arrival_ns


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
    return _Record(number, arrival_ns, content)


def _line(after: int, event: content_pb2.FusedEvent) -> str:
    """Return a revision as a line of JSON."""
    fused = json_format.MessageToDict(event)
    return json.dumps({"after": after, "fused": fused}, sort_keys=True, ensure_ascii=False)
