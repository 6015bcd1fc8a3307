"""What sharing buys, as a table for people and as data for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from broker.exercise.value import AFTER_BURNOUT_S, SMALL_KM2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.exercise.value import Known, Value

__all__ = ["document", "lines"]

SHOWN_S: Final = (10, 30, 60)  # after burnout
NEVER: Final = "-"  # not within what was looked at


def lines(values: Sequence[Value]) -> Iterator[str]:
    """Yield a table for each kind of launch."""
    for value in values:
        asked, flight = value.kind.announcement, value.flight
        yield (
            f"{value.kind.name}: {asked.range_m / 1e3:.0f} km far, {asked.apogee_m / 1e3:.0f} km high,"
            f" burnout at {flight.burnout_s:.0f} s, impact at {flight.impact_s:.0f} s"
        )
        yield (
            f"  {'':<12} {'first':>7} {'can be':>7}   {'impact area, km2 (95 %)':<26}   {f'< {SMALL_KM2:.0f} km2':>10}"
        )
        after = " ".join(f"{f'+{after_s} s':>8}" for after_s in SHOWN_S)
        yield f"  {'who shares':<12} {'report':>7} {'seen':>7}   {after}   {'at':>10}"
        yield from (_line(known) for known in value.known)
        yield ""
    until = f"{NEVER}: none by then, or within {AFTER_BURNOUT_S[-1]} s"
    yield f"Times since launch, areas after burnout; {until}. Medians of the runs."


def document(values: Sequence[Value], *, runs: int, seed: int) -> dict[str, Any]:
    """Return everything as JSON has it; null is never."""
    return {
        "runs": runs,
        "seed": seed,
        "after_burnout_s": list(AFTER_BURNOUT_S),
        "kinds": [
            {
                "kind": value.kind.name,
                "range_m": value.kind.announcement.range_m,
                "apogee_m": value.kind.announcement.apogee_m,
                "burnout_s": round(value.flight.burnout_s, 1),
                "impact_s": round(value.flight.impact_s, 1),
                "known": [
                    {
                        "nations": list(known.nations),
                        "first_report_s": _finite(known.first_report_s, 1),
                        "coverage": round(known.coverage, 3),
                        "areas_km2": [_finite(area_km2, 1) for area_km2 in known.areas_km2],
                        "below_1000_km2_s": _finite(known.small_s, 1),
                    }
                    for known in value.known
                ],
            }
            for value in values
        ],
    }


def _line(known: Known) -> str:
    areas = " ".join(f"{_area(known.areas_km2[AFTER_BURNOUT_S.index(after_s)]):>8}" for after_s in SHOWN_S)
    return (
        f"  {'-'.join(known.nations):<12} {_time(known.first_report_s):>7} {known.coverage:>7.0%}"
        f"   {areas}   {_time(known.small_s):>10}"
    )


def _time(value_s: float) -> str:
    return NEVER if math.isinf(value_s) else f"{value_s:.0f} s"


def _area(value_km2: float) -> str:
    """Return an area with the two digits that mean something."""
    if math.isinf(value_km2):
        return NEVER
    digits = 1 - math.floor(math.log10(value_km2))
    return f"{round(value_km2, digits):.{max(digits, 0)}f}"


def _finite(value: float, digits: int) -> float | None:
    return None if math.isinf(value) else round(value, digits)
