"""T12: many coarse positions are averaged to the exact one."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.demo.world import shipped_policy
from broker.gateway.release import Policy, Subject, decide, redact
from tests.path import reports
from tests.threats.parties import TEST
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.threats.parties import Origin

POLICY = Policy.parse(shipped_policy("KOR"))
BASE_NS = time.time_ns() // (10 * 10**9) * (10 * 10**9)
CELL_M = 10_000.0
INTERVAL_S = 10


def seen(at_ns: int, position_m: Sequence[float] | None = None) -> content_pb2.Content:
    """A track of the airborne radar, which Japan is shown in cells of 10 km."""
    content = reports.track(at_ns.to_bytes(16, "big"), b"e" * 15, base=None, at_ns=at_ns)
    content.header.origin, content.header.mode = "KOR", TEST
    content.track.source.kind = measures_pb2.SENSOR_KIND_AIRBORNE_RADAR
    if position_m is not None:
        content.track.state.position_m[:] = position_m
    return content


def shown_to_japan(content: content_pb2.Content) -> content_pb2.Content:
    decision = decide(POLICY, Subject(content, reports.label(), envelope_pb2.PRECEDENCE_IMMEDIATE), "JPN")
    assert decision.released
    return redact(content, decision, released_ns=BASE_NS)


CENTRE_M = list(shown_to_japan(seen(BASE_NS)).track.state.position_m)
INSIDE_M = st.floats(-0.4999 * CELL_M, 0.4999 * CELL_M)


@given(offset_m=st.tuples(INSIDE_M, INSIDE_M, INSIDE_M), milliseconds=st.integers(0, 9_999))
def test_wherever_in_the_cell_it_is_the_same_bytes_are_shown(
    offset_m: tuple[float, float, float], milliseconds: int
) -> None:
    exact_m = [centre + offset for centre, offset in zip(CENTRE_M, offset_m, strict=True)]
    shown = shown_to_japan(seen(BASE_NS + milliseconds * 1_000_000, exact_m))
    plain = shown_to_japan(seen(BASE_NS))
    shown.header.message_id = plain.header.message_id
    assert shown.SerializeToString(deterministic=True) == plain.SerializeToString(deterministic=True)


@settings(max_examples=15)
@given(st.lists(st.tuples(INSIDE_M, INSIDE_M, INSIDE_M), min_size=50, max_size=100), st.tuples(*[INSIDE_M] * 3))
def test_the_mean_of_any_number_of_them_is_the_middle_of_the_cell(
    noise_m: list[tuple[float, float, float]], truth_m: tuple[float, float, float]
) -> None:
    """What the sensor's own noise does to the exact value does not come through the cell."""
    shown = []
    for number, noise in enumerate(noise_m):
        exact_m = [centre + (truth + error) / 2 for centre, truth, error in zip(CENTRE_M, truth_m, noise, strict=True)]
        shown.append(shown_to_japan(seen(BASE_NS + number, exact_m)).track.state.position_m)
    for axis in range(3):
        assert statistics.fmean(position[axis] for position in shown) == CENTRE_M[axis]


def test_the_cell_that_is_shown_is_claimed_in_full() -> None:
    state = shown_to_japan(seen(BASE_NS)).track.state
    assert state.cell.space_m == CELL_M
    assert all(state.covariance[diagonal] >= CELL_M**2 for diagonal in (0, 6, 11))


async def test_one_object_is_shown_no_more_often_than_the_interval(origin: Origin) -> None:
    origin.clock.now_ns = BASE_NS + 3600 * 10**9
    for _second in range(60):
        content = seen(origin.clock.now_ns)
        content.header.ClearField("mode")
        await origin.report(content)
        await origin.wait_until(origin.clock.now_ns + 10**9)
    await origin.wait_until(origin.clock.now_ns + 3600 * 10**9)
    instants_ns = [valid_ns(envelope) for envelope in await origin.sealed_to("JPN")]
    assert 5 <= len(instants_ns) <= 7
    gaps_s = [(later - earlier) / 10**9 for earlier, later in itertools.pairwise(instants_ns)]
    assert min(gaps_s) >= INTERVAL_S
    assert len(await origin.sealed_to("USA")) == 60, "whoever may see it all does"


def valid_ns(envelope: bytes) -> int:
    content = content_pb2.Content.FromString(envelope_pb2.Envelope.FromString(envelope).body)
    return content.track.state.valid_at.ToNanoseconds()
