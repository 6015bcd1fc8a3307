"""What a draft would do to recorded messages: the counts are those of deciding each message by hand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import limits
from broker.gateway.release import Level, Policy, Subject
from broker.gateway.release.change import Change, delta_of
from broker.gateway.release.comparison import STAMPS, Comparison, Recorded
from broker.gateway.release.decide import Decider
from broker.gateway.release.impact import Impact, Window
from broker.leaves import set_leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN_NS = 1_780_000_000 * limits.SECOND_NS
WINDOW = Window(BEGIN_NS, BEGIN_NS + 240 * limits.SECOND_NS)


def impact_of(old: Policy, new: Policy, subjects: Sequence[Subject]) -> Impact:
    comparison = Comparison(old, new, WINDOW)
    for number, subject in enumerate(subjects):
        at_ns = BEGIN_NS + number * limits.SECOND_NS
        comparison.add(Recorded(subject, f"{number:016x}", at_ns, f"radar-{number % 2}"))
    return comparison.report(unreadable=2)


def by_hand(old: Policy, new: Policy, subjects: Sequence[Subject]) -> Counter[tuple[object, ...]]:
    """Return how often each leaf changes how for whom, and how often where it is set; nothing is remembered."""
    counts: Counter[tuple[object, ...]] = Counter()
    was, becomes = Decider(old), Decider(new)
    for subject in subjects:
        present = {*set_leaves(subject.content), *STAMPS}
        for recipient in old.recipients:
            before, after = was.decide(subject, recipient).shown.levels, becomes.decide(subject, recipient).shown.levels
            for path in before.keys() | after.keys():
                levels = before.get(path, Level.WITHHELD), after.get(path, Level.WITHHELD)
                if levels[0] != levels[1]:
                    counts[recipient, path, *levels, "decisions"] += 1
                    counts[recipient, path, *levels, "with a value"] += path in present
    return +counts


def of_report(impact: Impact) -> Counter[tuple[object, ...]]:
    counts: Counter[tuple[object, ...]] = Counter()
    for row in impact.fields:
        counts[row.recipient, row.path, row.old, row.new, "decisions"] += row.decisions
        counts[row.recipient, row.path, row.old, row.new, "with a value"] += row.with_value
    return +counts


@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_the_counts_are_those_of_deciding_each_message_by_hand(maker: Any, seed: int) -> None:
    made = maker(seed)
    text = made.policy_text()
    old = Policy.parse(text)
    rules = [made.rule(number, list(old.groups)) for number in (98, 99)]
    new = Policy.parse("\n".join([*text.splitlines()[:-1], *rules]))  # one rule less, two others more
    subjects = [made.subject() for _ in range(12)]
    was, becomes = Decider(old), Decider(new)
    impact = impact_of(old, new, subjects)
    assert of_report(impact) == by_hand(old, new, subjects)
    for row in impact.recipients:
        befores = [was.decide(subject, row.recipient) for subject in subjects]
        afters = [becomes.decide(subject, row.recipient) for subject in subjects]
        assert row.decisions == sum(row.changes.values()) == len(subjects)
        assert row.released_before == sum(each.released for each in befores)
        assert row.released_after == sum(each.released for each in afters)
        changes = Counter(delta_of(*pair).change for pair in zip(befores, afters, strict=True))
        assert +Counter(row.changes) == changes
    matches = Counter(rule for each in subjects for to in new.recipients for rule in becomes.decide(each, to).rule_ids)
    assert impact.coverage.rule_matches == {rule.rule_id: matches[rule.rule_id] for rule in new.rules}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_the_policy_in_force_as_its_own_draft_changes_nothing(maker: Any, seed: int) -> None:
    made = maker(seed)
    policy = made.policy()
    impact = impact_of(policy, policy, [made.subject() for _ in range(12)])
    assert (impact.fields, impact.groups, impact.terms, impact.releases_more) == ((), (), (), False)
    assert all(row.changes[Change.SAME] == row.decisions == 12 for row in impact.recipients)


@pytest.fixture
def small(maker: Any) -> Any:
    """Return what makes a policy of a few rules over three groups."""
    head = maker(7).policy_text(rules=0).partition("groups:\n")[0]
    groups = (
        "groups:\n  when: [status.state, header.observed_at]\n  why: [status.reason]\n  notices: [notice.reference]\n"
        "  stamps: [header.stamps.received_at, header.stamps.decided_at, header.stamps.sealed_at]\n"
    )

    def make(*rules: str) -> Policy:
        return Policy.parse(head + groups + "rules:\n" + "".join(f"- {{{rule}, reason: r}}\n" for rule in rules))

    return make


RELEASE = "id: A, effect: release, to: [USA], when: 'body == \"status\"', give: {when: exact}"
WIDER = "id: B, effect: release, to: [USA], when: 'precedence >= Precedence.PRECEDENCE_FLASH', give: {why: exact}"
NEVER = "id: C, effect: release, to: [JPN], when: 'body == \"notice\"', give: {notices: exact}"


def statuses(maker: Any, count: int = 6) -> list[Subject]:
    """Return statuses of which every second is urgent, and every third says why."""
    made = maker(1)
    subjects = []
    for number in range(count):
        content = made.content("status", density=1.0)
        if number % 3:
            content.status.ClearField("reason")
        label = made.label()
        del label.caveats[:]
        label.releasable_to[:] = ["JPN", "KOR", "USA"]
        subjects.append(Subject(content, label, 4 if number % 2 else 1))
    return subjects


def test_a_wider_rule_is_newly_released_where_it_matches_and_counted_apart_where_there_is_a_value(
    small: Any, maker: Any
) -> None:
    subjects = statuses(maker)
    impact = impact_of(small(RELEASE), small(RELEASE, WIDER, NEVER), subjects)
    (row,) = impact.fields
    assert (row.recipient, row.group, row.path, row.change) == ("USA", "why", "status.reason", Change.NEWLY_RELEASED)
    assert (row.decisions, row.with_value) == (3, 1), "messages 1, 3 and 5 are urgent, and of these 3 says why"
    assert [(each.message, each.at_ns, each.body) for each in row.examples] == [
        (f"{3:016x}", BEGIN_NS + 3 * limits.SECOND_NS, "status")
    ], "an example is one that has a value"
    (group,) = impact.groups
    assert (group.group, group.decisions, group.with_value) == ("why", 3, 1)
    assert impact.releases_more
    back = impact_of(small(RELEASE, WIDER, NEVER), small(RELEASE), subjects)
    assert [(each.change, each.decisions) for each in back.fields] == [(Change.NEWLY_WITHHELD, 3)]
    assert not back.releases_more


def test_the_gateways_own_stamps_are_a_value_that_every_message_will_have(small: Any, maker: Any) -> None:
    subjects = statuses(maker)
    for subject in subjects:
        subject.content.header.ClearField("stamps")  # as intake records it
    old, new = small(RELEASE), small(RELEASE.replace("when: exact", "when: exact, stamps: exact"))
    rows = impact_of(old, new, subjects).fields
    assert {row.path: (row.decisions, row.with_value) for row in rows} == {
        f"header.stamps.{name}": (6, 6) for name in ("received_at", "decided_at", "sealed_at")
    }


def test_coverage_says_what_was_recorded_and_what_of_the_draft_nothing_tried(small: Any, maker: Any) -> None:
    coverage = impact_of(small(RELEASE), small(RELEASE, WIDER, NEVER), statuses(maker)).coverage
    assert (coverage.messages, coverage.unreadable, coverage.bodies) == (6, 2, {"status": 6})
    assert (coverage.systems, sum(coverage.modes.values())) == ({"radar-0": 3, "radar-1": 3}, 6)
    assert (coverage.first_ns, coverage.last_ns) == (BEGIN_NS, BEGIN_NS + 5 * limits.SECOND_NS)
    assert coverage.parts == 1, "all came in the first of the parts, of ten seconds each"
    assert coverage.rule_matches == {"A": 6, "B": 3, "C": 0}
    assert coverage.unmatched == ("C",)
    assert coverage.unexercised == ("notices",)


@pytest.mark.parametrize(
    ("old", "new", "term", "more"),
    [
        ("delay_s: 9", "delay_s: 2.5", "delay: 9 s 2.5 s", True),
        ("delay_s: 2.5", "delay_s: 9", "delay: 2.5 s 9 s", False),
        ("minimum_interval_s: 5", "minimum_interval_s: 0", "minimum interval: 5 s 0 s", True),
        ("caveats: [NO-ONWARD]", "caveats: []", "caveats: NO-ONWARD none", True),
        ("caveats: []", "caveats: [NO-ONWARD]", "caveats: none NO-ONWARD", False),
        ("caveats: [NO-ONWARD]", "caveats: [EYES-ONLY]", "caveats: NO-ONWARD EYES-ONLY", True),
    ],
)
def test_other_terms_are_told_and_looser_ones_release_more(
    old: str, new: str, term: str, *, more: bool, small: Any, maker: Any
) -> None:
    impact = impact_of(small(f"{RELEASE}, {old}"), small(f"{RELEASE}, {new}"), statuses(maker))
    (row,) = impact.terms
    assert (f"{row.term}: {row.old} {row.new}", row.recipient, row.decisions) == (term, "USA", 6)
    assert (row.releases_more, impact.releases_more) == (more, more)
    assert impact.recipients[1].changes[Change.TERMS] == 6


def test_finer_and_coarser_are_told_apart_from_released_and_withheld(small: Any, maker: Any) -> None:
    coarse = small(RELEASE.replace("exact", "10s"))
    finer = impact_of(coarse, small(RELEASE), statuses(maker))
    assert {(row.path, row.change, row.old.label, row.new.label) for row in finer.fields} >= {
        ("header.observed_at", Change.FINER, "10km/10s", "exact")
    }
    assert finer.releases_more
    coarser = impact_of(small(RELEASE), coarse, statuses(maker))
    assert "header.observed_at" in {row.path for row in coarser.fields if row.change is Change.COARSER}
    assert not coarser.releases_more


def test_what_is_counted_does_not_depend_on_how_often_it_is_summed_up(
    small: Any, maker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = statuses(maker, 20)
    old, new = small(RELEASE), small(RELEASE, WIDER)
    at_once = impact_of(old, new, subjects)
    monkeypatch.setattr(limits, "IMPACT_KINDS_MAX", 1)
    assert of_report(impact_of(old, new, subjects)) == of_report(at_once)
    assert impact_of(old, new, subjects).coverage == at_once.coverage
