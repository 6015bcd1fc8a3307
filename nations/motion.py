"""Where an object is and how it moves, in the terms of those who watch it from the ground: east, north, up.

Sensors write latitude, longitude, height and a local velocity; Content holds ECEF. Both say the same; here is the way
from one to the other, uncertainty included. A covariance is the upper triangle, row by row, of position and velocity
(21 terms) or of position alone (6 terms).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import geodesy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.plugin import Observation

__all__ = [
    "SIZES",
    "Local",
    "Vector",
    "correlations",
    "from_ecef",
    "known_covariance",
    "of_correlations",
    "to_ecef",
]

FULL_TERMS: Final = 21
SIZES: Final = {21: 6, 6: 3, 0: 0}  # rows of the square that so many terms make

Vector = tuple[float, float, float]
Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class Local:
    """A state as seen from the ground below it."""

    lat_deg: float
    lon_deg: float
    height_m: float
    velocity_enu_mps: Vector | None
    covariance_enu: tuple[float, ...]  # 21, 6 or 0 terms


def to_ecef(local: Local) -> tuple[Vector, Vector | None, tuple[float, ...]]:
    """Return position (m), velocity (m/s) and covariance in ECEF."""
    axes = geodesy.enu_axes(local.lat_deg, local.lon_deg)
    from_enu = [[axes[column][row] for column in range(3)] for row in range(3)]
    velocity = None if local.velocity_enu_mps is None else _turned(from_enu, local.velocity_enu_mps)
    position = geodesy.ecef(local.lat_deg, local.lon_deg, local.height_m)
    return position, velocity, _turned_covariance(from_enu, local.covariance_enu)


def from_ecef(observation: Observation) -> Local:
    """Return a sighting of a state vector as it looks from the ground. Raises ValueError where it has no position."""
    if observation.position_m is None:
        raise ValueError("a track without a position")
    lat_deg, lon_deg, height_m = geodesy.geodetic(*observation.position_m)
    to_enu = [list(axis) for axis in geodesy.enu_axes(lat_deg, lon_deg)]
    velocity = None if observation.velocity_mps is None else _turned(to_enu, observation.velocity_mps)
    return Local(lat_deg, lon_deg, height_m, velocity, _turned_covariance(to_enu, known_covariance(observation)))


def known_covariance(observation: Observation) -> tuple[float, ...]:
    """Return a sighting's covariance; without a velocity, the position's part of it."""
    terms = observation.covariance
    if observation.velocity_mps is None and len(terms) == FULL_TERMS:
        return terms[0:3] + terms[6:8] + terms[11:12]
    return terms


def correlations(covariance: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the standard deviations, and the correlations above the diagonal, row by row; 0 beside a deviation 0."""
    matrix = _unfolded(covariance)
    size = len(matrix)
    deviations = [math.sqrt(max(matrix[i][i], 0.0)) for i in range(size)]
    ratios = []
    for i in range(size):
        for j in range(i + 1, size):
            product = deviations[i] * deviations[j]
            ratios.append(max(-1.0, min(1.0, matrix[i][j] / product)) if product > 0.0 else 0.0)
    return deviations, ratios


def of_correlations(deviations: Sequence[float], ratios: Sequence[float]) -> tuple[float, ...]:
    """Return the covariance that `correlations` took apart. Takes 6 and 15 numbers, or 3 and 3."""
    remaining = iter(ratios)
    return tuple(
        deviations[i] * deviations[j] * (1.0 if i == j else next(remaining))
        for i in range(len(deviations))
        for j in range(i, len(deviations))
    )


def _turned(rotation: Matrix, vector: Sequence[float]) -> Vector:
    x, y, z = (sum(row[k] * vector[k] for k in range(3)) for row in rotation)
    return x, y, z


def _turned_covariance(rotation: Matrix, covariance: Sequence[float]) -> tuple[float, ...]:
    """Return R C R' for each 3x3 block: position and velocity turn alike."""
    matrix = _unfolded(covariance)
    size = len(matrix)
    turned = [[0.0] * size for _ in range(size)]
    for top in range(0, size, 3):
        for left in range(0, size, 3):
            half = [
                [sum(rotation[i][k] * matrix[top + k][left + j] for k in range(3)) for j in range(3)] for i in range(3)
            ]
            for i in range(3):
                for j in range(3):
                    turned[top + i][left + j] = sum(half[i][k] * rotation[j][k] for k in range(3))
    return tuple(turned[i][j] for i in range(size) for j in range(i, size))


def _unfolded(covariance: Sequence[float]) -> Matrix:
    """Return the full symmetric matrix of an upper triangle."""
    size = SIZES[len(covariance)]
    matrix = [[0.0] * size for _ in range(size)]
    terms = iter(covariance)
    for i in range(size):
        for j in range(i, size):
            matrix[i][j] = matrix[j][i] = next(terms)
    return matrix
