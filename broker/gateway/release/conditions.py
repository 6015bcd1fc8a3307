"""Conditions of rules: the part of CEL that cannot fail, cannot loop and can be proved.

Google's CEL parses a condition and checks its types against the messages, so that a misspelt field is an error when
the policy is loaded and never a rule that silently does not match. Of what CEL then accepts, only this is let through:

* `&&`, `||`, `!`, `true`, `false`, a bool field by itself;
* a number, text or enum field against a literal: `==`, `!=`, and for numbers and enums `<`, `<=`, `>`, `>=`;
* `field in [literals]`, and `"literal" in field` or `to in field` for a repeated text field;
* `has(field)`, but for a number that cannot be absent: zero and minus zero would tell one engine from another.

Every such condition has an answer for every message, in linear time, without an error: no arithmetic that overflows,
no index, no function, no clock; and no comment, which in a folded condition would swallow what follows. It is written
in ASCII, other characters of a text as escapes: none can then be taken for another by who approves it. What stays is
also what a solver decides (finite enums, ordered numbers, interned text). Anything else is refused with a reason and a
hint. The result is a `Predicate`, from which engines are made.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, assert_never

from cel_expr_python import cel
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

from broker import limits
from broker.gateway.release import checked
from broker.gateway.release.hints import hint_of
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import Descriptor

__all__ = [
    "All",
    "AnyOf",
    "Compare",
    "ConditionError",
    "Contains",
    "Flag",
    "Not",
    "Predicate",
    "Present",
    "Term",
    "Truth",
    "condition",
    "environment",
    "written",
]

CONTAINER: Final = "vedette.v1"
# What a condition may speak of, each with its type; `to` and `body` are text, `precedence` and `mode` are enums.
MESSAGES: Final[Mapping[str, Descriptor]] = {
    "content": content_pb2.Content.DESCRIPTOR,
    "label": envelope_pb2.SecurityLabel.DESCRIPTOR,
}
ENUMS: Final[Mapping[str, str]] = {"precedence": "vedette.v1.Precedence", "mode": "vedette.v1.Mode"}
TEXTS: Final = frozenset({"to", "body"})
SURELY_NOT_DEEP: Final = 8  # signs that open something; CEL's parser takes about 30 in each other

Literal = bool | int | float | str


class ConditionError(ValueError):
    """A condition that is refused: `at` is the character, from 1, of the condition's text."""

    def __init__(self, at: int, reason: str, hint: str = "") -> None:
        """Say where, why and what to write instead."""
        super().__init__(f"character {at}: {reason}" + (f" ({hint})" if hint else ""))
        self.at = at
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Term:
    """Something with a value: a variable, or a field below `content` or `label`."""

    root: str
    path: tuple[str, ...]
    kind: str  # bool, int, uint, double, string, or the full name of an enum; "repeated string" for a list of texts
    field: FieldDescriptor | None  # None for a variable

    def __str__(self) -> str:
        return ".".join((self.root, *self.path))


@dataclass(frozen=True, slots=True)
class Truth:
    """Always or never."""

    value: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """A bool field by itself."""

    term: Term


@dataclass(frozen=True, slots=True)
class Present:
    """`has(field)`: it is set; for a field without presence, it is not its default."""

    term: Term


@dataclass(frozen=True, slots=True)
class Compare:
    """A field against literals. `==` with several is `in`."""

    term: Term
    operator: str  # == != < <= > >= in
    values: tuple[Literal | Term, ...]  # a Term here is `to` or `body`


@dataclass(frozen=True, slots=True)
class Contains:
    """A repeated text field holds a text."""

    term: Term
    value: str | Term  # a Term here is `to` or `body`


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Predicate


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of them."""

    parts: tuple[Predicate, ...]


Predicate = Truth | Flag | Present | Compare | Contains | Not | All | AnyOf


@cache
def environment() -> cel.Env:
    """Return CEL with our messages and variables and nothing else."""
    variables = {name: cel.Type(descriptor.full_name) for name, descriptor in MESSAGES.items()}
    variables |= dict.fromkeys(ENUMS, cel.Type.INT) | dict.fromkeys(TEXTS, cel.Type.STRING)
    return cel.NewEnv(descriptor_pool.Default(), variables=variables, container=CONTAINER)


def condition(text: str) -> Predicate:
    """Return what the text says. Raises ConditionError."""
    if len(text) > limits.CONDITION_CHARS_MAX:
        raise ConditionError(1, f"longer than {limits.CONDITION_CHARS_MAX} characters", "split the rule")
    if (strange := next((at for at, each in enumerate(text, 1) if not each.isascii()), None)) is not None:
        escape = text[strange - 1].encode("ascii", "backslashreplace").decode()
        raise ConditionError(strange, "a character that may be taken for another", f"in a text write {escape}")
    try:
        compiled = environment().compile(text)
    except RuntimeError as error:  # what the binding raises for every error of parsing and checking
        raise _as_condition_error(str(error), text) from None
    # Where lines are folded, all that follows a comment would be left out unseen.
    if (at := next((found.start() for found in _TEXT_OR_COMMENT.finditer(text) if found[0] == "//"), None)) is not None:
        raise ConditionError(at + 1, "a comment in a condition", "say it in the rule's reason")
    if compiled.return_type() != cel.Type.BOOL:
        raise ConditionError(1, "must be true or false", "compare it with something")
    if _is_deep(text):
        raise ConditionError(1, "nested too deep", "split the rule")
    return _predicate(checked.read_checked(compiled.serialize()))


def _is_deep(text: str) -> bool:
    """Say whether CEL reads the text alone but not as one of a list, as an engine asks it: its parser has a limit."""
    if text.count("(") + text.count("[") + text.count("!") < SURELY_NOT_DEEP:
        return False
    try:
        environment().compile(f"[({text}\n)]")
    except RuntimeError:
        return True
    return False


# CEL's literals of text, raw ones first, in what CEL has accepted (its language definition, section Syntax).
_TEXT_OR_COMMENT: Final = re.compile(
    r"""[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"]*"|'[^']*')"""
    r"""|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|//""",
    re.DOTALL,
)
_CEL_ERROR: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


def _as_condition_error(message: str, text: str) -> ConditionError:
    found = _CEL_ERROR.search(message)
    if found is None:
        return ConditionError(1, "CEL does not accept it", "it may be nested too deep: split the rule")
    line, column, reason = found.groups()
    where = int(column) + sum(len(above) + 1 for above in text.split("\n")[: int(line) - 1])
    reason = reason.replace("(in container 'vedette.v1')", "").strip()
    return ConditionError(where, reason, hint_of(reason))


def written(predicate: Predicate) -> str:  # noqa: PLR0911 - one for each kind
    """Return the predicate as text that says the same."""
    match predicate:
        case Truth(value=value):
            return "true" if value else "false"
        case Flag(term=term):
            return str(term)
        case Present(term=term):
            return f"has({term})"
        case Compare(term=term, operator="in", values=values):
            return f"{term} in [{', '.join(_written_value(value, term) for value in values)}]"
        case Compare(term=term, operator=operator, values=values):
            return f"{term} {operator} {_written_value(values[0], term)}"
        case Contains(term=term, value=value):
            return f"{_written_value(value, term)} in {term}"
        case Not(part=part):
            return f"!({written(part)})"
        case All(parts=parts):
            return " && ".join(f"({written(part)})" for part in parts)
        case AnyOf(parts=parts):
            return " || ".join(f"({written(part)})" for part in parts)
        case _:
            assert_never(predicate)


def _written_value(value: Literal | Term, term: Term) -> str:
    if isinstance(value, Term):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).encode("ascii", "backslashreplace").decode()
    if "." in term.kind and isinstance(value, int):
        enum = descriptor_pool.Default().FindEnumTypeByName(term.kind)
        return f"{enum.name}.{enum.values_by_number[value].name}"
    return f"{value}u" if term.kind == "uint" else str(value)


# --- from CEL's tree to ours ------------------------------------------------------------------------------------------

_COMPARISONS: Final = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ORDERED: Final = frozenset({"int", "uint", "double"})
_HINTS: Final[Mapping[str, str]] = {
    "_?_:_": "write it with && and ||",
    "_[_]": "rules do not look at single items",
    "size": "rules do not count; has(field) says whether there is any",
    "matches": "compare whole texts with == or in",
    "contains": "compare whole texts with == or in",
    "startsWith": "compare whole texts with == or in",
    "endsWith": "compare whole texts with == or in",
    "timestamp": "times of day belong into effective and expires",
    "duration": "compare a field with a number",
    "dyn": "types are checked, always",
}
_ARITHMETIC: Final = frozenset({"_+_", "_-_", "_*_", "_/_", "_%_", "-_"})


def _predicate(node: checked.Node) -> Predicate:  # noqa: PLR0911 - one for each kind
    match node:
        case checked.Constant(value=bool() as value):
            return Truth(value)
        case checked.Select(has=True):
            return Present(_may_be_absent(node))
        case checked.Select():
            return Flag(_term(node))  # CEL has checked that it is a bool
        case checked.Call(function="!_", args=(part,)):
            return Not(_predicate(part))
        case checked.Call(function="_&&_", args=parts):
            return All(tuple(_predicate(part) for part in parts))
        case checked.Call(function="_||_", args=parts):
            return AnyOf(tuple(_predicate(part) for part in parts))
        case checked.Call(function="@in", args=(element, container)):
            return _membership(node, element, container)
        case checked.Call(function=name, args=(left, right)) if name in _COMPARISONS:
            return _comparison(node, _COMPARISONS[name], left, right)
        case _:
            raise _not_allowed(node)


def _not_allowed(node: checked.Node) -> ConditionError:
    at = node.at + 1
    match node:
        case checked.Call(function=name) if name in _ARITHMETIC:
            return ConditionError(at, "rules do not calculate", "compare a field with a literal")
        case checked.Call(function=name):
            return ConditionError(
                at, f"{name.strip('_@')} is not for rules", _HINTS.get(name, "see the list of operators")
            )
        case checked.Other(kind=kind):
            return ConditionError(at, f"{kind} is not for rules", "use in, has and comparisons with literals")
        case _:
            return ConditionError(at, "not a condition", "compare a field with a literal")


def _membership(node: checked.Call, element: checked.Node, container: checked.Node) -> Predicate:
    if isinstance(container, checked.ItemList):
        term = _term(element)
        if term.kind == "bool":
            raise _by_itself(node, term)
        values = tuple(_literal(item, term) for item in container.items)
        return Compare(term, "in", values)
    term = _term(container, any_kind=True)
    if term.kind != "repeated string":
        raise ConditionError(
            container.at + 1, f"{term} is no list of texts", "in looks into lists of texts and literals"
        )
    match element:
        case checked.Constant(value=str() as text):
            return Contains(term, text)
        case checked.Ident(name=name) if name in TEXTS:
            return Contains(term, Term(name, (), "string", None))
        case _:
            raise ConditionError(node.at + 1, "only a literal or `to` can be looked for in a list", "write it out")


def _comparison(node: checked.Call, operator: str, left: checked.Node, right: checked.Node) -> Predicate:
    if isinstance(left, checked.Constant) or (isinstance(left, checked.Ident) and isinstance(right, checked.Select)):
        left, right, operator = right, left, _TURNED[operator]
    if isinstance(left, checked.Constant):
        raise ConditionError(node.at + 1, "compares two literals", "one side must be a field")
    term = _term(left)
    if term.kind == "bool":
        raise _by_itself(node, term)
    is_ordered = term.kind in _ORDERED or "." in term.kind
    if operator not in {"==", "!="} and not is_ordered:
        raise ConditionError(node.at + 1, "text has no order here", "compare texts with == or !=")
    return Compare(term, operator, (_literal(right, term),))


def _by_itself(node: checked.Node, term: Term) -> ConditionError:
    return ConditionError(node.at + 1, f"{term} is true or false by itself", f"write {term} or !{term}")


def _literal(node: checked.Node, term: Term) -> Literal | Term:
    """Return the other side of a comparison with the term, which must fit it more closely than CEL asks."""
    at = node.at + 1
    match node:
        case checked.Constant(value=value, enum=enum, kind=kind):
            if "." not in term.kind and kind != term.kind:  # CEL takes a list of mixed kinds; to Python true is 1
                raise ConditionError(at, f"a literal of {kind} beside {term}", f"write one of {term.kind}")
            if "." in term.kind and not enum:
                short = term.kind.rsplit(".", 1)[1]
                raise ConditionError(at, f"{term} has named values", f"write one as {short}.NAME")
            named = enum.rsplit(".", 1)[0] if enum else term.kind
            if named != term.kind:
                raise ConditionError(at, f"{enum} is no value of {term}", f"its values are those of {term.kind}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ConditionError(at, "not a finite number", "nothing is greater than every number")
            return value
        case checked.Ident(name=name) if name in TEXTS and term.kind == "string":
            return Term(name, (), "string", None)
        case _:
            raise ConditionError(at, "two fields are compared", "one side must be a literal, or `to`")


_KINDS: Final = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "double",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint",
    FieldDescriptor.TYPE_UINT64: "uint",
    FieldDescriptor.TYPE_INT32: "int",
    FieldDescriptor.TYPE_INT64: "int",
}


def _term(node: checked.Node, *, any_kind: bool = False) -> Term:
    """Return the field or variable that the node names. With `any_kind` also one without a comparable value."""
    at, path = node.at + 1, list[str]()
    inner = node
    while isinstance(inner, checked.Select):
        if inner.has:
            raise ConditionError(at, "has() is an answer already", "write it by itself")
        path.insert(0, inner.field)
        inner = inner.operand
    if not isinstance(inner, checked.Ident):
        raise _not_allowed(inner)
    root = inner.name
    if root in TEXTS and not path:
        return Term(root, (), "string", None)
    if root in ENUMS and not path:
        return Term(root, (), ENUMS[root], None)
    if root not in MESSAGES or not path:
        raise ConditionError(at, f"{root} has no single value", "name one of its fields")
    field = _field(MESSAGES[root], path, at)
    kind = _kind(field)
    if not kind and not any_kind:
        raise ConditionError(
            at, f"{root}.{'.'.join(path)} cannot be compared", "rules decide on texts, numbers and enums"
        )
    return Term(root, tuple(path), kind, field)


def _may_be_absent(node: checked.Select) -> Term:
    term = _term(checked.Select(node.at, node.operand, node.field, has=False), any_kind=True)
    if term.kind == "double" and term.field is not None and not term.field.has_presence:
        raise ConditionError(node.at + 1, f"{term} is always there", "compare it with 0.0")
    return term


def _field(descriptor: Descriptor, path: list[str], at: int) -> FieldDescriptor:
    field = descriptor.fields_by_name[path[0]]
    for name in path[1:]:
        inner = field.message_type
        if inner is None or inner.file.package != CONTAINER:
            raise ConditionError(at, f"{field.name} has no fields for rules", "has() says whether it is there")
        field = inner.fields_by_name[name]
    return field


def _kind(field: FieldDescriptor) -> str:
    if field.is_repeated:
        return "repeated string" if field.type == FieldDescriptor.TYPE_STRING else ""
    if field.enum_type is not None:
        return field.enum_type.full_name
    return _KINDS.get(field.type, "")
