from __future__ import annotations

import re
import time
from typing import Final

import pytest

from broker import limits
from broker.demo.world import shipped_policy
from broker.gateway.release import Policy, lint
from broker.gateway.release.inference import INFERENCES
from broker.leaves import LEAVES

KOR: Final = shipped_policy("KOR").partition("\nrules:\n")[0] + "\nrules:\n"
AT_ONCE: Final = "when_observed: exact, "


def found(*rules: str) -> list[tuple[str, str]]:
    """Return the rules and codes of what follows from what, in a policy of these rules with KOR's groups."""
    about = [each for each in lint(KOR + "".join(rules), nation="KOR") if each.code.startswith("gives-away")]
    return [(each.message.partition(":")[0], each.code.removeprefix("gives-away-")) for each in about]


def release(body: str, give: str, *, rule_id: str = "", when: str = "", to: str = "JPN") -> str:
    condition = f'body == "{body}"{when}'
    named = rule_id or body.upper()
    return f"- {{id: {named}, effect: release, to: [{to}], when: '{condition}', give: {{{give}}}, reason: as agreed}}\n"


def limit(cap: str, when: str, rule_id: str = "CAP") -> str:
    return f"- {{id: {rule_id}, effect: limit, to: [JPN], when: '{when}', cap: {{{cap}}}, reason: as agreed}}\n"


TRACK: Final = AT_ONCE + "track_time: 10s, track_place: 10km, motion: 10km, reach: 10km"


@pytest.mark.parametrize(
    ("changed", "to", "what"),
    [
        ("motion: 10km", "motion: exact", ["place"]),
        ("motion: 10km", "motion: 1km", ["place"]),
        ("motion: 10km", "motion: 50km", []),
        ("reach: 10km", "reach: exact", ["place", "place"]),  # apogee, and range
        ("reach: 10km", "reach: withheld", []),
        ("track_place: 10km, motion: 10km", "track_place: exact, motion: exact", ["time"]),
        ("when_observed: 10s", "when_observed: exact", ["time"]),
        ("track_time: 10s", "track_time: exact", []),  # when it was says nothing finer than where it was
    ],
)
def test_what_gives_a_tracks_place_or_time_away_may_not_be_finer(changed: str, to: str, what: list[str]) -> None:
    track = TRACK.replace("when_observed: exact", "when_observed: 10s")
    assert found(release("track", track)) == []
    assert changed in track
    assert found(release("track", track.replace(changed, to))) == [("TRACK", each) for each in what]


def test_the_finding_stands_at_the_rule_says_why_and_what_to_do() -> None:
    text = KOR + release("track", TRACK.replace("motion: 10km", "motion: exact"))
    (finding,) = [each for each in lint(text) if each.code == "gives-away-place"]
    assert text.splitlines()[finding.line - 1][finding.column - 1 :].startswith("{id: TRACK,")
    assert finding.message.startswith("TRACK: track_place is at 10km/10s for JPN, but follows from motion at exact: ")
    assert finding.message.endswith("; make motion no finer, or track_place no coarser")


def test_of_two_rules_that_match_together_the_one_that_gives_too_finely_is_named() -> None:
    track = TRACK.replace("when_observed: exact", "when_observed: 10s")
    fine = release("track", "motion: exact", rule_id="FINE", when=" && content.track.confidence > 0.5")
    assert found(release("track", track), fine) == [("FINE", "place")]


def test_a_limit_that_forgets_what_gives_its_place_away_is_named() -> None:
    exact = AT_ONCE + "track_time: exact, track_place: exact, motion: exact, reach: exact"
    when = "content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR"
    assert found(release("track", exact), limit("track_place: 10km, reach: 10km", when)) == [("CAP", "place")]
    assert found(release("track", exact), limit("track_place: 10km, reach: 10km, motion: 10km", when)) == []


def test_for_whom_is_said_once_for_all() -> None:
    text = KOR + release("track", TRACK.replace("motion: 10km", "motion: exact"), to="USA, JPN")
    (finding,) = [each for each in lint(text) if each.code == "gives-away-place"]
    assert "for USA and JPN, but" in finding.message


LAUNCH: Final = AT_ONCE + "launch_time: exact, launch_place: 1km, direction: 1km"
IMPACT: Final = AT_ONCE + "impact_time: exact, impact_place: 1km"
SEEN: Final = AT_ONCE + "track_time: exact, track_place: 1km, motion: 1km, reach: 1km"


COARSE_IMPACT: Final = IMPACT.replace("place: 1km", "place: 10km")
COARSE_LAUNCH: Final = LAUNCH.replace("place: 1km", "place: 10km")


def ways(*rules: str) -> list[str]:
    """Return what follows from several messages, as `these values > target`."""
    about = [each.message for each in lint(KOR + "".join(rules), nation="KOR") if each.code.startswith("gives-away")]
    parts = [re.fullmatch(r"[A-Z]+: (\w+) is .*, but follows from ([\w ]+) at .*", each) for each in about]
    return [f"{part[2].replace(' and ', ' ')} > {part[1]}" for part in parts if part is not None]


@pytest.mark.parametrize(
    ("launch", "track", "impact", "expected"),
    [
        (LAUNCH, SEEN, IMPACT, []),
        (LAUNCH, SEEN, COARSE_IMPACT,
         ["launch_place direction reach > impact_place", "track_place track_time > impact_place"]),
        (LAUNCH, SEEN.replace("reach: 1km", "reach: 10km"), COARSE_IMPACT, ["track_place track_time > impact_place"]),
        (COARSE_LAUNCH, SEEN, IMPACT, ["impact_place direction reach > launch_place"]),
        (LAUNCH.replace("launch_place: 1km, ", ""), SEEN, IMPACT, ["impact_place direction reach > launch_place"]),
        (COARSE_LAUNCH, SEEN.replace(", reach: 1km", ""), IMPACT, []),
        (COARSE_LAUNCH.replace("direction: 1km", "direction: 10km"), SEEN, IMPACT, []),
        (LAUNCH.replace("time: exact", "time: 60s"), SEEN, IMPACT, ["impact_time reach > launch_time"]),
        (LAUNCH, SEEN, IMPACT.replace("time: exact", "time: 60s"), ["track_place track_time > impact_time"]),
        (LAUNCH, AT_ONCE + "track_time: exact, track_place: 10km", IMPACT,
         ["launch_place launch_time impact_place impact_time > track_place"]),
    ],
)  # fmt: skip
def test_messages_about_one_event_do_not_give_each_other_away(
    launch: str, track: str, impact: str, expected: list[str]
) -> None:
    rules = [release("launch", launch), release("track", track), release("impact", impact)]
    assert sorted(ways(*rules)) == sorted(expected)


def test_apogee_range_and_direction_from_a_known_launch_give_the_track_away() -> None:
    track = AT_ONCE + "track_time: exact, track_place: 10km, reach: 1km"
    both = found(release("launch", LAUNCH), release("track", track))
    alone = found(release("track", track))
    assert alone == [("TRACK", "place"), ("TRACK", "place")]
    assert both == [*alone, ("TRACK", "place")]


def test_what_is_shown_only_sometimes_is_not_held_against_other_messages() -> None:
    coarse = IMPACT.replace("place: 1km", "place: 10km")
    sometimes = release("track", SEEN, when=" && content.track.confidence > 0.5")
    assert found(sometimes, release("impact", coarse)) == []
    assert found(release("track", SEEN), release("impact", coarse)) == [("TRACK", "place")]


def test_a_release_that_never_reaches_a_recipient_makes_nothing_finer_for_it() -> None:
    elsewhere = release("impact", IMPACT, rule_id="ELSEWHERE", to="USA, JPN", when=' && to == "USA"')
    assert found(release("track", SEEN), release("impact", COARSE_IMPACT), elsewhere) == [("TRACK", "place")]


def test_apogee_and_range_without_any_place_begin_nowhere() -> None:
    assert found(release("track", AT_ONCE + "reach: exact, flight: exact")) == []


@pytest.mark.parametrize("mode", ["REAL_WORLD", "EXERCISE"])
def test_what_is_released_in_one_mode_only_is_looked_at_in_that_mode(mode: str) -> None:
    when = f" && mode == Mode.MODE_{mode}"
    rules = [release("launch", LAUNCH, when=when), release("track", SEEN, when=when)]
    apart = release("impact", COARSE_IMPACT, when=" && mode == Mode.MODE_TEST")
    assert ways(*rules, release("impact", COARSE_IMPACT, when=when)) == [
        "launch_place direction reach > impact_place",
        "track_place track_time > impact_place",
    ]
    assert ways(*rules, apart) == [], "messages about one event are of one mode"


def test_a_kind_of_message_that_is_never_shown_is_no_target() -> None:
    assert found(release("launch", LAUNCH), release("track", SEEN)) == []


def test_a_limit_by_label_meets_all_messages_about_an_event() -> None:
    rules = (release("launch", LAUNCH), release("track", SEEN), release("impact", IMPACT))
    when = '"X" in label.caveats'
    forgets = "track_place: 10km, motion: 10km, reach: 10km"
    assert found(*rules, limit(forgets, when)) == [("CAP", "place")]
    assert found(*rules, limit(f"{forgets}, launch_place: 10km", when)) == []
    assert found(*rules, limit(forgets, f'{when} && to == "USA"')) == []


def test_a_limit_by_sensor_is_not_held_against_other_messages() -> None:
    rules = (release("launch", LAUNCH), release("track", SEEN), release("impact", IMPACT))
    when = "content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR"
    assert found(*rules, limit("track_place: 10km, motion: 10km, reach: 10km", when)) == []


def test_what_is_denied_in_any_case_is_no_finding() -> None:
    deny = "- {id: NEVER, effect: deny, to: [JPN], when: 'true', reason: as agreed}\n"
    fine = TRACK.replace("motion: 10km", "motion: exact")
    assert found(release("track", fine), deny) == []
    assert found(release("track", SEEN), release("impact", IMPACT.replace("place: 1km", "place: 10km")), deny) == []


def test_every_value_is_made_of_leaves_and_every_way_has_its_reason() -> None:
    for each in INFERENCES:
        for value in (*each.values, each.target):
            assert set(value.paths) <= set(LEAVES), value.name
            assert value.groups(Policy.parse(shipped_policy("KOR")))
        assert len(each.reason) > 20
        assert each.target not in each.values


def test_as_many_limits_by_label_as_allowed_are_looked_at_in_seconds() -> None:
    many = [
        limit("track_place: 10km", f'"X{number}" in label.caveats', f"CAP-{number}")
        for number in range(limits.POLICY_RULES_MAX - 3)
    ]
    began_s = time.process_time()
    about = found(release("launch", LAUNCH), release("track", SEEN), release("impact", IMPACT), *many)
    assert {code for _, code in about} == {"place"}
    assert time.process_time() - began_s < 60
