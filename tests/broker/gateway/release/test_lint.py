from __future__ import annotations

from typing import Any

import pytest

from broker.gateway.release import Severity, lint


@pytest.fixture
def text(maker: Any) -> str:
    """Return a policy of the two rules that `Maker` always writes, with every leaf placed."""
    return str(maker(7).policy_text(rules=0))


SELF = "- {id: S, effect: release, to: [self], when: 'true', give: {group_0: exact}, reason: own picture}\n"


def codes(text: str) -> list[tuple[str, str]]:
    return [(finding.severity.value, finding.code) for finding in lint(text)]


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
    never = '- {id: NEVER, effect: deny, to: [USA], when: \'body == "track" && to == "JPN"\', reason: r}\n'
    assert ("warning", "never-matches") in codes(text + SELF + never)
    guard = never.replace("reason: r", "guard: 'true', reason: r")
    assert codes(text.replace("'false'", "'true'") + SELF + guard) == []


def test_a_coarse_level_for_leaves_without_a_coarse_form_is_a_warning(text: str) -> None:
    head, _, rest = text.partition("groups:\n")
    moved = rest.replace(", launch.source.name", "").replace("launch.source.name, ", "")
    assert moved != rest
    rule = "- {id: C, effect: release, to: [USA], when: 'true', give: {names: 10km}, reason: r}\n"
    assert ("warning", "no-coarse-form") in codes(f"{head}groups:\n  names: [launch.source.name]\n{moved}{SELF}{rule}")


def test_a_policy_that_keeps_its_own_picture_blind_is_a_warning(text: str) -> None:
    assert ("warning", "no-own-picture") in codes(text)
