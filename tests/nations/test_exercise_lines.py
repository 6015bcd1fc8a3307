"""Every scenario that is shipped, written and read by every nation that takes part in it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from broker.content import check_content
from broker.exercise.scenario import read_scenarios
from broker.exercise.timeline import make_timeline
from broker.plugin import PlainMemory, Sight

if TYPE_CHECKING:
    from broker.exercise.timeline import Reported
    from broker.plugin import Adapter, Nation

NATIONS: dict[str, Nation] = {code.upper(): import_module(f"nations.{code}").NATION for code in ("kor", "usa", "jpn")}
SCENARIOS = read_scenarios()
OVER_JAPAN = "over-japan-2022-10-04"


def reports_of(scenario: str) -> tuple[Reported, ...]:
    return make_timeline(SCENARIOS[scenario], NATIONS).reports


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_every_line_of_an_exercise_is_read_and_passes_intake(scenario: str) -> None:
    sessions: dict[tuple[str, str], Adapter] = {}
    messages: set[tuple[str, bytes]] = set()
    for said in reports_of(scenario):
        native = NATIONS[said.nation].formats[said.sensor.format]
        session = sessions.setdefault((said.nation, said.sensor.name), native.open(PlainMemory()))
        (reported,) = session.read(native.write(said.observation, said.sensor))
        check_content(reported.content, incoming=False)
        messages.add((said.nation, reported.content.header.message_id))
    assert len(messages) == len(reports_of(scenario))


def test_the_launch_over_japan_is_seen_by_several_sensors_of_each_nation() -> None:
    tracked = {
        (said.nation, said.sensor.name) for said in reports_of(OVER_JAPAN) if said.observation.sight is Sight.TRACK
    }
    for code in NATIONS:
        assert len([name for nation, name in tracked if nation == code]) >= 2
    assert ("USA", "infrared-1") in {
        (said.nation, said.sensor.name) for said in reports_of(OVER_JAPAN) if said.observation.sight is Sight.LAUNCH
    }


def test_every_nation_with_the_sensors_for_it_predicts_where_it_falls() -> None:
    predicting = {said.nation for said in reports_of(OVER_JAPAN) if said.observation.sight is Sight.IMPACT}
    assert predicting == set(NATIONS)
