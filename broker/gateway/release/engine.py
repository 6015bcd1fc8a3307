"""Engines: from conditions to which of them hold for one message.

`Compiled` turns the checked tree into Python once and evaluates nothing that is already known: for one recipient and
kind of body most conditions are settled before any message comes.

`Evaluated` is Google's evaluator over the conditions' own text. It shares no code with the first beyond that text.

`Compared` asks both. It is what decides in a gateway: where they do not agree, nobody knows what the policy means, and
`decide` denies. Tools that decide on millions of messages take one of them.
All are total: by the subset of `conditions` no evaluation raises. Should one raise all the same, `decide` denies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from cel_expr_python import cel

from broker import limits
from broker.gateway.release.conditions import (
    All,
    AnyOf,
    Compare,
    Contains,
    Not,
    Predicate,
    Term,
    Truth,
    environment,
)
from broker.gateway.release.generated import function_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vedette.v1.content_pb2 import Content
    from vedette.v1.envelope_pb2 import SecurityLabel

T = TypeVar("T")

__all__ = ["Compared", "Compiled", "Engine", "EnginesDisagree", "Evaluated", "Facts", "parts_of", "settle", "truth_of"]


class Facts(NamedTuple):
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


class EnginesDisagree(Exception):  # noqa: N818 - what happened
    """Two engines read the same conditions differently; `places` are those of the conditions."""

    def __init__(self, places: Sequence[int]) -> None:
        """Say which."""
        super().__init__(", ".join(map(str, places)))
        self.places = tuple(places)


class Compared:
    """Two engines over the same conditions, neither of which is believed alone."""

    def __init__(self, one: Engine, other: Engine) -> None:
        """Take the engines."""
        self._one, self._other = one, other

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        """Return one answer for each condition, in their order. Raises EnginesDisagree, or what either raises."""
        answers, others = self._one.matches(facts), self._other.matches(facts)
        if answers != others:
            count = max(len(answers), len(others))
            raise EnginesDisagree(
                [place for place in range(count) if answers[place : place + 1] != others[place : place + 1]]
            )
        return answers


class Compiled:
    """One generated function for each recipient and kind of body: specialised to what is known beforehand."""

    def __init__(self, predicates: Sequence[Predicate]) -> None:
        """Take the conditions."""
        self._predicates = tuple(predicates)
        # At most recipients x bodies of them, all from closed sets.
        self._special: dict[tuple[str, str], Callable[[Facts], tuple[bool, ...]]] = {}

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        """Return one answer for each condition, in their order."""
        key = (facts.to, facts.body)
        special = self._special.get(key)
        if special is None:
            special = self._special[key] = self._specialise(*key)
        return special(facts)

    def _specialise(self, to: str, body: str) -> Callable[[Facts], tuple[bool, ...]]:
        known: dict[str, str | int] = {"to": to, "body": body}
        return function_of([settle(predicate, known) for predicate in self._predicates])


class Evaluated:
    """Google's evaluator over the conditions' own text.

    It is asked once for each recipient and kind of body with nothing of the message: what it answers then, it answers
    for every message (to CEL `false && …` is false whatever stands there), and only the rest is asked per message, as
    one list.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Take conditions that `conditions.condition` has accepted."""
        self._texts = tuple(texts)
        self._special: dict[tuple[str, str], _Evaluation] = {}  # at most recipients x bodies of them

    def matches(self, facts: Facts) -> tuple[bool, ...]:
        """Return one answer for each condition, in their order. Raises where CEL does not answer."""
        key = (facts.to, facts.body)
        special = self._special.get(key)
        if special is None:
            special = self._special[key] = _evaluation(self._texts, *key)
        return special.answers(facts)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """What CEL is still to be asked, and which of its answers, or of those it gave beforehand, are those asked for."""

    open_parts: tuple[cel.Expression, ...]
    names: tuple[str, ...]  # of the variables that the open conditions mention
    values: Callable[[Facts], tuple[object, ...]]  # of these variables
    counts: tuple[int, ...]  # of the conditions in each part
    chosen: Callable[[list[bool]], tuple[bool, ...]]  # among the answers of all parts, then false, then true

    def answers(self, facts: Facts) -> tuple[bool, ...]:
        data = dict(zip(self.names, self.values(facts), strict=True))
        answers: list[bool] = []
        for expression, count in zip(self.open_parts, self.counts, strict=True):
            found = expression.eval(data=data).plain_value()
            if not isinstance(found, list) or len(found) != count:
                raise TypeError("CEL did not answer each condition")
            answers += found
        answers += (False, True)
        return self.chosen(answers)


def _evaluation(texts: Sequence[str], to: str, body: str) -> _Evaluation:
    known = {text: _answer_to_nothing(text, to, body) for text in texts}  # what is the same is asked once
    still_open = [text for text, answer in known.items() if answer is None]
    portions = [
        still_open[start : start + limits.CONDITIONS_AT_ONCE_MAX]
        for start in range(0, len(still_open), limits.CONDITIONS_AT_ONCE_MAX)
    ]
    at = {text: place for place, text in enumerate(still_open)}
    at |= {text: len(still_open) + answer for text, answer in known.items() if answer is not None}
    counts = tuple(len(portion) for portion in portions)
    # A variable whose name stands nowhere in a condition is not looked at.
    names = [name for name in Facts._fields if any(re.search(rf"\b{name}\b", text) for text in still_open)]
    return _Evaluation(
        tuple(map(_together, portions)),
        tuple(names),
        _chooser([Facts._fields.index(name) for name in names]),
        counts,
        _chooser([at[text] for text in texts]),
    )


def _chooser(places: Sequence[int]) -> Callable[[Sequence[T]], tuple[T, ...]]:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda found: tuple(found[place] for place in places)


def _answer_to_nothing(text: str, to: str, body: str) -> bool | None:
    found = _compiled(text).eval(data={"to": to, "body": body})
    return found.plain_value() is True if found.type() == cel.Type.BOOL else None


def _together(texts: Sequence[str]) -> cel.Expression:
    expression = _compiled("[" + ", ".join(f"({text}\n)" for text in texts) + "]")
    if expression.return_type() != cel.Type.List(cel.Type.BOOL):
        raise TypeError("not a list of conditions")
    return expression


@lru_cache(maxsize=limits.CONDITIONS_COMPILED_MAX)
def _compiled(text: str) -> cel.Expression:
    return environment().compile(text)


def settle(predicate: Predicate, known: Mapping[str, str | int]) -> Predicate:  # noqa: PLR0911 - one for each kind
    """Return the same condition where `to` and `body` have known values, and `mode` too if it is among them."""
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
    return function_of([settle(predicate, known)])(facts)[0]


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
