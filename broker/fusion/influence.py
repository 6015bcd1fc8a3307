"""What each origin does to the place where an object is expected to come down.

Every origin's own track (`scrutiny`) gives a place of impact; all of them together, weighed by what they claim, give
another, and so do all but one. The influence of an origin is how far the middle of the impact area moves when it alone
is left out. It is measured between two places that were made in the same way, so that it is zero for who adds nothing.
Who is flagged adds nothing already; who stands alone has no influence that could be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion import estimate, impact
from broker.fusion.contribution import Report
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.fusion.contribution import Place, TrackKey
    from broker.fusion.estimate import Estimate
    from broker.fusion.kalman import Matrix, State
    from broker.fusion.scrutiny import Findings

__all__ = ["Share", "shares"]

OLDEST_NS: Final = 600 * SECOND_NS
ORIGINS_MAX: Final = 8  # whose influence is told, the first by name: two falls are computed for each
FALLING: Final = content_pb2.PHASE_DESCENT  # nothing comes down whose motor burns
NAME: Final[TrackKey] = ("", b"", b"")


@dataclass(frozen=True, slots=True)
class Share:
    """What one origin does to the impact. `alone`: where by its word alone, told where it is in a contradiction."""

    origin: str
    influence_m: float | None = None
    alone: Place | None = None


def shares(findings: Findings, time_ns: int) -> tuple[Share, ...]:
    """Return the share of each origin in the impact that is predicted at this time, by the order of their names."""
    contradicting = findings.contradicting
    told = []
    for origin in sorted(findings.own):
        influence_m = 0.0 if origin in findings.flagged else None
        alone = None
        if origin in contradicting:
            prediction = impact.predict(findings.own[origin])
            alone = prediction.place if prediction is not None else None
        told.append(Share(origin, influence_m, alone))
    counted = [one for one in told if one.influence_m is None][:ORIGINS_MAX]
    moved = dict(
        zip([one.origin for one in counted], _moved(findings, [one.origin for one in counted], time_ns), strict=True)
    )
    return tuple([Share(one.origin, moved.get(one.origin, one.influence_m), one.alone) for one in told])


def _moved(findings: Findings, origins: Sequence[str], time_ns: int) -> list[float | None]:
    """Return for each origin how far the impact of all moves without it, m."""
    if len(origins) < 2:  # noqa: PLR2004 - without the only one there is none
        return [None] * len(origins)
    tracks = [findings.own[origin] for origin in origins]
    states = [
        estimate.merged(estimate.advance(track, time_ns)) if time_ns - track.time_ns <= OLDEST_NS else None
        for track in tracks
    ]
    everywhere = _ground(_together([one for one in states if one is not None], time_ns))
    found: list[float | None] = []
    for index, state in enumerate(states):
        others = [one for place, one in enumerate(states) if one is not None and place != index]
        without = _ground(_together(others, time_ns)) if state is not None else None
        if everywhere is None or without is None:
            found.append(None if state is not None else 0.0)
        else:
            found.append(geodesy.distance_azimuth(*everywhere, *without)[0])
    return found


def _together(states: Sequence[tuple[State, Matrix]], time_ns: int) -> State | None:
    """Return the state that several independent ones give, each weighed by what it claims."""
    found: Estimate | None = None
    for state, noise in states:
        report = Report(
            time_ns, (state[0], state[1], state[2]), (state[3], state[4], state[5]), noise, 0.0, 0.0, 0, 0, FALLING
        )
        known = found
        found = estimate.start(report, NAME) if known is None else estimate.absorb(known, report, NAME, common=False)
    return estimate.merged(found)[0] if found is not None else None


def _ground(state: State | None) -> tuple[float, float] | None:
    """Return where a body in this state comes down."""
    ground = impact.fall(state, 1.0) if state is not None else None
    return (ground.lat_deg, ground.lon_deg) if ground is not None else None
