"""Where two messages of one kind differ, field by field, for people: `path: this, not that`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

__all__ = ["differences"]

SHOWN_MAX: Final = 120  # characters of a value
_MESSAGE: Final = FieldDescriptor.TYPE_MESSAGE


def differences(sent: Message, expected: Message, path: str = "") -> Iterator[str]:
    """Yield every field in which two messages differ, in the order of their declaration."""
    for field in sent.DESCRIPTOR.fields:
        name = f"{path}.{field.name}" if path else field.name
        one, two = getattr(sent, field.name), getattr(expected, field.name)
        if field.is_repeated:
            yield from _of_lists(one, two, name, is_message=field.type == _MESSAGE)
        elif field.type != _MESSAGE:
            if one != two:
                yield f"{name}: {_shown(one)}, not {_shown(two)}"
        elif sent.HasField(field.name) and expected.HasField(field.name):
            yield from differences(one, two, name)
        elif sent.HasField(field.name) != expected.HasField(field.name):
            yield f"{name}: {'is there' if sent.HasField(field.name) else 'is missing'}"


def _of_lists(one: Sequence[Message], two: Sequence[Message], name: str, *, is_message: bool) -> Iterator[str]:
    if len(one) != len(two):
        yield f"{name}: {len(one)} of them, not {len(two)}"
    for index, (left, right) in enumerate(zip(one, two, strict=False)):
        if is_message:
            yield from differences(left, right, f"{name}[{index}]")
        elif left != right:
            yield f"{name}[{index}]: {_shown(left)}, not {_shown(right)}"


def _shown(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
