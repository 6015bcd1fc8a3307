"""Names in labels that look misspelt: a field's name is checked when a policy is read, a text in quotes cannot be.

A deny of "KOR-OLNY" is read, approved and never matches, while "KOR-ONLY", which another rule names, is a known caveat.
So a nation that is none of the policy's but nearly one, and a caveat that is nearly another one of the policy, are
pointed at; and what intake takes from nobody.
"""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from broker.gateway.release.cases import Remark
from broker.gateway.release.conditions import Compare, Contains
from broker.gateway.release.engine import parts_of
from broker.gateway.release.policy import MEMBER
from broker.gateway.release.rules import CAVEAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.gateway.release.policy import Policy, Rule

__all__ = ["misspelt"]

# Two letters that changed places leave seven of the eight of "KOR-ONLY"; "USA-ONLY" has five of them.
CAVEATS_ALIKE: Final = 0.85
NATIONS_ALIKE: Final = 0.6  # two of three letters
NAMES_MAX: Final = 64  # compared with each other, each pair for some 20 us; nobody tells more caveats apart


def misspelt(policy: Policy) -> Iterator[Remark]:
    """Yield the rules whose conditions name what no label holds, or nearly what another rule names."""
    yield from _caveats(policy)
    nations = sorted({policy.nation, *policy.recipients})[:NAMES_MAX]
    alike: dict[str, list[str]] = {}
    for rule in policy.rules:
        for text in (*_texts(rule, "label.releasable_to"), *_texts(rule, "label.policy")):
            if not MEMBER.fullmatch(text):
                yield Remark(rule, "misspelt-name", f"{text!r} is no member's code: three to eight capital letters")
            elif text not in nations and len(alike) < NAMES_MAX:
                near = alike.setdefault(text, get_close_matches(text, nations, 1, NATIONS_ALIKE))
                if near:
                    yield Remark(rule, "misspelt-name", f"{text} is no recipient here; did you mean {near[0]}?")


def _caveats(policy: Policy) -> Iterator[Remark]:
    named = [(rule, text) for rule in policy.rules for text in _texts(rule, "label.caveats")]
    known = Counter([*(text for _, text in named), *(text for rule in policy.rules for text in rule.caveats)])
    for rule, text in named:
        if not CAVEAT.fullmatch(text):
            yield Remark(rule, "misspelt-name", f"{text!r} is no caveat: capital letters, digits and hyphens")
        elif known[text] == 1 and len(known) <= NAMES_MAX:
            near = get_close_matches(text, sorted(known.keys() - {text}), 1, CAVEATS_ALIKE)
            if near:
                yield Remark(rule, "misspelt-name", f"only this rule names the caveat {text}; did you mean {near[0]}?")


def _texts(rule: Rule, term: str) -> Iterator[str]:
    """Yield the literals that a rule compares with a field of the label, or looks for in it."""
    for part in parts_of(rule.predicate):
        if isinstance(part, Contains | Compare) and str(part.term) == term:
            values = (part.value,) if isinstance(part, Contains) else part.values
            yield from (value for value in values if isinstance(value, str))
