"""From what a policy says of single leaves to what is really shown of a body: values that need each other go together.

A policy sets a level for each leaf. Shown leaf by leaf, that would say things that are not so: a latitude without its
longitude reads as a place on the meridian of Greenwich, "at least 500 km" without its "at least" as 500 km. Therefore:

* A message is shown with all its *essentials* or not at all: what is required, what says how the rest is to be read
  (STRUCTURE), and plain numbers, which would read as zero. Essentials of place share the coarsest of their levels, and
  so do those of time.
* A spread (sigma, semi-axis, covariance) is never finer than what it speaks of.
* A leaf without a coarse form, or whose message has nowhere to carry a Cell, is shown exactly or not at all. A coarse
  direction carries its spread instead of a cell, and is not shown without it.

Each of these takes away and none adds, so less permission never shows more. The result depends on levels and on the
kind of body, never on a value: so does `withheld`, which tells the recipient what it is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor

from broker.gateway.release.lattice import Level
from broker.leaves import HEADER, LEAVES, Node, node_of
from vedette.v1 import measures_pb2, options_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Shown", "is_place", "shown_of"]

CELL: Final = measures_pb2.Cell.DESCRIPTOR.full_name
# Coarse forms that measure place: with a cell of their message, they follow its size.
PLACE: Final = frozenset(
    {
        Coarsening.COARSENING_LATITUDE,
        Coarsening.COARSENING_LONGITUDE,
        Coarsening.COARSENING_HEIGHT,
        Coarsening.COARSENING_ECEF_POSITION,
        Coarsening.COARSENING_ECEF_VELOCITY,
        Coarsening.COARSENING_COVARIANCE,
        Coarsening.COARSENING_LENGTH,
        Coarsening.COARSENING_SPREAD,
        Coarsening.COARSENING_ORIENTATION,
    }
)
NEEDS_CELL: Final = PLACE | {Coarsening.COARSENING_TIME}
# A plain number cannot be told from its default: not shown, it reads as zero.
NUMBERS: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_DOUBLE,
        FieldDescriptor.CPPTYPE_FLOAT,
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
SPREADS: Final = frozenset({Coarsening.COARSENING_SPREAD, Coarsening.COARSENING_COVARIANCE})
SHARED: Final = (PLACE, frozenset({Coarsening.COARSENING_TIME}))  # essentials of one kind share their coarsest level

TIMES: Final = frozenset(path for path, leaf in LEAVES.items() if leaf.coarsening == Coarsening.COARSENING_TIME)


def is_place(coarsening: Coarsening.ValueType) -> bool:
    """Say whether a leaf is made coarse by the cell in space."""
    return coarsening in PLACE


@dataclass(frozen=True, slots=True)
class Shown:
    """What a recipient is shown of one kind of body, and of the header with it."""

    body: str
    levels: Mapping[str, Level]  # of the leaves that are shown; no entry is WITHHELD
    withheld: tuple[str, ...]  # largest whole subtrees below the body, as Disclosure names them
    inexact_times: tuple[tuple[str, Level], ...] = ()  # of body and header: coarse or withheld

    @property
    def is_anything(self) -> bool:
        """Whether any leaf of the body is shown. Without one the message does not go at all."""
        return any(not path.startswith(f"{HEADER}.") for path in self.levels)

    @property
    def hides_a_time(self) -> bool:
        """Whether some time of the body or header is not shown exactly: then no other instant may give it away."""
        return bool(self.inexact_times)


def shown_of(allowed: Mapping[str, Level], body: str) -> Shown:
    """Return what is shown where the policy allows these levels of the leaves; a leaf not named is withheld."""
    tree = node_of(body)
    found = _message(tree, allowed, has_cell=False)
    if not found.levels:
        return Shown(body, {}, ())
    withheld = sorted(_withheld(tree, found.levels), key=lambda each: (-each[1], each[0]))
    names = tuple(name.removeprefix(f"{body}.") for name, _ in withheld)
    header = _message(node_of(HEADER), allowed, has_cell=False)
    levels = {**header.levels, **found.levels}
    times = ((path, levels.get(path, Level.WITHHELD)) for path in TIMES if path.startswith((f"{HEADER}.", f"{body}.")))
    return Shown(body, levels, names, tuple(sorted((path, level) for path, level in times if level < Level.EXACT)))


@dataclass(frozen=True, slots=True)
class _Found:
    levels: dict[str, Level]  # empty where an essential is missing
    essentials: Mapping[str, Coarsening.ValueType]


def _message(node: Node, allowed: Mapping[str, Level], *, has_cell: bool) -> _Found:
    has_cell = has_cell or any(_type_name(each) == CELL for each in node.below.values())
    leaves = [each for each in node.below.values() if each.leaf is not None]
    levels = {each.path: _form(each, allowed, has_cell=has_cell) for each in leaves}
    essentials = {each.path: each.coarsening for each in leaves if _is_essential(each)}
    for each in node.below.values():
        if each.below and _type_name(each) != CELL:
            inner = _message(each, allowed, has_cell=has_cell)
            levels |= inner.levels
            if _is_required(each):
                essentials |= inner.essentials
    if any(levels.get(path, Level.WITHHELD) == Level.WITHHELD for path in essentials):
        return _Found({}, essentials)
    _share(levels, essentials)
    _bind_spreads(leaves, levels, essentials)
    return _Found({path: level for path, level in levels.items() if level > Level.WITHHELD}, essentials)


def _form(node: Node, allowed: Mapping[str, Level], *, has_cell: bool) -> Level:
    """Return the level in which a leaf can be shown by itself: its own, or none where it has no coarse form."""
    level = allowed.get(node.path, Level.WITHHELD)
    if not level.is_coarse:
        return level
    if node.coarsening == Coarsening.COARSENING_STRUCTURE:
        return Level.EXACT
    has_form = node.coarsening != Coarsening.COARSENING_UNSPECIFIED
    return level if has_form and (has_cell or node.coarsening not in NEEDS_CELL) else Level.WITHHELD


def _share(levels: dict[str, Level], essentials: Mapping[str, Coarsening.ValueType]) -> None:
    for kind in SHARED:
        together = [path for path, coarsening in essentials.items() if coarsening in kind]
        coarsest = min((levels[path] for path in together), default=Level.EXACT)
        levels.update(dict.fromkeys(together, coarsest))


def _bind_spreads(
    leaves: Iterable[Node], levels: dict[str, Level], essentials: Mapping[str, Coarsening.ValueType]
) -> None:
    """Show no spread finer than what it speaks of, and no coarse direction without its spread."""
    place = min((levels[path] for path, coarsening in essentials.items() if coarsening in PLACE), default=Level.EXACT)
    by_kind = {each.coarsening: each.path for each in leaves}
    for each in leaves:
        if each.coarsening in SPREADS:
            levels[each.path] = min(levels[each.path], place)
    angle, spread = (by_kind.get(kind, "") for kind in (_ANGLE, _ANGLE_SPREAD))
    if angle and levels[angle].is_coarse and levels.get(spread, Level.WITHHELD) == Level.WITHHELD:
        levels[angle] = Level.WITHHELD
    if spread:
        levels[spread] = min(levels[spread], levels[angle])


_ANGLE: Final = Coarsening.COARSENING_ANGLE
_ANGLE_SPREAD: Final = Coarsening.COARSENING_ANGLE_SPREAD


def _is_essential(node: Node) -> bool:
    field = node.field
    bounds = field.GetOptions().Extensions[options_pb2.bounds]
    if bounds.required or node.coarsening == Coarsening.COARSENING_STRUCTURE:
        return True
    if field.is_repeated:
        return bool(bounds.items) and 0 not in bounds.items
    is_number = field.cpp_type in NUMBERS
    return is_number and not field.has_presence


def _is_required(node: Node) -> bool:
    return not node.field.is_repeated and node.field.GetOptions().Extensions[options_pb2.bounds].required


def _type_name(node: Node) -> str:
    return node.field.message_type.full_name if node.field.message_type is not None else ""


def _withheld(node: Node, levels: Mapping[str, Level]) -> Iterator[tuple[str, int]]:
    """Yield the largest subtrees below the node of which nothing is shown, with their number of leaves."""
    for each in node.below.values():
        paths = set(_paths(each))
        if paths and paths.isdisjoint(levels):
            yield each.path, len(paths)
        else:
            yield from _withheld(each, levels)


def _paths(node: Node) -> Iterator[str]:
    if node.leaf is not None:
        yield node.path
    for each in node.below.values():
        yield from _paths(each)
