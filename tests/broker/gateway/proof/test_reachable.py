from __future__ import annotations

import pytest

from broker.gateway.proof import Proved, Refuted, can_release, leaves_of
from broker.gateway.release import Level, decide
from tests.broker.gateway.proof.drawn import KOR, edited, policy_of


@pytest.mark.parametrize("recipient", ["self", "USA", "JPN"])
@pytest.mark.parametrize("name", ["sensor", "track.source.name", "launch.source.site", "header.provenance"])
def test_what_no_rule_shows_is_proved_never_to_be_released(name: str, recipient: str) -> None:
    assert can_release(KOR, name, recipient) == Proved()


def test_what_can_be_released_comes_with_a_message_that_has_it() -> None:
    verdict = can_release(KOR, "track.source", "USA")
    assert isinstance(verdict, Refuted)
    assert verdict.text == "track.source.kind is shown at exact"
    assert verdict.witness.subject.content.track.source.kind
    shown = decide(KOR, verdict.witness.subject, "USA").shown.levels
    assert shown["track.source.kind"] is Level.EXACT


def test_a_level_is_asked_for_as_such() -> None:
    assert isinstance(can_release(KOR, "track.state.position_m", "JPN", Level.CELL_1KM), Refuted)
    assert can_release(KOR, "track.state.position_m", "JPN", Level.EXACT) == Proved()


def test_a_limit_that_lets_go_of_a_group_makes_it_reachable_once_something_gives_it() -> None:
    open_limit = ("cap: {sensor: withheld, workings: withheld}", "cap: {workings: withheld}")
    given = ("give: {launch_place: exact, launch_region", "give: {sensor: exact, launch_place: exact, launch_region")
    assert can_release(edited(given), "sensor", "USA") == Proved()
    assert isinstance(can_release(edited(given, open_limit), "sensor", "USA"), Refuted)


def test_a_leaf_whose_message_is_not_complete_is_never_shown() -> None:
    """A place without its longitude would read as one on the meridian of Greenwich."""
    half = ("    - launch.launch_area.ellipse.centre.lon_deg\n", "")
    assert isinstance(can_release(KOR, "launch.launch_area.ellipse.centre.lat_deg", "USA"), Refuted)
    assert can_release(edited(half), "launch.launch_area.ellipse.centre.lat_deg", "USA") == Proved()


def test_a_name_is_a_leaf_a_subtree_or_a_group() -> None:
    assert leaves_of(KOR, "motion") == ("track.state.velocity_mps",)
    assert leaves_of(KOR, "launch.count") == ("launch.count.least", "launch.count.most")
    with pytest.raises(ValueError, match=r"launch\.cou"):
        can_release(KOR, "launch.cou", "JPN")


def test_a_group_hides_no_subtree_of_its_name() -> None:
    rule = "id: R, effect: release, to: [USA], when: 'true', reason: r, give: {all: exact}"
    policy = policy_of(rule, groups="track: [track.phase], all: [track.confidence]")
    assert {"track.phase", "track.confidence", "track.state.position_m"} <= set(leaves_of(policy, "track"))
    assert isinstance(can_release(policy, "track", "USA"), Refuted)


def test_no_text_in_a_condition_is_taken_for_a_question_of_the_models_own() -> None:
    withheld = "content.header.disclosure.withheld"
    policy = policy_of(
        "id: R, effect: release, to: [USA], when: 'true', reason: r, give: {all: exact}",
        f"id: D, effect: deny, to: [USA], when: '!has({withheld}) || \"another\" in {withheld}', reason: r",
    )
    assert isinstance(can_release(policy, "track.phase", "USA"), Refuted)
