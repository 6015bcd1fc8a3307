"""Tests of a policy, as data beside it: what each recipient must be shown of messages that matter to its authors.

    policy: release.yaml
    base:                                    what every test starts from
      precedence: PRECEDENCE_IMMEDIATE
      label: {classification: CLASSIFICATION_SECRET, releasable_to: [KOR, USA, JPN]}
      content: {track: {state: {frame: FRAME_ECEF_WGS84, valid_at: '2026-01-01T00:00:00Z', position_m: [1, 2, 3]}}}
    tests:
    - name: the airborne radar's accuracy is hidden
      with: {content: {track: {source: {kind: SENSOR_KIND_AIRBORNE_RADAR}}}}
      expect:
        JPN: {decision: release, rules: [KOR-R1, KOR-L1], levels: {track_place: 10km}, delay_s: 10,
              minimum_interval_s: 10, caveats: [NO-ONWARD], shown: [track.state.position_m], withheld: [track.source]}
        USA: {decision: release}

Messages are written as protobuf's JSON, read by the strict reader of policies (true and false are quoted). `with`
is merged into `base`, key by key; a list replaces a list, and another body replaces the body. Ids that are missing are
filled in, and the mode is MODE_TEST. Only `decision` is needed of an expectation: `rules` and `caveats` are compared
whole, `levels`, `shown` and `withheld` (leaves or subtrees) as far as they are named.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from broker.content import check_content
from broker.document import (
    Listing,
    Part,
    Section,
    Text,
    read,
    section_of,
    text_of,
    texts_of,
)
from broker.gateway.release.decide import Subject, decide
from broker.gateway.release.lattice import Level, level_of
from broker.leaves import HEADER, LEAVES
from broker.refusal import Refused
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor

    from broker.gateway.release.decision import Decision
    from broker.gateway.release.policy import Policy

__all__ = ["TestResult", "TestRun", "covers_all", "run_tests", "subject_of"]

Json = str | bool | list["Json"] | dict[str, "Json"]
BODIES: Final = frozenset(field.name for field in content_pb2.Content.DESCRIPTOR.oneofs_by_name["body"].fields)
NEEDED: Final = frozenset({"policy", "tests"})
NEEDED_OF_TEST: Final = frozenset({"name", "expect"})
DECISIONS: Final = frozenset({"release", "deny"})
MESSAGE_KEYS: Final = frozenset({"content", "label", "precedence"})
EXPECTED: Final = frozenset(
    {"rules", "levels", "delay_s", "minimum_interval_s", "caveats", "shown", "withheld"},
)


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test for one recipient. It passed if there are no differences."""

    __test__ = False  # not a test of ours

    name: str
    recipient: str
    differences: tuple[str, ...]
    line: int

    @property
    def passed(self) -> bool:
        """Whether the recipient is shown what the test expects."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class TestRun:
    """All tests of one file, and what they touched of the policy."""

    __test__ = False

    results: tuple[TestResult, ...]
    rules_untried: tuple[str, ...]  # rules that matched in no test
    groups_untried: tuple[str, ...]  # groups that no test showed to anybody
    rules_tried: int
    groups_tried: int

    @property
    def passed(self) -> bool:
        """Whether every test passed. Coverage is for the caller to judge."""
        return all(result.passed for result in self.results)


def run_tests(policy: Policy, text: str) -> TestRun:
    """Run the tests in the document against the policy. Raises PolicyError where the document itself is wrong."""
    section = read(text)
    section.expect(NEEDED, frozenset({"base"}))
    base = _tree(section.entries["base"], _MESSAGE) if "base" in section.entries else {}
    tests = section.entries["tests"]
    if not isinstance(tests, Listing):
        raise tests.refuse("must be a list of tests")
    results: list[TestResult] = []
    rules: set[str] = set()
    groups: set[str] = set()
    for each in tests.items:
        for result, decision in _run(policy, section_of(each), base):
            results.append(result)
            rules.update(decision.rule_ids)
            groups.update(group for group, level in decision.levels.items() if level > Level.WITHHELD)
    all_rules = [rule.rule_id for rule in policy.rules]
    return TestRun(
        tuple(results),
        tuple(rule_id for rule_id in all_rules if rule_id not in rules),
        tuple(group for group in policy.groups if group not in groups),
        len(rules.intersection(all_rules)),
        len(groups),
    )


def covers_all(run: TestRun) -> bool:
    """Say whether every test passed and every rule matched in one of them: without that no policy is activated.

    Groups are not asked for: one that is withheld from everybody, as a sensor's name, is shown in no test.
    """
    return run.passed and not run.rules_untried


def subject_of(text: str) -> Subject:
    """Return the message in a JSON object of content, label and precedence. Raises ValueError.

    A JSON object without those keys is the content alone; it is then labelled as releasable to nobody.
    """
    tree = json.loads(text)
    if not isinstance(tree, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - the caller reads a file, not an argument
    whole = tree if "content" in tree else {"content": tree}
    if strange := sorted(whole.keys() - MESSAGE_KEYS):
        raise ValueError(f"unknown key {strange[0]!r}; known are " + ", ".join(sorted(MESSAGE_KEYS)))
    return _subject(whole)


def _run(policy: Policy, test: Section, base: dict[str, Json]) -> Iterator[tuple[TestResult, Decision]]:
    test.expect(NEEDED_OF_TEST, frozenset({"with"}))
    name = text_of(test.entries["name"])
    override = _tree(test.entries["with"], _MESSAGE) if "with" in test.entries else {}
    try:
        subject = _subject(_merged(base, override))
    except (Refused, ValueError) as error:
        raise test.refuse(f"{name}: no valid message: {error}") from None
    expect = section_of(test.entries["expect"])
    if not expect.entries:
        raise expect.refuse(f"{name}: expects nothing", "name a recipient, as USA: {decision: deny}")
    for recipient, part in expect.entries.items():
        expected = section_of(part)
        expected.expect(frozenset({"decision"}), EXPECTED)
        if recipient not in policy.recipients:
            raise part.refuse(f"unknown recipient {recipient!r}", "of the policy: " + ", ".join(policy.recipients))
        decision = decide(policy, subject, recipient)
        yield TestResult(name, recipient, tuple(_differences(expected, decision)), expected.line), decision


# --- what was expected ------------------------------------------------------------------------------------------------


def _differences(expected: Section, decision: Decision) -> Iterator[str]:
    entries = expected.entries
    wanted = text_of(entries["decision"])
    if wanted not in DECISIONS:
        raise entries["decision"].refuse("unknown decision", "release or deny")
    got = "release" if decision.released else "deny"
    if got != wanted:
        yield f"decision: expected {wanted}, got {got} by {', '.join(decision.rule_ids) or 'default'}"
    for key, values in (("rules", decision.rule_ids), ("caveats", decision.caveats)):
        names = {each.value for each in texts_of(entries[key])} if key in entries else set(values)
        if names != set(values):
            yield f"{key}: expected {', '.join(sorted(names)) or 'none'}, got {', '.join(values) or 'none'}"
    yield from _term_differences(expected, decision)


def _term_differences(expected: Section, decision: Decision) -> Iterator[str]:
    entries = expected.entries
    for key, seconds in (("delay_s", decision.delay_s), ("minimum_interval_s", decision.minimum_interval_s)):
        if key in entries and _number(entries[key]) != seconds:
            yield f"{key}: expected {text_of(entries[key])}, got {seconds:g}"
    if "levels" in entries:
        yield from _level_differences(section_of(entries["levels"]), decision)
    for key, is_shown in (("shown", True), ("withheld", False)):
        for path in texts_of(entries[key]) if key in entries else ():
            _check_is_any(path, decision.shown.body)
            if _is_shown(path, decision) is not is_shown:
                yield f"{path.value}: expected to be {key}"


def _level_differences(expected: Section, decision: Decision) -> Iterator[str]:
    for group, part in expected.entries.items():
        level = level_of(text_of(part))
        if level is None:
            raise part.refuse("unknown level", "withheld, 50km, 10km, 1km (or 60s, 10s, 1s), exact")
        if group not in decision.levels:
            raise expected.keys[group].refuse(f"unknown group {group!r}")
        if decision.levels[group] != level:
            yield f"{group}: expected {level.label}, got {decision.levels[group].label}"


def _check_is_any(path: Text, body: str) -> None:
    """Refuse what is no leaf or subtree of such a message: misspelt, it would be withheld in every test."""
    known = (f"{leaf.path}." for leaf in LEAVES.values() if leaf.body in {HEADER, body})
    if not any(leaf.startswith(f"{path.value}.") for leaf in known):
        raise path.refuse(f"no such leaf of a {body or 'reference'}: {path.value}", "`vedette policy leaves` lists all")


def _is_shown(path: Text, decision: Decision) -> bool:
    return any(f"{leaf}.".startswith(f"{path.value}.") for leaf in decision.shown.levels)


def _number(part: Part) -> float:
    try:
        return float(text_of(part))
    except ValueError:
        raise part.refuse("not a number") from None


# --- the message ------------------------------------------------------------------------------------------------------

_MESSAGE: Final[Mapping[str, Descriptor | None]] = {
    "content": content_pb2.Content.DESCRIPTOR,
    "label": envelope_pb2.SecurityLabel.DESCRIPTOR,
    "precedence": None,
}


def _tree(part: Part, shape: Mapping[str, Descriptor | None]) -> dict[str, Json]:
    section = section_of(part)
    section.expect(frozenset(), MESSAGE_KEYS)
    return {key: _json(value, shape[key]) for key, value in section.entries.items()}


def _json(part: Part, descriptor: Descriptor | None) -> Json:
    """Return what protobuf's JSON reader takes. Text does for all but messages, lists and bools."""
    match part:
        case Section(entries=entries):
            return {name: _field_json(value, descriptor, name) for name, value in entries.items()}
        case Listing(items=items):
            return [_json(item, descriptor) for item in items]
        case Text(value=value):
            return value
        case _:
            raise part.refuse("cannot stand in a message")


def _field_json(part: Part, descriptor: Descriptor | None, name: str) -> Json:
    field = descriptor.fields_by_name.get(name) if descriptor is not None else None
    if field is None:
        raise part.refuse(f"no such field: {name}")
    if field.type == FieldDescriptor.TYPE_BOOL:
        words = {"true": True, "false": False}
        if text_of(part) not in words:
            raise part.refuse(f"{name} must be 'true' or 'false'")
        return words[text_of(part)]
    return _json(part, field.message_type)


def _merged(base: Mapping[str, Json], override: Mapping[str, Json]) -> dict[str, Json]:
    made = dict(base)
    if BODIES & override.keys():
        made = {key: value for key, value in made.items() if key not in BODIES or key in override}
    for key, value in override.items():
        before = made.get(key)
        made[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return made


def _subject(tree: Mapping[str, Json]) -> Subject:
    content, label = content_pb2.Content(), envelope_pb2.SecurityLabel()
    try:
        json_format.Parse(json.dumps(tree.get("content", {})), content)
        json_format.Parse(json.dumps(tree.get("label", {})), label)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    _fill(content)
    check_content(content, incoming=False)
    precedence = tree.get("precedence", "PRECEDENCE_ROUTINE")
    names = tuple(envelope_pb2.Precedence.keys())
    if not isinstance(precedence, str) or precedence not in names:
        raise ValueError("precedence must be one of " + ", ".join(names))
    return Subject(content, label, envelope_pb2.Precedence.Value(precedence))


def _fill(content: content_pb2.Content) -> None:
    """Give the message the ids and the mode that no test of a policy depends on."""
    header = content.header
    header.message_id = header.message_id or b"policy-test"
    header.mode = header.mode or content_pb2.MODE_TEST
    body = content.WhichOneof("body")
    inner = getattr(content, body) if body is not None else None
    for name in ("event_id", "object_id", "notice_id", "message_id"):
        if inner is not None and name in inner.DESCRIPTOR.fields_by_name and not getattr(inner, name):
            setattr(inner, name, b"policy-test")
