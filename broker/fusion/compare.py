"""Whether two tracks are one object, and whether two origins' words are of one event.

Distances are squared and normalised (chi square); the gates are wide (1e-4), for splitting one launch into two is as
bad as joining two into one, and errors between nations (survey, clocks) are larger than within one. Kinematics are the
strongest evidence, then launch and impact, then reach alone: an object first seen there can have come from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from broker import geodesy
from broker.fusion import estimate, impact, kalman
from broker.fusion.node import SAMPLES
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.fusion.contribution import Impact, Key, Launch, Place, Report
    from broker.fusion.history import Entry
    from broker.fusion.kalman import Matrix
    from broker.fusion.node import LocalTrack, Node

__all__ = [
    "COARSE_BIAS_M",
    "GATE",
    "SEEN_KIND",
    "UNKNOWN",
    "VAGUE_KIND",
    "Evidence",
    "Sample",
    "Verdict",
    "compare_events",
    "compare_tracks",
    "version",
]

GATE: Final = 21.0  # chi square, 3 terms, 1e-4
REGISTRATION_SIGMA_M: Final = 300.0  # survey and clocks of different nations: 0.1 s at 3 km/s
FAR_M: Final = 15_000.0
FAR_SPEED_MPS: Final = 12_000.0
VAGUE_SIGMA_M: Final = 100_000.0  # a prediction wider than this decides nothing
# Two names by one origin are likelier two objects than one: there, only what is sharp says that they are the same.
VAGUE_SIGMA_OWN_M: Final = 10_000.0
COARSE_BIAS_M: Final = 2_000.0  # a track as coarse as this is compared with what an exact one predicts for its cells
CELL_SIGMA: Final = 0.5  # of a cell in space: its own spread is 0.29, the rest is what the sensor may be off by
CELL_SIGMA_TIME: Final = 0.29  # of a cell in time, along the way: the time itself is known well
CELLS_STATED_MOST: Final = 2.0  # a coarse report that says it is off by more cells than this is off by that
GAP_MAX_NS: Final = 600 * SECOND_NS
FAR_DISTANCE: Final = 1e6

LAUNCH_TIME_SIGMA_S: Final = 5.0
LAUNCH_PLACE_SIGMA_M: Final = 3_000.0
LAUNCH_TIME_SIGMA_OWN_S: Final = 1.0  # between two words of one origin
LAUNCH_PLACE_SIGMA_OWN_M: Final = 500.0
UNPLACED_PENALTY: Final = 9.0
PUSH_MOST_MPS2: Final = 70.0  # how fast anything gets away from its launch point
SPEED_MOST_MPS: Final = 7_500.0
FLIGHT_MAX_S: Final = 5_400.0
IMPACT_TIME_SIGMA_S: Final = 30.0
IMPACT_PLACE_SIGMA_M: Final = 30_000.0
BEARING_SIGMA_DEG: Final = 5.0
NEAR_M: Final = 20_000.0  # nearer than this a direction says nothing
EARLY_REPORTS: Final = 4  # from which the ascent is read back
FALL_EVERY: Final = 8  # reports of a track per comparison of its fall with an impact prediction


class Verdict(IntEnum):
    """What a comparison says."""

    SAME = 0
    UNKNOWN = 1
    UNLIKELY = 2  # nothing tells them apart, but one sensor gave two names
    CONTRARY = 3  # two origins' tracks are apart, but began as one or are near: two objects, or one of them is wrong
    DIFFERENT = 4


SEEN_KIND: Final = 0
VAGUE_KIND: Final = 1


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """A verdict and its strength: kind 0 is kinematic, 1 of launch or impact, 2 of reach alone; a low score is good.

    Of UNLIKELY, SEEN_KIND is a difference that was seen, VAGUE_KIND that none would have been.
    `count`: at how many common times two tracks were compared, if it came to that.
    """

    verdict: Verdict
    kind: int = 0
    score: float = 0.0
    count: int = 0


UNKNOWN: Final = Evidence(Verdict.UNKNOWN)
Sample: TypeAlias = "tuple[float, float] | None"  # squared distance and log determinant; None: says nothing


# --- tracks -----------------------------------------------------------------------------------------------------------


def compare_tracks(
    early: LocalTrack, late: LocalTrack, done: dict[Key, tuple[tuple[Key, ...], Sample]]
) -> tuple[Key | None, Evidence, tuple[float, ...]]:
    """Return the last place in the order on which the evidence depends, if it is final; the evidence; its distances.

    `done` holds the samples compared before, each with the earlier track's reports that went in.
    """
    is_own = early.key[0] == late.key[0]
    # What a coarse track predicts is too vague to decide anything; whether an exact one went through its cells is not.
    is_open = False  # whether a coarse report that is still to come changes who is asked about whom
    if early.is_coarser_than(COARSE_BIAS_M) and not late.is_coarser_than(COARSE_BIAS_M):
        later = early.samples(late.order[0])
        is_open = not later
        early, late, samples = (late, early, later) if later else (early, late, late.samples())
    else:
        samples = late.samples()
    settled_at = samples[-1].key if len(samples) == SAMPLES and not is_open else None
    distances: list[float] = []
    scores: list[float] = []
    for sample in samples:
        window = early.window(sample.key)
        known = done.get(sample.key)
        if known is None or known[0] != window:
            found = _compare_sample(early, sample, vague_m=VAGUE_SIGMA_OWN_M if is_own else VAGUE_SIGMA_M)
            known = done[sample.key] = (window, found)
        if known[1] is not None:
            distances.append(known[1][0])
            scores.append(known[1][0] + known[1][1])
    if not distances:
        return settled_at, UNKNOWN, ()
    mean = math.fsum(distances) / len(distances)
    verdict = Verdict.SAME if mean <= GATE else Verdict.DIFFERENT
    return settled_at, Evidence(verdict, 0, math.fsum(scores) / len(scores)), tuple(distances)


def _compare_sample(early: LocalTrack, sample: Entry, *, vague_m: float) -> Sample:
    """Return squared distance and log determinant of a report against the other track; None if that is too vague."""
    known = early.state_before(sample.key)
    if known is None or sample.report.time_ns - known.time_ns > GAP_MAX_NS:
        return None
    report = sample.report
    gap_s = (report.time_ns - known.time_ns) / SECOND_NS
    apart_m = math.dist(report.position_m, known.falling_state[:3])
    width_m = math.sqrt(estimate.position_variance(known))
    width_m += math.sqrt(report.noise[0][0] + report.noise[1][1] + report.noise[2][2]) + 2.0 * report.bias_m
    if apart_m > FAR_M + FAR_SPEED_MPS * gap_s + 6.0 * width_m:
        return FAR_DISTANCE, 0.0
    # What follows from biases is of use for the next report only, and there is none here.
    state, noise = estimate.merged(estimate.advance(estimate.without_biases(known), report.time_ns))
    if report.bias_m < COARSE_BIAS_M or early.is_coarser_than(COARSE_BIAS_M):
        extra = report.bias_m * report.bias_m + REGISTRATION_SIGMA_M * REGISTRATION_SIGMA_M
        spread = [[noise[i][j] + report.noise[i][j] + (extra if i == j else 0.0) for j in range(3)] for i in range(3)]
    else:
        spread = _of_cell(report, state[3:], noise)
    if spread[0][0] + spread[1][1] + spread[2][2] > 3.0 * vague_m * vague_m:
        return None
    miss = [a - b for a, b in zip(report.position_m, state[:3], strict=True)]
    return kalman.distance_squared(miss, spread)


def _of_cell(report: Report, velocity_mps: Sequence[float], noise: Matrix) -> list[list[float]]:
    """Return the covariance of a coarse report about an object that moves so: its cell, and the way in its time cell.

    Not the one that the report counts with: that one is wider, for many reports of one cell must not add up to more
    than the cell. Here each is asked by itself whether the object was there.
    """
    cell_s = report.spacing_ns / SECOND_NS
    wide_m, long_s = CELL_SIGMA * report.space_m, CELL_SIGMA_TIME * cell_s
    extra = wide_m * wide_m + REGISTRATION_SIGMA_M * REGISTRATION_SIGMA_M
    stated_m = math.sqrt(report.noise[0][0])
    if stated_m > CELLS_STATED_MOST * report.space_m + SPEED_MOST_MPS * cell_s:
        extra += stated_m * stated_m  # a sensor that is worse than the cell
    way = [long_s * speed for speed in velocity_mps]
    return [[noise[i][j] + way[i] * way[j] + (extra if i == j else 0.0) for j in range(3)] for i in range(3)]


# --- launches and impacts ---------------------------------------------------------------------------------------------


def version(node: Node) -> tuple[object, ...]:
    """Return what changes when `_compare_events` may say something else of this node."""
    tracks = [(tuple(track.order[:EARLY_REPORTS]), len(track.order) // FALL_EVERY) for track in node.tracks.values()]
    return (node.features_version, tuple(tracks))


def compare_events(one: Node, two: Node) -> Evidence:
    """Compare launches, impacts and tracks of two nodes with each other. What contradicts, decides; else the best."""
    own = one.key[0] == two.key[0]
    found: list[Evidence] = []
    launches, others = _launches(one), _launches(two)
    found += [_compare_launches(a, b, own=own) for a in launches for b in others]
    impacts = (one.impact(), two.impact())
    if impacts[0] is not None and impacts[1] is not None:
        found.append(_compare_impacts(impacts[0], impacts[1]))
    for node, other in ((one, two), (two, one)):
        launch, ending = node.launch(), other.impact()
        if launch is not None and not (launches and others):
            found += [_compare_reach(launch, track.first) for track in other.tracks.values()]
        if launch is not None and ending is not None and other.launch() is None:
            found.append(_compare_course(launch, ending))
        if ending is not None and node.impact() is None:
            found += [_compare_fall(track, ending) for track in node.tracks.values()]
    decided = [evidence for evidence in found if evidence.verdict is not Verdict.UNKNOWN]
    against = [evidence for evidence in decided if evidence.verdict is Verdict.DIFFERENT]
    return min(against or decided, default=UNKNOWN)


def _launches(node: Node) -> list[Launch]:
    """Return the node's launch, or where its tracks came from."""
    launch = node.launch()
    if launch is not None:
        return [launch]
    risen = []
    for track in node.tracks.values():
        early = track.state_before(track.order[min(len(track.order), EARLY_REPORTS) - 1])
        from_ground = impact.ascent(early) if early is not None else None
        if from_ground is not None:
            risen.append(from_ground)
    return risen


def _compare_launches(one: Launch, two: Launch, *, own: bool) -> Evidence:
    """Compare time, place and direction of two launches."""
    if one.time_ns is None or two.time_ns is None:
        return UNKNOWN
    floor_s = LAUNCH_TIME_SIGMA_OWN_S if own else LAUNCH_TIME_SIGMA_S
    apart_s = (one.time_ns - two.time_ns) / SECOND_NS
    score = apart_s * apart_s / (one.time_sigma_s**2 + two.time_sigma_s**2 + floor_s * floor_s)
    if score > GATE:
        return Evidence(Verdict.DIFFERENT, 1, score)
    if one.place is None or two.place is None:
        return Evidence(Verdict.SAME, 1, score + UNPLACED_PENALTY)
    score += _places_apart(one.place, two.place, LAUNCH_PLACE_SIGMA_OWN_M if own else LAUNCH_PLACE_SIGMA_M)
    if score > GATE:
        return Evidence(Verdict.DIFFERENT, 1, score)
    vague = max(one.place.spread_m, two.place.spread_m) > (VAGUE_SIGMA_OWN_M if own else VAGUE_SIGMA_M)
    return UNKNOWN if vague else Evidence(Verdict.SAME, 1, score)


def _compare_reach(launch: Launch, first: Entry) -> Evidence:
    """Say whether an object first seen there can have come from this launch. Time alone proves little."""
    if launch.time_ns is None or launch.place is None:
        return UNKNOWN
    report = first.report
    flown_s = (report.time_ns - launch.time_ns) / SECOND_NS + 3.0 * launch.time_sigma_s
    if flown_s < 0.0:
        return Evidence(Verdict.DIFFERENT, 2)
    if flown_s > FLIGHT_MAX_S:
        return UNKNOWN
    lat_deg, lon_deg, _ = geodesy.geodetic(*report.position_m)
    away_m, azimuth_deg = geodesy.distance_azimuth(launch.place.lat_deg, launch.place.lon_deg, lat_deg, lon_deg)
    doubt_m = 3.0 * (launch.place.spread_m + math.sqrt(report.noise[0][0]) + report.bias_m) + LAUNCH_PLACE_SIGMA_M
    reach_m = min(0.5 * PUSH_MOST_MPS2 * flown_s * flown_s, SPEED_MOST_MPS * flown_s) + doubt_m
    if away_m > reach_m:
        return Evidence(Verdict.DIFFERENT, 2)
    turned = _turned(launch, azimuth_deg, away_m)
    if turned > GATE:
        return Evidence(Verdict.DIFFERENT, 2)
    return Evidence(Verdict.SAME, 2, turned + GATE * (away_m / reach_m) ** 2 + flown_s / 60.0)


def _compare_course(launch: Launch, ending: Impact) -> Evidence:
    """Say whether a launch can lead to an impact: only a direction tells."""
    if launch.time_ns is None or ending.time_ns is None or launch.azimuth_deg is None:
        return UNKNOWN
    if launch.place is None or ending.place is None:
        return UNKNOWN
    flown_s = (ending.time_ns - launch.time_ns) / SECOND_NS
    if not 0.0 < flown_s < FLIGHT_MAX_S:
        return Evidence(Verdict.DIFFERENT, 2)
    away_m, azimuth_deg = geodesy.distance_azimuth(
        launch.place.lat_deg, launch.place.lon_deg, ending.place.lat_deg, ending.place.lon_deg
    )
    turned = _turned(launch, azimuth_deg, away_m)
    if turned > GATE or away_m > SPEED_MOST_MPS * flown_s:
        return Evidence(Verdict.DIFFERENT, 2)
    return Evidence(Verdict.SAME, 2, turned + flown_s / 60.0)


def _turned(launch: Launch, azimuth_deg: float, away_m: float) -> float:
    """Return the squared normalised difference between a launch's direction and a bearing."""
    if launch.azimuth_deg is None or launch.place is None or away_m < NEAR_M:
        return 0.0
    apart_deg = (azimuth_deg - launch.azimuth_deg + 180.0) % 360.0 - 180.0
    seen_deg = math.degrees(launch.place.spread_m / away_m)
    return apart_deg * apart_deg / (launch.azimuth_sigma_deg**2 + BEARING_SIGMA_DEG**2 + seen_deg**2)


def _compare_impacts(one: Impact, two: Impact) -> Evidence:
    """Compare two predictions of an impact."""
    if one.time_ns is None or two.time_ns is None or one.place is None or two.place is None:
        return UNKNOWN
    apart_s = (one.time_ns - two.time_ns) / SECOND_NS
    score = apart_s * apart_s / (one.time_sigma_s**2 + two.time_sigma_s**2 + IMPACT_TIME_SIGMA_S**2)
    score += _places_apart(one.place, two.place, IMPACT_PLACE_SIGMA_M)
    # Two predictions may differ and speak of one launch: that is a disagreement, not a second event.
    return Evidence(Verdict.SAME, 1, score) if score <= GATE else UNKNOWN


def _compare_fall(track: LocalTrack, ending: Impact) -> Evidence:
    """Compare where a track leads with where somebody expects an impact."""
    count = len(track.order) - len(track.order) % FALL_EVERY
    if count == 0 or ending.time_ns is None or ending.place is None:
        return UNKNOWN
    known = track.state_before(track.order[count - 1])
    if known is None or known.burning_probability > 0.5:  # noqa: PLR2004 - more likely than not
        return UNKNOWN
    ground = impact.fall(estimate.merged(known)[0], 1.0)
    if ground is None:
        return UNKNOWN
    apart_s = (known.time_ns - ending.time_ns) / SECOND_NS + ground.after_s
    score = apart_s * apart_s / (ending.time_sigma_s**2 + IMPACT_TIME_SIGMA_S**2)
    away_m, _ = geodesy.distance_azimuth(ground.lat_deg, ground.lon_deg, ending.place.lat_deg, ending.place.lon_deg)
    score += away_m * away_m / (ending.place.spread_m**2 + IMPACT_PLACE_SIGMA_M**2)
    return Evidence(Verdict.SAME, 1, score) if score <= GATE else UNKNOWN


def _places_apart(one: Place, two: Place, floor_m: float) -> float:
    """Return the squared normalised distance of two places."""
    away_m, azimuth_deg = geodesy.distance_azimuth(one.lat_deg, one.lon_deg, two.lat_deg, two.lon_deg)
    east, north = away_m * math.sin(math.radians(azimuth_deg)), away_m * math.cos(math.radians(azimuth_deg))
    e = one.east_m2 + two.east_m2 + floor_m * floor_m
    n = one.north_m2 + two.north_m2 + floor_m * floor_m
    en = one.east_north_m2 + two.east_north_m2
    return (n * east * east - 2.0 * en * east * north + e * north * north) / max(e * n - en * en, 1.0)
