"""The gateway's connection to the hub: one channel each way, tried again without end, quickly at first.

`LinkState` is what the rest of the gateway knows of it: whether the ways up and down live, since when, and how far the
hub's clock is from ours.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from broker import limits
from broker.clock import nanoseconds, timestamp
from broker.content import check_message
from broker.offset import Offset, OffsetEstimate
from broker.refusal import Refused, reason_name
from broker.rpc import CHANNEL_OPTIONS, refusal_of
from broker.store import Fenced, StoreError

import grpc  # isort: skip
import grpc.aio  # isort: skip

from vedette.v1 import exchange_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from broker.clock import Clock
    from broker.stages import Metrics

log = logging.getLogger(__name__)
T = TypeVar("T")


class Leaving(Exception):  # noqa: N818 - not an error: the hub said goodbye
    """The hub is going away for a moment."""

    def __init__(self, return_after_s: float) -> None:
        """Say when to come back."""
        super().__init__(return_after_s)
        self.return_after_s = return_after_s


@dataclass(slots=True)
class LinkState:
    """Whether the hub is there. Watchers are told of every change."""

    clock: Clock
    metrics: Metrics
    up: bool = False
    down: bool = False
    since_ns: int = 0
    offset: OffsetEstimate = field(default_factory=OffsetEstimate)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _probes: int = 0

    @property
    def connected(self) -> bool:
        """Return whether both ways live."""
        return self.up and self.down

    async def set(self, *, up: bool | None = None, down: bool | None = None) -> None:
        """Note a change of one of the ways and tell whoever waits."""
        before = self.connected
        self.up = self.up if up is None else up
        self.down = self.down if down is None else down
        if self.connected != before:
            self.since_ns = self.clock.wall_ns()
            self.metrics.hub_connected.set(1 if self.connected else 0)
            log.warning("link connected=%s", self.connected)
            async with self.changed:
                self.changed.notify_all()

    async def next_change(self, since_ns: int) -> None:
        """Return once the state is another than the one that began at `since_ns`, which the caller saw."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.since_ns != since_ns)

    def probe(self) -> exchange_pb2.ClockProbe:
        """Return a question after the hub's clock, with what is believed so far."""
        self._probes += 1
        probe = exchange_pb2.ClockProbe(number=self._probes, sent_at=timestamp(self.clock.wall_ns()))
        best = self.offset.best(self.clock.monotonic_ns())
        if best is not None:
            probe.offset.FromNanoseconds(best.offset_ns)
            probe.offset_error.FromNanoseconds(best.error_ns)
        return probe

    def answered(self, answer: exchange_pb2.ClockAnswer) -> None:
        """Take the hub's answer, if it tells a time at all."""
        try:
            check_message(answer)
        except Refused:
            return
        self.offset.answered(
            asked_ns=nanoseconds(answer.asked_at),
            received_ns=nanoseconds(answer.received_at),
            sent_ns=nanoseconds(answer.sent_at),
            back_ns=self.clock.wall_ns(),
            at_monotonic_ns=self.clock.monotonic_ns(),
        )
        best = self.hub_offset()
        if best is not None:
            self.metrics.clock_offset.labels("HUB").set(best.offset_ns / limits.SECOND_NS)
            self.metrics.clock_error.labels("HUB").set(best.error_ns / limits.SECOND_NS)

    def hub_offset(self) -> Offset | None:
        """Return the hub's clock minus ours, if it is known."""
        return self.offset.best(self.clock.monotonic_ns())


def open_channel(address: str, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
    """Return a channel of its own connection. The hub's certificate must come from the hub's root."""
    return grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS)


async def in_time(reading: Awaitable[T]) -> T:
    """Return what a hub says, unless it takes too long to say it. Raises Leaving."""
    try:
        async with asyncio.timeout(limits.CALL_DEADLINE_S):
            return await reading
    except TimeoutError:
        raise Leaving(limits.RECONNECT_FIRST_S) from None


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run several until the first of them ends; end the others, then raise what ended it.

    Unlike a TaskGroup, which before Python 3.13 swallows a cancellation that comes while it cleans up after a failure:
    a gateway that is told to stop at the moment at which its hub goes away would connect again instead, for ever.
    """
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def keep_trying(name: str, attempt: Callable[[], Awaitable[None]]) -> None:
    """Run an attempt again and again until cancelled, with a pause that grows while it fails at once.

    An attempt that ends by a lost connection, a refusal, a goodbye or a full disk is normal life here; anything else
    is a bug of ours and ends the gateway, which its supervisor restarts.
    """
    pause_s = limits.RECONNECT_FIRST_S
    while True:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await attempt()
        except Leaving as leaving:
            pause_s = min(max(leaving.return_after_s, limits.RECONNECT_FIRST_S), limits.RECONNECT_MAX_S)  # it may lie
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            reason = reason_name(refusal.reason) if refusal is not None else error.code().name
            log.info("%s ended: %s", name, reason)
        except Fenced:
            raise  # our store is another's now: there is nothing to go on with
        except StoreError as error:
            log.error("%s ended: the store answered %s", name, type(error).__name__)  # noqa: TRY400 - expected
            pause_s = limits.RECONNECT_MAX_S
        if loop.time() - began > limits.RECONNECT_MAX_S:
            pause_s = limits.RECONNECT_FIRST_S
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, limits.RECONNECT_MAX_S)
