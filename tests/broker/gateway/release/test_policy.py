from __future__ import annotations

from typing import Any

import pytest

from broker import limits
from broker.content import LEAVES, SCHEMA_DIGEST
from broker.gateway.release import Level, Policy, PolicyError

HEAD = f"""format: vedette-release/v1
nation: KOR
version: 7
effective: 2026-01-01T00:00:00Z
expires: 2028-01-01T00:00:00Z
schema: {SCHEMA_DIGEST}
recipients: [self, USA, JPN]
groups:
  status: [status.state, status.reason]
  window: [impact.time.earliest, impact.time.best, impact.time.latest]
rules:
"""
RULE = "- {id: R-1, effect: release, to: [USA], when: 'true', give: {status: exact}, reason: agreed}\n"


def refused(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as error:
        Policy.parse(text, nation="KOR", members={"USA", "JPN"})
    return error.value


def test_a_policy_is_what_its_document_says() -> None:
    policy = Policy.parse(HEAD + RULE, nation="KOR", members={"USA", "JPN"})
    assert (policy.nation, policy.version, policy.recipients) == ("KOR", 7, ("self", "USA", "JPN"))
    assert policy.effective_ns == 1_767_225_600 * 10**9
    assert policy.groups["status"] == ("status.state", "status.reason")
    assert policy.rules[0].levels == {"status": Level.EXACT}
    assert policy.digest.startswith("sha256:")
    assert not policy.is_in_force(policy.effective_ns - 1)
    assert policy.is_in_force(policy.effective_ns)
    assert not policy.is_in_force(policy.expires_ns)
    assert set(policy.unplaced()) == set(LEAVES) - {path for paths in policy.groups.values() for path in paths}


HEADS = {
    "another format": ("vedette-release/v1", "vedette-release/v2", "unknown format"),
    "another nation": ("nation: KOR", "nation: JPN", "the policy of JPN"),
    "no member's code": ("nation: KOR", "nation: Korea", "not a member's code"),
    "version 0": ("version: 7", "version: 0", "not a version"),
    "version 1.5": ("version: 7", "version: 1.5", "not a version"),
    "a negative version": ("version: 7", "version: -1", "not a version"),
    "no such day": ("2026-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "no such day"),
    "a time without its zone": ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "not an instant"),
    "expired from the start": ("2028-01-01", "2025-01-01", "expires before"),
    "another schema": (SCHEMA_DIGEST, "sha256:00", "another version of the messages"),
    "itself as recipient": ("[self, USA, JPN]", "[self, KOR]", "KOR itself"),
    "a stranger": ("[self, USA, JPN]", "[self, PRK]", "PRK is not a member"),
    "a small letter": ("[self, USA, JPN]", "[self, usa]", "not a member's code"),
    "no recipient": ("[self, USA, JPN]", "[]", "no recipient"),
    "an unknown leaf": ("status.reason]", "status.reson]", "no such leaf: status.reson"),
    "an identity as a leaf": ("status.reason]", "status.event_id]", "no such leaf"),
    "a cell as a leaf": ("status.reason]", "track.state.cell.space_m]", "no such leaf"),
    "a leaf in two groups": ("[impact.time.earliest,", "[status.state, impact.time.earliest,", "in two groups"),
    "a divided window": ("status.reason]", "launch.launch_time.best]\n  late: [launch.launch_time.latest]", "together"),
    "a bad group name": ("  status:", "  Status!:", "not a name for a group"),
    "an unknown key": ("nation: KOR", "nation: KOR\nnaton: KOR", "unknown key 'naton'"),
    "a key missing": ("nation: KOR\n", "", "'nation' is missing"),
    "rules that are no list": ("rules:\n", "rules: none\nrest:\n", "unknown key 'rest'"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_bad_head_is_refused(name: str) -> None:
    old, new, reason = HEADS[name]
    assert reason in str(refused(HEAD.replace(old, new, 1) + RULE))


RULES = {
    "an unknown effect": ("effect: release", "effect: permit", "unknown effect"),
    "an unknown recipient": ("to: [USA]", "to: [AUS]", "unknown recipient 'AUS'"),
    "nobody": ("to: [USA]", "to: []", "for nobody"),
    "a recipient twice": ("to: [USA]", "to: [USA, USA]", "twice"),
    "an unknown group": ("status: exact", "place: exact", "unknown group 'place'"),
    "an unknown level": ("status: exact", "status: 5km", "unknown level"),
    "a misspelt field": ("when: 'true'", "when: '\"X\" in label.caveat'", "undefined field 'caveat'"),
    "a body that is none": ("when: 'true'", "when: 'body == \"trak\"'", "body is never 'trak'"),
    "a recipient that is none": ("when: 'true'", "when: 'to in [\"USA\", \"JPM\"]'", "to is never 'JPM'"),
    "a release that gives nothing": ("give: {status: exact}", "delay_s: 1", "gives nothing"),
    "a release that gives withheld": ("status: exact", "status: withheld", "gives nothing"),
    "a release that caps": ("give:", "cap:", "unknown key 'cap'"),
    "no reason": ("reason: agreed", "reason: ' '", "needs a reason"),
    "no reason at all": (", reason: agreed", "", "'reason' is missing"),
    "an unknown key": ("reason: agreed", "reason: agreed, dely_s: 1", "unknown key 'dely_s'"),
    "a built-in id": ("id: R-1", "id: VEDETTE-X", "not an id"),
    "an id with a space": ("id: R-1", "id: R 1", "not an id"),
    "a negative delay": ("reason:", "delay_s: -1, reason:", "not a number of seconds"),
    "an endless delay": ("reason:", "delay_s: 99999, reason:", "not a number of seconds"),
    "a delay of inf": ("reason:", "delay_s: inf, reason:", "not a number of seconds"),
    "a caveat in small letters": ("reason:", "caveats: [noforn], reason:", "not a caveat"),
    "a flag that YAML would turn": ("reason:", "guard: true, reason:", "means yes, no or nothing"),
    "a flag that is none": ("reason:", "guard: maybe, reason:", "must be 'true' or 'false'"),
    "a deny that gives": ("effect: release", "effect: deny", "unknown key 'give'"),
    "a limit that limits nothing": ("effect: release, to: [USA], when: 'true', give: {status: exact}",
                                    "effect: limit, to: [USA], when: 'true'", "limits nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_bad_rule_is_refused_with_its_line(name: str) -> None:
    old, new, reason = RULES[name]
    error = refused(HEAD + RULE.replace(old, new, 1))
    assert reason in str(error)
    assert error.line == 12


def test_a_typing_error_in_a_condition_is_placed_in_the_document() -> None:
    error = refused(HEAD + RULE.replace("when: 'true'", "when: 'true && label.caveat'"))
    line = (HEAD + RULE.replace("when: 'true'", "when: 'true && label.caveat'")).splitlines()[error.line - 1]
    assert line[error.column - 1 :].startswith(".caveat")


# The same misspelt field, as authors write conditions.
WRITTEN = {
    "plain": "label.classification != Classification.CLASSIFICATION_SECRET && label.caveat == to",
    "plain, over lines": "label.policy == to\n      && label.caveat == to",
    "single quotes": "'\"X\" in label.caveats || label.caveat == to'",
    "single quotes, over lines": "'\"X\" in label.caveats\n\n      || label.caveat == to'",
    "double quotes": "\"'X' in label.caveats || label.caveat == to\"",
    "folded": '>-\n    "X" in label.caveats\n    || label.caveat == to',
    "literal": '|-\n      "X" in label.caveats\n\n      || label.caveat == to',
    "behind a comment": '>  # why\n    "X" in label.caveats ||\n      label.caveat == to',
}


AROUND = "- id: R-1\n  effect: release\n  to: [USA]\n  when: WHEN\n  give: {status: exact}\n  reason: r\n"


@pytest.mark.parametrize("name", WRITTEN)
def test_an_error_in_a_condition_has_its_exact_place_however_it_is_written(name: str) -> None:
    rule = f"# 日本\n{AROUND.replace('WHEN', WRITTEN[name])}"
    error = refused(HEAD + rule)
    assert (HEAD + rule).splitlines()[error.line - 1][error.column - 1 :].startswith(".caveat == to")


@pytest.mark.parametrize("name", WRITTEN)
def test_what_cel_accepts_and_rules_do_not_has_its_exact_place_too(name: str) -> None:
    when = WRITTEN[name].replace("label.caveat == to", "size(label.caveats) > 0")
    rule = AROUND.replace("WHEN", when)
    error = refused(HEAD + rule)
    assert "size" in error.reason
    assert (HEAD + rule).splitlines()[error.line - 1][error.column - 1 :].startswith("(label.caveats) > 0")


def test_where_escapes_are_folded_the_place_is_that_of_the_condition() -> None:
    rule = RULE.replace("when: 'true'", "when: \"'\\u0041' in label.caveats\n  || label.caveat == to\"")
    error = refused(HEAD + rule)
    assert (HEAD + rule).splitlines()[error.line - 1][error.column - 1 :].startswith("\"'")


def test_errors_of_other_rules_are_kept_with_the_first() -> None:
    bad = RULE.replace("effect: release", "effect: permit")
    error = refused(HEAD + RULE + bad + bad.replace("to: [USA]", "to: [AUS]") + RULE)
    assert [(each.line, each.reason) for each in (error, *error.more)] == [
        (13, "unknown effect 'permit'"),
        (14, "unknown effect 'permit'"),
        (15, "R-1 is there twice"),
    ]
    assert str(error).startswith("line 13")


def test_two_rules_of_one_id_are_refused() -> None:
    assert "there twice" in str(refused(HEAD + RULE + RULE))


def test_more_rules_than_anybody_can_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.limits.POLICY_RULES_MAX", 20)
    text = "".join(RULE.replace("R-1", f"R-{number}") for number in range(limits.POLICY_RULES_MAX + 1))
    assert "more than" in str(refused(HEAD + text))


def test_levels_have_a_name_by_place_by_time_and_by_both() -> None:
    for name, level in (
        ("10km", 2),
        ("10s", 2),
        ("10km/10s", 2),
        ("withheld", 0),
        ("50km", 1),
        ("1s", 3),
        ("exact", 4),
    ):
        text = HEAD + RULE.replace("effect: release", "effect: limit").replace(
            "give: {status: exact}", f"cap: {{status: {name}}}"
        )
        assert Policy.parse(text).rules[0].levels["status"] == level


def test_a_random_policy_reads_the_same_twice(maker: Any) -> None:
    text = maker(5).policy_text()
    first, second = Policy.parse(text), Policy.parse(text)
    assert first.digest == second.digest
    assert first.rules == second.rules
    assert not first.unplaced()
