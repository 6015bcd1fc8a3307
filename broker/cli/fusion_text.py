"""What `vedette fusion verify` says, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.views.verify import Outcome
from vedette.v1.content_pb2 import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.gateway.verify import Verified
    from broker.views.verify import Finding

__all__ = ["json_of", "lines_of"]

TOLD_MAX: Final = 5  # of each kind
FIELDS_MAX: Final = 8


def lines_of(found: Verified) -> Iterator[str]:
    """Yield the account, the worst last, where it is seen."""
    yield f"{found.recipient or 'nobody'}: {found.records} records of the log{_already(found)}, {_pictures(found)}"
    for line in _gaps(found):
        yield f"note: {line}"
    for outcome in (Outcome.UNCHECKED, Outcome.PASSED_OVER, Outcome.DIFFERS):
        some = [finding for finding in found.findings if finding.outcome is outcome]
        if found.counts[outcome]:
            yield f"{outcome.value}: {found.counts[outcome]}"
        for finding in some[:TOLD_MAX]:
            yield from _finding(finding)
    yield f"agreed, byte for byte: {found.counts[Outcome.AGREED]}"


def json_of(found: Verified) -> dict[str, Any]:
    """Return the same as a document."""
    return {
        "recipient": found.recipient,
        "records": found.records,
        "already": found.already,
        "pictures": {outcome.value: count for outcome, count in found.counts.items()} | {"to come": found.to_come},
        "logs": found.parts,
        "holes": found.holes,
        "unreadable": found.unreadable,
        "left out": found.ahead,
        "faults": found.faults,
        "findings": [
            {
                "outcome": finding.outcome.value,
                "position": finding.position,
                "mode": Mode.Name(finding.key.view.mode),
                "exercise_id": finding.key.view.exercise_id,
                "event_id": finding.key.event_id.hex(),
                "revision": finding.key.revision,
                "reasons": list(finding.reasons),
            }
            for finding in found.findings
        ],
    }


def _already(found: Verified) -> str:
    return f" ({found.already} more were verified before)" if found.already else ""


def _pictures(found: Verified) -> str:
    sent = sum(found.counts.values()) - found.counts[Outcome.PASSED_OVER]
    return f"{sent} pictures by the hub"


def _gaps(found: Verified) -> Iterator[str]:
    if found.parts > 1:
        yield f"the hub began its log anew: {found.parts} logs, each verified by itself"
    if found.holes:
        yield f"{found.holes} holes in the log: refused here, damaged, or not kept any more"
    if found.unreadable:
        yield f"{found.unreadable} records of the inbox are damaged"
    if found.ahead:
        yield f"{found.ahead} urgent records came ahead of others that are still on their way: verify again later"
    if found.faults:
        yield f"{found.faults} records were passed over by a View, at the hub as here: report this"
    if found.to_come:
        yield f"{found.to_come} pictures were drawn here and have not come yet"


def _finding(finding: Finding) -> Iterator[str]:
    key = finding.key
    exercise = f" {key.view.exercise_id}" if key.view.exercise_id else ""
    mode = Mode.Name(key.view.mode).removeprefix("MODE_")
    yield f"  {mode}{exercise} event {key.event_id.hex()} revision {key.revision}, at {finding.position} in the log"
    for reason in finding.reasons[:FIELDS_MAX]:
        yield f"    {reason}"
    if len(finding.reasons) > FIELDS_MAX:
        yield f"    … and {len(finding.reasons) - FIELDS_MAX} more fields"
