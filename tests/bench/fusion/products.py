"""What a warning says: how soon, how often a falling body is taken for a glider, how soon a glider is found.

The thresholds of `broker.fusion.motion` were set on seeds below 200; these are others.
"""

from __future__ import annotations

import random
import time
from statistics import median
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.regions import touched
from broker.limits import SECOND_NS
from tests.bench.figures import Row
from tests.broker.fusion.conftest import ZERO_NS, World, fly
from tests.broker.fusion.test_regions import place
from tests.broker.fusion.test_warning import gliding
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.broker.fusion.conftest import Flight

FALLING: Final = 60
GLIDING: Final = 12
SEED: Final = 1_000
BELOW_M: Final = 60_000.0  # where `gliding` begins to be carried
SIGMAS: Final = ((60.0, 5.0), (150.0, None), (300.0, 20.0))  # m, m/s


def rows() -> Iterator[Row]:
    """Measure."""
    yield Row("first report -> unconfirmed warning, median CPU", _first_ms(), "ms", 1.0)
    yield Row("regions of an impact area, median CPU", _regions_ms(), "ms", 5.0)
    wrongly = sum(_flagged_s(_falling(index), SEED + index, from_end_s=130.0) is not None for index in range(FALLING))
    print(f"{FALLING} falling bodies, seeds {SEED} to {SEED + FALLING - 1}: {wrongly} taken for gliders")
    # Clopper and Pearson for none of n: the rate is below 3/n with 95 %.
    yield Row(f"falling bodies taken for gliders, of {FALLING}", wrongly, "flights", 0.0)
    for lift_to_drag in (1.0, 2.5):
        flight = gliding(World, lift_to_drag)
        into_s = next(k for k in range(round(flight.burn_s) + 40, 4_000) if _height_m(flight, k) < BELOW_M)
        found = [_flagged_s(flight, SEED + index, from_end_s=flight.end_s - into_s + 40.0) for index in range(GLIDING)]
        after = sorted(second - into_s for second in found if second is not None)
        print(f"lift-to-drag {lift_to_drag}: {len(after)} of {GLIDING} found, after {after} s below 60 km")
        yield Row(f"gliders found at {lift_to_drag}, of {GLIDING}", len(after), "flights", GLIDING, at_least=True)
        if after:
            yield Row(f"the same, median after being carried, at {lift_to_drag}", median(after), "s", 40.0)


def _falling(index: int) -> Flight:
    """Return a flight of a body unlike the nominal one."""
    draw = random.Random(SEED + index)  # noqa: S311 - a case, not a secret
    return fly(
        push_mps2=draw.uniform(45.0, 75.0),
        burn_s=draw.uniform(60.0, 95.0),
        coefficient_kgpm2=draw.choice((1_500.0, 2_500.0, 5_000.0, 12_000.0)),
    )


def _flagged_s(flight: Flight, seed: int, *, from_end_s: float) -> float | None:
    """Return when a flight is first said not to fall, in seconds after its launch; None if never."""
    sigma_m, sigma_mps = SIGMAS[seed % len(SIGMAS)]
    first_s = max(flight.end_s - from_end_s, flight.burn_s + 1.0)
    log = World.log()
    for _, content in World.nation("KOR").radar(
        flight, "k", seed=seed, first_s=first_s, last_s=flight.end_s, sigma_m=sigma_m, sigma_mps=sigma_mps
    ):
        for fused in log.take(content):
            if fused.objects and fused.objects[0].motion == content_pb2.MOTION_NON_BALLISTIC:
                return (fused.tracks[0].state.valid_at.ToNanoseconds() - ZERO_NS) / SECOND_NS
    return None


def _first_ms() -> float:
    """Return the CPU time of a first report."""
    first = World.nation("KOR").track("k", 30.0, fly().at(30.0), sigma_m=300.0, sigma_mps=30.0)
    spent = []
    for _ in range(200):
        log = World.log()
        before = time.process_time_ns()
        log.take(first)
        spent.append((time.process_time_ns() - before) / 1e6)
    return median(spent)


def _regions_ms() -> float:
    """Return the CPU time of one look-up that is not remembered."""
    draw = random.Random(SEED)  # noqa: S311 - a case, not a secret
    spent = []
    for _ in range(300):
        area = place(draw.uniform(31.0, 44.0), draw.uniform(126.0, 145.0), draw.uniform(5e3, 100e3), 5e3, 45.0)
        before = time.process_time_ns()
        touched(area)
        spent.append((time.process_time_ns() - before) / 1e6)
    return median(spent)


def _height_m(flight: Flight, time_s: float) -> float:
    """Return the height of a flight."""
    return geodesy.height_m(*flight.at(time_s)[:3])
