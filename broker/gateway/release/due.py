"""When a message is released: at once, after its delay, or at the end of its coarse cell.

A time that is shown as "within this minute" and sent within a second of it says the second. So a message that shows a
coarse time leaves at the end of that cell plus the policy's delay: an instant that depends on the cell and on nothing
inside it. A report that comes too late for that leaves at the end of the cell in which it was decided on, so that what
the sending tells is again only a cell.

A time that is withheld is told by a message that is sent at once no less than a coarse one, and less permission never
shows more: such a message waits as if the time were shown in the coarsest cell. `lint` says which rules come to that.

Times that lie ahead, as a predicted impact, hold nothing up: sending a warning now does not say when the impact is.

All instants here are in the content's own time: of the exercise in an exercise, else wall time, in ns since 1970.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from broker import limits
from broker.gateway.release.lattice import Level
from broker.leaves import LEAVES
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from broker.gateway.release.decision import Decision
    from vedette.v1.content_pb2 import Content

__all__ = ["PREDICTIONS", "release_instant_ns", "rounded_up_ns", "told_level"]

PREDICTIONS: Final = ("impact.time.", "notice.window.")
AHEAD_MAX_NS: Final = round(limits.DELAY_MAX_S * SECOND_NS)


def release_instant_ns(decision: Decision, content: Content, decided_ns: int) -> int:
    """Return when the message is due: not before it was decided on, and a function of cells where a time is not exact.

    `released_at`, `stale_after` and the origin's stamps are to be derived from it. `content` is the original.
    """
    delay_ns = round(decision.delay_s * SECOND_NS)
    cells = list(_cells_ns(decision, content, decided_ns))
    if not cells:
        return decided_ns + delay_ns
    due_ns = max(start_ns + length_ns for start_ns, length_ns in cells) + delay_ns
    return max(due_ns, rounded_up_ns(decided_ns, max(length_ns for _, length_ns in cells)))


def rounded_up_ns(at_ns: int, cell_ns: int) -> int:
    """Return the end of the cell of time that an instant lies in; the instant itself where there are no cells."""
    return (at_ns // cell_ns + 1) * cell_ns if cell_ns else at_ns


def _cells_ns(decision: Decision, content: Content, decided_ns: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of the cells of all times that are not shown exactly.

    A prediction that lies ahead holds nothing up, though its cell may have begun: after the impact it is no warning.
    Any other time does, also one a little ahead of our clock; one far ahead counts as of now.
    """
    for path, level in decision.shown.inexact_times:
        at_ns = _instant_ns(content, [field.name for field in LEAVES[path].fields])
        if at_ns is None or (path.startswith(PREDICTIONS) and at_ns > decided_ns):
            continue
        cell_ns = told_level(level).time_ns
        start_ns = at_ns - at_ns % cell_ns
        yield (start_ns if start_ns - decided_ns <= AHEAD_MAX_NS else decided_ns), cell_ns


def told_level(level: Level) -> Level:
    """Return how exactly the moment of sending may tell a time of this level: of one withheld, the coarsest cell."""
    return max(level, Level.CELL_50KM)


def _instant_ns(content: Message, names: list[str]) -> int | None:
    inner = content
    for name in names:
        if not inner.HasField(name):
            return None
        inner = getattr(inner, name)
    return inner.seconds * SECOND_NS + inner.nanos if isinstance(inner, Timestamp) else None
