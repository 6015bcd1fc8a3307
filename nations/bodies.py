"""The pieces of Content that every nation's adapter makes: times, places, states, labels, sources.

SI units, degrees, UTC nanoseconds. A time or a place with a spread holds the truth with 95 %, as Content says it.
What Content would refuse at intake is refused here as an unreadable line, so that an adapter never half takes one over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from broker.plugin import Sight, UnreadableLine
from nations import fields, motion
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.plugin import Observation

__all__ = [
    "CLASSES",
    "CLASS_NAMES",
    "PHASES",
    "PHASE_NAMES",
    "PROBABILITY",
    "REASONS",
    "SIGHTED",
    "SIGMAS",
    "STATES",
    "STATE_NAMES",
    "ellipse",
    "label",
    "phase_of",
    "quantity",
    "source",
    "state",
    "status",
    "timestamp",
    "window",
]

PROBABILITY: Final = 0.95
SIGMAS: Final = 1.959964  # of a normal distribution, both sides: 95 %
MARKINGS_MAX: Final = 16  # nations or caveats in one label
AXES: Final = 3
CORRELATION_SLACK: Final = 1e-6
ORIGINATOR_CONTROLLED: Final = "ORCON"

CLASSES: Final = {
    name.removeprefix("MISSILE_CLASS_"): value for name, value in measures_pb2.MissileClass.items() if value
}
PHASES: Final = {name.removeprefix("PHASE_"): value for name, value in content_pb2.Phase.items() if value}
STATES: Final = {name.removeprefix("EVENT_STATE_"): value for name, value in content_pb2.EventState.items() if value}
REASONS: Final = {
    name.removeprefix("STATUS_REASON_"): value for name, value in content_pb2.StatusReason.items() if value
}
CLASS_NAMES: Final = {value: name for name, value in CLASSES.items()}
PHASE_NAMES: Final = {value: name for name, value in PHASES.items()}
STATE_NAMES: Final = {value: name for name, value in STATES.items()}

SIGHTED: Final = {  # what an exercise's sensor says of the whole event
    Sight.LOST: content_pb2.EVENT_STATE_TRACK_LOST,
    Sight.NOT_A_LAUNCH: content_pb2.EVENT_STATE_NOT_A_LAUNCH,
    Sight.ALL_CLEAR: content_pb2.EVENT_STATE_ALL_CLEAR,
}


def timestamp(time_ns: int) -> Timestamp:
    """Return a protobuf time."""
    stamp = Timestamp()
    stamp.FromNanoseconds(time_ns)
    return stamp


def window(best_ns: int, spread_s: float) -> measures_pb2.TimeWindow:
    """Return the time that is within best - spread and best + spread with 95 %."""
    spread_ns = round(spread_s * 1e9)
    return measures_pb2.TimeWindow(
        earliest=timestamp(best_ns - spread_ns), latest=timestamp(best_ns + spread_ns), best=timestamp(best_ns)
    )


def ellipse(
    lat_deg: float, lon_deg: float, semi_major_m: float, semi_minor_m: float, orientation_deg: float
) -> measures_pb2.Area:
    """Return the 95 % ellipse around a place."""
    if semi_minor_m > semi_major_m:
        raise UnreadableLine("ellipse: its minor axis is the longer one")
    return measures_pb2.Area(
        ellipse=measures_pb2.Ellipse(
            centre=measures_pb2.GeoPoint(lat_deg=lat_deg, lon_deg=lon_deg),
            semi_major_m=semi_major_m,
            semi_minor_m=semi_minor_m,
            orientation_deg=orientation_deg,
            probability=PROBABILITY,
        )
    )


def state(
    time_ns: int, position_m: Sequence[float], velocity_mps: Sequence[float] | None, covariance: Sequence[float]
) -> measures_pb2.State:
    """Return a state vector in ECEF. Its covariance (21, 6 or no terms) must be one that a random vector can have."""
    for name, values, most in (("position", position_m, 1e8), ("velocity", velocity_mps or (), 15_000.0)):
        for value in values:
            fields.within(value, name, -most, most)
    _check_covariance(covariance, with_velocity=bool(velocity_mps))
    return measures_pb2.State(
        frame=measures_pb2.FRAME_ECEF_WGS84,
        valid_at=timestamp(time_ns),
        position_m=position_m,
        velocity_mps=velocity_mps or (),
        covariance=covariance,
    )


def quantity(value: float | None, *, at_least: bool = False) -> measures_pb2.Quantity | None:
    """Return a length in metres, or "at least" so much; None stays None."""
    return None if value is None else measures_pb2.Quantity(value=value, lower_bound=at_least)


def source(
    kind: measures_pb2.SensorKind.ValueType, name: str, site: tuple[float, float, float] | None
) -> measures_pb2.Source:
    """Return who saw it, and where that sensor was (degrees, degrees, metres) if the line says so."""
    at = None if site is None else measures_pb2.GeoPoint(lat_deg=site[0], lon_deg=site[1], height_m=site[2])
    return measures_pb2.Source(kind=kind, name=name, site=at)


def status(
    event_state: content_pb2.EventState.ValueType, reason: content_pb2.StatusReason.ValueType
) -> content_pb2.EventStatus:
    """Return what is said of the whole event."""
    return content_pb2.EventStatus(state=event_state, reason=reason)


def label(
    nation: str,
    classification: envelope_pb2.Classification.ValueType,
    releasable_to: Sequence[str],
    caveats: Sequence[str],
    *,
    known_caveats: frozenset[str],
) -> envelope_pb2.SecurityLabel:
    """Return the label of a line's marking. The nation itself always belongs to those who may see it.

    A caveat that the nation's policy was not written for is refused here: nobody would know what it forbids.
    """
    for field, words in (("releasable to", releasable_to), ("caveats", caveats)):
        if len(words) > MARKINGS_MAX or len(set(words)) != len(words):
            raise UnreadableLine(f"{field}: too many, or one of them twice")
    for code in releasable_to:
        fields.matching(code, "releasable to", fields.CODE)
    for caveat in caveats:
        if caveat not in known_caveats:
            raise UnreadableLine(f"caveats: not one of {', '.join(sorted(known_caveats))}")
    return envelope_pb2.SecurityLabel(
        policy=nation,
        classification=classification,
        releasable_to=sorted({nation, *releasable_to}),
        caveats=sorted(caveats),
        originator_controlled=ORIGINATOR_CONTROLLED in caveats,
    )


def phase_of(observation: Observation) -> content_pb2.Phase.ValueType:
    """Return the phase of a sighting: burning, or else rising or falling; not known without a velocity."""
    if observation.burning:
        return content_pb2.PHASE_BOOST
    if observation.position_m is None or observation.velocity_mps is None:
        return content_pb2.PHASE_UNSPECIFIED
    rising = math.fsum(p * v for p, v in zip(observation.position_m, observation.velocity_mps, strict=True))
    return content_pb2.PHASE_DESCENT if rising < 0.0 else content_pb2.PHASE_COAST


def _check_covariance(terms: Sequence[float], *, with_velocity: bool) -> None:
    """Refuse variances below zero, correlations above one, and a triangle that is not of the state's size."""
    size = motion.SIZES.get(len(terms))
    if size is None or (size > AXES and not with_velocity):
        raise UnreadableLine("covariance: not as many terms as the state needs")
    remaining = iter(terms)
    rows = [[fields.within(next(remaining), "covariance", -1e15, 1e15) for _ in range(i, size)] for i in range(size)]
    variances = [row[0] for row in rows]
    if any(variance < 0.0 for variance in variances):
        raise UnreadableLine("covariance: a variance below zero")
    # Rounding in the native line, turned into ECEF, is as large as the largest variance makes it.
    slack = [CORRELATION_SLACK * max(variances[i - i % 3 : i - i % 3 + 3]) for i in range(size)]
    for i, row in enumerate(rows):
        for j, term in enumerate(row[1:], start=i + 1):
            if abs(term) > math.sqrt(variances[i] * variances[j]) + math.sqrt(slack[i] * slack[j]):
                raise UnreadableLine("covariance: a correlation above one")
