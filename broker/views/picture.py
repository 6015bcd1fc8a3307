"""Step 7', the fusing itself: one recipient's log in, revisions of its picture out. No network, no clock.

A `Picture` holds the Views of one recipient, one for each (mode, exercise) in its log. What comes out is a function of
the records that went in, in the order of the log:

* Ticks and all that nations sent go into the View of their mode and exercise. FusedEvents are not folded: they tell
  which revisions were published. Canaries go in nowhere.
* A revision that was drawn is *pending* until it is seen in the log, which is always behind the record that it was
  drawn from. So a fusion process that starts again, from a checkpoint or from the beginning of the log, draws what was
  drawn before, and at the head only what is missing is left to publish.
* An exercise's View is forgotten when its log was silent for `limits.EXERCISE_FORGOTTEN_NS` of its own time, or when
  the origin that began it began as many others since as may tick at once. A record that comes later begins another.
* The label of a picture is the join of the labels that went in, as they were released to this recipient: the highest
  classification, all caveats, those to whom every one of them may go on, and its owners keep control (`broker.labels`).

An exception in one View is contained: a View that raises is as it was before the record, which is passed over. Folding
the same log again passes over the same record.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import limits
from broker.fusion.view import View
from broker.instant import nanoseconds
from broker.labels import Label, join
from vedette.v1.content_pb2 import Content, Exercise, FusedEvent, Mode
from vedette.v1.envelope_pb2 import Envelope, RoutingHeader, SecurityLabel

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.v1.exchange_pb2 import Delivery, HubTick

log = logging.getLogger(__name__)

_NOT_FUSED: Final = frozenset({"canary"})
PUBLISHER: Final = "HUB"


class ViewKey(NamedTuple):
    """Which of a recipient's pictures."""

    mode: Mode.ValueType
    exercise_id: str


class RevisionKey(NamedTuple):
    """Which revision of which event in which picture."""

    view: ViewKey
    event_id: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision that was drawn and is to be published."""

    recipient: str
    key: RevisionKey
    event: FusedEvent
    exercise: Exercise | None
    label: SecurityLabel


@dataclass(slots=True)
class Drawing:
    """One View of the recipient, and what it does not know itself: the label and the exercise of what it draws."""

    view: View
    exercise: Exercise | None
    origin: str  # whose record began it
    label: Label  # the join of all that went in
    heard_at: int = 0  # position of the newest record that is no Tick
    heard_ns: int | None = None  # the View's time then; unknown before the first Tick


@dataclass(slots=True)
class Picture:
    """All pictures of one recipient, up to a position in its log."""

    recipient: str
    cursor: int = 0  # everything up to this position went in
    resume: bytes = b""  # the token with which the log goes on there
    saved: int = 0  # of the newest checkpoint
    drawings: dict[ViewKey, Drawing] = field(default_factory=dict)
    pending: OrderedDict[RevisionKey, Revision] = field(default_factory=OrderedDict)
    faults: int = 0  # records passed over
    publisher: str = PUBLISHER  # whose the pictures are, by their label

    def take(self, position: int, delivery: Delivery) -> None:
        """Put in the record at a position; what is to be published afterwards stands in `pending`."""
        at = position.to_bytes(8, "big")
        if delivery.WhichOneof("record") == "tick":
            self._tick(at, delivery.tick)
        else:
            self._envelope(at, delivery.envelope)
        self.cursor, self.resume = position, delivery.resume

    def settled(self, key: RevisionKey) -> None:
        """Note that a revision stands in the log, or never will."""
        self.pending.pop(key, None)

    def _tick(self, at: bytes, tick: HubTick) -> None:
        key = ViewKey(tick.mode, tick.exercise_id)
        drawing = self.drawings.get(key)
        if drawing is not None:
            time_ns = nanoseconds(tick.tick.time)
            if drawing.heard_ns is None:
                drawing.heard_ns = time_ns
            self._draw(key, drawing, at, lambda: drawing.view.tick(position=at, time_ns=time_ns))
            if key.exercise_id and time_ns - drawing.heard_ns > limits.EXERCISE_FORGOTTEN_NS:
                del self.drawings[key]

    def _envelope(self, at: bytes, sealed: bytes) -> None:
        envelope = Envelope.FromString(sealed)
        header, content = RoutingHeader.FromString(envelope.header), Content.FromString(envelope.body)
        key = ViewKey(header.mode, header.exercise.exercise_id)
        body = content.WhichOneof("body")
        if body == "fused":
            self.settled(RevisionKey(key, content.fused.event_id, content.fused.revision))
            return
        if body in _NOT_FUSED:
            return
        drawing = self.drawings.get(key) or self._begin(key, header)
        drawing.label = join([drawing.label, Label.of(header.label)])
        drawing.heard_at, drawing.heard_ns = int.from_bytes(at, "big"), drawing.view.now_ns
        numbers = {"epoch": header.epoch, "lane": header.lane, "sequence": header.sequence}
        self._draw(key, drawing, at, lambda: drawing.view.fold(position=at, content=content, **numbers))

    def _begin(self, key: ViewKey, header: RoutingHeader) -> Drawing:
        exercise = header.exercise if header.HasField("exercise") else None
        if key.exercise_id:
            self._make_room(header.origin)
        view = View(self.recipient, key.mode, key.exercise_id)
        self.drawings[key] = Drawing(view, exercise, header.origin, Label.of(header.label))
        return self.drawings[key]

    def _make_room(self, origin: str) -> None:
        """Forget the exercise of an origin that was silent longest, if it has as many as may tick at once."""
        begun = [key for key, one in self.drawings.items() if key.exercise_id and one.origin == origin]
        if len(begun) >= limits.EXERCISES_TICKING_MAX:
            del self.drawings[min(begun, key=lambda key: self.drawings[key].heard_at)]

    def _draw(self, key: ViewKey, drawing: Drawing, at: bytes, step: Callable[[], list[FusedEvent]]) -> None:
        try:
            drawn = step()
        except Exception:
            # The boundary of one View: whatever is wrong with it or with the record, the other pictures go on.
            log.exception("a view passed over position=%d recipient=%s", int.from_bytes(at, "big"), self.recipient)
            self.faults += 1
            return
        for event in drawn:
            name = RevisionKey(key, event.event_id, event.revision)
            label = drawing.label.product(self.publisher)
            self.pending[name] = Revision(self.recipient, name, event, drawing.exercise, label)
