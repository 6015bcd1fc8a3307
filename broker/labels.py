"""Labels as a lattice: which of two is the stricter, and what a product of several must say. Pure.

A label is STANAG 4774's in small: whose policy, how classified, releasable to whom (permissive: fewer is stricter),
under which caveats (restrictive: more is stricter), and whether its originator keeps control. Label b *dominates* a,
where b is at least as strict as a in each of them:

    a <= b  iff  classification(a) <= classification(b),  releasable_to(a) contains releasable_to(b),
                 caveats(a) and owners(a) are among those of b,  and b is under control where a is

`join` is the least label that dominates all: highest classification, only those to whom *every* input may go, all
caveats, all owners, control if any input has it. It is idempotent, commutative and associative, so the order in which
inputs came, and how often, cannot be read from it.

What is not labelled (no policy, no classification, or one that this version does not know) is `UNLABELLED`: the top.
It dominates every label, nobody may read it, and whatever it goes into is unlabelled too. So is a product of nothing.

On the wire a label names one owner. A product of several names whoever made it, who is nobody's originator; so it is
under originator control, and each owner keeps it: nothing goes on but by the word of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vedette.v1.envelope_pb2 import Classification, SecurityLabel

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["UNLABELLED", "Label", "dominates", "join", "readable_by"]

_KNOWN: Final = frozenset(Classification.values()) - {Classification.CLASSIFICATION_UNSPECIFIED}


@dataclass(frozen=True, slots=True)
class Label:
    """One element. `UNLABELLED` is the only one without a classification."""

    classification: Classification.ValueType
    releasable_to: frozenset[str]  # empty: nobody
    caveats: frozenset[str]
    owners: frozenset[str]  # whose it is; of a product: of all that went in
    originator_controlled: bool

    @classmethod
    def of(cls, label: SecurityLabel) -> Label:
        """Return what a label on the wire says; UNLABELLED where it says too little, or what we do not know."""
        if label.classification not in _KNOWN or not label.policy:
            return UNLABELLED
        return cls(
            classification=label.classification,
            releasable_to=frozenset(label.releasable_to),
            caveats=frozenset(label.caveats),
            owners=frozenset({label.policy}),
            originator_controlled=label.originator_controlled,
        )

    def product(self, maker: str) -> SecurityLabel:
        """Return the label on the wire of what `maker` made of it: the owners keep control. Of UNLABELLED: none."""
        if self == UNLABELLED:
            return SecurityLabel()
        return SecurityLabel(
            policy=maker,
            classification=self.classification,
            releasable_to=sorted(self.releasable_to),
            caveats=sorted(self.caveats),
            originator_controlled=self.originator_controlled or self.owners != {maker},
        )


UNLABELLED: Final = Label(
    Classification.CLASSIFICATION_UNSPECIFIED, frozenset(), frozenset(), frozenset(), originator_controlled=True
)


def dominates(upper: Label, lower: Label) -> bool:
    """Say whether `upper` is at least as strict as `lower` in everything."""
    if UNLABELLED in (upper, lower):
        return upper == UNLABELLED
    return (
        lower.classification <= upper.classification
        and lower.releasable_to >= upper.releasable_to
        and lower.caveats <= upper.caveats
        and lower.owners <= upper.owners
        and lower.originator_controlled <= upper.originator_controlled
    )


def join(labels: Iterable[Label]) -> Label:
    """Return the least label that dominates all of them; UNLABELLED of none."""
    listed = list(labels)
    if not listed or UNLABELLED in listed:
        return UNLABELLED
    return Label(
        classification=max(each.classification for each in listed),
        releasable_to=frozenset.intersection(*(each.releasable_to for each in listed)),
        caveats=frozenset[str]().union(*(each.caveats for each in listed)),
        owners=frozenset[str]().union(*(each.owners for each in listed)),
        originator_controlled=any(each.originator_controlled for each in listed),
    )


def readable_by(
    label: Label, member: str, *, clearance: Classification.ValueType, caveats: frozenset[str] = frozenset()
) -> bool:
    """Say whether a member may read it: named, cleared as high, and used to all of its caveats."""
    return (
        label != UNLABELLED
        and member in label.releasable_to
        and label.classification <= clearance
        and label.caveats <= caveats
    )
