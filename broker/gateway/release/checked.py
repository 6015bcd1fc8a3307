"""CEL's type-checked expression, as Python values.

Google's CEL returns a checked expression as a serialised `cel.expr.CheckedExpr`; its Python package does not bring the
message types along. What we read of them is a handful of fields (github.com/google/cel-spec, checked.proto and
syntax.proto in proto/cel/expr; a field once numbered keeps its number), read here from the wire format itself. Anything
that is not read becomes `Other`, which no condition may use; so a newer CEL cannot slip something past us.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf import any_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Call", "Constant", "Ident", "ItemList", "Node", "Other", "Select", "read_checked"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal, or the value of an enum by its name (`enum`: `vedette.v1.Phase.PHASE_BOOST`)."""

    at: int  # where it stands in the text, in characters from 0
    value: bool | int | float | str
    kind: str  # bool, int, uint, double, string
    enum: str = ""


@dataclass(frozen=True, slots=True)
class Ident:
    """A variable."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """A field of a message, or with `has` whether it is set."""

    at: int
    operand: Node
    field: str
    has: bool


@dataclass(frozen=True, slots=True)
class Call:
    """An operator (`_==_`) or a function. A method's target is its first argument and `is_method` is set."""

    at: int
    function: str
    args: tuple[Node, ...]
    is_method: bool


@dataclass(frozen=True, slots=True)
class ItemList:
    """A literal list."""

    at: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else that CEL can say: a message built in place, a macro, bytes, null."""

    at: int
    kind: str


Node = Constant | Ident | Select | Call | ItemList | Other


class NotChecked(ValueError):  # noqa: N818 - a fault of the engine, not of the policy
    """The bytes are not a checked expression as we know it."""


def read_checked(serialized: bytes) -> Node:
    """Return the expression in what `cel.Expression.serialize` gave. Raises NotChecked."""
    wrapped = any_pb2.Any.FromString(serialized)
    if wrapped.type_url != "type.googleapis.com/cel.expr.CheckedExpr":
        raise NotChecked(wrapped.type_url)
    checked = _Fields(wrapped.value)
    references = {entry.integer(1): entry.message(2) for entry in checked.messages(2)}
    source = checked.message(5)
    positions = {entry.integer(1): entry.integer(2) for entry in source.messages(4)}
    return _Reader(references, positions).node(checked.message(4))


@dataclass(frozen=True, slots=True)
class _Reader:
    references: Mapping[int, _Fields]
    positions: Mapping[int, int]

    def node(self, expression: _Fields) -> Node:  # noqa: PLR0911 - one for each kind
        number = expression.integer(2)
        at = self.positions.get(number, 0)
        reference = self.references.get(number)
        if reference is not None and reference.has(4):  # the checker resolved a name to an enum's value
            return _constant(at, reference.message(4), enum=reference.text(1))
        if expression.has(3):
            return _constant(at, expression.message(3))
        if expression.has(4):
            name = reference.text(1) if reference is not None else expression.message(4).text(1)
            return Ident(at, name)
        if expression.has(5):
            select = expression.message(5)
            return Select(at, self.node(select.message(1)), select.text(2), bool(select.integer(3)))
        if expression.has(6):
            call = expression.message(6)
            args = call.messages(3)
            if call.has(1):
                args = [call.message(1), *args]
            return Call(at, call.text(2), tuple(self.node(each) for each in args), call.has(1))
        if expression.has(7):
            items = expression.message(7)
            if items.has(2):
                return Other(at, "an optional item")
            return ItemList(at, tuple(self.node(each) for each in items.messages(1)))
        return Other(at, "a message built in place" if expression.has(8) else "a macro")


def _constant(at: int, constant: _Fields, enum: str = "") -> Constant | Other:
    if constant.has(2):
        return Constant(at, bool(constant.integer(2)), "bool")
    if constant.has(3):
        value = constant.integer(3)
        return Constant(at, value - (1 << 64) if value >> 63 else value, "int", enum)
    if constant.has(4):
        return Constant(at, constant.integer(4), "uint")
    if constant.has(5):
        return Constant(at, constant.double(5), "double")
    if constant.has(6):
        return Constant(at, constant.text(6), "string")
    return Other(at, "a literal of bytes or null")


_SEVEN_BITS: Final = 0x7F


class _Fields:
    """The fields of one message on the wire, by number (protobuf.dev/programming-guides/encoding)."""

    __slots__ = ("_by_number",)

    def __init__(self, data: bytes) -> None:
        self._by_number: dict[int, list[int | bytes]] = {}
        at = 0
        while at < len(data):
            key, at = _varint(data, at)
            value: int | bytes
            match key & 7:
                case 0:
                    value, at = _varint(data, at)
                case 1:
                    value, at = data[at : at + 8], at + 8
                case 2:
                    length, at = _varint(data, at)
                    value, at = data[at : at + length], at + length
                case 5:
                    value, at = data[at : at + 4], at + 4
                case _:
                    raise NotChecked("wire type")
            if at > len(data):
                raise NotChecked("cut short")
            self._by_number.setdefault(key >> 3, []).append(value)

    def has(self, number: int) -> bool:
        return number in self._by_number

    def integer(self, number: int) -> int:
        value = self._by_number.get(number, [0])[-1]
        if not isinstance(value, int):
            raise NotChecked("not a number")
        return value

    def _bytes(self, number: int) -> list[bytes]:
        found = self._by_number.get(number, [])
        values = [value for value in found if isinstance(value, bytes)]
        if len(values) != len(found):
            raise NotChecked("not bytes")
        return values

    def message(self, number: int) -> _Fields:
        return _Fields(b"".join(self._bytes(number)))

    def messages(self, number: int) -> list[_Fields]:
        return [_Fields(each) for each in self._bytes(number)]

    def text(self, number: int) -> str:
        return b"".join(self._bytes(number)[-1:]).decode()

    def double(self, number: int) -> float:
        (value,) = struct.unpack("<d", b"".join(self._bytes(number)[-1:]))
        return float(value)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & _SEVEN_BITS) << shift
        if byte <= _SEVEN_BITS:
            return value, at
        shift += 7
    raise NotChecked("cut short")
