"""What the demo's summary says of a story whose messages are made here, so that it is known what is right."""

from __future__ import annotations

import json
import time
from math import inf
from typing import TYPE_CHECKING, Final

import pytest

from broker.clock import timestamp
from broker.demo.attack import Attempt
from broker.demo.floor import LEGS, Floor
from broker.demo.story import Story
from broker.demo.summary import lines, promises, summarise
from broker.demo.world import make_world
from broker.exercise.player import Played, make_exercise
from broker.exercise.scenario import read_scenarios
from broker.exercise.timeline import make_timeline
from broker.gateway.load import load_nation
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, measures_pb2, national_pb2

if TYPE_CHECKING:
    from broker.demo.world import World
    from broker.exercise.timeline import Timeline

NATIONS: Final = ("KOR", "USA")
LEG_MS: Final = 10


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    scenario = read_scenarios()["false-alarm"].at(rate=10.0)
    return make_timeline(scenario, {code: load_nation(code) for code in scenario.nations})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give a world in which nothing ever ran, but for what KOR's gateway wrote down of its decisions."""
    made = make_world(tmp_path_factory.mktemp("world"), nations=NATIONS)
    decided = {
        "event": "decided",
        "recipient": "USA",
        "outcome": "sealed",
        "rules": ["KOR-R6"],
        "levels": {"sensor": "withheld", "track_place": "1km/1s", "motion": "exact"},
    }
    denied = decided | {"outcome": "withheld", "rules": ["KOR-D1"], "levels": {"motion": "withheld"}}
    for nation, entries in (("KOR", [decided, denied]), ("USA", [])):
        trail = made.folder / nation.lower() / "data" / "audit.jsonl"
        trail.parent.mkdir(parents=True)
        trail.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"torn": ')
    return made


@pytest.fixture
def story(world: World, timeline: Timeline) -> Story:
    """Give a story in which KOR's three tracks reached USA, and nothing else happened."""
    made = Story(world, timeline, {}, print)
    made.exercise = make_exercise(timeline.scenario, time.time_ns())
    made.floors = {nation: Floor(nation) for nation in NATIONS}
    made.played = Played(made.exercise)
    made.sealed = {("KOR", "USA"): {message_id(number) for number in range(3)}, ("USA", "KOR"): set()}
    for number in range(3):
        show(made, track(number))
    return made


def message_id(number: int) -> bytes:
    return bytes(15) + bytes([number])


def track(number: int) -> content_pb2.Content:
    content = content_pb2.Content()
    content.header.message_id = message_id(number)
    content.header.origin = "KOR"
    content.header.disclosure.withheld.append("source")
    content.track.event_id = bytes(16)
    content.track.phase = content_pb2.PHASE_COAST
    return content


def show(story: Story, content: content_pb2.Content) -> None:
    """Let USA's floor be shown a message, each leg of which took ten milliseconds."""
    warning = national_pb2.Warning(content=content)
    warning.header.origin, warning.header.message_id = content.header.origin, content.header.message_id
    released_ns = story.exercise.wall_zero.ToNanoseconds() + 60 * SECOND_NS
    stamps = warning.stamps
    places = (
        warning.header.released_at,
        stamps.hub_received_at,
        stamps.hub_sent_at,
        stamps.received_at,
        stamps.delivered_at,
    )
    for number, place in enumerate(places):
        place.CopyFrom(timestamp(released_ns + number * LEG_MS * 1_000_000))
    story.floors["USA"]._warning(warning)


def held(story: Story, words: str) -> bool:
    (found,) = [promise.held for promise in promises(story) if words in promise.text]
    return found


def test_each_ordered_pair_has_what_was_sent_delivered_missing_and_shown_twice(story: Story) -> None:
    good = summarise(story)["pairs"]
    assert good == {
        "KOR->USA": {"sent": 3, "delivered": 3, "duplicates": 0, "missing": 0, "groups_withheld": ["sensor"]},
        "USA->KOR": {"sent": 0, "delivered": 0, "duplicates": 0, "missing": 0, "groups_withheld": []},
    }
    assert held(story, "all 3 messages")
    assert held(story, "shown twice")
    show(story, track(2))
    story.sealed["KOR", "USA"].add(message_id(9))
    bad = summarise(story)["pairs"]["KOR->USA"]
    assert (bad["sent"], bad["delivered"], bad["duplicates"], bad["missing"]) == (4, 3, 1, 1)
    assert not held(story, "all 4 messages")
    assert not held(story, "shown twice")


def test_what_was_withheld_is_read_from_the_audit_trail_and_not_from_what_was_denied_whole(story: Story) -> None:
    assert summarise(story)["withheld"]["KOR->USA"] == {
        "groups": ["sensor"],
        "coarse": ["track_place at 1km/1s"],
        "rules": ["KOR-D1", "KOR-R6"],
    }


def test_each_leg_has_its_median_and_its_worst_percentile(story: Story) -> None:
    legs = summarise(story)["legs_ms"]
    assert list(legs) == list(LEGS)
    assert [facts["p50"] for facts in legs.values()] == pytest.approx([LEG_MS] * 4 + [4 * LEG_MS])
    assert {facts["count"] for facts in legs.values()} == {3}


def test_what_lay_in_the_outbox_of_a_killed_gateway_counts_in_no_leg_and_is_said(story: Story) -> None:
    before = summarise(story)["legs_ms"]
    released_ns = story.exercise.wall_zero.ToNanoseconds() + 60 * SECOND_NS
    hub_ns = released_ns + LEG_MS * 1_000_000
    floor, story.cut_off = story.floors["USA"], "KOR"
    for absent, waits in (
        ((released_ns + 1, hub_ns - 1), True),  # sealed before, taken by the hub after
        ((released_ns + 1, inf), True),
        ((released_ns - 2 * SECOND_NS, released_ns + 1), True),  # its delay was over while the gateway was away
        ((released_ns - 2 * SECOND_NS, released_ns - SECOND_NS), False),
        ((hub_ns + 1, inf), False),
    ):
        floor.absent["KOR"], floor.waited = absent, 0
        show(story, track(9))
        assert floor.waited == waits
    floor.waited = 3
    legs = summarise(story)["legs_ms"]
    assert {facts["count"] for facts in legs.values()} == {3 + 2}
    assert [facts["p99"] for facts in legs.values()] == [facts["p99"] for facts in before.values()]
    assert summarise(story)["cut_off"]["waited_in_its_outbox"] == 3
    assert "  without 3 that lay in the outbox of KOR's gateway while it was killed" in list(lines(story))


def test_a_recipient_has_the_time_from_the_launch_to_its_first_report(story: Story, timeline: Timeline) -> None:
    launch_s = (timeline.launched["ghost"].time_ns - story.exercise.exercise_zero.ToNanoseconds()) / SECOND_NS
    reported_s = (60.0 + 4 * LEG_MS / 1000) * 10.0  # at ten times life's pace
    facts = summarise(story)["recipients"]
    assert facts["USA"]["first_report_s"] == pytest.approx(reported_s - launch_s, abs=0.1)
    assert facts["KOR"]["first_report_s"] is None
    assert facts["USA"]["first_fused_track_s"] is None
    assert facts["USA"]["impact_ellipse_km2"] == []


def test_an_attack_that_got_through_breaks_a_promise(story: Story) -> None:
    assert not held(story, "every attack"), "none was tried"
    story.attempts = [Attempt("forged", "BAD_SEAL", "BAD_SEAL"), Attempt("replayed", "REPLAYED", "REPLAYED")]
    assert held(story, "every attack")
    assert summarise(story)["refusals"] == {"BAD_SEAL": 1, "REPLAYED": 1}
    story.attempts.append(Attempt("misaddressed", "MISADDRESSED", "STORED"))
    assert not held(story, "every attack")


def test_a_leaf_that_its_origin_says_is_withheld_breaks_a_promise(story: Story) -> None:
    assert held(story, "no leaf was shown")
    assert held(story, "no foreign sensor")
    leak = track(2)
    leak.track.source.kind = measures_pb2.SENSOR_KIND_SEA_RADAR
    leak.track.source.name = "aegis-1"
    show(story, leak)
    assert not held(story, "no leaf was shown")
    assert not held(story, "no foreign sensor")


def test_the_summary_is_json_and_the_lines_for_people_name_what_was_broken(story: Story) -> None:
    summary = json.loads(json.dumps(summarise(story)))
    assert {promise["text"]: promise["held"] for promise in summary["promises"]}["no message was shown twice"]
    show(story, track(2))
    told = list(lines(story))
    assert "  BROKEN: no message was shown twice" in told
    assert "  KOR->USA: sent 3, delivered 3, missing 0, twice 1; withheld: sensor" in told
