"""An impact as people and as programs read it. Coverage comes first: what was not recorded was not tried."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.gateway.release.change import Change
from broker.gateway.release.impact import BLIND, PARTS
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from broker.gateway.release.impact import Coverage, Example, FieldImpact, Impact, RecipientImpact, TermImpact

__all__ = ["json_of", "lines_of"]


def lines_of(impact: Impact) -> Iterator[str]:
    """Yield the report, line by line."""
    yield from _coverage_lines(impact.coverage)
    yield f"in force: version {impact.old[0]} {impact.old[1]}"
    yield f"draft:    version {impact.new[0]} {impact.new[1]}"
    for row in impact.recipients:
        yield ""
        yield _recipient_line(row)
        yield from _group_lines(impact, row.recipient)
        for term in impact.terms:
            if term.recipient == row.recipient:
                yield f"  {_term_line(term)}"
    yield ""
    yield "the draft releases more" if impact.releases_more else "the draft releases nothing new of these messages"
    yield BLIND


def _coverage_lines(coverage: Coverage) -> Iterator[str]:
    window = coverage.window
    yield f"window:   {_instant(window.since_ns)} to {_instant(window.until_ns)}"
    if coverage.messages:
        between = f"{_instant(coverage.first_ns)} to {_instant(coverage.last_ns)}"
        yield f"recorded: {coverage.messages} messages, {between}, in {coverage.parts} of {PARTS} parts of the window"
    else:
        yield "recorded: NO message in this window: nothing was tried"
    for name, counts in (("bodies", coverage.bodies), ("modes", coverage.modes), ("systems", coverage.systems)):
        yield f"  {name}: " + (", ".join(f"{key} {count}" for key, count in counts.items()) or "none")
    yield f"  records that could not be read: {coverage.unreadable}"
    yield f"  rules of the draft that nothing matched: {', '.join(coverage.unmatched) or 'none'}"
    yield f"  groups of the draft that nothing had a value of: {', '.join(coverage.unexercised) or 'none'}"


def _recipient_line(row: RecipientImpact) -> str:
    changes = ", ".join(f"{count} {change.value}" for change, count in row.changes.items() if count)
    released = f"{row.released_before} released before, {row.released_after} after"
    return f"{row.recipient}: {row.decisions} decisions, {released}; {changes or 'none'}"


def _group_lines(impact: Impact, recipient: str) -> Iterator[str]:
    for group in impact.groups:
        if group.recipient == recipient:
            how_many = f"{group.decisions} decisions, {group.with_value} with a value"
            yield f"  {_MARKS[group.change]} {group.group} {group.change.value}: {how_many}"
            for leaf in impact.fields:
                if (leaf.recipient, leaf.group, leaf.change) == (recipient, group.group, group.change):
                    yield f"      {_field_line(leaf)}"


_MARKS = {
    Change.NEWLY_RELEASED: "+",
    Change.FINER: "+",
    Change.NEWLY_WITHHELD: "-",
    Change.COARSER: "-",
}


def _field_line(leaf: FieldImpact) -> str:
    change = f"{leaf.old.label} -> {leaf.new.label}"
    return f"{leaf.path}: {change}, {leaf.decisions}, {leaf.with_value} with a value{_examples(leaf.examples)}"


def _term_line(term: TermImpact) -> str:
    mark = "+" if term.releases_more else "-"
    return f"{mark} {term.term}: {term.old} -> {term.new}, {term.decisions} decisions{_examples(term.examples)}"


def _examples(examples: tuple[Example, ...]) -> str:
    shown = ", ".join(f"{each.message} {each.body} {_instant(each.at_ns)}" for each in examples)
    return f"; e.g. {shown}" if shown else ""


def json_of(impact: Impact) -> str:
    """Return the report as one JSON object."""
    coverage = impact.coverage
    record = {
        "in_force": {"version": impact.old[0], "digest": impact.old[1]},
        "draft": {"version": impact.new[0], "digest": impact.new[1]},
        "releases_more": impact.releases_more,
        "coverage": {
            "since": _instant(coverage.window.since_ns),
            "until": _instant(coverage.window.until_ns),
            "messages": coverage.messages,
            "first": _instant(coverage.first_ns) if coverage.messages else None,
            "last": _instant(coverage.last_ns) if coverage.messages else None,
            "parts": {"with_messages": coverage.parts, "of": PARTS},
            "unreadable": coverage.unreadable,
            "bodies": dict(coverage.bodies),
            "modes": dict(coverage.modes),
            "systems": dict(coverage.systems),
            "rule_matches": dict(coverage.rule_matches),
            "rules_unmatched": list(coverage.unmatched),
            "groups_unexercised": list(coverage.unexercised),
        },
        "recipients": [
            {
                "recipient": row.recipient,
                "decisions": row.decisions,
                "released_before": row.released_before,
                "released_after": row.released_after,
                "changes": _changes(row.changes),
            }
            for row in impact.recipients
        ],
        "groups": [
            {
                "recipient": group.recipient,
                "group": group.group,
                "change": group.change.value,
                "decisions": group.decisions,
                "with_value": group.with_value,
            }
            for group in impact.groups
        ],
        "fields": [
            {
                "recipient": leaf.recipient,
                "group": leaf.group,
                "field": leaf.path,
                "change": leaf.change.value,
                "old": leaf.old.label,
                "new": leaf.new.label,
                "decisions": leaf.decisions,
                "with_value": leaf.with_value,
                "examples": [_example(each) for each in leaf.examples],
            }
            for leaf in impact.fields
        ],
        "terms": [
            {
                "recipient": term.recipient,
                "term": term.term,
                "old": term.old,
                "new": term.new,
                "releases_more": term.releases_more,
                "decisions": term.decisions,
                "examples": [_example(each) for each in term.examples],
            }
            for term in impact.terms
        ],
        "not_seen": BLIND,
    }
    return json.dumps(record, ensure_ascii=False)


def _changes(changes: Mapping[Change, int]) -> dict[str, int]:
    return {change.value: count for change, count in changes.items()}


def _example(example: Example) -> dict[str, str]:
    return {"message": example.message, "at": _instant(example.at_ns), "body": example.body}


def _instant(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
