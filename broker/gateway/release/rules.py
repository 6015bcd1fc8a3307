"""One rule of a release policy: whom it is for, when it holds, and what it gives, caps or forbids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.document import Part, PolicyError, Section, Text, section_of, text_of, texts_of
from broker.gateway.release import conditions
from broker.gateway.release.conditions import Compare, ConditionError, Contains
from broker.gateway.release.decision import BUILT_IN
from broker.gateway.release.engine import parts_of
from broker.gateway.release.lattice import Level, level_of
from broker.leaves import BODIES_UNDER_POLICY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from broker.gateway.release.conditions import Predicate

__all__ = ["Effect", "Rule", "rule_of"]

IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._-]{1,48}")
CAVEAT: Final = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
SECONDS: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
FLAGS: Final[Mapping[str, bool]] = {"true": True, "false": False}
LABEL_CAVEATS: Final = "label.caveats"


class Effect(Enum):
    """What a rule does."""

    RELEASE = "release"  # shows groups, up to the levels that it gives
    LIMIT = "limit"  # shows nothing; caps what releases show
    DENY = "deny"  # beats every release


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    rule_id: str
    effect: Effect
    to: frozenset[str]
    when: str  # as written
    predicate: Predicate
    levels: Mapping[str, Level]  # given by a release, capped by a limit; by group
    delay_s: float
    minimum_interval_s: float
    caveats: frozenset[str]
    is_guard: bool  # stands for its own sake: may be without effect today
    reason: str
    line: int
    column: int

    def caveats_named(self) -> Iterator[str]:
        """Yield the caveats that this rule looks for or adds."""
        yield from self.caveats
        for part in parts_of(self.predicate):
            if isinstance(part, Contains) and str(part.term) == LABEL_CAVEATS and isinstance(part.value, str):
                yield part.value


NEEDED: Final = frozenset({"id", "effect", "to", "when", "reason"})
TERMS: Final = frozenset({"delay_s", "minimum_interval_s", "caveats", "guard"})
OPTIONAL: Final[Mapping[Effect, frozenset[str]]] = {
    Effect.RELEASE: TERMS | {"give"},
    Effect.LIMIT: TERMS | {"cap"},
    Effect.DENY: frozenset({"guard"}),
}


def rule_of(part: Part, *, recipients: Collection[str], groups: Collection[str]) -> Rule:
    """Return the rule that stands there. Raises PolicyError."""
    section = section_of(part)
    section.expect(NEEDED, frozenset().union(*OPTIONAL.values()))
    effect = _effect(section)
    section.expect(NEEDED, OPTIONAL[effect])
    entries = section.entries
    when = text_of(entries["when"])
    reason = text_of(entries["reason"]).strip()
    if not reason:
        raise entries["reason"].refuse("a rule needs a reason", "say on whose word, or why")
    levels_key = "give" if effect is Effect.RELEASE else "cap"
    levels = _levels(entries[levels_key], groups) if levels_key in entries else {}
    if effect is Effect.RELEASE and not any(levels.values()):
        raise section.refuse("a release that gives nothing", "write give: {group: level}")
    if effect is Effect.LIMIT and not (levels or section.entries.keys() & (TERMS - {"guard"})):
        raise section.refuse("a limit that limits nothing", "write cap, delay_s, minimum_interval_s or caveats")
    return Rule(
        rule_id=_identifier(entries["id"]),
        effect=effect,
        to=_recipients(entries["to"], recipients),
        when=when,
        predicate=_predicate(entries["when"], when, recipients),
        levels=levels,
        delay_s=_seconds(entries.get("delay_s")),
        minimum_interval_s=_seconds(entries.get("minimum_interval_s")),
        caveats=_caveats(entries.get("caveats")),
        is_guard=_flag(entries.get("guard")),
        reason=reason,
        line=section.line,
        column=section.column,
    )


def _effect(section: Section) -> Effect:
    part = section.entries["effect"]
    word = text_of(part)
    if word not in {each.value for each in Effect}:
        raise part.refuse(f"unknown effect {word!r}", "release, limit or deny")
    return Effect(word)


def _identifier(part: Part) -> str:
    text = text_of(part)
    if not IDENTIFIER.fullmatch(text) or text.startswith(BUILT_IN):
        raise part.refuse("not an id for a rule", f"letters, digits, . _ -, at most 48; not beginning with {BUILT_IN}")
    return text


def _recipients(part: Part, known: Collection[str]) -> frozenset[str]:
    texts = texts_of(part)
    for each in texts:
        if each.value not in known:
            raise each.refuse(f"unknown recipient {each.value!r}", "listed under recipients: " + ", ".join(known))
    if not texts:
        raise part.refuse("a rule for nobody", "name recipients")
    return frozenset(each.value for each in texts)


def _levels(part: Part, groups: Collection[str]) -> dict[str, Level]:
    section = section_of(part)
    levels: dict[str, Level] = {}
    for group, value in section.entries.items():
        if group not in groups:
            raise section.keys[group].refuse(f"unknown group {group!r}", "listed under groups: " + ", ".join(groups))
        level = level_of(text_of(value))
        if level is None:
            raise value.refuse("unknown level", "withheld, 50km, 10km, 1km (or 60s, 10s, 1s), exact")
        levels[group] = level
    return levels


def _seconds(part: Part | None) -> float:
    if part is None:
        return 0.0
    text = text_of(part)
    if not SECONDS.fullmatch(text) or float(text) > limits.DELAY_MAX_S:
        raise part.refuse("not a number of seconds", f"0 to {limits.DELAY_MAX_S:g}")
    return float(text)


def _caveats(part: Part | None) -> frozenset[str]:
    texts = texts_of(part) if part is not None else ()
    for each in texts:
        if not CAVEAT.fullmatch(each.value):
            raise each.refuse("not a caveat", "capital letters, digits and -")
    return frozenset(each.value for each in texts)


def _flag(part: Part | None) -> bool:
    """Read the one kind of value that YAML would have read too: it must be quoted here."""
    if part is None:
        return False
    text = text_of(part)
    if text not in FLAGS:
        raise part.refuse("must be 'true' or 'false'")
    return FLAGS[text]


def _predicate(part: Part, text: str, recipients: Collection[str]) -> Predicate:
    try:
        predicate = conditions.condition(text)
    except ConditionError as error:
        raise _at(part, error) from None
    for each in parts_of(predicate):
        if isinstance(each, Compare):
            known = {"to": set(recipients), "body": {*BODIES_UNDER_POLICY, ""}}.get(str(each.term))
            for value in each.values if known is not None else ():
                if value not in (known or ()):
                    raise part.refuse(f"{each.term} is never {value!r}", "one of " + ", ".join(sorted(known or ())))
    return predicate


def _at(part: Part, error: ConditionError) -> PolicyError:
    """Place an error of a condition in the document."""
    line, column = part.place(error.at - 1) if isinstance(part, Text) else (part.line, part.column)
    return PolicyError(line, column, f"condition, character {error.at}: {error.reason}", error.hint)
