from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

THREE = ("KOR", "USA", "JPN")


def test_three_nations_tracks_of_one_launch_are_one_event(world: Any) -> None:
    flight = world.fly()
    arrivals = [
        (11.0, world.nation("USA").launch("sat", 10.0, launched_s=0.0, place=(40.02, 126.0))),
        *world.nation("KOR").radar(flight, "k", seed=1, first_s=26.0, last_s=130.0),
        *world.nation("USA").radar(flight, "u", seed=1, first_s=60.0, last_s=130.0, sigma_m=500.0, latency_s=0.8),
        *world.nation("JPN").radar(flight, "j", seed=1, first_s=110.0, last_s=130.0, sigma_m=250.0, sigma_mps=40.0),
    ]
    log = world.log().feed(arrivals)
    fused = log.only()
    assert [one.origin for one in fused.contributions] == sorted(THREE)
    assert len(fused.tracks) == 1
    assert len({one.event_id for one in log.revisions}) == 1
    assert not fused.disagreements


@pytest.mark.parametrize(
    ("place", "launched_s"),
    [((40.0, 126.6), 0.0), ((40.0, 126.0), 60.0), ((41.5, 129.0), 20.0)],
    ids=["50 km beside, at once", "from the same place, a minute later", "far away"],
)
def test_two_launches_well_apart_are_two_events(world: Any, place: tuple[float, float], launched_s: float) -> None:
    first, second = world.fly(), world.fly(lat_deg=place[0], lon_deg=place[1])
    arrivals = []
    for origin in THREE:
        nation = world.nation(origin)
        arrivals += nation.radar(first, "one", seed=1, first_s=26.0, last_s=100.0, every_s=2.0)
        arrivals += nation.radar(second, "two", seed=2, first_s=26.0, last_s=100.0, every_s=2.0, launched_s=launched_s)
    usa = world.nation("USA")
    arrivals.append((11.0, usa.launch("sat-1", 10.0, launched_s=0.0, place=(40.0, 126.0))))
    arrivals.append((11.0 + launched_s, usa.launch("sat-2", 10.0 + launched_s, launched_s=launched_s, place=place)))
    log = world.log().feed(arrivals)
    events = list(log.events().values())
    assert len(events) == 2
    for event in events:
        assert len(event.tracks) == 1
        assert [one.origin for one in event.contributions] == sorted(THREE)
    assert len({one.event_id for one in log.revisions}) == 2


def test_a_track_found_again_downrange_by_another_nation_belongs_to_the_event(world: Any) -> None:
    flight = world.fly()
    kor = world.nation("KOR").radar(flight, "k", seed=1, first_s=26.0, last_s=150.0)
    jpn = world.nation("JPN").radar(flight, "j", seed=1, first_s=200.0, last_s=220.0)
    assert [one.origin for one in world.log().feed(kor + jpn).only().contributions] == ["JPN", "KOR"]


def test_an_impact_alone_joins_the_track_that_leads_there(world: Any) -> None:
    flight = world.fly()
    usa = world.nation("USA").radar(flight, "u", seed=1, first_s=60.0, last_s=150.0)
    kor = world.nation("KOR")
    near = kor.impact("k", 140.0, at_s=flight.end_s + 5.0, place=flight.impact)
    elsewhere = kor.impact("other", 140.0, at_s=flight.end_s + 600.0, place=(30.0, 140.0))
    log = world.log().feed([*usa, (141.0, near), (142.0, elsewhere)])
    by_origins = {tuple(one.origin for one in event.contributions) for event in log.events().values()}
    assert by_origins == {("KOR", "USA"), ("KOR",)}


def test_a_coarse_view_of_two_launches_stays_two(world: Any) -> None:
    arrivals = []
    for event, flight in (("one", world.fly()), ("two", world.fly(lat_deg=41.5, lon_deg=129.0))):
        radar = world.nation("KOR").radar(flight, event, seed=1, first_s=26.0, last_s=100.0, every_s=5.0)
        arrivals += [(arrival_s, world.coarse(content, 10_000.0, 10.0)) for arrival_s, content in radar]
        arrivals += world.nation("USA").radar(flight, event, seed=1, first_s=60.0, last_s=100.0)
    events = list(world.log().feed(arrivals).events().values())
    assert [len(event.contributions) for event in events] == [2, 2]


def ship_and_aircraft(world: Any, event: str, flight: Any, cell_m: float, cell_s: float, **options: Any) -> Any:
    """Return a flight as two systems of KOR show it: a ship exactly, an aircraft in cells, late."""
    kor = world.nation("KOR")
    exact = kor.radar(flight, f"{event} ship", seed=1, first_s=32.0, last_s=120.0, sigma_mps=30.0, **options)
    seen = kor.radar(flight, f"{event} air", seed=2, first_s=26.0, last_s=120.0, every_s=10.0, **options)
    late = [(arrival_s + cell_s + 5.0, world.coarse(content, cell_m, cell_s)) for arrival_s, content in seen]
    return exact, late


def test_a_coarse_track_joins_the_exact_one_of_the_same_nation_and_changes_no_bit_of_it(world: Any) -> None:
    exact, late = ship_and_aircraft(world, "k", world.fly(), 10_000.0, 10.0)
    alone, both = world.log().feed(exact, until_s=150.0).only(), world.log().feed(exact + late, until_s=150.0).only()
    assert both.contributions[0].message_count == len(exact) + len(late)
    assert [one.state for one in both.tracks] == [one.state for one in alone.tracks]


def test_an_object_is_named_after_its_exact_track_though_a_coarse_one_began_before(world: Any) -> None:
    exact, late = ship_and_aircraft(world, "k", world.fly(), 10_000.0, 10.0)
    log = world.log().feed(exact[:5])
    object_id = log.only().tracks[0].object_id
    assert [one.object_id for one in log.feed(exact[5:] + late).only().tracks] == [object_id]


@pytest.mark.parametrize(
    ("place", "launched_s"), [((40.0, 126.6), 0.0), ((40.0, 126.0), 60.0)], ids=["50 km beside", "a minute later"]
)
def test_two_launches_stay_two_where_one_nation_shows_both_exactly_and_in_cells(
    world: Any, place: tuple[float, float], launched_s: float
) -> None:
    arrivals = []
    for event, flight, after_s in (("one", world.fly(), 0.0), ("two", world.fly(*place), launched_s)):
        exact, late = ship_and_aircraft(world, event, flight, 10_000.0, 10.0, launched_s=after_s)
        arrivals += exact + late
    events = list(world.log().feed(arrivals).events().values())
    assert [len(event.tracks) for event in events] == [1, 1]


def test_what_is_too_coarse_to_be_told_apart_is_no_object_of_its_own(world: Any) -> None:
    exact, late = ship_and_aircraft(world, "k", world.fly(), 50_000.0, 60.0)
    word = world.nation("JPN").status("mine", 30.0, content_pb2.EVENT_STATE_DETECTED)
    referring(word, content_pb2.RELATION_SAME_EVENT_AS, exact[0][1], late[0][1])
    assert len(world.log().feed([*exact, *late, (200.0, word)]).only().tracks) == 1


def referring(content: Any, relation: int, *targets: Any) -> Any:
    for target in targets:
        content.header.references.add(message_id=target.header.message_id, relation=relation)
    return content


def far_apart(world: Any) -> Sequence[Any]:
    """Return two detections that nobody would take for the same, of two nations."""
    kor = world.nation("KOR").launch("k", 10.0, launched_s=0.0, place=(39.0, 125.5))
    usa = world.nation("USA").launch("u", 10.0, launched_s=0.0, place=(41.0, 129.5))
    return kor, usa


@pytest.mark.parametrize("first", [True, False])
def test_an_operators_word_joins_what_nothing_else_would(world: Any, first: bool) -> None:  # noqa: FBT001
    kor, usa = far_apart(world)
    word = world.nation("JPN").status("mine", 20.0, content_pb2.EVENT_STATE_DETECTED)
    referring(word, content_pb2.RELATION_SAME_EVENT_AS, kor, usa)
    log = world.log()
    for content in (word, kor, usa) if first else (kor, usa, word):
        log.take(content)
    fused = log.only()
    assert [one.origin for one in fused.contributions] == sorted(THREE)
    assert len(fused.merged_event_ids) == (1 if not first else len(fused.merged_event_ids))
    assert "launch_area.ellipse.centre" in {one.field_path for one in fused.disagreements}


def test_an_operators_word_holds_apart_what_would_be_joined(world: Any) -> None:
    kor = world.nation("KOR").launch("k", 10.0, launched_s=0.0, place=(40.0, 126.0))
    jpn = world.nation("JPN").launch("j", 10.0, launched_s=0.0, place=(40.0, 126.0), name="own")
    log = world.log()
    log.take(kor)
    log.take(jpn)
    number = log.only().event_id
    word = world.nation("JPN").status("j", 20.0, content_pb2.EVENT_STATE_DETECTED, name="word")
    log.take(referring(word, content_pb2.RELATION_NOT_SAME_EVENT_AS, kor))
    events = log.events()
    assert len(events) == 2
    assert [one.origin for one in events[number].contributions] == ["KOR"]


def test_another_nations_word_on_what_is_the_same_counts_for_nothing(world: Any) -> None:
    kor, usa = far_apart(world)
    word = world.nation("KOR").status("k", 20.0, content_pb2.EVENT_STATE_DETECTED, name="word")
    referring(word, content_pb2.RELATION_SAME_EVENT_AS, usa)
    log = world.log()
    for content in (kor, usa, word):
        log.take(content)
    assert len(log.events()) == 2


def test_of_two_numbers_that_turn_out_to_be_one_event_the_older_stays(world: Any) -> None:
    kor, usa = far_apart(world)
    log = world.log()
    older, younger = log.take(kor)[0].event_id, log.take(usa)[0].event_id
    word = world.nation("JPN").status("mine", 20.0, content_pb2.EVENT_STATE_DETECTED)
    (fused,) = log.take(referring(word, content_pb2.RELATION_SAME_EVENT_AS, kor, usa))
    assert fused.event_id == older
    assert list(fused.merged_event_ids) == [younger]
    # If the word is taken back, they part again; the number that was given up is not used again.
    cancel = referring(world.nation("JPN").content(21.0, "cancel"), content_pb2.RELATION_CANCELS, word)
    numbers = {one.event_id for one in log.take(cancel)}
    assert older in numbers
    assert younger not in numbers
    assert len(numbers) == 2


def test_two_nations_that_differ_are_both_shown_and_the_difference_said(world: Any) -> None:
    log = world.log()
    log.take(world.nation("KOR").launch("k", 10.0, launched_s=0.0, place=(40.0, 126.0), count=(8, 8)))
    log.take(world.nation("JPN").launch("j", 10.0, launched_s=20.0, place=(40.0, 126.0), count=(6, 6)))
    fused = log.only()
    assert (fused.launch.count.least, fused.launch.count.most) == (6, 8)
    assert [one.launch.count.least for one in fused.contributions] == [6, 8]
    assert {one.field_path for one in fused.disagreements} == {"count", "launch_time.best"}
