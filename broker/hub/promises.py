"""Step 5b.10: the bytes for one recipient against what the origin's security officers promise of its releases.

The origin's own gateway proved its release policy against the same invariants before the policy was in force. This is
for when that went wrong: other code, on the bytes as they will be read. It can only refuse.

What it cannot see it passes over, for the proof at home covers it, and a warning refused by mistake is lost:

* a condition that these bytes do not decide (`broker.hub.when`);
* `finer_than` of a leaf without a coarse form that shows: one that says how its neighbours are to be read. A place or
  time is as coarse as the nearest Cell says, which is that of the coarsest value beside it; one with no Cell around it
  is exact; a direction is as coarse as its spread says, a share is coarse in tenths. A covariance is judged only where
  nothing beside it is coarse: redaction writes that of the cell, whatever the origin's is;
* a delay where the message does not say when it was observed, by a clock that it says to be synchronised, and how well,
  and when its gateway had it. It runs from the earlier of the two: a delay begins when a report comes, and a sensor's
  clock may be ahead. It ends by the later of the origin's `released_at` and the hub's own clock. No clock alone loses a
  warning;
* a minimum interval: it needs a memory of every object, and the ids to know them by are the gateway's.

Of nothing that only takes back does an invariant speak, nor of canaries, which carry nothing of the nation's.

An error in evaluating is a refusal too, with an alarm: a guard that is broken does not stand open.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.hub.when import Condition, Facts, NotPlainError
from broker.instant import exercise_ns, nanoseconds
from broker.invariants import SELF
from broker.leaves import BODIES_UNDER_POLICY, LEAVES
from broker.limits import SECOND_NS
from broker.refusal import Reason, Refused
from vedette.v1.content_pb2 import EventState
from vedette.v1.measures_pb2 import Cell
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from broker.invariants import Cell as Finest
    from broker.invariants import Invariant, Invariants
    from vedette.v1.content_pb2 import Content, ContentHeader
    from vedette.v1.envelope_pb2 import RoutingHeader

__all__ = ["BrokenPromiseError", "Promise", "Promises"]

log = logging.getLogger(__name__)

_UNDER_POLICY: Final = frozenset(BODIES_UNDER_POLICY)
_TAKES_BACK: Final = frozenset({"status.state"})
_CELL: Final = Cell.DESCRIPTOR.full_name
_BY_CELL: Final = frozenset(
    {
        Coarsening.COARSENING_LATITUDE,
        Coarsening.COARSENING_LONGITUDE,
        Coarsening.COARSENING_HEIGHT,
        Coarsening.COARSENING_ECEF_POSITION,
        Coarsening.COARSENING_ECEF_VELOCITY,
        Coarsening.COARSENING_LENGTH,
        Coarsening.COARSENING_SPREAD,
        Coarsening.COARSENING_ORIENTATION,
    }
)
# Width of the sector of a direction that is as coarse as a cell, degrees (protos/README.md, Coarse values).
_SECTOR_DEG: Final[Mapping[float, float]] = {50_000.0: 45.0, 10_000.0: 10.0, 1_000.0: 1.0}
_SLACK: Final = 1e-9


class Promise(StrEnum):
    """What kind of promise was broken: a closed set, for metrics."""

    NEVER = "never"
    FINER = "finer"
    DELAY = "delay"
    CAVEATS = "caveats"
    FAULT = "fault"  # of ours: it could not be judged


class BrokenPromiseError(Refused):
    """The envelope is refused by an invariant of its own origin."""

    def __init__(self, invariant_id: str, promise: Promise, detail: str) -> None:
        """Name the invariant; `detail` says what to look at and no value."""
        super().__init__(Reason.REASON_INVARIANT, f"{invariant_id}: {detail}")
        self.invariant_id = invariant_id
        self.promise = promise


class _Seen(NamedTuple):
    """A leaf as it stands in the bytes."""

    path: str
    coarsening: Coarsening.ValueType
    value: object
    cell: Cell | None  # the nearest around it; None where no message around it can carry one
    beside: Message  # its own message


@dataclass(frozen=True, slots=True)
class _Kept:
    """An invariant, ready to be judged."""

    invariant: Invariant
    condition: Condition


class Promises:
    """One nation's invariants, compiled."""

    def __init__(self, document: Invariants) -> None:
        """Compile the conditions. Raises NotPlainError, which names the invariant."""
        self.document = document
        self._of: dict[str, list[_Kept]] = {}
        for invariant in document.invariants:
            try:
                kept = _Kept(invariant, Condition.parse(invariant.when))
            except NotPlainError as error:
                raise NotPlainError(f"{invariant.invariant_id}: {error}") from error
            for recipient in invariant.to:
                self._of.setdefault(recipient, []).append(kept)

    def check(self, header: RoutingHeader, content: Content, *, received_ns: int) -> None:
        """Raise BrokenPromiseError if one of them is broken. `received_ns`: when the hub had it, on its own clock."""
        to = SELF if header.origin == header.recipient else header.recipient
        promised = self._of.get(to)
        if not promised or content.WhichOneof("body") not in _UNDER_POLICY:
            return
        try:
            broken = _first_broken(promised, Facts(content, header.label, header.precedence, to), header, received_ns)
        except Exception as fault:
            # Whatever is wrong with this guard, it does not stand open. The text stays here: it might hold values.
            log.exception("guard fault origin=%s", header.origin)
            raise BrokenPromiseError("-", Promise.FAULT, "the guard could not judge it") from fault
        if broken is not None:
            raise broken


def _first_broken(
    promised: Sequence[_Kept], facts: Facts, header: RoutingHeader, received_ns: int
) -> BrokenPromiseError | None:
    seen = list(_leaves(facts.content, "", None))
    if _only_takes_back(facts.content, seen):
        return None
    for kept in promised:
        # The condition comes last: it costs most, and honest messages break little.
        broken = _broken(kept.invariant, seen, header, facts.content.header, received_ns)
        if broken is not None and kept.condition.holds(facts):
            return BrokenPromiseError(kept.invariant.invariant_id, *broken)
    return None


def _broken(
    invariant: Invariant, seen: list[_Seen], header: RoutingHeader, inner: ContentHeader, received_ns: int
) -> tuple[Promise, str] | None:
    """Return what it would be refused for if the condition holds."""
    if invariant.is_everything:
        return Promise.NEVER, "nothing of it may go to this recipient"
    for leaf in seen:
        if leaf.path in invariant.never and _is_too_much(leaf, invariant.finer_than):
            promise = Promise.NEVER if invariant.finer_than is None else Promise.FINER
            return promise, f"{leaf.path} is more than may go to this recipient"
    if not invariant.caveats.issubset(header.label.caveats):
        return Promise.CAVEATS, "the label lacks a caveat"
    if invariant.delay_s and _is_early(invariant.delay_s, header, inner, received_ns):
        return Promise.DELAY, "released before its delay"
    return None


def _is_too_much(leaf: _Seen, finest: Finest | None) -> bool:
    """Say whether a leaf is shown that may never be, or more exactly than it may be."""
    return not _may_be_the_cells(leaf) if finest is None else _is_finer(leaf, finest)


def _only_takes_back(content: Content, seen: list[_Seen]) -> bool:
    """Say whether this is a bare NOT_A_LAUNCH: which event it was, and nothing else."""
    status = content.status
    return (
        status.state == EventState.EVENT_STATE_NOT_A_LAUNCH
        and not status.object_id
        and all(leaf.path in _TAKES_BACK for leaf in seen)
    )


def _may_be_the_cells(leaf: _Seen) -> bool:
    """Say whether a covariance may be that of the cell, which goes with every coarse state."""
    cell = leaf.cell
    is_coarse = cell is not None and (cell.space_m > 0 or cell.HasField("time"))
    return leaf.coarsening == Coarsening.COARSENING_COVARIANCE and is_coarse


def _is_finer(leaf: _Seen, finest: Finest) -> bool:
    """Say whether a leaf is shown more exactly than it may be, as far as can be seen."""
    match leaf.coarsening:
        case Coarsening.COARSENING_STRUCTURE:
            answer = False
        case Coarsening.COARSENING_COVARIANCE:
            answer = not _may_be_the_cells(leaf)
        case Coarsening.COARSENING_TIME:
            answer = leaf.cell is None or leaf.cell.time.ToNanoseconds() < finest.time_s * SECOND_NS
        case Coarsening.COARSENING_FRACTION:
            answer = not _is_in_tenths(leaf.value)
        case Coarsening.COARSENING_ANGLE | Coarsening.COARSENING_ANGLE_SPREAD:
            answer = _spread_deg(leaf.beside) < _SECTOR_DEG[finest.space_m]
        case kind if kind in _BY_CELL:
            answer = leaf.cell is None or leaf.cell.space_m < finest.space_m
        case _:
            answer = True  # it has no coarse form: shown at all is shown exactly
    return answer


def _is_in_tenths(value: object) -> bool:
    return isinstance(value, float) and math.isclose(value * 10.0, round(value * 10.0), abs_tol=_SLACK)


def _spread_deg(message: Message) -> float:
    """Return the uncertainty that a direction carries; a direction without one is exact."""
    name = _fields_of(message.DESCRIPTOR).spread
    return float(getattr(message, name)) if name else 0.0


def _is_early(delay_s: float, header: RoutingHeader, inner: ContentHeader, received_ns: int) -> bool:
    """Say whether it surely left before its delay was over, in its own time."""
    clock = inner.clock
    is_told = inner.HasField("observed_at") and inner.stamps.HasField("received_at")
    if not (is_told and clock.synchronized and clock.HasField("max_error")):
        return False
    left_ns, came_ns = max(nanoseconds(header.released_at), received_ns), nanoseconds(inner.stamps.received_at)
    if inner.HasField("exercise"):
        left_ns, came_ns = exercise_ns(inner.exercise, left_ns), exercise_ns(inner.exercise, came_ns)
    waited_ns = left_ns - min(nanoseconds(inner.observed_at), came_ns) + clock.max_error.ToNanoseconds()
    return waited_ns < round(delay_s * SECOND_NS)


# --- what is set ------------------------------------------------------------------------------------------------------


class _Field(NamedTuple):
    """What is known of a field, wherever its message stands."""

    name: str
    coarsening: Coarsening.ValueType | None  # of a leaf; None for what is none
    has_leaves: bool  # below it
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class _Fields:
    """What is known of a message type."""

    cell: str  # the name of its Cell; "" for none
    by_number: Mapping[int, _Field]
    spread: str  # the name of what says how uncertain its direction is; "" for none


_LEAF: Final = {each.fields[-1].full_name: each.coarsening for each in LEAVES.values()}


@cache
def _fields_of(descriptor: Descriptor) -> _Fields:
    cells = [each.name for each in descriptor.fields if _is_cell(each)]
    spreads = [
        each.name for each in descriptor.fields if _LEAF.get(each.full_name) == Coarsening.COARSENING_ANGLE_SPREAD
    ]
    fields = {
        each.number: _Field(
            name=each.name,
            coarsening=_LEAF.get(each.full_name),
            has_leaves=each.message_type is not None and each.full_name not in _LEAF and not _is_cell(each),
            is_repeated=each.is_repeated,
        )
        for each in descriptor.fields
    }
    return _Fields(cells[0] if cells else "", fields, spreads[0] if spreads else "")


def _is_cell(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == _CELL


def _leaves(message: Message, above: str, cell: Cell | None) -> Iterator[_Seen]:
    """Yield every leaf that is set, as often as it stands there."""
    fields = _fields_of(message.DESCRIPTOR)
    if fields.cell:
        cell = getattr(message, fields.cell)
    for descriptor, value in message.ListFields():
        field = fields.by_number[descriptor.number]
        path = above + field.name
        if field.coarsening is not None:
            yield _Seen(path, field.coarsening, value, cell, message)
        elif field.has_leaves:
            for each in value if field.is_repeated else (value,):
                yield from _leaves(each, path + ".", cell)
