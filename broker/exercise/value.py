"""What sharing buys: what nations know of a flight alone, in twos and all together, computed by the fusion itself.

Each nation's generic sensors look at invented flights of several kinds. Whoever shares with one another holds all of
their reports, exactly as they were made and when they were made (`shared`), and estimates and predicts from them with
`broker.fusion` as a recipient's View does: the same contributions, the same histories, the same impact areas. Left out
are release policies, which make reports coarser, and the question which reports belong together: one missile flies.

Figures are medians over runs that differ in the sensors' errors. The same sensors, runs and seed give the same table.
The sensors are invented, so the shape is what can be learnt here: who sees first, how much sooner an area is small.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.exercise.coverage import sees
from broker.exercise.fit import Announcement, fit
from broker.exercise.sensors import Launched, sightings
from broker.fusion.contribution import Report, contribution_of
from broker.fusion.history import Entry, History
from broker.fusion.impact import predict
from broker.instant import timestamp
from broker.limits import SECOND_NS
from broker.plugin import Sight
from vedette.v1 import content_pb2, measures_pb2
from vedette.v1.measures_pb2 import MissileClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from broker.exercise.trajectory import Trajectory
    from broker.plugin import Observation, Sensor

__all__ = ["AFTER_BURNOUT_S", "KINDS", "SMALL_KM2", "Arrival", "Kind", "Known", "Value", "measure", "shared"]

ZERO_NS: Final = 1_700_000_000 * SECOND_NS  # when everything is launched: no matter when
AFTER_BURNOUT_S: Final = (0, 2, 4, 6, 8, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 120)
SMALL_KM2: Final = 1_000.0
COVERAGE_STEPS: Final = 400  # of a flight, at which it is asked who sees it


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of launch, by an invented example."""

    name: str
    announcement: Announcement


# Sites and directions are those of the public table; how far and how high is rounded.
KINDS: Final = (
    Kind("short", Announcement(39.74, 127.47, 86.0, 4.5e5, 6.0e4, MissileClass.MISSILE_CLASS_SRBM)),
    Kind("medium", Announcement(39.20, 125.67, 78.0, 8.0e5, 2.0e5, MissileClass.MISSILE_CLASS_MRBM)),
    Kind("lofted", Announcement(39.11, 126.00, 62.0, 1.0e6, 6.0e6, MissileClass.MISSILE_CLASS_ICBM)),
    Kind("over Japan", Announcement(40.61, 126.43, 80.0, 4.5e6, 9.7e5, MissileClass.MISSILE_CLASS_IRBM)),
)


@dataclass(frozen=True, slots=True)
class Known:
    """What those who share with one another know of one flight, in the middle of the runs; infinite is never."""

    nations: tuple[str, ...]
    first_report_s: float  # since launch, with the sensors' latencies
    coverage: float  # share of the flight in which at least one of their sensors can see it
    areas_km2: tuple[float, ...]  # of 95 %, at AFTER_BURNOUT_S
    small_s: float  # since launch, when the area is first below SMALL_KM2


@dataclass(frozen=True, slots=True)
class Value:
    """The answers for one kind of launch, those of fewer nations first."""

    kind: Kind
    flight: Trajectory
    known: tuple[Known, ...]


def measure(
    sensors: Mapping[str, Sequence[Sensor]],
    *,
    runs: int,
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    told: Callable[[str], None] = lambda _: None,
) -> list[Value]:
    """Return what every set of these nations knows of each kind of launch. `told` hears how far it has come."""
    found = []
    for kind in kinds:
        flight = fit(kind.announcement)
        launched = Launched(flight, ZERO_NS, kind.announcement.missile_class)
        answers: dict[tuple[str, ...], list[Known]] = {}
        covered = {code: _covered(own, flight) for code, own in sensors.items()}
        for run in range(runs):
            told(f"{kind.name}: run {run + 1} of {runs}")
            seen = {code: shared(code, own, launched, f"{seed}/{run}/{kind.name}") for code, own in sensors.items()}
            for size in range(1, len(sensors) + 1):
                for codes in combinations(sensors, size):
                    answers.setdefault(codes, []).append(_known(codes, seen, covered, flight))
        found.append(Value(kind, flight, tuple(_middle(every) for every in answers.values())))
    return found


@dataclass(frozen=True, slots=True)
class Arrival:
    """A report as those who share it hold it, and when: seconds since launch."""

    at_s: float
    content: content_pb2.Content


def shared(code: str, sensors: Sequence[Sensor], launched: Launched, seed: str) -> list[Arrival]:
    """Return what a nation's sensors report of a flight: launches and tracks, in order of their arrival."""
    found = []
    for sensor in sensors:
        # What a sensor predicts by itself is nothing that the fused area is made from, and takes time to make.
        plain, draws = replace(sensor, predicts_impact=False), random.Random(f"{seed}/{code}/{sensor.name}")  # noqa: S311 - repeatable, not secret
        for seen in sightings(plain, launched, draws):
            if seen.sight in {Sight.LAUNCH, Sight.TRACK}:
                at_s = (seen.time_ns - launched.time_ns) / SECOND_NS + sensor.latency_s
                found.append(Arrival(at_s, _content(code, sensor, seen)))
    return sorted(found, key=lambda arrival: (arrival.at_s, arrival.content.header.message_id))


def _content(code: str, sensor: Sensor, seen: Observation) -> content_pb2.Content:
    """Return a sighting as its nation releases it in full."""
    event_id = f"{code}/{sensor.name}/{seen.track_number}".encode()
    content = content_pb2.Content()
    header = content.header
    header.message_id, header.origin = event_id + f"/{seen.sight.value}/{seen.time_ns}".encode(), code
    header.mode = content_pb2.MODE_EXERCISE
    header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    header.observed_at.CopyFrom(timestamp(seen.time_ns))
    if seen.sight is Sight.LAUNCH:
        content.launch.event_id = event_id
        return content
    content.track.event_id = content.track.object_id = event_id
    content.track.phase = content_pb2.PHASE_BOOST if seen.burning else content_pb2.PHASE_COAST
    content.track.state.CopyFrom(
        measures_pb2.State(
            frame=measures_pb2.FRAME_ECEF_WGS84,
            valid_at=timestamp(seen.time_ns),
            position_m=seen.position_m,
            velocity_mps=seen.velocity_mps,
            covariance=seen.covariance,
        )
    )
    return content


def _covered(sensors: Sequence[Sensor], flight: Trajectory) -> list[bool]:
    """Return at which moments of a flight, evenly spread, at least one of these sensors can see it."""
    found = []
    for step in range(COVERAGE_STEPS):
        elapsed_s = (step + 0.5) * flight.impact_s / COVERAGE_STEPS
        state, burning = flight.at(elapsed_s), flight.burning(elapsed_s)
        found.append(any(elapsed_s >= one.first_look_s and sees(one, state, burning=burning) for one in sensors))
    return found


def _known(
    codes: tuple[str, ...],
    seen: Mapping[str, Sequence[Arrival]],
    covered: Mapping[str, Sequence[bool]],
    flight: Trajectory,
) -> Known:
    """Return what these nations know in one run."""
    arrivals = sorted((one for code in codes for one in seen[code]), key=lambda arrival: arrival.at_s)
    areas_km2 = tuple(_areas_km2(arrivals, flight.burnout_s))
    times_s = [flight.burnout_s + after_s for after_s in AFTER_BURNOUT_S]
    return Known(
        nations=codes,
        first_report_s=arrivals[0].at_s if arrivals else math.inf,
        coverage=sum(map(any, zip(*(covered[code] for code in codes), strict=True))) / COVERAGE_STEPS,
        areas_km2=areas_km2,
        small_s=_small_s(times_s, areas_km2),
    )


def _areas_km2(arrivals: Sequence[Arrival], burnout_s: float) -> Iterator[float]:
    """Yield the impact area at each of AFTER_BURNOUT_S, from what has arrived by then; infinite while there is none."""
    history, held, area_km2 = History(), 0, math.inf
    for after_s in AFTER_BURNOUT_S:
        before = held
        while held < len(arrivals) and arrivals[held].at_s <= burnout_s + after_s:
            held += 1
        added = [entry for one in arrivals[before:held] if (entry := _entry(one.content)) is not None]
        if added:
            history.change(added=added, removed=())
            area_km2 = _area_km2(history)
        yield area_km2


def _entry(content: content_pb2.Content) -> Entry | None:
    """Return a report in its place of the history; None for a word without a state."""
    contribution = contribution_of(content, epoch=0, lane=0, sequence=0)
    if contribution is None or not isinstance(contribution.body, Report):
        return None
    return Entry(contribution.key, contribution.track_key, contribution.body, common=False)


def _area_km2(history: History) -> float:
    """Return the size of the area that holds the impact with 95 %."""
    prediction = predict(history.newest)
    if prediction is None:
        return math.inf
    place = prediction.place
    major_m, minor_m, _ = geodesy.ellipse_of_covariance(place.east_m2, place.east_north_m2, place.north_m2)
    return math.pi * major_m * minor_m / 1e6


def _small_s(times_s: Sequence[float], areas_km2: Sequence[float]) -> float:
    """Return when an area is first below SMALL_KM2: between two looks as if its logarithm fell evenly."""
    for index, area_km2 in enumerate(areas_km2):
        if area_km2 >= SMALL_KM2:
            continue
        before_km2 = areas_km2[index - 1] if index else math.inf
        if math.isinf(before_km2):
            return times_s[index]
        share = math.log(before_km2 / SMALL_KM2) / math.log(before_km2 / area_km2)
        return times_s[index - 1] + share * (times_s[index] - times_s[index - 1])
    return math.inf


def _middle(every: Sequence[Known]) -> Known:
    """Return the median of the runs, each figure by itself."""
    return Known(
        nations=every[0].nations,
        first_report_s=median(one.first_report_s for one in every),
        coverage=every[0].coverage,
        areas_km2=tuple(median(column) for column in zip(*(one.areas_km2 for one in every), strict=True)),
        small_s=median(one.small_s for one in every),
    )
