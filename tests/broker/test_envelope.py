from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.envelope import identity, identity_of, lane_of, length_prefixed
from vedette.v1 import envelope_pb2

parts = st.lists(st.binary(max_size=5), max_size=4)
names = st.tuples(
    st.text("KORJPNUSA", max_size=4), st.text("KORJPNUSA", max_size=4), st.integers(0, 3), st.binary(max_size=16)
)


@given(one=parts, other=parts)
def test_no_two_lists_of_parts_give_the_same_bytes(one: list[bytes], other: list[bytes]) -> None:
    assert (length_prefixed(*one) == length_prefixed(*other)) == (one == other)


@given(one=names, other=names)
def test_two_identities_are_equal_only_if_origin_recipient_mode_and_id_are(
    one: tuple[str, str, int, bytes], other: tuple[str, str, int, bytes]
) -> None:
    assert (identity(*one) == identity(*other)) == (one == other)
    assert len(identity(*one)) == 32


def test_the_identity_of_a_header_is_that_of_its_four_parts_whatever_else_it_says() -> None:
    header = envelope_pb2.RoutingHeader(origin="KOR", recipient="JPN", mode=2, message_id=bytes(16))  # type: ignore[arg-type]
    before = identity_of(header)
    assert before == identity("KOR", "JPN", 2, bytes(16))
    header.sequence, header.epoch, header.schema_version = 7, 8, 9
    assert identity_of(header) == before


@pytest.mark.parametrize("precedence", envelope_pb2.Precedence.values())
def test_flash_and_above_travel_in_the_urgent_lane_and_nothing_else(
    precedence: envelope_pb2.Precedence.ValueType,
) -> None:
    is_urgent = precedence in (envelope_pb2.PRECEDENCE_FLASH, envelope_pb2.PRECEDENCE_FLASH_OVERRIDE)
    assert (lane_of(precedence) == envelope_pb2.LANE_URGENT) == is_urgent
