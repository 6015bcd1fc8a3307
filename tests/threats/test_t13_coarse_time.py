"""T13: a coarse or withheld time is told by the moment of its sending."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from broker.demo.world import shipped_policy
from broker.gateway.release import Policy
from tests.path import reports
from tests.threats.parties import headers
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from tests.threats.parties import Origin

SECOND_NS = 10**9
CELL_NS = 10 * SECOND_NS  # what KOR-L1 shows Japan of the airborne radar's times
DELAY_NS = 5 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS
START_NS = (time.time_ns() // CELL_NS + 1) * CELL_NS  # a cell begins


def seen(local: bytes, at_ns: int) -> content_pb2.Content:
    content = reports.track(local, local, base=None, at_ns=at_ns)
    content.track.source.kind = measures_pb2.SENSOR_KIND_AIRBORNE_RADAR
    return content


def content_of(envelope: bytes) -> content_pb2.Content:
    return content_pb2.Content.FromString(envelope_pb2.Envelope.FromString(envelope).body)


async def test_it_leaves_at_the_end_of_its_cell_and_the_delay_and_not_before(origin: Origin) -> None:
    origin.clock.now_ns = START_NS + 3 * SECOND_NS
    await origin.report(seen(b"m-1", origin.clock.now_ns))
    due_ns = START_NS + CELL_NS + DELAY_NS
    await origin.wait_until(due_ns - 1)
    assert await origin.sealed_to("JPN") == []
    assert len(await origin.sealed_to("USA")) == 1, "who sees the exact time has it at once"
    await origin.wait_until(due_ns)
    (envelope,) = await origin.sealed_to("JPN")
    assert headers(envelope).released_at.ToNanoseconds() == due_ns
    assert content_of(envelope).track.state.valid_at.ToNanoseconds() == START_NS


@pytest.mark.parametrize("late_ns", [0, 1, 123_456_789, 4 * SECOND_NS])
async def test_every_time_that_it_bears_is_a_function_of_the_cell(origin: Origin, late_ns: int) -> None:
    """Observed anywhere in the cell, reported sooner or later, sent by a slow gateway: all the same."""
    origin.clock.now_ns = START_NS
    for number, inside_ns in enumerate((0, 1, 2_500_000_000, CELL_NS - 1 - late_ns)):
        at_ns = START_NS + inside_ns
        origin.clock.now_ns = max(origin.clock.now_ns, at_ns + late_ns)
        await origin.report(seen(b"m-%d" % number, at_ns))
    await origin.wait_until(START_NS + CELL_NS + DELAY_NS + 777_777_777)  # nobody was awake before
    envelopes = await origin.sealed_to("JPN")
    assert len(envelopes) == 4
    due_ns = START_NS + CELL_NS + DELAY_NS
    times = {tuple(instants(envelope)) for envelope in envelopes}
    (only,) = times
    assert set(only) <= {START_NS, due_ns, due_ns + 30 * SECOND_NS}, "cell, release, and when it is stale"


def instants(envelope: bytes) -> list[int]:
    """Every instant in an envelope: the routing header's, and all in the content."""
    header, content = headers(envelope), content_of(envelope)
    found = [header.released_at, header.stale_after, content.header.observed_at, content.track.state.valid_at]
    stamps = content.header.stamps
    found += [getattr(stamps, name) for name in ("received_at", "decided_at", "sealed_at") if stamps.HasField(name)]
    return [stamp.ToNanoseconds() for stamp in found]


async def test_what_is_reported_late_leaves_at_the_end_of_the_cell_in_which_it_is_decided(origin: Origin) -> None:
    origin.clock.now_ns = START_NS + 60 * SECOND_NS + 1_234_567_891
    await origin.report(seen(b"m-1", START_NS + 3 * SECOND_NS))
    await origin.wait_until(START_NS + 3600 * SECOND_NS)
    (envelope,) = await origin.sealed_to("JPN")
    released_ns = headers(envelope).released_at.ToNanoseconds()
    assert released_ns % CELL_NS == 0
    assert released_ns == START_NS + 70 * SECOND_NS


@pytest.mark.parametrize("inside_ns", [0, 1, 29_876_543_210, MINUTE_NS - 1])
async def test_a_withheld_time_is_told_to_the_minute_at_most(origin: Origin, inside_ns: int) -> None:
    """As soon as the policy no longer gives when it was observed, it may not be read from when it was sent."""
    origin.policy.current = Policy.parse(shipped_policy("KOR").replace("    when_observed: exact\n", ""))
    minute_ns = (START_NS // MINUTE_NS + 1) * MINUTE_NS
    origin.clock.now_ns = minute_ns + inside_ns
    content = reports.track(b"m-1", b"m-1", base=None, at_ns=minute_ns - 45 * SECOND_NS)
    content.header.observed_at.FromNanoseconds(origin.clock.now_ns)
    await origin.report(content)
    await origin.wait_until(minute_ns + MINUTE_NS - 1)
    assert await origin.sealed_to("USA") == []
    await origin.wait_until(minute_ns + MINUTE_NS + SECOND_NS)
    (envelope,) = await origin.sealed_to("USA")
    due_ns = minute_ns + MINUTE_NS
    assert set(instants(envelope)) <= {0, minute_ns - 45 * SECOND_NS, due_ns, due_ns + 30 * SECOND_NS}
