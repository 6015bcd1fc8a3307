"""T15: one nation invents an event, or lies about one. KOR and JPN see a launch; the USA lies to KOR about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker.fusion.conftest import World as Sky
from tests.threats.parties import speaker
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from tests.threats.parties import HonestHub

Arrivals = list[tuple[float, content_pb2.Content]]
UNTIL_S = 160.0


def seen_by(code: str, seed: int) -> Arrivals:
    """A launch after burnout, through one nation's radar."""
    return Sky.nation(code).radar(
        Sky.fly(), "e", seed=seed, first_s=100.0, last_s=140.0, every_s=2.0, sigma_m=300.0, sigma_mps=20.0
    )


HONEST = [*seen_by("KOR", 1), *seen_by("JPN", 2)]


def moved(arrivals: Arrivals, offset_m: float, *, from_s: float = 0.0) -> Arrivals:
    """The same with every position shifted, and the claim to know it to ten metres."""
    found = []
    for at_s, content in arrivals:
        lie = content_pb2.Content()
        lie.CopyFrom(content)
        if at_s >= from_s:
            lie.track.state.position_m[0] += offset_m
            for diagonal in (0, 6, 11):
                lie.track.state.covariance[diagonal] = 100.0
        found.append((at_s, lie))
    return found


def picture(*arrivals: Arrivals) -> list[content_pb2.FusedEvent]:
    """KOR's picture once all has come."""
    told = [one for part in arrivals for one in part]
    return list(Sky.log("KOR").feed(told, until_s=UNTIL_S).events().values())


def of(origin: str, events: list[content_pb2.FusedEvent]) -> content_pb2.FusedEvent:
    """The one event to which a nation contributes."""
    (found,) = [event for event in events if origin in {one.origin for one in event.contributions}]
    return found


def said_by(origin: str, event: content_pb2.FusedEvent) -> content_pb2.Contribution:
    """What a nation said, without what the picture makes of it."""
    (found,) = [one for one in event.contributions if one.origin == origin]
    word = content_pb2.Contribution(origin=origin, message_count=found.message_count)
    for field in ("launch", "track", "impact", "status"):
        if found.HasField(field):
            getattr(word, field).CopyFrom(getattr(found, field))
    return word


@pytest.mark.parametrize("offset_m", [50_000.0, 500_000.0])
def test_a_ghost_moves_nobody_elses_track(offset_m: float) -> None:
    (alone,) = picture(HONEST)
    events = picture(HONEST, moved(seen_by("USA", 3), offset_m))
    event = of("KOR", events)
    assert {one.origin for one in event.contributions} == {"KOR", "JPN"}
    assert list(event.tracks) == list(alone.tracks)
    assert list(event.impacts) == list(alone.impacts)
    assert event.event_id != of("USA", events).event_id


def test_whatever_one_says_the_word_of_each_other_stands_beside_it_unchanged() -> None:
    (alone,) = picture(HONEST)
    for offset_m in (0.0, 500.0, 50_000.0):
        event = of("KOR", picture(HONEST, moved(seen_by("USA", 3), offset_m)))
        for origin in ("KOR", "JPN"):
            assert said_by(origin, event) == said_by(origin, alone)


@pytest.mark.parametrize(
    ("offset_m", "from_s"), [(5_000.0, 0.0), (10_000.0, 110.0), (40_000.0, 120.0), (40_000.0, 116.0)]
)
def test_who_turns_away_from_what_all_others_see_is_flagged_and_does_not_move_it(
    offset_m: float, from_s: float
) -> None:
    (alone,) = picture(HONEST)
    (event,) = picture(HONEST, moved(seen_by("USA", 3), offset_m, from_s=from_s))
    assert event.standing == content_pb2.STANDING_CONFLICT
    assert {one.origin: one.flagged for one in event.contributions} == {"KOR": False, "JPN": False, "USA": True}
    assert any("USA" in one.origins for one in event.disagreements)
    (track,), (before,) = event.tracks, alone.tracks
    sigma_m = math.sqrt(sum(before.state.covariance[diagonal] for diagonal in (0, 6, 11)))
    assert math.dist(track.state.position_m, before.state.position_m) < 3 * sigma_m


@pytest.mark.parametrize(
    ("field", "lie"),
    [
        ("count", {"launched_s": 0.0, "place": (40.0, 126.0), "count": (8, 8)}),
        ("launch_time.best", {"launched_s": 20.0, "place": (40.0, 126.0), "count": (1, 1)}),
        ("launch_area.ellipse.centre", {"launched_s": 0.0, "place": (40.05, 126.05), "count": (1, 1)}),
    ],
)
def test_a_contradiction_is_named_with_who_is_in_it(field: str, lie: dict[str, Any]) -> None:
    log = Sky.log("KOR")
    truth: dict[str, Any] = {"launched_s": 0.0, "place": (40.0, 126.0), "count": (1, 1)}
    for code in ("KOR", "JPN"):
        log.take(Sky.nation(code).launch("l", 10.0, axis_m=1000.0, **truth))
    log.take(Sky.nation("USA").launch("l", 10.0, axis_m=1000.0, **lie))
    event = log.only()
    assert {one.field_path for one in event.disagreements} == {field}
    assert {frozenset(one.origins) for one in event.disagreements} == {
        frozenset({"KOR", "USA"}),
        frozenset({"JPN", "USA"}),
    }


def test_nobody_takes_back_what_another_said() -> None:
    (alone,) = picture(HONEST)
    usa = Sky.nation("USA")
    cancel = usa.content(None)
    for _, content in HONEST:
        cancel.header.references.add(message_id=content.header.message_id, relation=content_pb2.RELATION_CANCELS)
    over = usa.status("e", 150.0, content_pb2.EVENT_STATE_NOT_A_LAUNCH)
    over.status.event_id = HONEST[0][1].track.event_id  # KOR's own name of it
    event = of("KOR", picture(HONEST, [(150.0, cancel), (150.0, over)]))
    assert list(event.tracks) == list(alone.tracks)
    assert event.status.state == alone.status.state


async def test_a_ghost_told_to_one_nation_does_not_reach_another(hub: HonestHub) -> None:
    usa = speaker(hub.world, "USA")
    ghost, honest = usa.envelope("KOR"), usa.envelope("JPN")
    async with hub.line("USA") as line, hub.line("JPN") as jpn, jpn.following() as log, line.submitting() as up:
        await up.submit(ghost, honest)
        assert [delivery.envelope for delivery in await log.envelopes(1)] == [honest]
