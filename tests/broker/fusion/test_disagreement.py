"""Where nations differ it is said, with how far, and nothing is averaged away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from broker.content import check_content
from broker.fusion.view import fused_content
from vedette.v1 import content_pb2, measures_pb2


def said(log: Any) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Return the disagreements of the newest revision, which its recipient's check passes."""
    fused = log.revisions[-1]
    check_content(fused_content(fused, recipient="JPN", mode=content_pb2.MODE_TEST), incoming=True)
    return {one.field_path: (one.normalized_distance, tuple(one.origins)) for one in fused.disagreements}


def tracks(
    world: Any, *, offset: tuple[float, ...] = (0.0,) * 6, coarse_m: float = 0.0, newest_s: float = 121.2
) -> Any:
    """Return the log of a flight as KOR and USA report it, the second off by so much in the newest report."""
    flight, kor, usa = world.fly(), world.nation("KOR"), world.nation("USA")
    log = world.log()
    settings = {"first_s": 100.0, "last_s": 120.0, "sigma_m": 200.0, "sigma_mps": 10.0}
    log.feed([*kor.radar(flight, "k", seed=1, **settings), *usa.radar(flight, "u", seed=2, **settings)])
    log.take(kor.track("k", 121.0, flight.at(121.0), sigma_m=200.0, sigma_mps=10.0))
    newest = usa.track("u", newest_s, flight.at(newest_s) + np.array(offset), sigma_m=200.0, sigma_mps=10.0)
    log.take(world.coarse(newest, coarse_m) if coarse_m else newest)
    return log


@pytest.mark.parametrize("newest_s", [121.2, 123.5])
def test_honest_tracks_are_no_disagreement(world: Any, newest_s: float) -> None:
    log = tracks(world, newest_s=newest_s)
    assert len(log.only().tracks) == 1
    assert not {"state.position_m", "state.velocity_mps"} & said(log).keys()


def test_positions_that_differ_are_said_with_their_distance_in_standard_deviations(world: Any) -> None:
    found = said(tracks(world, offset=(2_000.0, 0.0, 0.0, 0.0, 0.0, 0.0)))
    distance, origins = found["state.position_m"]
    assert origins == ("KOR", "USA")
    assert distance == pytest.approx(2_000.0 / (200.0 * 2**0.5), rel=0.1)
    assert "state.velocity_mps" not in found


def test_velocities_that_differ_are_said(world: Any) -> None:
    found = said(tracks(world, offset=(0.0, 0.0, 0.0, 0.0, 150.0, 0.0)))
    assert found["state.velocity_mps"][0] == pytest.approx(150.0 / (10.0 * 2**0.5), rel=0.2)
    assert "state.position_m" not in found


def test_what_differs_within_the_cell_of_a_coarse_report_is_no_disagreement(world: Any) -> None:
    assert "state.position_m" not in said(tracks(world, coarse_m=10_000.0))


def quantities(world: Any, one: dict[str, Any], two: dict[str, Any]) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Return what is said where two nations state an apogee and a range of the same flight."""
    log = tracks(world)
    for nation, event, stated in (("KOR", "k", one), ("USA", "u", two)):
        content = world.nation(nation).track(event, 122.0, world.fly().at(122.0), sigma_m=200.0, name="stated")
        for name, quantity in stated.items():
            getattr(content.track, name).CopyFrom(measures_pb2.Quantity(**quantity))
        log.take(content)
    return said(log)


def test_lofted_or_depressed_is_said_where_apogees_differ(world: Any) -> None:
    found = quantities(
        world,
        {"apogee_m": {"value": 6_000_000.0}, "ground_range_m": {"value": 1_000_000.0}},
        {"apogee_m": {"value": 970_000.0}, "ground_range_m": {"value": 1_010_000.0}},
    )
    assert found["apogee_m"][0] > 10.0
    assert "ground_range_m" not in found


def test_at_least_so_much_differs_only_from_less(world: Any) -> None:
    low = {"apogee_m": {"value": 500_000.0, "lower_bound": True}}
    high = {"apogee_m": {"value": 970_000.0}}
    assert "apogee_m" not in quantities(world, low, high)
    assert "apogee_m" in quantities(
        world, {"apogee_m": {"value": 500_000.0}}, {"apogee_m": {**high["apogee_m"], "lower_bound": True}}
    )


def test_whether_it_passes_over_or_comes_down_is_said(world: Any) -> None:
    log, kor, usa = world.log(), world.nation("KOR"), world.nation("USA")
    launch = {"launched_s": 0.0, "place": (40.0, 126.0)}
    log.take(kor.launch("k", 10.0, **launch))
    log.take(usa.launch("u", 11.0, **launch))
    log.take(kor.impact("k", 100.0, at_s=600.0, place=(40.8, 140.7)))
    over = usa.impact("u", 101.0, at_s=600.0, place=(40.8, 140.7))
    over.impact.overflight_only = True
    log.take(over)
    assert said(log)["overflight_only"] == (1.0, ("KOR", "USA"))


def test_a_launch_that_another_calls_none_is_said_and_stays(world: Any) -> None:
    log, kor, usa = world.log(), world.nation("KOR"), world.nation("USA")
    launch = {"launched_s": 0.0, "place": (40.0, 126.0)}
    log.take(kor.launch("k", 10.0, **launch))
    log.take(usa.launch("u", 11.0, **launch))
    log.take(usa.status("u", 20.0, content_pb2.EVENT_STATE_NOT_A_LAUNCH))
    assert said(log)["state"] == (1.0, ("KOR", "USA"))
    assert log.revisions[-1].standing == content_pb2.STANDING_CONFLICT
    assert log.revisions[-1].launch.launch_area.HasField("ellipse")
    assert {one.origin for one in log.revisions[-1].contributions} == {"KOR", "USA"}


def test_counts_and_classes_that_differ_are_said_and_both_are_kept(world: Any) -> None:
    log = world.log()
    for code, event, count, kind in (
        ("KOR", "k", (8, 8), measures_pb2.MISSILE_CLASS_SRBM),
        ("USA", "u", (6, 6), measures_pb2.MISSILE_CLASS_MRBM),
    ):
        launch = world.nation(code).launch(event, 10.0, launched_s=0.0, place=(40.0, 126.0), count=count)
        launch.launch.classes.add(missile_class=kind, probability=0.8)
        log.take(launch)
    found = said(log)
    assert found["count"] == (2.0, ("KOR", "USA"))
    assert found["classes"] == (1.0, ("KOR", "USA"))
    fused = log.revisions[-1]
    assert (fused.launch.count.least, fused.launch.count.most) == (6, 8)
    assert len(fused.launch.classes) == 2
    assert [one.launch.count.most for one in fused.contributions] == [8, 6]
