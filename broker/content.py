"""Parse, don't validate: what passes here has only known fields with known, finite values inside their bounds.

Nothing that a policy, a guard or fusion looks at comes past this check. Protobuf itself accepts far more: fields it
does not know are carried along unseen, an enum may hold any number, a double may be NaN. A condition such as
`classification >= SECRET` is only sound once all of that is refused, and so it is refused *before* any policy.

The rules stand in the .proto files as options of each field (`bounds`, see options.proto) and are compiled once per
message type into a table of small functions; only fields that are set cost anything. Rules that join several fields
(the order of a time window, the diagonal of a covariance, what a message without a body may carry) stand below.

Two strictnesses: what comes from another nation (`incoming`) has ids of exactly 16 bytes, names its origin and mode
and carries an exercise just when its mode is EXERCISE; what comes from the nation's own systems has ids of 1 to 64
bytes and the gateway fills in the rest.

A refusal's detail names the field and the bound, never the value.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from broker import limits
from broker.leaves import LEAVES, SCHEMA_DIGEST, Leaf, body_of, set_leaves
from broker.refusal import Reason, Refused
from vedette.v1 import content_pb2, measures_pb2, options_pb2
from vedette.v1.options_pb2 import Bounds, Coarsening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = [
    "LEAVES",
    "SCHEMA_DIGEST",
    "Leaf",
    "body_of",
    "check_content",
    "check_message",
    "parse_content",
    "parse_strict",
    "set_leaves",
]

M = TypeVar("M", bound=Message)

# Content's own files say every bound; the protocol around it is bounded by the frame and by whoever reads it.
BOUNDED_FILES: Final = frozenset({"vedette/v1/content.proto", "vedette/v1/measures.proto"})
RELATIONS_OF_A_BARE_REFERENCE: Final = frozenset({content_pb2.RELATION_CANCELS})
HEADER_OF_A_BARE_REFERENCE: Final = frozenset({"message_id", "origin", "mode", "exercise", "references"})
# Where the diagonal stands in an upper triangle written row by row.
DIAGONAL: Final = {6: (0, 3, 5), 21: (0, 6, 11, 15, 18, 20)}


def check_content(content: content_pb2.Content, *, incoming: bool) -> None:
    """Refuse a content that is not strictly valid.

    Raises Refused with UNKNOWN_FIELD, UNKNOWN_ENUM_VALUE, NOT_FINITE, OUT_OF_RANGE, MISSING_FIELD, TOO_LARGE or
    MALFORMED; for `incoming` also with MODE_NOT_ALLOWED and EXERCISE_BASE.
    """
    _checker(content_pb2.Content.DESCRIPTOR, incoming)(content)
    if content.WhichOneof("body") is None:
        _check_bare_reference(content.header, incoming=incoming)
    if incoming:
        _check_sender(content.header)


def parse_content(data: bytes, *, incoming: bool) -> content_pb2.Content:
    """Return the content that the bytes hold, strictly valid. Raises Refused; MALFORMED where they do not parse."""
    content = _parse(content_pb2.Content, data)
    check_content(content, incoming=incoming)
    return content


def parse_strict(message_type: type[M], data: bytes) -> M:
    """Return a message of any of our types with only known fields and known, finite values. Raises Refused."""
    message = _parse(message_type, data)
    check_message(message)
    return message


def check_message(message: Message) -> None:
    """Refuse unknown fields, unknown enum values and values outside their bounds at every level. Raises Refused.

    Ids may have 1 to 64 bytes here. Where a Content stands inside, its own rules across fields are not applied: use
    `check_content` for it.
    """
    _checker(message.DESCRIPTOR, False)(message)


def _parse(message_type: type[M], data: bytes) -> M:
    if len(data) > limits.TRANSPORT_BYTES_MAX:
        raise Refused(Reason.REASON_TOO_LARGE, f"{message_type.DESCRIPTOR.name}: at most {limits.TRANSPORT_BYTES_MAX}")
    message = message_type()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise Refused(Reason.REASON_MALFORMED, f"not a {message_type.DESCRIPTOR.full_name}") from None
    return message


# --- rules across fields ----------------------------------------------------------------------------------------------


def _check_sender(header: content_pb2.ContentHeader) -> None:
    if not header.origin:
        raise Refused(Reason.REASON_MISSING_FIELD, "ContentHeader.origin: name the nation that says this")
    if header.mode == content_pb2.MODE_UNSPECIFIED:
        raise Refused(Reason.REASON_MODE_NOT_ALLOWED, "ContentHeader.mode: say real world, exercise or test")
    if (header.mode == content_pb2.MODE_EXERCISE) != header.HasField("exercise"):
        raise Refused(Reason.REASON_EXERCISE_BASE, "ContentHeader.exercise: present in an exercise and nowhere else")


def _check_bare_reference(header: content_pb2.ContentHeader, *, incoming: bool) -> None:
    relations = {reference.relation for reference in header.references}
    if relations != RELATIONS_OF_A_BARE_REFERENCE:
        raise Refused(Reason.REASON_MISSING_FIELD, "Content.body: without one a message must cancel, and only cancel")
    if incoming:
        for field, _ in header.ListFields():
            if field.name not in HEADER_OF_A_BARE_REFERENCE:
                raise Refused(
                    Reason.REASON_BODY_NOT_ALLOWED, f"ContentHeader.{field.name}: a bare cancellation carries no more"
                )


def _check_time_window(window: measures_pb2.TimeWindow) -> None:
    before = None
    for name in ("earliest", "best", "latest"):
        if window.HasField(name):
            stamp = getattr(window, name)
            at = (stamp.seconds, stamp.nanos)
            if before is not None and at < before:
                raise Refused(Reason.REASON_OUT_OF_RANGE, "TimeWindow: earliest <= best <= latest")
            before = at


def _check_count(count: measures_pb2.Count) -> None:
    if count.least > count.most:
        raise Refused(Reason.REASON_OUT_OF_RANGE, "Count: least <= most")


def _check_state(state: measures_pb2.State) -> None:
    terms = state.covariance
    if len(terms) == 21 and len(state.velocity_mps) != 3:  # noqa: PLR2004 - the triangle of six, a vector of three
        raise Refused(Reason.REASON_MISSING_FIELD, "State.velocity_mps: 21 covariance terms speak of it")
    for place in DIAGONAL.get(len(terms), ()):
        if terms[place] < 0:
            raise Refused(Reason.REASON_OUT_OF_RANGE, "State.covariance: a variance cannot be negative")


ACROSS: Final[dict[str, Callable[..., None]]] = {
    measures_pb2.TimeWindow.DESCRIPTOR.full_name: _check_time_window,
    measures_pb2.Count.DESCRIPTOR.full_name: _check_count,
    measures_pb2.State.DESCRIPTOR.full_name: _check_state,
}


# --- rules of each field, compiled from its options -------------------------------------------------------------------


@cache
def _checker(descriptor: Descriptor, incoming: bool) -> Callable[[Message], None]:  # noqa: FBT001 - part of the cache key
    """Compile the check of one message type. No message type contains itself, so this ends."""
    name = descriptor.name
    checks = {field.number: _field_check(field, incoming) for field in descriptor.fields}
    needed = frozenset(field.number for field in descriptor.fields if _is_needed(field))
    across = ACROSS.get(descriptor.full_name)

    def check(message: Message) -> None:
        if len(UnknownFieldSet(message)):
            raise Refused(Reason.REASON_UNKNOWN_FIELD, f"{name}: a field that this version does not know")
        missing = len(needed)
        for field, value in message.ListFields():
            number = field.number
            checks[number](value)
            if number in needed:
                missing -= 1
        if missing:
            present = {field.number for field, _ in message.ListFields()}
            lacks = min(needed - present)
            raise Refused(Reason.REASON_MISSING_FIELD, f"{name}.{descriptor.fields_by_number[lacks].name}: needed")
        if across is not None:
            across(message)

    return check


def _bounds(field: FieldDescriptor) -> Bounds:
    return field.GetOptions().Extensions[options_pb2.bounds]


def _is_needed(field: FieldDescriptor) -> bool:
    """Say whether a message without this field is refused: it is required, or its absence would be out of bounds."""
    bounds = _bounds(field)
    if bounds.required:
        return True
    if field.is_repeated:
        return bool(bounds.items) and 0 not in bounds.items
    return not field.has_presence and (bounds.least > 0 or bounds.most < 0)


def _field_check(field: FieldDescriptor, incoming: bool) -> Callable[..., None]:  # noqa: FBT001
    one = _value_check(field, incoming)
    return _repeated_check(field, one) if field.is_repeated else one


def _repeated_check(field: FieldDescriptor, one: Callable[..., None]) -> Callable[..., None]:
    bounds, name = _bounds(field), _name(field)
    lengths = frozenset(bounds.items)
    bounded = _owner(field).file.name in BOUNDED_FILES
    most = bounds.items_most or (limits.FIELD_ITEMS_MAX if bounded else limits.PROTOCOL_ITEMS_MAX)

    of_all = _numbers_check(field, one) if field.type == FieldDescriptor.TYPE_DOUBLE else None

    def check(values: Sequence[float]) -> None:
        count = len(values)
        if lengths and count not in lengths:
            raise Refused(Reason.REASON_OUT_OF_RANGE, f"{name}: must have {sorted(lengths)} items")
        if count > most:
            raise Refused(Reason.REASON_TOO_LARGE, f"{name}: at most {most} items")
        if of_all is not None:
            of_all(values)
            return
        for value in values:
            one(value)

    return check


def _numbers_check(field: FieldDescriptor, one: Callable[[float], None]) -> Callable[[Sequence[float]], None]:
    """Check a whole vector at once: a third of the time of its terms one by one."""
    bounds = _bounds(field)
    least = bounds.least if bounds.HasField("least") else -math.inf
    most = bounds.most if bounds.HasField("most") else math.inf

    def check(values: Sequence[float]) -> None:
        terms = values[:]
        # NaN hides from min and max, but not from the sum. A sum that overflows only costs the slow way.
        if least <= min(terms) and max(terms) <= most and -math.inf < sum(terms) < math.inf:
            return
        for value in terms:
            one(value)

    return check


def _value_check(field: FieldDescriptor, incoming: bool) -> Callable[..., None]:  # noqa: FBT001, PLR0911 - one a type
    match field.type:
        case FieldDescriptor.TYPE_MESSAGE:
            return _message_check(field, incoming)
        case FieldDescriptor.TYPE_ENUM:
            return _enum_check(field)
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return _number_check(field)
        case FieldDescriptor.TYPE_STRING:
            return _text_check(field)
        case FieldDescriptor.TYPE_BYTES:
            return _bytes_check(field, incoming)
        case FieldDescriptor.TYPE_BOOL:
            return _anything
        case _:
            return _number_check(field)


def _anything(_value: object) -> None:
    """Accept: a bool has no bad values."""


def _message_check(field: FieldDescriptor, incoming: bool) -> Callable[..., None]:  # noqa: FBT001
    inner = field.message_type
    if inner is None:
        raise TypeError(f"{field.full_name} holds no message")
    if inner.full_name == "google.protobuf.Timestamp":
        return _timestamp_check(field)
    if inner.full_name == "google.protobuf.Duration":
        return _duration_check(field)
    return _checker(inner, incoming)


def _enum_check(field: FieldDescriptor) -> Callable[[int], None]:
    known, name = frozenset(field.enum_type.values_by_number if field.enum_type else ()), _name(field)

    def check(value: int) -> None:
        if value not in known:
            raise Refused(Reason.REASON_UNKNOWN_ENUM_VALUE, f"{name}: a value that this version does not know")

    return check


def _number_check(field: FieldDescriptor) -> Callable[[float], None]:
    bounds, name = _bounds(field), _name(field)
    least = bounds.least if bounds.HasField("least") else -math.inf
    most = bounds.most if bounds.HasField("most") else math.inf

    def check(value: float) -> None:
        # One comparison passes what is good; NaN fails every comparison and infinity is above any bound.
        if least <= value <= most and -math.inf < value < math.inf:
            return
        if not math.isfinite(value):
            raise Refused(Reason.REASON_NOT_FINITE, f"{name}: must be finite")
        raise Refused(Reason.REASON_OUT_OF_RANGE, f"{name}: {_range(bounds)}")

    return check


def _text_check(field: FieldDescriptor) -> Callable[[str], None]:
    bounds, name = _bounds(field), _name(field)
    bounded = _owner(field).file.name in BOUNDED_FILES
    most = bounds.bytes_most or (limits.FIELD_BYTES_MAX if bounded else limits.PROTOCOL_TEXT_BYTES_MAX)
    matches = re.compile(bounds.pattern, re.ASCII).fullmatch if bounds.pattern else None

    def check(value: str) -> None:
        if len(value) > most or len(value.encode()) > most:
            raise Refused(Reason.REASON_TOO_LARGE, f"{name}: at most {most} bytes")
        if matches is not None and matches(value) is None:
            raise Refused(Reason.REASON_OUT_OF_RANGE, f"{name}: must match {bounds.pattern}")

    return check


def _bytes_check(field: FieldDescriptor, incoming: bool) -> Callable[[bytes], None]:  # noqa: FBT001
    bounds, name = _bounds(field), _name(field)
    is_id = _is_id(field)
    bounded = _owner(field).file.name in BOUNDED_FILES
    most = bounds.bytes_most or (limits.FIELD_BYTES_MAX if bounded else limits.TRANSPORT_BYTES_MAX)

    def check(value: bytes) -> None:
        if len(value) > most:
            raise Refused(Reason.REASON_TOO_LARGE, f"{name}: at most {most} bytes")
        if is_id and not value:
            raise Refused(Reason.REASON_MISSING_FIELD, f"{name}: an id cannot be empty")
        if is_id and incoming and len(value) != limits.ID_BYTES:
            raise Refused(Reason.REASON_OUT_OF_RANGE, f"{name}: an id between nations has {limits.ID_BYTES} bytes")

    return check


def _is_id(field: FieldDescriptor) -> bool:
    is_identity = field.GetOptions().Extensions[options_pb2.coarsening] == Coarsening.COARSENING_IDENTITY
    return is_identity and field.name.endswith(("_id", "_ids"))


def _timestamp_check(field: FieldDescriptor) -> Callable[[Timestamp], None]:
    name = _name(field)

    def check(value: Timestamp) -> None:
        if not (0 <= value.seconds < limits.TIME_MAX_S and 0 <= value.nanos < limits.SECOND_NS):
            raise Refused(Reason.REASON_OUT_OF_RANGE, f"{name}: a time between 1970 and 2200")
        _no_unknown(value, name)

    return check


def _duration_check(field: FieldDescriptor) -> Callable[[Duration], None]:
    bounds, name = _bounds(field), _name(field)
    least_ns = round(bounds.least * limits.SECOND_NS) if bounds.HasField("least") else -limits.DURATION_MAX_NS
    most_ns = round(bounds.most * limits.SECOND_NS) if bounds.HasField("most") else limits.DURATION_MAX_NS

    def check(value: Duration) -> None:
        seconds, nanos = value.seconds, value.nanos
        has_one_sign = not (seconds and nanos) or (seconds > 0) == (nanos > 0)
        if not (has_one_sign and -limits.SECOND_NS < nanos < limits.SECOND_NS):
            raise Refused(Reason.REASON_MALFORMED, f"{name}: not a valid duration")
        if not least_ns <= seconds * limits.SECOND_NS + nanos <= most_ns:
            raise Refused(Reason.REASON_OUT_OF_RANGE, f"{name}: {_range(bounds)} seconds")
        _no_unknown(value, name)

    return check


def _no_unknown(value: Message, name: str) -> None:
    if len(UnknownFieldSet(value)):
        raise Refused(Reason.REASON_UNKNOWN_FIELD, f"{name}: a field that this version does not know")


def _name(field: FieldDescriptor) -> str:
    return f"{_owner(field).name}.{field.name}"


def _owner(field: FieldDescriptor) -> Descriptor:
    owner = field.containing_type
    if owner is None:
        raise TypeError(f"{field.full_name} is no field of a message")
    return owner


def _range(bounds: Bounds) -> str:
    least = f"at least {bounds.least:g}" if bounds.HasField("least") else ""
    most = f"at most {bounds.most:g}" if bounds.HasField("most") else ""
    return " and ".join(part for part in (least, most) if part)
