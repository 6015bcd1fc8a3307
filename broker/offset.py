"""How far another clock is from ours: four stamps, least round trip (RFC 5905, section 8).

offset = ((t1 - t0) + (t2 - t3)) / 2, wrong by at most half the round trip (t3 - t0) - (t2 - t1), however asymmetric
the way was. Of the recent probes the one with the least round trip is believed. Only latencies use this: nothing is
ordered, deduplicated or decided by it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from broker.limits import SECOND_NS

PROBES_KEPT: Final = 32
# A clock drifts: what an old probe said is worth less every second (RFC 5905 assumes 15 parts in a million).
DRIFT_PPM: Final = 15


@dataclass(frozen=True, slots=True)
class Offset:
    """The peer's clock minus ours, and how wrong that can be."""

    offset_ns: int
    error_ns: int


@dataclass(slots=True)
class OffsetEstimate:
    """What a peer's answers say of its clock."""

    _probes: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=PROBES_KEPT))

    def answered(self, *, asked_ns: int, received_ns: int, sent_ns: int, back_ns: int, at_monotonic_ns: int) -> None:
        """Take an answer: t0 and t3 by our clock, t1 and t2 by the peer's."""
        round_trip_ns = (back_ns - asked_ns) - (sent_ns - received_ns)
        if round_trip_ns < 0:
            return  # a clock was set in between
        offset_ns = ((received_ns - asked_ns) + (sent_ns - back_ns)) // 2
        self._probes.append((at_monotonic_ns, offset_ns, round_trip_ns))

    def best(self, at_monotonic_ns: int) -> Offset | None:
        """Return what is believed now; None before the first answer."""
        if not self._probes:
            return None
        candidates = [
            Offset(offset_ns, round_trip_ns // 2 + (at_monotonic_ns - taken_ns) * DRIFT_PPM // 1_000_000)
            for taken_ns, offset_ns, round_trip_ns in self._probes
            if at_monotonic_ns - taken_ns < 600 * SECOND_NS
        ]
        return min(candidates, key=lambda offset: offset.error_ns, default=None)
