from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.gateway.proof.model import Model, spaces_of
from broker.gateway.proof.solver import Budget, Solver
from broker.gateway.proof.witness import message_of
from broker.gateway.release import Level, decider_of
from broker.gateway.release.decide import Decider
from broker.gateway.release.engine import Evaluated
from tests.broker.gateway.proof.drawn import as_example, policy_of, random_policy, seeded, valid_subject

if TYPE_CHECKING:
    from broker.gateway.proof.model import Case
    from broker.gateway.proof.solver import Example
    from broker.gateway.release import Decision

MESSAGES_A_POLICY = 100
POLICIES = {False: 10, True: 200}  # 1,000 messages after every commit, 20,000 in make test-all


def _agrees(case: Case, example: Example, decision: Decision) -> None:
    policy = case.model.policy
    assert all(example.holds(each) for each in case.space.domain), "a valid message outside the domain"
    assert example.holds(case.is_released) is decision.released
    if example.holds(case.is_open):
        for group in policy.groups:
            levels = [level for level in Level if level and example.holds(case.group_at_least(group, level))]
            assert max(levels, default=Level.WITHHELD) == decision.levels[group]
    for rungs, paths in case.alike().items():
        level = case.level_in(example, rungs)
        assert {decision.shown.levels.get(path, Level.WITHHELD) for path in paths} == {level}
    if decision.released:
        assert case.delay_in(example) == decision.delay_s
        assert case.interval_in(example) == decision.minimum_interval_s
        assert case.added_in(example) == decision.caveats


@pytest.mark.parametrize("is_long", [False, pytest.param(True, marks=(pytest.mark.slow, pytest.mark.timeout(1200)))])
def test_the_model_the_compiled_rules_and_googles_evaluator_decide_alike(is_long: bool) -> None:  # noqa: FBT001
    tried = released = 0
    for seed in range(POLICIES[is_long]):
        rng = seeded(f"{seed} {is_long}")
        policy = random_policy(rng)
        model = Model(policy, spaces_of([policy]))
        other = Decider(policy, lambda rules: Evaluated([rule.when for rule in rules]))
        for _ in range(MESSAGES_A_POLICY):
            subject = valid_subject(rng, policy)
            recipient = rng.choice(policy.recipients)
            decision = decider_of(policy).decide(subject, recipient)
            assert other.decide(subject, recipient) == decision
            case = model.case(recipient, subject.content.WhichOneof("body") or "")
            _agrees(case, as_example(case.space, subject), decision)
            tried += 1
            released += decision.released
    assert tried == POLICIES[is_long] * MESSAGES_A_POLICY
    assert released > tried // 20  # agreeing on denials alone would say little


@pytest.mark.parametrize(
    ("when", "is_possible"),
    [
        ("content.launch.count.most > 3u && content.launch.count.most < 5u", True),  # 4
        ("content.launch.count.most > 3u && content.launch.count.most < 4u", False),  # no whole number between
        ("content.launch.count.least > 5u && content.launch.count.most < 4u", False),  # least <= most
        ("content.launch.count.most > 1000u", False),  # beyond the bounds
        ("has(content.launch.count) && content.launch.count.least == 0u", False),  # needed where there is a count
        ("content.launch.confidence > 0.1 && content.launch.confidence < 0.10000000000000002", False),  # next doubles
        ("content.launch.confidence > 0.1 && content.launch.confidence < 0.10000000000000003", True),  # one between
        ("content.launch.confidence > 0.0 && !has(content.launch.confidence)", False),
        ("content.launch.source.kind != SensorKind.SENSOR_KIND_UNSPECIFIED && !has(content.launch.source)", False),
        ("has(content.launch.launch_area.ellipse) && has(content.launch.launch_area.polygon)", False),  # one shape
        ("has(content.launch.launch_area.ellipse) && !has(content.launch.launch_area.ellipse.centre)", False),
        ("has(content.launch.launch_area.ellipse) && content.launch.launch_area.ellipse.probability < 0.5", True),
        ("content.track.phase == Phase.PHASE_BOOST", False),  # of a launch
        ("has(content.track)", False),
        ('content.header.origin != "KOR"', False),  # intake writes it
        ("mode == Mode.MODE_UNSPECIFIED", False),
        ("mode == Mode.MODE_EXERCISE && !has(content.header.exercise)", False),
        ("mode == Mode.MODE_REAL_WORLD && has(content.header.exercise)", False),
        ("precedence == Precedence.PRECEDENCE_UNSPECIFIED", False),
        ('"noforn" in label.caveats', False),  # no such caveat passes intake
        ('"NOFORN" in label.caveats', True),
        ('label.policy == ""', False),
        ('label.policy != "KOR"', True),
        ("!has(label.releasable_to)", True),
        ('"JPN" in content.impact.nations_affected', False),
        ('body == "launch" && to == "USA"', False),  # asked for JPN
        ("content.launch.azimuth_deg < 0.0 || content.launch.azimuth_deg > 360.0", False),
    ],
)
def test_the_domain_is_exactly_the_valid_launches(when: str, is_possible: bool) -> None:  # noqa: FBT001
    policy = policy_of(f"id: R, effect: deny, to: [JPN], when: '{when}', reason: r")
    case = Model(policy, spaces_of([policy])).case("JPN", "launch")
    formula = case.space.formula(policy.rules[0].predicate, "JPN")
    example = Solver(case.space.domain, Budget()).example(formula)
    assert (example is not None) is is_possible
    if example is not None:
        subject = message_of(case.space, example)  # is valid, and answers as the example does
        assert decider_of(policy).matching(subject, "JPN", "launch") == (True,)
