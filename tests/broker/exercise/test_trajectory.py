"""The truth is a second flight, written without any of the project's physics: in the frame that does not turn."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from broker import geodesy
from broker.exercise.fit import Announcement, fit
from broker.exercise.trajectory import NoSuchFlight, flown_on, fly
from vedette.v1.measures_pb2 import MissileClass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from broker.exercise.trajectory import Trajectory

MU, OMEGA, RADIUS, FLAT, J2 = 3.986004418e14, 7.292115e-5, 6378137.0, 1 / 298.257223563, 1.082629821e-3
AXIS = np.array((0.0, 0.0, OMEGA))


def turned(vector: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array(((cosine, -sine, 0.0), (sine, cosine, 0.0), (0.0, 0.0, 1.0))) @ vector


def truth(flight: Trajectory) -> tuple[float, NDArray[np.float64]]:
    """Fly the same burn in the inertial frame with DOP853; return impact time and ECEF place."""

    def air(place: NDArray[np.float64]) -> float:
        radius = float(np.linalg.norm(place))
        flattened = FLAT * (2 - FLAT) * (place[0] ** 2 + place[1] ** 2) / radius**2
        height = radius - RADIUS * (1 - FLAT) / math.sqrt(1 - flattened)
        return 1.225 * math.exp(-max(height, 0.0) / 7200) if height < 150e3 else 0.0

    def slope(time: float, both: NDArray[np.float64], *, burning: bool) -> NDArray[np.float64]:
        place, speed = both[:3], both[3:]
        radius = float(np.linalg.norm(place))
        x, y, z = place / radius
        oblate = 1.5 * J2 * (RADIUS / radius) ** 2
        pull = np.array((x * (1 + oblate * (1 - 5 * z * z)), y * (1 + oblate * (1 - 5 * z * z)),
                         z * (1 + oblate * (3 - 5 * z * z))))  # fmt: skip
        wind = speed - np.cross(AXIS, place)
        force = -MU / radius**2 * pull
        force -= 0.5 * air(place) * float(np.linalg.norm(wind)) / flight.ballistic_coefficient_kgpm2 * wind
        if burning:
            force += turned(np.array(flight.motor.push(time)), OMEGA * time)
        return np.concatenate((speed, force))

    def ground(_: float, both: NDArray[np.float64]) -> float:
        x, y, z = both[:3] / RADIUS
        return float(x * x + y * y + (z / (1 - FLAT)) ** 2 - 1)

    ground.terminal, ground.direction = True, -1  # type: ignore[attr-defined]
    place = np.array(flight.states[0][:3])
    both = np.concatenate((place, np.cross(AXIS, place)))
    # The thrust has corners; no step may go over one.
    corners = [0.0, *(share * flight.burnout_s for share in (0.06, 0.5)), flight.burnout_s]
    for start, end in pairwise(corners):
        both = solve_ivp(
            lambda time, at: slope(time, at, burning=True), (start, end), both, "DOP853", rtol=1e-11, atol=1e-6
        ).y[:, -1]
    fall = solve_ivp(
        lambda time, at: slope(time, at, burning=False),
        (flight.burnout_s, 8000.0), both, "DOP853", events=ground, rtol=1e-11, atol=1e-6,
    )  # fmt: skip
    impact_s = float(fall.t[-1])
    return impact_s, turned(fall.y[:3, -1], -OMEGA * impact_s)


@pytest.mark.parametrize(
    ("azimuth_deg", "range_m", "apogee_m", "missile_class"),
    [
        (80.0, 4.5e6, 9.7e5, MissileClass.MISSILE_CLASS_IRBM),
        (62.0, 1.0e6, 6.648e6, MissileClass.MISSILE_CLASS_ICBM),
        (86.0, 4.5e5, 6.0e4, MissileClass.MISSILE_CLASS_SRBM),
        (190.0, 8.0e5, 2.0e5, MissileClass.MISSILE_CLASS_MRBM),
    ],
)
def test_a_flight_agrees_with_an_independent_one(
    azimuth_deg: float, range_m: float, apogee_m: float, missile_class: MissileClass.ValueType
) -> None:
    flight = fit(Announcement(39.2, 125.7, azimuth_deg, range_m, apogee_m, missile_class))
    impact_s, place = truth(flight)
    assert flight.impact_s == pytest.approx(impact_s, abs=0.02)
    ours = geodesy.ecef(flight.impact_lat_deg, flight.impact_lon_deg)
    # Half-second steps over the corners of the thrust: tens of metres after thousands of kilometres.
    assert np.linalg.norm(place - ours) < 100.0


def test_energy_is_kept_where_there_is_no_air() -> None:
    flight = fly((39.2, 125.7), 80.0, burn_s=140.0, acceleration_mps2=27.0, elevation_deg=35.0,
                 ballistic_coefficient_kgpm2=math.inf)  # fmt: skip

    def energy(elapsed_s: float) -> float:
        """The Jacobi integral: energy in the turning frame."""
        x, y, z, u, v, w = flight.at(elapsed_s)
        radius = math.sqrt(x * x + y * y + z * z)
        oblate = J2 * (RADIUS / radius) ** 2 * (3 * (z / radius) ** 2 - 1) / 2
        return 0.5 * (u * u + v * v + w * w) - MU / radius * (1 - oblate) - 0.5 * OMEGA**2 * (x * x + y * y)

    start, times_s = energy(flight.burnout_s), np.linspace(flight.burnout_s, flight.impact_s, 60)
    assert max(abs(energy(float(time)) / start - 1) for time in times_s) < 1e-10


def test_air_takes_energy_away() -> None:
    burn = {"burn_s": 60.0, "acceleration_mps2": 30.0, "elevation_deg": 30.0}
    thin = fly((39.2, 125.7), 80.0, **burn, ballistic_coefficient_kgpm2=math.inf)
    thick = fly((39.2, 125.7), 80.0, **burn, ballistic_coefficient_kgpm2=2000.0)
    assert np.linalg.norm(thick.states[-1][3:]) < np.linalg.norm(thin.states[-1][3:])
    assert thick.apogee_m < thin.apogee_m


def test_a_state_between_two_steps_lies_on_the_way(overflight: Trajectory) -> None:
    for before, after in ((100.2, 100.7), (400.0, 404.9), (1000.0, 1000.3)):
        here, there = np.array(overflight.at(before)), np.array(overflight.at(after))
        mean = (here[3:] + there[3:]) / 2
        assert np.allclose(here[:3] + mean * (after - before), there[:3], atol=5.0)


def test_a_flight_begins_at_rest_on_the_ground_and_ends_on_it(overflight: Trajectory) -> None:
    assert overflight.at(0.0) == overflight.at(-5.0) == overflight.states[0]
    assert overflight.at(0.0)[3:] == (0.0, 0.0, 0.0)
    assert abs(geodesy.height_m(*overflight.at(overflight.impact_s)[:3])) < 1e-3
    assert overflight.at(overflight.impact_s + 60.0) == overflight.states[-1]


def test_the_highest_point_is_the_apogee(overflight: Trajectory) -> None:
    heights = [geodesy.geodetic(*overflight.at(time)[:3])[2] for time in np.linspace(0, overflight.impact_s, 500)]
    assert max(heights) <= overflight.apogee_m + 1.0
    assert geodesy.geodetic(*overflight.at(overflight.apogee_s)[:3])[2] == pytest.approx(overflight.apogee_m, abs=0.01)


def test_the_motor_burns_until_burnout(overflight: Trajectory) -> None:
    assert overflight.burning(0.0)
    assert overflight.burning(overflight.burnout_s - 0.001)
    assert not overflight.burning(overflight.burnout_s)
    assert not overflight.burning(-1.0)


def test_flown_on_from_its_own_state_a_flight_comes_down_where_it_did(overflight: Trajectory) -> None:
    again = flown_on(overflight, 500.0, overflight.at(500.0))
    assert again.impact_s == pytest.approx(overflight.impact_s, abs=1e-3)
    assert again.impact_lat_deg == pytest.approx(overflight.impact_lat_deg, abs=1e-5)


def test_what_leaves_the_earth_is_no_flight() -> None:
    with pytest.raises(NoSuchFlight, match="come down"):
        fly((39.2, 125.7), 80.0, burn_s=240.0, acceleration_mps2=60.0, elevation_deg=45.0)
