"""Step 7', the way back: revisions are sealed with the picture key and submitted like any member's envelopes.

Sealed once: what was sent and not receipted when a connection ends is sent again, byte for byte. The numbers of a
stream go on where the hub's heads say; the fusion process has no outbox, because the log it reads is one. A revision
that the hub has already, or refuses for itself, is settled; one that it could not take now stays and is sent again.

Pictures travel in the normal lane: a warning is never behind its own picture.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import timestamp
from broker.envelope import lane_of
from broker.fusion.view import fused_content
from broker.limits import MILLISECOND_NS, SECOND_NS
from broker.refusal import Reason, reason_name
from broker.views.picture import PUBLISHER
from certs.signature import leaf_hash, seal_batch
from vedette.v1.envelope_pb2 import BodyForm, Envelope, Precedence, RoutingHeader
from vedette.v1.exchange_pb2 import SubmitHello, SubmitOutcome, SubmitRequest, SubmitResponse

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.clock import Clock
    from broker.views.picture import Revision, RevisionKey
    from certs.keyring import Keyring
    from vedette.v1.content_pb2 import Mode
    from vedette.v1.exchange_pb2_grpc import ExchangeAsyncStub

log = logging.getLogger(__name__)

PRECEDENCE: Final = Precedence.PRECEDENCE_IMMEDIATE
FRESH_NS: Final = 60 * SECOND_NS  # by then the next revision should have come
_PASSING: Final = frozenset({Reason.REASON_NO_CREDIT, Reason.REASON_STORE_FULL, Reason.REASON_UNAVAILABLE})

Call = grpc.aio.StreamStreamCall[SubmitRequest, SubmitResponse]


@dataclass(frozen=True, slots=True)
class _Name:
    """A revision among those of all recipients."""

    recipient: str
    key: RevisionKey


class Publisher:
    """Everything that is to be published, of all recipients, and the one stream on which it goes up."""

    def __init__(self, keyring: Keyring, clock: Clock, settled: Callable[[str, RevisionKey], None]) -> None:
        self._keyring, self._clock, self._settled = keyring, clock, settled
        self._unsealed: OrderedDict[_Name, Revision] = OrderedDict()
        self._sealed: OrderedDict[_Name, bytes] = OrderedDict()  # not yet receipted
        self._numbers: dict[tuple[str, int], tuple[int, int]] = {}  # (recipient, mode) -> epoch, last sequence
        self._wake = asyncio.Event()
        self.lost: Counter[str] = Counter()  # revisions that were refused for good, by recipient

    def offer(self, revisions: Sequence[Revision]) -> None:
        """Publish these, unless they are on their way."""
        for revision in revisions:
            name = _Name(revision.recipient, revision.key)
            if name not in self._sealed:
                self._unsealed.setdefault(name, revision)
        self._wake.set()

    def __len__(self) -> int:
        return len(self._unsealed) + len(self._sealed)

    async def run(self, stub: ExchangeAsyncStub) -> None:
        """Publish on one connection until it ends. Raises AioRpcError."""
        call = stub.Submit()
        try:
            await call.write(
                SubmitRequest(
                    hello=SubmitHello(
                        schema_version_least=limits.SCHEMA_VERSION_LEAST, schema_version_most=limits.SCHEMA_VERSION
                    )
                )
            )
            first = await call.read()
            if not isinstance(first, SubmitResponse) or not first.HasField("welcome"):
                return
            for head in first.welcome.heads:
                key = (head.recipient, head.mode)
                self._numbers[key] = max(self._numbers.get(key, (0, 0)), (head.epoch, head.sequence))
            await _Connection(self, call, first.welcome.credits).run()
        finally:
            call.cancel()

    # -- for the connection ------------------------------------------------------------------------------------------
    async def more(self) -> None:
        """Wait until there is something new to publish."""
        await self._wake.wait()
        self._wake.clear()

    def unreceipted(self) -> list[tuple[_Name, bytes]]:
        """Return what was sealed before and must be sent again."""
        return list(self._sealed.items())

    def seal_some(self, most: int) -> list[tuple[_Name, bytes]]:
        """Seal the next revisions, those of one flush to one recipient under one signature."""
        batch: list[tuple[_Name, Revision]] = []
        while self._unsealed and len(batch) < most:
            batch.append(self._unsealed.popitem(last=False))
        flushes: dict[tuple[str, Mode.ValueType], list[tuple[_Name, Revision]]] = {}
        for name, revision in batch:
            flushes.setdefault((revision.recipient, revision.key.view.mode), []).append((name, revision))
        for (recipient, mode), flush in flushes.items():
            self._seal_flush(recipient, mode, flush)
        return [(name, self._sealed[name]) for name, _ in batch if name in self._sealed]

    def receipted(self, name: _Name, outcome: SubmitOutcome.ValueType, reason: Reason.ValueType) -> bool:
        """Note a receipt; return whether the revision is settled."""
        if outcome == SubmitOutcome.SUBMIT_OUTCOME_REFUSED:
            if reason in _PASSING:
                return False
            self._note_lost(name, reason_name(reason))
        self._sealed.pop(name, None)
        self._settled(name.recipient, name.key)
        return True

    def _note_lost(self, name: _Name, reason: str) -> None:
        """Count and say that nobody will see this revision: a fault of ours."""
        self.lost[name.recipient] += 1
        log.error(
            "a picture was refused recipient=%s reason=%s event=%s revision=%d lost=%d",
            name.recipient,
            reason,
            name.key.event_id.hex(),
            name.key.revision,
            self.lost[name.recipient],
        )

    def _seal_flush(self, recipient: str, mode: Mode.ValueType, flush: Sequence[tuple[_Name, Revision]]) -> None:
        drafts: list[tuple[_Name, bytes, bytes]] = []
        for name, revision in flush:
            content = fused_content(revision.event, recipient=recipient, mode=mode, exercise=revision.exercise)
            body = content.SerializeToString()
            if len(body) > limits.BODY_BYTES_MAX:
                self._note_lost(name, reason_name(Reason.REASON_TOO_LARGE))
                self._settled(recipient, name.key)
                continue
            drafts.append((name, self._header(revision, content.header.message_id).SerializeToString(), body))
        if not drafts:
            return
        leaves = [leaf_hash(header, body) for _, header, body in drafts]
        signers = [self._keyring.signer(mode)]
        seals = seal_batch(leaves, origin=PUBLISHER, recipient=recipient, mode=mode, signers=signers)
        for (name, header, body), seal in zip(drafts, seals, strict=True):
            self._sealed[name] = Envelope(header=header, body=body, seal=seal).SerializeToString()

    def _header(self, revision: Revision, message_id: bytes) -> RoutingHeader:
        now_ns = self._clock.wall_ns()
        mode = revision.key.view.mode
        epoch, last = self._numbers.get((revision.recipient, mode), (now_ns // MILLISECOND_NS, 0))
        self._numbers[revision.recipient, mode] = (epoch, last + 1)
        return RoutingHeader(
            origin=PUBLISHER,
            recipient=revision.recipient,
            mode=mode,
            exercise=revision.exercise,
            lane=lane_of(PRECEDENCE),
            epoch=epoch,
            sequence=last + 1,
            message_id=message_id,
            precedence=PRECEDENCE,
            label=revision.label,
            released_at=timestamp(now_ns),
            stale_after=timestamp(-(-(now_ns + FRESH_NS) // SECOND_NS) * SECOND_NS),
            schema_version=limits.SCHEMA_VERSION,
            body_form=BodyForm.BODY_FORM_CLEAR,
        )


class _Connection:
    """One Submit stream."""

    def __init__(self, publisher: Publisher, call: Call, credits_: int) -> None:
        self._publisher, self._call, self._credits = publisher, call, credits_
        self._granted = asyncio.Event()
        self._sent: deque[_Name] = deque()
        self._leaving = False

    async def run(self) -> None:
        """Send and receive until the stream ends."""
        sending = asyncio.create_task(self._send())
        receiving = asyncio.create_task(self._receive())
        try:
            done, _ = await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)

    async def _send(self) -> None:
        again = deque(self._publisher.unreceipted())
        while True:
            await self._credit()
            most = min(self._credits, limits.FRAME_MESSAGES_MAX)
            if again:
                batch = [again.popleft() for _ in range(min(most, len(again)))]
            else:
                batch = self._publisher.seal_some(most)
            if not batch:
                await self._publisher.more()
            for frame in _frames(batch):
                self._credits -= len(frame)
                self._sent.extend(name for name, _ in frame)
                await self._call.write(SubmitRequest(envelopes=[sealed for _, sealed in frame]))

    async def _credit(self) -> None:
        while self._credits <= 0:
            self._granted.clear()
            await self._granted.wait()

    async def _receive(self) -> None:
        while True:
            response = await self._call.read()
            if not isinstance(response, SubmitResponse) or response.HasField("goodbye"):
                return
            for receipt in response.receipts:
                if receipt.number == 0 or not self._sent:
                    return
                if not self._publisher.receipted(self._sent.popleft(), receipt.outcome, receipt.refusal.reason):
                    await asyncio.sleep(limits.RECONNECT_MAX_S)
                    return
            self._credits += response.credits
            self._granted.set()


def _frames(batch: Sequence[tuple[_Name, bytes]]) -> list[list[tuple[_Name, bytes]]]:
    """Cut a batch into frames that the hub takes."""
    frames: list[list[tuple[_Name, bytes]]] = []
    size = limits.FRAME_BYTES_MAX
    for name, sealed in batch:
        if size + len(sealed) > limits.FRAME_BYTES_MAX - 1024:
            frames.append([])
            size = 0
        frames[-1].append((name, sealed))
        size += len(sealed) + 8
    return frames
