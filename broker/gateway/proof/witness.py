"""From an example of the solver to a real message, and to what the real engine says of it.

The example answers only what conditions ask. The message gets what it needs besides to be valid (ids, required fields)
and, where the example leaves it open, the very leaves that it is about: so that a reader sees what would go out.

Nothing is believed of an example before all this holds: the message passes `check_content`; read back, it answers every
question as the example does; and the real engine decides as the model says, on every leaf and every term. Otherwise
`Disagreement`, and the answer to whatever was asked is "unknown": model and engine differ, and a person must look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from broker.content import check_content, check_message
from broker.gateway.proof.space import field_of
from broker.gateway.proof.terms import NotModelled, bounds_of, fitting, is_needed
from broker.gateway.proof.verdict import Witness
from broker.gateway.release.decide import Subject, decide
from broker.gateway.release.lattice import Level
from broker.leaves import LEAVES
from broker.refusal import Refused
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.gateway.proof.model import Case
    from broker.gateway.proof.solver import Example
    from broker.gateway.proof.space import Space
    from broker.gateway.proof.terms import Path

__all__ = ["Disagreement", "confirmed", "message_of"]

_LINEAGE: Final = ("content", "header", "lineage")
_ID: Final = b"vedette-witness!"
_TIME_S: Final = 1_780_000_000
_POSITION_M: Final = (-3_500_000.0, 3_900_000.0, 3_800_000.0)
_TEXTS: Final = ("A", "AAA", "AA-1")


class Disagreement(Exception):  # noqa: N818 - an answer: the proof says unknown
    """Model and engine do not agree on a message. A fault of one of them, never a proof."""


def confirmed(case: Case, example: Example, subject: Subject) -> Witness:
    """Return the message with the real engine's decision, which is what the model says. Raises Disagreement."""
    recipient, body = case.recipient, case.space.body
    decision = decide(case.model.policy, subject, recipient)
    expected = example.holds(case.is_released)
    if decision.fault or decision.released is not expected:
        raise Disagreement(f"released: the model says {expected}, the engine {decision.released} {decision.fault}")
    for rungs, paths in case.alike().items():
        level = case.level_in(example, rungs)
        for path in paths:
            got = decision.shown.levels.get(path, Level.WITHHELD)
            if got is not level:
                raise Disagreement(f"{path}: the model says {level.label}, the engine {got.label}")
    terms = (decision.delay_s, decision.minimum_interval_s, decision.caveats)
    claimed = (case.delay_in(example), case.interval_in(example), case.added_in(example))
    if expected and terms != claimed:
        raise Disagreement(f"terms: the model says {claimed}, the engine {terms}")
    return Witness(subject, recipient, body, decision)


def message_of(space: Space, example: Example, leaves: Iterable[str] = ()) -> Subject:
    """Return a valid message that answers as the example does, with these leaves set where that leaves it open.

    Raises Disagreement where there is no such message.
    """
    subject = _bare(space)
    _set_asked(space, example, subject)
    precedence = space.choices.get(("precedence",))
    if precedence is not None:
        subject = Subject(subject.content, subject.label, int(precedence.value_in(example.holds)))
    _complete(subject.content)
    if _LINEAGE not in space.present:
        subject.content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW  # intake wants to know
    for path in leaves:
        _set_leaf(space, subject.content, path)
    try:
        check_content(subject.content, incoming=False)
        check_message(subject.label)
        differs = [formula for formula, answer in space.answers(subject) if example.holds(formula) is not answer]
    except (Refused, NotModelled) as error:
        raise Disagreement(f"the example is no valid message: {error}") from None
    if differs:
        raise Disagreement(f"the message does not answer as the example does: {differs[0]}")
    return subject


def _bare(space: Space) -> Subject:
    content = content_pb2.Content()
    content.header.origin = space.nation
    content.header.mode = content_pb2.MODE_REAL_WORLD
    getattr(content, space.body).SetInParent()
    label = envelope_pb2.SecurityLabel(
        policy=space.nation, classification=envelope_pb2.CLASSIFICATION_SECRET, releasable_to=[]
    )
    return Subject(content, label, envelope_pb2.PRECEDENCE_IMMEDIATE)


def _set_asked(space: Space, example: Example, subject: Subject) -> None:
    """Write every answer of the example into the message."""
    for path, formula in sorted(space.present.items()):
        if example.holds(formula):
            _make_present(_above(subject, path), field_of(path))
    for path, each in space.choices.items():
        value, field = each.value_in(example.holds), field_of(path)
        if path == ("precedence",) or field is None or not _is_there(space, example, path[:-1]):
            continue
        if not field.has_presence or example.holds(space.present.get(path, False)):
            setattr(_above(subject, path), field.name, value)
    for path, texts in space.lists.items():
        found = texts.texts_in(example.holds)
        if found:
            getattr(_above(subject, path), path[-1])[:] = found


def _is_there(space: Space, example: Example, path: Path) -> bool:
    """Say whether the message at the path is there. One below a body that is not there is not."""
    if len(path) == 1:
        return True
    if path in space.present:
        return example.holds(space.present[path])
    field = field_of(path)
    if field is not None and field.containing_oneof is not None and len(path) == 2:  # noqa: PLR2004 - a body
        return field.name == space.body
    return _is_there(space, example, path[:-1])


def _above(subject: Subject, path: Path) -> Any:  # noqa: ANN401 - a message of any type
    message: Any = subject
    for name in path[:-1]:
        message = getattr(message, name)
    return message


def _make_present(above: Any, field: FieldDescriptor | None) -> None:  # noqa: ANN401 - a message of any type
    if field is None:
        return
    if field.message_type is not None and not field.is_repeated:
        _fill(getattr(above, field.name), field)
    elif field.has_presence and not field.is_repeated:
        setattr(above, field.name, _value(field))
    else:
        _set_value(above, field)


# --- what a message needs to be valid ---------------------------------------------------------------------------------


def _complete(message: Any) -> None:  # noqa: ANN401 - a message of any type
    """Fill in what is needed and not there, at every level."""
    for field in message.DESCRIPTOR.fields:
        if is_needed(field) and not _has(message, field):
            _set_value(message, field)
    for field, value in message.ListFields():
        inner = field.message_type
        if inner is not None and inner.file.package == "vedette.v1":
            for each in value if field.is_repeated else (value,):
                _complete(each)


def _has(message: Any, field: FieldDescriptor) -> bool:  # noqa: ANN401 - a message of any type
    if field.has_presence:
        return bool(message.HasField(field.name))
    return bool(getattr(message, field.name))


def _set_value(message: Any, field: FieldDescriptor) -> None:  # noqa: ANN401 - a message of any type
    """Give the field a value inside its bounds."""
    if field.is_repeated:
        values = getattr(message, field.name)
        lengths = [each for each in bounds_of(field).items if each] or [1]
        if field.message_type is not None:
            _fill(values.add(), field)
        elif lengths[0] == len(_POSITION_M):
            values[:] = _POSITION_M if field.name == "position_m" else (0.0,) * len(_POSITION_M)
        else:
            values[:] = [_value(field)] * lengths[0]
    elif field.message_type is not None:
        _fill(getattr(message, field.name), field)
    else:
        setattr(message, field.name, _value(field))


def _fill(message: Any, field: FieldDescriptor) -> None:  # noqa: ANN401 - a message of any type
    message.SetInParent()
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp":
        message.seconds = _TIME_S
    elif field.message_type is not None and field.message_type.file.package == "vedette.v1":
        _complete(message)


def _value(field: FieldDescriptor) -> bool | int | float | str | bytes:
    bounds = bounds_of(field)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _ID[: bounds.bytes_most or len(_ID)]
    if field.type == FieldDescriptor.TYPE_STRING:
        return next(filter(fitting(field), _TEXTS), "")
    if field.enum_type is not None:
        return next(number for number in sorted(field.enum_type.values_by_number) if number)
    least = bounds.least if bounds.HasField("least") else 1.0
    most = bounds.most if bounds.HasField("most") else 1.0
    value = min(max(1.0, least), most)
    return value if field.type == FieldDescriptor.TYPE_DOUBLE else round(value)


def _set_leaf(space: Space, content: content_pb2.Content, path: str) -> None:
    """Set one leaf, unless the example says that it, or what it is part of, is not there."""
    message: Any = content
    at: Path = ("content",)
    for field in LEAVES[path].fields:
        at = (*at, field.name)
        oneof = field.containing_oneof
        is_displaced = oneof is not None and message.WhichOneof(oneof.name) not in {None, field.name}
        is_asked = at in space.present or at in space.choices or at in space.lists
        if is_displaced or (is_asked and not _has(message, field)):
            return
        if not _has(message, field):
            _set_value(message, field)
        message = getattr(message, field.name)
        if field.is_repeated and field.message_type is not None:
            message = message[0]
