from __future__ import annotations

from typing import Final

import pytest

from broker.demo.world import shipped_policy
from broker.gateway.release import Policy
from broker.gateway.release.breadth import SENSORS, over_broad
from broker.gateway.release.effects import without_effect

KOR: Final = shipped_policy("KOR").partition("\nrules:\n")[0] + "\nrules:\n"


def rule(rule_id: str, effect: str, rest: str, *, to: str = "USA, JPN", when: str = "true", more: str = "") -> str:
    levels = f", {rest}" if rest else ""
    return f"- {{id: {rule_id}, effect: {effect}, to: [{to}], when: '{when}', reason: as agreed{levels}{more}}}\n"


def release(rule_id: str, give: str, *, to: str = "USA, JPN", when: str = "true", more: str = "") -> str:
    return rule(rule_id, "release", f"give: {{{give}}}", to=to, when=when, more=more)


def limit(rule_id: str, cap: str, *, to: str = "USA, JPN", when: str = "true", more: str = "") -> str:
    return rule(rule_id, "limit", f"cap: {{{cap}}}", to=to, when=when, more=more)


def found(*rules: str) -> list[tuple[str, str]]:
    return [(each.rule.rule_id, each.code) for each in without_effect(Policy.parse(KOR + "".join(rules)))]


GUARD: Final = ", guard: 'true'"
GIVEN: Final = release("GIVEN", "track_place: 1km, status: exact")


def test_a_cap_at_exact_is_found() -> None:
    assert found(GIVEN, limit("CAP", "status: exact")) == [("CAP", "limit-at-exact")]
    assert found(GIVEN, limit("CAP", "status: exact", more=GUARD)) == []


@pytest.mark.parametrize(
    ("cap", "to", "codes"),
    [
        ("track_place: 10km", "USA, JPN", []),
        ("track_place: withheld", "JPN", []),
        ("track_place: 1km", "JPN", ["caps-nothing"]),  # no finer than it is given
        ("impact_place: 10km", "USA, JPN", ["caps-nothing"]),
        ("impact_place: 10km, track_place: 10km", "JPN", ["caps-nothing"]),  # the one group of two
        ("track_place: withheld", "self", ["caps-nothing"]),  # given to others only
    ],
)
def test_a_cap_of_what_is_not_given_finer_to_anybody_it_names_is_found(cap: str, to: str, codes: list[str]) -> None:
    assert found(GIVEN, limit("CAP", cap, to=to)) == [("CAP", code) for code in codes]
    assert found(GIVEN, limit("CAP", cap, to=to, more=GUARD)) == []


def test_what_a_cap_without_effect_could_be_instead_is_said() -> None:
    (remark,) = without_effect(Policy.parse(KOR + GIVEN + limit("CAP", "impact_place: 10km", to="JPN")))
    assert remark.message.startswith("impact_place at 10km/10s caps nothing: it is given to JPN by no rule; ")
    assert "guard: 'true'" in remark.message


def test_two_rules_that_say_the_same_are_found_once() -> None:
    again = GIVEN.replace("id: GIVEN", "id: AGAIN").replace("as agreed", "for another reason")
    assert found(GIVEN, again) == [("AGAIN", "duplicate-rule")]
    spaced = again.replace("when: 'true'", "when: ' true '")
    assert found(GIVEN, spaced) == [("AGAIN", "duplicate-rule")]
    for change in (("track_place: 1km", "track_place: 10km"), ("[USA, JPN]", "[USA, self]"), ("'true'", "'false'")):
        assert ("AGAIN", "duplicate-rule") not in found(GIVEN, again.replace(*change))
    assert found(GIVEN, again.replace("reason:", "delay_s: 1, reason:")) == [("GIVEN", "given-already")]


@pytest.mark.parametrize(
    ("give", "to", "when", "more", "is_found"),
    [
        ("status: exact", "JPN", 'body == "status"', "", True),
        ("track_place: 10km", "USA, JPN", "true", "", True),
        ("track_place: exact", "JPN", "true", "", False),
        ("status: exact, flight: exact", "JPN", "true", "", False),
        ("status: exact", "JPN, self", "true", "", False),
        ("status: exact", "JPN", "true", ", delay_s: 1", False),
        ("status: exact", "JPN", "true", ", minimum_interval_s: 1", False),
        ("status: exact", "JPN", "true", ", caveats: [NO-ONWARD]", False),
        ("status: exact", "JPN", "true", GUARD, False),
    ],
)
def test_a_release_is_found_only_if_another_leaves_it_nothing_to_add(
    give: str, to: str, when: str, more: str, *, is_found: bool
) -> None:
    expected = [("LESS", "given-already")] if is_found else []
    assert found(GIVEN, release("LESS", give, to=to, when=when, more=more)) == expected


def test_a_release_with_another_condition_leaves_something_to_add() -> None:
    body = 'body == "status"'
    narrow = GIVEN.replace("'true'", f"'{body}'")
    assert found(narrow, release("LESS", "status: exact", when=body)) == [("LESS", "given-already")]
    assert found(narrow, release("LESS", "status: exact", when='body != "track"')) == []
    assert found(narrow, release("LESS", "status: exact")) == []


def test_a_deny_under_a_deny_of_everything_is_found() -> None:
    def deny(rule_id: str, to: str, when: str = "true", more: str = "") -> str:
        return rule(rule_id, "deny", "", to=to, when=when, more=more)

    narrow = deny("NARROW", "USA, JPN", '"X" in label.caveats')
    assert found(narrow, narrow.replace("NARROW", "OTHER").replace("X", "Y")) == []
    assert found(narrow, deny("ALL", "USA")) == []
    assert found(narrow, deny("ALL", "USA"), deny("REST", "JPN")) == [("NARROW", "denied-already")]
    assert found(deny("ALL", "USA, JPN"), deny("ONE", "JPN")) == [("ONE", "denied-already")]
    assert found(deny("ONE", "JPN"), deny("ALL", "USA, JPN")) == []
    assert found(deny("ALL", "USA, JPN"), deny("ONE", "JPN", more=GUARD)) == []


# --- rules that release more than they look ---------------------------------------------------------------------------


def broad(*rules: str) -> list[tuple[str, str]]:
    return [(each.rule.rule_id, each.code) for each in over_broad(Policy.parse(KOR + "".join(rules)))]


@pytest.mark.parametrize(
    ("give", "to", "when", "is_found"),
    [
        ("track_place: 1km, status: exact", "USA", "true", True),
        ("track_place: 1km, status: exact", "USA", '"X" in label.caveats', True),
        ("track_place: 1km, status: exact", "USA", 'content.header.origin == "KOR"', True),
        ("confidence: exact", "USA", "true", True),  # one group, of three bodies
        ("track_place: 1km, status: exact", "USA", 'body in ["track", "status"]', False),
        ("track_place: 1km, status: exact", "USA", "content.track.confidence > 0.5", False),
        ("track_place: 1km, motion: 1km, when_observed: exact", "USA", "true", False),  # of one body
        ("track_place: 1km, status: exact", "self", "true", False),
    ],
)
def test_a_release_of_several_bodies_that_names_none_is_found(give: str, to: str, when: str, *, is_found: bool) -> None:
    expected = [("R", "names-no-body")] if is_found else []
    assert broad(release("R", give, to=to, when=when)) == expected
    assert broad(limit("R", give, to=to, when=when)) == []


def test_sensors_that_are_named_to_every_other_nation_are_found() -> None:
    when = 'body == "track"'
    assert broad(release("R", "sensor: exact", when=when)) == [("R", "sensor-to-everybody")]
    assert broad(release("R", "sensor: 10km", when=when)) == [("R", "sensor-to-everybody")]
    assert broad(release("R", "sensor: exact", to="USA", when=when)) == []
    assert broad(release("R", "sensor_kind: exact", when=when)) == []
    capped = limit("CAP", "sensor: withheld", to="JPN")
    assert broad(release("R", "sensor: exact", when=when), capped) == []
    assert broad(release("R", "sensor: exact", when=when), capped.replace("withheld", "10km")) == [
        ("R", "sensor-to-everybody")
    ]


def test_a_sensor_is_its_name_and_its_site() -> None:
    assert {path.partition(".")[0] for path in SENSORS} == {"launch", "track", "impact"}
    assert {path.partition(".source.")[2] for path in SENSORS} == {
        "name",
        "site.lat_deg",
        "site.lon_deg",
        "site.height_m",
    }
