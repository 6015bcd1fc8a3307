"""Engines: from conditions to which of them hold for one message.

`Compiled` turns predicates into small functions once and evaluates nothing that is already known: for one recipient,
kind of body and mode most conditions are settled before any message comes. It is what decides.

`Evaluated` is Google's evaluator over the conditions' own text, all in one expression. It shares no code with the
first beyond the text, so that the two can be compared: in tests on random messages, and by whoever wants both in force.
Both are total: by the subset of `conditions` no evaluation raises. Should one raise all the same, `decide` denies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, assert_never

from broker.gateway.release.conditions import (
    All,
    AnyOf,
    Compare,
    Contains,
    Flag,
    Not,
    Predicate,
    Present,
    Term,
    Truth,
    environment,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vedette.v1.content_pb2 import Content
    from vedette.v1.envelope_pb2 import SecurityLabel

    Test = Callable[["Facts"], bool]

__all__ = ["Compiled", "Engine", "Evaluated", "Facts", "parts_of", "settle", "truth_of"]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a condition can speak of."""

    content: Content
    label: SecurityLabel
    precedence: int
    to: str
    body: str  # "" for a bare reference
    mode: int


class Engine(Protocol):
    """Says which of its conditions hold. Two engines made of the same conditions must always agree."""

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        """Return one answer for each condition, in their order."""


class Evaluated:
    """Google's evaluator, over all conditions as one list."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Compile conditions that `conditions.condition` has accepted."""
        self._expression = environment().compile("[" + ", ".join(f"({text}\n)" for text in texts) + "]")

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        """Return one answer for each condition, in their order."""
        data = {
            "content": facts.content,
            "label": facts.label,
            "precedence": facts.precedence,
            "to": facts.to,
            "body": facts.body,
            "mode": facts.mode,
        }
        found = self._expression.eval(data=data).plain_value()
        if not isinstance(found, list) or not all(isinstance(each, bool) for each in found):
            raise TypeError("CEL did not answer with a list of true and false")
        return tuple(bool(each) for each in found)


class Compiled:
    """Small functions, specialised to what is known beforehand."""

    def __init__(self, predicates: Sequence[Predicate]) -> None:
        """Take the conditions."""
        self._predicates = tuple(predicates)
        # At most recipients x bodies x modes of them, all from closed sets.
        self._special: dict[tuple[str, str, int], Callable[[Facts], tuple[bool, ...]]] = {}

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        """Return one answer for each condition, in their order."""
        key = (facts.to, facts.body, facts.mode)
        special = self._special.get(key)
        if special is None:
            special = self._special[key] = _specialise(self._predicates, *key)
        return special(facts)


def _specialise(predicates: Sequence[Predicate], to: str, body: str, mode: int) -> Callable[[Facts], tuple[bool, ...]]:
    known: dict[str, str | int] = {"to": to, "body": body, "mode": mode}
    settled = [settle(predicate, known) for predicate in predicates]
    answers = [each.value if isinstance(each, Truth) else False for each in settled]
    # Policies say the same of many groups: what is the same is asked once.
    places: dict[Predicate, list[int]] = {}
    for index, each in enumerate(settled):
        if not isinstance(each, Truth):
            places.setdefault(each, []).append(index)
    open_tests = [(_test(each), indices) for each, indices in places.items()]

    def matches(facts: Facts) -> tuple[bool, ...]:
        found = answers.copy()
        for test, indices in open_tests:
            if test(facts):
                for index in indices:
                    found[index] = True
        return tuple(found)

    return matches


def settle(predicate: Predicate, known: Mapping[str, str | int]) -> Predicate:  # noqa: PLR0911 - one for each kind
    """Return the same condition where `to`, `body` and `mode` have known values."""
    match predicate:
        case Compare(term=term, operator=operator, values=values):
            filled = tuple(known[each.root] if isinstance(each, Term) else each for each in values)
            if term.root in known:
                return Truth(_COMPARE[operator](known[term.root], filled))
            return Compare(term, operator, filled)
        case Contains(term=term, value=Term(root=root)):
            return Contains(term, str(known[root]))
        case Not(part=part):
            inner = settle(part, known)
            return Truth(not inner.value) if isinstance(inner, Truth) else Not(inner)
        case All(parts=parts):
            return _joined(parts, known, absorbing=False)
        case AnyOf(parts=parts):
            return _joined(parts, known, absorbing=True)
        case _:
            return predicate


def _joined(parts: Sequence[Predicate], known: Mapping[str, str | int], *, absorbing: bool) -> Predicate:
    settled = [settle(part, known) for part in parts]
    if any(isinstance(each, Truth) and each.value is absorbing for each in settled):
        return Truth(absorbing)
    still_open = tuple(each for each in settled if not isinstance(each, Truth))
    if not still_open:
        return Truth(not absorbing)
    if len(still_open) == 1:
        return still_open[0]
    return AnyOf(still_open) if absorbing else All(still_open)


def truth_of(predicate: Predicate, facts: Facts) -> bool:
    """Return whether one condition holds, or a part of one: for explanations."""
    known: dict[str, str | int] = {"to": facts.to, "body": facts.body, "mode": facts.mode}
    return _test(settle(predicate, known))(facts)


def parts_of(predicate: Predicate) -> Iterator[Predicate]:
    """Yield the comparisons that a condition is made of."""
    match predicate:
        case All(parts=parts) | AnyOf(parts=parts):
            for part in parts:
                yield from parts_of(part)
        case Not(part=part):
            yield from parts_of(part)
        case _:
            yield predicate


# Every comparison takes the value and the tuple of literals; all but `in` have exactly one.
_COMPARE: dict[str, Callable[[object, tuple[object, ...]], bool]] = {
    "==": lambda value, to: value == to[0],
    "!=": lambda value, to: value != to[0],
    "in": lambda value, to: value in to,
    "<": lambda value, to: value < to[0],  # type: ignore[operator] # CEL has checked that both are numbers
    "<=": lambda value, to: value <= to[0],  # type: ignore[operator]
    ">": lambda value, to: value > to[0],  # type: ignore[operator]
    ">=": lambda value, to: value >= to[0],  # type: ignore[operator]
}


def _test(predicate: Predicate) -> Test:  # noqa: PLR0911 - one for each kind
    match predicate:
        case Truth(value=value):
            return lambda _facts: value
        case Flag(term=term):
            return attrgetter(str(term))
        case Present(term=term):
            return _presence(term)
        case Compare(term=term, operator=operator, values=values):
            return _comparison(term, operator, values)
        case Contains(term=term, value=text):
            list_of, wanted = attrgetter(str(term)), text
            return lambda facts: wanted in list_of(facts)
        case Not(part=part):
            inner = _test(part)
            return lambda facts: not inner(facts)
        case All(parts=parts):
            return reduce(_both, [_test(part) for part in parts])
        case AnyOf(parts=parts):
            return reduce(_either, [_test(part) for part in parts])
        case _:
            assert_never(predicate)


def _both(first: Test, second: Test) -> Test:
    return lambda facts: first(facts) and second(facts)


def _either(first: Test, second: Test) -> Test:
    return lambda facts: first(facts) or second(facts)


def _comparison(term: Term, operator: str, values: tuple[object, ...]) -> Test:
    get = attrgetter(str(term))
    if operator == "in":
        return lambda facts: get(facts) in values
    (wanted,) = values
    match operator:
        case "==":
            return lambda facts: get(facts) == wanted
        case "!=":
            return lambda facts: get(facts) != wanted
        case _:
            compare = _COMPARE[operator]
            return lambda facts: compare(get(facts), values)


def _presence(term: Term) -> Test:
    field = term.field
    if field is not None and field.has_presence:
        above, name = attrgetter(".".join((term.root, *term.path[:-1]))), field.name
        return lambda facts: above(facts).HasField(name)
    value_of = attrgetter(str(term))
    return lambda facts: bool(value_of(facts))  # a list that is not empty, a value that is not the default
