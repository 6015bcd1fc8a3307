"""What is so of an event at a time: its state, and whether it is over.

Only an explicit ALL_CLEAR (or IMPACTED, PASSED) that no later report contradicts, or a predicted impact that is past by
a margin, ends an event; time alone gives TRACK_LOST, which is not an all-clear. Where all origins took their word back,
or cancelled everything, the state is NOT_A_LAUNCH. A word that names an object ends that object alone, NOT_A_LAUNCH
excepted; an event whose objects were all ended so is over with the last of them. A state follows from the messages and
the time; it has no memory, so an event that is over opens again when a message comes that makes it so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker import limits
from broker.fusion.contribution import Impact, Launch, Report, Status
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.fusion.board import Event, TrackedObject
    from broker.fusion.contribution import NodeKey
    from broker.fusion.node import Node

__all__ = ["OVER", "Outcome", "faded", "flying", "outcome"]

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
    ended = [_ended(one, nodes) for one in event.objects]
    left = [one for one, word in zip(event.objects, ended, strict=True) if word is None]
    said = _said(event, nodes) or (None if left else _of_all(ended))
    if said is not None and said[0] in OVER:
        return said
    past = _past_impact(event, left or event.objects, nodes, now_ns)
    if past is not None:
        return past
    if said is not None:
        return said
    if left and all(_is_silent(one, now_ns) for one in left):
        return content_pb2.EVENT_STATE_TRACK_LOST, content_pb2.STATUS_REASON_UNSPECIFIED
    state = content_pb2.EVENT_STATE_CONFIRMED if is_confirmed else content_pb2.EVENT_STATE_DETECTED
    return state, content_pb2.STATUS_REASON_UNSPECIFIED


def flying(event: Event, nodes: Mapping[NodeKey, Node]) -> list[TrackedObject]:
    """Return the objects of an event without those that somebody's word has ended; all if it has ended them all."""
    return [one for one in event.objects if _ended(one, nodes) is None] or event.objects


def faded(event: Event, now_ns: int) -> list[TrackedObject]:
    """Let the impact areas of lost objects grow; return those of which it is another now."""
    return [one for one in event.objects if _is_silent(one, now_ns) and one.fade(now_ns - one.history.newest.time_ns)]


def _ended(one: TrackedObject, nodes: Mapping[NodeKey, Node]) -> Outcome | None:
    """Return the word of an origin that ends this object, if no report of it is newer."""
    newest_ns = one.history.last.key[0]
    words: list[tuple[int, content_pb2.StatusReason.ValueType]] = []
    for track in one.tracks:
        node = nodes[track[:2]]
        status = node.word(track[2]) if track[2] else None
        if status is None or not isinstance(status.body, Status) or status.body.state not in SAID:
            continue
        # A word without a time is as new as the track that it ends.
        if (status.key[0] or node.tracks[track].order[-1][0]) >= newest_ns:
            words.append((-SAID.index(status.body.state), status.body.reason))
    if not words:
        return None
    rank, reason = max(words)
    return SAID[-rank], reason


def _of_all(ended: Sequence[Outcome | None]) -> Outcome | None:
    """Return what is so of an event whose objects have all ended; None if it has none, or one goes on."""
    words = [(-SAID.index(word[0]), word[1]) for word in ended if word is not None]
    if not words or len(words) < len(ended):
        return None
    rank, reason = max(words)
    return SAID[-rank], reason


def _said(event: Event, nodes: Mapping[NodeKey, Node]) -> Outcome | None:
    """Return the word of an origin that ends the event or says that it failed, if no report is newer."""
    newest_ns = LONG_AGO_NS
    words: list[tuple[int, int, content_pb2.StatusReason.ValueType]] = []
    for node in (nodes[key] for key in event.nodes):
        reports = [found.key[0] for kind in (Report, Launch, Impact) if (found := node.newest(kind)) is not None]
        own_ns = max(reports, default=LONG_AGO_NS)
        newest_ns = max(newest_ns, own_ns)
        status = node.word()
        if status is not None and isinstance(status.body, Status) and status.body.state in SAID:
            # A word without a time is as new as its origin's newest report: it silences nobody who still tracks.
            words.append((-SAID.index(status.body.state), status.key[0] or own_ns, status.body.reason))
    standing = [word for word in words if word[1] >= newest_ns]
    if not standing:
        return None
    rank, _, reason = max(standing)
    return SAID[-rank], reason


def _past_impact(
    event: Event, objects: Sequence[TrackedObject], nodes: Mapping[NodeKey, Node], now_ns: int
) -> Outcome | None:
    """Return how the event ended if every predicted impact of these objects is past by the margin.

    Our own predictions count; what the origins predict counts where an object has none.
    """
    predictions = [one.prediction for one in objects]
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
    # What is still reported after it should have come down has not.
    if not latest_ns or any(one.history.newest.time_ns > max(latest_ns) for one in objects):
        return None
    if now_ns <= max(latest_ns) + round(limits.IMPACT_MARGIN_S * SECOND_NS):
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
        if (contribution := nodes[key].word()) is not None and isinstance(contribution.body, Status)
    ]
    return max(newest)[1] if newest else content_pb2.STATUS_REASON_UNSPECIFIED
