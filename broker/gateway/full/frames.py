"""Between gateway and drawing process: a kind, a number, and bytes with their length before them. Both are ours."""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

if TYPE_CHECKING:
    import asyncio

__all__ = ["Frame", "Kind", "read", "read_async"]

_HEAD: Final = struct.Struct(">cQI")


class Kind(Enum):
    """What a frame holds; its number in brackets."""

    INTAKE = b"I"  # an IntakeRecord (its position)
    INBOX = b"B"  # an InboxRecord (its position)
    TIME = b"T"  # nothing (wall time, ns)
    LIVE = b"L"  # nothing: all that stood in the store is told
    BEGIN = b"C"  # from the process: go on with the intake after this position; data: the inbox's likewise
    PICTURE = b"P"  # from the process: an InboxRecord to be kept and shown (its mode)


class Frame(NamedTuple):
    """One frame."""

    kind: Kind
    number: int
    data: bytes = b""

    def encoded(self) -> bytes:
        """Return it as bytes."""
        return _HEAD.pack(self.kind.value, self.number, len(self.data)) + self.data


def read(stream: BinaryIO) -> Frame | None:
    """Return the next frame; None where the stream ends."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, number, length = _HEAD.unpack(head)
    return Frame(Kind(kind), number, stream.read(length))


async def read_async(stream: asyncio.StreamReader) -> Frame:
    """Return the next frame. Raises asyncio.IncompleteReadError where the stream ends."""
    kind, number, length = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    return Frame(Kind(kind), number, await stream.readexactly(length))
