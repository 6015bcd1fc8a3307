"""One field of a native line: what every feed is strict about, whatever its form.

A line is bytes from outside. Each field is taken by name, checked, and may be taken once; what is left over when the
line has been read is an error, so that a field that nobody understands never passes in silence. Texts of errors name
the field and never the value: they go to logs.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, TypeVar

from broker import limits
from broker.plugin import UnreadableLine

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CODE",
    "IDENTIFIER",
    "SENSOR_NAME",
    "TEXT",
    "WORD",
    "TextFields",
    "chosen",
    "matching",
    "nanoseconds",
    "text_of",
    "within",
    "written_time",
]

Choice = TypeVar("Choice")

IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")  # a line's number; with the sensor's name 62 bytes
CODE: Final = re.compile(r"[A-Z]{3}")  # ISO 3166-1 alpha-3
SENSOR_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,19}")
TEXT: Final = re.compile(r".{1,64}")  # checked further by whoever takes it
WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,17}(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?")

# Bounds of values, at least as tight as those of Content: what an adapter has read, intake never refuses.
LAT_DEG: Final = (-90.0, 90.0)
LON_DEG: Final = (-180.0, 180.0)
ANGLE_DEG: Final = (0.0, 360.0)
ANGLE_SPREAD_DEG: Final = (0.0, 180.0)
HEIGHT_M: Final = (-1_000.0, 5e7)
LENGTH_M: Final = (0.0, 2e7)  # half around the Earth
SPEED_MPS: Final = (-8_000.0, 8_000.0)  # of each component
SPREAD_S: Final = (0.0, 3_600.0)  # of a time, on either side
FRACTION: Final = (0.0, 1.0)
CLOCK_ERROR_MS: Final = (0.0, 60_000.0)
TRACK: Final = (1, 9_999)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND_NS: Final = limits.MILLISECOND_NS


def text_of(line: bytes) -> str:
    """Return a line's text without its line end. Raises UnreadableLine if it is too long, empty or not printable."""
    if len(line) > limits.NATIVE_LINE_BYTES_MAX:
        raise UnreadableLine(f"longer than {limits.NATIVE_LINE_BYTES_MAX} bytes")
    try:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        raise UnreadableLine("not UTF-8") from None
    if not text:
        raise UnreadableLine("empty")
    if not text.isprintable():
        raise UnreadableLine("holds a character that cannot be printed")
    return text


def within(value: float, field: str, least: float, most: float) -> float:
    """Return the value if it is a finite number within the bounds."""
    if not math.isfinite(value):
        raise UnreadableLine(f"{field}: not finite")
    if not least <= value <= most:
        raise UnreadableLine(f"{field}: not within {least:g} and {most:g}")
    return value


def chosen(text: str, field: str, choices: Mapping[str, Choice]) -> Choice:
    """Return what a word of a closed vocabulary stands for."""
    if text not in choices:
        raise UnreadableLine(f"{field}: not one of {', '.join(choices)}")
    return choices[text]


def matching(text: str, field: str, pattern: re.Pattern[str]) -> str:
    """Return the text if all of it matches."""
    if pattern.fullmatch(text) is None:
        raise UnreadableLine(f"{field}: not of the form {pattern.pattern}")
    return text


def nanoseconds(text: str, field: str, pattern: re.Pattern[str], *, offset_h: int) -> int:
    """Return the UTC nanoseconds of a time. The pattern's groups: year to second, then milliseconds."""
    found = pattern.fullmatch(text)
    if found is None:
        raise UnreadableLine(f"{field}: not a time as this feed writes it")
    year, month, day, hour, minute, second, millisecond = (int(group) for group in found.groups())
    try:
        local = datetime(year, month, day, hour, minute, second, tzinfo=timezone(timedelta(hours=offset_h)))
    except ValueError:
        raise UnreadableLine(f"{field}: no such time") from None
    whole_s = (local - EPOCH) // timedelta(seconds=1)
    return whole_s * limits.SECOND_NS + millisecond * MILLISECOND_NS


def written_time(time_ns: int, form: str, *, offset_h: int) -> str:
    """Return a time as text, to the nearest millisecond; `{ms}` in the form is where the milliseconds stand."""
    time_ms = (time_ns + MILLISECOND_NS // 2) // MILLISECOND_NS
    local = (EPOCH + timedelta(milliseconds=time_ms)).astimezone(timezone(timedelta(hours=offset_h)))
    return local.strftime(form).replace("{ms}", f"{time_ms % 1000:03d}")


class TextFields:
    """Fields that are text: XML attributes, CSV columns. An empty one is a missing one."""

    def __init__(self, values: Mapping[str, str], where: str = "") -> None:
        """Take the values by name; `where` stands before the names in errors."""
        self._left = {name: value for name, value in values.items() if value}
        self._where = f"{where}." if where else ""

    def maybe(self, name: str) -> str:
        """Return the field's text; empty if it is missing."""
        return self._left.pop(name, "")

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return the text of a field that must be there and match."""
        return matching(self._required(name), self._where + name, pattern)

    def maybe_text(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return the text of a field that must match if it is there; else empty."""
        return matching(text, self._where + name, pattern) if (text := self.maybe(name)) else ""

    def number(self, name: str, least: float, most: float) -> float:
        """Return the number of a field that must be there."""
        return _number(self._required(name), self._where + name, least, most)

    def maybe_number(self, name: str, least: float, most: float) -> float | None:
        """Return the field's number, or None if it is missing."""
        return _number(text, self._where + name, least, most) if (text := self.maybe(name)) else None

    def numbers(self, name: str, counts: tuple[int, ...], most: float) -> tuple[float, ...]:
        """Return numbers between -most and most with blanks between them, as many as one of the counts says."""
        words = self.words(name)
        if len(words) not in counts:
            raise UnreadableLine(f"{self._where}{name}: {len(words)} numbers, not {' or '.join(map(str, counts))}")
        return tuple(_number(word, self._where + name, -most, most) for word in words)

    def integer(self, name: str, least: int, most: int) -> int:
        """Return the whole number of a field that must be there."""
        number = self.number(name, least, most)
        if not number.is_integer():
            raise UnreadableLine(f"{self._where}{name}: not a whole number")
        return int(number)

    def words(self, name: str) -> tuple[str, ...]:
        """Return the field's words, separated by one blank each; none if it is missing."""
        text = self.maybe(name)
        words = tuple(text.split(" ")) if text else ()
        if "" in words:
            raise UnreadableLine(f"{self._where}{name}: two blanks in a row, or one at an end")
        return words

    def choice(self, name: str, choices: Mapping[str, Choice]) -> Choice:
        """Return what the word of a field that must be there stands for."""
        return chosen(self._required(name), self._where + name, choices)

    def maybe_choice(self, name: str, choices: Mapping[str, Choice], otherwise: Choice) -> Choice:
        """Return what the field's word stands for, or `otherwise` if it is missing."""
        return chosen(text, self._where + name, choices) if (text := self.maybe(name)) else otherwise

    def close(self) -> None:
        """Raise UnreadableLine if a field was not taken: nobody understands it."""
        if self._left:
            raise UnreadableLine(f"{self._where or 'line.'}*: a field that does not belong there")

    def _required(self, name: str) -> str:
        text = self.maybe(name)
        if not text:
            raise UnreadableLine(f"{self._where}{name}: missing")
        return text


def _number(text: str, field: str, least: float, most: float) -> float:
    """Return a decimal number. `float` alone would take `nan`, `1_000` and other scripts' digits."""
    if DECIMAL.fullmatch(text) is None or not text.isascii():
        raise UnreadableLine(f"{field}: not a number")
    return within(float(text), field, least, most)
