"""The picture of one recipient in one mode (and exercise): a pure function of that recipient's own log.

What is believed follows from the *set* of messages and the newest Tick, whatever the order of arrival (`ledger`,
`board`). What was *published* follows from the log: track numbers, revisions, and which revision came after which
record (`register`). Nothing else goes in: no clock, no other View, nothing global. Two Views that are fed the same log
give the same bytes.

* After each record or Tick an event has at most one new revision, and only if its published content changed.
* `basis` names the last record that went in and the digest of all of them:
  digest(n) = SHA-256(digest(n-1), position, SHA-256(content, or the Tick's time)), each part with its length before it.
* An impact is predicted when it first can be, when something was taken back, and on Ticks when it is due:
  it costs more than all the rest.
* An event that is over and past the horizon of late messages is packed away; a word about it unpacks it. Of events
  older still only names are kept, and a retraction gives a revision that has a status and nothing else.
* If anything fails, the View is as it was before the record. The caller skips that record and goes on.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.fusion import archive
from broker.fusion.board import Board
from broker.fusion.contribution import Report, Status, contribution_of, unusable
from broker.fusion.ledger import Ledger
from broker.fusion.naming import Names
from broker.fusion.outcome import faded, outcome
from broker.fusion.picture import fused_event
from broker.fusion.register import Register, digest_of
from broker.instant import timestamp
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.fusion.archive import Packed
    from broker.fusion.board import Event, Forecast, TrackedObject
    from broker.fusion.contribution import Contribution, NodeKey, TrackKey
    from broker.fusion.register import Published

__all__ = ["View", "fused_content"]

MESSAGE_CONTEXT: Final = b"vedette/v1/fused-message"
HORIZON_NS: Final = round(limits.HORIZON_S * SECOND_NS)
FORGET_SILENT_NS: Final = 7_200 * SECOND_NS  # longer than any flight: packed away even if nobody said that it is over
THIN_SPACING_NS: Final = 2 * SECOND_NS
FIRST_KEPT: Final = 64  # reports of an object by which it is recognised
FORGOTTEN_MAX: Final = 4_096
NO_DIGEST: Final = bytes(32)


class View:
    """One recipient's picture. See the module's rules."""

    def __init__(self, recipient: str, mode: int, exercise_id: str = "") -> None:
        """Start with an empty log. `mode` is a vedette.v1 Mode."""
        self.recipient = recipient
        self.mode = mode
        self.exercise_id = exercise_id
        self.now_ns: int | None = None  # of the newest Tick
        self.digest = NO_DIGEST
        self.position = b""
        self.ledger = Ledger()
        self.board = Board(recipient)
        self.register = Register(recipient, mode, exercise_id)
        self.packed: dict[bytes, Packed] = {}
        self.forgotten: dict[NodeKey, tuple[bytes, int]] = {}

    # --- the log ----------------------------------------------------------------------------------------------------

    def fold(
        self, *, position: bytes, content: content_pb2.Content, epoch: int = 0, lane: int = 0, sequence: int = 0
    ) -> list[content_pb2.FusedEvent]:
        """Take in a record of the log; return the new revisions. FusedEvents, canaries and the like change nothing.

        Raises ValueError for content of another mode or exercise; the View is then as it was.
        """
        if content.header.mode != self.mode or content.header.exercise.exercise_id != self.exercise_id:
            raise ValueError("a record of another mode or exercise")
        contribution = contribution_of(content, epoch=epoch, lane=lane, sequence=sequence)
        if contribution is None:
            return []
        digest = self._digest_after(position, contribution.content)
        revisions = self._fold(contribution)
        self.position, self.digest = position, digest
        return self._with_basis(revisions)

    def tick(self, *, position: bytes, time_ns: int) -> list[content_pb2.FusedEvent]:
        """Let time pass; return the new revisions. A Tick that is not later than the last only moves the basis."""
        digest = self._digest_after(position, time_ns.to_bytes(16, "big", signed=True))
        before, published, forecasts = self.now_ns, dict(self.register.entries), self.board.forecasts()
        try:
            self.now_ns = time_ns if before is None else max(before, time_ns)
            revisions = self._tick()
        except BaseException:
            # Not handled, only undone: whatever failed, half a Tick must not stay.
            self.now_ns, self.register.entries = before, published
            self._make_anew(forecasts)
            raise
        self.position, self.digest = position, digest
        return self._with_basis(revisions)

    def checkpoint(self) -> bytes:
        """Return the whole state. A View restored from it goes on with the same bytes."""
        return archive.save(self)

    @classmethod
    def restore(cls, data: bytes) -> View:
        """Return the View of a checkpoint. Raises ValueError if it is none of ours."""
        return archive.load(data)

    # --- folding ----------------------------------------------------------------------------------------------------

    def _fold(self, contribution: Contribution) -> list[content_pb2.FusedEvent]:
        """Take a contribution in, or leave everything as it is and raise."""
        self._unpack(contribution)
        if contribution.message_key in self.ledger.messages:
            return []
        if self._is_flood(contribution):
            return []
        published, forecasts = dict(self.register.entries), self.board.forecasts()
        new_tombstones = [
            (contribution.origin, target)
            for target in contribution.cancels
            if not self.ledger.is_cancelled((contribution.origin, target))
        ]
        try:
            stands, falls = self.ledger.add(self._in_time(contribution))
            touched = self.board.apply(stands, falls)
            self._thin(touched)
            self._predict(touched, again=bool(falls))
            return self._status_only(contribution) or self._publish(touched, contribution)
        except BaseException:
            # Not handled, only undone: whatever failed, half a record must not stay.
            self.ledger.retract(contribution.message_key, new_tombstones)
            self.register.entries = published
            self._make_anew(forecasts)
            raise

    def _in_time(self, contribution: Contribution) -> Contribution:
        """Return the contribution; without its body's word if that is too late for exact replay, or from the future.

        What is dated ahead of the log would be the newest word for as long as it pleases its origin.
        """
        if self.now_ns is None:
            return contribution
        body = contribution.body
        takes_back = isinstance(body, Status) and body.state == content_pb2.EVENT_STATE_NOT_A_LAUNCH
        if contribution.key[0] - self.now_ns > limits.CLOCK_AHEAD_NS and not takes_back:  # which holds at any time
            return unusable(contribution)
        if not isinstance(contribution.body, Report):
            return contribution
        age_ns = self.now_ns - contribution.body.time_ns
        return contribution if -limits.CLOCK_AHEAD_NS <= age_ns <= HORIZON_NS else unusable(contribution)

    def _is_flood(self, contribution: Contribution) -> bool:
        """Say whether an origin names more events than a View has room for. Others are not displaced."""
        if not contribution.event_id or contribution.node_key in self.board.nodes:
            return False
        named = sum(1 for key in self.board.nodes if key[0] == contribution.origin)
        return named >= limits.NODES_PER_ORIGIN_MAX

    def _make_anew(self, forecasts: Mapping[TrackKey, Forecast]) -> None:
        """Build the board again from the messages that stand, with the predictions as they were."""
        self.board = Board(self.recipient)
        self.board.apply(self.ledger.standing(), [])
        self.board.set_forecasts(forecasts)

    def _thin(self, touched: Iterable[NodeKey]) -> None:
        """Keep the reports of an object bounded: of those past the horizon, one per track and spacing goes on counting.

        What the estimate knows of the past becomes slightly less; what it will be is the same for every later record.
        """
        most = limits.REPORTS_PER_OBJECT_MAX
        for one in self._objects(touched):
            # Looked at now and then only: what is inside the horizon stays whatever its number.
            if len(one.scrutiny.entries) > most and len(one.scrutiny.entries) % (most // 8) == 0:
                self._thin_object(one, THIN_SPACING_NS * (len(one.scrutiny.entries) // most))

    def _thin_object(self, one: TrackedObject, spacing_ns: int) -> None:
        """Let reports go that are older than the horizon and closer to one another than the spacing."""
        horizon_ns = one.history.newest.time_ns - HORIZON_NS
        seen: dict[object, int] = {}
        gone: list[Contribution] = []
        for _, entry in sorted(one.scrutiny.entries.items())[FIRST_KEPT:]:
            if entry.key[0] > horizon_ns:
                break
            if entry.key[0] - seen.get(entry.track, -HORIZON_NS) < spacing_ns:
                gone.append(self.ledger.messages[entry.key[1], entry.key[5]])
            else:
                seen[entry.track] = entry.key[0]
        kept = [unusable(contribution) for contribution in gone]
        self.ledger.messages.update((contribution.message_key, contribution) for contribution in kept)
        self.board.apply(kept, gone)

    def _objects(self, touched: Iterable[NodeKey]) -> list[TrackedObject]:
        """Return the objects of the events of these nodes."""
        return [one for event in self.board.events_of(touched) for one in event.objects]

    def _predict(self, touched: Iterable[NodeKey], *, again: bool) -> None:
        """Predict impacts where there is none yet, at most once a second, or where something was taken back."""
        for one in self._objects(touched):
            known = one.forecast
            due = known.tried_ns is None or abs(one.history.newest.time_ns - known.tried_ns) >= SECOND_NS
            if one.is_misjudged or (known.is_stale and (again or (known.prediction is None and due))):
                one.refresh()

    def _tick(self) -> list[content_pb2.FusedEvent]:
        """Look at every event that is not over, or has moved on since its impact was predicted."""
        revisions = []
        known_of = self.register.by_node()
        now_ns = self._time_ns()
        for event in self.board.events:
            known = next((known_of[key] for key in (*event.nodes, *event.retracted) if key in known_of), None)
            if known is None:
                continue
            due = [one for one in event.objects if one.is_due(now_ns)]
            for one in due:
                one.refresh()
            due += faded(event, now_ns)
            is_open = known.over_since_ns is None
            if due or (
                is_open and known.outcome != outcome(event, self.board.nodes, now_ns, is_confirmed=known.is_confirmed)
            ):
                revisions += self._revised(known, event)
        self._pack()
        return revisions

    def _time_ns(self) -> int:
        """Return the log's time; before the first Tick, as far as the messages go."""
        if self.now_ns is not None:
            return self.now_ns
        return max((node.order[-1][0] for node in self.board.nodes.values() if node.order), default=0)

    # --- publishing -------------------------------------------------------------------------------------------------

    def _publish(self, touched: set[NodeKey], cause: Contribution) -> list[content_pb2.FusedEvent]:
        """Give every event its number and return the new revisions of those that may have changed."""
        revisions = []
        for known, event in self.register.assign(self.board, touched, cause):
            revisions += self._revised(known, event)
        return revisions

    def _revised(self, known: Published, event: Event) -> list[content_pb2.FusedEvent]:
        """Return the next revision of an event if it looks different now."""
        now_ns = self._time_ns()
        names = Names(known.objects, known.parted_from)
        fused = fused_event(known.number, event, self.board.nodes, now_ns, known.merged, names)
        return [fused] if self.register.revise(known, fused, now_ns) else []

    def _with_basis(self, revisions: list[content_pb2.FusedEvent]) -> list[content_pb2.FusedEvent]:
        """Say where in the log these revisions stand."""
        for fused in revisions:
            fused.basis.position, fused.basis.digest = self.position, self.digest
        return revisions

    def _digest_after(self, position: bytes, record: bytes) -> bytes:
        """Return the log's digest with one more record."""
        return digest_of(self.digest, position, hashlib.sha256(record).digest())

    # --- what is over -----------------------------------------------------------------------------------------------

    def _pack(self) -> None:
        """Put away the events that are over and past the horizon, or silent for longer than anything flies."""
        now_ns = self._time_ns()
        known_of = self.register.by_node()
        for event in list(self.board.events):
            keys = {*event.nodes, *event.retracted}
            known = next((known_of[key] for key in (*event.nodes, *event.retracted) if key in known_of), None)
            newest_ns = max(self.board.nodes[key].order[-1][0] for key in keys)
            over = known is not None and known.over_since_ns is not None and now_ns - known.over_since_ns > HORIZON_NS
            if not over and now_ns - newest_ns <= FORGET_SILENT_NS:
                continue
            contributions = self.ledger.tied(self.ledger.of_nodes(keys))
            if known is not None:
                self.packed[known.number] = archive.pack(contributions, event)
            standing = [one for one in contributions if self.ledger.stands(one.message_key)]
            self.ledger.forget(one.message_key for one in contributions)
            self.board.apply([], standing)
        for known in list(self.register.entries.values()):
            gone = (
                not known.is_merged and known.number not in self.packed and not known.members & self.board.nodes.keys()
            )
            if gone and known.over_since_ns is not None and now_ns - known.over_since_ns > HORIZON_NS:
                self._forget(known.number)
        while len(self.packed) > limits.CLOSED_EVENTS_MAX:
            number = next(iter(self.packed))
            del self.packed[number]
            self._forget(number)

    def _forget(self, number: bytes) -> None:
        """Keep no more of an event than its name."""
        known = self.register.forget(number)
        self.forgotten.update((member, (number, known.revision)) for member in sorted(known.members))
        while len(self.forgotten) > FORGOTTEN_MAX:
            del self.forgotten[next(iter(self.forgotten))]

    def _unpack(self, contribution: Contribution) -> None:
        """Bring back the event that a contribution speaks of, if it was put away."""
        targets = (*contribution.cancels, *contribution.corrects)
        for number, packed in list(self.packed.items()):
            about = contribution.event_id and contribution.node_key in self.register.entries[number].members
            is_held = packed.holds_tied(contribution.key[5]) or any(packed.holds(target) for target in targets)
            if not about and not is_held:
                continue
            contributions = archive.unpack(packed)
            fell = [other for one in contributions for other in self.ledger.add(one)[1]]
            stands = [one for one in contributions if self.ledger.stands(one.message_key)]
            back = {one.message_key for one in contributions}
            self.board.apply(stands, [one for one in fell if one.message_key not in back])
            archive.put_back(packed, self.board)
            del self.packed[number]

    def _status_only(self, contribution: Contribution) -> list[content_pb2.FusedEvent]:
        """Return a bare status where an origin takes back an event of which only the name is left."""
        known = self.forgotten.get(contribution.node_key)
        body = contribution.body
        if known is None or not isinstance(body, Status) or body.state != content_pb2.EVENT_STATE_NOT_A_LAUNCH:
            return []
        number, revision = known[0], known[1] + 1
        self.forgotten[contribution.node_key] = (number, revision)
        status = content_pb2.EventStatus(event_id=number, state=body.state, reason=body.reason)
        return [content_pb2.FusedEvent(event_id=number, revision=revision, status=status)]


def fused_content(
    event: content_pb2.FusedEvent,
    *,
    recipient: str,
    mode: content_pb2.Mode.ValueType,
    exercise: content_pb2.Exercise | None = None,
    after: int | None = None,
    origin: str = "HUB",
) -> content_pb2.Content:
    """Return a revision as a message. Its id is a hash of recipient, track number and revision: it is made only once.

    `after` is the log's time, ns, at the record after which it was published; `exercise` stands in every header of one.
    """
    revision = event.revision.to_bytes(8, "big")
    message_id = digest_of(MESSAGE_CONTEXT, recipient.encode(), event.event_id, revision)[: limits.ID_BYTES]
    content = content_pb2.Content(
        header=content_pb2.ContentHeader(
            message_id=message_id,
            origin=origin,
            mode=mode,
            lineage=content_pb2.Lineage(kind=content_pb2.LINEAGE_KIND_PARTIAL),
        ),
        fused=event,
    )
    if exercise is not None:
        content.header.exercise.CopyFrom(exercise)
    if after is not None:
        content.header.observed_at.CopyFrom(timestamp(after))
    return content
