"""The generators themselves: what they make is valid, and meets both sides of every condition."""

from __future__ import annotations

import random

from broker.content import check_content
from broker.gateway.release import Policy
from broker.gateway.release.engine import Compiled, Facts
from broker.leaves import BODIES_UNDER_POLICY
from tests.broker.gateway.release.generate import RECIPIENTS, random_policy_text, random_subject

POLICIES, MESSAGES = 15, 40


def test_every_message_is_valid_every_policy_is_read_and_conditions_match_about_as_often_as_not() -> None:
    rng = random.Random(1)  # noqa: S311 - the same for the same seed
    bodies: set[str] = set()
    answers: list[bool] = []
    for _ in range(POLICIES):
        policy = Policy.parse(random_policy_text(rng, rules=20))
        assert len(policy.rules) == 20
        assert not policy.unplaced()
        engine = Compiled([rule.predicate for rule in policy.rules])
        for _ in range(MESSAGES):
            subject = random_subject(rng, policy)
            check_content(subject.content, incoming=True)
            body, mode = str(subject.content.WhichOneof("body")), subject.content.header.mode
            bodies.add(body)
            to = rng.choice(RECIPIENTS)
            answers += engine.matches(Facts(subject.content, subject.label, subject.precedence, to, body, mode))
    assert bodies == set(BODIES_UNDER_POLICY)
    assert 0.3 < sum(answers) / len(answers) < 0.7


def test_the_same_seed_makes_the_same() -> None:
    one, other = random.Random(7), random.Random(7)  # noqa: S311 - the same for the same seed
    text = random_policy_text(one, rules=5)
    assert random_policy_text(other, rules=5) == text
    policy = Policy.parse(text)
    assert random_subject(one, policy) == random_subject(other, Policy.parse(text))


def test_a_policy_may_have_no_rules_and_other_recipients() -> None:
    rng = random.Random(3)  # noqa: S311 - the same for the same seed
    assert Policy.parse(random_policy_text(rng, rules=0)).rules == ()
    assert Policy.parse(random_policy_text(rng, rules=3, recipients=("self", "AUS"))).recipients == ("self", "AUS")
