"""Every scenario that is shipped, as each nation sees it under the policies that are shipped."""

from __future__ import annotations

import json
import math
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from broker.clock import nanoseconds
from broker.fusion.replay import replay
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from broker.exercise.timeline import Timeline

RECIPIENTS = ("KOR", "USA", "JPN")
OVER_JAPAN, SALVO, FALSE_ALARM = "over-japan-2022-10-04", "salvo-2022-06-05", "false-alarm"
BURNT_OUT_S = 100.0
# What the position may be off by after burnout, in the middle: the worst that was reached, twice. Of the
# two flights that Japan does not see itself, all that it holds is Korea's in cells of 1 km.
ERROR_MOST_M = {OVER_JAPAN: 320.0, SALVO: 300.0}
UNSEEN_BY_JPN = ("hamhung-1", "hamhung-2")
ERROR_OF_CELLS_MOST_M = 900.0


def fused_of(released: Any, scenario: str, recipient: str) -> list[content_pb2.FusedEvent]:
    lines = [arrival.line for arrival in released.shown(scenario).logs[recipient]]
    return [
        json_format.ParseDict(json.loads(line)["fused"], content_pb2.FusedEvent())
        for line in replay(lines, recipient=recipient)
    ]


def at_the_end(revisions: list[content_pb2.FusedEvent]) -> dict[bytes, content_pb2.FusedEvent]:
    newest = {event.event_id: event for event in revisions}
    merged = {number for event in newest.values() for number in event.merged_event_ids}
    return {number: event for number, event in newest.items() if number not in merged}


def nearest(timeline: Timeline, track: content_pb2.TrackUpdate) -> tuple[float, str] | None:
    """Return how far the nearest true missile is from a track at its own time, m, and which it is."""
    at_ns = nanoseconds(track.state.valid_at)
    truths = [(name, timeline.position_m(name, at_ns)) for name in timeline.launched]
    found = [(math.dist(truth, track.state.position_m), name) for name, truth in truths if truth is not None]
    return min(found, default=None)


@pytest.mark.parametrize(
    ("scenario", "recipient"),
    [
        (OVER_JAPAN, "JPN"),
        (SALVO, "JPN"),
        *(
            pytest.param(scenario, recipient, marks=pytest.mark.slow)
            for scenario in (OVER_JAPAN, SALVO)
            for recipient in ("KOR", "USA")
        ),
    ],
)
@pytest.mark.timeout(400)  # half a minute of computing, on a machine that has nothing else to do
def test_every_missile_is_one_event_with_one_track_near_the_truth(released: Any, scenario: str, recipient: str) -> None:
    timeline = released.shown(scenario).timeline
    revisions = fused_of(released, scenario, recipient)
    events = at_the_end(revisions)
    assert [len(event.tracks) for event in events.values()] == [1] * len(timeline.launched)
    errors_m: dict[str, list[float]] = {}
    for event in revisions:
        for track in event.tracks:
            found = nearest(timeline, track)
            if event.event_id in events and found is not None:
                flown_s = (nanoseconds(track.state.valid_at) - timeline.launched[found[1]].time_ns) / SECOND_NS
                if flown_s > BURNT_OUT_S:
                    errors_m.setdefault(found[1], []).append(found[0])
    assert errors_m.keys() == timeline.launched.keys(), "no two tracks follow the same missile"
    for name, found_m in errors_m.items():
        is_of_cells = recipient == "JPN" and name in UNSEEN_BY_JPN
        assert median(found_m) < (ERROR_OF_CELLS_MOST_M if is_of_cells else ERROR_MOST_M[scenario]), name


@pytest.mark.parametrize("recipient", RECIPIENTS)
def test_a_false_alarm_leaves_one_event_and_no_track(released: Any, recipient: str) -> None:
    (event,) = at_the_end(fused_of(released, FALSE_ALARM, recipient)).values()
    assert event.status.state == content_pb2.EVENT_STATE_NOT_A_LAUNCH
    assert not event.tracks
