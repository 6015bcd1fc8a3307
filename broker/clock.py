"""Time as an argument. Nothing below a `__main__` reads a clock of its own.

Wall time is for what is told to others; it may step and be wrong, so nothing is ordered, deduplicated or leased by it.
Monotonic time is for durations on this machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from broker.instant import exercise_ns, nanoseconds, timestamp, wall_of_exercise_ns
from broker.limits import SECOND_NS

__all__ = ["Clock", "ManualClock", "SystemClock", "exercise_ns", "nanoseconds", "timestamp", "wall_of_exercise_ns"]


class Clock(Protocol):
    """Two clocks, both in nanoseconds."""

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970-01-01T00:00:00Z, as this machine believes."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go backwards, from an arbitrary zero."""


class SystemClock:
    """The machine's own clocks."""

    def wall_ns(self) -> int:
        """Return the system's time of day."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return the system's monotonic time."""
        return time.monotonic_ns()


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is told otherwise: for tests and simulations."""

    now_ns: int = 1_700_000_000 * SECOND_NS
    elapsed_ns: int = 0

    def wall_ns(self) -> int:
        """Return the time set."""
        return self.now_ns

    def monotonic_ns(self) -> int:
        """Return the time passed by `advance`."""
        return self.elapsed_ns

    def advance(self, duration_ns: int) -> None:
        """Let time pass on both clocks."""
        self.now_ns += duration_ns
        self.elapsed_ns += duration_ns
