"""What is so of an event at a time: its state, and whether it is over.

Only an explicit ALL_CLEAR (or IMPACTED, PASSED) that no later report contradicts, or a predicted impact that is past by
a margin, ends an event; time alone gives TRACK_LOST, which is not an all-clear. Where all origins took their word back,
or cancelled everything, the state is NOT_A_LAUNCH. A state follows from the messages and the time; it has no memory, so
an event that is over opens again when a message comes that makes it so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker import limits
from broker.fusion.contribution import Impact, Launch, Report, Status
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.fusion.board import Event, TrackedObject
    from broker.fusion.contribution import NodeKey
    from broker.fusion.node import Node

__all__ = ["OVER", "Outcome", "outcome"]

Outcome = tuple[content_pb2.EventState.ValueType, content_pb2.StatusReason.ValueType]

OVER: Final = frozenset(
    {
        content_pb2.EVENT_STATE_ALL_CLEAR,
        content_pb2.EVENT_STATE_IMPACTED,
        content_pb2.EVENT_STATE_PASSED,
        content_pb2.EVENT_STATE_NOT_A_LAUNCH,
    }
)
# The first of these that somebody says, and that stands, is the event's.
SAID: Final = (
    content_pb2.EVENT_STATE_ALL_CLEAR,
    content_pb2.EVENT_STATE_IMPACTED,
    content_pb2.EVENT_STATE_PASSED,
    content_pb2.EVENT_STATE_FAILED_IN_FLIGHT,
)
LONG_AGO_NS: Final = -(1 << 63)


def outcome(event: Event, nodes: Mapping[NodeKey, Node], now_ns: int, *, is_confirmed: bool) -> Outcome:
    """Return state and reason of an event at a time of the log."""
    if not event.nodes:
        return content_pb2.EVENT_STATE_NOT_A_LAUNCH, _retraction_reason(event, nodes)
    said = _said(event, nodes)
    if said is not None and said[0] in OVER:
        return said
    past = _past_impact(event, nodes, now_ns)
    if past is not None:
        return past
    if said is not None:
        return said
    if event.objects and all(_is_silent(one, now_ns) for one in event.objects):
        return content_pb2.EVENT_STATE_TRACK_LOST, content_pb2.STATUS_REASON_UNSPECIFIED
    state = content_pb2.EVENT_STATE_CONFIRMED if is_confirmed else content_pb2.EVENT_STATE_DETECTED
    return state, content_pb2.STATUS_REASON_UNSPECIFIED


def _said(event: Event, nodes: Mapping[NodeKey, Node]) -> Outcome | None:
    """Return the word of an origin that ends the event or says that it failed, if no report is newer."""
    newest_ns = LONG_AGO_NS
    words: list[tuple[int, int, content_pb2.StatusReason.ValueType]] = []
    for node in (nodes[key] for key in event.nodes):
        reports = [found.key[0] for kind in (Report, Launch, Impact) if (found := node.newest(kind)) is not None]
        own_ns = max(reports, default=LONG_AGO_NS)
        newest_ns = max(newest_ns, own_ns)
        status = node.newest(Status)
        if status is not None and isinstance(status.body, Status) and status.body.state in SAID:
            # A word without a time is as new as its origin's newest report: it silences nobody who still tracks.
            words.append((-SAID.index(status.body.state), status.key[0] or own_ns, status.body.reason))
    standing = [word for word in words if word[1] >= newest_ns]
    if not standing:
        return None
    rank, _, reason = max(standing)
    return SAID[-rank], reason


def _past_impact(event: Event, nodes: Mapping[NodeKey, Node], now_ns: int) -> Outcome | None:
    """Return how the event ended if every predicted impact is past by the margin.

    Our own predictions count; what the origins predict counts where an object has none.
    """
    predictions = [one.prediction for one in event.objects]
    latest_ns = [
        prediction.time_ns + round(2.0 * prediction.time_sigma_s * SECOND_NS)
        for prediction in predictions
        if prediction
    ]
    overflight = False
    if not predictions or None in predictions:
        impacts = [impact for key in event.nodes if (impact := nodes[key].impact()) is not None]
        if not impacts:
            return None  # nobody knows where it ends
        latest_ns += [impact.latest_ns for impact in impacts if impact.latest_ns is not None]
        overflight = all(impact.overflight_only for impact in impacts)
    if not latest_ns or now_ns <= max(latest_ns) + round(limits.IMPACT_MARGIN_S * SECOND_NS):
        return None
    state = content_pb2.EVENT_STATE_PASSED if overflight else content_pb2.EVENT_STATE_IMPACTED
    return state, content_pb2.STATUS_REASON_PREDICTED_IMPACT_PASSED


def _is_silent(one: TrackedObject, now_ns: int) -> bool:
    """Say whether an object has not been reported for longer than its own policy explains."""
    newest = one.history.last.report
    return now_ns - newest.time_ns > round(limits.TRACK_LOST_S * SECOND_NS) + newest.silence_ns


def _retraction_reason(event: Event, nodes: Mapping[NodeKey, Node]) -> content_pb2.StatusReason.ValueType:
    """Return the reason that the newest retraction gives."""
    newest = [
        (contribution.key, contribution.body.reason)
        for key in event.retracted
        if (contribution := nodes[key].newest(Status)) is not None and isinstance(contribution.body, Status)
    ]
    return max(newest)[1] if newest else content_pb2.STATUS_REASON_UNSPECIFIED
