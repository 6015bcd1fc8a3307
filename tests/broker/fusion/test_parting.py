from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTED_S = 90.0


class Fragment:
    """What parts from a flight and is slowed down by the air that it meets: it falls behind on the same way."""

    def __init__(self, flight: Any, *, slowed_mps2: float) -> None:
        self._flight = flight
        self._slowed_mps2 = slowed_mps2
        self.end_s = flight.end_s

    def at(self, time_s: float) -> NDArray[np.float64]:
        """Return the state."""
        state: NDArray[np.float64] = self._flight.at(time_s).copy()
        way = state[3:] / np.linalg.norm(state[3:])
        since_s = time_s - PARTED_S
        state[:3] -= 0.5 * self._slowed_mps2 * since_s**2 * way
        state[3:] -= self._slowed_mps2 * since_s * way
        return state


def arrivals_of(world: Any, names: tuple[str, str]) -> tuple[list[Any], list[Any]]:
    """Return what two nations say of a body, and what one says of a fragment, each under a name."""
    flight = world.fly()
    body = world.nation("KOR").radar(flight, names[0], seed=1, first_s=30.0, last_s=125.0)
    body += world.nation("JPN").radar(flight, "body", seed=1, first_s=60.0, last_s=125.0, every_s=2.0)
    fragment = Fragment(flight, slowed_mps2=8.0)
    parted = world.nation("KOR").radar(fragment, names[1], seed=3, first_s=PARTED_S + 1.0, last_s=125.0)
    if names[0] == names[1]:
        for _, content in parted:
            content.track.object_id = world.identity("fragment")
            content.header.message_id = world.identity("fragment", content.header.message_id)
    return body, parted


@pytest.mark.parametrize("names", [("k", "k2"), ("k", "k")], ids=["as another event", "as another object"])
def test_what_parts_in_flight_is_debris_of_the_same_event_and_pulls_nothing(world: Any, names: tuple[str, str]) -> None:
    body, parted = arrivals_of(world, names)
    alone, both = world.log().feed(body, until_s=130.0), world.log().feed(body + parted, until_s=130.0)
    assert len({event.event_id for event in both.revisions}) == 1, "nobody was told of a second launch"
    fused = both.only()
    assert [one.part for one in fused.objects] == [content_pb2.PART_BODY, content_pb2.PART_DEBRIS]
    assert fused.objects[1].parted_from == fused.objects[0].object_id
    assert fused.tracks[0].state == alone.only().tracks[0].state


def test_a_later_launch_from_the_same_place_is_no_debris(world: Any) -> None:
    arrivals = []
    for event, launched_s in (("one", 0.0), ("two", 20.0)):
        nation = world.nation("KOR")
        arrivals += nation.radar(world.fly(), event, seed=1, first_s=30.0, last_s=100.0, launched_s=launched_s)
    events = world.log().feed(arrivals).events().values()
    assert [len(event.tracks) for event in events] == [1, 1]
    assert [one.part for event in events for one in event.objects] == [content_pb2.PART_UNSPECIFIED] * 2
