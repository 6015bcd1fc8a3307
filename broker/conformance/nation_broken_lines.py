"""Lines that were broken on the way, or on purpose. The same seed gives the same lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker import limits

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

__all__ = ["broken_lines"]

MOST: Final = limits.NATIVE_LINE_BYTES_MAX
# What parsers have stumbled over: depth, digits, entities, other encodings, numbers that are none.
KNOWN: Final = (
    b"",
    b"\n",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"{}",
    b"[]",
    b"null",
    b"1e999",
    b"NaN",
    b'{"a":NaN}',
    b'{"a":1,"a":2}',
    b"[" * MOST,
    b'{"a":' * (MOST // 5),
    b"<a>" * (MOST // 3),
    b"9" * MOST,
    b"," * MOST,
    b'"' * (MOST - 1),
    b"A" * (MOST + 1),
    b" " * MOST,
    b"<event/>",
    b'<!DOCTYPE e [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;">]><event>&c;</event>',
    b'<!DOCTYPE e SYSTEM "file:///etc/hostname"><event/>',
    '<?xml version="1.0" encoding="UTF-16"?><event/>'.encode("utf-16"),
    b"T,,,,",
    '{"no":"٣"}'.encode(),
)


def broken_lines(lines: Sequence[bytes], dice: random.Random, count: int) -> Iterator[bytes]:
    """Yield `count` broken lines, made from good ones."""
    yield from KNOWN
    for _ in range(count - len(KNOWN)):
        line = dice.choice(lines)
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            line = _BREAKS[dice.randrange(len(_BREAKS))](line, lines, dice)
        yield line[: 2 * MOST]


def _truncated(line: bytes, _lines: Sequence[bytes], dice: random.Random) -> bytes:
    return line[: dice.randrange(len(line) + 1)]


def _flipped(line: bytes, _lines: Sequence[bytes], dice: random.Random) -> bytes:
    if not line:
        return b"\x01"
    at = dice.randrange(len(line))
    return line[:at] + bytes([line[at] ^ (1 << dice.randrange(8))]) + line[at + 1 :]


def _without(line: bytes, _lines: Sequence[bytes], dice: random.Random) -> bytes:
    start = dice.randrange(len(line) + 1)
    return line[:start] + line[start + dice.choice((1, 2, 8, 32)) :]


def _doubled(line: bytes, _lines: Sequence[bytes], dice: random.Random) -> bytes:
    start = dice.randrange(len(line) + 1)
    part = line[start : start + dice.choice((1, 4, 16, 64))]
    return line[:start] + part * dice.choice((2, 3, 50)) + line[start:]


def _spliced(line: bytes, lines: Sequence[bytes], dice: random.Random) -> bytes:
    other = dice.choice(lines)
    return line[: dice.randrange(len(line) + 1)] + other[dice.randrange(len(other) + 1) :]


def _strewn(line: bytes, _lines: Sequence[bytes], dice: random.Random) -> bytes:
    at = dice.randrange(len(line) + 1)
    return line[:at] + dice.choice(STREWN) + line[at:]


STREWN: Final = (
    b"0",
    b"-",
    b".",
    b"e9",
    b"999999999999999999999",
    b"NaN",
    b"Infinity",
    b'"',
    b",",
    b"<",
    b"&lt;",
    b"&#x0;",
    b"{",
    b"]",
    b"\x00",
    b"\xc3",
    b"\xed\xa0\x80",
    "\u0663".encode(),
    "\u202e".encode(),
    b"\r\n",
    b" ",
)
_BREAKS: Final = (_truncated, _flipped, _flipped, _without, _doubled, _spliced, _strewn)
