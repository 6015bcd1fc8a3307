"""Redaction: a new message, built from the leaves that are shown. Nothing is ever taken out of the original.

What is not on the list does not exist for it: a field added to the agreement tomorrow is withheld until a policy
places it. The list is compiled once per decision into steps, each of which moves one leaf; a leaf that is shown
coarsely goes through its cell on the way (`steps`). A message of which every single field is on the list, exactly,
moves in one step. Identities pass as they are: the gateway makes them anew for each recipient afterwards. Cells and the
`Disclosure` are written here. Fields that we do not know pass nowhere, whatever message they came in.

A message within the message of which nothing is left is left out too: that it was there would tell of what is withheld.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor

from broker.gateway.release.lattice import Level
from broker.gateway.release.shown import NUMBERS
from broker.gateway.release.steps import cell_step, copy_step, is_told_anew, leaf_step, together
from broker.leaves import HEADER, Node, node_of
from vedette.v1 import content_pb2, measures_pb2, options_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

    from broker.gateway.release.decision import Decision
    from broker.gateway.release.shown import Shown
    from broker.gateway.release.steps import Step

    Redactor = Callable[[content_pb2.Content, int], content_pb2.Content]

__all__ = ["redact", "redactor_of"]

# Plain values that say something where they are not set: zero, or no.
SAYS_BY_DEFAULT: Final = NUMBERS | {FieldDescriptor.CPPTYPE_BOOL}
CELL: Final = measures_pb2.Cell.DESCRIPTOR
# What no policy decides on; beside exact values a cell is carried on as it came.
AS_THEY_ARE: Final = frozenset({Coarsening.COARSENING_IDENTITY, Coarsening.COARSENING_CELL})
# Corners that are the same become one even where they are exact; a Disclosure is never passed on.
WITH_STEPS_OF_THEIR_OWN: Final = (measures_pb2.Polygon.DESCRIPTOR, content_pb2.Disclosure.DESCRIPTOR)


def redact(content: content_pb2.Content, decision: Decision, *, released_ns: int = 0) -> content_pb2.Content:
    """Return what the recipient sees of the content under the decision: a new message.

    `released_ns` is the instant from `due.release_instant_ns`, in the content's own time. Raises ValueError where the
    decision releases nothing or speaks of another kind of body: then there is nothing to be made.
    """
    if not decision.released or content.WhichOneof("body") != decision.shown.body:
        raise ValueError("this decision does not release this content")
    return decision.redactor(content, released_ns)


def redactor_of(shown: Shown, minimum_interval_ns: int) -> Redactor:
    """Compile what is shown into steps."""
    of_header = _steps(node_of(HEADER), shown, minimum_interval_ns)
    of_body = _steps(node_of(shown.body), shown, minimum_interval_ns)
    body = shown.body
    begun = content_pb2.Content()
    begun.header.disclosure.withheld[:] = shown.withheld
    getattr(begun, body).SetInParent()

    def redactor(content: content_pb2.Content, released_ns: int) -> content_pb2.Content:
        made = content_pb2.Content()
        made.CopyFrom(begun)
        source, target = content.header, made.header
        for step in of_header:
            step(source, target, released_ns)
        source, target = getattr(content, body), getattr(made, body)
        for step in of_body:
            step(source, target, released_ns)
        made.DiscardUnknownFields()  # of messages that moved whole
        return made

    return redactor


# --- one message type -------------------------------------------------------------------------------------------------


def _steps(node: Node, shown: Shown, minimum_interval_ns: int) -> list[Step]:
    """Return the steps for the fields of one message, then those for what its fields owe each other."""
    steps: list[Step] = []
    for each in node.below.values():
        step = _step(each, shown, minimum_interval_ns)
        if step is not None:
            steps.append(step)
    steps.extend(together(node, shown))
    return steps


def _step(node: Node, shown: Shown, minimum_interval_ns: int) -> Step | None:  # noqa: PLR0911 - one for each kind
    field = node.field
    if node.leaf is not None:
        level = shown.levels.get(node.path, Level.WITHHELD)
        return leaf_step(node, level, hides_instants=shown.hides_a_time) if level > Level.WITHHELD else None
    if node.coarsening == Coarsening.COARSENING_IDENTITY:
        return copy_step(field)
    if not node.below or field.message_type == content_pb2.Disclosure.DESCRIPTOR:
        return None
    if field.message_type == CELL:
        return cell_step(node, shown, minimum_interval_ns)
    if not (_is_all_identity(node) or any(path.startswith(f"{node.path}.") for path in shown.levels)):
        return None
    may_be_empty = not (_is_all_identity(node) or _always_says(node, shown))
    if _is_whole(node, shown) and not (field.is_repeated and may_be_empty):
        return _whole_step(field, may_be_empty=may_be_empty)
    return _message_step(field, _steps(node, shown, minimum_interval_ns), may_be_empty=may_be_empty)


def _is_whole(node: Node, shown: Shown) -> bool:
    """Say whether each field of a message, all the way down, is shown as it is: then nothing in it is left to do."""
    if node.leaf is not None:
        level = shown.levels.get(node.path, Level.WITHHELD)
        return level == Level.EXACT and not is_told_anew(node, hides_instants=shown.hides_a_time)
    if node.coarsening in AS_THEY_ARE:
        return True
    if not node.below or node.field.message_type in WITH_STEPS_OF_THEIR_OWN:
        return False
    return all(_is_whole(each, shown) for each in node.below.values())


def _is_all_identity(node: Node) -> bool:
    """Say whether a message is nothing but identities, as a reference or a lineage: no policy decides on it."""
    if node.below:
        return all(_is_all_identity(each) for each in node.below.values())
    return node.coarsening == Coarsening.COARSENING_IDENTITY


def _always_says(node: Node, shown: Shown) -> bool:
    """Say whether a message says something that is shown whatever is set: what is required, or a plain zero or no."""
    return any(
        each.path in shown.levels
        and (
            each.field.GetOptions().Extensions[options_pb2.bounds].required
            or (each.field.cpp_type in SAYS_BY_DEFAULT and not each.field.is_repeated and not each.field.has_presence)
        )
        for each in node.below.values()
    )


def _whole_step(field: FieldDescriptor, *, may_be_empty: bool) -> Step:
    name = field.name

    def one(source: Message, target: Message, _released_ns: int) -> None:
        if source.HasField(name):
            made = getattr(target, name)
            made.CopyFrom(getattr(source, name))
            if may_be_empty and _is_empty(made):
                target.ClearField(name)

    def each(source: Message, target: Message, _released_ns: int) -> None:
        getattr(target, name).extend(getattr(source, name))

    return each if field.is_repeated else one


def _message_step(field: FieldDescriptor, steps: Sequence[Step], *, may_be_empty: bool) -> Step:
    name = field.name

    def one(source: Message, target: Message, released_ns: int) -> None:
        if source.HasField(name):
            inner, made = getattr(source, name), getattr(target, name)
            made.SetInParent()
            for step in steps:
                step(inner, made, released_ns)
            if may_be_empty and _is_empty(made):
                target.ClearField(name)

    def each(source: Message, target: Message, released_ns: int) -> None:
        made = getattr(target, name)
        for inner in getattr(source, name):
            item = made.add()
            for step in steps:
                step(inner, item, released_ns)
            if may_be_empty and _is_empty(item):
                del made[-1]

    return each if field.is_repeated else one


def _is_empty(made: Message) -> bool:
    """Say whether nothing stands in a message: how coarse its values would be is nothing."""
    for field, _ in made.ListFields():  # noqa: SIM110 - half the time of all(…): the first field settles most
        if field.message_type != CELL:
            return False
    return True
