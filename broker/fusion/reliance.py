"""How far each origin can be relied upon, as the picture says it: consistency, flag, influence, offsets.

Of several objects the worst is told. What nobody can tell yet stays unset: an offset of which less is known than
nations' clocks and surveys are expected to differ by, a consistency with nobody to be compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.estimate import merged
from broker.fusion.registration import CLOCK_SIGMA_S, SURVEY_SIGMA_M

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.fusion.board import TrackedObject
    from broker.fusion.contribution import Place
    from broker.fusion.registration import Offsets
    from broker.fusion.scrutiny import Findings
    from vedette.v1 import content_pb2, measures_pb2

__all__ = ["clock_offset", "offsets_of", "position_offset", "tell_reliance"]

KNOWN: Final = 0.5  # an offset's standard deviation over what it was before anything was said
CONSISTENCY_MOST: Final = 1e6


def tell_reliance(
    contribution: content_pb2.Contribution,
    objects: Sequence[TrackedObject],
    area: Callable[[Place], measures_pb2.Area],
) -> None:
    """Write into an origin's contribution what these objects say of it; `area` makes one of a place."""
    origin = contribution.origin
    every = [(one, one.scrutiny.findings) for one in objects]
    followed = [(one, found) for one, found in every if origin in found.own]
    contribution.flagged = any(origin in found.flagged for _, found in followed)
    distances = [distance for _, found in followed if (distance := _consistency(found, origin)) is not None]
    if distances:
        contribution.consistency = round(min(max(distances), CONSISTENCY_MOST), 1)
    shares = [share for one, _ in followed for share in one.forecast.shares if share.origin == origin]
    moved_m = [share.influence_m for share in shares if share.influence_m is not None]
    if moved_m:
        contribution.influence_m = round(max(moved_m), 0)
    alone = next((share.alone for share in shares if share.alone is not None), None)
    if alone is not None:
        contribution.area_alone.CopyFrom(area(alone))
    for one, found in followed:
        _tell_offsets(contribution, found, merged(one.history.newest)[0])


def _consistency(findings: Findings, origin: str) -> float | None:
    """Return the mean distance from the others who are not flagged; None if there is nobody."""
    found = [
        one.distance
        for (who, other), one in findings.pairs.items()
        if who == origin and other not in findings.flagged and one.distance is not None
    ]
    return sum(found) / len(found) if found else None


def _tell_offsets(contribution: content_pb2.Contribution, findings: Findings, at_m: Sequence[float]) -> None:
    """Write down the origin's clock and position offset, as far as they are known."""
    found = offsets_of(findings, contribution.origin)
    clock_s, clock_sigma_s = clock_offset(found)
    if clock_sigma_s < KNOWN * CLOCK_SIGMA_S:
        contribution.clock_offset_s, contribution.clock_offset_sigma_s = round(clock_s, 3), round(clock_sigma_s, 3)
    position_m, sigma_m = position_offset(found)
    if sigma_m < KNOWN * SURVEY_SIGMA_M and not contribution.position_offset_m:
        lat_deg, lon_deg, _ = geodesy.geodetic(at_m[0], at_m[1], at_m[2])
        axes = geodesy.enu_axes(lat_deg, lon_deg)
        contribution.position_offset_m.extend(
            round(sum(a * b for a, b in zip(axis, position_m, strict=True)), 0) + 0.0 for axis in axes
        )
        contribution.position_offset_sigma_m = round(sigma_m, 0)


def offsets_of(findings: Findings, origin: str) -> list[Offsets]:
    """Return the origin's offsets from each other one that is not flagged."""
    return [
        one.offsets() for (who, other), one in findings.pairs.items() if who == origin and other not in findings.flagged
    ]


def clock_offset(offsets: Sequence[Offsets]) -> tuple[float, float]:
    """Return the mean of clock offsets, weighed, and its standard deviation: no better than theirs, what they share."""
    weight = sum(1.0 / one.clock_s2 for one in offsets)
    if not weight:
        return 0.0, CLOCK_SIGMA_S
    mean_s: float = sum(one.clock_s / one.clock_s2 for one in offsets) / weight
    return mean_s, (len(offsets) / weight) ** 0.5


def position_offset(offsets: Sequence[Offsets]) -> tuple[geodesy.Vector, float]:
    """Return the mean of position offsets (ECEF), weighed, and its standard deviation along an axis, as for clocks."""
    weights = [3.0 / (one.position_m2[0] + one.position_m2[3] + one.position_m2[5]) for one in offsets]
    weight = sum(weights)
    if not weight:
        return (0.0, 0.0, 0.0), SURVEY_SIGMA_M
    x, y, z = (
        sum(part * one.position_m[axis] for part, one in zip(weights, offsets, strict=True)) / weight
        for axis in range(3)
    )
    return (x, y, z), (len(offsets) / weight) ** 0.5
