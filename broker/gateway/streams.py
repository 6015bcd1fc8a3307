"""The numbers under which envelopes leave: gap-free per (recipient, mode, lane), within an epoch.

A number is given at sealing, after any policy delay, so that it counts what the recipient gets and nothing else.
Numbers are taken tentatively and kept only when the batch is durable: a full disk leaves no gap. Every process numbers
in an epoch of its own, the greater of the last known + 1 and the time in milliseconds: nobody can tell an outbox that
was restored from a backup from one that goes on, and a number that was used once must never stand for another message.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from broker import limits

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
    """All our streams. What is taken or learnt is tentative until `keep`; `drop` forgets it."""

    def __init__(self, state: dict[str, bytes], *, now_ms: int) -> None:
        """Take over what the store's state under `stream/` says; `now_ms` is when this process started."""
        self._kept: dict[Line, dict[int, int]] = defaultdict(dict)  # of each epoch, the highest number that we hold
        self._pending: dict[Line, dict[int, int]] = defaultdict(dict)
        self._epochs: dict[Line, int] = {}  # in which this process numbers
        self._first_epoch = now_ms
        for name, value in state.items():
            recipient, mode, lane, epoch = name.removeprefix(PREFIX).split("/")
            self._kept[Line(recipient, int(mode), int(lane))][int(epoch)] = int.from_bytes(value, "big")
        self._forgotten: dict[str, bytes] = {}  # epochs beyond the bound, to be taken out of the store
        for line, epochs in self._kept.items():
            self._kept[line] = dict(sorted(epochs.items())[-limits.STREAM_EPOCHS_MAX :])
            self._forgotten |= {f"{line.name}/{epoch}": b"" for epoch in epochs.keys() - self._kept[line].keys()}

    def take(self, line: Line) -> Number:
        """Return the next number of a stream."""
        epoch = self._epochs.get(line)
        if epoch is None:
            known = max([*self._kept[line], *self._pending[line]], default=0)
            epoch = self._epochs[line] = max(known + 1, self._first_epoch)
        number = Number(epoch, self._high(line, epoch) + 1)
        self._pending[line][epoch] = number.sequence
        return number

    def learn(self, line: Line, held: Number) -> None:
        """Note that the outbox holds an epoch up to this number; if that is no older than ours, begin another."""
        self._pending[line][held.epoch] = max(held.sequence, self._high(line, held.epoch))
        if self._epochs.get(line, 0) <= held.epoch:
            self._epochs.pop(line, None)

    def holds(self, line: Line, number: Number) -> bool:
        """Return whether the outbox holds an epoch up to this number. Of epochs too old to be remembered, it does."""
        epochs = self._kept[line]
        is_old = len(epochs) >= limits.STREAM_EPOCHS_MAX and number.epoch < min(epochs)
        return is_old or number.sequence <= self.held_of(line, number.epoch)

    def held_of(self, line: Line, epoch: int) -> int:
        """Return up to which number the outbox holds an epoch; 0 for nothing of it."""
        return self._kept[line].get(epoch, 0)

    def known(self, line: Line) -> Number | None:
        """Return the newest number that is durable; None for a stream of which this outbox knows nothing."""
        epochs = self._kept[line]
        return Number(newest := max(epochs), epochs[newest]) if epochs else None

    def pending_state(self) -> dict[str, bytes]:
        """Return what must be stored together with the envelopes that carry the numbers taken."""
        return self._forgotten | {
            f"{line.name}/{epoch}": sequence.to_bytes(8, "big")
            for line, epochs in self._pending.items()
            for epoch, sequence in epochs.items()
        }

    def keep(self) -> None:
        """Note that what was taken is durable."""
        for line, epochs in self._pending.items():
            self._kept[line].update(epochs)
        self._pending.clear()
        self._forgotten = {}

    def drop(self) -> None:
        """Give back what was taken: it was not stored."""
        self._pending.clear()

    def _high(self, line: Line, epoch: int) -> int:
        return self._pending[line].get(epoch) or self._kept[line].get(epoch, 0)
