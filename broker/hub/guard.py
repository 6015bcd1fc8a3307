"""Step 5b: a second look, at the bytes as the recipient will get them. It can only refuse.

It trusts nothing that step 5 read: it parses the stored bytes again, with other code, and knows the members document
and what a nation's security officers promise, but no policy of any nation. So a mistake in an origin's release, or in
step 5, meets one more wall:

* the bytes say what a parser shows, and no more;
* the pair may exchange, and the label names the recipient;
* what another member owns goes on only where the members document lets this pair pass on third-party data and the
  label does not keep it with its originator;
* every leaf set in the body is in the allow-list of the pair;
* who sends may send such a body: a FusedEvent comes from the hub's picture role and from nobody else, and nothing else
  comes from there; time (Tick) is said by nobody on the wire;
* header and content say the same;
* the origin's own invariants hold, as far as the bytes tell (`broker.hub.promises`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from broker.content import set_leaves
from broker.refusal import Reason, Refused
from certs.identity import MemberId, Role
from vedette.v1.content_pb2 import Content, Relation
from vedette.v1.envelope_pb2 import Classification, Envelope, RoutingHeader

if TYPE_CHECKING:
    from broker.hub.admit import Admitted
    from broker.hub.promises import Promises
    from certs.members import Members, Pair

# What a nation may say. A Canary is its gateway's own; it carries nothing of the nation's.
_NATIONAL: Final = frozenset(
    {"launch", "track", "impact", "status", "operator_ack", "heartbeat", "notice", "canary"},
)
_PICTURE: Final = frozenset({"fused"})


def guard(admitted: Admitted, *, role: Role, members: Members, promises: Promises | None = None) -> None:
    """Step 5b. Raises Refused; returns nothing, because it adds nothing. `promises`: the origin's, if it has any."""
    try:
        envelope = Envelope.FromString(admitted.sealed)
        header = RoutingHeader.FromString(envelope.header)
        content = Content.FromString(envelope.body)
    except DecodeError as error:
        raise Refused(Reason.REASON_MALFORMED, "does not parse") from error
    # 5b.1 the bytes hold nothing that a parser does not show: of a field that stands twice, only the last is seen
    if header.ByteSize() != len(envelope.header) or content.ByteSize() != len(envelope.body):
        raise Refused(Reason.REASON_MALFORMED, "a field stands twice, or a default is spelt out")
    # 5b.2 these two exchange
    pair = members.may_exchange(MemberId(header.origin), MemberId(header.recipient))
    if pair is None:
        raise Refused(Reason.REASON_PAIR_NOT_ALLOWED, "the members document does not let these two exchange")
    _check_label(header, pair)
    _check_body(content, role)
    _check_agreement(header, content)
    # 5b.9 nothing outside the allow-list of this pair
    if pair.leaves is not None:
        for path in set_leaves(content):
            if not pair.permits(path):
                raise Refused(Reason.REASON_LEAF_NOT_ALLOWED, f"{path} is outside the allow-list of this pair")
    # 5b.10 nothing against what the origin's own security officers promise
    if promises is not None and role is Role.GATEWAY:
        promises.check(header, content, received_ns=admitted.received_ns)


def _check_label(header: RoutingHeader, pair: Pair) -> None:
    label = header.label
    # 5b.3 labelled at all
    if label.classification == Classification.CLASSIFICATION_UNSPECIFIED or not label.policy:
        raise Refused(Reason.REASON_UNLABELLED, "a label says whose it is and how it is classified")
    # 5b.4 the label names the recipient
    if header.recipient not in label.releasable_to:
        raise Refused(Reason.REASON_LABEL_FORBIDS, "the label does not name the recipient")
    # 5b.5 what is another's goes on with permission only; a member's own comes home freely
    if label.policy in (header.origin, header.recipient) or header.origin == header.recipient:
        return
    if not pair.third_party or label.originator_controlled:
        raise Refused(Reason.REASON_THIRD_PARTY, "another member's data, without its permission")


def _check_body(content: Content, role: Role) -> None:
    # 5b.6 this sender may say this
    body = content.WhichOneof("body")
    if body is None:
        if not content.header.references or any(
            reference.relation != Relation.RELATION_CANCELS for reference in content.header.references
        ):
            raise Refused(Reason.REASON_BODY_NOT_ALLOWED, "without a body, a message may only cancel")
    elif body not in _NATIONAL and body not in _PICTURE:
        raise Refused(Reason.REASON_BODY_NOT_ALLOWED, f"{body} is said by nobody on the wire")
    if (role is Role.VIEWS) != (body in _PICTURE):
        raise Refused(Reason.REASON_BODY_NOT_ALLOWED, "fused pictures come from the hub, and nothing else does")


def _check_agreement(header: RoutingHeader, content: Content) -> None:
    inner = content.header
    # 5b.7 nobody passes on another's content as it is
    if inner.origin != header.origin:
        raise Refused(Reason.REASON_BODY_NOT_ALLOWED, "content of another origin")
    # 5b.8 what stands twice is the same
    if inner.message_id != header.message_id or inner.mode != header.mode:
        raise Refused(Reason.REASON_HEADER_MISMATCH, "message_id and mode stand in both headers and must be equal")
    if inner.HasField("exercise") != header.HasField("exercise") or inner.exercise != header.exercise:
        raise Refused(Reason.REASON_HEADER_MISMATCH, "exercise stands in both headers and must be equal")
