"""The estimator against the bound: how near it comes, how honest its claims are, and the area of impact.

Truth by `tests/truth.py`, the bound by `tests/bound.py`. Three nations look (60, 80 and 100 m in every axis), from 30 s
after launch to two minutes after burnout; the body's ballistic coefficient is drawn. Tuned on the seeds 0 to 14,
reported on 1000 and following; the bounds of what is given in brackets are those of 95 % of resampled runs.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import chi2

from broker import geodesy, jit
from broker.fusion import estimate, impact
from broker.fusion.models import COAST_DENSITY
from tests import bound, truth
from tests.bench.figures import Row
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.fusion.estimate import Estimate
    from tests.truth import Flight, Floats, Look, Sensor

RUNS: Final = int(os.environ.get("RUNS", "100"))
FIRST_SEED: Final = 1_000
FROM_S: Final = 30.0
AFTER_S: Final = 120.0
COEFFICIENTS: Final = 5
SENSORS: Final[dict[str, tuple[Sensor, ...]]] = {
    "fine": (truth.Fixer("KOR", 60.0), truth.Fixer("JPN", 80.0), truth.Fixer("USA", 100.0, every_s=2.0)),
    "rough": (truth.Fixer("KOR", 250.0), truth.Fixer("JPN", 400.0), truth.Fixer("USA", 1_500.0, every_s=2.0)),
}
SPANS_S: Final = ((5.0, 10.0), (10.0, 20.0), (20.0, 60.0), (60.0, AFTER_S))
GROUPS: Final = {"out of the air": ("lofted", "intermediate"), "in the air": ("short", "medium")}
AREAS_S: Final = (5, 10, 15, 30, 60, 100)
CELLS: Final = ((1e3, 0.0), (1e3, 1.0), (5e3, 5.0), (10e3, 0.0), (10e3, 10.0), (50e3, 0.0), (50e3, 60.0))
REACH: Final = -2.0 * math.log(0.05)


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one look: errors squared over the bound's, NEES over its six terms."""

    after_s: float  # burnout
    position: float
    velocity: float
    nees: float


@dataclass(frozen=True, slots=True)
class Area:
    """An area of impact: the squared distance of the truth, and its size in the bound's; None where none is given."""

    after_s: int
    distance: float | None
    size: float | None


def rows() -> Iterator[Row]:
    """Measure everything."""
    jit.install()
    seeds = range(FIRST_SEED, FIRST_SEED + RUNS)
    for kind in SENSORS:
        some = seeds if kind == "fine" else seeds[: RUNS // 2]
        yield from _against_the_bound(kind, some)
        yield from _impacts(kind, some)
    share = matched(seeds)
    yield Row("ANEES inside its 95 % bounds, truth drawn from the model", 100.0 * share, "%", 93.0, at_least=True)
    for cell_m, cell_s in CELLS:
        worst = max(by_second(coarse_nees(cell_m, cell_s, seeds)).values())
        yield Row(f"NEES/6 in the worst second, cells of {cell_m / 1e3:g} km and {cell_s:g} s", worst, "", 2.0)
        inside, given = coarse_inside(cell_m, cell_s, seeds[: RUNS // 2])
        if given:
            name = f"95 % ellipse holds the truth, cells of {cell_m / 1e3:g} km and {cell_s:g} s ({given} given)"
            yield Row(name, 100.0 * inside / given, "%", 93.0, at_least=True)


def _against_the_bound(kind: str, seeds: Sequence[int]) -> Iterator[Row]:
    """Yield how far the estimator is from the bound, and how honest."""
    for group, names in GROUPS.items():
        runs = [followed(name, kind, seed)[0] for name in names for seed in seeds]
        for from_s, until_s in SPANS_S:
            mark = 1.3 if from_s < 10.0 else 1.1
            for what in ("position", "velocity"):
                value, least, most = ratio(runs, what, from_s, until_s)
                yield Row(
                    f"{kind}, burnout {group}, {from_s:g}-{until_s:g} s after: {what}, RMSE / bound"
                    f" [{least:.2f}, {most:.2f}]",
                    value, "", mark,
                )  # fmt: skip
        for name in names:
            steps = [followed(name, kind, seed)[0] for seed in seeds]
            nees = by_second([[(step.after_s, step.nees) for step in run] for run in steps])
            worst = max(value for second, value in nees.items() if second >= 0)
            yield Row(f"{kind}, {name}: NEES/6 in the worst second from burnout on", worst, "", 2.0)
            worst = max(value for second, value in nees.items() if second < 0)
            yield Row(f"{kind}, {name}: NEES/6 in the worst second of the burn, staging included", worst, "", 2.0)


def _impacts(kind: str, seeds: Sequence[int]) -> Iterator[Row]:
    """Yield how often the area of impact holds the truth, and how large it is."""
    names = [name for names in GROUPS.values() for name in names]
    found = [area for name in names for seed in seeds for area in followed(name, kind, seed)[1]]
    for after_s in AREAS_S:
        asked = [area for area in found if area.after_s == after_s]
        given = [area for area in asked if area.distance is not None and area.size is not None]
        share = f"{kind}, impact at burnout +{after_s} s ({len(given)} of {len(asked)} given)"
        if not given:
            continue
        inside = 100.0 * float(np.mean([area.distance is not None and area.distance < REACH for area in given]))
        wide = 196.0 * math.sqrt(inside / 100.0 * (1.0 - inside / 100.0) / len(given))
        yield Row(f"{share}: 95 % ellipse holds the truth [± {wide:.1f}]", inside, "%", 93.0, at_least=True)
        size = float(np.median([area.size for area in given if area.size is not None]))
        yield Row(f"{share}: median area / the bound's", size, "", 1.3)


# --- what is measured -------------------------------------------------------------------------------------------------


def looks(flight: Flight, kind: str, seed: int, until_s: float) -> list[Look]:
    """Return what all nations see, a little apart in time."""
    return truth.in_order(
        *(
            truth.look(
                one, flight, truth.chance(kind, seed, one.nation), from_s=FROM_S + 0.3 * index, until_s=until_s
            )
            for index, one in enumerate(SENSORS[kind])
        )
    )  # fmt: skip


def fold(seen: Sequence[Look]) -> Iterator[tuple[Look, Estimate]]:
    """Yield the estimate after each look."""
    one: Estimate | None = None
    for look in seen:
        report, track = look.report(), (look.nation, b"event", b"object")
        one = estimate.start(report, track) if one is None else estimate.absorb(one, report, track, common=False)
        yield look, one


@cache
def followed(name: str, kind: str, seed: int, areas_s: tuple[int, ...] = AREAS_S) -> tuple[list[Step], list[Area]]:
    """Follow one flight, and predict its impact at some moments."""
    missile = truth.MISSILES[name]
    coefficient = truth.drawn_coefficients(COEFFICIENTS)[seed % COEFFICIENTS]
    flight = truth.fly(missile, coefficient)
    known = _bounds(name, kind, coefficient)
    seen = looks(flight, kind, seed, missile.burnout_s + AFTER_S)
    steps, areas, asked = [], [], list(areas_s)
    last: Estimate | None = None
    for look, one in fold(seen):
        after_s = look.time_s - missile.burnout_s
        while asked and last is not None and after_s > asked[0]:
            areas.append(_area(name, kind, flight, asked.pop(0), last))
        state, noise = estimate.merged(one)
        miss = np.array(state) - flight.at(look.time_s)
        least = known[look.time_s]
        steps.append(
            Step(
                after_s,
                float(miss[:3] @ miss[:3]) / least[0],
                float(miss[3:] @ miss[3:]) / least[1],
                float(miss @ np.linalg.solve(np.array(noise), miss)) / 6.0,
            )
        )
        last = one
    return steps, areas


@cache
def _bounds(name: str, kind: str, coefficient: float) -> dict[float, tuple[float, float]]:
    """Return the bound's sums of variances, of position and velocity, by the time of the look."""
    flight = truth.fly(truth.MISSILES[name], coefficient)
    seen = looks(flight, kind, 0, flight.burnout_s + AFTER_S)
    return {
        one.time_s: (float(np.trace(one.noise[:3, :3])), float(np.trace(one.noise[3:, 3:])))
        for one in bound.bound(flight, seen)
    }


@cache
def _bound_size(name: str, kind: str, after_s: int) -> float:
    """Return the size of the bound's area of impact: the root of the determinant, m2, for the middle coefficient."""
    flight = truth.fly(truth.MISSILES[name])
    known = bound.bound(flight, looks(flight, kind, 0, flight.burnout_s + after_s))[-1]
    return math.sqrt(float(np.linalg.det(bound.on_the_ground(flight, known))))


def _area(name: str, kind: str, flight: Flight, after_s: int, known: Estimate) -> Area:
    found = impact.predict(known)
    if found is None:
        return Area(after_s, None, None)
    distance, size_m2 = _missed(flight, found)
    return Area(after_s, distance, size_m2 / _bound_size(name, kind, after_s))


def _missed(flight: Flight, found: impact.Prediction) -> tuple[float, float]:
    """Return the squared normalised distance of the true impact, and the root of the determinant, m2."""
    place = found.place
    away_m, azimuth_deg = geodesy.distance_azimuth(
        place.lat_deg, place.lon_deg, flight.impact_lat_deg, flight.impact_lon_deg
    )
    miss = away_m * np.array([math.sin(math.radians(azimuth_deg)), math.cos(math.radians(azimuth_deg))])
    spread = np.array([[place.east_m2, place.east_north_m2], [place.east_north_m2, place.north_m2]])
    return float(miss @ np.linalg.solve(spread, miss)), math.sqrt(float(np.linalg.det(spread)))


def matched(seeds: Sequence[int]) -> float:
    """Return the share of steps at which ANEES is inside its 95 % bounds; the truth is drawn from the falling model."""
    chance_m, chance_mps, seconds = 250.0, 50.0, 150
    start = truth.fly(truth.MISSILES["lofted"]).at(truth.MISSILES["lofted"].burnout_s + 20.0)
    total = np.zeros(seconds)
    for seed in seeds:
        luck = truth.chance("matched", seed)
        state = start.copy()
        one: Estimate | None = None
        for second in range(seconds):
            if second:
                state = bound.fallen_for(state, 1.0, truth.COEFFICIENT_KGPM2)
                state[3:] += [luck.gauss(0.0, math.sqrt(COAST_DENSITY)) for _ in range(3)]
            seen = _seen(luck.gauss, state, float(second), chance_m, chance_mps if second == 0 else None)
            report, track = seen.report(), ("KOR", b"event", b"object")
            one = estimate.start(report, track) if one is None else estimate.absorb(one, report, track, common=False)
            mean, noise = estimate.merged(one)
            miss = np.array(mean) - state
            total[second] += float(miss @ np.linalg.solve(np.array(noise), miss))
    least, most = chi2.ppf([0.025, 0.975], 6 * len(seeds))
    return float(np.mean((total >= least) & (total <= most)))


def _seen(gauss: object, state: Floats, time_s: float, sigma_m: float, sigma_mps: float | None) -> Look:
    assert callable(gauss)
    sigmas = [sigma_m] * 3 + ([] if sigma_mps is None else [sigma_mps] * 3)
    measured = tuple(float(value) + gauss(0.0, sigma) for value, sigma in zip(state, sigmas, strict=False))
    size = len(sigmas)
    noise = tuple(tuple(sigmas[row] ** 2 if row == column else 0.0 for column in range(size)) for row in range(size))
    return truth.Look("KOR", time_s, measured, noise, content_pb2.PHASE_COAST)


def coarse_nees(
    cell_m: float, cell_s: float, seeds: Sequence[int], *, name: str = "medium"
) -> list[list[tuple[float, float]]]:
    """Return NEES/6 after each look of one nation that shows only cells, by the time after burnout."""
    sensor = truth.Fixer("KOR", 250.0, every_s=2.0)
    found = []
    for seed in seeds:
        flight = truth.fly(truth.MISSILES[name], truth.drawn_coefficients(COEFFICIENTS)[seed % COEFFICIENTS])
        one: Estimate | None = None
        run = []
        seen = truth.look(
            sensor, flight, truth.chance("coarse", seed), from_s=FROM_S, until_s=flight.burnout_s + 2.0 * AFTER_S
        )
        for look in seen:
            report = truth.report_of(truth.coarse(look.content("event"), cell_m, cell_s))
            track = ("KOR", b"event", b"object")
            one = estimate.start(report, track) if one is None else estimate.absorb(one, report, track, common=False)
            state, noise = estimate.merged(one)
            miss = np.array(state) - flight.at((one.time_ns - look.zero_ns) / 1e9)
            nees = float(miss @ np.linalg.solve(np.array(noise), miss)) / 6.0
            run.append((look.time_s - flight.burnout_s, nees))
        found.append(run)
    return found


def coarse_inside(cell_m: float, cell_s: float, seeds: Sequence[int], *, name: str = "medium") -> tuple[int, int]:
    """Return how many areas of impact hold the truth, and how many are given, where only cells are shown."""
    found: list[bool] = []
    for seed in seeds:
        flight = truth.fly(truth.MISSILES[name], truth.drawn_coefficients(COEFFICIENTS)[seed % COEFFICIENTS])
        one: Estimate | None = None
        asked = list(AREAS_S)
        seen = truth.look(
            truth.Fixer("KOR", 250.0, every_s=2.0), flight, truth.chance("coarse", seed),
            from_s=FROM_S, until_s=flight.burnout_s + AFTER_S,
        )  # fmt: skip
        for look in seen:
            if asked and one is not None and look.time_s - flight.burnout_s > asked[0]:
                asked.pop(0)
                distance = _distance(flight, one)
                found += [] if distance is None else [distance < REACH]
            report = truth.report_of(truth.coarse(look.content("event"), cell_m, cell_s))
            track = ("KOR", b"event", b"object")
            one = estimate.start(report, track) if one is None else estimate.absorb(one, report, track, common=False)
    return sum(found), len(found)


def _distance(flight: Flight, known: Estimate) -> float | None:
    """Return the squared normalised distance of the true impact from the predicted one."""
    found = impact.predict(known)
    return None if found is None else _missed(flight, found)[0]


# --- statistics -------------------------------------------------------------------------------------------------------


def by_second(runs: Sequence[Sequence[tuple[float, float]]]) -> dict[int, float]:
    """Return the mean over all runs in each second."""
    seconds: dict[int, list[float]] = {}
    for run in runs:
        for time_s, value in run:
            seconds.setdefault(math.floor(time_s), []).append(value)
    return {second: float(np.mean(values)) for second, values in sorted(seconds.items())}


def ratio(runs: Sequence[Sequence[Step]], what: str, from_s: float, until_s: float) -> tuple[float, float, float]:
    """Return the RMSE in the bound's between two times after burnout, and where 95 % of resampled runs have it."""
    each = np.array(
        [np.mean([getattr(step, what) for step in run if from_s <= step.after_s < until_s]) for run in runs]
    )
    pick = np.random.default_rng(1).integers(0, len(each), (1_000, len(each)))
    least, most = np.quantile(np.sqrt(each[pick].mean(axis=1)), [0.025, 0.975])
    return float(np.sqrt(each.mean())), float(least), float(most)
