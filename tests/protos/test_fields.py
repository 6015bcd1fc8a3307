"""What every field that a nation can fill must have: a range, a closed form, a unit in its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor import FieldDescriptor

from vedette.v1 import content_pb2, options_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

BY_THE_HUB_OR_A_GATEWAY = {"fused", "canary", "tick"}
NUMBERS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64}
UNITS = ("_m", "_mps", "_deg", "_s")
# Pure numbers, and values whose unit their message or their neighbour says.
WITHOUT_UNIT = {"rate", "probability", "confidence", "least", "most", "value", "sigma", "covariance"}


def fields(descriptor: Descriptor | None, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Yield every field below a message, each message once; Timestamp and Duration are single values."""
    if descriptor is None or descriptor.file.package != "vedette.v1" or descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        yield from fields(field.message_type, seen)


@pytest.fixture(scope="module")
def said() -> list[FieldDescriptor]:
    """Return every field that a nation's own systems may fill."""
    seen: set[str] = set()
    return [
        field
        for part in content_pb2.Content.DESCRIPTOR.fields
        if part.name not in BY_THE_HUB_OR_A_GATEWAY
        for field in fields(part.message_type, seen)
    ]


def bounds_of(field: FieldDescriptor) -> options_pb2.Bounds:
    return field.GetOptions().Extensions[options_pb2.bounds]


def has_range(bounds: options_pb2.Bounds) -> bool:
    return bounds.HasField("least") and bounds.HasField("most") and bounds.least < bounds.most


def test_every_number_that_a_nation_says_has_a_range(said: list[FieldDescriptor]) -> None:
    numbers = [field for field in said if field.type in NUMBERS]
    assert [field.full_name for field in numbers if not has_range(bounds_of(field))] == []


def test_every_text_that_a_nation_says_is_of_a_closed_form(said: list[FieldDescriptor]) -> None:
    texts = [field for field in said if field.type == FieldDescriptor.TYPE_STRING]
    assert [field.full_name for field in texts if not bounds_of(field).pattern] == []


def test_every_number_names_its_unit(said: list[FieldDescriptor]) -> None:
    numbers = [field for field in said if field.type in NUMBERS and field.name not in WITHOUT_UNIT]
    assert [field.full_name for field in numbers if not field.name.endswith(UNITS)] == []


def test_the_walk_reaches_the_depths(said: list[FieldDescriptor]) -> None:
    """The control: an empty walk would pass everything above."""
    reached = {field.full_name for field in said}
    assert {"vedette.v1.GeoPoint.lat_deg", "vedette.v1.Source.name", "vedette.v1.Exercise.rate"} <= reached
