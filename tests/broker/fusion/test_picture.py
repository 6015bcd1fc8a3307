"""Whatever was said, the picture keeps the bounds of its fields and of a message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from broker import limits
from broker.content import check_content
from broker.fusion.view import fused_content
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable


def sent(log: Any) -> list[content_pb2.Content]:
    """Return every revision as a message; each passes the check that its recipient makes of it."""
    found = [fused_content(event, recipient="JPN", mode=content_pb2.MODE_TEST) for event in log.revisions]
    for content in found:
        check_content(content, incoming=True)
        assert content.ByteSize() <= limits.BODY_BYTES_MAX
    return found


def taken(world: Any, contents: Iterable[content_pb2.Content]) -> Any:
    log = world.log()
    for content in contents:
        check_content(content, incoming=True)
        log.take(content)
    return log


def test_an_area_wider_than_the_field_holds_is_as_wide_as_it_holds(world: Any) -> None:
    launch = world.nation("KOR").launch("k", 10.0, launched_s=0.0, place=(40.0, 126.0), axis_m=20_000_000.0)
    launch.launch.launch_area.ellipse.probability = 0.01
    (content,) = sent(taken(world, [launch]))
    assert content.fused.launch.launch_area.ellipse.semi_major_m == 20_000_000.0


def test_a_window_that_would_begin_before_all_time_begins_with_it(world: Any) -> None:
    launch = world.nation("KOR").launch("k", 10.0, launched_s=0.0, place=(40.0, 126.0))
    window = launch.launch.launch_time
    for stamp, second in ((window.earliest, 0), (window.best, 1), (window.latest, 100)):
        stamp.seconds, stamp.nanos = second, 0
    (content,) = sent(taken(world, [launch]))
    assert content.fused.launch.launch_time.HasField("earliest")
    assert content.fused.launch.launch_time.earliest.seconds == 0


def test_reports_that_cannot_both_be_true_do_not_lose_the_picture(world: Any) -> None:
    kor, flight = world.nation("KOR"), world.fly()
    state = flight.at(100.0)
    contents = []
    for second in range(12):
        leap = np.array([0.0, 0.0, 0.0, *(11_000.0 * (-1.0) ** second for _ in range(1)), 0.0, 0.0])
        contents.append(kor.track("k", 100.0 + 0.1 * second, state + leap, sigma_m=900_000.0, sigma_mps=900_000.0))
    assert sent(taken(world, contents))[-1].fused.contributions


def test_what_does_not_fit_into_a_message_is_left_out_by_its_weight(world: Any) -> None:
    contents = []
    for index in range(24):
        nation = world.nation(f"N{chr(65 + index)}X")
        launch = nation.launch("l", 10.0, launched_s=0.0, place=(40.0, 126.0), count=(1, 1 + index))
        launch.launch.launch_area.iso_3166_2.extend(f"KP-{number:02d}" for number in range(99))
        contents.append(launch)
        track = nation.track("l", 30.0, world.fly().at(30.0), sigma_m=300.0, sigma_mps=30.0)
        contents.append(track)
    log = taken(world, contents)
    fused = sent(log)[-1].fused
    assert len({one.origin for one in fused.contributions}) == 24, "who spoke is never left out"
    assert len(fused.tracks) == 1
    assert fused.HasField("launch")
    assert any(not one.HasField("launch") for one in fused.contributions)


def test_even_an_event_of_which_more_is_to_be_said_than_goes_into_a_message_is_told(world: Any) -> None:
    kor = world.nation("KOR")
    contents = []
    for index in range(24):
        state = world.fly(azimuth_deg=40.0 + 5.0 * index).at(60.0)
        content = kor.track("all", 60.0, state, sigma_m=300.0, sigma_mps=30.0, name=index)
        content.track.object_id = world.identity("object", index)
        contents.append(content)
    fused = sent(taken(world, contents))[-1].fused
    assert 1 < len(fused.tracks) <= 16
    assert all(math.isfinite(value) for track in fused.tracks for value in track.state.position_m)
