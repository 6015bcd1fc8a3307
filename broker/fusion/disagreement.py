"""Where origins differ by more than they should: published beside the picture, never settled by an average.

A Disagreement's distance is the difference over its expected standard deviation; it is 1 for what is not a number
(class, state, whether it only passes over), and the gap for counts. Under `DISAGREEMENT_LEAST` (tracks: `TRACKS_LEAST`)
nothing is said.

    launch_time.best, launch_area.ellipse.centre, azimuth_deg, count, classes   of the launch
    state.position_m, state.velocity_mps    of an object, by the newest report of each, moved to one time
    apogee_m, ground_range_m                how high and how far: lofted or depressed
    area.ellipse.centre, time.best, overflight_only    of the impact
    state                                   whether there is anything at all: NOT_A_LAUNCH against a launch
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.contribution import Report
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.fusion.board import TrackedObject
    from broker.fusion.contribution import Launch, NodeKey, Place
    from broker.fusion.node import Node

__all__ = ["disagreements"]

DISAGREEMENT_LEAST: Final = 2.0
TRACKS_LEAST: Final = 5.0  # of two reports out of hundreds, in three dimensions: chance comes to 4
NOT_A_NUMBER_DISTANCE: Final = 1.0
DISAGREEMENTS_MAX: Final = 64  # what one message holds
COMPARED_NS: Final = 5 * SECOND_NS  # reports farther apart in time say too little of each other
PUSH_MPS2: Final = 40.0  # what a motor may do between two reports
ROUNDED: Final = 0.05  # of a height or a range: origins reckon differently
ROUNDED_M: Final = 10_000.0


def disagreements(
    live: Sequence[Node], gone: Sequence[Node], refused: Mapping[str, bool], objects: Sequence[TrackedObject]
) -> list[content_pb2.Disagreement]:
    """Return the fields in which origins differ by more than they should."""
    found: list[tuple[str, float, tuple[str, ...]]] = []
    telling = [node for node in live if _tells(node)]
    for one, two in combinations(sorted(telling, key=lambda node: node.key), 2):
        if one.key[0] != two.key[0]:
            origins: tuple[str, ...] = (one.key[0], two.key[0])
            found += [(path, distance, origins) for path, distance in _differences(one, two)]
    nodes = {node.key: node for node in live}
    for tracked in objects:
        found += _track_differences(tracked, nodes)
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


def _tells(node: Node) -> bool:
    """Say whether a node says more than states: what those contradict is found where they are fused."""
    if node.count("launch") or node.count("impact"):
        return True
    newest = node.newest(Report)
    return newest is not None and isinstance(newest.body, Report) and newest.body.claims


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
    tracks = (one.shown("track"), two.shown("track"))
    if tracks[0] is not None and tracks[1] is not None:
        found += _flight_differences(tracks[0][1].track, tracks[1][1].track)
    found = [(path, distance) for path, distance in found if distance >= DISAGREEMENT_LEAST]
    words = (one.shown("launch"), two.shown("launch"))
    if words[0] is not None and words[1] is not None:
        found += _word_differences(words[0][1].launch, words[1][1].launch)
    if impacts[0] is not None and impacts[1] is not None and impacts[0].overflight_only != impacts[1].overflight_only:
        found.append(("overflight_only", NOT_A_NUMBER_DISTANCE))
    return found


def _track_differences(one: TrackedObject, nodes: Mapping[NodeKey, Node]) -> list[tuple[str, float, tuple[str, ...]]]:
    """Return where the newest reports of an object by different origins differ."""
    newest: dict[str, Report] = {}
    for key in one.tracks:
        track = nodes[key[:2]].tracks.get(key) if key[:2] in nodes else None
        if track is not None:
            report = track.entries[track.order[-1]].report
            if key[0] not in newest or newest[key[0]].time_ns < report.time_ns:
                newest[key[0]] = report
    if len(newest) == 1:
        return []
    found: list[tuple[str, float, tuple[str, ...]]] = []
    velocity = one.history.newest.falling_state[3:]
    for origins in combinations(sorted(newest), 2):
        early, late = sorted((newest[origin] for origin in origins), key=lambda report: report.time_ns)
        passed_ns = late.time_ns - early.time_ns
        if passed_ns > COMPARED_NS:
            continue
        passed_s = passed_ns / SECOND_NS
        drift = [passed_s * part for part in velocity]
        found.append(("state.position_m", _moved(early, late, 0, drift, 0.5 * PUSH_MPS2 * passed_s**2), origins))
        if early.velocity_mps is not None and late.velocity_mps is not None:
            found.append(("state.velocity_mps", _moved(early, late, 3, [0.0] * 3, PUSH_MPS2 * passed_s), origins))
    return [line for line in found if line[1] >= TRACKS_LEAST]


def _moved(early: Report, late: Report, first: int, drift: Sequence[float], doubt: float) -> float:
    """Return the normalised distance of two reports' places (first = 0) or velocities (3)."""
    before, after = (
        (early.position_m, late.position_m)
        if first == 0
        else (early.velocity_mps or (0.0, 0.0, 0.0), late.velocity_mps or (0.0, 0.0, 0.0))
    )
    apart = [b - a - moved for a, b, moved in zip(before, after, drift, strict=True)]
    length = math.hypot(*apart)
    if length <= 0.0:
        return 0.0
    axis = [part / length for part in apart]
    variance = math.fsum(
        axis[i] * axis[j] * (early.noise[first + i][first + j] + late.noise[first + i][first + j])
        for i in range(3)
        for j in range(3)
    )
    variance += doubt * doubt
    if first == 0:
        variance += early.bias_m * early.bias_m + late.bias_m * late.bias_m
    return length / math.sqrt(max(variance, 1.0))


def _flight_differences(one: content_pb2.TrackUpdate, two: content_pb2.TrackUpdate) -> list[tuple[str, float]]:
    """Return the distances of how high and how far, as they are stated. "At least" differs only from less."""
    found: list[tuple[str, float]] = []
    for name, first, second in (
        ("apogee_m", one.apogee_m, two.apogee_m),
        ("ground_range_m", one.ground_range_m, two.ground_range_m),
    ):
        low, high = sorted((first, second), key=lambda quantity: quantity.value)
        if not low.value or low.lower_bound:
            continue
        sigma_m = math.hypot(
            low.sigma, high.sigma, low.cell.space_m, high.cell.space_m, ROUNDED * high.value, ROUNDED_M
        )
        found.append((name, (high.value - low.value) / sigma_m))
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
