from __future__ import annotations

from typing import TYPE_CHECKING

from broker.gateway.proof import ineffective
from tests.broker.gateway.proof.drawn import KOR, edited, policy_of

if TYPE_CHECKING:
    from broker.gateway.release import Policy

OPEN = "id: OPEN, effect: release, give: {all: exact}, to: [self, USA, JPN], when: 'true', reason: r"


def _codes(policy: Policy) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in ineffective(policy)]


def test_a_condition_that_no_valid_message_matches_is_unreachable() -> None:
    rule = "id: R, effect: limit, cap: {all: 1km}, to: [USA], reason: r"
    for when in (
        "content.launch.count.most > 1000u",
        'content.track.phase == Phase.PHASE_BOOST && body == "launch"',
        '"noforn" in label.caveats',
        "content.launch.confidence > 0.5 && !has(content.launch.confidence)",
    ):
        policy = policy_of(OPEN, f"{rule}, when: '{when}'")
        assert _codes(policy) == [("unreachable", "R: no message can match the condition")]


def test_a_release_that_limits_or_denies_always_take_away_is_overridden() -> None:
    told = "R: whenever it matches, other rules take away all that it does"
    rule = "id: R, effect: release, give: {all: exact}, to: [USA], when: 'body == \"track\"', reason: r"
    limit = "id: L, effect: limit, cap: {all: withheld}, to: [USA], when: 'body != \"launch\"', reason: r"
    deny = 'id: D, effect: deny, to: [USA], when: \'body in ["track", "status"]\', reason: r'
    assert ("always-overridden", told) in _codes(policy_of(rule, limit))
    assert ("always-overridden", told) in _codes(policy_of(rule, deny))


def test_a_release_of_which_limits_leave_something_is_not_overridden() -> None:
    rule = "id: R, effect: release, give: {all: exact}, to: [USA], when: 'body == \"track\"', reason: r"
    for level in ("50km", "10km", "1km"):
        limit = f"id: L, effect: limit, cap: {{all: {level}}}, to: [USA], when: 'true', reason: r"
        assert _codes(policy_of(rule, limit)) == []


def test_a_rule_without_which_nothing_changes_is_named_with_its_recipients() -> None:
    again = "id: R, effect: release, give: {all: 10km}, to: [USA, JPN], when: 'body == \"track\"', reason: r"
    assert _codes(policy_of(OPEN, again)) == [("no-effect", "R: without it nothing changes for USA, JPN")]
    narrow = OPEN.replace("[self, USA, JPN]", "[USA]")
    assert _codes(policy_of(narrow, again)) == [("no-effect", "R: without it nothing changes for USA")]


def test_a_rule_that_only_adds_a_term_has_an_effect() -> None:
    for term in ("delay_s: 1", "minimum_interval_s: 1", "caveats: [EYES-ONLY]"):
        limit = f"id: L, effect: limit, {term}, to: [USA], when: 'body == \"track\"', reason: r"
        assert _codes(policy_of(OPEN, limit)) == []


def test_a_guard_stands_for_its_own_sake() -> None:
    limit = "id: L, effect: limit, cap: {all: exact}, to: [USA], when: 'true', reason: r"
    assert _codes(policy_of(OPEN, limit)) == [("no-effect", "L: without it nothing changes for USA")]
    assert _codes(policy_of(OPEN, f"{limit}, guard: 'true'")) == []


def test_findings_stand_where_the_rule_does() -> None:
    policy = policy_of(OPEN, "id: R, effect: deny, to: [USA], when: 'false', reason: r")
    (finding,) = ineffective(policy)
    assert (finding.line, finding.column) == (policy.rules[1].line, policy.rules[1].column)


def test_a_dead_rule_planted_in_a_real_policy_is_found_and_no_other() -> None:
    before = _codes(KOR)
    dead = "- {id: DEAD, effect: limit, to: [JPN], when: 'body == \"track\"', cap: {track_place: 1km}, reason: r}\n"
    after = _codes(edited(("- id: KOR-L1\n", f"{dead}- id: KOR-L1\n")))
    assert [each for each in after if each not in before] == [("no-effect", "DEAD: without it nothing changes for JPN")]
