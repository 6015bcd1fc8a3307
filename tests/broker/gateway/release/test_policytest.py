from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from broker.gateway.release import Policy, PolicyError, TestRun, run_tests, subject_of
from broker.gateway.release.policytest import covers_all
from broker.refusal import Refused
from vedette.v1 import envelope_pb2


@pytest.fixture(scope="session")
def policy(maker: Any) -> Policy:
    text = maker(0).policy_text(rules=0)
    head = text.split("groups:")[0]
    rules = text.split("rules:\n")[1]
    return Policy.parse(f"{head}{OWN.format(rules=rules)}")


OWN = """groups:
  track: [track.state.frame, track.state.valid_at, track.state.position_m, track.state.covariance]
  sensor: [track.source.name, track.source.kind]
  flags: [track.manoeuvre_suspected]
  status: [status.state]
rules:
{rules}
- id: R
  effect: release
  to: [USA, JPN]
  when: 'body == "track"'
  give: {{track: exact}}
  reason: r
- id: L
  effect: limit
  to: [JPN]
  when: 'content.track.source.kind == SensorKind.SENSOR_KIND_AIRBORNE_RADAR'
  cap: {{track: 10km}}
  delay_s: 10
  minimum_interval_s: 5
  caveats: [NO-ONWARD]
  reason: r
- {{id: S, effect: release, to: [USA], when: 'body == "status"', give: {{status: exact}}, reason: r}}
"""
BASE = """policy: release.yaml
base:
  precedence: PRECEDENCE_IMMEDIATE
  label: {classification: CLASSIFICATION_SECRET, releasable_to: [KOR, USA, JPN]}
  content:
    track:
      manoeuvre_suspected: 'true'
      state: {frame: FRAME_ECEF_WGS84, valid_at: '2026-01-01T00:00:00Z', position_m: [1, 2.5, 3]}
tests:
"""
GOOD = """- name: exact to the US, coarse and late to Japan
  with: {content: {track: {source: {kind: SENSOR_KIND_AIRBORNE_RADAR}}}}
  expect:
    USA: {decision: release, rules: [R], levels: {track: exact}, delay_s: 0, caveats: [], shown: [track.state]}
    JPN: {decision: release, rules: [L, R], levels: {track: 10s, sensor: withheld}, delay_s: 10, minimum_interval_s: 5,
          caveats: [NO-ONWARD], shown: [track.state.position_m], withheld: [track.source, track.state.velocity_mps]}
    self: {decision: deny, rules: []}
- name: another body replaces the base's
  with: {content: {status: {state: EVENT_STATE_ALL_CLEAR}}}
  expect: {USA: {decision: release, rules: [S]}, JPN: {decision: deny}}
"""


def test_tests_pass_where_the_policy_does_what_they_say(policy: Policy) -> None:
    run = run_tests(policy, BASE + GOOD)
    assert [result.differences for result in run.results] == [()] * 5
    assert run.passed
    assert run.rules_untried == ("KNOWN", "KNOWN-2")
    assert run.groups_untried == ("sensor", "flags")
    assert (run.rules_tried, run.groups_tried) == (3, 2)


def test_all_is_covered_only_if_every_test_passed_and_every_rule_was_tried(policy: Policy) -> None:
    run = run_tests(policy, BASE + GOOD)
    assert run.groups_untried, "which are not asked for"
    assert not covers_all(run)
    assert covers_all(replace(run, rules_untried=()))
    failed = run_tests(policy, BASE + GOOD.replace("delay_s: 10", "delay_s: 11"))
    assert not covers_all(replace(failed, rules_untried=()))


WRONG = {
    "decision: release, rules: [R], levels": ("decision: deny, rules: [R], levels", "decision: expected deny"),
    "rules: [L, R]": ("rules: [R]", "rules: expected R, got L, R"),
    "track: 10s,": ("track: 1km,", "track: expected 1km/1s, got 10km/10s"),
    "delay_s: 10": ("delay_s: 11", "delay_s: expected 11, got 10"),
    "minimum_interval_s: 5": ("minimum_interval_s: 0", "minimum_interval_s: expected 0"),
    "[NO-ONWARD]": ("[]", "caveats: expected none"),
    "shown: [track.state.position_m]": ("shown: [track.source]", "track.source: expected to be shown"),
    "withheld: [track.source,": ("withheld: [track.state,", "track.state: expected to be withheld"),
}


@pytest.mark.parametrize("old", WRONG)
def test_each_kind_of_difference_fails_and_says_so(policy: Policy, old: str) -> None:
    new, difference = WRONG[old]
    assert old in GOOD
    run: TestRun = run_tests(policy, BASE + GOOD.replace(old, new, 1))
    assert not run.passed
    assert any(difference in each for result in run.results for each in result.differences)


BROKEN = {
    "an unknown key": ("decision: deny}}", "decision: deny, lvels: {}}}", "unknown key"),
    "no decision": ("self: {decision: deny, rules: []}", "self: {rules: []}", "'decision' is missing"),
    "an unknown decision": ("decision: deny}}", "decision: denied}}", "unknown decision"),
    "a leaf that is none": ("shown: [track.state]", "withheld: [track.sorce]", "no such leaf of a track"),
    "a leaf of another message": ("shown: [track.state]", "withheld: [launch.count]", "no such leaf of a track"),
    "nothing expected": ("  expect:\n    USA", "  expect: {}\n- name: x\n  expect:\n    USA", "expects nothing"),
    "an unknown recipient": ("self: {", "AUS: {", "unknown recipient"),
    "an unknown group": ("{track: exact}", "{trak: exact}", "unknown group"),
    "an unknown level": ("{track: exact}", "{track: 5km}", "unknown level"),
    "an unknown field": ("{kind: SENSOR", "{knd: SENSOR", "no such field: knd"),
    "a bool that YAML would turn": ("'true'", "true", "means yes, no or nothing"),
    "a bool that is none": ("'true'", "'yes'", "must be 'true' or 'false'"),
    "no number": ("delay_s: 10", "delay_s: ten", "not a number"),
    "an invalid message": ("[1, 2.5, 3]", "[1, 2]", "no valid message"),
    "no such enum value": ("EVENT_STATE_ALL_CLEAR", "EVENT_STATE_ALL", "no valid message"),
    "no such precedence": ("PRECEDENCE_IMMEDIATE", "SOON", "precedence must be"),
    "tests that are no list": ("tests:\n", "tests: x\nrest:\n", "unknown key 'rest'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_test_file_is_refused_with_its_place(policy: Policy, name: str) -> None:
    old, new, reason = BROKEN[name]
    assert old in BASE + GOOD
    with pytest.raises(PolicyError, match=reason) as error:
        run_tests(policy, (BASE + GOOD).replace(old, new, 1))
    assert error.value.line > 1


def test_a_message_file_holds_content_label_and_precedence() -> None:
    tree = {"content": {"status": {"state": "EVENT_STATE_DETECTED"}}, "precedence": "PRECEDENCE_FLASH"}
    subject = subject_of(json.dumps(tree | {"label": {"classification": "CLASSIFICATION_SECRET"}}))
    assert (subject.precedence, subject.label.classification) == (envelope_pb2.PRECEDENCE_FLASH, 4)
    alone = subject_of(json.dumps(tree["content"]))
    assert alone.label == envelope_pb2.SecurityLabel()
    assert alone.content == subject.content


@pytest.mark.parametrize("text", ["[]", "", '{"content": {"track": {"stat": 1}}}', '{"content": 1}', '{"label": []}'])
def test_a_message_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((ValueError, Refused)):
        subject_of(text)


def test_a_misspelt_label_of_a_message_file_is_not_left_out() -> None:
    tree = {"content": {"status": {"state": "EVENT_STATE_DETECTED"}}, "labl": {}}
    with pytest.raises(ValueError, match="unknown key 'labl'"):
        subject_of(json.dumps(tree))
