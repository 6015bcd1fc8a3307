"""Corrections that are owed: to whom a change matters.

A correction is owed to a recipient if what it may see of the new differs from what it saw of the old. (A cancellation
is owed to everyone who got any version, whatever policy now says; `broker.gateway.disclose` sends it bare.)
"""

from __future__ import annotations

from vedette.v1 import content_pb2

__all__ = ["same_for"]


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
