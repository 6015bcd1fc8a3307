"""Figures: one with its mark, quantiles of a run, and the ratio of two runs made in turn."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, and the most that it may be, or the least."""

    name: str
    value: float
    unit: str
    mark: float
    at_least: bool = False

    @property
    def held(self) -> bool:
        """Whether the mark is reached."""
        return self.value >= self.mark if self.at_least else self.value <= self.mark

    def __str__(self) -> str:
        held, bound = "reached" if self.held else "MISSED", "at least" if self.at_least else "at most"
        return f"{held}: {self.name}: {self.value:.3g} {self.unit} ({bound} {self.mark:g})"


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies of one run, in milliseconds."""

    count: int
    lost: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    most_ms: float


def figures(latencies_s: Sequence[float], *, sent: int) -> Figures:
    """Return the figures of a run of which `sent` messages were sent."""
    ordered = sorted(latencies_s)
    if not ordered:
        raise ValueError("nothing arrived: there is nothing to measure")

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000

    return Figures(len(ordered), sent - len(ordered), at(0.5), at(0.9), at(0.99), ordered[-1] * 1000)


def middle(runs: Sequence[Figures], name: str) -> float:
    """Return the median over the runs of one figure."""
    return float(median(getattr(run, name) for run in runs))
