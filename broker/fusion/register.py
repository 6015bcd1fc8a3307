"""What the recipient knows events by: track numbers, revisions, and which numbers turned out to be one event.

This is the part of a View that follows from the log and not from the set of messages. A number is the first 16 bytes of
SHA-256 over context, recipient, mode, exercise and the first published contribution. It stays with its event: with the
node where it began if that is still there, else with the others that it had. Of two numbers that turn out to be one
event the older stays and names the other, which is not used again; an event that parts from another names that one's.
Objects have names in the same way (`naming`).

Entries are values and replaced on change, so that a copy of the table is enough to go back to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.fusion.board import Event
from broker.fusion.naming import Named, renamed
from broker.fusion.outcome import OVER
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.fusion.board import Board
    from broker.fusion.contribution import Contribution, MessageKey, NodeKey
    from broker.fusion.outcome import Outcome

__all__ = ["Published", "Register", "digest_of"]

NUMBER_CONTEXT: Final = b"vedette/v1/track-number"
MERGED_MAX: Final = 64  # numbers that an event names as given up, the newest


@dataclass(frozen=True, slots=True)
class Published:
    """What the recipient knows an event by. `members` are the nodes it was made of when it was last published."""

    number: bytes
    anchor: NodeKey
    members: frozenset[NodeKey]
    revision: int = 0
    shown: bytes = b""  # digest of what was published last
    outcome: Outcome = (content_pb2.EVENT_STATE_UNSPECIFIED, content_pb2.STATUS_REASON_UNSPECIFIED)
    is_confirmed: bool = False
    over_since_ns: int | None = None
    merged: tuple[bytes, ...] = ()
    is_merged: bool = False  # into another, which goes on
    parted_from: bytes = b""  # the number under which the recipient knew it before, as a part of another event
    objects: tuple[Named, ...] = ()  # as they were last told, in the event's order


class Register:
    """The numbers of one View, oldest first."""

    def __init__(self, recipient: str, mode: int, exercise_id: str) -> None:
        """Start with nothing published."""
        self._parts = (NUMBER_CONTEXT, recipient.encode(), bytes([mode]), exercise_id.encode())
        self.entries: dict[bytes, Published] = {}

    def by_node(self) -> dict[NodeKey, Published]:
        """Return as what each node was published."""
        return {member: known for known in self.entries.values() if not known.is_merged for member in known.members}

    def assign(self, board: Board, touched: set[NodeKey], cause: Contribution) -> list[tuple[Published, Event]]:
        """Match numbers and events that may have changed, oldest numbers first; new numbers for what has none."""
        current = [known for known in self.entries.values() if not known.is_merged]
        before = self.by_node()
        reach = touched.union(*(known.members for known in current if known.members & touched))
        taken: dict[int, bytes] = {}
        pairs: list[tuple[bytes, Event]] = []
        for known in current:
            if not known.members & reach:
                continue
            mine = board.events_of([known.anchor], known.members)
            event = next((event for event in mine if id(event) not in taken), None)
            if event is not None:
                taken[id(event)] = known.number
                pairs.append((known.number, event))
            elif mine:
                self._merge(known, into=taken[id(mine[0])])
            else:
                pairs.append((known.number, Event((), ())))
        fresh = [event for event in board.events_of(reach) if id(event) not in taken and event.nodes]
        pairs += [(self._begin(board, event, cause, before), event) for event in fresh]
        for number, event in pairs:
            known = self.entries[number]
            members = frozenset((*event.nodes, *event.retracted)) or known.members
            self.entries[number] = replace(known, members=members)
        self._name([known for known in current if known.members & reach], pairs)
        return [(self.entries[number], event) for number, event in pairs]

    def revise(self, known: Published, fused: content_pb2.FusedEvent, now_ns: int) -> bool:
        """Say whether a picture differs from the one published before; if so, give it the next revision and note it."""
        shown = hashlib.sha256(fused.SerializeToString(deterministic=True)).digest()
        if shown == known.shown:
            return False
        is_over = fused.status.state in OVER
        since_ns = now_ns if known.over_since_ns is None else known.over_since_ns
        fused.revision = known.revision + 1
        self.entries[known.number] = replace(
            known,
            revision=fused.revision,
            shown=shown,
            outcome=(fused.status.state, fused.status.reason),
            is_confirmed=fused.standing != content_pb2.STANDING_UNCONFIRMED,
            over_since_ns=since_ns if is_over else None,
        )
        return True

    def forget(self, number: bytes) -> Published:
        """Let a number go, and those that it took over; return what it was."""
        known = self.entries.pop(number)
        for merged in known.merged:
            self.entries.pop(merged, None)
        return known

    def _merge(self, known: Published, *, into: bytes) -> None:
        """Note that two numbers are one event."""
        self.entries[known.number] = replace(known, is_merged=True)
        older = self.entries[into]
        self.entries[into] = replace(older, merged=(*older.merged, known.number, *known.merged)[-MERGED_MAX:])

    def _name(self, before: list[Published], pairs: list[tuple[bytes, Event]]) -> None:
        """Give the objects of these events their names. `before`: all numbers that they had until now."""
        now = [(number, [one.tracks for one in event.objects]) for number, event in pairs]
        known = {entry.number: [named.tracks for named in entry.objects] for entry in before}
        if all(known.get(number) == objects for number, objects in now) and len(known) == len(now):
            return  # what nearly always happens
        named = renamed([one for entry in before for one in entry.objects], now)
        for entry in before:
            self.entries[entry.number] = replace(self.entries[entry.number], objects=())
        for (number, _), objects in zip(now, named, strict=True):
            self.entries[number] = replace(self.entries[number], objects=objects)

    def _begin(self, board: Board, event: Event, cause: Contribution, before: dict[NodeKey, Published]) -> bytes:
        """Return the number of an event that is published for the first time, and note it."""
        nodes = [board.nodes[key] for key in event.nodes]
        first = [cause] if cause.node_key in event.nodes else []
        first += [node.standing[key] for node in nodes for key in node.order]
        for contribution in first:
            number = self._number(contribution.message_key)
            if number not in self.entries:
                break
        else:  # parted from an event that took its number away: what parted them makes the difference
            contribution = first[0]
            number = self._number(contribution.message_key, cause.message_key)
        known = [before[key].number for key in event.nodes if key in before]
        self.entries[number] = Published(
            number, contribution.node_key, frozenset(event.nodes), parted_from=known[0] if known else b""
        )
        return number

    def _number(self, *first: MessageKey) -> bytes:
        """Return a track number."""
        named = [part for origin, message_id in first for part in (origin.encode(), message_id)]
        return digest_of(*self._parts, *named)[: limits.ID_BYTES]


def digest_of(*parts: bytes) -> bytes:
    """Return SHA-256 over parts, each with its length before it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
