"""The two systems of units of the Korean feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["METRIC", "NAUTICAL", "UNITS", "Units"]


@dataclass(frozen=True, slots=True)
class Units:
    """What one unit of a line is, in SI."""

    name: str
    length_m: float
    speed_mps: float

    def lengths(self, bounds_m: tuple[float, float]) -> tuple[float, float]:
        """Return bounds in metres as bounds of this unit."""
        return bounds_m[0] / self.length_m, bounds_m[1] / self.length_m

    def covariance_si(self, terms: Sequence[float]) -> tuple[float, ...]:
        """Return the terms of a line in m2, m2/s and m2/s2."""
        return tuple(term * scale for term, scale in zip(terms, self._scales(len(terms)), strict=True))

    def covariance_native(self, terms: Sequence[float]) -> tuple[float, ...]:
        """Return terms in m2, m2/s and m2/s2 as a line has them."""
        return tuple(term / scale for term, scale in zip(terms, self._scales(len(terms)), strict=True))

    def _scales(self, count: int) -> list[float]:
        size = {21: 6, 6: 3}.get(count, 0)
        units = [self.length_m] * 3 + [self.speed_mps] * 3
        return [units[i] * units[j] for i in range(size) for j in range(i, size)]


METRIC: Final = Units("metric", 1_000.0, 1.0)
NAUTICAL: Final = Units("nautical", 1_852.0, 1_852.0 / 3_600.0)
UNITS: Final = {units.name: units for units in (METRIC, NAUTICAL)}
