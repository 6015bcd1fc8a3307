"""A decision: what one recipient is shown of one message, and by which rules. Immutable, and shared between messages.

It names everything that an auditor asks for: the policy's version and digest, every rule that matched, the level of
each group, delay, interval and caveats. `combine` joins two decisions about the same message so that the result shows
no more than either: a message that was held is decided again when it is due, and may only get tighter. To whom it may
be passed on is found anew for the result, among those of the first decision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from broker.gateway.release.lattice import Level, level_of
from broker.gateway.release.redact import redactor_of
from broker.gateway.release.shown import Shown, shown_of
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.gateway.release.redact import Redactor
    from vedette.v1 import content_pb2

__all__ = ["Decision", "Terms", "combine", "decision_from_json", "denied", "released"]

# Causes of a denial that no document has to state. Rules cannot have such ids.
BUILT_IN: Final = "VEDETTE-"
NOT_IN_FORCE: Final = "VEDETTE-NOT-IN-FORCE"
STOPPED: Final = "VEDETTE-STOPPED"
UNKNOWN_RECIPIENT: Final = "VEDETTE-UNKNOWN-RECIPIENT"
BODY_OUTSIDE_POLICY: Final = "VEDETTE-BODY-OUTSIDE-POLICY"
UNLABELLED: Final = "VEDETTE-UNLABELLED"
NOT_RELEASABLE: Final = "VEDETTE-NOT-RELEASABLE"
UNKNOWN_CAVEAT: Final = "VEDETTE-UNKNOWN-CAVEAT"
FAULT: Final = "VEDETTE-FAULT"
ENGINES_DISAGREE: Final = "VEDETTE-ENGINES-DISAGREE"  # a fault too: what the policy means is not known


def _nothing(_content: content_pb2.Content, _released_ns: int) -> content_pb2.Content:
    raise ValueError("this decision releases nothing")


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms something is released."""

    delay_s: float = 0.0
    minimum_interval_s: float = 0.0
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What one recipient is shown of one message."""

    released: bool
    rule_ids: tuple[str, ...]  # every rule that matched, sorted; or the one built-in cause of a denial
    levels: Mapping[str, Level]  # of every group, as the rules left it; all WITHHELD where anything denies
    delay_s: float  # in the content's own time
    minimum_interval_s: float  # between two messages about the same object
    caveats: tuple[str, ...]  # to be added to the label; sorted
    policy_version: int
    policy_digest: str
    shown: Shown  # what the levels come to for this kind of body
    fault: str = ""  # not empty: something went wrong in deciding; an alarm, and nothing is released
    onward: tuple[str, ...] = ()  # to whom the recipient may pass it on, as `onward` found it for one message
    redactor: Redactor = field(default=_nothing, compare=False, repr=False)

    def to_json(self) -> str:
        """Return the decision as the audit trail and the store of held messages keep it: the same text every time."""
        record = {
            "released": self.released,
            "rules": list(self.rule_ids),
            "groups": {group: level.label for group, level in self.levels.items()},
            "delay_s": self.delay_s,
            "minimum_interval_s": self.minimum_interval_s,
            "caveats": list(self.caveats),
            "policy_version": self.policy_version,
            "policy_digest": self.policy_digest,
            "body": self.shown.body,
            "shown": {path: level.label for path, level in self.shown.levels.items()},
            "fault": self.fault,
        }
        if self.onward:
            record["onward"] = list(self.onward)
        return json.dumps(record, sort_keys=True, separators=(",", ":"))


def released(
    allowed: Mapping[str, Level],
    body: str,
    *,
    rule_ids: tuple[str, ...],
    levels: Mapping[str, Level],
    terms: Terms,
    policy_version: int,
    policy_digest: str,
) -> Decision:
    """Return the decision that shows these levels of the leaves; not released where that is none of the body."""
    shown = shown_of(allowed, body)
    if not shown.is_anything:
        return denied(
            body, rule_ids=rule_ids, levels=levels, policy_version=policy_version, policy_digest=policy_digest
        )
    return Decision(
        released=True,
        rule_ids=rule_ids,
        levels=levels,
        delay_s=terms.delay_s,
        minimum_interval_s=terms.minimum_interval_s,
        caveats=terms.caveats,
        policy_version=policy_version,
        policy_digest=policy_digest,
        shown=shown,
        redactor=redactor_of(shown, round(terms.minimum_interval_s * SECOND_NS)),
    )


def denied(
    body: str,
    *,
    rule_ids: tuple[str, ...],
    levels: Mapping[str, Level],
    policy_version: int,
    policy_digest: str,
    fault: str = "",
) -> Decision:
    """Return the decision that releases nothing."""
    return Decision(
        released=False,
        rule_ids=rule_ids,
        levels=levels,
        delay_s=0.0,
        minimum_interval_s=0.0,
        caveats=(),
        policy_version=policy_version,
        policy_digest=policy_digest,
        shown=Shown(body, {}, ()),
        fault=fault,
    )


def combine(old: Decision, new: Decision) -> Decision:
    """Return what both decisions about one message allow: the least of each level, the longest delay, every caveat.

    Denied if either denies. The result bears the newer policy's number and the rules of both.
    """
    rule_ids = tuple(sorted({*old.rule_ids, *new.rule_ids}))
    if not (old.released and new.released) or old.shown.body != new.shown.body:
        return denied(
            new.shown.body,
            rule_ids=rule_ids,
            levels=dict.fromkeys(new.levels, Level.WITHHELD),
            policy_version=new.policy_version,
            policy_digest=new.policy_digest,
            fault=new.fault or old.fault,
        )
    both = {path: min(level, old.shown.levels.get(path, Level.WITHHELD)) for path, level in new.shown.levels.items()}
    terms = Terms(
        max(old.delay_s, new.delay_s),
        max(old.minimum_interval_s, new.minimum_interval_s),
        tuple(sorted({*old.caveats, *new.caveats})),
    )
    return released(
        both,
        new.shown.body,
        rule_ids=rule_ids,
        levels={group: min(level, old.levels.get(group, level)) for group, level in new.levels.items()},
        terms=terms,
        policy_version=new.policy_version,
        policy_digest=new.policy_digest,
    )


def decision_from_json(text: str) -> Decision:
    """Return the decision that `to_json` wrote, able to redact as it was. Raises ValueError for anything else."""
    try:
        record = json.loads(text)
        shown = {path: _level(name) for path, name in record["shown"].items()}
        levels = {group: _level(name) for group, name in record["groups"].items()}
        rule_ids = tuple(record["rules"])
        version, digest, body = record["policy_version"], record["policy_digest"], record["body"]
        if not record["released"]:
            return denied(
                body,
                rule_ids=rule_ids,
                levels=levels,
                policy_version=version,
                policy_digest=digest,
                fault=record["fault"],
            )
        terms = Terms(record["delay_s"], record["minimum_interval_s"], tuple(record["caveats"]))
        found = released(
            shown, body, rule_ids=rule_ids, levels=levels, terms=terms, policy_version=version, policy_digest=digest
        )
        return replace(found, onward=tuple(record.get("onward", ())))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError("not a decision") from error


def _level(name: str) -> Level:
    level = level_of(name)
    if level is None:
        raise ValueError("no such level")
    return level
