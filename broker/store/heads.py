"""Where each stream begins and ends: the head, and how it is written."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

STREAM_SHIFT = 40  # a million records a second for twelve days, in each of eight million streams


@dataclass(slots=True)
class Head:
    """The ends of a stream. All heads are in memory; they are all that is read when a store is opened."""

    number: int
    name: str
    first: int = 1
    last: int = 0
    lanes: dict[int, int] = field(default_factory=dict)  # the last position of each

    def place(self, position: int) -> int:
        """Return the row number of a position; that of 0 is before the stream."""
        return (self.number << STREAM_SHIFT) + position

    def pack(self) -> bytes:
        """Return what `unpack` reads."""
        lanes = b"".join(struct.pack(">2q", *pair) for pair in sorted(self.lanes.items()))
        return struct.pack(">3q", self.number, self.first, self.last) + lanes

    @classmethod
    def unpack(cls, name: str, packed: bytes) -> Head:
        """Return the head that `pack` wrote."""
        number, first, last = struct.unpack_from(">3q", packed)
        return cls(number, name, first, last, dict(struct.iter_unpack(">2q", packed[24:])))

    def copy(self) -> Head:
        """Return a head to plan with."""
        return replace(self, lanes=dict(self.lanes))
