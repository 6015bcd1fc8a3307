"""A lost outbox, and a hub that remembers: what is believed of it, and what is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from broker import limits
from broker.clock import ManualClock
from broker.gateway import recover
from broker.gateway.ledger import OUTBOX
from broker.gateway.recover import Recovered, Recovery
from broker.gateway.seal import Outgoing, seal_all
from broker.gateway.streams import Line, Number, Streams
from broker.store.memory import open_memory
from certs.keyring import Keyring
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.audit import AuditTrail
    from broker.store import Store
    from certs.issue import Authority
    from vedette.v1.exchange_pb2_grpc import ExchangeAsyncStub

NOW_NS = 1_780_000_000 * limits.SECOND_NS
NOW_MS = NOW_NS // limits.MILLISECOND_NS
TEST = content_pb2.MODE_TEST
LINE = Line("JPN", TEST, envelope_pb2.LANE_NORMAL)


class Hub:
    """What a hub answers to ReadBack, and what it was asked."""

    def __init__(self, envelopes: Sequence[bytes]) -> None:
        self.envelopes = envelopes
        self.asked: list[exchange_pb2.ReadBackRequest] = []

    async def ReadBack(  # noqa: N802 - gRPC's name
        self, request: exchange_pb2.ReadBackRequest
    ) -> AsyncIterator[exchange_pb2.ReadBackResponse]:
        self.asked.append(request)
        yield exchange_pb2.ReadBackResponse(envelopes=self.envelopes)

    @property
    def stub(self) -> ExchangeAsyncStub:
        return cast("ExchangeAsyncStub", self)


def head(sequence: int, *, epoch: int = NOW_MS - 1000, line: Line = LINE) -> exchange_pb2.StreamHead:
    return exchange_pb2.StreamHead(
        recipient=line.recipient,
        mode=cast("Any", line.mode),
        lane=cast("Any", line.lane),
        epoch=epoch,
        sequence=sequence,
    )


def sealed_before(world: Authority, count: int, *, by: str = "KOR") -> list[bytes]:
    """Return what an earlier outbox, which was lost, had sealed."""
    outgoings = []
    for number in range(count):
        content = content_pb2.Content()
        content.header.message_id = number.to_bytes(16, "big")
        content.header.origin, content.header.mode = by, TEST
        content.launch.event_id = b"e" * 16
        label = envelope_pb2.SecurityLabel(policy=by, releasable_to=["JPN"])
        outgoings.append(Outgoing("JPN", content, envelope_pb2.PRECEDENCE_IMMEDIATE, label, NOW_NS))
    signer_of = Keyring.load(world.home(by)).signer
    found = seal_all(
        outgoings, streams=Streams({}, now_ms=NOW_MS - 1000), signer_of=signer_of, schema_version_of=lambda _: 1
    )
    return [item.envelope for item in found]


@pytest.fixture
async def store() -> Store:
    return await open_memory()


def learn_of(streams: Streams) -> Callable[[Recovered], None]:
    """Do at once what the pipeline does with its next batch."""

    def learn(recovered: Recovered) -> None:
        for line, number in recovered.heads:
            streams.learn(line, number)
        streams.keep()

    return learn


def recovery_of(store: Store, world: Authority, audit: AuditTrail, streams: Streams | None = None) -> Recovery:
    members = world.members(now_ns=NOW_NS)
    streams = streams or Streams({}, now_ms=NOW_MS)
    return Recovery("KOR", store, streams, ManualClock(NOW_NS), audit, lambda: members, learn_of(streams))


async def outbox(store: Store) -> list[bytes]:
    return [record.data for record in await store.read(OUTBOX, after=0, limit=1000)]


async def test_what_an_earlier_outbox_sealed_is_read_back_and_a_new_epoch_begins(
    store: Store, world: Authority, audit: AuditTrail
) -> None:
    hub = Hub(sealed_before(world, 3))
    recovery = recovery_of(store, world, audit)
    await recovery.compare([head(3)], hub.stub)
    assert await outbox(store) == hub.envelopes
    assert list(hub.asked[0].after) == [], "we hold nothing: all of it"
    assert recovery.streams.take(LINE) == Number(NOW_MS, 1)
    assert await recovery.settle() == b"", "the hub was there: the ids are those of before"


async def test_reading_back_again_changes_nothing(store: Store, world: Authority, audit: AuditTrail) -> None:
    hub = Hub(sealed_before(world, 3))
    recovery = recovery_of(store, world, audit)
    await recovery.compare([head(3)], hub.stub)
    await recovery.compare([head(3)], hub.stub)
    assert len(await outbox(store)) == 3
    assert len(hub.asked) == 1, "what was read back is held"


async def test_a_hub_that_holds_what_we_hold_is_not_asked(store: Store, world: Authority, audit: AuditTrail) -> None:
    streams = Streams({}, now_ms=NOW_MS)
    for _ in range(3):
        streams.take(LINE)
    streams.keep()
    hub = Hub([])
    recovery = recovery_of(store, world, audit, streams)
    await recovery.compare([head(2, epoch=NOW_MS)], hub.stub)
    assert (hub.asked, streams.take(LINE)) == ([], Number(NOW_MS, 4))


async def test_an_outbox_from_a_backup_asks_for_what_came_after_it_whatever_it_sealed_since(
    store: Store, world: Authority, audit: AuditTrail
) -> None:
    before = Streams({}, now_ms=NOW_MS - 1000)
    before.take(LINE)
    streams = Streams(before.pending_state(), now_ms=NOW_MS)
    first = streams.take(LINE)
    streams.keep()
    hub = Hub(sealed_before(world, 3))
    await recovery_of(store, world, audit, streams).compare([head(3), head(9, epoch=NOW_MS - 5)], hub.stub)
    assert [(after.epoch, after.sequence) for after in hub.asked[0].after] == [(NOW_MS - 1000, 1), (NOW_MS - 5, 0)]
    assert (first, streams.take(LINE)) == (Number(NOW_MS, 1), Number(NOW_MS, 2)), "an epoch that nobody else has"


async def test_reading_back_tells_who_was_told_of_which_event(
    store: Store, world: Authority, audit: AuditTrail
) -> None:
    found: list[Recovered] = []
    recovery = recovery_of(store, world, audit)
    recovery.learn = found.append
    await recovery.compare([head(3)], Hub(sealed_before(world, 3)).stub)
    (recovered,) = found
    assert recovered.heads == [(LINE, Number(NOW_MS - 1000, 3))]
    assert [(key, label.policy) for key, label in recovered.events.items()] == [(("JPN", b"e" * 16), "KOR")]


async def test_a_hub_cannot_make_us_believe_what_we_never_sealed(
    store: Store, world: Authority, audit: AuditTrail
) -> None:
    ours = sealed_before(world, 3)
    changed = envelope_pb2.Envelope.FromString(ours[0])
    changed.body = changed.body[:-1] + bytes([changed.body[-1] ^ 1])
    cut = ours[1][:-1]
    anothers = sealed_before(world, 1, by="USA")
    hub = Hub([changed.SerializeToString(), cut, b"\xff", *anothers, ours[2]])
    await recovery_of(store, world, audit).compare([head(3)], hub.stub)
    assert await outbox(store) == [ours[2]]


async def test_without_a_hub_a_new_outbox_waits_a_moment_and_then_salts_its_ids_for_ever(
    store: Store, world: Authority, audit: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "HUB_WAIT_S", 0.05)
    salt = await recovery_of(store, world, audit).settle()
    assert len(salt) == 8
    again = recovery_of(store, world, audit)
    again.compared.set()
    assert await again.settle() == salt, "also when the hub is there later"


async def test_a_hub_that_answers_in_time_spares_the_salt(store: Store, world: Authority, audit: AuditTrail) -> None:
    recovery = recovery_of(store, world, audit)
    settling = asyncio.create_task(recovery.settle())
    await asyncio.sleep(0)
    await recovery.compare([], Hub([]).stub)
    assert await settling == b""
    assert await recovery_of(store, world, audit).settle() == b"", "and the outbox is not new any more"
