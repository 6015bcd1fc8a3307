"""ReadBack: a gateway that lost its outbox gets its own sealed envelopes back, exactly as the hub holds them.

The logs themselves are read, one recipient's after another, and nothing else is kept for it: this happens after a disk
was lost and at no other time, so it may take seconds, and a second record of the same truth could disagree with the
first. After each batch the store is left to everybody else for a moment. What is damaged is passed over, loudly.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from broker import limits
from broker.hub.route import LOG_PREFIX
from broker.store import Compacted, Corrupt
from broker.windows import StreamKey, stream_of
from vedette.v1.envelope_pb2 import Envelope, RoutingHeader
from vedette.v1.exchange_pb2 import Delivery, ReadBackResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from broker.store import Record, Store
    from vedette.v1.exchange_pb2 import StreamHead

log = logging.getLogger(__name__)


async def read_back(store: Store, origin: str, after: Sequence[StreamHead]) -> AsyncIterator[ReadBackResponse]:
    """Yield an origin's envelopes past the heads that it still has: all of a stream that it names no head of.

    Of a stream that it names, epochs older than all named are taken as held. Raises StoreError.
    """
    held = _Held(origin, after)
    for stream in await store.streams(LOG_PREFIX):
        async for records in _batches(store, stream):
            for response in _frames(sealed for sealed in map(_sealed_in, records) if sealed and held.lacks(sealed)):
                yield response


class _Held:
    """What a gateway says that it still has."""

    def __init__(self, origin: str, heads: Iterable[StreamHead]) -> None:
        self._origin = origin
        self._heads: dict[StreamKey, dict[int, int]] = {}
        for head in heads:
            key = StreamKey(origin, head.recipient, head.mode, head.lane)
            self._heads.setdefault(key, {})[head.epoch] = head.sequence

    def lacks(self, sealed: bytes) -> bool:
        """Whether an envelope is the origin's own and past its heads."""
        header = RoutingHeader.FromString(Envelope.FromString(sealed).header)
        if header.origin != self._origin:
            return False
        epochs = self._heads.get(stream_of(header))
        if epochs is None:
            return True
        return header.sequence > epochs.get(header.epoch, 0) and header.epoch >= min(epochs)


async def _batches(store: Store, stream: str) -> AsyncIterator[list[Record]]:
    after, last = 0, (await store.bounds(stream)).last
    while after < last:
        try:
            records = await store.read(stream, after=after, limit=limits.READ_BATCH)
        except Compacted as gone:
            after = gone.first - 1
        except Corrupt as damaged:
            log.critical("record %d of %s is damaged and was not read back", damaged.position, stream)
            after = damaged.position
        else:
            if not records:
                return
            after = records[-1].position
            yield records
            await asyncio.sleep(limits.READ_BACK_PAUSE_S)


def _sealed_in(record: Record) -> bytes:
    return Delivery.FromString(record.data).envelope


def _frames(envelopes: Iterable[bytes]) -> Iterator[ReadBackResponse]:
    response, size = ReadBackResponse(), 0
    for sealed in envelopes:
        if response.envelopes and (
            size + len(sealed) > limits.FRAME_BYTES_MAX or len(response.envelopes) == limits.FRAME_MESSAGES_MAX
        ):
            yield response
            response, size = ReadBackResponse(), 0
        response.envelopes.append(sealed)
        size += len(sealed)
    if response.envelopes:
        yield response
