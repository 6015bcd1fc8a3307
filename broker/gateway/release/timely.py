"""What lint says of times: which rules keep a warning waiting, and which give exact places back by showing coarse ones.

A message with a time that is not shown exactly waits for the end of that time's cell (`due`), which a first report must
not; one that is later than what fusion replays moves no picture; coarse places at close intervals average to the exact.

There is no "coarse time sent at once" to find: whatever a rule says, a message with a coarse time leaves at the end of
that cell, so what is left to say is how long that takes. And only tracks average out. A launch or an impact is one
place, told again when the origin knows better; an interval would keep the better one back, and no warning is kept back
for the sake of a cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.release.cases import WHOM, Remark, culprit, gathered
from broker.gateway.release.decide import terms_of
from broker.gateway.release.due import PREDICTIONS, told_level
from broker.gateway.release.lattice import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from broker.gateway.release.cases import Case
    from broker.gateway.release.policy import Policy, Rule

__all__ = ["untimely"]

PLACE: Final = "track.state.position_m"
FUSED: Final = frozenset({"launch", "track", "impact", "status"})
# What a message takes on its way besides its policy's delay, clocks that differ included.
WAY_S: Final = 60.0
LATE_MAX_S: Final = limits.HORIZON_S - WAY_S


def untimely(policy: Policy, looked_at: Iterable[Case]) -> Iterator[Remark]:
    """Yield what the rules come to, each thing once for all whom it concerns."""
    group_of = {path: group for group, paths in policy.groups.items() for path in paths}
    yield from gathered((case.recipient, remark) for case in looked_at for remark in _look(case, group_of))


def _look(case: Case, group_of: Mapping[str, str]) -> Iterator[Remark]:
    shown = case.shown
    late_s = delay_s = terms_of(case.rules).delay_s
    for path, level in shown.inexact_times:
        if not path.startswith(PREDICTIONS):
            late_s = max(late_s, delay_s + told_level(level).time_s)
            blamed = culprit(case, group_of.get(path, ""), level)
            if blamed is not None and (case.body == "launch" or level == Level.WITHHELD):
                yield _waits(blamed, case.body, group_of.get(path, path), level, delay_s)
    if case.body in FUSED and late_s > LATE_MAX_S:
        yield _too_late(max(case.rules, key=lambda rule: rule.delay_s), case.body, late_s)
    place = shown.levels.get(PLACE, Level.EXACT)
    if place.is_coarse and case.interval_s < place.time_s:
        blamed = culprit(case, group_of[PLACE], place)
        if blamed is not None:
            yield _averages_out(blamed, place)


def _waits(rule: Rule, body: str, group: str, level: Level, delay_s: float) -> Remark:
    how = f"withheld from {WHOM}" if level == Level.WITHHELD else f"at {level.label} for {WHOM}"
    wait = f"{told_level(level).time_s} s" + (f" and {delay_s:g} s of delay" if delay_s else "")
    text = f"{group} is {how}: a {body} waits for the end of that cell of time, up to {wait}"
    if body == "launch":
        return Remark(rule, "late-first-report", f"{text}; to send a first report at once, give {group}: exact")
    return Remark(
        rule, "withheld-time-waits", f"{text}; give {group}: exact to send it at once, or 60s if it is meant to wait"
    )


def _too_late(rule: Rule, body: str, late_s: float) -> Remark:
    text = (
        f"a {body} goes to {WHOM} up to {late_s:g} s late, and fusion may replay no more than {LATE_MAX_S:g} s: "
        "it would be shown, and move no picture; shorten the delay, or make the times finer"
    )
    return Remark(rule, "too-late-for-fusion", text)


def _averages_out(rule: Rule, place: Level) -> Remark:
    text = (
        f"tracks go to {WHOM} in cells of {place.space_m / 1000:g} km as often as they come, and many coarse "
        f"positions give back the exact one: add minimum_interval_s, at least {place.time_s}"
    )
    return Remark(rule, "places-average-out", text)
