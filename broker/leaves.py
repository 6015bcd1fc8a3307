"""The leaves of a Content: the smallest things that a policy can show or withhold, each by its path.

A path is the field names from the body down, joined by dots: `launch.launch_time.best`, `header.observed_at`. Items of
a repeated field share one path, because a policy speaks of kinds of values and not of single ones. A Timestamp or
Duration is one leaf. Two kinds of fields are no leaves, for no policy may decide on them: identities (redaction makes
them anew for each recipient) and cells (redaction writes what it did). The bodies that only the hub and the gateways
themselves send (`fused`, `canary`, `tick`) have paths too, so that a guard can name what it met, but no policy ever
places them.

All of it is read once from the descriptors and their options; nothing here knows a field by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vedette.v1 import content_pb2, envelope_pb2, options_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

__all__ = [
    "BODIES_UNDER_POLICY",
    "HEADER",
    "LEAVES",
    "SCHEMA_DIGEST",
    "Leaf",
    "Node",
    "body_of",
    "node_of",
    "schema_lines",
    "set_leaves",
]

HEADER: Final = "header"
# Sent by the hub or by a gateway itself, never by a nation under its policy.
BODIES_OUTSIDE_POLICY: Final = frozenset({"fused", "canary", "tick"})
SINGLE: Final = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})
NO_LEAF: Final = frozenset({Coarsening.COARSENING_IDENTITY, Coarsening.COARSENING_CELL})


@dataclass(frozen=True, slots=True)
class Leaf:
    """One smallest thing that a policy can show or withhold."""

    path: str
    body: str  # the first part of the path: a body's name, or "header"
    coarsening: Coarsening.ValueType
    fields: tuple[FieldDescriptor, ...]  # from Content down to the leaf's own


@dataclass(frozen=True, slots=True)
class Node:
    """A field of Content's tree: a leaf, or a message with further fields below it."""

    path: str
    field: FieldDescriptor
    coarsening: Coarsening.ValueType
    leaf: Leaf | None
    below: Mapping[int, Node]  # by field number; empty where the field is no message, or a single one


def _coarsening(field: FieldDescriptor) -> Coarsening.ValueType:
    return field.GetOptions().Extensions[options_pb2.coarsening]


def _node(field: FieldDescriptor, above: tuple[FieldDescriptor, ...]) -> Node:
    fields = (*above, field)
    path = ".".join(each.name for each in fields)
    coarsening = _coarsening(field)
    inner = field.message_type
    if inner is not None and inner.full_name not in SINGLE:
        below = {each.number: _node(each, fields) for each in inner.fields}
        return Node(path, field, coarsening, None, below)
    leaf = None if coarsening in NO_LEAF else Leaf(path, fields[0].name, coarsening, fields)
    return Node(path, field, coarsening, leaf, {})


_ROOT: Final[Mapping[int, Node]] = {field.number: _node(field, ()) for field in content_pb2.Content.DESCRIPTOR.fields}
_BY_NAME: Final[Mapping[str, Node]] = {node.field.name: node for node in _ROOT.values()}


def _leaves(node: Node) -> Iterator[Leaf]:
    if node.leaf is not None:
        yield node.leaf
    for each in node.below.values():
        yield from _leaves(each)


BODIES_UNDER_POLICY: Final[tuple[str, ...]] = tuple(
    name for name in _BY_NAME if name != HEADER and name not in BODIES_OUTSIDE_POLICY
)

# Every leaf that a policy must place, in the order of the .proto files.
LEAVES: Final[Mapping[str, Leaf]] = {
    leaf.path: leaf for name in (HEADER, *BODIES_UNDER_POLICY) for leaf in _leaves(_BY_NAME[name])
}


def node_of(name: str) -> Node:
    """Return the tree below `header` or below a body's name. Raises KeyError for any other name."""
    return _BY_NAME[name]


def body_of(content: content_pb2.Content) -> str:
    """Return the name of the content's body; "" for a bare reference."""
    return content.WhichOneof("body") or ""


def set_leaves(content: content_pb2.Content) -> Iterator[str]:
    """Yield the path of every leaf that is set in the content, each once, whatever its body."""
    seen: set[str] = set()
    for path in _set_below(content, _ROOT):
        if path not in seen:
            seen.add(path)
            yield path


def _set_below(message: Message, below: Mapping[int, Node]) -> Iterator[str]:
    for field, value in message.ListFields():
        node = below[field.number]
        if node.leaf is not None:
            yield node.leaf.path
        elif node.below:
            for each in value if field.is_repeated else (value,):
                yield from _set_below(each, node.below)


def schema_lines() -> Iterator[str]:
    """Describe all that a condition or a group can name: fields with their types, and the values of enums."""
    waiting: list[Descriptor | EnumDescriptor] = [
        content_pb2.Content.DESCRIPTOR,
        envelope_pb2.SecurityLabel.DESCRIPTOR,
        envelope_pb2.Precedence.DESCRIPTOR,
    ]
    seen = {each.full_name for each in waiting}
    while waiting:
        one = waiting.pop()
        if hasattr(one, "values"):
            yield f"enum {one.full_name} " + " ".join(f"{value.name}={value.number}" for value in one.values)
            continue
        for field in one.fields:
            kind = field.message_type or field.enum_type
            form = "repeated" if field.is_repeated else "optional" if field.has_presence else "single"
            named = kind.full_name if kind is not None else str(field.type)
            yield f"field {field.full_name}={field.number} {form} {named} {_coarsening(field)}"
            if one is content_pb2.Content.DESCRIPTOR and field.name in BODIES_OUTSIDE_POLICY:
                continue  # no rule can speak of these: what the picture says more makes no policy another
            if kind is not None and kind.full_name not in seen:
                seen.add(kind.full_name)
                waiting.append(kind)


# Names the agreement that a policy was written against. Bounds are not part of it: a tighter bound changes no rule.
SCHEMA_DIGEST: Final = "sha256:" + hashlib.sha256("\n".join(sorted(schema_lines())).encode()).hexdigest()
