"""Apogee, range and time of flight of what was publicly reported, and of what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from broker.fusion.plausibility import fits, flight_s

# Publicly reported flights: apogee and range in km, minutes.
REPORTED = (
    ("2023-07-12", 6648.4, 1000.0, 74.0),
    ("2022-03-24", 6248.5, 1090.0, 71.0),
    ("2022-10-04", 970.0, 4600.0, 22.0),
    ("2017-05-14", 2111.5, 787.0, 30.0),
    ("2017-07-04", 2802.0, 930.0, 37.0),
    ("2017-07-04 again", 2802.0, 930.0, 39.0),
    ("2024-10-31", 7687.0, 1000.0, 86.0),
)


@pytest.mark.parametrize(("apogee_km", "range_km", "minutes"), [line[1:] for line in REPORTED])
def test_what_was_reported_fits_together(apogee_km: float, range_km: float, minutes: float) -> None:
    assert fits(apogee_km * 1e3, range_km * 1e3, minutes * 60.0, minutes * 60.0)


def test_the_rounded_apogee_of_12_july_2023_does_not_fit_its_time() -> None:
    assert not fits(6_000e3, 1_000e3, 74 * 60.0, 74 * 60.0)
    assert fits(6_000e3, 1_000e3, 74 * 60.0, 74 * 60.0, apogee_slack_m=700e3), "said to be rounded, it does"


def test_what_swaps_apogee_and_range_does_not_fit() -> None:
    assert not fits(4_600e3, 970e3, 22 * 60.0, 22 * 60.0)


@pytest.mark.parametrize(("apogee_m", "range_m"), [(0.0, 1e6), (-1.0, 1e6), (1e6, 2.1e7), (1e9, 1e6), (1e6, -1.0)])
def test_what_no_body_flies_has_no_time(apogee_m: float, range_m: float) -> None:
    assert flight_s(apogee_m, range_m) is None


def test_a_stone_thrown_straight_up_takes_what_it_takes() -> None:
    assert flight_s(1_000.0, 0.0) == pytest.approx(2.0 * (2.0 * 1_000.0 / 9.82) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(("apogee_m", "is_flagged"), [(6_648e3, False), (6_000e3, True), (0.0, False)])
def test_an_origin_whose_figures_do_not_fit_together_is_flagged(
    world: Any,
    apogee_m: float,
    is_flagged: bool,  # noqa: FBT001 - a case
) -> None:
    kor, log = world.nation("KOR"), world.log()
    log.take(kor.launch("k", 10.0, launched_s=0.0, place=(40.0, 126.0)))
    impact = kor.impact("k", 100.0, at_s=74 * 60.0, place=(42.0, 137.0))
    impact.impact.time.ClearField("latest")
    log.take(impact)
    track = kor.track("k", 30.0, world.fly().at(30.0), sigma_m=300.0)
    track.track.apogee_m.value, track.track.ground_range_m.value = apogee_m, 1_000e3
    log.take(track)
    (said,) = log.only().objects
    assert said.implausible is is_flagged
    assert log.only().impacts, "a flag takes nothing away"


def test_what_is_fused_of_a_flight_fits_together(world: Any) -> None:
    kor, flight = world.nation("KOR"), world.fly()
    log = world.log()
    log.take(kor.launch("k", 12.0, launched_s=0.0, place=(40.0, 126.0)))
    log.feed(kor.radar(flight, "k", seed=1, first_s=60.0, last_s=140.0, sigma_mps=20.0))
    (said,) = log.only().objects
    assert log.only().tracks[0].ground_range_m.value
    assert not said.implausible


def test_a_launch_time_that_cannot_be_that_of_the_flight_is_flagged(world: Any) -> None:
    kor, flight = world.nation("KOR"), world.fly()
    log = world.log()
    log.take(kor.launch("k", 12.0, launched_s=-900.0, place=(40.0, 126.0)))
    log.feed(kor.radar(flight, "k", seed=1, first_s=60.0, last_s=140.0, sigma_mps=20.0))
    assert log.only().objects[0].implausible
