"""Late, twice, corrected or taken back before it came: what is published in the end is the same, byte for byte."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from google.protobuf import json_format

from broker import limits
from broker.fusion.replay import replay
from broker.fusion.view import View
from tests.broker.fusion import random_logs
from vedette.v1 import content_pb2


def bytes_of(revisions: list[content_pb2.FusedEvent]) -> list[bytes]:
    return [event.SerializeToString(deterministic=True) for event in revisions]


def told(world: Any, seed: int) -> tuple[list[bytes], list[bytes]]:
    """Return what is published last of a story that is told as it happened, and of one that is told late."""
    story = random_logs.Story(world, seed)
    found = []
    for order in story.orders():
        log = world.log().feed(order, until_s=story.end_s)
        found.append(random_logs.final_picture(log.revisions))
    return found[0], found[1]


@pytest.mark.parametrize("seed", range(6))
def test_up_to_a_minute_late_twice_and_out_of_order_leaves_no_trace(world: Any, seed: int) -> None:
    in_order, late = told(world, seed)
    assert late == in_order
    assert in_order


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1600, 20))
def test_no_story_of_six_hundred_shows_how_late_it_was_told(world: Any, first: int) -> None:
    for seed in range(first, first + 20):
        in_order, late = told(world, seed)
        assert late == in_order, seed


@pytest.mark.parametrize("seed", [20, 21, 22])
def test_restarts_in_a_late_log_change_no_byte_of_any_revision(world: Any, seed: int) -> None:
    story = random_logs.Story(world, seed)
    _, late = story.orders()
    log, restarted = world.log(), world.log()
    log.feed(late, until_s=story.end_s)
    draw = random.Random(seed)  # noqa: S311 - where it restarts
    for arrival_s, content in sorted(late, key=lambda one: one[0]):
        restarted.wait(arrival_s)
        restarted.take(content)
        if draw.random() < 0.1:
            restarted.view = View.restore(restarted.view.checkpoint())
    restarted.wait(story.end_s)
    assert bytes_of(restarted.revisions) == bytes_of(log.revisions)


@pytest.mark.parametrize("seed", [40, 41])
def test_a_log_in_a_file_that_came_late_and_twice_ends_as_the_one_in_order(world: Any, seed: int) -> None:
    story = random_logs.Story(world, seed)
    end = world.nation("KOR").content(None, "end")
    end.canary.SetInParent()
    finals = []
    for order in story.orders():
        arrivals = sorted([*order, (story.end_s, end)], key=lambda one: one[0])
        lines = [
            json.dumps({"arrival_ns": world.ns(arrival_s), "content": json_format.MessageToDict(content)})
            for arrival_s, content in arrivals
        ]
        found = list(replay(lines, recipient="JPN"))
        assert list(replay(lines, recipient="JPN")) == found, "the same bytes in every run"
        revisions = [json_format.ParseDict(json.loads(line)["fused"], content_pb2.FusedEvent()) for line in found]
        finals.append(random_logs.final_picture(revisions))
    assert finals[0] == finals[1]
    assert finals[0]


@pytest.mark.parametrize("seed", [30, 31])
def test_what_is_over_and_packed_away_was_the_same_too(world: Any, seed: int) -> None:
    story = random_logs.Story(world, seed)
    finals = []
    for order in story.orders():
        log = world.log().feed(order, until_s=story.end_s)
        for wait_s in (600, 3_000, 8_000):  # impacts pass, silence becomes long
            log.tick(int(story.end_s) + wait_s)
        assert not log.view.board.nodes, "all is over"
        finals.append(random_logs.final_picture(log.revisions))
    assert finals[0] == finals[1]
    assert limits.HORIZON_S > 2 * random_logs.LATE_MAX_S
