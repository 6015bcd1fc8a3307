"""Where origins differ by more than they should: published beside the picture, never settled by an average.

A Disagreement's distance is the difference over its expected standard deviation; it is 1 for what is not a number
(class, state), and the gap for counts. Under `DISAGREEMENT_LEAST` nothing is said.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.fusion.contribution import Launch, Place
    from broker.fusion.node import Node

__all__ = ["disagreements"]

DISAGREEMENT_LEAST: Final = 2.0
NOT_A_NUMBER_DISTANCE: Final = 1.0
DISAGREEMENTS_MAX: Final = 64  # what one message holds


def disagreements(
    live: Sequence[Node], gone: Sequence[Node], refused: Mapping[str, bool]
) -> list[content_pb2.Disagreement]:
    """Return the fields in which origins differ by more than they should."""
    found: list[tuple[str, float, tuple[str, ...]]] = []
    # Who only tracks says nothing here: what tracks contradict is found where they are fused.
    telling = [node for node in live if node.count("launch") or node.count("impact")]
    for one, two in combinations(sorted(telling, key=lambda node: node.key), 2):
        if one.key[0] != two.key[0]:
            origins: tuple[str, ...] = (one.key[0], two.key[0])
            found += [(path, distance, origins) for path, distance in _differences(one, two)]
    if live and gone:
        every = {node.key[0] for node in (*live, *gone)}
        found.append(("state", NOT_A_NUMBER_DISTANCE, tuple(sorted(every))))
    if any(refused.values()):
        found.append(("state.position_m", DISAGREEMENT_LEAST, tuple(sorted(refused))))
    # Several nodes of two origins give one answer: the greatest.
    greatest: dict[tuple[str, tuple[str, ...]], float] = {}
    for path, distance, origins in found:
        greatest[path, origins] = max(distance, greatest.get((path, origins), 0.0))
    return [
        content_pb2.Disagreement(field_path=path, normalized_distance=round(min(distance, 1e6), 1), origins=origins)
        for (path, origins), distance in sorted(greatest.items())[:DISAGREEMENTS_MAX]
    ]


def _differences(one: Node, two: Node) -> list[tuple[str, float]]:
    """Return the fields in which two origins' words differ, with their distances."""
    found: list[tuple[str, float]] = []
    launches = (one.launch(), two.launch())
    if launches[0] is not None and launches[1] is not None:
        found += _launch_differences(launches[0], launches[1])
    impacts = (one.impact(), two.impact())
    if impacts[0] is not None and impacts[1] is not None:
        if impacts[0].place is not None and impacts[1].place is not None:
            found.append(("area.ellipse.centre", _apart(impacts[0].place, impacts[1].place)))
        if impacts[0].time_ns is not None and impacts[1].time_ns is not None:
            sigma_s = math.hypot(impacts[0].time_sigma_s, impacts[1].time_sigma_s, 1.0)
            found.append(("time.best", abs(impacts[0].time_ns - impacts[1].time_ns) / SECOND_NS / sigma_s))
    found = [(path, distance) for path, distance in found if distance >= DISAGREEMENT_LEAST]
    words = (one.shown("launch"), two.shown("launch"))
    if words[0] is not None and words[1] is not None:
        found += _word_differences(words[0][1].launch, words[1][1].launch)
    return found


def _launch_differences(one: Launch, two: Launch) -> list[tuple[str, float]]:
    """Return the distances of two launches' numbers."""
    found: list[tuple[str, float]] = []
    if one.time_ns is not None and two.time_ns is not None:
        sigma_s = math.hypot(one.time_sigma_s, two.time_sigma_s, 1.0)
        found.append(("launch_time.best", abs(one.time_ns - two.time_ns) / SECOND_NS / sigma_s))
    if one.place is not None and two.place is not None:
        found.append(("launch_area.ellipse.centre", _apart(one.place, two.place)))
    if one.azimuth_deg is not None and two.azimuth_deg is not None:
        turned_deg = abs((one.azimuth_deg - two.azimuth_deg + 180.0) % 360.0 - 180.0)
        found.append(("azimuth_deg", turned_deg / math.hypot(one.azimuth_sigma_deg, two.azimuth_sigma_deg)))
    return found


def _word_differences(one: content_pb2.LaunchDetection, two: content_pb2.LaunchDetection) -> list[tuple[str, float]]:
    """Return where counts do not overlap and likeliest classes differ."""
    found: list[tuple[str, float]] = []
    if one.HasField("count") and two.HasField("count"):
        gap = max(one.count.least, two.count.least) - min(one.count.most, two.count.most)
        if gap > 0:
            found.append(("count", float(gap)))
    if one.classes and two.classes:
        likeliest = [
            max(word.classes, key=lambda estimate: (estimate.probability, -estimate.missile_class)).missile_class
            for word in (one, two)
        ]
        if likeliest[0] != likeliest[1]:
            found.append(("classes", NOT_A_NUMBER_DISTANCE))
    return found


def _apart(one: Place, two: Place) -> float:
    """Return the normalised distance of two places; 100 m are nobody's disagreement."""
    away_m, azimuth_deg = geodesy.distance_azimuth(one.lat_deg, one.lon_deg, two.lat_deg, two.lon_deg)
    sin, cos = math.sin(math.radians(azimuth_deg)), math.cos(math.radians(azimuth_deg))
    east_m2, north_m2 = one.east_m2 + two.east_m2, one.north_m2 + two.north_m2
    along_m2 = east_m2 * sin * sin + north_m2 * cos * cos + 2.0 * (one.east_north_m2 + two.east_north_m2) * sin * cos
    return away_m / math.sqrt(max(along_m2, 0.0) + 1e4)
