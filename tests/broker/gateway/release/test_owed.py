from __future__ import annotations

from typing import Any

import pytest

from broker.content import LEAVES
from broker.gateway.release import Level, redact, same_for
from broker.gateway.release.decision import Terms, released
from vedette.v1 import content_pb2


def view(content: content_pb2.Content, level: Level) -> content_pb2.Content:
    body = content.WhichOneof("body") or ""
    levels = dict.fromkeys(LEAVES, level)
    decision = released(levels, body, rule_ids=(), levels={}, terms=Terms(), policy_version=1, policy_digest="")
    return redact(content, decision)


@pytest.fixture
def pair(maker: Any) -> tuple[content_pb2.Content, content_pb2.Content]:
    """Return a track and its correction, which moves it by 20 m inside every cell."""
    old = maker(1).content("track", density=1.0)
    old.track.state.position_m[0] = 3_000_400.0
    new = content_pb2.Content()
    new.CopyFrom(old)
    new.header.message_id = b"n" * 16
    new.header.references.add(message_id=old.header.message_id, relation=content_pb2.RELATION_CORRECTS)
    new.track.state.position_m[0] += 20.0
    return old, new


def test_a_correction_is_owed_only_where_it_can_be_seen(pair: tuple[content_pb2.Content, content_pb2.Content]) -> None:
    old, new = pair
    assert not same_for(view(old, Level.EXACT), view(new, Level.EXACT))
    assert same_for(view(old, Level.CELL_1KM), view(new, Level.CELL_1KM))


def test_a_finer_view_of_the_same_is_something_new(pair: tuple[content_pb2.Content, content_pb2.Content]) -> None:
    old, new = pair
    assert not same_for(view(old, Level.CELL_10KM), view(new, Level.CELL_1KM))
