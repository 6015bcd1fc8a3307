"""What the picture says of an object beside its state and its impact: one ObjectAssessment each, in the tracks' order.

How it moves and whether its numbers fit together are found here; what it is a part of and under which names it was
known before are found by what associates reports (`Kinship`), and are only told here. Nothing that is said here makes
an area smaller or takes anything away: a flag is a reason to trust an area less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.fusion.board import TrackedObject

__all__ = ["FORMER_MAX", "NO_KIN", "Kinship", "assessment"]

FORMER_MAX: Final = 16  # names that an object is said to have had before, the newest


@dataclass(frozen=True, slots=True)
class Kinship:
    """What the object is to others, by the names that the picture gives them (`picture.object_id`)."""

    part: content_pb2.Part.ValueType = content_pb2.PART_UNSPECIFIED
    former_object_ids: tuple[bytes, ...] = ()
    parted_from: bytes = b""


NO_KIN: Final = Kinship()


def assessment(object_id: bytes, one: TrackedObject, kinship: Kinship = NO_KIN) -> content_pb2.ObjectAssessment:
    """Return what is to be said of an object under the name that the picture gives it."""
    return content_pb2.ObjectAssessment(
        object_id=object_id,
        motion=_motion(one),
        part=kinship.part,
        former_object_ids=kinship.former_object_ids[-FORMER_MAX:],
        parted_from=kinship.parted_from,
    )


def _motion(one: TrackedObject) -> content_pb2.Motion.ValueType:
    """Return how an object moves, as far as the newest reports tell."""
    burning = one.history.newest.burning_probability
    if burning > 0.5:  # noqa: PLR2004 - more likely than not
        return content_pb2.MOTION_BURNING
    return content_pb2.MOTION_BALLISTIC if one.prediction is not None else content_pb2.MOTION_UNSPECIFIED
