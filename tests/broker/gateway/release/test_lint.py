from __future__ import annotations

import inspect
import re
import time
from pathlib import Path
from typing import Any

import pytest

from broker import limits
from broker.demo.world import shipped_policy
from broker.gateway.release import Severity, lint
from broker.gateway.release.finding import MEANINGS, Finding


@pytest.fixture
def text(maker: Any) -> str:
    """Return a policy of the two rules that `Maker` always writes, with every leaf placed."""
    return str(maker(7).policy_text(rules=0)).replace("reason: r}", "reason: as agreed}")


GIVEN = ", ".join(f"group_{number}: exact" for number in range(7))  # all that `maker(7)` makes
SELF = f"- {{id: S, effect: release, to: [self], when: 'true', give: {{{GIVEN}}}, reason: for the own picture}}\n"


def codes(text: str) -> list[tuple[str, str]]:
    found = [(finding.severity.value, finding.code) for finding in lint(text)]
    return [
        each for each in found if each[1] not in {"mixed-group", "recipient-gets-nothing"}
    ]  # the maker's are random


def test_a_clean_policy_has_no_findings(text: str) -> None:
    assert codes(text.replace("'false'", "'true'") + SELF) == []


def test_a_leaf_in_no_group_is_an_error(text: str) -> None:
    found = lint(text.replace(", status.reason", "", 1))
    assert [(f.severity, f.code) for f in found if f.severity is Severity.ERROR] == [
        (Severity.ERROR, "leaf-in-no-group")
    ]
    assert "status.reason" in found[0].message


def test_a_document_that_cannot_be_read_is_one_error_with_its_place(text: str) -> None:
    (finding,) = lint(text.replace("nation: KOR", "nation: NO"))
    assert (finding.code, finding.line) == ("unreadable", 2)
    (finding,) = lint(text.replace("sha256:", "sha256:0"))
    assert "another version of the messages" in finding.message
    (finding,) = lint(text, nation="JPN")
    assert "the policy of KOR" in str(finding)
    (finding,) = lint(text, members={"USA"})
    assert "JPN is not a member" in finding.message


def test_a_rule_that_can_never_match_is_a_warning_unless_it_stands_guard(text: str) -> None:
    never = '- {id: NEVER, effect: deny, to: [USA], when: \'body == "track" && to == "JPN"\', reason: as agreed}\n'
    assert ("warning", "never-matches") in codes(text + SELF + never)
    guard = never.replace("reason:", "guard: 'true', reason:")
    assert codes(text.replace("'false'", "'true'") + SELF + guard) == []


def test_a_coarse_level_for_leaves_without_a_coarse_form_is_a_warning(text: str) -> None:
    head, _, rest = text.partition("groups:\n")
    moved = rest.replace(", launch.source.name", "").replace("launch.source.name, ", "")
    assert moved != rest
    rule = "- {id: C, effect: release, to: [USA], when: 'true', give: {names: 10km}, reason: as agreed}\n"
    assert ("warning", "no-coarse-form") in codes(f"{head}groups:\n  names: [launch.source.name]\n{moved}{SELF}{rule}")


def test_a_policy_that_keeps_its_own_picture_blind_is_a_warning(text: str) -> None:
    assert ("warning", "no-own-picture") in codes(text)


# --- what keeps a warning waiting, and what averages out --------------------------------------------------------------

KOR = shipped_policy("KOR").partition("\nrules:\n")[0] + "\nrules:\n"
OWN_GIVES = "give: {when_observed: exact, status: exact}, reason: as agreed"
OWN = f"- {{id: S, effect: release, to: [self], when: 'true', {OWN_GIVES}}}\n"


TIMELY = {"late-first-report", "withheld-time-waits", "too-late-for-fusion", "places-average-out"}


def timely(rules: str) -> list[tuple[str, str]]:
    """Return what lint says of times in a policy of these rules, with KOR's groups."""
    found = [finding for finding in lint(KOR + OWN + rules, nation="KOR") if finding.code in TIMELY]
    lines = (KOR + OWN + rules).splitlines()
    for finding in found:
        rule_id = finding.message.partition(":")[0]
        assert f"id: {rule_id}" in lines[finding.line - 1], "the finding stands at its rule"
    return [(finding.code, finding.message) for finding in found]


def release(body: str, levels: str, more: str = "", rule_id: str = "R", when: str = "") -> str:
    condition = f'body == "{body}"{when}'
    gives = f"give: {{{levels}}}, reason: as agreed{more}"
    return f"- {{id: {rule_id}, effect: release, to: [JPN, USA], when: '{condition}', {gives}}}\n"


LAUNCH = "launch_place: 1km, kind: exact"
TRACK = "when_observed: exact, track_time: exact"


def test_exact_times_keep_nothing_waiting() -> None:
    assert timely(release("launch", f"when_observed: exact, launch_time: exact, {LAUNCH}")) == []


def test_a_first_report_with_a_coarse_time_waits_and_lint_says_at_which_rule_how_long_and_what_to_do() -> None:
    ((code, text),) = timely(
        release("launch", f"when_observed: exact, launch_time: 10s, {LAUNCH}", ", delay_s: 5", rule_id="SLOW")
    )
    assert code == "late-first-report"
    assert text.startswith("SLOW: launch_time is at 10km/10s for ")
    assert "up to 10 s and 5 s of delay" in text
    assert text.endswith("to send a first report at once, give launch_time: exact")
    assert "USA" in text
    assert "JPN" in text


def test_another_rule_that_gives_the_exact_time_sends_a_first_report_at_once() -> None:
    coarse = release("launch", f"when_observed: exact, launch_time: 10s, {LAUNCH}")
    exact = release("launch", "launch_time: exact", rule_id="AT-ONCE")
    assert timely(coarse + exact) == []
    sometimes = release("launch", "launch_time: exact", rule_id="SOMETIMES", when=" && content.launch.confidence > 0.5")
    assert [code for code, _ in timely(coarse + sometimes)] == ["late-first-report"]


def test_a_limit_that_makes_a_first_report_wait_is_named_and_not_what_it_limits() -> None:
    exact = release("launch", f"when_observed: exact, launch_time: exact, {LAUNCH}")
    for when in ("true", '"X" in label.caveats'):
        limit = (
            f"- {{id: CAP, effect: limit, to: [JPN], when: '{when}', cap: {{launch_time: 60s}}, reason: as agreed}}\n"
        )
        ((code, text),) = timely(exact + limit)
        assert code == "late-first-report"
        assert text.startswith("CAP: launch_time is at 50km/60s for JPN:")


@pytest.mark.parametrize(
    ("body", "levels", "waits"),
    [
        ("status", "status: exact", "when_observed"),
        ("track", "when_observed: exact, flight: exact", "track_time"),
        ("launch", f"launch_time: exact, {LAUNCH}", "when_observed"),
    ],
)
def test_a_time_that_is_withheld_makes_its_message_wait_and_lint_says_so(body: str, levels: str, waits: str) -> None:
    ((code, text),) = timely(release(body, levels))
    assert code == ("late-first-report" if body == "launch" else "withheld-time-waits")
    assert text.startswith(f"R: {waits} is withheld from ")
    assert f"a {body} waits for the end of that cell of time, up to 60 s" in text
    assert f"give {waits}: exact" in text


def test_a_coarse_time_that_is_meant_to_wait_is_no_finding_but_in_a_first_report() -> None:
    assert timely(release("status", "when_observed: 60s, status: exact")) == []


def test_a_prediction_that_is_withheld_keeps_nothing_waiting() -> None:
    assert timely(release("impact", "when_observed: exact, impact_place: exact")) == []


def test_what_is_denied_in_any_case_is_no_finding() -> None:
    deny = "- {id: NEVER, effect: deny, to: [JPN, USA], when: 'body == \"launch\"', reason: as agreed}\n"
    assert timely(release("launch", LAUNCH) + deny) == []


def test_coarse_places_as_often_as_they_come_average_out() -> None:
    ((code, text),) = timely(release("track", f"{TRACK}, track_place: 10km"))
    assert code == "places-average-out"
    assert "in cells of 10 km" in text
    assert text.endswith("add minimum_interval_s, at least 10")
    assert timely(release("track", f"{TRACK}, track_place: exact")) == []
    assert timely(release("track", f"{TRACK}, track_place: 10km", ", minimum_interval_s: 10")) == []
    assert [code for code, _ in timely(release("track", f"{TRACK}, track_place: 10km", ", minimum_interval_s: 9"))] == [
        "places-average-out"
    ]


def test_a_limit_that_makes_places_coarse_needs_its_interval() -> None:
    exact = release("track", f"{TRACK}, track_place: exact")
    when = "when: '\"X\" in label.caveats'"
    cap = f"- {{id: CAP, effect: limit, to: [USA], {when}, reason: as agreed, cap: {{track_place: 50km}}%s}}\n"
    ((code, text),) = timely(exact + cap % "")
    assert (code, text[:4]) == ("places-average-out", "CAP:")
    assert timely(exact + cap % ", minimum_interval_s: 60") == []


def test_a_delay_beyond_what_fusion_replays_is_a_warning() -> None:
    most_s = limits.HORIZON_S - 60
    fine = release("track", f"{TRACK}, track_place: exact", f", delay_s: {most_s:g}")
    assert timely(fine) == []
    ((code, text),) = timely(fine.replace(f"delay_s: {most_s:g}", f"delay_s: {most_s + 1:g}"))
    assert code == "too-late-for-fusion"
    assert f"up to {most_s + 1:g} s late" in text


def test_a_cell_of_time_counts_as_delay_does() -> None:
    most_s = limits.HORIZON_S - 60 - 10
    slow = release("track", "when_observed: exact, track_time: 10s, track_place: exact", f", delay_s: {most_s:g}")
    assert timely(slow) == []
    cap = (
        "- {id: CAP, effect: limit, to: [USA], when: 'body == \"track\"', cap: {track_time: 60s}, reason: as agreed}\n"
    )
    assert [code for code, _ in timely(slow + cap)] == ["too-late-for-fusion"]
    heartbeat = release("heartbeat", "when_observed: exact, heartbeat: exact", ", delay_s: 3600")
    assert timely(heartbeat) == [], "what is not fused may be as late as it likes"


def test_a_policy_as_long_as_allowed_is_looked_at_in_seconds() -> None:
    rules = "".join(
        release("track", f"{TRACK}, track_place: 10km", ", minimum_interval_s: 10", rule_id=f"R-{number}", when=when)
        for number in range(limits.POLICY_RULES_MAX - 1)
        if (when := f" && content.track.confidence > 0.{number:03}")
    )
    began_s = time.process_time()
    assert timely(rules) == []
    assert time.process_time() - began_s < 60


# --- reasons, recipients, groups, expiry ------------------------------------------------------------------------------


def about(text: str, now_ns: int | None = None) -> list[tuple[str, str, str]]:
    """Return the codes of the findings, with what stands at their places and what they say."""
    lines = text.splitlines()
    found = lint(text, now_ns=now_ns)
    return [(each.code, lines[each.line - 1][each.column - 1 :], each.message) for each in found]


STATUS = release("status", "when_observed: exact, status: exact")


@pytest.mark.parametrize(("reason", "rule_id"), [("r", "R"), ("because", "R"), ("kor-rule-1", "KOR-RULE-1")])
def test_a_reason_that_says_nothing_is_a_warning(reason: str, rule_id: str) -> None:
    text = KOR + OWN + STATUS.replace("id: R", f"id: {rule_id}").replace("as agreed", reason)
    ((code, place, message),) = about(text)
    assert (code, place) == ("empty-reason", f"{{id: {rule_id}, " + place.partition(", ")[2])
    assert f"the reason {reason!r} says nothing" in message
    assert about(text.replace(f"reason: {reason}", "reason: as asked")) == []


def test_a_recipient_to_whom_nothing_is_released_is_named_where_it_stands() -> None:
    ((code, place, message),) = about(KOR + OWN + STATUS.replace("[JPN, USA]", "[JPN]"))
    assert (code, place) == ("recipient-gets-nothing", "USA, JPN]")
    assert message.startswith("USA: no rule releases anything to it")


def test_a_sensors_name_among_other_leaves_is_named_where_it_stands() -> None:
    moved = KOR.replace("[operator_ack.level]", "[operator_ack.level, track.source.name]")
    ((code, place, message),) = about(moved.replace("    - track.source.name\n", "") + OWN + STATUS)
    assert (code, place) == ("mixed-group", "track.source.name]")
    assert "acknowledgement holds other leaves too" in message


DAY_NS = 86_400 * 10**9
EXPIRES_NS = 1_830_297_600 * 10**9  # 2028-01-01


def test_expiry_is_an_error_when_past_and_a_warning_a_month_before() -> None:
    text = KOR + OWN + STATUS
    assert about(text, EXPIRES_NS - 31 * DAY_NS) == []
    ((code, place, message),) = about(text, EXPIRES_NS - 29 * DAY_NS)
    assert (code, place, message[:14]) == ("expires-soon", "2028-01-01T00:00:00Z", "29.0 days left")
    ((code, place, _),) = about(text, EXPIRES_NS)
    assert (code, place) == ("expired", "2028-01-01T00:00:00Z")
    severities = [lint(text, now_ns=EXPIRES_NS - left)[0].severity for left in (1, 0)]
    assert severities == [Severity.WARNING, Severity.ERROR]
    assert about(text) == []


def test_errors_of_all_rules_are_told_at_once() -> None:
    rules = (
        STATUS.replace("status: exact", "staus: exact"),
        STATUS.replace("id: R", "id: FINE"),
        STATUS.replace("id: R", "id: R-2").replace('body == "status"', "label.caveat"),
        STATUS.replace("id: R", "id: FINE"),
    )
    found = about(KOR + OWN + "".join(rules))
    assert [(code, message.partition(" ")[0]) for code, _, message in found] == [
        ("unreadable", "unknown"),
        ("unreadable", "condition,"),
        ("unreadable", "FINE"),
    ]


def test_every_code_has_its_meaning() -> None:
    folder = Path(inspect.getfile(Finding)).parent
    sources = [*folder.glob("*.py"), *folder.parent.glob("proof/*.py")]
    text = "".join(source.read_text() for source in sources if source.name != "finding.py")
    named = set(re.findall(r'(?:rule|WARNING|ERROR), "([a-z-]+)"', text))
    assert {"unreadable", "late-first-report", "caps-nothing", "mixed-group"} <= named <= set(MEANINGS)
    assert all(f'"{code}"' in text for code in MEANINGS), "a code that nothing says"
