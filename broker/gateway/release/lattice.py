"""How exactly something is shown: five levels in a row, and the size of the cell that each stands for.

    withheld < 50km/60s < 10km/10s < 1km/1s < exact

One level speaks of place and of time, because either can be computed from the other for a thing that moves: a group
of times at `10s` and a group of places at `10km` give away about as much. Levels only ever join by `max` (what several
rules release together) and meet by `min` (what limits leave of it), so that the order of rules cannot matter.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from broker.limits import SECOND_NS

__all__ = ["ANY_SPEED_MPS", "LEVEL_NAMES", "Level", "level_of"]

# What is assumed of an object whose velocity is not shown: about what a missile of intercontinental range reaches.
ANY_SPEED_MPS: Final = 8_000.0


class Level(IntEnum):
    """How exactly a leaf is shown. Greater is more exact."""

    WITHHELD = 0
    CELL_50KM = 1
    CELL_10KM = 2
    CELL_1KM = 3
    EXACT = 4

    @property
    def label(self) -> str:
        """The level as people write it: `10km/10s`."""
        return _LABELS[self]

    @property
    def space_m(self) -> float:
        """Edge of the cell in space; 0 where nothing is made coarse."""
        return _SPACE_M[self]

    @property
    def time_s(self) -> int:
        """Length of the cell in time; 0 where nothing is made coarse."""
        return _TIME_S[self]

    @property
    def time_ns(self) -> int:
        """Length of the cell in time."""
        return _TIME_S[self] * SECOND_NS

    @property
    def speed_mps(self) -> float:
        """Edge of the cell of a velocity: one space cell in one time cell."""
        return _SPACE_M[self] / _TIME_S[self] if _TIME_S[self] else 0.0

    @property
    def sector_deg(self) -> float:
        """Width of the sector of a direction; all of them divide the circle."""
        return _SECTOR_DEG[self]

    @property
    def is_coarse(self) -> bool:
        """Whether something is shown, and not exactly."""
        return Level.WITHHELD < self < Level.EXACT


_LABELS: Final = ("withheld", "50km/60s", "10km/10s", "1km/1s", "exact")
_SPACE_M: Final = (0.0, 50_000.0, 10_000.0, 1_000.0, 0.0)
_TIME_S: Final = (0, 60, 10, 1, 0)
# What the cell covers when seen from about 60 km away, in round numbers.
_SECTOR_DEG: Final = (0.0, 45.0, 10.0, 1.0, 0.0)

# A rule may name a level by its place, by its time or by both.
LEVEL_NAMES: Final = {
    name: level for level, label in zip(Level, _LABELS, strict=True) for name in (label, *label.split("/"))
}


def level_of(text: str) -> Level | None:
    """Return the level that a policy names: `withheld`, `50km`, `60s`, `10km/10s` … `exact`; None for anything else."""
    return LEVEL_NAMES.get(text)
