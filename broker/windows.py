"""Replay protection, at the hub (step 5) and at the recipient (step 8): which numbers of each stream are stored.

A stream is (origin, recipient, mode, lane); within it the numbers of an epoch run from 1 without a gap. For each epoch
a `Window` keeps the highest number stored and which of the `limits.REPLAY_WINDOW` numbers behind it never came. What
lies further back is taken as seen: it is refused, because nobody can tell any more whether it was there.

The windows on disk and the records on disk never disagree: `WindowPlan` says what the windows will be once a batch is
stored, `Store.append` writes both in one transaction, and only then the plan becomes the truth (`keep`). A batch that
was not stored leaves no trace here. Everything but `Windows` itself is an immutable value.

An epoch does not end the ones before it: the tail of an old one may still come by another way. At most
`limits.STREAM_EPOCHS_MAX` are kept; the oldest is then closed for good.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from vedette.v1 import exchange_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vedette.v1.content_pb2 import Mode
    from vedette.v1.envelope_pb2 import Lane, RoutingHeader

STATE_PREFIX: Final = "window/"
_FLOOR: Final = struct.Struct(">Q")
_WINDOW: Final = struct.Struct(">QQH")  # epoch, high, bytes of the bitmap that follow
_ALL_MISSING: Final = (1 << limits.REPLAY_WINDOW) - 1


class Standing(Enum):
    """What the window says of a number."""

    FRESH = "fresh"  # never stored
    SEEN = "seen"  # stored before: a duplicate, or a second message under the same number
    OLD = "old"  # too far back to know


class StreamKey(NamedTuple):
    """What a sequence of numbers belongs to."""

    origin: str
    recipient: str
    mode: Mode.ValueType
    lane: Lane.ValueType


def stream_of(header: RoutingHeader) -> StreamKey:
    """Return the stream that an envelope belongs to."""
    return StreamKey(header.origin, header.recipient, header.mode, header.lane)


@dataclass(frozen=True, slots=True)
class Window:
    """The numbers of one epoch: the highest, and a bitmap of those missing (bit i stands for high - 1 - i)."""

    high: int = 0
    missing: int = 0

    def standing(self, sequence: int) -> Standing:
        """Say what is known of a number, from 1."""
        behind = self.high - sequence
        if behind < 0:
            return Standing.FRESH
        if behind > limits.REPLAY_WINDOW:
            return Standing.OLD
        return Standing.FRESH if behind and self.missing >> (behind - 1) & 1 else Standing.SEEN

    def mark(self, sequence: int) -> Window:
        """Return the window after that number, which was FRESH, came."""
        step = sequence - self.high
        if step <= 0:
            return Window(self.high, self.missing & ~(1 << (-step - 1)))
        if step > limits.REPLAY_WINDOW:  # before any shift: the number is the sender's, and may be 2^64
            return Window(sequence, _ALL_MISSING)
        skipped = (1 << (step - 1)) - 1
        return Window(sequence, ((self.missing << step) | skipped) & _ALL_MISSING)


@dataclass(frozen=True, slots=True)
class Epochs:
    """The windows of one stream, oldest epoch first. Every epoch up to `floor` is closed."""

    floor: int = 0
    windows: tuple[tuple[int, Window], ...] = ()

    def standing(self, epoch: int, sequence: int) -> Standing:
        """Say what is known of a number in an epoch."""
        if epoch <= self.floor:
            return Standing.OLD
        return dict(self.windows).get(epoch, Window()).standing(sequence)

    def mark(self, epoch: int, sequence: int) -> Epochs:
        """Return the windows after that number, which was FRESH, came."""
        windows = dict(self.windows)
        windows[epoch] = windows.get(epoch, Window()).mark(sequence)
        kept, floor = sorted(windows.items()), self.floor
        if len(kept) > limits.STREAM_EPOCHS_MAX:
            floor = kept.pop(0)[0]
        return Epochs(floor, tuple(kept))

    def encode(self) -> bytes:
        """Return what is stored."""
        parts = [_FLOOR.pack(self.floor)]
        for epoch, window in self.windows:
            bitmap = window.missing.to_bytes((window.missing.bit_length() + 7) // 8, "big")
            parts += [_WINDOW.pack(epoch, window.high, len(bitmap)), bitmap]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Epochs:
        """Read what `encode` wrote."""
        (floor,) = _FLOOR.unpack_from(data)
        at, windows = _FLOOR.size, []
        while at < len(data):
            epoch, high, size = _WINDOW.unpack_from(data, at)
            at += _WINDOW.size
            windows.append((epoch, Window(high, int.from_bytes(data[at : at + size], "big"))))
            at += size
        return cls(floor, tuple(windows))


_EMPTY: Final = Epochs()


class Windows:
    """The windows of all streams, as they are on disk."""

    def __init__(self, state: Mapping[str, bytes]) -> None:
        """Take over what `Store.state(STATE_PREFIX)` returned."""
        self._epochs = {_key(name): Epochs.decode(data) for name, data in state.items()}

    def standing(self, header: RoutingHeader) -> Standing:
        """Say what is known of an envelope's number."""
        return self._epochs.get(stream_of(header), _EMPTY).standing(header.epoch, header.sequence)

    def plan(self) -> WindowPlan:
        """Return an empty plan for the next batch."""
        return WindowPlan(self._epochs)

    def keep(self, plan: WindowPlan) -> None:
        """Make a plan the truth: its batch and its state are durable."""
        self._epochs.update(plan.changed)

    def heads(self, origin: str) -> list[exchange_pb2.StreamHead]:
        """Return the newest number held of each of an origin's streams, every epoch for itself."""
        return [
            exchange_pb2.StreamHead(
                recipient=key.recipient, mode=key.mode, lane=key.lane, epoch=epoch, sequence=window.high
            )
            for key, epochs in sorted(self._epochs.items())
            if key.origin == origin
            for epoch, window in epochs.windows
        ]


class WindowPlan:
    """What the windows will be once a batch is stored."""

    def __init__(self, before: Mapping[StreamKey, Epochs]) -> None:
        self._before = before
        self.changed: dict[StreamKey, Epochs] = {}

    def take(self, header: RoutingHeader) -> Standing:
        """Say what is known of an envelope's number, this batch included; mark it if it is FRESH."""
        key = stream_of(header)
        epochs = self.changed.get(key) or self._before.get(key, _EMPTY)
        standing = epochs.standing(header.epoch, header.sequence)
        if standing is Standing.FRESH:
            self.changed[key] = epochs.mark(header.epoch, header.sequence)
        return standing

    def highest(self, header: RoutingHeader) -> int:
        """Return the highest number of the envelope's own epoch, this batch included; 0 before the first."""
        key = stream_of(header)
        epochs = self.changed.get(key) or self._before.get(key, _EMPTY)
        return dict(epochs.windows).get(header.epoch, Window()).high

    def state(self) -> dict[str, bytes]:
        """Return what must be stored together with the batch."""
        return {
            f"{STATE_PREFIX}{key.origin}/{key.recipient}/{key.mode}/{key.lane}": epochs.encode()
            for key, epochs in self.changed.items()
        }


def _key(name: str) -> StreamKey:
    origin, recipient, mode, lane = name.removeprefix(STATE_PREFIX).split("/")
    return StreamKey(origin, recipient, int(mode), int(lane))  # type: ignore[arg-type]  # protobuf's enums are ints
