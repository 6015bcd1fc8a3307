"""All messages with one kind of body, as far as some conditions can tell them apart.

A `Space` makes the questions (`terms`) for every field that conditions name, says what is true of all valid messages
(`domain`), and turns a condition into a formula over the questions. It also answers the questions for one message:
so that what is said of the model can be tried on real ones.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, assert_never

from google.protobuf.descriptor import FieldDescriptor

from broker.gateway.proof.solver import Formula, both, conj, disj, neg, variable
from broker.gateway.proof.terms import (
    MODE,
    Choice,
    Listed,
    NotModelled,
    Path,
    Value,
    bounds_of,
    choice,
    fitting,
    is_needed,
    listed,
    number_choice,
    path_of,
    text_choice,
)
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
)
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from google.protobuf.descriptor import Descriptor

    from broker.gateway.release.decide import Subject

__all__ = ["EXERCISE", "Space", "field_of"]

EXERCISE: Final[Path] = ("content", "header", "exercise")
_ORIGIN: Final[Path] = ("content", "header", "origin")
_COUNT: Final = "vedette.v1.Count"
_ROOTS: Final = {"content": content_pb2.Content.DESCRIPTOR, "label": envelope_pb2.SecurityLabel.DESCRIPTOR}
_VARIABLES: Final = {("precedence",): envelope_pb2.Precedence.DESCRIPTOR, MODE: content_pb2.Mode.DESCRIPTOR}

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": lambda value, to: value == to[0],
    "!=": lambda value, to: value != to[0],
    "in": lambda value, to: value in to,
    "<": lambda value, to: value < to[0],
    "<=": lambda value, to: value <= to[0],
    ">": lambda value, to: value > to[0],
    ">=": lambda value, to: value >= to[0],
}


class Space:
    """The valid messages of one nation with one kind of body."""

    def __init__(self, body: str, nation: str, asked: Mapping[Path, set[Value]]) -> None:
        """`asked`: what conditions ask about, as `terms.asked_of` returns it."""
        self.body = body
        self.nation = nation
        self.choices: dict[Path, Choice] = {}
        self.lists: dict[Path, Listed] = {}
        self.present: dict[Path, Formula] = {}  # of those whose presence is a question of its own
        self.domain: list[Formula] = []
        self.usual: list[Formula] = []
        self._presence: dict[Path, Formula] = {}
        self._formulas: dict[tuple[Predicate, str], Formula] = {}
        self._literals = _with_siblings(asked)
        self._choice(MODE)
        self._has(EXERCISE)
        for path in self._literals:
            self._ask(path)
        self._close()

    def formula(self, predicate: Predicate, to: str) -> Formula:
        """Return when the condition holds for the recipient. It asks nothing that `asked` did not have."""
        key = (predicate, to)
        found = self._formulas.get(key)
        if found is None:
            found = self._formulas[key] = self._formula(predicate, to)
        return found

    def answers(self, subject: Subject) -> Iterator[tuple[Formula, bool]]:
        """Yield every question with its answer for a message. Raises NotModelled where it is outside the domain."""
        for path, formula in self.present.items():
            yield formula, _is_set(subject, path)
        for path, each in self.choices.items():
            value = _value_at(subject, path)
            _check_texts(path, (value,) if value else ())
            yield from each.answers(value)
        for path, texts in self.lists.items():
            values = _value_at(subject, path)
            _check_texts(path, values)
            yield from texts.answers(values)

    def has_leaf(self, path: str) -> Formula:
        """Return whether a leaf is set, as far as conditions ask about it."""
        at: Path = ("content", *path.split("."))
        above = (self.present.get(at[:count], True) for count in range(2, len(at) + 1))
        if at in self.choices:
            return both(*above, self.choices[at].where(bool))
        return both(*above, self.lists[at].has_any() if at in self.lists else True)

    # -- conditions ---------------------------------------------------------------------------------------------------
    def _formula(self, predicate: Predicate, to: str) -> Formula:  # noqa: PLR0911 - one for each kind
        match predicate:
            case Truth(value=value):
                return value
            case Flag(term=term):
                return self._choice(path_of(term)).where(bool)
            case Present(term=term):
                return self._has(path_of(term))
            case Compare():
                return self._comparison(predicate, to)
            case Contains(term=term, value=value):
                texts = self._list(path_of(term))
                return texts.contains.get(self._text(value, to), False)
            case Not(part=part):
                return neg(self.formula(part, to))
            case All(parts=parts):
                return conj(self.formula(part, to) for part in parts)
            case AnyOf(parts=parts):
                return disj(self.formula(part, to) for part in parts)
            case _:
                assert_never(predicate)

    def _comparison(self, predicate: Compare, to: str) -> Formula:
        term, compare = predicate.term, _COMPARE[predicate.operator]
        values = tuple(self._text(each, to) if isinstance(each, Term) else each for each in predicate.values)
        if not term.path and term.root in {"to", "body"}:
            return compare(self._text(term, to), values)
        return self._choice(path_of(term)).where(lambda value: compare(value, values))

    def _text(self, value: str | Term, to: str) -> str:
        if isinstance(value, Term):
            return to if value.root == "to" else self.body
        return value

    # -- questions ----------------------------------------------------------------------------------------------------
    def _ask(self, path: Path) -> None:
        field = field_of(path)
        if path in _VARIABLES or (field is not None and not field.is_repeated and _is_plain(field)):
            self._choice(path)
        elif field is not None and field.is_repeated and field.type == FieldDescriptor.TYPE_STRING:
            self._list(path)
        else:
            self._has(path)

    def _has(self, path: Path) -> Formula:
        """Return whether the field is set: for one without presence, whether it is not its default."""
        field = field_of(path)
        if len(path) == 1 or field is None:
            return True
        if field.is_repeated and field.type == FieldDescriptor.TYPE_STRING:
            return self._list(path).has_any()
        if not field.is_repeated and not field.has_presence and _is_plain(field):
            return self._choice(path).where(bool)
        found = self._presence.get(path)
        if found is None:
            found = self._presence[path] = self._new_presence(path, field)
        return found

    def _new_presence(self, path: Path, field: FieldDescriptor) -> Formula:
        oneof = field.containing_oneof
        if len(path) == 2 and oneof is not None:  # noqa: PLR2004 - below content: the bodies
            return field.name == self.body
        above = self._has(path[:-1])
        if above is False or is_needed(field):
            return above
        found = self.present[path] = variable(f"has {'.'.join(path)}")
        self.domain.append(disj((neg(found), above)))
        return found

    def _choice(self, path: Path) -> Choice:
        found = self.choices.get(path)
        if found is None:
            found = self.choices[path] = self._new_choice(path)
        return found

    def _new_choice(self, path: Path) -> Choice:
        name = ".".join(path)
        if path in _VARIABLES:
            made = choice(name, tuple(number for number in sorted(_VARIABLES[path].values_by_number) if number))
        elif path == _ORIGIN:
            return choice(name, (self.nation,))  # intake writes it
        else:
            field = field_of(path)
            if field is None:
                raise NotModelled(f"{name} is not a field")
            made = self._field_choice(path, field, name)
        self.domain += made.order()
        return made

    def _field_choice(self, path: Path, field: FieldDescriptor, name: str) -> Choice:
        default = _default(field)
        is_set = self._has(path) if field.has_presence else self._has(path[:-1])
        if is_set is False:
            return choice(name, (default,))
        may_default = is_set is not True or not (field.has_presence or is_needed(field))
        made = _choice_of(name, field, self._literals.get(path, ()), default=may_default)
        allowed = _allowed(field)
        self.domain.append(disj((neg(is_set), made.where(allowed))))
        self.domain.append(disj((is_set, made.where(lambda value: value == default))))
        return made

    def _list(self, path: Path) -> Listed:
        found = self.lists.get(path)
        if found is None:
            field = field_of(path)
            above = self._has(path[:-1])
            if field is None or above is False:
                return Listed({}, False, "")
            found = self.lists[path] = listed(".".join(path), fitting(field), self._literals.get(path, ()))
            self.domain.append(disj((above, neg(found.has_any()))))
        return found

    # -- between several fields ---------------------------------------------------------------------------------------
    def _close(self) -> None:
        is_exercise = self._choice(MODE).where(lambda value: value == content_pb2.MODE_EXERCISE)
        has_base = self._has(EXERCISE)
        self.usual.append(self._choice(MODE).where(lambda value: value == content_pb2.MODE_REAL_WORLD))
        self.domain += [disj((neg(is_exercise), has_base)), disj((is_exercise, neg(has_base)))]
        for one, other in itertools.combinations(self.present, 2):
            if one[:-1] == other[:-1] and _exclude_each_other(field_of(one), field_of(other)):
                self.domain.append(disj((neg(self.present[one]), neg(self.present[other]))))
        for path, least in list(self.choices.items()):
            if _is_of_count(field_of(path)) and path[-1] == "least":
                most = self._choice((*path[:-1], "most"))
                if least.values == most.values:
                    self.domain += [disj((neg(a), b)) for a, b in zip(least.later, most.later, strict=True)]


def field_of(path: Path) -> FieldDescriptor | None:
    """Return the field at a path; None for a message itself or a variable."""
    if path[0] not in _ROOTS or len(path) == 1:
        return None
    descriptor: Descriptor | None = _ROOTS[path[0]]
    field: FieldDescriptor | None = None
    for name in path[1:]:
        if descriptor is None:
            raise NotModelled(f"{'.'.join(path)} is not a field")
        field = descriptor.fields_by_name[name]
        descriptor = field.message_type
    return field


def _with_siblings(asked: Mapping[Path, set[Value]]) -> dict[Path, set[Value]]:
    """Let the two ends of a count be asked the same, so that one can be held against the other."""
    found = {path: set(values) for path, values in asked.items()}
    for path, values in asked.items():
        if _is_of_count(field_of(path)):
            for name in ("least", "most"):
                found.setdefault((*path[:-1], name), set()).update(values)
    return found


def _exclude_each_other(one: FieldDescriptor | None, other: FieldDescriptor | None) -> bool:
    if one is None or other is None or one.containing_oneof is None:
        return False
    return one.containing_oneof == other.containing_oneof


def _is_of_count(field: FieldDescriptor | None) -> bool:
    return field is not None and field.containing_type is not None and field.containing_type.full_name == _COUNT


def _is_plain(field: FieldDescriptor) -> bool:
    return field.message_type is None and field.type != FieldDescriptor.TYPE_BYTES


def _default(field: FieldDescriptor) -> Value:
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return False
        case FieldDescriptor.TYPE_STRING:
            return ""
        case FieldDescriptor.TYPE_DOUBLE:
            return 0.0
        case _:
            return 0


def _choice_of(name: str, field: FieldDescriptor, literals: set[Value] | tuple[()], *, default: bool) -> Choice:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return choice(name, (False, True))
    if field.enum_type is not None:
        numbers = sorted(field.enum_type.values_by_number)
        return choice(name, tuple(each for each in numbers if each or default or not is_needed(field)))
    if field.type == FieldDescriptor.TYPE_STRING:
        return text_choice(name, fitting(field), literals, default=default)
    return number_choice(name, field, literals, default=default)


def _allowed(field: FieldDescriptor) -> Callable[[Value], bool]:
    """Return what says whether a value may stand in a field whose message is there, or which is set itself."""
    if field.type == FieldDescriptor.TYPE_STRING:
        fits = fitting(field)
        return lambda value: isinstance(value, str) and (fits(value) or (not value and not is_needed(field)))
    if field.type == FieldDescriptor.TYPE_BOOL or field.enum_type is not None:
        return lambda value: bool(value) or not is_needed(field)
    bounds = bounds_of(field)

    def allowed(value: Value) -> bool:
        if not value and not field.has_presence:
            return not is_needed(field)
        is_over = bounds.HasField("most") and float(value) > bounds.most
        return not (is_over or (bounds.HasField("least") and float(value) < bounds.least))

    return allowed


# --- one message ------------------------------------------------------------------------------------------------------


def _check_texts(path: Path, values: Iterable[Value]) -> None:
    field = field_of(path)
    if field is not None and field.type == FieldDescriptor.TYPE_STRING and path != _ORIGIN:
        fits = fitting(field)
        if not all(isinstance(each, str) and fits(each) for each in values):
            raise NotModelled(f"{'.'.join(path)}: a text that intake refuses")


def _value_at(subject: Subject, path: Path) -> Any:  # noqa: ANN401 - of any kind
    value: Any = subject
    for name in path:
        value = getattr(value, name)
    return value


def _is_set(subject: Subject, path: Path) -> bool:
    field = field_of(path)
    if field is not None and field.has_presence:
        return bool(_value_at(subject, path[:-1]).HasField(field.name))
    return bool(_value_at(subject, path))
