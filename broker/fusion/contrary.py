"""What one origin says beside all others' object is that object in conflict, and no second launch.

Two groups are *contrary* if nothing but CONTRARY pairs (`verdict`) keeps them apart: their tracks began as one, or are
near. They are one, to be shown as a conflict, if a single origin is all that contradicts on one side, that origin has
no name of its own on the other side (who names two objects at the same time means two), and neither group is contrary
to a third. In a salvo each origin names all, so that this joins nothing there.

That hides a launch only if it is a few kilometres beside another one, and those who see one do not see the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

__all__ = ["with_contrary"]

K = TypeVar("K", bound="Hashable")


def with_contrary(
    groups: Sequence[list[K]],
    contrary: Iterable[tuple[K, K]],
    is_apart: Callable[[K, K], bool],
    origin: Callable[[K], str],
) -> list[list[K]]:
    """Return the groups, those of one object in conflict together.

    `contrary`: the pairs that are; `is_apart`: whether something else than that keeps two apart.
    """
    place = {member: index for index, group in enumerate(groups) for member in group}
    found: dict[tuple[int, int], tuple[set[str], set[str]]] = {}
    for one, two in contrary:
        first, second = (one, two) if place[one] < place[two] else (two, one)
        sides = found.setdefault((place[first], place[second]), (set(), set()))
        sides[0].add(origin(first))
        sides[1].add(origin(second))
    partners: dict[int, list[int]] = {}
    for (index, other), sides in sorted(found.items()):
        is_by_one = index != other and min(map(len, sides)) == 1
        if is_by_one and not any(is_apart(one, two) for one in groups[index] for two in groups[other]):
            partners.setdefault(index, []).append(other)
            partners.setdefault(other, []).append(index)
    joined = [list(group) for group in groups]
    for index, others in partners.items():
        if len(others) == 1 and index < others[0] and len(partners[others[0]]) == 1:
            joined[index] += joined[others[0]]
            joined[others[0]] = []
    return [group for group in joined if group]
