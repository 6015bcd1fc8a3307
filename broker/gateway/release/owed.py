"""Corrections that are owed: to whom a change matters, and what goes even where policy now shows nothing.

A correction is owed to a recipient if what it may see of the new differs from what it saw of the old. A cancellation
is owed to everyone who got any version, whatever policy, `stop` or expiry now say: a warning that was given must be
taken back. It then goes bare, as references or a state alone, so that nothing new is shown by it.
"""

from __future__ import annotations

from typing import Final

from vedette.v1 import content_pb2

__all__ = ["bare_cancellation", "bare_status", "same_for"]

_CANCELS: Final = frozenset({content_pb2.RELATION_CANCELS, content_pb2.RELATION_CORRECTS})


def bare_cancellation(content: content_pb2.Content) -> content_pb2.Content:
    """Return the content as a message that cancels what it corrected or cancelled, and says nothing else.

    For a cancellation to a recipient that policy now denies, and for a correction of which it may see nothing. Raises
    ValueError where the content neither corrects nor cancels anything.
    """
    made = _identified(content)
    for reference in content.header.references:
        if reference.relation in _CANCELS:
            made.header.references.add(message_id=reference.message_id, relation=content_pb2.RELATION_CANCELS)
    if not made.header.references:
        raise ValueError("nothing to cancel")
    return made


def bare_status(content: content_pb2.Content) -> content_pb2.Content:
    """Return a status of an event as its state alone, without a reason or any other leaf: NOT_A_LAUNCH, for all."""
    made = _identified(content)
    for reference in content.header.references:
        made.header.references.add(message_id=reference.message_id, relation=reference.relation)
    made.status.event_id = content.status.event_id
    made.status.object_id = content.status.object_id
    made.status.state = content.status.state
    return made


def _identified(content: content_pb2.Content) -> content_pb2.Content:
    header = content.header
    made = content_pb2.Content()
    made.header.message_id = header.message_id
    made.header.origin = header.origin
    made.header.mode = header.mode
    if header.HasField("exercise"):
        made.header.exercise.CopyFrom(header.exercise)
    return made


def same_for(old: content_pb2.Content, new: content_pb2.Content) -> bool:
    """Say whether the new view of a recipient tells it the same as the old: then no correction is owed to it.

    Both are what `redact` made for this recipient, before or after its ids were made. What only concerns the message
    as such does not count: its id, its references, lineage, provenance and stamps, and where it stands in a chain.
    """
    return _said(old) == _said(new)


def _said(view: content_pb2.Content) -> content_pb2.Content:
    said = content_pb2.Content()
    said.CopyFrom(view)
    for name in ("message_id", "references", "lineage", "provenance", "stamps"):
        said.header.ClearField(name)
    return said
