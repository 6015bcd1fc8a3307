"""Random valid messages and random policies, plain and fast: a million of them in minutes, the same for the same seed.

    rng = random.Random(1)
    policy = Policy.parse(random_policy_text(rng, rules=30))
    subject = random_subject(rng, policy)

With a policy, the fields that its conditions look at often get the very values that they are compared with, or the next
ones (one more, one less, the next double), so that conditions match and miss about equally and every edge is met. What
is made passes `check_content`; `test_generate` holds it to that.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from broker.gateway.release import Policy, Subject
from broker.gateway.release.conditions import Compare, Contains, Present, Term
from broker.gateway.release.engine import parts_of
from broker.leaves import BODIES_UNDER_POLICY
from tests.broker.gateway.release.generate_content import (
    NATION,
    TEXTS,
    bounds_of,
    is_choice,
    is_needed,
    mend,
    random_content,
)
from tests.broker.gateway.release.generate_policy import CAVEATS, RECIPIENTS, random_condition, random_policy_text
from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from google.protobuf.descriptor import FieldDescriptor

    from vedette.v1 import options_pb2

    Change = Callable[[random.Random, Any], None]

__all__ = [
    "NATION",
    "RECIPIENTS",
    "random_condition",
    "random_content",
    "random_label",
    "random_policy_text",
    "random_subject",
]

CLASSIFICATIONS: Final = tuple(envelope_pb2.Classification.values())
PRECEDENCES: Final = tuple(number for number in envelope_pb2.Precedence.values() if number)


def random_subject(rng: random.Random, policy: Policy | None = None) -> Subject:
    """Return a message as intake hands it to `decide`; with a policy, one that its conditions just match or miss."""
    seen = _seen_by(policy) if policy is not None else None
    content = random_content(rng, rng.choice(seen.bodies) if seen is not None else None)
    label = random_label(rng, policy.recipients if policy is not None else RECIPIENTS)
    if seen is not None:
        for message, changes in ((content, seen.changes["content"]), (label, seen.changes["label"])):
            for above, change in changes:
                target = _below(message, above)
                if target is not None and rng.random() < 0.7:
                    change(rng, target)
        mend(content)
    return Subject(content, label, rng.choice(PRECEDENCES))


def random_label(rng: random.Random, recipients: Sequence[str] = RECIPIENTS) -> envelope_pb2.SecurityLabel:
    """Return a label that mostly lets rules decide; now and then unlabelled, for nobody, or with an unknown caveat."""
    nations = sorted({NATION, *recipients} - {"self"})
    listed = nations if rng.random() < 0.7 else [each for each in nations if rng.random() < 0.5]
    caveats = [each for each in (*CAVEATS, "UNKNOWN") if rng.random() < (0.3 if each != "UNKNOWN" else 0.03)]
    return envelope_pb2.SecurityLabel(
        policy=NATION,
        classification=rng.choice(CLASSIFICATIONS) if rng.random() < 0.2 else rng.choice(CLASSIFICATIONS[1:]),
        releasable_to=listed,
        caveats=sorted(caveats),
        originator_controlled=rng.random() < 0.5,
    )


# --- the values that a policy looks at --------------------------------------------------------------------------------


class _Seen:
    """What the conditions of one policy look at, as changes that may be made to a message."""

    def __init__(self, policy: Policy) -> None:
        self.bodies: list[str] = []
        self.changes: dict[str, list[tuple[tuple[str, ...], Change]]] = {"content": [], "label": []}
        values: dict[Term, set[Any]] = {}
        for part in (part for rule in policy.rules for part in parts_of(rule.predicate)):
            match part:
                case Compare(term=term, values=against):
                    values.setdefault(term, set()).update(each for each in against if not isinstance(each, Term))
                    self.bodies += [
                        str(each) for each in against if term.root == "body" and each in BODIES_UNDER_POLICY
                    ]
                case Contains(term=term, value=str() as text):
                    values.setdefault(term, set()).add(text)
                case Present(term=term) | Contains(term=term):
                    values.setdefault(term, set())
                case _:
                    pass
        for term, literals in values.items():
            self.bodies += [term.path[0]] if term.path and term.path[0] in BODIES_UNDER_POLICY else []
            change = _change(term, literals) if term.path else None
            if change is not None and term.path != ("header", "mode"):
                self.changes[term.root].append((term.path[:-1], change))
        self.bodies += BODIES_UNDER_POLICY


@lru_cache(maxsize=256)
def _seen_by(policy: Policy) -> _Seen:
    return _Seen(policy)


def _below(message: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not message.HasField(name):
            return None
        message = getattr(message, name)
    return message


def _change(term: Term, literals: set[Any]) -> Change | None:
    """Return what may be done to one field, within its bounds; None where nothing may."""
    field = term.field
    if field is None or field.message_type is not None or is_choice(field) or field.type == field.TYPE_BYTES:
        return None
    name, bounds = field.name, bounds_of(field)
    values = [each for each in _near(term.kind, literals, field) if _fits(each, field, bounds)]
    if field.is_repeated:
        if term.kind != "repeated string":
            return None

        def listed(rng: random.Random, message: Any) -> None:
            getattr(message, name)[:] = sorted({each for each in values if rng.random() < 0.5})

        return listed
    may_clear = not is_needed(field) and name != "origin"
    if name == "origin":
        return None

    def single(rng: random.Random, message: Any) -> None:
        if values and (not may_clear or rng.random() < 0.8):
            setattr(message, name, rng.choice(values))
        elif may_clear:
            message.ClearField(name)

    return single


def _near(kind: str, literals: set[Any], field: FieldDescriptor) -> list[Any]:
    """Return the literals and what stands next to them."""
    if kind == "double":
        return [
            each
            for literal in literals
            for each in (literal, math.nextafter(literal, math.inf), math.nextafter(literal, -math.inf))
        ]
    if kind in {"int", "uint"}:
        return [each for literal in literals for each in (literal, literal + 1, literal - 1)]
    if "." in kind and field.enum_type is not None:
        return [number for number in field.enum_type.values_by_number if {number - 1, number, number + 1} & literals]
    if kind == "bool":
        return [False, True]
    return [*literals, *TEXTS.get(bounds_of(field).pattern, ()), *RECIPIENTS[1:]]


def _fits(value: Any, field: FieldDescriptor, bounds: options_pb2.Bounds) -> bool:
    if isinstance(value, str):
        short = len(value.encode()) <= (bounds.bytes_most or 64)
        return short and (not bounds.pattern or re.fullmatch(bounds.pattern, value, re.ASCII) is not None)
    if field.enum_type is not None:
        return bool(value) or not bounds.required
    if isinstance(value, bool):
        return True
    least = bounds.least if bounds.HasField("least") else 0
    most = bounds.most if bounds.HasField("most") else 2**31
    return bool(least <= value <= most)
