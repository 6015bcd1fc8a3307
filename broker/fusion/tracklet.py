"""What one local track says by itself, all its reports together, at times that all tracks have in common.

The times are multiples of `SLOT_NS`. A track speaks at such a time if it was reported in the `GAP_NS` before and at any
time after: so that what it says there is changed by late reports only, and two tracks can be compared at every time at
which both speak. Its estimate is its own, made by the same two models as the fused one's, from one report per
`SPACING_NS`; it is computed when somebody asks, and what is behind a late report is computed again.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from broker.fusion import estimate
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker import geodesy
    from broker.fusion.contribution import Key, TrackKey
    from broker.fusion.estimate import Estimate
    from broker.fusion.history import Entry
    from broker.fusion.kalman import Matrix

__all__ = ["SLOT_NS", "Said", "Tracklet"]

SLOT_NS: Final = 4 * SECOND_NS
GAP_NS: Final = 12 * SECOND_NS
SPACING_NS: Final = SECOND_NS // 2
ESTIMATES_KEPT: Final = 32  # the newest; of those before, one in ESTIMATES_EVERY
ESTIMATES_EVERY: Final = 16
SAID_MAX: Final = 1_024  # of the newest slots: longer than anything flies


@dataclass(frozen=True, slots=True)
class Said:
    """Where a track's own estimate has its object at a slot: position, its covariance (3x3), velocity."""

    position_m: geodesy.Vector
    noise: Matrix
    velocity_mps: geodesy.Vector


@dataclass(slots=True)
class Tracklet:
    """A track's own estimate. `generation` counts the changes of what it had said before."""

    key: TrackKey
    generation: int = 0
    _newest: int = -(1 << 62)  # slot that was asked for
    _said: dict[int, Said | None] = field(default_factory=dict)
    _estimates: dict[int, tuple[Estimate, int]] = field(default_factory=dict)  # by slot, with the last report's half

    def changed(self, time_ns: int) -> None:
        """Forget what a report of this time, come or gone, makes different."""
        slot = -(-time_ns // SLOT_NS)
        if slot > self._newest:
            return  # it is behind all that was asked for: what nearly always happens
        gone = [known for known in self._said if known >= slot]
        for known in gone:
            del self._said[known]
        for known in [known for known in self._estimates if known >= slot]:
            del self._estimates[known]
        if gone:
            self.generation += 1

    def at(self, slot: int, order: Sequence[Key], entries: Mapping[Key, Entry]) -> Said | None:
        """Return what the track says at a slot; None where it was not heard of just before."""
        if slot not in self._said:
            self._newest = max(self._newest, slot)
            self._said[slot] = self._read(slot, order, entries)
            while len(self._said) > SAID_MAX:
                del self._said[min(self._said)]
        return self._said[slot]

    def _read(self, slot: int, order: Sequence[Key], entries: Mapping[Key, Entry]) -> Said | None:
        """Estimate what the track says at a slot."""
        time_ns = slot * SLOT_NS
        end = bisect_left(order, (time_ns + 1,))
        if end == 0 or time_ns - order[end - 1][0] > GAP_NS:
            return None
        known, half, start = self._nearest(slot, order)
        for key in order[start:end]:
            if key[0] // SPACING_NS == half:
                continue
            half, entry = key[0] // SPACING_NS, entries[key]
            if known is None:
                known = estimate.start(entry.report, self.key)
            else:
                known = estimate.absorb(known, entry.report, self.key, common=False)
        if known is None:
            return None
        self._keep(slot, known, half)
        state, noise = estimate.merged(estimate.advance(replace(known, biases=()), time_ns))
        return Said(
            position_m=(state[0], state[1], state[2]),
            noise=tuple(tuple(row[:3]) for row in noise[:3]),
            velocity_mps=(state[3], state[4], state[5]),
        )

    def _nearest(self, slot: int, order: Sequence[Key]) -> tuple[Estimate | None, int, int]:
        """Return the newest estimate kept at or before a slot, its report's half second, and what comes next."""
        known = max((at for at in self._estimates if at <= slot), default=None)
        if known is None:
            return None, -1, 0
        found, half = self._estimates[known]
        return found, half, bisect_left(order, (known * SLOT_NS + 1,))

    def _keep(self, slot: int, known: Estimate, half: int) -> None:
        """Keep an estimate to go on from."""
        self._estimates[slot] = (known, half)
        newest = max(self._estimates)
        for old in [at for at in self._estimates if at < newest - ESTIMATES_KEPT and at % ESTIMATES_EVERY]:
            del self._estimates[old]
