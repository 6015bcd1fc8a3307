"""What lint says of times: which rules keep a warning waiting, and which give exact places back by showing coarse ones.

A message with a time that is not shown exactly waits for the end of that time's cell (`due`), which a first report must
not; one that is later than what fusion replays moves no picture; coarse places at close intervals average to the exact.

All of it follows from rules that match together, and which do depends on messages. So each rule is looked at with those
that surely match whenever it does: a warning says "as far as can be seen without a message".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.release.conditions import Truth
from broker.gateway.release.decide import levels_of, terms_of
from broker.gateway.release.due import PREDICTIONS, told_level
from broker.gateway.release.engine import settle
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import Effect
from broker.gateway.release.shown import shown_of
from broker.leaves import BODIES_UNDER_POLICY
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from broker.gateway.release.conditions import Predicate
    from broker.gateway.release.policy import Policy, Rule
    from broker.gateway.release.shown import Shown

__all__ = ["Untimely", "untimely"]

PLACE: Final = "track.state.position_m"
FUSED: Final = frozenset({"launch", "track", "impact", "status"})
# What a message takes on its way besides its policy's delay, clocks that differ included.
WAY_S: Final = 60.0
LATE_MAX_S: Final = limits.HORIZON_S - WAY_S


@dataclass(frozen=True, slots=True)
class Untimely:
    """One thing that a rule comes to."""

    rule: Rule
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Case:
    """Rules that match together for one recipient and kind of body, and the one among them that is looked at."""

    body: str
    rules: Sequence[Rule]
    rule: Rule
    interval_s: float


def untimely(policy: Policy) -> Iterator[Untimely]:
    """Yield what the rules come to, each thing once for all whom it concerns."""
    group_of = {path: group for group, paths in policy.groups.items() for path in paths}
    found: dict[tuple[str, str, str], tuple[Rule, list[str]]] = {}
    for recipient in policy.recipients:
        for case in _cases(policy, recipient):
            levels = levels_of(case.rules, policy.groups)
            shown = shown_of({path: levels[group] for path, group in group_of.items()}, case.body)
            if shown.is_anything:
                for rule, code, text in _look(case, shown, group_of):
                    _, concerned = found.setdefault((rule.rule_id, code, text), (rule, []))
                    if recipient not in concerned:
                        concerned.append(recipient)
    for (_, code, text), (rule, concerned) in found.items():
        yield Untimely(rule, code, text.replace(_WHOM, " and ".join(concerned)))


_WHOM: Final = "\0"  # where a message names the recipients


def _look(case: _Case, shown: Shown, group_of: Mapping[str, str]) -> Iterator[tuple[Rule, str, str]]:
    late_s = delay_s = terms_of(case.rules).delay_s
    for path, level in shown.inexact_times:
        if not path.startswith(PREDICTIONS):
            late_s = max(late_s, delay_s + told_level(level).time_s)
            culprit = _culprit(case, group_of.get(path, ""), level)
            if culprit is not None and (case.body == "launch" or level == Level.WITHHELD):
                yield _waits(culprit, case.body, group_of.get(path, path), level, delay_s)
    if case.body in FUSED and late_s > LATE_MAX_S:
        yield _too_late(max(case.rules, key=lambda rule: rule.delay_s), case.body, late_s)
    place = shown.levels.get(PLACE, Level.EXACT)
    if place.is_coarse and case.interval_s < place.time_s:
        culprit = _culprit(case, group_of[PLACE], place)
        if culprit is not None:
            yield _averages_out(culprit, place)


def _waits(rule: Rule, body: str, group: str, level: Level, delay_s: float) -> tuple[Rule, str, str]:
    how = f"withheld from {_WHOM}" if level == Level.WITHHELD else f"at {level.label} for {_WHOM}"
    wait = f"{told_level(level).time_s} s" + (f" and {delay_s:g} s of delay" if delay_s else "")
    text = f"{group} is {how}: a {body} waits for the end of that cell of time, up to {wait}"
    if body == "launch":
        return rule, "late-first-report", f"{text}; to send a first report at once, give {group}: exact"
    return rule, "withheld-time-waits", f"{text}; give {group}: exact to send it at once, or 60s if it is meant to wait"


def _too_late(rule: Rule, body: str, late_s: float) -> tuple[Rule, str, str]:
    text = (
        f"a {body} goes to {_WHOM} up to {late_s:g} s late, and fusion may replay no more than {LATE_MAX_S:g} s: "
        "it would be shown, and move no picture; shorten the delay, or make the times finer"
    )
    return rule, "too-late-for-fusion", text


def _averages_out(rule: Rule, place: Level) -> tuple[Rule, str, str]:
    text = (
        f"tracks go to {_WHOM} in cells of {place.space_m / 1000:g} km as often as they come, and many coarse "
        f"positions give back the exact one: add minimum_interval_s, at least {place.time_s}"
    )
    return rule, "places-average-out", text


def _culprit(case: _Case, group: str, level: Level) -> Rule | None:
    """Return the rule to which it is owed that a group is no finer; None where another case is about that."""
    caps = [rule for rule in case.rules if rule.effect is Effect.LIMIT and rule.levels.get(group) == level]
    if case.rule.effect is Effect.LIMIT:
        return case.rule if case.rule in caps and len(caps) == 1 else None
    given = max(rule.levels.get(group, Level.WITHHELD) for rule in case.rules if rule.effect is Effect.RELEASE)
    return caps[0] if caps and given > level else case.rule


def _cases(policy: Policy, recipient: str) -> Iterator[_Case]:
    rules = [rule for rule in policy.rules if recipient in rule.to]
    for body in BODIES_UNDER_POLICY:
        seen: list[dict[str, Predicate]] = []
        for mode in content_pb2.Mode.values():
            known: dict[str, str | int] = {"to": recipient, "body": body, "mode": mode}
            settled = {rule.rule_id: settle(rule.predicate, known) for rule in rules}
            if settled not in seen:  # most rules do not speak of modes
                seen.append(settled)
                yield from _cases_of(body, [rule for rule in rules if settled[rule.rule_id] != _NEVER], settled)


_NEVER: Final = Truth(value=False)
_ALWAYS: Final = Truth(value=True)


def _cases_of(body: str, rules: Sequence[Rule], settled: Mapping[str, Predicate]) -> Iterator[_Case]:
    releases = [rule for rule in rules if rule.effect is Effect.RELEASE]
    sure = [rule for rule in rules if settled[rule.rule_id] == _ALWAYS]
    for rule in releases:
        same = [other for other in rules if settled[other.rule_id] in (_ALWAYS, settled[rule.rule_id])]
        if not any(other.effect is Effect.DENY for other in same):
            yield _Case(body, same, rule, terms_of(same).minimum_interval_s)
    limits_sure = [rule for rule in sure if rule.effect is Effect.LIMIT]
    least_s = min((rule.minimum_interval_s for rule in releases), default=0.0)
    for rule in rules if releases and not any(other.effect is Effect.DENY for other in sure) else ():
        if rule.effect is Effect.LIMIT and rule not in sure:
            with_it = [*limits_sure, rule]
            yield _Case(body, [*releases, *with_it], rule, max(least_s, terms_of(with_it).minimum_interval_s))
