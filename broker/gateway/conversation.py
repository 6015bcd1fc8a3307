"""One Follow stream as the downlink holds it: what came and is not in the inbox yet, and what is still to come.

Nothing here is verified. What decides about waiting may be a lie of the hub's: then a warning waits a hundredth of a
second, or a picture does not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.message import DecodeError

from broker import limits
from broker.content import parse_strict
from broker.gateway.link import Leaving
from broker.refusal import Refused
from vedette.v1 import envelope_pb2, exchange_pb2

if TYPE_CHECKING:
    import grpc.aio

HUB: Final = "HUB"  # the origin of pictures


class InHand(NamedTuple):
    """A delivery that has come and is not in the inbox yet."""

    delivery: exchange_pb2.Delivery | Refused
    received_ns: int  # wall

    def is_pressing(self, us: str) -> bool:
        """Return whether a nation's word may be in it. Nothing is verified yet: it decides about waiting alone."""
        if isinstance(self.delivery, Refused) or self.delivery.WhichOneof("record") == "tick":
            return False
        try:
            envelope = envelope_pb2.Envelope.FromString(self.delivery.envelope)
            return envelope_pb2.RoutingHeader.FromString(envelope.header).origin not in (us, HUB)
        except DecodeError:
            return False


class Conversation:
    """One connection: what came and is not in the inbox yet, how much of an absence is still to come, one writer."""

    def __init__(
        self,
        call: grpc.aio.StreamStreamCall[exchange_pb2.FollowRequest, exchange_pb2.FollowResponse],
        welcome: exchange_pb2.FollowWelcome,
        us: str,
    ) -> None:
        self.call = call
        self._us = us
        self._left = welcome.behind  # exact where it is small, else at most
        self._head = welcome.head
        self._lanes = {envelope_pb2.LANE_URGENT, envelope_pb2.LANE_NORMAL} if welcome.behind else set()
        self._writing = asyncio.Lock()
        self._in_hand: deque[InHand] = deque()
        self._room = asyncio.Event()
        self.more = asyncio.Event()
        self.pressing = asyncio.Event()  # something has come that may be a warning
        self.empty = asyncio.Event()
        self.empty.set()

    async def put(self, one: InHand) -> None:
        """Take a delivery into our hands; wait while they are full, whatever credits the hub believes to have."""
        while len(self._in_hand) >= limits.CREDITS:
            self._room.clear()
            await self._room.wait()
        self._in_hand.append(one)
        if one.is_pressing(self._us):
            self.pressing.set()
        self.empty.clear()
        self.more.set()

    def take(self) -> list[InHand]:
        """Return what is in our hands, at most a frame: more would keep everybody else waiting."""
        batch = [self._in_hand.popleft() for _ in range(min(len(self._in_hand), limits.FRAME_MESSAGES_MAX))]
        self._room.set()
        return batch

    def note_empty(self) -> None:
        """Note that everything that came is in the inbox."""
        if not self._in_hand:
            self.more.clear()
            self.empty.set()

    @property
    def is_behind(self) -> bool:
        """Return whether anything from before the welcome is still to come. The lanes come at their own pace."""
        return self._left > 0 and bool(self._lanes)

    def is_old(self, position: bytes) -> bool:
        """Return whether this was in the log before we came; positions of one log sort as bytes."""
        return position <= self._head

    def passed(self, position: bytes, lane: int) -> None:
        """Note how far down we are."""
        if self.is_old(position):
            self._left -= 1
        if position >= self._head:
            self._lanes.discard(lane)  # within a lane all come in order

    async def write(self, request: exchange_pb2.FollowRequest) -> None:
        """Send one request; gRPC allows one writer at a time. Raises Leaving when the call has ended."""
        async with self._writing:
            try:
                await self.call.write(request)
            except asyncio.InvalidStateError:  # gRPC's word for a call that has ended; the reader learns why
                raise Leaving(limits.RECONNECT_FIRST_S) from None


def opened(data: bytes) -> exchange_pb2.Delivery | Refused:
    """Return what the hub wrapped around a record. It is not signed: whatever stands there, the log goes on."""
    try:
        return parse_strict(exchange_pb2.Delivery, data)
    except Refused as refused:
        return refused
