"""What parts from an object in flight: a stage, a fragment. It belongs to the same event and is no second launch.

A track begins *at* another if its origin had followed the other for `FOLLOWED_NS` by then, it begins above `HIGH_M`,
and its first report is where the other is: whatever was launched so much later from the same place is far behind. Which
of the two is debris shows later: what falls behind. Until then neither is called anything, and both are shown.

Only tracks of one origin are asked, for another nation may just begin to see. The rest of an event follows its nodes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion import estimate
from broker.fusion.assessment import Kinship
from broker.fusion.compare import COARSE_BIAS_M
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.fusion.board import Event, TrackedObject
    from broker.fusion.contribution import NodeKey, TrackKey
    from broker.fusion.naming import Named
    from broker.fusion.node import LocalTrack, Node

__all__ = ["kinship", "parents", "with_parts"]

FOLLOWED_NS: Final = 15 * SECOND_NS
HEARD_NS: Final = 12 * SECOND_NS  # the other was reported within this before
HIGH_M: Final = 15_000.0
NEAR_M: Final = 1_500.0
NEAR_SIGMAS: Final = 3.0
NEAR_MOST_M: Final = 6_000.0
BEHIND_M: Final = 500.0


def begins_at(track: LocalTrack, other: LocalTrack) -> bool:
    """Say whether a track begins where its origin has long followed another."""
    first = track.first
    if track.key[0] != other.key[0] or first.key[0] - other.order[0][0] < FOLLOWED_NS:
        return False
    if track.is_coarser_than(COARSE_BIAS_M) or other.is_coarser_than(COARSE_BIAS_M):
        return False
    if geodesy.height_m(*first.report.position_m) < HIGH_M:
        return False
    known = other.state_before(first.key)
    if known is None or first.report.time_ns - known.time_ns > HEARD_NS:
        return False
    state, noise = estimate.merged(estimate.advance(known, first.report.time_ns))
    width_m2 = sum(noise[axis][axis] + first.report.noise[axis][axis] for axis in range(3))
    near_m = min(NEAR_M + NEAR_SIGMAS * math.sqrt(width_m2 / 3.0), NEAR_MOST_M)
    return math.dist(state[:3], first.report.position_m) <= near_m


def with_parts(groups: Sequence[list[NodeKey]], nodes: Mapping[NodeKey, Node]) -> list[list[NodeKey]]:
    """Return the groups, in order; one all of whose tracks begin at tracks of another is a part of that one."""
    tracks = [[track for key in group for track in nodes[key].tracks.values()] for group in groups]
    root = list(range(len(groups)))
    for index, own in enumerate(tracks):
        for earlier in range(index) if own else ():
            if root[earlier] == earlier and all(any(begins_at(one, other) for other in tracks[earlier]) for one in own):
                root[index] = earlier
                break
    return [
        [key for part, of in zip(groups, root, strict=True) if of == index for key in part]
        for index in range(len(groups))
        if root[index] == index
    ]


def parents(objects: Sequence[TrackedObject], nodes: Mapping[NodeKey, Node]) -> dict[TrackKey, TrackKey]:
    """Return of each object that began at another which, both by their first tracks."""
    found: dict[TrackKey, TrackKey] = {}
    tracks = [[nodes[key[:2]].tracks[key] for key in one.tracks] for one in objects]
    for index, one in enumerate(objects):
        for earlier in range(len(objects)):
            if earlier != index and any(begins_at(a, b) for a in tracks[index] for b in tracks[earlier]):
                found[one.key] = objects[earlier].key
                break
    return found


def kinship(event: Event, one: TrackedObject, called: Mapping[TrackKey, Named]) -> Kinship:
    """Return what an object is to the others of its event, by the names that the picture gives them."""
    former = called[one.key].former
    parent = next((other for other in event.objects if event.parents.get(one.key) == other.key), None)
    if parent is not None:
        part = content_pb2.PART_DEBRIS if _falls_behind(one, parent) else content_pb2.PART_UNSPECIFIED
        return Kinship(part, former, called[parent.key].name)
    parts = [other for other in event.objects if event.parents.get(other.key) == one.key]
    is_body = any(_falls_behind(other, one) for other in parts)
    return Kinship(content_pb2.PART_BODY if is_body else content_pb2.PART_UNSPECIFIED, former)


def _falls_behind(one: TrackedObject, body: TrackedObject) -> bool:
    """Say whether an object is behind another on its way, by more than what is known of both."""
    first, second = one.history.newest, body.history.newest
    time_ns = max(first.time_ns, second.time_ns)
    state, noise = estimate.merged(estimate.advance(first, time_ns))
    other, other_noise = estimate.merged(estimate.advance(second, time_ns))
    speed_mps = math.hypot(*other[3:])
    if speed_mps == 0.0:
        return False
    ahead_m = math.fsum((a - b) * v for a, b, v in zip(state[:3], other[:3], other[3:], strict=True)) / speed_mps
    width_m2 = sum(noise[axis][axis] + other_noise[axis][axis] for axis in range(3)) / 3.0
    return ahead_m < -(BEHIND_M + NEAR_SIGMAS * math.sqrt(width_m2))
