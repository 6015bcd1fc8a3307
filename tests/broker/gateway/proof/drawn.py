"""Random invariants beside the random policies and messages of `tests.broker.gateway.release.generate`."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import z3

from broker.gateway.intake import check_label
from broker.gateway.proof.solver import Example
from broker.gateway.release import Policy
from broker.invariants import Invariants
from broker.leaves import LEAVES, SCHEMA_DIGEST
from tests.broker.gateway.release.generate import (
    NATION,
    RECIPIENTS,
    random_condition,
    random_policy_text,
    random_subject,
)
from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from broker.gateway.proof.space import Space
    from broker.gateway.release import Subject

__all__ = [
    "KOR",
    "KOR_TEXT",
    "as_example",
    "edited",
    "policy_of",
    "random_invariants",
    "random_policy",
    "seeded",
    "valid_subject",
]

EVERY_LEAF = f"all: [{', '.join(LEAVES)}]"
KOR_TEXT = (Path(__file__).parents[4] / "nations" / "kor" / "release.yaml").read_text()
KOR = Policy.parse(KOR_TEXT)


def seeded(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311 - the same messages for the same number


def edited(*edits: tuple[str, str]) -> Policy:
    """Return the shipped policy of Korea with these edits, each of which must change something."""
    text = KOR_TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return Policy.parse(text)


def policy_of(*rules: str, groups: str = "") -> Policy:
    """Return a policy of these rules; all leaves are in one group, if no others are named."""
    return Policy.parse(
        f"format: vedette-release/v1\nnation: {NATION}\nversion: 1\neffective: 2026-01-01T00:00:00Z\n"
        f"expires: 2028-01-01T00:00:00Z\nschema: {SCHEMA_DIGEST}\nrecipients: [{', '.join(RECIPIENTS)}]\n"
        f"groups: {{{groups or EVERY_LEAF}}}\nrules:\n" + "\n".join(f"- {{{rule}}}" for rule in rules) + "\n"
    )


def valid_subject(rng: random.Random, policy: Policy) -> Subject:
    """Return a message that intake would take, but for a label without classification: the release refuses that too."""
    subject = random_subject(rng, policy)
    label = subject.label
    for texts in (label.releasable_to, label.caveats):
        texts[:] = [each for each in texts if each.isascii() and re.fullmatch("[A-Z0-9-]{3,8}", each)]
    label.policy = label.policy if re.fullmatch("[A-Z]{3}", label.policy) else "KOR"
    checked = envelope_pb2.SecurityLabel()
    checked.CopyFrom(label)
    checked.classification = label.classification or envelope_pb2.CLASSIFICATION_SECRET
    check_label(subject.precedence, checked)
    return subject


def random_policy(rng: random.Random) -> Policy:
    return Policy.parse(random_policy_text(rng, rules=rng.randint(1, 30)))


def random_invariants(rng: random.Random, count: int = 6) -> Invariants:
    lines = [
        "format: vedette-invariants/v1",
        f"nation: {NATION}",
        "version: 1",
        f"schema: {SCHEMA_DIGEST}",
        "invariants:",
        *(_invariant(rng, number) for number in range(count)),
    ]
    return Invariants.parse("\n".join(lines) + "\n")


def _invariant(rng: random.Random, number: int) -> str:
    to = ", ".join(rng.sample(RECIPIENTS, rng.randint(1, 3)))
    parts = [f"id: I-{number}", f"to: [{to}]", "reason: r"]
    if rng.random() < 0.7:
        condition = random_condition(rng).replace("'", "''")
        parts.append(f"when: '{condition}'")
    match rng.choices(("never", "everything", "delay", "interval", "caveats"), (6, 1, 1, 1, 1))[0]:
        case "never":
            parts.append(f"never: [{', '.join(rng.sample(list(LEAVES), rng.randint(1, 4)))}]")
            parts += [f"finer_than: {rng.choice(('50km', '10km', '1km'))}"] if rng.random() < 0.5 else []
        case "everything":
            parts.append("never: everything")
        case "delay":
            parts.append("delay_s: 2")
        case "interval":
            parts.append("minimum_interval_s: 5")
        case _:
            parts.append("caveats: [NO-ONWARD]")
    return "- {" + ", ".join(parts) + "}"


def as_example(space: Space, subject: Subject) -> Example:
    """Return the one example that answers every question as the message does. Raises NotModelled outside the domain."""
    solver = z3.SimpleSolver()
    solver.add(*(formula if answer else z3.Not(formula) for formula, answer in space.answers(subject)))
    assert solver.check() == z3.sat
    return Example(solver.model())
