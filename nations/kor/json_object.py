"""A JSON object from outside, taken field by field.

Strict where Python's parser is not: no name twice, no NaN or Infinity, no number that overflows, no deep nesting; and
what is left over when the line has been read is an error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from broker.plugin import UnreadableLine
from nations import fields

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

__all__ = ["JsonObject", "object_of"]

Choice = TypeVar("Choice")

INTEGER_CHARS_MAX = 17  # what a float still holds exactly, with its sign; nothing in a line is larger


def object_of(line: bytes) -> JsonObject:
    """Return the object that a line holds. Raises UnreadableLine."""
    try:
        value = json.loads(fields.text_of(line), object_pairs_hook=_without_repeats, parse_int=_integer)
    except UnreadableLine:
        raise
    except (ValueError, RecursionError):
        raise UnreadableLine("not JSON") from None
    if not isinstance(value, dict):
        raise UnreadableLine("not an object")
    return JsonObject(value)


class JsonObject:
    """The fields of a JSON object, taken one by one; what is left over is an error."""

    def __init__(self, values: Mapping[str, object], where: str = "") -> None:
        """Take the object; `where` stands before the names in errors."""
        self._left = dict(values)
        self._where = f"{where}." if where else ""

    def has(self, name: str) -> bool:
        """Whether the field is there and not yet taken."""
        return name in self._left

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return a string that matches."""
        value = self._take(name)
        if not isinstance(value, str):
            raise UnreadableLine(f"{self._where}{name}: not a string")
        return fields.matching(value, self._where + name, pattern)

    def texts(self, name: str, pattern: re.Pattern[str]) -> list[str]:
        """Return a list of strings that match."""
        found = []
        for value in self._list(name):
            if not isinstance(value, str):
                raise UnreadableLine(f"{self._where}{name}: not a list of strings")
            found.append(fields.matching(value, self._where + name, pattern))
        return found

    def choice(self, name: str, choices: Mapping[str, Choice]) -> Choice:
        """Return what a word of a closed vocabulary stands for."""
        return fields.chosen(self.text(name, fields.WORD), self._where + name, choices)

    def maybe_choice(self, name: str, choices: Mapping[str, Choice], otherwise: Choice) -> Choice:
        """Return what the field's word stands for, or `otherwise` if it is missing."""
        return self.choice(name, choices) if self.has(name) else otherwise

    def number(self, name: str, least: float, most: float) -> float:
        """Return a number within the bounds."""
        return _number(self._take(name), self._where + name, least, most)

    def maybe_number(self, name: str, least: float, most: float) -> float | None:
        """Return a number within the bounds, or None if it is missing."""
        return self.number(name, least, most) if self.has(name) else None

    def integer(self, name: str, least: int, most: int) -> int:
        """Return a whole number within the bounds, written without a point."""
        value = self._take(name)
        if not isinstance(value, int):
            raise UnreadableLine(f"{self._where}{name}: not a whole number")
        return int(_number(value, self._where + name, least, most))

    def numbers(self, name: str, *bounds: tuple[float, float]) -> tuple[float, ...]:
        """Return a list of numbers, each within its bounds."""
        values = self._list(name)
        if len(values) != len(bounds):
            raise UnreadableLine(f"{self._where}{name}: {len(values)} numbers, not {len(bounds)}")
        return tuple(_number(value, self._where + name, *bound) for value, bound in zip(values, bounds, strict=True))

    def any_numbers(self, name: str, most: float) -> tuple[float, ...]:
        """Return a list of any length of numbers between -most and most."""
        return tuple(_number(value, self._where + name, -most, most) for value in self._list(name))

    def weights(self, name: str, choices: Mapping[str, Choice]) -> list[tuple[Choice, float]]:
        """Return an object of words of a closed vocabulary with a fraction for each."""
        value = self._take(name)
        if not isinstance(value, dict):
            raise UnreadableLine(f"{self._where}{name}: not an object")
        where = self._where + name
        return [
            (fields.chosen(word, where, choices), _number(weight, where, 0.0, 1.0)) for word, weight in value.items()
        ]

    def flag(self, name: str) -> bool:
        """Return true or false; a missing flag is false."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise UnreadableLine(f"{self._where}{name}: neither true nor false")
        return value

    def inside(self, name: str) -> JsonObject:
        """Return the fields of an object in this one."""
        value = self._take(name)
        if not isinstance(value, dict):
            raise UnreadableLine(f"{self._where}{name}: not an object")
        return JsonObject(value, self._where + name)

    def close(self) -> None:
        """Raise UnreadableLine if a field was not taken: nobody understands it."""
        if self._left:
            raise UnreadableLine(f"{self._where or 'line.'}*: a field that does not belong there")

    def _take(self, name: str) -> object:
        if name not in self._left:
            raise UnreadableLine(f"{self._where}{name}: missing")
        return self._left.pop(name)

    def _list(self, name: str) -> list[object]:
        value = self._take(name)
        if not isinstance(value, list):
            raise UnreadableLine(f"{self._where}{name}: not a list")
        return value


def _number(value: object, field: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableLine(f"{field}: not a number")
    return fields.within(float(value), field, least, most)


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_CHARS_MAX:
        raise UnreadableLine("a whole number with too many digits")
    return int(digits)


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableLine("a name twice in one object")
    return found
