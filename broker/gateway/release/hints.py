"""What to write instead, for what CEL itself refuses: its words say what is wrong and not what would be right."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

from google.protobuf import descriptor_pool

__all__ = ["hint_of"]

NO_FIELD: Final = re.compile(r"undefined field '([^']*)' not found in struct '([^']*)'")
NO_OVERLOAD: Final = re.compile(r"found no matching overload for '[^']*' applied to '\((\w+), (\w+)\)'")
LITERALS: Final = {"uint": "write a whole number with u, as 3u", "double": "write a number with its point, as 3.0"}
NAMES_SHOWN_MAX: Final = 12


def hint_of(reason: str) -> str:
    """Return the hint for one of CEL's reasons. Never empty."""
    if (found := NO_FIELD.search(reason)) is not None:
        return _fields(*found.groups())
    if (found := NO_OVERLOAD.search(reason)) is not None:
        kinds = found.groups()
        literal = next((hint for kind, hint in LITERALS.items() if kind in kinds and "int" in kinds), "")
        return literal or "compare a field with a literal of its own kind"
    if "undeclared reference" in reason:
        return "known are to, body, mode, precedence, label, content, and enums by name"
    if "*error*" in reason:
        return "write the value of an enum by its full name, as Precedence.PRECEDENCE_FLASH"
    return "a condition is made of comparisons, in and has, with && || ! and brackets"


def _fields(name: str, message: str) -> str:
    try:
        known = [field.name for field in descriptor_pool.Default().FindMessageTypeByName(message).fields]
    except KeyError:
        known = []
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return "its fields: " + ", ".join(known[:NAMES_SHOWN_MAX]) + (", …" if len(known) > NAMES_SHOWN_MAX else "")
