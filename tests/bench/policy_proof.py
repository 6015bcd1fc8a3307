"""How long proofs take: all invariants of a policy, and what a new one changes. CPU time of this process, medians.

The rules are like those that people write (a body, a sensor, a threshold, a caveat), each a little different from the
others, over the groups of Korea's shipped policy. A tenth of them deny and a third limit.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Final

from broker.demo.world import shipped_policy
from broker.gateway.proof import Proved, changes, ineffective, prove, releases_nothing_new
from broker.gateway.release import Policy
from broker.invariants import Invariants
from broker.leaves import SCHEMA_DIGEST
from tests.bench.figures import Row

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPIENTS: Final = ("self", "USA", "JPN")
ROUNDS: Final = 5
SENSORS: Final = ("GROUND_RADAR", "SEA_RADAR", "AIRBORNE_RADAR", "SPACE_INFRARED", "OTHER")
GROUPS: Final = {
    "launch": ("launch_time", "launch_place", "direction", "kind", "confidence"),
    "track": ("track_time", "track_place", "motion", "flight", "reach", "confidence"),
    "impact": ("impact_time", "impact_place", "impact_who", "confidence"),
}
LEVELS: Final = ("50km", "10km", "1km", "exact")


def rows(rounds: int = ROUNDS) -> list[Row]:
    """Return all figures."""
    return [
        *_rows_of(30, rounds, mark_s=0.5, diff_mark_s=0.3, lint_mark_s=3.0),
        *_rows_of(300, rounds, mark_s=3.0, diff_mark_s=2.0),
    ]


def _rows_of(
    count: int, rounds: int, *, mark_s: float, diff_mark_s: float, lint_mark_s: float | None = None
) -> list[Row]:
    policy, invariants = policy_of(count), invariants_of()
    asked = len(invariants.invariants)
    edited, otherwise = policy_of(count, edited=True), policy_of(count, is_said_otherwise=True)
    if releases_nothing_new(policy, otherwise) != Proved() or changes(policy, edited).releases_nothing_new:
        raise AssertionError("the bench does not ask what it says")
    proved_s = _cpu_s(lambda: prove(policy, invariants), rounds)
    edit_s = _cpu_s(lambda: changes(policy, edited), rounds) / len(RECIPIENTS)
    same_s = _cpu_s(lambda: changes(policy, otherwise), rounds) / len(RECIPIENTS)
    rows_of_all = [
        Row(
            f"{count} rules: {asked} invariants x {len(RECIPIENTS)} recipients",
            proved_s,
            "s",
            mark_s,
        ),
        Row(f"{count} rules: diff, one edit, per recipient", edit_s, "s", diff_mark_s),
        Row(f"{count} rules: diff, the same in other words, per recipient", same_s, "s", diff_mark_s),
    ]
    if lint_mark_s is None:
        return rows_of_all
    idle_s = _cpu_s(lambda: list(ineffective(policy)), rounds)
    return [*rows_of_all, Row(f"{count} rules: rules that do nothing", idle_s, "s", lint_mark_s)]


def _cpu_s(asked: Callable[[], object], rounds: int) -> float:
    def once() -> float:
        began = time.process_time()
        asked()
        return time.process_time() - began

    return median(once() for _ in range(rounds))


def policy_of(count: int, *, edited: bool = False, is_said_otherwise: bool = False) -> Policy:
    """Return a policy of so many rules. `edited`: one more release; `is_said_otherwise`: each condition is longer."""
    head = shipped_policy("KOR").partition("\nrules:\n")[0]
    rules = [_rule(number, is_said_otherwise=is_said_otherwise) for number in range(count - 1)]
    last = "exact" if edited else "1km"
    rules.append(
        f"- {{id: LAST, effect: release, to: [JPN], give: {{direction: {last}}}, reason: r,"
        " when: 'body == \"launch\" && content.launch.count.most > 3u'}"
    )
    return Policy.parse(f"{head}\nrules:\n" + "\n".join(rules) + "\n")


def _rule(number: int, *, is_said_otherwise: bool) -> str:
    body = ("launch", "track", "impact")[number % 3]
    sensor = f"content.{body}.source.kind == SensorKind.SENSOR_KIND_{SENSORS[number % 5]}"
    sure = f"content.{body}.confidence >= {(number * 37 % 100) / 100}"
    groups = GROUPS[body]
    one, other = groups[number % len(groups)], groups[(number + 1) % len(groups)]
    levels = f"{{{one}: {LEVELS[number % 4]}, {other}: {LEVELS[number // 4 % 4]}}}"
    if number % 10 == 9:
        kind, when = "deny", f'"CAVEAT-{number}" in label.caveats && {sensor}'
    elif number % 4 == 1:
        kind, when = f"limit, cap: {levels}, delay_s: {number % 7}", f"{sensor} && {sure}"
    else:
        kind, when = f"release, give: {levels}", f'body == "{body}" && ({sure} || {sensor})'
    if is_said_otherwise:
        when = f"!(!({when}) || (({when}) && mode == Mode.MODE_TEST && mode == Mode.MODE_EXERCISE))"
    to = ", ".join(RECIPIENTS[number % 2 : 2 + number % 2])
    return f"- {{id: R-{number}, effect: {kind}, to: [{to}], when: '{when}', reason: r}}"


def invariants_of() -> Invariants:
    """Return fifteen promises to all three, most of which such policies keep."""
    lines = [
        "never: [launch.source.name, track.source.name, impact.source.name]",
        "never: [header.provenance]",
        "never: [launch.source.site, track.source.site, impact.source.site]",
        *(f"never: everything, when: '\"UNHEARD-{number}\" in label.caveats'" for number in range(4)),
        *(
            f"never: [{body}.confidence], finer_than: 1km, when: 'content.{body}.confidence < 0.{number}'"
            for number, body in enumerate(("launch", "track", "impact", "launch"), start=1)
        ),
        *(
            'never: [track.state], finer_than: 10km, when: \'body == "launch" &&'
            f" precedence >= Precedence.PRECEDENCE_{name}'"
            for name in ("ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH")
        ),
    ]
    head = f"format: vedette-invariants/v1\nnation: KOR\nversion: 1\nschema: {SCHEMA_DIGEST}\ninvariants:\n"
    to = ", ".join(RECIPIENTS)
    listed = (f"- {{id: I-{number}, to: [{to}], reason: r, {line}}}" for number, line in enumerate(lines))
    return Invariants.parse(head + "\n".join(listed) + "\n")
