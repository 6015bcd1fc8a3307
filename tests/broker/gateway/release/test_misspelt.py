from __future__ import annotations

from typing import Final

import pytest

from broker.demo.world import shipped_policy
from broker.gateway.release import lint

KOR: Final = shipped_policy("KOR")


def found(when: str) -> list[str]:
    """Return what is said of a deny with this condition, added to KOR's policy."""
    text = KOR + f"- {{id: X, effect: deny, to: [JPN], when: '{when}', reason: as agreed}}\n"
    return [each.message.removeprefix("X: ") for each in lint(text, nation="KOR") if each.code == "misspelt-name"]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ('"KOR-OLNY" in label.caveats', "did you mean KOR-ONLY?"),
        ('precedence == Precedence.PRECEDENCE_FLASH && !("KORONLY" in label.caveats)', "did you mean KOR-ONLY?"),
        ('"Kor-Only" in label.caveats', "is no caveat"),
        ('"UAS" in label.releasable_to', "did you mean USA?"),
        ('"Usa" in label.releasable_to', "is no member"),
        ('label.policy == "KRO"', "did you mean KOR?"),
        ('label.policy in ["KOR", "U.S."]', "is no member"),
    ],
)
def test_a_name_that_is_nearly_another_is_pointed_at(when: str, said: str) -> None:
    (message,) = found(when)
    assert said in message


@pytest.mark.parametrize(
    "when",
    [
        '"KOR-ONLY" in label.caveats',
        '"USA-ONLY" in label.caveats',
        '"LIMDIS" in label.caveats',
        '"GBR" in label.releasable_to',
        'to in label.releasable_to && label.policy != "KOR"',
    ],
)
def test_what_is_known_or_like_nothing_else_is_no_finding(when: str) -> None:
    assert found(when) == []


@pytest.mark.parametrize("nation", ["KOR", "USA", "JPN"])
def test_shipped_policies_have_no_such_name(nation: str) -> None:
    assert [each for each in lint(shipped_policy(nation)) if each.code == "misspelt-name"] == []
