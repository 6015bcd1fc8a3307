"""Two engines that share nothing but the text of the conditions, on random messages under random policies."""

from __future__ import annotations

import random
import sys

import pytest

from broker.gateway.release import Policy
from broker.gateway.release.conditions import written
from broker.gateway.release.engine import Compiled, Evaluated, Facts
from tests.broker.gateway.release.generate import random_policy_text, random_subject

MESSAGES_PER_POLICY = 500
RULES = 12
SHARES = 4  # of the long run, so that two processors share it
SHARE = 250_000


def engines_agree(seed: int, messages: int) -> float:
    """Compare both engines on so many messages; return how many conditions of all matched."""
    rng = random.Random(seed)  # noqa: S311 - the same messages for the same number
    asked = matched = 0
    for begun in range(0, messages, MESSAGES_PER_POLICY):
        policy = Policy.parse(random_policy_text(rng, rules=RULES))
        texts = [rule.when for rule in policy.rules]
        compiled, evaluated = Compiled([rule.predicate for rule in policy.rules]), Evaluated(texts)
        for number in range(MESSAGES_PER_POLICY):
            subject = random_subject(rng, policy)
            body, mode = subject.content.WhichOneof("body") or "", subject.content.header.mode
            to = policy.recipients[number % len(policy.recipients)]
            facts = Facts(subject.content, subject.label, subject.precedence, to, body, mode)
            one, other = compiled.matches(facts), evaluated.matches(facts)
            if one != other:
                torn = [rule for rule, mine, its in zip(policy.rules, one, other, strict=True) if mine is not its]
                pytest.fail(f"seed {seed}: {[(rule.when, written(rule.predicate)) for rule in torn]} on {facts}")
            asked += len(one)
            matched += sum(one)
        if (begun + MESSAGES_PER_POLICY) % (SHARE // 5) == 0:
            print(f"\nengines agree on {begun + MESSAGES_PER_POLICY} of {messages}", file=sys.__stderr__, flush=True)
    return matched / asked


def test_both_engines_agree_on_20_000_random_messages() -> None:
    assert 0.3 < engines_agree(1, 20_000) < 0.7, "conditions match about as often as they do not"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", range(SHARES))
def test_both_engines_agree_on_a_million_random_messages(share: int) -> None:
    assert 0.3 < engines_agree(100 + share, SHARE) < 0.7
