"""What the picture says of an object beside its state and its impact: one ObjectAssessment each, in the tracks' order.

How it moves and whether its numbers fit together are found here; what it is a part of and under which names it was
known before are found by what associates reports (`Kinship`), and are only told here. Nothing that is said here makes
an area smaller or takes anything away: a flag is a reason to trust an area less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.fusion.impact import BURNING_MOST
from broker.fusion.motion import BURNING_LIKELY
from broker.fusion.plausibility import claims_fit, fused_fits
from broker.fusion.regions import nearest, touched
from broker.instant import timestamp
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.fusion.board import TrackedObject
    from broker.fusion.contribution import NodeKey, Place
    from broker.fusion.node import Node

__all__ = ["FORMER_MAX", "NO_KIN", "Kinship", "assessment", "is_implausible"]

REGIONS_MAX: Final = limits.FIELD_ITEMS_MAX
MILLISECOND_NS: Final = 1_000_000
FORMER_MAX: Final = 16  # names that an object is said to have had before, the newest


@dataclass(frozen=True, slots=True)
class Kinship:
    """What the object is to others, by the names that the picture gives them (`picture.object_id`)."""

    part: content_pb2.Part.ValueType = content_pb2.PART_UNSPECIFIED
    former_object_ids: tuple[bytes, ...] = ()
    parted_from: bytes = b""


NO_KIN: Final = Kinship()


def assessment(
    object_id: bytes, one: TrackedObject, *, implausible: bool = False, kinship: Kinship = NO_KIN
) -> content_pb2.ObjectAssessment:
    """Return what is to be said of an object under the name that the picture gives it."""
    known, motion = one.forecast, one.history.motion
    said = content_pb2.ObjectAssessment(
        object_id=object_id,
        motion=_motion(one),
        part=kinship.part,
        implausible=implausible,
        regions=_regions(known.prediction.place) if known.prediction is not None else (),
        overflown=known.overflown[:REGIONS_MAX],
        former_object_ids=kinship.former_object_ids[-FORMER_MAX:],
        parted_from=kinship.parted_from,
    )
    if motion.burnout_ns is not None:
        said.burnout_at.CopyFrom(timestamp(motion.burnout_ns // MILLISECOND_NS * MILLISECOND_NS))
    return said


def _regions(place: Place) -> tuple[str, ...]:
    """Return the regions that an area touches, as many as go into a message."""
    return nearest(touched(place), place, REGIONS_MAX)


def is_implausible(
    one: TrackedObject,
    nodes: Mapping[NodeKey, Node],
    track: content_pb2.TrackUpdate | None,
    launch: content_pb2.LaunchDetection | None,
) -> bool:
    """Say whether what is fused of an object, or what an origin states of it, does not fit together."""
    if not all(claims_fit(nodes[key]) for key in {track_key[:2] for track_key in one.tracks}):
        return True
    known = one.forecast
    if track is None or known.prediction is None or not known.is_ballistic or known.silent_ns:
        return False
    return not fused_fits(track, launch, known.prediction)


def _motion(one: TrackedObject) -> content_pb2.Motion.ValueType:
    """Return how an object moves, as far as its reports tell."""
    if not one.history.motion.is_ballistic:
        return content_pb2.MOTION_NON_BALLISTIC
    burning = one.history.newest.burning_probability
    if one.prediction is not None and (burning <= BURNING_MOST or one.history.motion.coasted):
        return content_pb2.MOTION_BALLISTIC
    return content_pb2.MOTION_BURNING if burning > BURNING_LIKELY else content_pb2.MOTION_UNSPECIFIED
