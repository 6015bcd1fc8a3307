"""What was refused is counted, and stands in the audit trail; a flood of it fills neither the log nor the disk.

Of each (step, origin, reason) the first in a second is on record at once, the others of that second as one entry with
their number. The detail never carries content, and an origin is the member whose certificate is on the line.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from broker.hub.promises import BrokenPromiseError
from broker.refusal import reason_name

if TYPE_CHECKING:
    from broker.audit import AuditTrail
    from broker.hub.metrics import HubMetrics
    from broker.refusal import Refused

log = logging.getLogger(__name__)


class _Kind(NamedTuple):
    step: str
    origin: str
    reason: str


class Refusals:
    """All refusals of one hub."""

    def __init__(self, metrics: HubMetrics, audit: AuditTrail) -> None:
        self._metrics, self._audit = metrics, audit
        self._more: Counter[_Kind] = Counter()  # since the last turn, beyond the first of each kind

    def note(self, step: str, origin: str, refused: Refused) -> None:
        """Count a refusal and put it on record. Never waits."""
        self._metrics.refused(step, origin, refused)
        kind = _Kind(step, origin, reason_name(refused.reason))
        if kind in self._more:
            self._more[kind] += 1
            return
        self._more[kind] = 0
        if isinstance(refused, BrokenPromiseError):  # the origin's release went wrong, and this is the last wall
            log.critical(
                "GUARD stopped origin=%s invariant=%s promise=%s", origin, refused.invariant_id, refused.promise
            )
        log.warning("refused step=%s origin=%s reason=%s", *kind)
        self._audit.note("refused", step=kind.step, origin=kind.origin, reason=kind.reason, detail=refused.detail)

    def turn(self) -> None:
        """Put the rest of the second on record."""
        for kind, count in self._more.items():
            if count:
                log.warning("refused step=%s origin=%s reason=%s further=%d", *kind, count)
                self._audit.note("refused", step=kind.step, origin=kind.origin, reason=kind.reason, further=count)
        self._more.clear()
