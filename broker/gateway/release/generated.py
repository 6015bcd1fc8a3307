"""Conditions as one Python function, generated from the checked tree and from nothing else.

For one recipient and kind of body, all conditions become one function that fetches each message and list once and
answers with one tuple:

    def matches(facts):
        v0 = facts.content
        v1 = v0.track
        v2 = v1.source
        return (True, v2.kind == 5, False, not (v1.confidence >= 0.5),)

It is twice as fast as functions nested in each other, and it is read as easily (`tests/…/test_generated.py` holds the
text to what it was). What stands in it comes from three closed sets: names of fields, which the descriptors gave and
which must look like names; literals, written by `repr`, of four types and finite; and the operators below. No text of
a policy is ever part of it but inside a literal. It runs without any builtin.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from keyword import iskeyword
from typing import TYPE_CHECKING, Final, assert_never, cast

from broker.gateway.release.conditions import All, AnyOf, Compare, Contains, Flag, Not, Predicate, Present, Term, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.gateway.release.engine import Facts

__all__ = ["function_of", "source_of"]

NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
OPERATORS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})


def function_of(predicates: Sequence[Predicate]) -> Callable[[Facts], tuple[bool, ...]]:
    """Return the function that answers all of them, in their order. They must be settled: no `to` or `body` in them."""
    names: dict[str, object] = {"__builtins__": {}}
    exec(compile(source_of(predicates), "<release rules>", "exec"), names)  # noqa: S102 - see the module
    return cast("Callable[[Facts], tuple[bool, ...]]", names["matches"])


def source_of(predicates: Sequence[Predicate]) -> str:
    """Return the text of that function. Raises ValueError for anything that is no part of a checked condition."""
    writer, counts = _Writer(), Counter(predicates)
    # Policies say the same of many groups: what is the same is asked once.
    answers = [writer.kept(each) if counts[each] > 1 else writer.expression(each) for each in predicates]
    lines = ["def matches(facts):", *writer.lines, f"return ({', '.join([*answers, ''])})".replace("(, )", "()")]
    return "\n    ".join(lines).rstrip() + "\n"


class _Writer:
    """Writes expressions, and the lines before them that fetch what they share."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._fetched: dict[tuple[str, ...], str] = {}
        self._answered: dict[Predicate, str] = {}

    def kept(self, predicate: Predicate) -> str:
        """Return what holds the answer, found before."""
        if isinstance(predicate, Truth):
            return self.expression(predicate)
        if predicate not in self._answered:
            self._answered[predicate] = self._keep(self.expression(predicate))
        return self._answered[predicate]

    def expression(self, predicate: Predicate) -> str:  # noqa: C901, PLR0911 - one for each kind
        match predicate:
            case Truth(value=value):
                return _literal(value)
            case Flag(term=term):
                return self._value(term)
            case Present(term=term):
                return self._presence(term)
            case Compare(term=term, operator="in", values=values):
                return f"{self._value(term)} in ({''.join(f'{_literal(value)}, ' for value in values)})"
            case Compare(term=term, operator=operator, values=(value,)) if operator in OPERATORS:
                return f"{self._value(term)} {operator} {_literal(value)}"
            case Compare():
                raise ValueError("not a comparison")
            case Contains(term=term, value=value):
                return f"{_literal(value)} in {self._fetch((term.root, *term.path), listed=True)}"
            case Not(part=part):
                return f"not ({self.expression(part)})"
            case All(parts=parts):
                return " and ".join(f"({self.expression(part)})" for part in parts)
            case AnyOf(parts=parts):
                return " or ".join(f"({self.expression(part)})" for part in parts)
            case _:
                assert_never(predicate)

    def _presence(self, term: Term) -> str:
        if term.field is not None and term.field.has_presence:
            return f"{self._fetch((term.root, *term.path[:-1]))}.HasField({_literal(term.path[-1])})"
        return f"not not {self._value(term)}"  # a list that is not empty, a value that is not the default

    def _value(self, term: Term) -> str:
        parts = (term.root, *term.path)
        return f"{self._fetch(parts[:-1])}.{_name(parts[-1])}" if term.path else self._fetch(parts)

    def _fetch(self, parts: tuple[str, ...], *, listed: bool = False) -> str:
        """Return what holds a message, a variable or the items of a list."""
        if parts not in self._fetched:
            above = self._fetch(parts[:-1]) if len(parts) > 1 else "facts"
            self._fetched[parts] = self._keep(f"{above}.{_name(parts[-1])}{'[:]' if listed else ''}")
        return self._fetched[parts]

    def _keep(self, expression: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        return name


def _name(name: str) -> str:
    if not NAME.fullmatch(name) or iskeyword(name):
        raise ValueError("not the name of a field")
    return name


def _literal(value: object) -> str:
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise ValueError("not a literal")
