"""The numbers under which envelopes leave: gap-free per (recipient, mode, lane), within an epoch.

A number is given at sealing, after any policy delay, so that it counts what the recipient gets and nothing else.
Numbers are taken tentatively and kept only when the batch is durable: a full disk leaves no gap. An epoch ends when an
outbox was lost or restored; the next one is the greater of the last known + 1 and the time in milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "stream/"


class Line(NamedTuple):
    """One of our streams."""

    recipient: str
    mode: int
    lane: int

    @property
    def name(self) -> str:
        """Return the line as the store's state names it."""
        return f"{PREFIX}{self.recipient}/{self.mode}/{self.lane}"


class Number(NamedTuple):
    """A place in a stream."""

    epoch: int
    sequence: int


class Streams:
    """All our streams. `take` is tentative until `keep`; `drop` forgets what was taken since."""

    def __init__(self, state: dict[str, bytes], *, now_ms: int) -> None:
        self._kept: dict[Line, Number] = {}
        self._taken: dict[Line, Number] = {}
        self._first_epoch = now_ms
        for name, value in state.items():
            recipient, mode, lane = name.removeprefix(PREFIX).split("/")
            number = Number(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))
            self._kept[Line(recipient, int(mode), int(lane))] = number

    def take(self, line: Line) -> Number:
        """Return the next number of a stream."""
        last = self.last(line)
        number = Number(last.epoch, last.sequence + 1)
        self._taken[line] = number
        return number

    def last(self, line: Line) -> Number:
        """Return the newest number, tentative ones included."""
        return self._taken.get(line) or self._kept.get(line) or Number(self._first_epoch, 0)

    def known(self, line: Line) -> Number | None:
        """Return the newest number that is durable; None for a stream of which this outbox knows nothing."""
        return self._kept.get(line)

    def pending_state(self) -> dict[str, bytes]:
        """Return what must be stored together with the envelopes that carry the numbers taken."""
        return {
            line.name: number.epoch.to_bytes(8, "big") + number.sequence.to_bytes(8, "big")
            for line, number in self._taken.items()
        }

    def keep(self) -> None:
        """Note that what was taken is durable."""
        self._kept.update(self._taken)
        self._taken.clear()

    def drop(self) -> None:
        """Give back what was taken: it was not stored."""
        self._taken.clear()

    def begin_epoch(self, line: Line, *, after_epoch: int, now_ms: int) -> None:
        """Go on in a new epoch: somebody else holds numbers of this stream that we do not."""
        self._taken[line] = Number(max(after_epoch + 1, self.last(line).epoch + 1, now_ms), 0)
