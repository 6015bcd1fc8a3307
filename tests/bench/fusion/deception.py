"""Lies, faults and clocks: how soon a false contributor is flagged, that no honest one is, what is told of clocks.

Three nations follow an invented flight, each with its own accuracy (150 to 400 m, every 1 to 2 s), survey (100 m an
axis) and clock (0.03 s), a few tens of reports each. At the level of `scrutiny`: what it holds decides the rest.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean, median
from typing import TYPE_CHECKING, Final, TypeAlias

from broker.exercise.trajectory import NoSuchFlight, fly
from broker.fusion.contribution import Report
from broker.fusion.history import Entry
from broker.fusion.reliance import clock_offset, offsets_of
from broker.fusion.scrutiny import Scrutiny
from broker.limits import SECOND_NS
from tests.bench.figures import Row
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from broker.exercise.motion import State
    from broker.exercise.trajectory import Trajectory
    from broker.fusion.scrutiny import Findings

ZERO_NS: Final = 1_700_000_000 * SECOND_NS
FLIGHTS: Final = 200
NATIONS: Final = ("JPN", "KOR", "USA")
LIAR: Final = "USA"
TUNED_ON: Final = range(1_000)  # the gates were chosen on these seeds; what is reported comes from those behind them
REPORTED_ON: Final = 1_000  # the first of those seeds
LAUNCHES: Final = int(os.environ.get("VEDETTE_BENCH_LAUNCHES", "400"))  # honest ones; 10,000 take a quarter of an hour
LIES: Final = int(os.environ.get("VEDETTE_BENCH_LIES", "60"))
WATCHED_S: Final = 120.0  # after a lie began; who is not flagged by then, is not flagged

QUICK_S: Final = (1.0, 1.5, 2.0)
CALM_S: Final = (1.5, 2.0, 3.0)
Lie: TypeAlias = "Callable[[float, State], tuple[float, float, float]]"


@lru_cache(maxsize=FLIGHTS)
def flight(number: int) -> Trajectory:
    """Return one of the invented flights."""
    chance = random.Random(f"flight {number}")  # noqa: S311 - a simulation
    while True:
        try:
            return fly(
                (chance.uniform(38.0, 41.5), chance.uniform(125.0, 129.0)),
                chance.uniform(60.0, 140.0),
                burn_s=chance.uniform(60.0, 150.0),
                acceleration_mps2=chance.uniform(25.0, 45.0),
                elevation_deg=chance.uniform(40.0, 75.0),
            )
        except NoSuchFlight:
            continue


@dataclass(frozen=True)
class Watch:
    """How one nation looks at a launch."""

    sigma_m: float
    period_s: float
    first_s: float
    survey_m: tuple[float, float, float]
    clock_s: float
    has_velocity: bool


def watch(chance: random.Random, periods_s: Sequence[float]) -> Watch:
    """Return a nation's invented way of looking."""
    return Watch(
        sigma_m=chance.uniform(150.0, 400.0),
        period_s=chance.choice(periods_s),
        first_s=chance.uniform(30.0, 70.0),
        survey_m=(chance.gauss(0.0, 100.0), chance.gauss(0.0, 100.0), chance.gauss(0.0, 100.0)),
        clock_s=chance.gauss(0.0, 0.03),
        has_velocity=chance.random() < 0.5,
    )


def reports(
    truth: Trajectory, nation: str, how: Watch, chance: random.Random, until_s: float, lie: Lie | None = None
) -> Iterator[Entry]:
    """Yield what one nation says."""
    time_s, number = how.first_s + chance.random() * how.period_s, 0
    while time_s < until_s:
        state = truth.at(time_s - how.clock_s)
        moved = lie(time_s, state) if lie is not None else (0.0, 0.0, 0.0)
        gauss = chance.gauss
        position = [a + b + c + gauss(0.0, how.sigma_m) for a, b, c in zip(state[:3], how.survey_m, moved, strict=True)]
        velocity = [a + gauss(0.0, how.sigma_m / 10.0) for a in state[3:]]
        sigmas = [how.sigma_m] * 3 + [how.sigma_m / 10.0] * 3 * how.has_velocity
        time_ns = ZERO_NS + round(time_s * SECOND_NS)
        number += 1
        yield Entry(
            (time_ns, nation, 0, 0, number, number.to_bytes(4, "big")),
            (nation, b"event", b"object"),
            Report(
                time_ns,
                (position[0], position[1], position[2]),
                (velocity[0], velocity[1], velocity[2]) if how.has_velocity else None,
                tuple(
                    tuple(a * a if row == column else 0.0 for column in range(len(sigmas)))
                    for row, a in enumerate(sigmas)
                ),
                0.0,
                0.0,
                0,
                0,
                content_pb2.PHASE_UNSPECIFIED,
            ),
            common=False,
        )
        time_s += how.period_s


def told_of(
    seed: int,
    *,
    until_s: float = 0.0,
    lie: Lie | None = None,
    clock_s: float | None = None,
    periods_s: Sequence[float] = QUICK_S,
) -> list[Entry]:
    """Return what three nations say of a launch, in order; one of them lies, or has another clock, if so asked."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    truth = flight(chance.randrange(FLIGHTS))
    end_s = min(until_s or 70.0 + chance.uniform(30.0, 90.0), truth.impact_s - 20.0)
    told: list[Entry] = []
    for nation in NATIONS:
        how = watch(chance, periods_s)
        if nation == LIAR and clock_s is not None:
            how = replace(how, clock_s=clock_s)
        told += reports(truth, nation, how, chance, end_s, lie if nation == LIAR else None)
    return sorted(told, key=lambda one: one.key)


def launch(
    seed: int, *, until_s: float = 0.0, lie: Lie | None = None, clock_s: float | None = None
) -> Iterator[tuple[float, Findings]]:
    """Yield the time and the findings after every report of a launch."""
    scrutiny = Scrutiny()
    for entry in told_of(seed, until_s=until_s, lie=lie, clock_s=clock_s):
        scrutiny.change(added=[entry], removed=())
        yield (entry.key[0] - ZERO_NS) / SECOND_NS, scrutiny.findings


def ever_flagged(seed: int) -> list[str]:
    """Return who was flagged in the course of an honest launch."""
    scrutiny = Scrutiny()
    scrutiny.change(added=told_of(seed, periods_s=CALM_S), removed=())
    return sorted(scrutiny.findings.counts_from)


def flagged_after_s(seed: int, size_m: Callable[[float], float]) -> tuple[float, bool]:
    """Return how long a lie in some direction is not flagged, s, and whether anybody else was flagged meanwhile."""
    chance = random.Random(f"lie {seed}")  # noqa: S311 - a simulation
    axis = [chance.gauss(0.0, 1.0) for _ in range(3)]
    length, start_s = math.hypot(*axis), chance.uniform(80.0, 140.0)
    x, y, z = (part / length for part in axis)

    def lie(at_s: float, _: State) -> tuple[float, float, float]:
        moved_m = size_m(at_s - start_s) if at_s >= start_s else 0.0
        return x * moved_m, y * moved_m, z * moved_m

    wrong = False
    for at_s, found in launch(seed, until_s=start_s + WATCHED_S, lie=lie):
        wrong = wrong or not found.flagged <= {LIAR}
        if LIAR in found.flagged:
            return at_s - start_s, wrong
    return WATCHED_S, wrong


def clock_error_s(seed: int, clock_s: float) -> tuple[float, float, bool]:
    """Return what is told of a clock that is off so far, less the truth, its own sigma, and whether it was flagged."""
    scrutiny = Scrutiny()
    scrutiny.change(added=told_of(seed, until_s=200.0, clock_s=clock_s), removed=())
    told_s, sigma_s = clock_offset(offsets_of(scrutiny.findings, LIAR))
    return told_s - clock_s, sigma_s, bool(scrutiny.findings.counts_from)


def rows() -> Iterator[Row]:
    """Measure lies, then honest launches, then clocks."""
    seeds = range(REPORTED_ON, REPORTED_ON + LIES)
    for name, size_m, most_s in (
        ("a jump of 3 km", lambda _: 3_000.0, 15.0),
        ("a drift of 30 m/s", lambda since_s: 30.0 * since_s, 40.0),
    ):
        print(f"{name}: {LIES} launches", flush=True)
        found = [flagged_after_s(seed, size_m) for seed in seeds]
        after_s = sorted(one for one, _ in found)
        yield Row(f"{name}, flagged after, median", median(after_s), "s", most_s)
        yield Row(f"{name}, flagged after, 9 of 10", after_s[math.ceil(0.9 * LIES) - 1], "s", most_s)
        yield Row(f"{name}: another was flagged", float(sum(wrong for _, wrong in found)), "launches", 0.0)
    flagged = 0
    for number in range(LAUNCHES):
        flagged += bool(ever_flagged(REPORTED_ON + number))
        if number % 200 == 199:
            print(f"{number + 1} of {LAUNCHES} honest launches, {flagged} flags", flush=True)
    yield Row(f"an honest nation flagged, in {LAUNCHES} launches", float(flagged), "launches", 0.0)
    for clock_s in (0.0, 0.1, 0.5):
        told = [clock_error_s(seed, clock_s) for seed in seeds]
        yield Row(
            f"a clock {clock_s} s off: error of what is told", math.sqrt(fmean(e * e for e, _, _ in told)), "s", 0.1
        )
        yield Row(
            f"a clock {clock_s} s off: error over its claim",
            math.sqrt(fmean((e / s) ** 2 for e, s, _ in told)),
            "",
            1.5,
        )
        yield Row(f"a clock {clock_s} s off: called a lie", float(sum(lie for _, _, lie in told)), "launches", 0.0)
