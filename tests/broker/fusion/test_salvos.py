"""Salvos through whole Views: small here; a hundred seeds of ten launches are in tests/bench/fusion/salvo.py."""

from __future__ import annotations

import pytest

from broker.fusion.view import View
from broker.limits import SECOND_NS
from tests.broker.fusion import salvos
from vedette.v1 import content_pb2

SEED = 7


def folded(reported: list[salvos.Look]) -> tuple[View, list[content_pb2.FusedEvent]]:
    """Return the View of these reports in order of time, with a Tick every two seconds, and all its revisions."""
    view, revisions, ticked_s = View("JPN", content_pb2.MODE_TEST), [], 0
    for number, (look, content) in enumerate(zip(reported, salvos.contents(reported), strict=True), 1):
        if look.time_s > ticked_s + 2:
            ticked_s = int(look.time_s)
            now_ns = salvos.ZERO_NS + ticked_s * SECOND_NS
            revisions += view.tick(position=(2 * number).to_bytes(8, "big"), time_ns=now_ns)
        revisions += view.fold(position=(2 * number + 1).to_bytes(8, "big"), content=content)
    return view, revisions


def test_three_launches_together_are_three_events_with_one_track_by_all_three_nations() -> None:
    salvo = salvos.missiles(SEED, box_m=4_000.0, within_s=3.0, count=3)
    reported = [look for look in salvos.looks(SEED, salvo) if look.time_s < 80.0]
    view, revisions = folded(reported)
    launched = {salvos.name(sensor.nation, index): index for sensor in salvos.SENSORS for index in range(len(salvo))}
    found = [sorted((node[0], launched[node[1]]) for node in event.nodes) for event in view.board.events]
    assert sorted(found) == [[(nation, index) for nation in ("JPN", "KOR", "USA")] for index in range(3)]
    assert [len(event.objects) for event in view.board.events] == [1, 1, 1]
    newest = {event.event_id: event for event in revisions}
    merged = {number for event in newest.values() for number in event.merged_event_ids}
    assert len(newest.keys() - merged) == len(salvo), "and the recipient was told which numbers are the same"


@pytest.mark.parametrize("order", ["backwards", "by nation"])
def test_what_belongs_together_does_not_depend_on_the_order_of_arrival(order: str) -> None:
    salvo = salvos.missiles(SEED, box_m=4_000.0, within_s=3.0, count=2)
    reported = [look for look in salvos.looks(SEED, salvo) if 56.0 < look.time_s < 70.0]
    numbered = list(zip(reported, salvos.contents(reported), strict=True))
    if order == "backwards":
        numbered.reverse()
    elif order == "by nation":
        numbered.sort(key=lambda one: one[0].sensor.nation)
    view, straight = View("JPN", content_pb2.MODE_TEST), folded(reported)[0]
    for number, (_, content) in enumerate(numbered):
        view.fold(position=number.to_bytes(8, "big"), content=content)
    assert [(event.nodes, event.open) for event in view.board.events] == [
        (event.nodes, event.open) for event in straight.board.events
    ]
    assert [[one.history.newest for one in event.objects] for event in view.board.events] == [
        [one.history.newest for one in event.objects] for event in straight.board.events
    ]


def test_a_view_goes_on_from_a_checkpoint_with_the_same_names() -> None:
    salvo = salvos.missiles(SEED, box_m=4_000.0, within_s=3.0, count=2)
    reported = [look for look in salvos.looks(SEED, salvo) if 56.0 < look.time_s < 76.0]
    split = len(reported) // 2
    view, _ = folded(reported[:split])
    twin = View.restore(view.checkpoint())
    contents = list(salvos.contents(reported))[split:]
    for number, content in enumerate(contents, 10_000):
        position = number.to_bytes(8, "big")
        assert [one.SerializeToString(deterministic=True) for one in view.fold(position=position, content=content)] == [
            one.SerializeToString(deterministic=True) for one in twin.fold(position=position, content=content)
        ]
    assert view.checkpoint() == twin.checkpoint()
