"""Common information: two nations fuse a third one's reports into their own tracks and pass those on.

The recipient has the third one's reports too. What it makes of all three is compared with the truth: counted as if
they were independent, taken in as common information (what the lineage PARTIAL asks for), and as if all raw reports
had come. NEES/6 above 1 claims too much.
"""

from __future__ import annotations

import os
import random
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np

from broker.fusion import estimate
from broker.fusion.contribution import Report
from broker.fusion.history import Entry, History
from broker.limits import SECOND_NS
from tests.bench.figures import Row
from tests.bench.fusion.deception import FLIGHTS, QUICK_S, ZERO_NS, flight, reports, watch
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.exercise.trajectory import Trajectory

RUNS: Final = int(os.environ.get("VEDETTE_BENCH_RUNS", "40"))
REPORTED_ON: Final = 5_000  # the first seed; nothing was tuned on these
PASS_ON_EVERY: Final = 4  # reports


def passed_on(nation: str, entries: Sequence[Entry], *, common: bool) -> Iterator[Entry]:
    """Yield the track that a nation makes of these reports and passes on."""
    history = History()
    for number, entry in enumerate(entries):
        history.change(added=[entry], removed=())
        if number % PASS_ON_EVERY == PASS_ON_EVERY - 1 and number >= 2 * PASS_ON_EVERY:
            state, noise = estimate.merged(history.newest)
            time_ns = history.newest.time_ns
            yield Entry(
                (time_ns, nation, 0, 0, number, number.to_bytes(4, "big")),
                (nation, b"event", b"fused"),
                Report(
                    time_ns,
                    (state[0], state[1], state[2]),
                    (state[3], state[4], state[5]),
                    noise,
                    0.0,
                    0.0,
                    0,
                    0,
                    content_pb2.PHASE_UNSPECIFIED,
                ),
                common=common,
            )


def errors(truth: Trajectory, entries: Sequence[Entry], from_s: float) -> tuple[float, float]:
    """Return NEES/6 and the position's error, m, over the track after a time."""
    history, nees, missed_m = History(), [], []
    for entry in sorted(entries, key=lambda one: one.key):
        history.change(added=[entry], removed=())
        at_s = (entry.key[0] - ZERO_NS) / SECOND_NS
        if at_s >= from_s:
            state, noise = estimate.merged(history.newest)
            miss = np.array(state) - np.array(truth.at(at_s))
            nees.append(float(miss @ np.linalg.solve(np.array(noise), miss)) / 6.0)
            missed_m.append(float(np.linalg.norm(miss[:3])))
    return fmean(nees), fmean(missed_m)


def incest(seed: int) -> dict[str, tuple[float, float]]:
    """Return the errors of one launch by the way of counting."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    truth = flight(chance.randrange(FLIGHTS))
    raw: dict[str, list[Entry]] = {}
    for nation in ("JPN", "KOR", "USA"):
        how = watch(chance, QUICK_S)
        clean = type(how)(how.sigma_m, how.period_s, how.first_s, (0.0, 0.0, 0.0), 0.0, how.has_velocity)
        raw[nation] = list(reports(truth, nation, clean, chance, truth.burnout_s + 60.0))
    told: dict[str, list[Entry]] = {"independent": [*raw["KOR"]], "common": [*raw["KOR"]]}
    for nation in ("JPN", "USA"):
        own = sorted([*raw["KOR"], *raw[nation]], key=lambda one: one.key)
        for way, common in (("independent", False), ("common", True)):
            told[way] += passed_on(nation, own, common=common)
    told["raw"] = [entry for entries in raw.values() for entry in entries]
    return {way: errors(truth, entries, truth.burnout_s + 10.0) for way, entries in told.items()}


def rows() -> Iterator[Row]:
    """Measure the three ways of counting."""
    found = [incest(REPORTED_ON + run) for run in range(RUNS)]
    for way, most in (("common", 1.0), ("raw", 1.2)):
        yield Row(f"data passed on twice, {way}: NEES/6", fmean(one[way][0] for one in found), "", most)
    ratio = fmean(one["independent"][0] for one in found) / fmean(one["raw"][0] for one in found)
    print(f"counted as independent: NEES/6 {ratio:.1f} times that of the raw reports")
    error = fmean(one["common"][1] for one in found) / fmean(one["raw"][1] for one in found)
    yield Row("data passed on twice, common: position error over that of the raw reports", error, "", 1.5)
