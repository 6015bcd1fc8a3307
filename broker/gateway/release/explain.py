"""Why a recipient is shown what it is shown: every rule, what each part of its condition said, who gave and who capped.

An explanation is made with the very functions that decide, so that it cannot tell another story. It names values of
the policy and of conditions, never the message's own values beyond true and false.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.gateway.release.conditions import written
from broker.gateway.release.decide import Subject, decider_of
from broker.gateway.release.engine import Facts, parts_of, truth_of
from broker.gateway.release.lattice import Level
from broker.gateway.release.policy import Effect, Policy, Rule

if TYPE_CHECKING:
    from broker.gateway.release.decision import Decision

__all__ = ["Explanation", "GroupStory", "RuleStory", "explain"]


@dataclass(frozen=True, slots=True)
class RuleStory:
    """One rule that names the recipient, and how its condition came out."""

    rule: Rule
    matched: bool
    parts: tuple[tuple[str, bool], ...]  # each comparison of the condition, as text, and whether it held


@dataclass(frozen=True, slots=True)
class GroupStory:
    """One group: its level, who gave the most of it and who capped it."""

    group: str
    level: Level
    given: Level
    given_by: tuple[str, ...]
    capped_by: tuple[str, ...]  # limits that made it less than given


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the decision is what it is."""

    recipient: str
    body: str
    decision: Decision
    rules: tuple[RuleStory, ...]
    groups: tuple[GroupStory, ...]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def to_json(self) -> str:
        """Return the explanation as one JSON object; the decision in it is as the audit trail has it."""
        record = {
            "recipient": self.recipient,
            "body": self.body,
            "decision": json.loads(self.decision.to_json()),
            "withheld": list(self.decision.shown.withheld),
            "rules": [
                {
                    "id": story.rule.rule_id,
                    "effect": story.rule.effect.value,
                    "matched": story.matched,
                    "when": story.rule.when,
                    "parts": [{"text": text, "holds": holds} for text, holds in story.parts],
                    "reason": story.rule.reason,
                }
                for story in self.rules
            ],
            "groups": [
                {
                    "group": story.group,
                    "level": story.level.label,
                    "given": story.given.label,
                    "given_by": list(story.given_by),
                    "capped_by": list(story.capped_by),
                }
                for story in self.groups
            ],
        }
        return json.dumps(record, sort_keys=True, ensure_ascii=False)


def explain(policy: Policy, subject: Subject, recipient: str, *, now_ns: int | None = None) -> Explanation:
    """Return why the recipient is shown what `decide` shows it."""
    decider = decider_of(policy)
    decision = decider.decide(subject, recipient, now_ns=now_ns)
    body = subject.content.WhichOneof("body") or ""
    facts = Facts(subject.content, subject.label, subject.precedence, recipient, body, subject.content.header.mode)
    stories = tuple(_rule_story(rule, facts) for rule in decider.rules_for(recipient))
    matched = [story.rule for story in stories if story.matched]
    groups = tuple(_group_story(group, level, matched) for group, level in decision.levels.items())
    return Explanation(recipient, body, decision, stories, groups)


def _rule_story(rule: Rule, facts: Facts) -> RuleStory:
    parts = tuple((written(part), truth_of(part, facts)) for part in parts_of(rule.predicate))
    return RuleStory(rule, truth_of(rule.predicate, facts), parts)


def _group_story(group: str, level: Level, matched: list[Rule]) -> GroupStory:
    giving = [rule for rule in matched if rule.effect is Effect.RELEASE and group in rule.levels]
    given = max((rule.levels[group] for rule in giving), default=Level.WITHHELD)
    caps = [rule for rule in matched if rule.effect is Effect.LIMIT and rule.levels.get(group, given) < given]
    return GroupStory(
        group,
        level,
        given,
        tuple(rule.rule_id for rule in giving if rule.levels[group] == given),
        tuple(rule.rule_id for rule in caps),
    )


def _lines(story: Explanation) -> list[str]:
    decision = story.decision
    answer = "RELEASED" if decision.released else "DENIED"
    lines = [
        f"{answer} to {story.recipient}: {story.body or 'a message without a body'}",
        f"policy version {decision.policy_version}, {decision.policy_digest}",
    ]
    if decision.fault:
        lines.append(f"fault while deciding: {decision.fault}")
    built_in = [rule_id for rule_id in decision.rule_ids if rule_id not in {each.rule.rule_id for each in story.rules}]
    lines += [f"before any rule: {rule_id}" for rule_id in built_in]
    for each in story.rules:
        mark = "matches" if each.matched else "does not match"
        lines.append(f"  {each.rule.rule_id} ({each.rule.effect.value}) {mark}: {each.rule.reason}")
        lines += [f"      {'yes' if holds else 'no ':3} {text}" for text, holds in each.parts]
    for group in story.groups:
        if group.given > Level.WITHHELD:
            capped = f", capped by {', '.join(group.capped_by)}" if group.capped_by else ""
            lines.append(f"  {group.group}: {group.level.label} (given by {', '.join(group.given_by)}{capped})")
    if decision.released:
        lines.append(f"  delay {decision.delay_s:g} s, interval {decision.minimum_interval_s:g} s")
        lines.append(f"  caveats added: {', '.join(decision.caveats) or 'none'}")
        lines.append(f"  told as withheld: {', '.join(decision.shown.withheld) or 'nothing'}")
    return lines
