"""Spoilt policies and conditions by the thousand: refused with a place and a reason, or sound and decidable."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from broker.demo.world import shipped_policy
from broker.gateway.release import Policy, PolicyError
from broker.gateway.release.conditions import ConditionError, condition, written
from broker.gateway.release.decide import Decider, both_engines
from broker.gateway.release.engine import Compared, Compiled, Evaluated, Facts
from tests.broker.gateway.release.generate import random_condition, random_subject
from tests.broker.gateway.release.spoil import is_sound, spoil_bytes, spoil_condition, spoil_structure, spoil_text

if TYPE_CHECKING:
    from collections.abc import Callable

FUZZ_S = 600  # of the long run, in two halves: documents and conditions
SHIPPED = {nation: shipped_policy(nation) for nation in ("KOR", "USA", "JPN")}
FIELDS = ("nation", "version", "digest", "effective_ns", "expires_ns", "recipients", "groups", "rules")
MESSAGES = 3


def spoilt(rng: random.Random) -> bytes:
    """Return a shipped policy after a few changes."""
    data = SHIPPED[rng.choice(sorted(SHIPPED))].encode()
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        match rng.randrange(4):
            case 0:
                data = spoil_bytes(rng, data)
            case 1:
                data = spoil_text(rng, data.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
            case 2:
                data = spoil_when(rng, data.decode("utf-8", "replace")).encode()
            case _:
                # What was spoilt before may have no tree any more.
                with contextlib.suppress(yaml.YAMLError, ValueError, AttributeError, TypeError, IndexError):
                    data = spoil_structure(rng, data.decode()).encode()
    return data


def spoil_when(rng: random.Random, text: str) -> str:
    """Change the condition of some rule."""
    lines = text.split("\n")
    places = [place for place, line in enumerate(lines) if line.startswith("  when: '")]
    if places:
        place = rng.choice(places)
        when = lines[place].removeprefix("  when: '").removesuffix("'").replace("''", "'")
        lines[place] = "  when: '" + spoil_condition(rng, when).replace("'", "''").replace("\n", " ") + "'"
    return "\n".join(lines)


def fuzz_document(rng: random.Random) -> bool:
    """Read a spoilt document as a gateway does; return whether it was accepted."""
    data = spoilt(rng)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")  # a gateway refuses this itself; the loader must not crash
    try:
        policy = Policy.parse(text)
    except PolicyError as error:
        assert error.line >= 1  # noqa: PT017 - either outcome is right
        assert error.column >= 1  # noqa: PT017
        assert error.reason  # noqa: PT017
        return False
    assert is_sound(text, reader=rng.choice((yaml.SafeLoader, *[yaml.CSafeLoader] * 4))) == "", text
    again = Policy.parse(text)
    assert all(getattr(policy, name) == getattr(again, name) for name in FIELDS)
    assert all(rule.to <= set(policy.recipients) for rule in policy.rules)
    decider = Decider(policy, both_engines)
    decider.warm()
    for _ in range(MESSAGES):
        subject = random_subject(rng, policy)
        for recipient in policy.recipients:
            assert decider.decide(subject, recipient).fault == "", text
    return True


def fuzz_condition(rng: random.Random) -> bool:
    """Read a spoilt condition; return whether it was accepted. What is accepted, both engines read alike."""
    text = random_condition(rng)
    for _ in range(rng.choice((0, 1, 1, 2))):
        text = spoil_condition(rng, text)
    try:
        predicate = condition(text)
    except ConditionError as error:
        assert error.at >= 1  # noqa: PT017 - either outcome is right
        assert error.reason  # noqa: PT017
        return False
    back = written(predicate)
    engine = Compared(Compiled([predicate, predicate]), Evaluated([text, back]))
    for _ in range(MESSAGES):
        subject = random_subject(rng)
        body, mode = subject.content.WhichOneof("body") or "", subject.content.header.mode
        one, other = engine.matches(Facts(subject.content, subject.label, subject.precedence, "JPN", body, mode))
        assert one == other
    return True


def run(fuzz: Callable[[random.Random], bool], *, examples: int, begin: int = 0) -> tuple[int, int]:
    """Try so many spoilt things; return how many were accepted, and how many refused."""
    counts = [0, 0]

    @seed(begin)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64).map(random.Random))
    def once(rng: random.Random) -> None:
        counts[0 if fuzz(rng) else 1] += 1

    once()
    return counts[0], counts[1]


@pytest.mark.parametrize(("fuzz", "examples"), [(fuzz_document, 60), (fuzz_condition, 300)])
def test_what_is_spoilt_is_refused_or_sound(fuzz: Callable[[random.Random], bool], examples: int) -> None:
    accepted, refused = run(fuzz, examples=examples)
    assert accepted > examples / 10
    assert refused > examples / 10


@pytest.mark.slow
@pytest.mark.timeout(FUZZ_S + 300)
@pytest.mark.parametrize("fuzz", [fuzz_document, fuzz_condition])
def test_what_is_spoilt_is_refused_or_sound_for_minutes(fuzz: Callable[[random.Random], bool]) -> None:
    deadline_s = time.monotonic() + FUZZ_S / 2
    round_number = tried = 0
    while time.monotonic() < deadline_s:
        round_number += 1
        tried += sum(run(fuzz, examples=1000, begin=round_number))
        print(f"\n{fuzz.__name__}: {tried} tried", file=sys.__stderr__, flush=True)
    assert tried >= 1000
