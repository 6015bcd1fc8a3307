"""T11: what was withheld shows in ids, sequence numbers, counts, positions, order or the picture.

Two histories of one origin differ only in what Japan was not released. Everything that Japan gets is the same, to the
last bit of the last signature.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.fusion.view import View
from tests.path import reports
from tests.threats.parties import TEST, headers, origin_side, speaker
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.demo.world import World
    from tests.threats.parties import HonestHub, Origin

BASE_NS = time.time_ns()
KOREAN_EYES = reports.label(caveats=("KOR-ONLY",))

Step = tuple[content_pb2.Content, envelope_pb2.SecurityLabel]


def step(content: content_pb2.Content, label: envelope_pb2.SecurityLabel | None = None) -> Step:
    return content, label or reports.label()


def launch(local: bytes, event: bytes = b"e-1", *, azimuth_deg: float = 80.0) -> content_pb2.Content:
    content = reports.launch(local, event, base=None, at_ns=BASE_NS)
    content.launch.azimuth_deg = azimuth_deg
    return content


def track(local: bytes, event: bytes = b"e-1", seconds: int = 0) -> content_pb2.Content:
    return reports.track(local, event, base=None, at_ns=BASE_NS + seconds * 1_000_000_000)


def correcting(content: content_pb2.Content, target: bytes) -> content_pb2.Content:
    content.header.references.add(message_id=target, relation=content_pb2.RELATION_CORRECTS)
    return content


async def sealed(world: World, history: Sequence[Step], *, recipient: str = "JPN") -> list[bytes]:
    async with origin_side(world, "KOR", now_ns=BASE_NS) as origin:
        for content, label in history:
            await origin.report(content, label=label)
        await origin.wait_until(BASE_NS + 3600 * 1_000_000_000)
        return await origin.sealed_to(recipient)


def extra(world_of: int) -> list[Step]:
    """Things that Korea keeps from Japan."""
    secret = launch(b"s-%d" % world_of, b"secret-%d" % world_of)
    same_event = track(b"t-%d" % world_of, b"e-1", seconds=world_of)
    usa_only = reports.label(to=("KOR", "USA"))
    return [step(secret, KOREAN_EYES), step(same_event, KOREAN_EYES), step(launch(b"u-%d" % world_of), usa_only)]


PUBLIC = [
    step(launch(b"m-1")),
    step(track(b"m-2", seconds=1)),
    step(correcting(launch(b"m-3", azimuth_deg=85.0), b"m-1")),
    step(reports.status(b"m-4", b"e-1", content_pb2.EVENT_STATE_PASSED, base=None)),
]


@pytest.fixture
def public(world: World) -> list[bytes]:
    """What Japan gets where nothing is kept from it."""
    return asyncio.run(sealed(world, PUBLIC))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, len(PUBLIC)), st.integers(0, 2)), max_size=6))
def test_messages_that_it_is_not_sent_change_no_byte_of_those_that_it_is(
    world: World, public: list[bytes], places: list[tuple[int, int]]
) -> None:
    history = list(PUBLIC)
    for number, (place, kind) in enumerate(places):
        history.insert(place, extra(number)[kind])

    among_others = asyncio.run(sealed(world, history))
    assert len(public) == len(PUBLIC)
    assert among_others == public


def other_sensor(content: content_pb2.Content) -> None:
    content.track.source.name = "green-pine-2"
    content.track.source.kind = measures_pb2.SENSOR_KIND_GROUND_RADAR
    content.track.source.site.lat_deg, content.track.source.site.lon_deg = 37.5, 127.0


def inside_the_cell(content: content_pb2.Content) -> None:
    content.track.state.position_m[0] += 1.0


def more_sure(content: content_pb2.Content) -> None:
    content.track.state.covariance[0] += 100.0


def hands_at_home(content: content_pb2.Content) -> None:
    content.header.provenance.add(actor="console 4", action=content_pb2.PROVENANCE_ACTION_OBSERVED)


@pytest.mark.parametrize("change", [other_sensor, inside_the_cell, more_sure, hands_at_home])
async def test_a_withheld_value_changes_no_byte(world: World, change: Callable[[content_pb2.Content], None]) -> None:
    before, after = track(b"m-1"), track(b"m-1")
    change(after)
    assert before != after
    first, second = await sealed(world, [step(before)]), await sealed(world, [step(after)])
    assert len(first) == 1
    assert first == second


async def test_a_correction_of_what_it_never_saw_looks_like_any_new_message(world: World) -> None:
    secret, corrected = step(launch(b"m-1"), KOREAN_EYES), step(correcting(launch(b"m-2"), b"m-1"))
    with_a_past = await sealed(world, [secret, corrected])
    without = await sealed(world, [step(launch(b"m-2"))])
    assert len(without) == 1
    assert with_a_past == without


async def test_a_cancellation_of_what_it_never_saw_is_silence(world: World) -> None:
    secret = step(launch(b"m-1"), KOREAN_EYES)
    assert await sealed(world, [secret, step(reports.cancel(b"m-2", b"m-1", base=None))]) == []


async def test_no_id_is_the_same_for_two_recipients_or_the_systems_own(world: World) -> None:
    async with origin_side(world, "KOR", now_ns=BASE_NS) as origin:
        for content, label in PUBLIC:
            await origin.report(content, label=label)
        ids = {recipient: ids_in(await origin.sealed_to(recipient)) for recipient in ("JPN", "USA", "KOR")}
    assert all(ids.values())
    assert not ids["JPN"] & ids["USA"]
    assert not ids["JPN"] & ids["KOR"]
    assert not ids["USA"] & ids["KOR"]
    assert all(len(one) == 16 for found in ids.values() for one in found)


def ids_in(envelopes: Sequence[bytes]) -> set[bytes]:
    found = set()
    for data in envelopes:
        content = content_pb2.Content.FromString(envelope_pb2.Envelope.FromString(data).body)
        body = getattr(content, content.WhichOneof("body") or "launch")
        found |= {content.header.message_id, body.event_id}
    return found - {b""}


async def test_the_numbers_that_it_gets_have_no_gap(origin: Origin) -> None:
    for number in range(4):
        for content, label in (*extra(number), step(launch(b"p-%d" % number, b"p-%d" % number))):
            await origin.report(content, label=label)
    numbers = [headers(envelope).sequence for envelope in await origin.sealed_to("JPN")]
    assert numbers == [1, 2, 3, 4]


async def test_positions_in_its_log_count_what_it_gets_and_nothing_else(hub: HonestHub) -> None:
    kor = speaker(hub.world, "KOR")
    async with hub.line("KOR") as line, hub.line("JPN") as jpn, jpn.following() as log, line.submitting() as up:
        await up.submit(kor.envelope("JPN"))
        await up.submit(*(kor.envelope(recipient) for recipient in ("USA", "KOR") * 20))
        await up.submit(kor.envelope("JPN"))
        found: list[exchange_pb2.Delivery] = []
        while sum(1 for delivery in found if delivery.envelope) < 2:
            found += [exchange_pb2.Delivery.FromString(data) for data in (await log.read()).deliveries]
    positions = sorted(int.from_bytes(delivery.position, "big") for delivery in found)
    assert positions == list(range(1, len(found) + 1)), "no room for anything else between them"
    cursors = {part for delivery in found for part in (delivery.resume[:8], delivery.resume[8:16])}
    assert cursors <= {delivery.position for delivery in found} | {bytes(8)}


def test_a_picture_does_not_change_by_what_stands_in_the_pictures_of_others() -> None:
    """The USA is told of another event meanwhile, in the same process."""
    told = [track_of(number) for number in range(8)]

    def picture(*, with_others: bool) -> list[bytes]:
        japan, usa = View("JPN", TEST), View("USA", TEST)
        found = []
        for number, content in enumerate(told, start=1):
            if with_others:
                usa.fold(position=number.to_bytes(8, "big"), content=track_of(number + 100))
            found += japan.fold(position=number.to_bytes(8, "big"), content=content)
            found += japan.tick(position=(number + 50).to_bytes(8, "big"), time_ns=BASE_NS + number * 10**9)
        return [event.SerializeToString(deterministic=True) for event in found]

    assert picture(with_others=False)
    assert picture(with_others=False) == picture(with_others=True)


def track_of(number: int) -> content_pb2.Content:
    content = track(number.to_bytes(16, "big"), b"e" * 16, seconds=number)
    content.track.object_id = b"o" * 16
    content.header.origin, content.header.mode = "KOR", TEST
    return content
