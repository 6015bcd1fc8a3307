from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.gateway.release import Level, Subject, decide, explain
from vedette.v1 import content_pb2

Makers = Any


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_explanation_tells_the_decision_and_no_other_story(makers: Makers, data: st.DataObject) -> None:
    maker = data.draw(makers)
    policy, subject = maker.policy(), maker.subject()
    for recipient in (*policy.recipients, "AUS"):
        decision, story = decide(policy, subject, recipient), explain(policy, subject, recipient)
        assert story.decision == decision
        assert str(story).startswith("RELEASED" if decision.released else "DENIED")
        record = json.loads(story.to_json())
        assert record["decision"] == json.loads(decision.to_json())
        built_in = any(rule_id.startswith("VEDETTE-") for rule_id in decision.rule_ids)
        if not built_in:
            assert {each["id"] for each in record["rules"] if each["matched"]} == set(decision.rule_ids)
        for group in story.groups:
            if decision.released:
                assert group.level <= group.given
                assert bool(group.capped_by) == (group.level < group.given)
                assert bool(group.given_by) == (group.given > Level.WITHHELD)


def test_an_explanation_never_tells_the_messages_own_values(maker: Any) -> None:
    made = maker(3)
    policy = made.policy(rules=12)
    subject = Subject(made.content("track", density=1.0), made.label(), 4)
    subject.content.track.source.name = "Very Secret 7"
    subject.content.track.state.position_m[0] = 123456.789
    for recipient in policy.recipients:
        text = str(explain(policy, subject, recipient)) + explain(policy, subject, recipient).to_json()
        assert "Secret" not in text
        assert "123456" not in text


def test_a_message_without_a_body_is_explained_too(maker: Any) -> None:
    made = maker(4)
    policy, subject = made.policy(), made.subject()
    subject.content.ClearField(subject.content.WhichOneof("body"))
    assert isinstance(subject.content, content_pb2.Content)
    assert "before any rule: VEDETTE-" in str(explain(policy, subject, "USA"))
