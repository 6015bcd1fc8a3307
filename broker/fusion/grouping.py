"""Which members (nodes, or tracks) belong together, from what pairs say: always the best of all, never the first.

* What cannot be the same is never together. What nothing connects is looked at by itself.
* Members are put into layers: within one, no two are the same. The tracks of one radar are a layer, and so are those of
  another nation's; two systems of one nation that see the same launch are two, without anybody saying so.
* The largest layer stands; each other is assigned to the groups so far, all its members at once (`assignment`), by the
  mean of what pairs say; then each layer is taken out and assigned again, for the first ones chose among few.
* Evidence of a stronger kind always goes before a weaker one: kinematics, then launch and impact, then reach.
* Two groups that only a second name by one sensor keeps apart (UNLIKELY) are one if others have long followed one with
  the other: two radars of one kind, one launch. Where two sensors say that there are two, there are; unless no
  difference is seen between any two names, and somebody followed both and sees one.
* What one origin alone says beside the object of all others is a conflict over it (`contrary`).
* A member stays *open* as long as another assignment would be nearly as good and little was compared: it is shown with
  its group, and its reports pull no estimate until it is clear whose they are.
* An operator's word goes before everything; of words that contradict each other, the newer before the older.

Everything follows from the members in fold order and their evidence; nothing is remembered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from broker.fusion.assignment import assigned
from broker.fusion.compare import VAGUE_KIND, Evidence, Verdict
from broker.fusion.contrary import with_contrary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = ["Grouping", "Links", "grouped"]

K = TypeVar("K", bound="Hashable")
Asked: TypeAlias = "tuple[tuple[tuple[K, ...], ...], tuple[tuple[float, int] | None, ...]]"
Solved: TypeAlias = "dict[Asked[K], tuple[list[list[K]], set[K]]]"  # by units and what their pairs cost

KIND_COST: Final = 1_000.0  # more than any score
ALONE: Final = 3_000.0  # than any match
VAGUELY: Final = 1e8
UNLIKELY: Final = 2e8
CONTRARY: Final = 3e8
NEVER: Final = 1e9
APART: Final = VAGUELY  # from here on, nothing is together
FOLLOWED_COUNT: Final = 3  # common times that who sees one object only must have followed both names of it
SECOND_NAME_COUNT: Final = 6  # common times that another sensor must have followed both
AGAIN_MAX: Final = 2  # times that every layer is assigned anew
CROWD: Final = 96  # members that hang together: beyond, each takes the best group that is there, one after the other
OPEN_MARGIN: Final = 6.0
OPEN_COUNT_MAX: Final = 12  # common times: who cannot be told apart by then is told apart by nothing that is to come


@dataclass(frozen=True, slots=True)
class Links(Generic[K]):
    """What operators said of pairs, the newest first. No pair is in both."""

    same: tuple[frozenset[K], ...] = ()
    apart: frozenset[frozenset[K]] = frozenset()


@dataclass(frozen=True, slots=True)
class Grouping(Generic[K]):
    """Groups, each in the members' order and all in the order of their first; those members that may be in another."""

    groups: list[list[K]]
    open: frozenset[K]


def grouped(
    members: Sequence[K],
    compare: Callable[[K, K], Evidence],
    links: Links[K],
    solved: Solved[K] | None = None,
    origin: Callable[[K], str] | None = None,
) -> Grouping[K]:
    """Return the members, given in fold order, in groups that belong together.

    `solved` holds the answers of the last time, so that only what hangs together with a change is thought about again.
    `origin`: who says it; without, nothing is a conflict (`contrary`).
    """
    units = _linked(members, links)
    found = _Pairs(units, compare, links)
    known, now = dict(solved or {}), {}
    groups: list[list[K]] = []
    undecided: set[K] = set()
    for component in _components(units, found):
        if len(component) > CROWD:
            groups += _one_by_one(component, found)
            continue
        if len(component) == 1:
            groups.append(list(component[0]))
            continue
        asked = (tuple(component), tuple(found.cost(one, two) for one, two in combinations(component, 2)))
        now[asked] = known.get(asked) or _answer(component, found)
        groups += [list(group) for group in now[asked][0]]
        undecided |= now[asked][1]
    if solved is not None:
        solved.clear()
        solved.update(now)
    if origin is not None and found.contrary:
        groups = with_contrary(groups, found.contrary, found.is_apart, origin)
    place = {member: index for index, member in enumerate(members)}
    for group in groups:
        group.sort(key=place.__getitem__)
    return Grouping(sorted(groups, key=lambda group: place[group[0]]), frozenset(undecided))


def _answer(component: list[tuple[K, ...]], found: _Pairs[K]) -> tuple[list[list[K]], set[K]]:
    """Return the groups of one component, and which of its members are open."""
    seating = _seated(component, found)
    return [[member for unit in group for member in unit] for group in seating], _open(seating, found)


class _Pairs(Generic[K]):
    """What is known of pairs of units, asked once each. A unit is what an operator called the same, or one member."""

    def __init__(self, units: Sequence[tuple[K, ...]], compare: Callable[[K, K], Evidence], links: Links[K]) -> None:
        self._compare = compare
        self._links = links
        self._unit_of = {member: unit for unit in units for member in unit}
        self._known: dict[tuple[tuple[K, ...], tuple[K, ...]], tuple[float, int] | None] = {}
        self.contrary: list[tuple[K, K]] = []  # of those that were asked about

    def cost(self, one: tuple[K, ...], two: tuple[K, ...]) -> tuple[float, int] | None:
        """Return what it costs to have both together, and how much was compared; NEVER; or None: nothing is known."""
        pair = (one, two)
        if pair not in self._known:
            self._known[pair] = self._known[two, one] = self._ask(one, two)
        return self._known[pair]

    def _ask(self, one: tuple[K, ...], two: tuple[K, ...]) -> tuple[float, int] | None:
        """Ask for all pairs of two units."""
        apart = self._links.apart
        if apart and any(frozenset((a, b)) in apart for a in one for b in two):
            return NEVER, 0
        found = [self._compare(a, b) for a in one for b in two]
        worst, best = max(found), min(found)
        if worst.verdict is Verdict.DIFFERENT:
            return NEVER, 0
        if worst.verdict is Verdict.CONTRARY:
            self.contrary.append((one[0], two[0]))
            return CONTRARY, 0
        if worst.verdict is Verdict.UNLIKELY:
            return (VAGUELY if worst.kind == VAGUE_KIND else UNLIKELY), 0
        if best.verdict is not Verdict.SAME:
            return None
        return KIND_COST * best.kind + best.score, best.count

    def is_apart(self, one: K, two: K) -> bool:
        """Say whether two members are apart by more than CONTRARY, or names between which no difference is seen."""
        known = self.cost(self._unit_of[one], self._unit_of[two])
        return known is not None and known[0] >= UNLIKELY and known[0] != CONTRARY

    def is_followed(self, one: tuple[K, ...], two: tuple[K, ...]) -> bool:
        """Say whether one was followed together with the other for a while."""
        known = self.cost(one, two)
        return known is not None and known[0] < KIND_COST and known[1] >= FOLLOWED_COUNT

    def joining(self, unit: tuple[K, ...], group: Sequence[tuple[K, ...]]) -> tuple[float, int]:
        """Return what it costs that a unit joins a group: the mean of the strongest evidence; NEVER if any forbids."""
        costs: list[tuple[float, int]] = []
        for other in group:
            found = self.cost(unit, other)
            if found is None:
                continue
            if found[0] >= APART:
                return NEVER, 0
            costs.append(found)
        if not costs:
            return NEVER, 0
        kind = min(cost // KIND_COST for cost, _ in costs)
        strongest = [(cost, count) for cost, count in costs if cost // KIND_COST == kind]
        return math.fsum(cost for cost, _ in strongest) / len(strongest), max(count for _, count in strongest)


def _linked(members: Sequence[K], links: Links[K]) -> list[tuple[K, ...]]:
    """Return the members in order; those that an operator called the same as one unit, where the first stands."""
    unit_of: dict[K, list[K]] = {member: [member] for member in members}
    for link in links.same:
        units = sorted((unit_of[key] for key in link if key in unit_of), key=lambda unit: members.index(unit[0]))
        one = units[0] if units else []
        for other in units[1:]:
            if other is one or any(frozenset((a, b)) in links.apart for a in one for b in other):
                continue  # a newer word holds some of them apart
            one.extend(other)
            unit_of.update(dict.fromkeys(other, one))
    place = {member: index for index, member in enumerate(members)}
    first = {id(unit): unit for unit in unit_of.values()}
    found = [tuple(sorted(unit, key=place.__getitem__)) for unit in first.values()]
    return sorted(found, key=lambda unit: place[unit[0]])


def _components(units: Sequence[tuple[K, ...]], found: _Pairs[K]) -> list[list[tuple[K, ...]]]:
    """Return the units that anything connects, in order."""
    left = list(units)
    components = []
    while left:
        component, waiting = [left[0]], [left.pop(0)]
        while waiting:
            one = waiting.pop()
            near = [two for two in left if (known := found.cost(one, two)) is not None and known[0] < APART]
            left = [two for two in left if two not in near]
            component += near
            waiting += near
        place = {unit: index for index, unit in enumerate(units)}
        components.append(sorted(component, key=place.__getitem__))
    return components


def _seated(units: Sequence[tuple[K, ...]], found: _Pairs[K]) -> list[list[tuple[K, ...]]]:
    """Return the groups of one component. In each, the unit of the largest layer comes first."""
    layers = _layers(units, found)
    groups: list[list[tuple[K, ...]]] = []
    for layer in layers:
        groups = _assign(layer, groups, found)
    for _ in range(AGAIN_MAX):
        before = [list(group) for group in groups]
        for layer in layers:
            without = [[unit for unit in group if unit not in layer] for group in groups]
            groups = _assign(layer, [group for group in without if group], found)
        if {frozenset(group) for group in before} == {frozenset(group) for group in groups}:
            break
    groups = _second_names(groups, found)
    return [[unit for layer in layers for unit in layer if unit in group] for group in groups]


def _second_names(groups: list[list[tuple[K, ...]]], found: _Pairs[K]) -> list[list[tuple[K, ...]]]:
    """Return the groups; one that differs by nothing but a second name is with the only other that it fits."""
    for group in sorted(groups, key=len):
        fits = [other for other in groups if other is not group and _is_second_name(group, other, found)]
        if fits and all(_is_second_name(one, two, found) for one, two in combinations(fits, 2)):
            fits[0].extend(group)
            group.clear()
    return [group for group in groups if group]


def _is_second_name(group: Sequence[tuple[K, ...]], other: Sequence[tuple[K, ...]], found: _Pairs[K]) -> bool:
    """Say whether nothing but second names keeps two groups apart, and others have long followed one with the other.

    If a difference is seen, or if nobody else sees one object there, it must be one name alone.
    """
    named: set[tuple[K, ...]] = set()
    twice: list[tuple[tuple[K, ...], tuple[K, ...]]] = []
    is_witnessed, is_vague = False, True
    for one in group:
        for two in other:
            known = found.cost(one, two)
            if known is None:
                continue
            if known[0] >= CONTRARY:
                return False
            if known[0] >= APART:
                named.add(one)
                twice.append((one, two))
                is_vague = is_vague and known[0] < UNLIKELY
            elif known[0] < KIND_COST and known[1] >= SECOND_NAME_COUNT:
                is_witnessed = True
    if is_witnessed and len(named) == 1:
        return True
    once = set(group) | set(other)
    once -= {unit for pair in twice for unit in pair}
    return is_vague and any(all(found.is_followed(unit, name) for name in pair) for pair in twice for unit in once)


def _layers(units: Sequence[tuple[K, ...]], found: _Pairs[K]) -> list[list[tuple[K, ...]]]:
    """Return the units in layers of those that are certainly not the same, the largest first."""
    layers: list[list[tuple[K, ...]]] = []
    for unit in units:
        for layer in layers:
            if all((known := found.cost(unit, other)) is not None and known[0] >= APART for other in layer):
                layer.append(unit)
                break
        else:
            layers.append([unit])
    return sorted(layers, key=len, reverse=True)


def _assign(
    layer: Sequence[tuple[K, ...]], groups: Sequence[list[tuple[K, ...]]], found: _Pairs[K]
) -> list[list[tuple[K, ...]]]:
    """Return the groups with a layer assigned to them; who fits none begins another."""
    costs = [
        [found.joining(unit, group)[0] for group in groups]
        + [ALONE if index == own else NEVER for own in range(len(layer))]
        for index, unit in enumerate(layer)
    ]
    joined = [list(group) for group in groups]
    for unit, column in zip(layer, assigned(costs), strict=True):
        if column < len(groups):
            joined[column].append(unit)
        else:
            joined.append([unit])
    return joined


def _open(groups: Sequence[Sequence[tuple[K, ...]]], found: _Pairs[K]) -> set[K]:
    """Return the members that another assignment would put elsewhere at nearly the same cost."""
    undecided: set[K] = set()
    for index, group in enumerate(groups):
        for unit in group[1:]:
            cost, count = found.joining(unit, [other for other in group if other is not unit])
            if cost >= KIND_COST or count > OPEN_COUNT_MAX or len(unit) > 1:
                continue
            others = [other for at, other in enumerate(groups) if at != index]
            if any(_exchange(unit, group, other, found) < OPEN_MARGIN for other in others):
                undecided.update(unit)
    return undecided


def _exchange(
    unit: tuple[K, ...], own: Sequence[tuple[K, ...]], other: Sequence[tuple[K, ...]], found: _Pairs[K]
) -> float:
    """Return what it would cost more to have a unit in another group, if need be in exchange for one that is there."""
    rest = [one for one in own if one is not unit]
    before = found.joining(unit, rest)[0]
    best = found.joining(unit, other)[0] - before
    for rival in other:
        remaining = [one for one in other if one is not rival]
        if remaining:
            after = found.joining(unit, remaining)[0] + found.joining(rival, rest)[0]
            best = min(best, after - before - found.joining(rival, remaining)[0])
    return best


def _one_by_one(units: Sequence[tuple[K, ...]], found: _Pairs[K]) -> list[list[K]]:
    """Return the groups where each unit takes the best that is there."""
    groups: list[list[tuple[K, ...]]] = []
    for unit in units:
        costs = [(found.joining(unit, group)[0], index) for index, group in enumerate(groups)]
        best = min(costs, default=(NEVER, 0))
        if best[0] < NEVER:
            groups[best[1]].append(unit)
        else:
            groups.append([unit])
    return [[member for unit in group for member in unit] for group in groups]
