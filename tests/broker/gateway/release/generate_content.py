"""Random valid contents, made from the descriptors and their bounds by functions compiled once per message type."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from broker.leaves import BODIES_UNDER_POLICY
from vedette.v1 import content_pb2, options_pb2

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor

    Value = Callable[[random.Random], Any]

__all__ = ["NATION", "TEXTS", "bounds_of", "is_choice", "is_needed", "mend", "random_content", "value_of"]

NATION: Final = "KOR"
# For each pattern in the .proto files, texts that match it.
TEXTS: Final = {
    "[A-Za-z0-9._-]{1,48}": ("ex-1", "K.2", "USA"),
    "[A-Za-z0-9 ._/-]*": ("aegis-3/console 1", "hub", "", "JPN"),
    "[A-Za-z0-9._-]*": ("7", "v1.2", "", "track"),
    "[A-Za-z0-9 ._-]*": ("Aegis 3", "green-pine.1", "", "USA"),
    "[A-Za-z0-9 ./-]*": ("HYDROPAC 1/26", "N-12", ""),
    "[A-Z]{3,8}": ("KOR", "USA"),
    "[A-Z]{3}": ("JPN", "USA", "KOR"),
    "[A-Z]{2}-[A-Z0-9]{1,3}": ("JP-01", "KR-11", "JP-47"),
    "[a-z0-9_.]*": ("source.name", "state"),
    "": ("text", ""),
}
MODES: Final = tuple(number for number in content_pb2.Mode.values() if number)


def bounds_of(field: FieldDescriptor) -> options_pb2.Bounds:
    """Return what the .proto files say of a field's values."""
    return field.GetOptions().Extensions[options_pb2.bounds]


def random_content(rng: random.Random, body: str | None = None) -> content_pb2.Content:
    """Return a valid content with a body of that name, or of any that a policy places."""
    density = rng.choice((0.3, 0.7, 1.0))
    made = content_pb2.Content()
    header = made.header
    _filler(header.DESCRIPTOR)(rng, header, density)
    header.origin = NATION
    header.mode = rng.choice(MODES)
    if header.mode != content_pb2.MODE_EXERCISE:
        header.ClearField("exercise")
    elif not header.HasField("exercise"):
        _filler(header.exercise.DESCRIPTOR)(rng, header.exercise, density)
    inner = getattr(made, body or rng.choice(BODIES_UNDER_POLICY))
    inner.SetInParent()
    _filler(inner.DESCRIPTOR)(rng, inner, density)
    return made


@cache
def _filler(descriptor: Descriptor) -> Callable[[random.Random, Any, float], None]:
    """Compile how a message of one type is filled: what is needed always, all else as often as the density says."""
    steps = [(is_needed(field), _set(field)) for field in descriptor.fields if not is_choice(field)]
    choices = [[_set(field) for field in each.fields] for each in descriptor.oneofs if is_choice(each.fields[0])]
    settle = _SETTLED.get(descriptor.name)

    def fill(rng: random.Random, message: Any, density: float) -> None:
        for needed, step in steps:
            if needed or rng.random() < density:
                step(rng, message, density)
        for each in choices:
            if rng.random() < density:
                rng.choice(each)(rng, message, density)
        if settle is not None:
            settle(message)

    return fill


def is_choice(field: FieldDescriptor) -> bool:
    """Say whether a field is one of several that exclude each other."""
    return field.containing_oneof is not None and len(field.containing_oneof.fields) > 1


def is_needed(field: FieldDescriptor) -> bool:
    """Say whether a message without the field is refused."""
    bounds = bounds_of(field)
    fixed = bool(bounds.items) and 0 not in bounds.items
    return bounds.required or fixed or (not field.has_presence and not field.is_repeated and bounds.least > 0)


def _set(field: FieldDescriptor) -> Callable[[random.Random, Any, float], None]:
    name, inner, bounds = field.name, field.message_type, bounds_of(field)
    lengths = tuple(bounds.items) or (0, 1, 2, 3)
    if inner is not None:
        fill = _SINGLE.get(inner.full_name) or _filler(inner)

        def messages(rng: random.Random, message: Any, density: float) -> None:
            for _ in range(rng.choice(lengths)):
                fill(rng, getattr(message, name).add(), density)

        def message(rng: random.Random, message: Any, density: float) -> None:
            target = getattr(message, name)
            target.SetInParent()
            fill(rng, target, density)

        return messages if field.is_repeated else message
    value = value_of(field)

    def values(rng: random.Random, message: Any, _density: float) -> None:
        getattr(message, name).extend([value(rng) for _ in range(rng.choice(lengths))])

    def single(rng: random.Random, message: Any, _density: float) -> None:
        setattr(message, name, value(rng))

    return values if field.is_repeated else single


def _timestamp(rng: random.Random, message: Any, _density: float) -> None:
    message.seconds, message.nanos = 1_780_000_000 + rng.randint(0, 900), rng.randrange(10**9)


def _duration(rng: random.Random, message: Any, _density: float) -> None:
    message.seconds = rng.randint(0, 60)


_SINGLE: Final = {"google.protobuf.Timestamp": _timestamp, "google.protobuf.Duration": _duration}


def value_of(field: FieldDescriptor) -> Value:
    """Return how a value of a field is made: at its bounds often."""
    bounds = bounds_of(field)
    least = bounds.least if bounds.HasField("least") else 0
    most = bounds.most if bounds.HasField("most") else 1000
    match field.type:
        case FieldDescriptor.TYPE_ENUM if field.enum_type is not None:
            numbers = [number for number in field.enum_type.values_by_number if number]
            return lambda rng: rng.choice(numbers)
        case FieldDescriptor.TYPE_BOOL:
            return lambda rng: rng.random() < 0.5
        case FieldDescriptor.TYPE_STRING:
            texts = TEXTS[bounds.pattern]
            return lambda rng: rng.choice(texts)
        case FieldDescriptor.TYPE_BYTES:
            return lambda rng: rng.randbytes(16)
        case FieldDescriptor.TYPE_DOUBLE:
            edges = [each for each in (least, most, 0.0, -0.0, 0.5, 1.0) if least <= each <= most]
            return lambda rng: rng.choice(edges) if rng.random() < 0.4 else rng.uniform(least, most)
        case _:
            edges = [int(least), int(most)]
            return lambda rng: rng.choice(edges) if rng.random() < 0.3 else rng.randint(int(least), int(most))


def _settle_window(window: Any) -> None:
    names = [name for name in ("earliest", "best", "latest") if window.HasField(name)]
    stamps = sorted((getattr(window, name).seconds, getattr(window, name).nanos) for name in names)
    for name, (seconds, nanos) in zip(names, stamps, strict=True):
        getattr(window, name).seconds, getattr(window, name).nanos = seconds, nanos


def _settle_count(count: Any) -> None:
    count.least, count.most = sorted((max(1, count.least), max(1, count.most)))


def _settle_state(state: Any) -> None:
    if len(state.covariance) == 21 and len(state.velocity_mps) != 3:
        del state.covariance[:]
    state.covariance[:] = [abs(term) ** 0.5 for term in state.covariance]  # up to 3e7 m², about 5 km


_SETTLED: Final = {"TimeWindow": _settle_window, "Count": _settle_count, "State": _settle_state}


def mend(content: content_pb2.Content) -> None:
    """Mend what a change of one field can break between several."""
    if content.HasField("launch") and content.launch.HasField("count"):
        _settle_count(content.launch.count)
    state = content.track.state if content.HasField("track") else None
    if state is not None and len(state.covariance) == 21 and len(state.velocity_mps) != 3:
        del state.covariance[:]
