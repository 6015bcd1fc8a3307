"""What two decisions about one message for one recipient differ in: the old one as it is, the new one as it would be.

Leaf by leaf, by what is *shown* and not by what rules say: a limit on something that nobody was shown changes nothing.
A difference `releases_more` if anything is shown that was not, or more exactly, sooner, more often, or under fewer
caveats. Everything else takes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from broker.gateway.release.lattice import Level

if TYPE_CHECKING:
    from broker.gateway.release.decision import Decision

__all__ = ["Change", "Delta", "LeafChange", "TermChange", "delta_of"]


class Change(Enum):
    """How one decision, or one leaf in it, differs from another."""

    SAME = "same"
    NEWLY_RELEASED = "newly-released"
    NEWLY_WITHHELD = "newly-withheld"
    FINER = "finer"
    COARSER = "coarser"
    TERMS = "terms"  # delay, least interval or caveats
    FAULT = "fault"  # one of the two could not be made, and so denied


# Where one decision changes in several ways it is counted as the gravest: what shows more before what shows less.
_GRAVEST = (Change.NEWLY_RELEASED, Change.FINER, Change.NEWLY_WITHHELD, Change.COARSER, Change.TERMS)


@dataclass(frozen=True, slots=True)
class LeafChange:
    """One leaf that is shown otherwise."""

    path: str
    old: Level
    new: Level

    @property
    def change(self) -> Change:
        """In which way."""
        if self.old == Level.WITHHELD:
            return Change.NEWLY_RELEASED
        if self.new == Level.WITHHELD:
            return Change.NEWLY_WITHHELD
        return Change.FINER if self.new > self.old else Change.COARSER


@dataclass(frozen=True, slots=True)
class TermChange:
    """One term, on which something is released in both, that is another; as people write it."""

    term: str  # delay | minimum interval | caveats
    old: str
    new: str
    releases_more: bool


@dataclass(frozen=True, slots=True)
class Delta:
    """All that two decisions differ in."""

    leaves: tuple[LeafChange, ...]
    terms: tuple[TermChange, ...]  # none unless both release something
    fault: str = ""

    @property
    def change(self) -> Change:
        """The gravest of all."""
        if self.fault:
            return Change.FAULT
        found = {leaf.change for leaf in self.leaves} | ({Change.TERMS} if self.terms else set())
        return next((change for change in _GRAVEST if change in found), Change.SAME)

    @property
    def releases_more(self) -> bool:
        """Whether the new decision lets anything out that the old one did not."""
        return any(leaf.new > leaf.old for leaf in self.leaves) or any(term.releases_more for term in self.terms)


def delta_of(old: Decision, new: Decision) -> Delta:
    """Return what they differ in."""
    before, after = old.shown.levels, new.shown.levels
    paths = sorted(before.keys() | after.keys())
    levels = [(path, before.get(path, Level.WITHHELD), after.get(path, Level.WITHHELD)) for path in paths]
    leaves = tuple(LeafChange(path, was, becomes) for path, was, becomes in levels if was != becomes)
    both = old.released and new.released
    return Delta(leaves, _terms(old, new) if both else (), old.fault or new.fault)


def _terms(old: Decision, new: Decision) -> tuple[TermChange, ...]:
    changed: list[TermChange] = []
    for term, before_s, after_s in (
        ("delay", old.delay_s, new.delay_s),
        ("minimum interval", old.minimum_interval_s, new.minimum_interval_s),
    ):
        if before_s != after_s:
            changed.append(TermChange(term, f"{before_s:g} s", f"{after_s:g} s", after_s < before_s))
    if old.caveats != new.caveats:
        before, after = (", ".join(each) or "none" for each in (old.caveats, new.caveats))
        changed.append(TermChange("caveats", before, after, not set(new.caveats).issuperset(old.caveats)))
    return tuple(changed)
