"""The process that draws the full picture. `python -m broker.gateway.full.drawing`, started by the gateway by exec.

Records come in on standard input in the order in which the gateway had them, pictures go out on standard output; it
opens nothing but its checkpoint and has no key. It ends when its input does. Before each record, time is moved on to
when the gateway had it; while nothing comes, by what the gateway says.

A picture is pending until it comes back in the inbox. After a start, of each event only the newest revision is told:
the others are of a past that nobody saw.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from google.protobuf.message import DecodeError

from broker import limits
from broker.envelope import lane_of
from broker.fusion.view import fused_content
from broker.gateway.full import frames
from broker.gateway.full.frames import Frame, Kind
from broker.gateway.full.own import delivery_of
from broker.instant import exercise_ns, nanoseconds, timestamp
from broker.limits import SECOND_NS
from broker.views import checkpoint
from broker.views.picture import PUBLISHER, Picture, RevisionKey
from vedette.v1.envelope_pb2 import BodyForm, Envelope, Precedence, RoutingHeader
from vedette.v1.exchange_pb2 import Delivery, HubTick
from vedette.v1.journal_pb2 import InboxRecord, IntakeRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.views.picture import Revision

log = logging.getLogger(__name__)

PRECEDENCE: Final = Precedence.PRECEDENCE_IMMEDIATE
FRESH_NS: Final = 60 * SECOND_NS  # by then the next revision should have come
NICE: Final = 10  # warnings go first where processors are short
_CURSOR_BYTES: Final = 8


@dataclass(slots=True)
class Drawer:
    """The nation's own log, its pictures, and what of them was told."""

    picture: Picture
    intake: int = 0  # position up to which the recorded intake went in
    inbox: int = 0
    is_live: bool = False
    _told: set[RevisionKey] = field(default_factory=set)
    _ticked_s: int = 0

    @classmethod
    def start(cls, folder: Path, us: str) -> Drawer:
        """Go on at the newest checkpoint, if there is one."""
        picture = checkpoint.load(folder, us)
        picture.publisher = us
        intake, inbox = picture.resume[:_CURSOR_BYTES], picture.resume[_CURSOR_BYTES:]
        return cls(picture, int.from_bytes(intake, "big"), int.from_bytes(inbox, "big"))

    def take(self, frame: Frame) -> Iterator[Frame]:
        """Take one frame in; yield the pictures to tell."""
        match frame.kind:
            case Kind.INTAKE:
                self._own(frame.number, IntakeRecord.FromString(frame.data))
            case Kind.INBOX:
                self._sent(frame.number, InboxRecord.FromString(frame.data))
            case Kind.TIME:
                self._until(frame.number)
            case Kind.LIVE:
                self.is_live = True
                self._forget_past()
            case _:
                raise ValueError(frame.kind)
        if self.is_live:
            yield from self._news()

    def _own(self, position: int, record: IntakeRecord) -> None:
        """Take in what one of our systems reported."""
        self._until(nanoseconds(record.received_at))
        self.intake = position
        self._put(delivery_of(record, position, self._is_foreign))

    def _sent(self, position: int, record: InboxRecord) -> None:
        """Take in what came down; not what is ours and went up from here, nor the hub's pictures and Ticks."""
        self.inbox = position
        if record.delivery.WhichOneof("record") != "envelope":
            return
        envelope = Envelope.FromString(record.delivery.envelope)
        header = RoutingHeader.FromString(envelope.header)
        is_full_picture = not record.delivery.position
        if is_full_picture:
            self._put(record.delivery)
        elif header.origin not in {self.picture.recipient, PUBLISHER}:
            self._until(nanoseconds(record.received_at))
            self._put(Delivery(envelope=record.delivery.envelope))

    def _until(self, wall_ns: int) -> None:
        """Let time pass in every View, by whole seconds and never back."""
        if wall_ns // SECOND_NS <= self._ticked_s:
            return
        self._ticked_s = wall_ns // SECOND_NS
        for key, drawing in list(self.picture.drawings.items()):
            time_ns = wall_ns if drawing.exercise is None else exercise_ns(drawing.exercise, wall_ns)
            tick = HubTick(mode=key.mode, exercise_id=key.exercise_id)
            tick.tick.time.CopyFrom(timestamp(max(time_ns, 0) // SECOND_NS * SECOND_NS))
            self._put(Delivery(tick=tick))

    def _put(self, delivery: Delivery) -> None:
        self.picture.take(self.picture.cursor + 1, delivery)
        self.picture.resume = self.intake.to_bytes(_CURSOR_BYTES, "big") + self.inbox.to_bytes(_CURSOR_BYTES, "big")

    def _is_foreign(self, message_id: bytes) -> bool:
        """Say whether a View holds a message of that id by another nation."""
        return any(
            (origin, message_id) in drawing.view.ledger.messages
            for drawing in self.picture.drawings.values()
            for origin in {key[0] for key in drawing.view.board.nodes} - {self.picture.recipient}
        )

    def _forget_past(self) -> None:
        """Of each event that is pending keep the newest revision."""
        newest = {(key.view, key.event_id): key for key in self.picture.pending}
        for key in list(self.picture.pending):
            if newest[key.view, key.event_id] != key:
                self.picture.settled(key)

    def _news(self) -> Iterator[Frame]:
        for key, revision in self.picture.pending.items():
            if key not in self._told:
                yield Frame(Kind.PICTURE, key.view.mode, self._record(revision).SerializeToString())
        self._told = set(self.picture.pending)

    def _record(self, revision: Revision) -> InboxRecord:
        """Return a picture as the inbox keeps it: like one that came down, without a position and without a seal."""
        us, view = self.picture.recipient, revision.key.view
        content = fused_content(revision.event, recipient=us, mode=view.mode, exercise=revision.exercise, origin=us)
        now_ns = time.time_ns()
        header = RoutingHeader(
            origin=us,
            recipient=us,
            mode=view.mode,
            exercise=revision.exercise,
            lane=lane_of(PRECEDENCE),
            message_id=content.header.message_id,
            precedence=PRECEDENCE,
            label=revision.label,
            released_at=timestamp(now_ns),
            stale_after=timestamp(-(-(now_ns + FRESH_NS) // SECOND_NS) * SECOND_NS),
            schema_version=limits.SCHEMA_VERSION,
            body_form=BodyForm.BODY_FORM_CLEAR,
        )
        envelope = Envelope(header=header.SerializeToString(), body=content.SerializeToString())
        return InboxRecord(delivery=Delivery(envelope=envelope.SerializeToString()), received_at=timestamp(now_ns))


def run(drawer: Drawer, folder: Path, source: BinaryIO, sink: BinaryIO) -> None:
    """Draw until the input ends; keep a checkpoint."""
    begin = Frame(Kind.BEGIN, drawer.intake, drawer.inbox.to_bytes(_CURSOR_BYTES, "big"))
    sink.write(begin.encoded())
    sink.flush()
    saved_s = time.monotonic()
    while (frame := frames.read(source)) is not None:
        try:
            sink.writelines(told.encoded() for told in drawer.take(frame))
        except DecodeError:
            log.error("record %d of the %s is none: passed over", frame.number, frame.kind.name)  # noqa: TRY400 - says all
        sink.flush()
        if time.monotonic() - saved_s > limits.PICTURE_CHECKPOINT_S:
            _save(folder, drawer)
            saved_s = time.monotonic()
    _save(folder, drawer)


def _save(folder: Path, drawer: Drawer) -> None:
    try:
        checkpoint.save(folder, drawer.picture)
    except OSError as error:  # a full disk: pictures go on, and a restart begins with less
        log.error("no checkpoint: %s", error.strerror)  # noqa: TRY400 - says all


def main() -> None:
    """Run the drawing process."""
    parser = argparse.ArgumentParser(prog="broker.gateway.full.drawing", description="Draws a nation's full picture.")
    parser.add_argument("--nation", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the checkpoint is kept")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args()
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    os.nice(NICE)
    folder: Path = options.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    run(Drawer.start(folder, options.nation), folder, sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
