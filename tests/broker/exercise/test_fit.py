from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import pytest

from broker import geodesy
from broker.exercise.announcements import read_launches
from broker.exercise.fit import Announcement, fit
from broker.exercise.trajectory import NoSuchFlight

if TYPE_CHECKING:
    from broker.exercise.announcements import AnnouncedLaunch
    from broker.exercise.trajectory import Trajectory

# Every announced launch of the table with one range and one apogee.
WITH_BOTH = ["L01", "L02", "L03", "L04", "L06", "L07", "L11", "L13", "L16", "L17", "L18", "L21", "L25", "L26", "L28"]
WITH_TIME = ["L02", "L03", "L04", "L07", "L13", "L17", "L21", "L25"]
# The press said 17 minutes for 3700 km at 770 km, which no ballistic flight takes: it takes 19.
PRESS_FIGURE = "L07"


@cache
def fitted(name: str) -> Trajectory:
    return fit(announcement(read_launches()[name]))


def announcement(row: AnnouncedLaunch) -> Announcement:
    pair = row.range_and_apogee_m()
    assert pair
    return Announcement(row.lat_deg, row.lon_deg, row.azimuth_deg, *pair, row.missile_class)


@pytest.mark.parametrize("name", WITH_BOTH)
def test_a_fit_does_what_was_announced(name: str, table: dict[str, AnnouncedLaunch]) -> None:
    asked, flight = announcement(table[name]), fitted(name)
    range_m, azimuth_deg = geodesy.distance_azimuth(
        asked.lat_deg, asked.lon_deg, flight.impact_lat_deg, flight.impact_lon_deg
    )
    assert range_m == pytest.approx(asked.range_m, rel=0.005)
    assert flight.apogee_m == pytest.approx(asked.apogee_m, rel=0.005)
    assert azimuth_deg == pytest.approx(asked.azimuth_deg, abs=0.05)


@pytest.mark.parametrize("name", WITH_TIME)
def test_the_time_of_flight_is_within_a_few_percent_of_the_announced_one(
    name: str, table: dict[str, AnnouncedLaunch]
) -> None:
    announced_s = table[name].flight_time_s
    tolerance = 0.12 if name == PRESS_FIGURE else 0.03
    assert fitted(name).impact_s == pytest.approx(announced_s, rel=tolerance)


def test_the_table_names_every_launch_that_can_be_fitted(table: dict[str, AnnouncedLaunch]) -> None:
    assert [name for name, row in table.items() if row.range_and_apogee_m()] == WITH_BOTH
    assert [name for name, row in table.items() if row.flight_time_s] == WITH_TIME


def test_a_glide_is_no_ballistic_flight(table: dict[str, AnnouncedLaunch]) -> None:
    row = table["L28"]  # Korea's range with Japan's apogee: what manoeuvred went further than it could have fallen
    with pytest.raises(NoSuchFlight, match="1000 km at 50 km"):
        fit(Announcement(row.lat_deg, row.lon_deg, row.azimuth_deg, 1.0e6, 5.0e4, row.missile_class))


def test_the_same_announcement_gives_the_same_flight_to_the_last_bit(table: dict[str, AnnouncedLaunch]) -> None:
    asked = announcement(table["L11"])
    assert fit(asked) == fit(asked)


def test_without_air_too_a_fit_is_found(table: dict[str, AnnouncedLaunch]) -> None:
    flight = fit(announcement(table["L17"]), ballistic_coefficient_kgpm2=math.inf)
    assert flight.apogee_m == pytest.approx(970e3, rel=0.005)
