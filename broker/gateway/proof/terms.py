"""What a condition can ask of a message, as a few yes-or-no questions, and which answers to them can occur together.

A field is only ever compared with literals. So its values fall into finitely many *classes* that no condition can tell
apart: each literal by itself, and what lies between two neighbours (if anything does: between 3 and 4 there is no whole
number, and between two neighbouring doubles no double). Which class it is, is a handful of Booleans: is it the second
or a later one, the third or a later one, … That is exact. No number is rounded and no text left out.

The domain is what `broker.content.check_content` and intake let through: known values of enums, numbers inside their
bounds, required fields, nothing below a message that is not there, the nation's own code as origin, an exercise just in
an exercise, a body that goes under policy. It must never be narrower than that; where it is wider (a label with a
thousand caveats), an example is found to be no valid message and the answer is "unknown".
"""

from __future__ import annotations

import itertools
import re
import string
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor

from broker import limits
from broker.gateway.proof.solver import both, disj, neg, variable
from broker.gateway.release.conditions import Compare, Contains, Predicate, Term
from broker.gateway.release.engine import parts_of
from vedette.v1 import options_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from broker.gateway.proof.solver import Formula

__all__ = [
    "CAVEATS",
    "MODE",
    "RELEASABLE",
    "Choice",
    "Listed",
    "NotModelled",
    "Path",
    "Value",
    "asked_of",
    "bounds_of",
    "choice",
    "fitting",
    "is_needed",
    "listed",
    "number_choice",
    "path_of",
    "text_choice",
]

Value = bool | int | float | str
Path = tuple[str, ...]  # ("content", "track", "phase"), ("label", "caveats"), ("precedence",)

MODE: Final[Path] = ("content", "header", "mode")
CAVEATS: Final[Path] = ("label", "caveats")
RELEASABLE: Final[Path] = ("label", "releasable_to")

# What intake lets into a label; `broker.gateway.intake` checks it.
_MEMBER: Final = "[A-Z][A-Z0-9]{2,7}"
_LABEL_PATTERNS: Final = {"policy": _MEMBER, "releasable_to": _MEMBER, "caveats": "[A-Z0-9-]{1,32}"}
_LARGEST: Final = 1.7976931348623157e308
_EXTREMES: Final[Mapping[int, tuple[float, float]]] = {
    FieldDescriptor.TYPE_DOUBLE: (-_LARGEST, _LARGEST),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}


class NotModelled(Exception):  # noqa: N818 - an answer: the proof says unknown
    """Something that the model does not cover. Never a proof."""


# --- what conditions ask ----------------------------------------------------------------------------------------------


def asked_of(
    predicates: Iterable[Predicate], *, recipients: Iterable[str], bodies: Iterable[str], caveats: Iterable[str]
) -> dict[Path, set[Value]]:
    """Return what the conditions and the release's own causes ask about, with the literals it is compared with."""
    variables: dict[str, tuple[str, ...]] = {"to": tuple(recipients), "body": tuple(bodies)}
    asked: dict[Path, set[Value]] = {
        RELEASABLE: set(variables["to"]),
        CAVEATS: set(caveats),
        ("label", "classification"): set(),
    }
    for part in (part for predicate in predicates for part in parts_of(predicate)):
        term: Term | None = getattr(part, "term", None)
        if term is None or term.root in variables:
            continue
        literals = asked.setdefault(path_of(term), set())
        given = part.values if isinstance(part, Compare) else (part.value,) if isinstance(part, Contains) else ()
        for each in given:
            literals.update(variables[each.root] if isinstance(each, Term) else (each,))
    return asked


def path_of(term: Term) -> Path:
    """Return where the term's value stands in a message."""
    return MODE if term.root == "mode" else (term.root, *term.path)


# --- one value --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """One value out of classes that no condition tells apart."""

    values: tuple[Value, ...]  # one of each class
    named: tuple[Value, ...]  # those that are a class by themselves, in the order of values
    later: tuple[Formula, ...]  # whether it is the second class or a later one, the third …

    def where(self, test: Callable[[Value], bool]) -> Formula:
        """Return whether the value is in one of the classes that pass the test."""
        runs: list[Formula] = []
        index = 0
        for passes, run in itertools.groupby(map(test, self.values)):
            end = index + len(list(run))
            if passes:
                runs.append(both(self._from(index), neg(self._from(end))))
            index = end
        return disj(runs)

    def _from(self, index: int) -> Formula:
        if index == 0:
            return True
        return self.later[index - 1] if index <= len(self.later) else False

    def order(self) -> Iterator[Formula]:
        """Yield what is true of the questions themselves: what is later than the third is later than the second."""
        for before, after in itertools.pairwise(self.later):
            yield disj((before, neg(after)))

    def value_in(self, holds: Callable[[Formula], bool]) -> Value:
        """Return the value where those formulas hold."""
        return self.values[sum(map(holds, self.later))]

    def answers(self, value: Value) -> Iterator[tuple[Formula, bool]]:
        """Yield each question with its answer for a value. Raises NotModelled where it is outside the domain."""
        index = self._class_of(value)
        for number, each in enumerate(self.later, start=1):
            yield each, index >= number

    def _class_of(self, value: Value) -> int:
        if value in self.named:
            return self.values.index(value)
        if isinstance(value, str):
            index = len(self.values) - 1 if value else len(self.values)
        else:
            after = bisect_left(self.named, value)
            index = self.values.index(self.named[after - 1]) + 1 if after else len(self.values)
        if index >= len(self.values) or self.values[index] in self.named:
            raise NotModelled("a value outside the domain")
        return index


def choice(name: str, values: tuple[Value, ...], named: Iterable[Value] | None = None) -> Choice:
    """Return a new choice between these values. `named`: those that are a class by themselves; None: all."""
    own = set(values if named is None else named)
    later = tuple(variable(f"{name} {number}") for number in range(1, len(values)))
    return Choice(values, tuple(each for each in values if each in own), later)


def number_choice(name: str, field: FieldDescriptor, literals: Iterable[Value], *, default: bool) -> Choice:
    """Return the choice of a number: its bounds, the literals between them, and what lies between any two of them.

    With `default` it may also be zero where the bounds say otherwise: where it is not set.
    """
    bounds = bounds_of(field)
    lowest, highest = _EXTREMES[field.type]
    is_whole = field.type != FieldDescriptor.TYPE_DOUBLE
    least = bounds.least if bounds.HasField("least") else lowest
    most = bounds.most if bounds.HasField("most") else highest
    numbers = {least, most, 0, *(each for each in literals if not isinstance(each, str))}
    points = sorted(int(each) if is_whole else float(each) for each in numbers if least <= each <= most)
    values: list[float] = points[:1]
    for before, after in itertools.pairwise(points):
        between = before + 1 if is_whole else before / 2 + after / 2  # only next to each other it is one of them
        values += [between, after] if before < between < after else [after]
    zero = [0 if is_whole else 0.0] if default and not least <= 0 <= most else []
    return choice(name, tuple(sorted((*values, *zero))), (*points, *zero))


def text_choice(name: str, fits: Callable[[str], bool], literals: Iterable[Value], *, default: bool) -> Choice:
    """Return the choice of a text: each literal that fits, any other text, and none at all with `default`."""
    texts = {each for each in literals if isinstance(each, str) and fits(each)} | (
        {""} if default or fits("") else set()
    )
    other = other_text(fits, texts)
    return choice(name, (*sorted(texts), other), texts)


# --- a list of texts --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of texts: which of those that conditions name are in it, and whether any other is."""

    contains: Mapping[str, Formula]
    other: Formula
    other_text: str

    def has_any(self) -> Formula:
        """Return whether anything is in it."""
        return disj((*self.contains.values(), self.other))

    def texts_in(self, holds: Callable[[Formula], bool]) -> list[str]:
        """Return the texts, sorted, where those formulas hold."""
        found = [text for text, formula in self.contains.items() if holds(formula)]
        return sorted([*found, self.other_text] if holds(self.other) else found)

    def answers(self, texts: Iterable[str]) -> Iterator[tuple[Formula, bool]]:
        """Yield each question with its answer for a list."""
        held = set(texts)
        for text, formula in self.contains.items():
            yield formula, text in held
        yield self.other, bool(held - self.contains.keys())


def listed(name: str, fits: Callable[[str], bool], literals: Iterable[Value]) -> Listed:
    """Return a new list, in which any of the literals that fit may be."""
    texts = sorted(each for each in literals if isinstance(each, str) and fits(each))
    contains = {text: variable(f"{name} has {text}") for text in texts}
    return Listed(contains, variable(f"{name}: any other"), other_text(fits, texts))


# --- what may stand in a field ----------------------------------------------------------------------------------------


def bounds_of(field: FieldDescriptor) -> options_pb2.Bounds:
    """Return what the .proto files say of a field's values."""
    return field.GetOptions().Extensions[options_pb2.bounds]


def is_needed(field: FieldDescriptor) -> bool:
    """Say whether a message without the field is refused, as `broker.content` does."""
    bounds = bounds_of(field)
    if bounds.required or field.full_name == "vedette.v1.SecurityLabel.policy":
        return True
    if field.is_repeated:
        return bool(bounds.items) and 0 not in bounds.items
    return not field.has_presence and (bounds.least > 0 or bounds.most < 0)


def fitting(field: FieldDescriptor) -> Callable[[str], bool]:
    """Return what says whether a text may stand in the field."""
    bounds = bounds_of(field)
    is_label = field.full_name.startswith("vedette.v1.SecurityLabel.")
    pattern = _LABEL_PATTERNS[field.name] if is_label else bounds.pattern
    matches = re.compile(pattern or ".*", re.ASCII | re.DOTALL).fullmatch
    most = bounds.bytes_most or (limits.PROTOCOL_TEXT_BYTES_MAX if is_label else limits.FIELD_BYTES_MAX)
    is_empty_refused = is_needed(field)

    def fits(text: str) -> bool:
        if not text and is_empty_refused:
            return False
        return len(text.encode()) <= most and matches(text) is not None

    return fits


def other_text(fits: Callable[[str], bool], taken: Iterable[str]) -> str:
    """Return a text that fits and is none of these. Raises NotModelled where none is found."""
    known = set(taken)
    letters = string.ascii_uppercase[::-1]
    for code in map("".join, itertools.product(letters, repeat=3)):
        for text in (code, f"{code[:2]}-{code[2]}", code.lower()):
            if text not in known and fits(text):
                return text
    raise NotModelled("every text that the field can hold stands in some condition")
