from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.content import LEAVES
from broker.gateway.release import (
    Decision,
    Level,
    Policy,
    Subject,
    combine,
    decide,
    decider_of,
    decision_from_json,
    explain,
    redact,
)
from broker.gateway.release.decide import Decider, both_engines
from broker.gateway.release.engine import Compared, Compiled, Evaluated
from broker.gateway.release.policy import Effect
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.gateway.release.engine import Facts
    from broker.gateway.release.policy import Rule

Makers = Any


@pytest.fixture(scope="session")
def groups(maker: Any) -> str:
    """Return a policy's head with every leaf in the group of its body's name."""
    by_body: dict[str, list[str]] = {}
    for path, leaf in LEAVES.items():
        by_body.setdefault(leaf.body, []).append(path)
    head = str(maker(0).policy_text(rules=0)).split("groups:")[0]
    return (
        head
        + "groups:\n"
        + "".join(f"  {name}: [{', '.join(paths)}]\n" for name, paths in by_body.items())
        + "rules:\n"
    )


def rule(rule_id: str, effect: str, rest: str = "", *, to: str = "USA, JPN", when: str = "true") -> str:
    return (
        f"- {{id: {rule_id}, effect: {effect}, to: [{to}], when: '{when}', reason: r{', ' + rest if rest else ''}}}\n"
    )


@pytest.fixture
def subject(maker: Any) -> Subject:
    label = envelope_pb2.SecurityLabel(
        policy="KOR", classification=envelope_pb2.CLASSIFICATION_SECRET, releasable_to=["JPN", "KOR", "USA"]
    )
    return Subject(maker(1).content("track", density=1.0), label, envelope_pb2.PRECEDENCE_FLASH)


def test_nothing_is_released_by_default(groups: str, subject: Subject) -> None:
    policy = Policy.parse(groups + rule("R", "release", "give: {launch: exact}"))
    for recipient in ("self", "USA", "JPN"):
        decision = decide(policy, subject, recipient)
        assert not decision.released
        assert not decision.fault


def test_releases_join_by_the_greatest_and_limits_cap_by_the_least(groups: str, subject: Subject) -> None:
    policy = Policy.parse(
        groups
        + rule("R1", "release", "give: {track: 10km}")
        + rule("R2", "release", "give: {track: exact}")
        + rule("R3", "release", "give: {header: 1km}")
        + rule("L1", "limit", "cap: {track: 1km}", to="JPN")
        + rule("L2", "limit", "cap: {track: 50km, header: exact}", to="JPN")
    )
    usa, jpn = decide(policy, subject, "USA"), decide(policy, subject, "JPN")
    assert (usa.levels["track"], jpn.levels["track"]) == (Level.EXACT, Level.CELL_50KM)
    assert (usa.levels["header"], jpn.levels["header"]) == (Level.CELL_1KM, Level.CELL_1KM)
    assert usa.rule_ids == ("R1", "R2", "R3")
    assert jpn.rule_ids == ("L1", "L2", "R1", "R2", "R3")


def test_a_limit_alone_releases_nothing(groups: str, subject: Subject) -> None:
    policy = Policy.parse(groups + rule("L", "limit", "cap: {track: exact}"))
    assert not decide(policy, subject, "JPN").released


def test_deny_beats_every_release(groups: str, subject: Subject) -> None:
    policy = Policy.parse(
        groups + rule("D", "deny", to="JPN", when="precedence >= Precedence.PRECEDENCE_FLASH")
        + rule("R", "release", "give: {track: exact}")
    )  # fmt: skip
    assert decide(policy, subject, "USA").released
    denied = decide(policy, subject, "JPN")
    assert not denied.released
    assert denied.rule_ids == ("D", "R")
    assert set(denied.levels.values()) == {Level.WITHHELD}


def test_delay_and_interval_are_the_longest_and_caveats_all(groups: str, subject: Subject) -> None:
    policy = Policy.parse(
        groups
        + rule("R", "release", "give: {track: exact}, delay_s: 3, caveats: [B]")
        + rule("L1", "limit", "delay_s: 10.5, minimum_interval_s: 2, caveats: [A, B]")
        + rule("L2", "limit", "delay_s: 1, minimum_interval_s: 4", when="mode == Mode.MODE_UNSPECIFIED")
    )
    decision = decide(policy, subject, "USA")
    assert (decision.delay_s, decision.minimum_interval_s, decision.caveats) == (10.5, 2.0, ("A", "B"))


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_order_of_rules_does_not_matter(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    text = maker.policy_text()
    head, _, rules = text.partition("rules:\n")
    lines = rules.splitlines(keepends=True)
    maker.random.shuffle(lines)
    one, other = Policy.parse(text), Policy.parse(head + "rules:\n" + "".join(lines))
    for _ in range(5):
        subject = maker.subject()
        for recipient in one.recipients:
            first, second = decide(one, subject, recipient), decide(other, subject, recipient)
            assert (first.levels, first.rule_ids, first.delay_s, first.caveats, first.shown, first.released) == (
                second.levels, second.rule_ids, second.delay_s, second.caveats, second.shown, second.released
            )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_decision_is_what_the_rules_say_one_by_one(makers: Makers, data: st.DataObject) -> None:
    """The semantics again, the slow way, with the other engine and the explanation."""
    maker = data.draw(makers)
    policy = maker.policy()
    other = Decider(policy, lambda rules: Evaluated([each.when for each in rules] or ["true"]))
    for _ in range(5):
        subject = maker.subject()
        for recipient in policy.recipients:
            decision = decide(policy, subject, recipient)
            if any(rule_id.startswith("VEDETTE-") for rule_id in decision.rule_ids):
                assert not decision.released
                continue
            assert other.decide(subject, recipient) == decision
            story = explain(policy, subject, recipient)
            matched = [each.rule for each in story.rules if each.matched]
            assert decision.rule_ids == tuple(sorted(each.rule_id for each in matched))
            assert all(recipient in each.to for each in matched)
            if any(each.effect is Effect.DENY for each in matched):
                assert not decision.released
                continue
            for group, level in decision.levels.items():
                given_ = [
                    each.levels[group] for each in matched if each.effect is Effect.RELEASE and group in each.levels
                ]
                caps = [each.levels[group] for each in matched if each.effect is Effect.LIMIT and group in each.levels]
                assert level == min([max(given_, default=Level.WITHHELD), *caps])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_further_deny_or_limit_never_shows_more_and_a_release_never_less(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    text = maker.policy_text()
    names = [line.split(":")[0].strip() for line in text.splitlines() if line.startswith("  group_")]
    extra = maker.rule(999, names)
    before, after = Policy.parse(text), Policy.parse(text + extra + "\n")
    for _ in range(5):
        subject = maker.subject()
        for recipient in before.recipients:
            old, new = decide(before, subject, recipient), decide(after, subject, recipient)
            less, more = (old, new) if "effect: release" in extra else (new, old)
            assert all(level <= more.shown.levels[path] for path, level in less.shown.levels.items())


# --- before any rule --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def open_policy(groups: str) -> Policy:
    return Policy.parse(
        groups + rule("R", "release", "give: {track: exact, header: exact}, caveats: [KNOWN]", to="self, USA")
    )


def with_label(subject: Subject, **changes: Any) -> Subject:
    label = envelope_pb2.SecurityLabel()
    label.CopyFrom(subject.label)
    for name, value in changes.items():
        if isinstance(value, list):
            getattr(label, name)[:] = value
        else:
            setattr(label, name, value)
    return Subject(subject.content, label, subject.precedence)


def test_past_its_time_a_policy_releases_nothing(open_policy: Policy, subject: Subject) -> None:
    assert decide(open_policy, subject, "USA", now_ns=open_policy.effective_ns).released
    for now_ns in (open_policy.effective_ns - 1, open_policy.expires_ns):
        assert decide(open_policy, subject, "USA", now_ns=now_ns).rule_ids == ("VEDETTE-NOT-IN-FORCE",)


def test_a_stranger_gets_nothing(open_policy: Policy, subject: Subject) -> None:
    assert decide(open_policy, subject, "AUS").rule_ids == ("VEDETTE-UNKNOWN-RECIPIENT",)


def test_an_unlabelled_message_goes_to_nobody(open_policy: Policy, subject: Subject) -> None:
    assert decide(open_policy, with_label(subject, classification=0), "USA").rule_ids == ("VEDETTE-UNLABELLED",)
    empty = Subject(subject.content, envelope_pb2.SecurityLabel(), subject.precedence)
    assert not decide(open_policy, empty, "self").released


def test_a_label_that_does_not_name_the_recipient_forbids(open_policy: Policy, subject: Subject) -> None:
    for names in ([], ["JPN", "KOR"]):
        changed = with_label(subject, releasable_to=names)
        assert decide(open_policy, changed, "USA").rule_ids == ("VEDETTE-NOT-RELEASABLE",)
        assert decide(open_policy, changed, "self").released


def test_a_caveat_that_no_rule_speaks_of_forbids(open_policy: Policy, subject: Subject) -> None:
    assert decide(open_policy, with_label(subject, caveats=["KNOWN"]), "USA").released
    assert decide(open_policy, with_label(subject, caveats=["OTHER"]), "USA").rule_ids == ("VEDETTE-UNKNOWN-CAVEAT",)


def test_bodies_that_no_nation_sends_are_denied(open_policy: Policy, subject: Subject) -> None:
    for body in ("fused", "tick", "canary"):
        content = content_pb2.Content()
        getattr(content, body).SetInParent()
        decision = decide(open_policy, Subject(content, subject.label, 4), "USA")
        assert decision.rule_ids == ("VEDETTE-BODY-OUTSIDE-POLICY",)
    bare = decide(open_policy, Subject(content_pb2.Content(), subject.label, 4), "USA")
    assert not bare.released


class _Broken:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self.count = len(rules)

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        raise ZeroDivisionError(facts.to)


def test_any_fault_in_deciding_is_a_denial_with_its_name(open_policy: Policy, subject: Subject) -> None:
    decision = Decider(open_policy, _Broken).decide(subject, "USA")
    assert not decision.released
    assert decision.fault == "ZeroDivisionError"
    assert decision.rule_ids == ("VEDETTE-FAULT",)
    assert set(decision.levels.values()) == {Level.WITHHELD}


def test_engines_that_disagree_deny_and_name_the_rules(open_policy: Policy, subject: Subject) -> None:
    def torn(rules: Sequence[Rule]) -> Compared:
        return Compared(Compiled([rule.predicate for rule in rules]), Evaluated(["false" for _ in rules]))

    decision = Decider(open_policy, torn).decide(subject, "USA")
    assert not decision.released
    assert (decision.rule_ids, decision.fault) == (("VEDETTE-ENGINES-DISAGREE",), "EnginesDisagree: R")
    assert set(decision.levels.values()) == {Level.WITHHELD}
    assert Decider(open_policy, both_engines).decide(subject, "USA").released, "the control"


def test_a_gateway_decides_with_both_engines(open_policy: Policy, subject: Subject) -> None:
    (rule,) = open_policy.rules
    torn = replace(open_policy, rules=(replace(rule, when="false"),))
    assert decide(torn, subject, "USA").fault
    assert decider_of(torn).decide(subject, "USA").fault
    assert Decider(torn).decide(subject, "USA").released, "one engine by itself notices nothing"


# --- decisions --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_decision_survives_being_written_down(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    policy, subject = maker.policy(), maker.subject()
    for recipient in policy.recipients:
        decision = decide(policy, subject, recipient)
        again = decision_from_json(decision.to_json())
        assert again.to_json() == decision.to_json()
        assert (again.released, again.shown.levels) == (decision.released, decision.shown.levels)
        if decision.released:
            assert redact(subject.content, again) == redact(subject.content, decision)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"released": true}', "1"])
def test_what_is_no_decision_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a decision"):
        decision_from_json(text)


def test_a_held_message_decided_again_only_gets_tighter(groups: str, subject: Subject) -> None:
    release = rule("R", "release", "give: {track: exact, header: exact}, delay_s: 5, caveats: [A]")
    first = decide(Policy.parse(groups + release), subject, "USA")
    tighter = decide(
        Policy.parse(groups + release + rule("L", "limit", "cap: {track: 10km}, delay_s: 1, caveats: [B]")),
        subject,
        "USA",
    )
    looser = decide(Policy.parse(groups + rule("R", "release", "give: {track: exact, header: exact}")), subject, "USA")
    nothing = decide(Policy.parse(groups + rule("D", "deny")), subject, "USA")
    both = combine(first, tighter)
    assert (both.levels["track"], both.delay_s, both.caveats) == (Level.CELL_10KM, 5.0, ("A", "B"))
    again = combine(tighter, looser)
    assert (again.levels["track"], again.delay_s, again.caveats) == (Level.CELL_10KM, 5.0, ("A", "B"))
    for one, other in ((first, nothing), (nothing, first)):
        assert not combine(one, other).released


def test_a_decision_is_remembered_and_the_memory_is_bounded(
    groups: str, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.limits.POLICY_DECISIONS_MAX", 1)
    decider = decider_of(Policy.parse(groups + rule("R", "release", "give: {track: exact}")))
    first = decider.decide(subject, "USA")
    assert decider.decide(subject, "USA") is first
    assert isinstance(decider.decide(subject, "JPN"), Decision)
    assert len(decider._settled) == 1
