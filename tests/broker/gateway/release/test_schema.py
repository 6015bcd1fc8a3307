from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from jsonschema import Draft7Validator

from broker import limits
from broker.demo.world import shipped_policy
from broker.gateway.release import Policy, PolicyError, run_tests
from broker.gateway.release.schema import schema_of_policies, schema_of_tests

ROOT: Final = Path(__file__).parents[4]
NATIONS: Final = ("kor", "jpn", "usa")
POLICY: Final = Draft7Validator(schema_of_policies())
TESTS: Final = Draft7Validator(schema_of_tests())


class Editor(yaml.SafeLoader):
    """Reads YAML as editors do: numbers and yes/no are typed, instants are text."""


Editor.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def as_editor(text: str) -> Any:
    return yaml.load(text, Loader=Editor)  # noqa: S506 - a SafeLoader without instants


@pytest.mark.parametrize(
    ("name", "made"),
    [("release-policy", schema_of_policies()), ("release-test", schema_of_tests())],
    ids=["policy", "test"],
)
def test_the_published_schema_is_the_one_that_the_reader_makes(name: str, made: dict[str, Any]) -> None:
    published = json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text("utf-8"))
    assert published == made, "write it anew: vedette policy schema [--tests]"
    Draft7Validator.check_schema(made)


@pytest.mark.parametrize("nation", NATIONS)
def test_shipped_policies_and_their_tests_fit_and_name_their_schema(nation: str) -> None:
    for file, validator, kind in (("release.yaml", POLICY, "policy"), ("release.test.yaml", TESTS, "test")):
        path = ROOT / "nations" / nation / file
        text = path.read_text("utf-8")
        assert [error.message for error in validator.iter_errors(as_editor(text))] == []
        head, _, schema = text.splitlines()[0].partition("$schema=")
        assert head == "# yaml-language-server: "
        assert (path.parent / schema).resolve() == ROOT / f"docs/schemas/release-{kind}.schema.json"


def test_whatever_policy_the_reader_takes_fits(maker: Any) -> None:
    for seed in range(25):
        text = maker(seed).policy_text()
        assert Policy.parse(text).rules
        assert [error.message for error in POLICY.iter_errors(as_editor(text))] == []


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


BAD: Final = {
    "an unknown key": ("nation: KOR", "nation: KOR\nnaton: KOR"),
    "a key missing": ("nation: KOR\n", ""),
    "another format": ("vedette-release/v1", "vedette-release/v2"),
    "an implicit NO": ("nation: KOR", "nation: NO"),
    "no member's code": ("nation: KOR", "nation: Korea"),
    "version 0": ("version: 1", "version: 0"),
    "version 1.5": ("version: 1", "version: 1.5"),
    "an instant without its zone": ("2026-01-01T00:00:00Z", "2026-01-01"),
    "another schema": ("sha256:", "sha256:0"),
    "no recipient": ("recipients: [self, USA, JPN]", "recipients: []"),
    "a recipient twice": ("recipients: [self, USA, JPN]", "recipients: [self, USA, JPN, USA]"),
    "a recipient in small letters": ("recipients: [self, USA, JPN]", "recipients: [self, usa]"),
    "a leaf that is none": ("status.state", "status.stat"),
    "a group's name": ("  status:", "  Status!:"),
    "groups as a list": ("groups:\n", "groups: [a]\nrules2:\n"),
    "an unknown effect": ("effect: release", "effect: permit"),
    "a rule without its reason": (
        "  reason: a launch goes to both at once, so its time is exact; confidence in tenths\n",
        "",
    ),
    "an empty reason": ("reason: a launch", "reason: ' '\n  # a launch"),
    "an unknown key of a rule": ("  minimum_interval_s: 8", "  minimum_interval: 8"),
    "an id with a space": ("id: KOR-R1", "id: KOR R1"),
    "an unknown level": ("launch_place: 1km", "launch_place: 5km"),
    "a release that gives nothing": ("  give: {impact_place: exact, confidence: exact}\n", ""),
    "a release that caps": ("  give:\n", "  cap:\n"),
    "a limit that gives": ("  cap: {launch_place", "  give: {launch_place"),
    "a limit that limits nothing": ("  cap: {sensor: withheld, workings: withheld}\n", ""),
    "a deny with a delay": ("reason: for Korean eyes", "delay_s: 5\n  reason: for Korean eyes"),
    "a rule for nobody": ("to: [USA, JPN]", "to: []"),
    "a flag that YAML would turn": ("guard: 'true'", "guard: true"),
    "a negative delay": ("delay_s: 5", "delay_s: -5"),
    "an endless delay": ("delay_s: 5", f"delay_s: {limits.DELAY_MAX_S + 1:g}"),
    "a delay in words": ("delay_s: 5", "delay_s: 5s"),
    "a caveat in small letters": ("caveats: [NO-ONWARD]", "caveats: [no-onward]"),
    "a caveat twice": ("caveats: [NO-ONWARD]", "caveats: [NO-ONWARD, NO-ONWARD]"),
    "an over-long condition": ("when: 'body == \"launch\"'", f"when: '{'!' * limits.CONDITION_CHARS_MAX}true'"),
    "rules that are no list": ("rules:\n", "rules: {}\nrest:\n"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_schema_refuses_the_reader_refuses_too(name: str) -> None:
    text = changed(shipped_policy("KOR"), *BAD[name])
    with pytest.raises(PolicyError):
        Policy.parse(text)
    assert list(POLICY.iter_errors(as_editor(text)))


def test_as_many_rules_as_allowed_fit_and_one_more_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.limits.POLICY_RULES_MAX", 18)
    head = shipped_policy("KOR")
    assert not list(Draft7Validator(schema_of_policies()).iter_errors(as_editor(head)))
    more = head + "- {id: MORE, effect: deny, to: [USA], when: 'false', reason: one too many}\n"
    assert list(Draft7Validator(schema_of_policies()).iter_errors(as_editor(more)))
    with pytest.raises(PolicyError, match="more than 18 rules"):
        Policy.parse(more)


BAD_TESTS: Final = {
    "an unknown key": ("tests:\n", "test: x\ntests:\n"),
    "no tests": ("\ntests:\n", "\ntest:\n"),
    "a test without a name": ("- name: a ground radar's track", "- nam: a ground radar's track"),
    "an unknown decision": ("decision: release", "decision: permit"),
    "no decision": ("      decision: release\n", ""),
    "an unknown level": ("track_place: exact", "track_place: near"),
    "a field that is none": ("confidence: 0.87", "confidnce: 0.87"),
    "an enum's value that is none": ("PHASE_COAST", "PHASE_COST"),
    "a precedence that is none": ("PRECEDENCE_IMMEDIATE", "PRECEDENCE_SOON"),
    "a recipient that is none": ("    USA:\n", "    usa:\n"),
    "an unknown expectation": ("delay_s: 0", "delay: 0"),
}


@pytest.mark.parametrize("name", BAD_TESTS)
def test_what_the_schema_of_tests_refuses_the_runner_refuses_too(name: str) -> None:
    text = (ROOT / "nations/kor/release.test.yaml").read_text("utf-8")
    assert run_tests(Policy.parse(shipped_policy("KOR")), text).passed
    bad = changed(text, *BAD_TESTS[name])
    with pytest.raises(PolicyError):
        run_tests(Policy.parse(shipped_policy("KOR")), bad)
    assert list(TESTS.iter_errors(as_editor(bad)))
