"""Values made coarse: each a function of the cell that it lies in, the same every time, and never of chance.

Noise can be averaged away; a cell cannot. The grids are fixed to the Earth and to UTC and start at the same place for
everybody, so that what one recipient is shown at 1 km and another at 1 km is the same value. Making a coarse value
coarse again changes nothing. How each kind of leaf is made coarse is said at `Coarsening` in options.proto.

Units are those of the fields: degrees, metres, metres a second, nanoseconds since 1970.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

from broker.gateway.release.lattice import ANY_SPEED_MPS, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "centre",
    "covariance",
    "covariance_at",
    "fraction",
    "latitude_deg",
    "length_m",
    "longitude_deg",
    "sector_deg",
    "sector_spread_deg",
    "spread",
    "time_ns",
]

# A degree of latitude is shortest at the equator (WGS-84: 110 574 m), a degree of longitude longest there (111 320 m).
# With the shortest, a band of latitude is nowhere thinner than its cell.
LATITUDE_DEGREE_M: Final = 110_574.0
LONGITUDE_DEGREE_M: Final = 111_320.0
# Below this share of a step a value that stands on an edge is taken for the edge: what rounding leaves of it.
SLACK: Final = 1e-9
HALF_DIAGONAL: Final = math.sqrt(3) / 2  # of a cube, in edges: how far its farthest corner is from its centre
STEP_LEAST_M: Final = 1.0  # of a covariance beside a coarse time
VARIANCE_MAX: Final = 1e15  # the bound of State.covariance


def centre(value: float, step: float, least: float, most: float) -> float:
    """Return the middle of the step that the value lies in, counted from `least`.

    Where the steps do not fill the range, the last one is longer, so that no middle lies outside the range.
    """
    index = math.floor((value - least) / step) if value > least else 0
    if value + step > most:  # only there can the last step matter
        index = min(index, max(0, math.floor((most - least) / step) - 1))
    return least + (index + 0.5) * step


def latitude_deg(value: float, space_m: float) -> float:
    """Return the middle of the band of latitude, at least one cell wide."""
    return centre(value, _band_deg(space_m), -90.0, 90.0)


def longitude_deg(value: float, coarse_latitude_deg: float, space_m: float) -> float:
    """Return the middle of the cell in the band whose middle is given; close to a pole a cell is the whole circle."""
    around_m = 360.0 * LONGITUDE_DEGREE_M * math.cos(math.radians(coarse_latitude_deg))
    return centre(value, 360.0 / max(1, math.floor(around_m / space_m)), -180.0, 180.0)


@cache
def _band_deg(space_m: float) -> float:
    return 180.0 / max(1, math.floor(180.0 * LATITUDE_DEGREE_M / space_m))


def time_ns(value_ns: int, cell_ns: int) -> int:
    """Return the beginning of the cell of time."""
    return value_ns - value_ns % cell_ns


def length_m(value: float, space_m: float) -> float:
    """Return the length rounded down to the cell."""
    return math.floor(value / space_m + SLACK) * space_m


def spread(value: float, step: float) -> float:
    """Return an uncertainty rounded up to whole steps, and never under one."""
    return max(1, math.ceil(value / step - SLACK)) * step


def sector_deg(value: float, width_deg: float) -> float:
    """Return the middle of the sector of a direction, from north."""
    return centre(value % 360.0, width_deg, 0.0, 360.0)


def sector_spread_deg(value: float, width_deg: float) -> float:
    """Return the uncertainty of a coarse direction: rounded up to whole sectors, at most half a circle."""
    return min(180.0, spread(value, width_deg))


def fraction(value: float) -> float:
    """Return a share rounded down to tenths."""
    return math.floor(value * 10.0 + SLACK) / 10.0


def covariance(
    terms: Sequence[float], shown_mps: Sequence[float], *, place: Level, time: Level, motion: Level, own: Level
) -> list[float]:
    """Return the covariance that may be shown with a state: [] for none, 6 terms of the position, or all 21.

    `terms` are the state's own, `shown_mps` the velocity as it is shown ([] where it is not); the levels are those of
    position, instant, velocity and of the covariance itself. Where all are exact it is shown as it is. Otherwise it is
    the same in all directions (its axes would show the line of sight), with one standard deviation of the full cell or
    what was there before, rounded up: space cell + speed x time cell; the greatest speed where velocity is withheld.
    """
    return covariance_at(place=place, time=time, motion=motion, own=own)(terms, shown_mps)


def covariance_at(
    *, place: Level, time: Level, motion: Level, own: Level
) -> Callable[[Sequence[float], Sequence[float]], list[float]]:
    """Return `covariance` for levels that are known beforehand."""
    # The greatest speed that fits the cell of the velocity shown is so much above it.
    around_mps = HALF_DIAGONAL * motion.speed_mps
    space_m, time_s = place.space_m, time.time_s
    # Something that stands still is not known better for it: its axes are hidden all the same.
    least_m = max(own.space_m if own.is_coarse else 0.0, STEP_LEAST_M if time.is_coarse else 0.0)
    motion_step_mps = max(motion.speed_mps, own.speed_mps)
    is_known = own > Level.WITHHELD

    def shown(terms: Sequence[float], shown_mps: Sequence[float]) -> list[float]:
        has_motion = bool(shown_mps)
        speed_mps = math.hypot(*shown_mps) + around_mps if has_motion else ANY_SPEED_MPS
        place_step_m = max(space_m + speed_mps * time_s, least_m)
        known = list(terms[:]) if is_known else []
        if not place_step_m and (not motion_step_mps or not has_motion):
            return _as_it_is(known, has_motion=has_motion)
        of_place = _place_block(known, place_step_m)
        of_motion = _motion_block(known, motion_step_mps) if has_motion else []
        if not of_place or not of_motion:
            return of_place
        return _joined(of_place, of_motion)

    return shown


def _as_it_is(known: list[float], *, has_motion: bool) -> list[float]:
    return known if has_motion or len(known) != 21 else [known[place] for place in _PLACE]  # noqa: PLR2004


# Upper triangles row by row: where the position's six terms and the velocity's stand among the 21.
_PLACE: Final = (0, 1, 2, 6, 7, 11)
_MOTION: Final = slice(15, 21)


def _place_block(known: list[float], step_m: float) -> list[float]:
    block = known if len(known) != 21 else [known[place] for place in _PLACE]  # noqa: PLR2004 - all terms
    return _round(block, step_m) if step_m else block


def _motion_block(known: list[float], step_mps: float) -> list[float]:
    block = known[_MOTION] if len(known) == 21 else []  # noqa: PLR2004 - all terms
    return _round(block, step_mps) if step_mps else block


def _round(block: list[float], step: float) -> list[float]:
    """Return six terms, the same in all directions: the greatest standard deviation, rounded up to whole steps."""
    greatest = math.sqrt(max(block[0], block[3], block[5])) if block else 0.0  # the diagonal of six
    variance = min(VARIANCE_MAX, spread(greatest, step) ** 2)
    return [variance, 0.0, 0.0, variance, 0.0, variance]


def _joined(of_place: list[float], of_motion: list[float]) -> list[float]:
    """Return all 21 terms of two blocks that know nothing of each other."""
    xx, xy, xz, yy, yz, zz = of_place
    none = (0.0, 0.0, 0.0)
    return [xx, xy, xz, *none, yy, yz, *none, zz, *none, *of_motion]
