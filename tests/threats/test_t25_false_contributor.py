"""T25: a nation that others believe begins to lie, or its sensor to fail. KOR, JPN and the USA see a launch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.fusion.scrutiny import Scrutiny
from tests.broker.fusion.conftest import World as Sky
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

Arrivals = list[tuple[float, content_pb2.Content]]
FROM_S = 130.0  # of the lie


def seen_by(code: str, *, seed: int, last_s: float = 168.0) -> Arrivals:
    return Sky.nation(code).radar(Sky.fly(), "e", seed=seed, first_s=94.0, last_s=last_s, every_s=2.0, sigma_m=250.0)


def lying(arrivals: Arrivals, lie_m: Callable[[float], float], sigma_m: float | None = None) -> Arrivals:
    """The same with every position moved by so much at so many seconds after the lie began, and another claim."""
    found = []
    for at_s, content in arrivals:
        lie = content_pb2.Content()
        lie.CopyFrom(content)
        lie.track.state.position_m[2] += lie_m(at_s - FROM_S) if at_s >= FROM_S else 0.0
        for diagonal in (0, 3, 5):
            if sigma_m is not None:
                lie.track.state.covariance[diagonal] = sigma_m**2
        found.append((at_s, lie))
    return found


HONEST = [*seen_by("KOR", seed=1), *seen_by("JPN", seed=2)]
FALSE = seen_by("USA", seed=3)


def picture(told: Arrivals, until_s: float = 170.0) -> content_pb2.FusedEvent:
    return Sky.log("KOR").feed(told, until_s=until_s).only()


def word_of(origin: str, event: content_pb2.FusedEvent) -> content_pb2.Contribution:
    (found,) = [one for one in event.contributions if one.origin == origin]
    return found


def flags(event: content_pb2.FusedEvent) -> set[str]:
    return {one.origin for one in event.contributions if one.flagged}


def apart_m(one: content_pb2.FusedEvent, two: content_pb2.FusedEvent) -> float:
    return math.dist(one.tracks[0].state.position_m, two.tracks[0].state.position_m)


@pytest.mark.parametrize(
    ("lie_m", "sigma_m"),
    [(lambda _: 3_000.0, None), (lambda _: 3_000.0, 0.001), (lambda since_s: 60.0 * since_s, None)],
    ids=["a jump", "a jump that claims a millimetre", "a drift"],
)
def test_who_turns_away_is_flagged_and_no_longer_counts(lie_m: Callable[[float], float], sigma_m: float | None) -> None:
    told = [*HONEST, *lying(FALSE, lie_m, sigma_m)]
    event = picture(told)
    assert flags(event) == {"USA"}
    assert event.standing == content_pb2.STANDING_CONFLICT
    assert apart_m(event, picture(HONEST)) < 1.0
    assert word_of("USA", event).consistency > 4.0 > word_of("KOR", event).consistency
    assert word_of("USA", event).influence_m == 0.0
    assert event.impacts


def test_it_is_the_same_picture_however_the_lie_arrived() -> None:
    told = [*HONEST, *lying(FALSE, lambda _: 3_000.0)]
    log, late = Sky.log("KOR").feed(told, until_s=190.0), Sky.log("KOR")
    delayed = [
        (at_s + 20.0 * (one.header.origin == "JPN" and FROM_S - 8.0 < at_s < FROM_S + 12.0), one) for at_s, one in told
    ]
    late.feed(delayed, until_s=190.0)
    one, two = log.only(), late.only()
    for event in (one, two):
        event.ClearField("basis")
        event.ClearField("revision")
        event.ClearField("event_id")
    assert list(one.tracks[0].state.position_m) == list(two.tracks[0].state.position_m)
    assert flags(one) == flags(two) == {"USA"}


def test_with_two_nobody_is_called_the_liar_and_both_alternatives_are_shown() -> None:
    event = picture([*seen_by("KOR", seed=1), *lying(FALSE, lambda _: 3_000.0)])
    assert event.standing == content_pb2.STANDING_CONFLICT
    assert not flags(event)
    places = [word_of(code, event).area_alone.ellipse.centre for code in ("KOR", "USA")]
    assert math.dist(*((place.lat_deg, place.lon_deg) for place in places)) > 0.01


def test_who_agrees_again_counts_again() -> None:
    told = [*seen_by("KOR", seed=1, last_s=200.0), *seen_by("JPN", seed=2, last_s=200.0)]
    told += lying(seen_by("USA", seed=3, last_s=200.0), lambda since_s: 3_000.0 * (since_s < 16.0))
    log = Sky.log("KOR").feed([one for one in told if one[0] < 146.0], until_s=146.0)
    assert flags(log.only()) == {"USA"}
    log.feed([one for one in told if one[0] >= 146.0], until_s=202.0)
    assert not flags(log.only())
    assert word_of("USA", log.only()).influence_m > 0.0


def test_nobody_moves_the_impact_without_its_being_told() -> None:
    event = picture([*HONEST, *FALSE])
    assert not flags(event)
    assert all(one.HasField("influence_m") and one.influence_m < 20_000.0 for one in event.contributions)
    moved = picture([*HONEST, *lying(FALSE, lambda _: 250.0)])
    assert word_of("USA", moved).influence_m > max(word_of(code, moved).influence_m for code in ("KOR", "JPN"))


def test_who_claims_far_more_than_his_reports_show_is_flagged() -> None:
    event = picture([*HONEST, *lying(FALSE, lambda since_s: 1_500.0 * math.sin(2.0 * since_s), 1.0)])
    assert flags(event) == {"USA"}


def test_a_flood_of_events_by_one_displaces_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NODES_PER_ORIGIN_MAX", 30)
    usa, log = Sky.nation("USA"), Sky.log("KOR")
    state = Sky.fly(azimuth_deg=200.0).at(100.0)
    for number in range(60):
        moved = state.copy()
        moved[:3] *= 1.0 + 5e-3 * number
        log.take(usa.track(f"ghost {number}", 93.0, moved, sigma_m=100.0, name=number))
    assert len(log.events()) == 30
    log.feed(HONEST, until_s=170.0)
    (event,) = [one for one in log.events().values() if {who.origin for who in one.contributions} == {"KOR", "JPN"}]
    assert event.standing == content_pb2.STANDING_CONFIRMED
    assert apart_m(event, picture(HONEST)) < 1.0
    ghosts = [one for one in log.events().values() if one.event_id != event.event_id]
    assert {one.standing for one in ghosts} == {content_pb2.STANDING_UNCONFIRMED}


def test_an_error_in_one_picture_touches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is planted in the scrutiny of what the USA says; JPN is not told what the USA says."""
    real = Scrutiny.change

    def planted(self: Any, *, added: Any, removed: Any) -> None:
        if any(one.key[1] == "USA" for one in added):
            raise ArithmeticError("planted")
        real(self, added=added, removed=removed)

    monkeypatch.setattr(Scrutiny, "change", planted)
    kor, jpn = Sky.log("KOR"), Sky.log("JPN")
    failed = 0
    for at_s, content in sorted([*HONEST, *FALSE[::6]], key=lambda one: one[0]):
        if content.header.origin != "USA":
            jpn.wait(at_s)
            jpn.take(content)
        kor.wait(at_s)
        if content.header.origin != "USA":
            kor.take(content)
            continue
        before = kor.view.checkpoint()
        with pytest.raises(ArithmeticError):
            kor.take(content)
        assert kor.view.checkpoint() == before
        failed += 1
    assert failed == len(FALSE[::6])
    assert apart_m(kor.only(), jpn.only()) == 0.0
