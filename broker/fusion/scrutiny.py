"""Who contradicts whom over one object, and whose reports therefore do not count in its track.

Every origin that reports the object has its own track of it here, made from its own reports and nobody else's, and is
held against each other origin's own track (`testimony`). A liar is in no track but his own: he makes nobody else look
wrong, whatever accuracy he claims. From who contradicts whom follows who is flagged:

* with two origins, nobody can say who is wrong: a contradiction, no flag;
* from three on, those are flagged who differ from the most others, at least two, and contradict one of them, if they
  are fewer than half of all; then the same again among the rest. Where it cannot be settled so (two against two, three
  ways), nobody is flagged;
* nobody is a witness whose reports may contain another's (lineage): two nations that pass on one liar's data do not
  outvote an honest one.

While an origin is flagged, none of its reports counts in the fused track; when it agrees again, those from then on do.
One report per origin and `CELL_NS` goes in here, so that a flood slows down nobody. The state after a report follows
from the reports up to it, in fold order, and from nothing else: a late report is inserted and what is behind it
computed again, as in `history`.

Source: fault detection and exclusion as for satellite navigation (Parkinson and Axelrad 1988; Brown 1992).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from broker.fusion import estimate
from broker.fusion.history import KEPT_EVERY, KEPT_NEWEST
from broker.fusion.testimony import SILENT, heard
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.fusion.contribution import Key
    from broker.fusion.estimate import Estimate
    from broker.fusion.history import Entry
    from broker.fusion.testimony import Testimony

__all__ = ["Findings", "Scrutiny", "flagged_of"]

CELL_NS: Final = SECOND_NS
NEVER_NS: Final = 1 << 63
WITNESSES_LEAST: Final = 2


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known after one report. `counts_from`: of an origin that was flagged, since when its reports count."""

    own: Mapping[str, Estimate] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], Testimony] = field(default_factory=dict)
    derived: frozenset[str] = frozenset()  # whose reports may contain others'
    flagged: frozenset[str] = frozenset()
    counts_from: Mapping[str, int] = field(default_factory=dict)

    def counts(self, entry: Entry) -> bool:
        """Say whether a report goes into the fused track."""
        return entry.key[0] >= self.counts_from.get(entry.key[1], -NEVER_NS)

    @property
    def contradicting(self) -> frozenset[str]:
        """Return the origins that contradict another, or are contradicted."""
        return frozenset(origin for pair, one in self.pairs.items() if one.grade > 1 for origin in pair)


NOTHING: Final = Findings()


def _after(before: Findings, entry: Entry) -> Findings:
    """Return the findings after one more report."""
    origin, report = entry.key[1], entry.report
    pairs = dict(before.pairs)
    for other, track in before.own.items():
        if other != origin:
            pairs[origin, other] = heard(pairs.get((origin, other), SILENT), report, track)
    own = dict(before.own)
    known = own.get(origin)
    if known is None:
        own[origin] = estimate.start(report, entry.track)
    else:
        own[origin] = estimate.absorb(known, report, entry.track, common=entry.common)
    derived = before.derived | {origin} if entry.common else before.derived
    found = replace(before, own=own, pairs=pairs, derived=derived)
    contradictions = {frozenset(pair) for pair, one in pairs.items() if one.grade > 1}
    if not contradictions and not before.flagged:
        return found
    differences = {frozenset(pair) for pair, one in pairs.items() if one.grade}
    flagged = flagged_of(own, differences, contradictions, derived)
    if flagged == before.flagged:
        return found
    counts_from = dict(before.counts_from)
    counts_from.update(dict.fromkeys(flagged, NEVER_NS))
    counts_from.update(dict.fromkeys(before.flagged - flagged, report.time_ns))
    return replace(found, flagged=flagged, counts_from=counts_from)


def flagged_of(
    origins: Iterable[str],
    differences: Iterable[frozenset[str]],
    contradictions: Iterable[frozenset[str]],
    derived: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """Return who is wrong, as far as that can be said, by pairs of origins. `derived`: who is no witness."""
    left, pairs = set(origins), set(differences)
    in_contradiction = frozenset().union(*contradictions)
    most = (len(left) - 1) // 2  # fewer than half of all
    flagged: set[str] = set()
    while pairs:
        against = {one: sum(1 for pair in pairs if one in pair and not pair - {one} & derived) for one in left}
        highest = max(against.values())
        worst = {one for one, count in against.items() if count == highest}
        if highest < WITNESSES_LEAST or len(flagged) + len(worst) > most or not worst <= in_contradiction:
            break
        flagged |= worst
        left -= worst
        pairs = {pair for pair in pairs if not pair & worst}
    return frozenset(flagged)


class Scrutiny:
    """The reports of one object and what they say of those who made them."""

    def __init__(self) -> None:
        """Start without reports."""
        self.entries: dict[Key, Entry] = {}
        self._cells: dict[tuple[str, int], tuple[Key, ...]] = {}  # in order; the first of each goes in
        self._cells_of: dict[str, int] = {}  # how many there are of each origin
        self._keys: list[Key] = []  # of those that go in
        self._findings: list[Findings | None] = []  # after each; those behind the last are still to be computed

    def copy(self) -> Scrutiny:
        """Return another with the same reports."""
        twin = Scrutiny()
        twin.entries, twin._cells, twin._cells_of = dict(self.entries), dict(self._cells), dict(self._cells_of)
        twin._keys, twin._findings = list(self._keys), list(self._findings)
        return twin

    def change(self, *, added: Iterable[Entry], removed: Iterable[Key]) -> None:
        """Put reports in and take reports out."""
        for key in removed:
            if self.entries.pop(key, None) is not None:
                self._place(key, is_here=False)
        for entry in added:
            known = self.entries.get(entry.key)
            self.entries[entry.key] = entry
            if known is None:
                self._place(entry.key, is_here=True)
            elif known != entry:
                self._compute_from(bisect_left(self._keys, entry.key))

    @property
    def findings(self) -> Findings:
        """Return what is known after the newest report. Nothing, as long as only one origin reports."""
        if len(self._cells_of) < 2:  # noqa: PLR2004 - one cannot be compared
            self._findings.clear()
            return NOTHING
        while self._findings and self._findings[-1] is None:
            self._findings.pop()
        last = self._findings[-1] if self._findings else NOTHING
        for key in self._keys[len(self._findings) :]:
            last = _after(last or NOTHING, self.entries[key])
            self._findings.append(last)
            old = len(self._findings) - KEPT_NEWEST - 1
            if old >= 0 and old % KEPT_EVERY:
                self._findings[old] = None
        return last or NOTHING

    def _place(self, key: Key, *, is_here: bool) -> None:
        """Note that a report has come or gone; the first of its cell goes in."""
        cell = (key[1], key[0] // CELL_NS)
        before = self._cells.get(cell, ())
        after = tuple(sorted((*before, key))) if is_here else tuple(one for one in before if one != key)
        if after:
            self._cells[cell] = after
        else:
            self._cells.pop(cell, None)
        if bool(before) != bool(after):
            count = self._cells_of.get(key[1], 0) + (1 if after else -1)
            self._cells_of[key[1]] = count
            if not count:
                del self._cells_of[key[1]]
        if before[:1] == after[:1]:
            return
        for gone in before[:1]:
            index = bisect_left(self._keys, gone)
            del self._keys[index]
            self._compute_from(index)
        for new in after[:1]:
            self._compute_from(bisect_left(self._keys, new))
            insort(self._keys, new)

    def _compute_from(self, index: int) -> None:
        """Forget what follows from reports from this place on."""
        del self._findings[index:]
