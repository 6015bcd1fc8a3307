"""What can be computed from released values may not be shown finer than what it would give away.

Whoever is shown a track in cells of 10 km and its exact speed adds the speed up and has the track. `INFERENCES` is the
list of such ways from values to a place or a time, each with its reason. A way is as exact as the coarsest value that
it needs; if that is finer than its target is shown, the target's level is an illusion, and lint says so. The levels of
place and time are made for this comparison (`lattice`).

Within one message, a target that is not shown gives those ways nothing to begin with. Of several messages about one
event, only what each of them surely shows (by releases for every message of its kind) is held against the finest that
the target is ever shown: so a finding is true of every event. Limits for some labels are looked at too, because
messages about one event bear one label; limits by sensor are not, because what else a sensor reports is not seen from
the rules. A kind of message of which a recipient is shown nothing is no target: the policy says nothing of it.

Left out are ways that end coarser than they began: from a track back to the launch (thrust is not known), from the
instant of detection to that of the launch, from a province to a place in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.gateway.release.cases import ALWAYS, NEVER, WHOM, Remark, culprit, gathered
from broker.gateway.release.conditions import Compare, Contains, Flag, Present, Truth
from broker.gateway.release.decide import levels_of
from broker.gateway.release.engine import parts_of, settle
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import Effect
from broker.gateway.release.shown import Shown, shown_of
from broker.leaves import HEADER
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from broker.gateway.release.cases import Case
    from broker.gateway.release.conditions import Predicate
    from broker.gateway.release.policy import Policy, Rule

__all__ = ["INFERENCES", "Inference", "Value", "inferred"]


@dataclass(frozen=True, slots=True)
class Value:
    """Something that leaves say, as exactly as the finest of them."""

    name: str
    body: str
    paths: tuple[str, ...]

    def level(self, shown: Mapping[str, Shown]) -> Level:
        """Return how exactly it is shown by messages of these bodies."""
        levels = shown[self.body].levels if self.body in shown else {}
        return max(levels.get(path, Level.WITHHELD) for path in self.paths)

    def groups(self, policy: Policy) -> tuple[str, ...]:
        """Return the groups in which its leaves stand."""
        return tuple(group for group, paths in policy.groups.items() if not set(self.paths).isdisjoint(paths))


@dataclass(frozen=True, slots=True)
class Inference:
    """All of the values together give the target away."""

    values: tuple[Value, ...]
    target: Value
    reason: str
    is_of_time: bool = False

    @property
    def bodies(self) -> frozenset[str]:
        """The kinds of messages that it takes."""
        return frozenset(value.body for value in (*self.values, self.target))


def _area(body: str, field: str) -> tuple[str, ...]:
    return (f"{body}.{field}.ellipse.centre.lat_deg", f"{body}.{field}.polygon.ring.lat_deg")


def _window(body: str, field: str) -> tuple[str, ...]:
    return tuple(f"{body}.{field}.{which}" for which in ("earliest", "best", "latest"))


LAUNCH_PLACE: Final = Value("the launch place", "launch", _area("launch", "launch_area"))
LAUNCH_TIME: Final = Value("the launch time", "launch", _window("launch", "launch_time"))
DIRECTION: Final = Value("the direction", "launch", ("launch.azimuth_deg",))
TRACK_PLACE: Final = Value("the track's place", "track", ("track.state.position_m",))
TRACK_TIME: Final = Value("the track's time", "track", ("track.state.valid_at",))
SPEED: Final = Value("the speed", "track", ("track.state.velocity_mps",))
APOGEE: Final = Value("the apogee", "track", ("track.apogee_m.value",))
RANGE: Final = Value("the range", "track", ("track.ground_range_m.value",))
OBSERVED: Final = Value("the time of observation", "track", (f"{HEADER}.observed_at",))  # of a track's message
IMPACT_PLACE: Final = Value("the impact place", "impact", _area("impact", "area"))
IMPACT_TIME: Final = Value("the impact time", "impact", _window("impact", "time"))

INFERENCES: Final = (
    # --- in one message
    Inference((SPEED,), TRACK_PLACE, "added up over time, speed carries one known place on to all others"),
    Inference((APOGEE,), TRACK_PLACE, "of the paths through a few coarse places only one has this apogee"),
    Inference((RANGE,), TRACK_PLACE, "of the paths through a few coarse places only one has this range"),
    Inference((TRACK_PLACE,), TRACK_TIME, "of a thing that moves, where it was says when", is_of_time=True),
    Inference((OBSERVED,), TRACK_TIME, "a track is true when it is observed", is_of_time=True),
    # --- from several messages about one event
    Inference(
        (LAUNCH_PLACE, DIRECTION, RANGE), IMPACT_PLACE, "the impact lies at that range from the launch"
    ),
    Inference(
        (IMPACT_PLACE, DIRECTION, RANGE), LAUNCH_PLACE, "the launch lies at that range from the impact"
    ),
    Inference((TRACK_PLACE, TRACK_TIME), IMPACT_PLACE, "places at known times give the path, and the path the impact"),
    Inference((TRACK_PLACE, TRACK_TIME), IMPACT_TIME, "places at known times give the path's end", is_of_time=True),
    Inference(
        (LAUNCH_PLACE, LAUNCH_TIME, IMPACT_PLACE, IMPACT_TIME),
        TRACK_PLACE,
        "two places and the time between them have one path without thrust",
    ),
    Inference(
        (LAUNCH_PLACE, LAUNCH_TIME, DIRECTION, APOGEE, RANGE),
        TRACK_PLACE,
        "launch, direction, apogee and range have one path without thrust",
    ),
    Inference(
        (IMPACT_TIME, APOGEE, RANGE), LAUNCH_TIME, "apogee and range have one time of flight", is_of_time=True
    ),
)  # fmt: skip
BODIES: Final = tuple(sorted({body for each in INFERENCES for body in each.bodies}))


def inferred(policy: Policy, looked_at: Iterable[Case]) -> Iterator[Remark]:
    """Yield what the rules give away, each thing once for all whom it concerns."""
    in_one = (found for case in looked_at for found in _in_one_message(policy, case))
    of_several = (found for recipient in policy.recipients for found in _of_several(policy, recipient))
    yield from gathered((*in_one, *of_several))


# --- in one message ---------------------------------------------------------------------------------------------------


def _in_one_message(policy: Policy, case: Case) -> Iterator[tuple[str, Remark]]:
    shown = {case.body: case.shown}
    for each in INFERENCES:
        target, given = each.target.level(shown), min(value.level(shown) for value in each.values)
        if each.bodies == {case.body} and Level.WITHHELD < target < given:
            rule = _blamed(policy, case, each, given, target)
            if rule is not None:
                yield case.recipient, _remark(policy, rule, each, given, target)


def _blamed(policy: Policy, case: Case, each: Inference, given: Level, target: Level) -> Rule | None:
    """Return the limit that should have capped the values too; else the release that gives one of them too finely."""
    (group, *_) = each.target.groups(policy)
    rule = culprit(case, group, target)
    if rule is None or rule.effect is Effect.LIMIT:
        return rule
    return _giving(policy, case.rules, each, given)


# --- of several messages ----------------------------------------------------------------------------------------------


def _of_several(policy: Policy, recipient: str) -> Iterator[tuple[str, Remark]]:
    rules = [rule for rule in policy.rules if recipient in rule.to]
    for usual in _usual_by_mode(policy, rules, recipient):
        for limit in (None, *(rule for rule in rules if _is_of_label(rule))):
            if limit is not None and any(each.settled[limit.rule_id] == NEVER for each in usual.values()):
                continue
            surely = {body: each.shown(policy, body, each.surely, limit) for body, each in usual.items()}
            finest = {body: each.shown(policy, body, each.finest, limit) for body, each in usual.items()}
            for each in INFERENCES:
                target, given = each.target.level(finest), min(value.level(surely) for value in each.values)
                is_shown = each.target.body in finest and finest[each.target.body].is_anything
                if len(each.bodies) > 1 and is_shown and given > target:
                    rule = limit or _giving(policy, rules, each, given)
                    yield recipient, _remark(policy, rule, each, given, target)


@dataclass(frozen=True, slots=True)
class _Usual:
    """What messages of one body surely show one recipient, and the finest that they ever show, by group."""

    settled: Mapping[str, Predicate]
    surely: Mapping[str, Level]
    finest: Mapping[str, Level]
    known: dict[tuple[Level, ...], Shown]

    def shown(self, policy: Policy, body: str, levels: Mapping[str, Level], limit: Rule | None) -> Shown:
        """Return what these levels come to under one more limit."""
        caps = limit.levels if limit is not None else {}
        capped = {group: min(level, caps.get(group, level)) for group, level in levels.items()}
        key = tuple(capped.values())
        if key not in self.known:
            of_leaves = {path: capped[group] for group, paths in policy.groups.items() for path in paths}
            self.known[key] = shown_of(of_leaves, body)
        return self.known[key]


def _usual_by_mode(policy: Policy, rules: Sequence[Rule], recipient: str) -> Iterator[Mapping[str, _Usual]]:
    """Yield what is usual in each mode, for messages about one event are of one mode; what is the same once."""
    seen: list[Mapping[str, Mapping[str, Predicate]]] = []
    for mode in content_pb2.Mode.values():
        settled = {body: _settled(rules, recipient, body, mode) for body in BODIES}
        if mode != content_pb2.MODE_UNSPECIFIED and settled not in seen:  # most rules do not speak of modes
            seen.append(settled)
            yield dict(_usual(policy, rules, settled))


def _settled(rules: Sequence[Rule], recipient: str, body: str, mode: int) -> Mapping[str, Predicate]:
    known: dict[str, str | int] = {"to": recipient, "body": body, "mode": mode}
    return {rule.rule_id: settle(rule.predicate, known) for rule in rules}


def _usual(
    policy: Policy, rules: Sequence[Rule], by_body: Mapping[str, Mapping[str, Predicate]]
) -> Iterator[tuple[str, _Usual]]:
    for body, settled in by_body.items():
        sure = [rule for rule in rules if settled[rule.rule_id] == ALWAYS]
        if not any(rule.effect is Effect.DENY for rule in sure):
            releases = [rule for rule in rules if rule.effect is Effect.RELEASE and settled[rule.rule_id] != NEVER]
            finest = [*releases, *(rule for rule in sure if rule.effect is Effect.LIMIT)]
            yield body, _Usual(settled, levels_of(sure, policy.groups), levels_of(finest, policy.groups), {})


def _is_of_label(rule: Rule) -> bool:
    """Say whether a rule is a limit by label alone: then it meets all messages about an event, or none."""
    if rule.effect is not Effect.LIMIT or isinstance(rule.predicate, Truth):
        return False
    asked = (part for part in parts_of(rule.predicate) if isinstance(part, Flag | Present | Compare | Contains))
    return {part.term.root for part in asked} <= {"label", "to", "mode"}


# --- what is said -----------------------------------------------------------------------------------------------------


def _giving(policy: Policy, rules: Sequence[Rule], each: Inference, given: Level) -> Rule:
    """Return the last release that gives one of the values so finely: a finding needs one place to stand."""
    groups = {group for value in each.values for group in value.groups(policy)}
    releases = [rule for rule in rules if rule.effect is Effect.RELEASE]
    return [rule for rule in releases if max(rule.levels.get(group, Level.WITHHELD) for group in groups) >= given][-1]


def _remark(policy: Policy, rule: Rule, each: Inference, given: Level, target: Level) -> Remark:
    values = list(dict.fromkeys(group for value in each.values for group in value.groups(policy)))
    hidden = " and ".join(each.target.groups(policy))
    how = "withheld from" if target == Level.WITHHELD else f"at {target.label} for"
    what = f"{hidden} is {how} {WHOM}, but follows from {' and '.join(values)} at {given.label}: {each.reason}"
    coarser = f"{'make one of them' if len(values) > 1 else f'make {values[0]}'} no finer, or {hidden} no coarser"
    return Remark(rule, "gives-away-time" if each.is_of_time else "gives-away-place", f"{what}; {coarser}")
