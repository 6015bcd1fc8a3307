"""From what is shown of a body back to what a policy must allow for it: `release.shown`, read the other way round.

`shown_of` takes away from what a policy allows, so that values that need each other go together. Whether a leaf is
shown at some level or finer is therefore a question about the levels of several leaves at once. Nothing that
`shown_of` does ever adds, so each such question has the form "these leaves at these levels, or those …": a `Need`. All
but the direction with its spread come to a single such set.

This is written a second time here, over sets instead of levels, because the first cannot be asked for all messages at
once. `tests/broker/gateway/proof/test_needs.py` holds both against each other, and so does every counterexample.
"""

from __future__ import annotations

from functools import cache, reduce
from typing import TYPE_CHECKING, Final

from broker.gateway.release.lattice import Level
from broker.gateway.release.shown import CELL, NEEDS_CELL, NUMBERS, PLACE, SHARED, SPREADS
from broker.leaves import HEADER, node_of
from vedette.v1 import options_pb2
from vedette.v1.options_pb2 import Coarsening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from broker.leaves import Node

    _Change = Callable[["Need"], "Need"]

__all__ = ["ALWAYS", "NEVER", "SHOWN_LEVELS", "Need", "Needs", "all_of", "any_of", "needs_of"]

# One way to have something: every leaf, or group, at least at its level.
Way = frozenset[tuple[str, Level]]
# Any of these ways does.
Need = frozenset[Way]

NEVER: Final[Need] = frozenset()
ALWAYS: Final[Need] = frozenset({frozenset()})
SHOWN_LEVELS: Final = (Level.CELL_50KM, Level.CELL_10KM, Level.CELL_1KM, Level.EXACT)

# What a leaf needs to be shown at each of SHOWN_LEVELS or finer.
Rungs = tuple[Need, Need, Need, Need]
_NO_RUNG: Final[Rungs] = (NEVER,) * 4
_ALL_RUNGS: Final[Rungs] = (ALWAYS,) * 4


class Needs:
    """What groups a policy must show, and how exactly, for each leaf of one kind of body and of the header with it."""

    def __init__(self, body: str, groups: Mapping[str, Iterable[str]]) -> None:
        """Take the policy's groups: leaf paths by group. A leaf in none is never shown."""
        group_of = {path: group for group, paths in groups.items() for path in paths}
        known: dict[Need, Need] = {}

        def grouped(need: Need) -> Need:
            found = known.get(need)
            if found is None:
                found = known[need] = _least(_grouped(way, group_of) for way in need if _is_placed(way, group_of))
            return found

        of_body = {path: _over(rungs, grouped) for path, rungs in needs_of(body).items()}
        self.anything = any_of(rungs[0] for rungs in of_body.values())
        of_header = {
            path: _over(rungs, lambda need: all_of((grouped(need), self.anything)))
            for path, rungs in needs_of(HEADER).items()
        }
        self.leaves: Mapping[str, Rungs] = {**of_header, **of_body}

    def at_least(self, path: str, level: Level) -> Need:
        """Return what the leaf needs to be shown at this level or finer."""
        return self.leaves[path][SHOWN_LEVELS.index(level)] if path in self.leaves else NEVER


def _over(rungs: Rungs, change: _Change) -> Rungs:
    first, second, third, fourth = rungs
    return change(first), change(second), change(third), change(fourth)


def _is_placed(way: Way, group_of: Mapping[str, str]) -> bool:
    return all(path in group_of for path, _ in way)


def _grouped(way: Way, group_of: Mapping[str, str]) -> Way:
    levels: dict[str, Level] = {}
    for path, level in way:
        group = group_of[path]
        levels[group] = max(level, levels.get(group, level))
    return frozenset(levels.items())


def any_of(needs: Iterable[Need]) -> Need:
    """Return what it needs to have any of them."""
    return _least(way for need in needs for way in need)


def all_of(needs: Iterable[Need]) -> Need:
    """Return what it needs to have all of them."""
    return reduce(lambda found, need: _least(_joined(one, other) for one in found for other in need), needs, ALWAYS)


def _joined(one: Way, other: Way) -> Way:
    levels = dict(one)
    for name, level in other:
        levels[name] = max(level, levels.get(name, level))
    return frozenset(levels.items())


def _least(ways: Iterable[Way]) -> Need:
    """Leave out what asks for more than another way does."""
    several = set(ways)
    if len(several) == 1:
        return frozenset(several)
    as_levels = {way: dict(way) for way in several}
    return frozenset(
        way
        for way, levels in as_levels.items()
        if not any(
            other is not way and all(levels.get(name, Level.WITHHELD) >= level for name, level in other)
            for other in several
        )
    )


# --- `shown`, once more -----------------------------------------------------------------------------------------------


@cache
def needs_of(body: str) -> Mapping[str, Rungs]:
    """Return what each leaf below `header`, or below a body, needs of the leaves' own levels."""
    return _message(node_of(body), has_cell=False)[0]


def _message(node: Node, *, has_cell: bool) -> tuple[dict[str, Rungs], dict[str, Coarsening.ValueType]]:
    """Return the rungs of all leaves below, and the essentials with how they are made coarse."""
    has_cell = has_cell or any(_type_name(each) == CELL for each in node.below.values())
    leaves = [each for each in node.below.values() if each.leaf is not None]
    rungs = {each.path: _form(each, has_cell=has_cell) for each in leaves}
    essentials = {each.path: each.coarsening for each in leaves if _is_essential(each)}
    for each in node.below.values():
        if each.below and _type_name(each) != CELL:
            inner, inner_essentials = _message(each, has_cell=has_cell)
            rungs |= inner
            if _is_required(each):
                essentials |= inner_essentials
    complete = all_of(rungs[path][0] for path in essentials)
    _share(rungs, essentials)
    _bind_spreads(leaves, rungs, essentials)
    whole = {path: _over(each, lambda need: all_of((need, complete))) for path, each in rungs.items()}
    return whole, essentials


def _form(node: Node, *, has_cell: bool) -> Rungs:
    first, second, third, exact = (frozenset({frozenset({(node.path, level)})}) for level in SHOWN_LEVELS)
    if node.coarsening == Coarsening.COARSENING_STRUCTURE:
        return first, first, first, first
    has_form = node.coarsening != Coarsening.COARSENING_UNSPECIFIED
    if has_form and (has_cell or node.coarsening not in NEEDS_CELL):
        return first, second, third, exact
    return exact, exact, exact, exact


def _share(rungs: dict[str, Rungs], essentials: Mapping[str, Coarsening.ValueType]) -> None:
    for kind in SHARED:
        together = [path for path, coarsening in essentials.items() if coarsening in kind]
        coarsest = _lowest(rungs[path] for path in together)
        rungs.update(dict.fromkeys(together, coarsest))


def _lowest(several: Iterable[Rungs]) -> Rungs:
    listed = list(several)
    first, second, third, exact = (all_of(each[index] for each in listed) for index in range(len(SHOWN_LEVELS)))
    return first, second, third, exact


def _bind_spreads(
    leaves: Iterable[Node], rungs: dict[str, Rungs], essentials: Mapping[str, Coarsening.ValueType]
) -> None:
    place = _lowest(rungs[path] for path, coarsening in essentials.items() if coarsening in PLACE)
    by_kind = {each.coarsening: each.path for each in leaves}
    for each in leaves:
        if each.coarsening in SPREADS:
            rungs[each.path] = _lowest((rungs[each.path], place))
    angle = by_kind.get(Coarsening.COARSENING_ANGLE, "")
    spread = by_kind.get(Coarsening.COARSENING_ANGLE_SPREAD, "")
    if angle:
        has_spread, exact = rungs.get(spread, _NO_RUNG)[0], rungs[angle][3]
        rungs[angle] = _over(rungs[angle], lambda need: any_of((exact, all_of((need, has_spread)))))
    if spread:
        rungs[spread] = _lowest((rungs[spread], rungs[angle] if angle else _ALL_RUNGS))


def _is_essential(node: Node) -> bool:
    field = node.field
    bounds = field.GetOptions().Extensions[options_pb2.bounds]
    if bounds.required or node.coarsening == Coarsening.COARSENING_STRUCTURE:
        return True
    if field.is_repeated:
        return bool(bounds.items) and 0 not in bounds.items
    return field.cpp_type in NUMBERS and not field.has_presence


def _is_required(node: Node) -> bool:
    return not node.field.is_repeated and bool(node.field.GetOptions().Extensions[options_pb2.bounds].required)


def _type_name(node: Node) -> str:
    return node.field.message_type.full_name if node.field.message_type is not None else ""
