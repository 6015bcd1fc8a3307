from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.gateway.held import Held
from broker.gateway.release import Subject, decide
from broker.limits import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from broker.gateway.release import Decision, Policy

KEY, OTHER_KEY, EVENT = b"k" * 32, b"o" * 32, b"e" * 32
DUE_NS = 1_780_000_010 * SECOND_NS


@pytest.fixture(scope="module")
def decision(policy_of: Callable[[str], Policy], reports: ModuleType) -> Decision:
    policy = policy_of("- {id: A, effect: release, to: [JPN], when: 'true', give: {status: exact}, reason: r}")
    content = reports.status(b"s", b"e", 7, base=None)
    return decide(policy, Subject(content, reports.label(), 3), "JPN")


def hold(held: Held, decision: Decision, key: bytes = KEY, *, due_ns: int = DUE_NS, to: str = "JPN") -> None:
    held.hold(key, to, decision, due_ns=due_ns, event_key=EVENT)


def test_nothing_is_held_before_the_batch_is_durable(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    assert (len(held), held.next_due_ns(), held.call_due(DUE_NS, most=9)) == (0, None, [])
    held.undo()
    held.keep()
    assert len(held) == 0
    hold(held, decision)
    held.keep()
    assert (len(held), held.next_due_ns()) == (1, DUE_NS)


def test_what_is_due_comes_the_earliest_first(decision: Decision) -> None:
    held = Held()
    hold(held, decision, due_ns=DUE_NS + 5)
    hold(held, decision, OTHER_KEY, due_ns=DUE_NS)
    hold(held, decision, OTHER_KEY, due_ns=DUE_NS + 6, to="USA")
    held.keep()
    assert [record.intake_key for record in held.call_due(DUE_NS + 5, most=9)] == [OTHER_KEY, KEY]
    assert held.call_due(DUE_NS - 1, most=9) == []


def test_what_was_held_survives_a_restart_with_its_decision(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    state = held.pending_state()
    again = Held()
    again.load(state)
    (record,) = again.call_due(DUE_NS, most=9)
    assert (record.intake_key, record.recipient, record.event_key) == (KEY, "JPN", EVENT)
    assert record.decision == decision.to_json()


def test_what_was_dropped_says_when_it_was_due_and_does_not_come_back_after_a_restart(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    state = held.pending_state()
    held.keep()
    assert held.drop(KEY, "USA") is None
    assert held.drop(KEY, "JPN") == DUE_NS
    assert held.drop(KEY, "JPN") is None, "it is gone within the batch too"
    state |= held.pending_state()
    held.keep()
    again = Held()
    again.load(state)
    assert (len(held), len(again)) == (0, 0)


def test_a_drop_that_was_not_stored_has_not_happened(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    held.keep()
    held.drop(KEY, "JPN")
    held.undo()
    assert len(held.call_due(DUE_NS, most=9)) == 1


def aside(held: Held, decision: Decision, key: bytes = KEY, *, event: bytes = EVENT, to: str = "JPN") -> None:
    held.set_aside(key, to, decision, event_key=event)


def test_what_is_set_aside_waits_for_its_event_and_not_for_its_time(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    held.keep()
    aside(held, decision)
    aside(held, decision, OTHER_KEY, event=b"another")
    state = held.pending_state()
    held.keep()
    again = Held()
    again.load(state)
    for each in (held, again):
        assert (len(each), each.next_due_ns(), each.waiting_keys()) == (0, None, set())
        each.bring_back(lambda _event: True, now_ns=DUE_NS)
        each.keep()
        assert each.next_due_ns() is None
        each.bring_back(lambda event: event == b"another", now_ns=DUE_NS)
        each.keep()
        (record,) = each.call_due(DUE_NS, most=9)
        assert (record.intake_key, record.recipient, record.decision) == (KEY, "JPN", decision.to_json())
        assert len(each) == 1


def test_what_was_brought_back_in_a_batch_that_was_not_stored_is_brought_back_again(decision: Decision) -> None:
    held = Held()
    aside(held, decision)
    held.keep()
    for end in (held.undo, held.keep):
        held.bring_back(lambda _event: False, now_ns=DUE_NS)
        end()
    assert len(held.call_due(DUE_NS, most=9)) == 1


def test_what_was_set_aside_can_be_dropped_and_given_up(decision: Decision) -> None:
    held = Held()
    aside(held, decision)
    aside(held, decision, OTHER_KEY)
    held.keep()
    assert held.drop(KEY, "JPN") is None, "it was due at no time"
    held.keep()
    held.give_up(lambda _event: True)
    assert held.pending_state() == {}
    held.give_up(lambda _event: False)
    assert list(held.pending_state().values()) == [b""]
    held.keep()
    held.bring_back(lambda _event: False, now_ns=DUE_NS)
    assert held.pending_state() == {}


def test_of_what_is_set_aside_the_oldest_gives_way_and_nothing_that_waits(
    decision: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SET_ASIDE_MAX", 2)
    monkeypatch.setattr(limits, "HELD_MAX", 1)
    held = Held()
    aside(held, decision)
    held.keep()
    aside(held, decision, OTHER_KEY)
    aside(held, decision, b"x" * 32)
    assert held.hold(b"y" * 32, "JPN", decision, due_ns=DUE_NS, event_key=EVENT), "they take none of its room"
    held.keep()
    held.bring_back(lambda _event: False, now_ns=DUE_NS - 1)
    held.keep()
    assert [record.intake_key for record in held.call_due(DUE_NS, most=9)] == [OTHER_KEY, b"x" * 32, b"y" * 32]


def test_what_was_called_comes_up_again_unless_it_was_dropped(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    hold(held, decision, OTHER_KEY, due_ns=DUE_NS + 1)
    held.keep()
    assert [record.intake_key for record in held.call_due(DUE_NS + 1, most=1)] == [KEY]
    assert held.next_due_ns() == DUE_NS + 1, "the next of those not called"
    held.drop(KEY, "JPN")
    held.undo()
    assert held.next_due_ns() == DUE_NS, "what was not stored has not happened"
    held.call_due(DUE_NS, most=9)
    held.drop(KEY, "JPN")
    held.keep()
    assert held.next_due_ns() == DUE_NS + 1


def test_what_is_held_again_comes_at_its_new_time_only(decision: Decision) -> None:
    held = Held()
    for due_ns in (DUE_NS, DUE_NS + 7):
        hold(held, decision, due_ns=due_ns)
        held.keep()
    assert held.call_due(DUE_NS, most=9) == []
    assert len(held.call_due(DUE_NS + 7, most=9)) == 1


def test_no_more_is_held_than_there_is_room_for_and_a_place_that_is_taken_may_change(
    decision: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HELD_MAX", 2)
    held = Held()

    def may_hold(key: bytes, due_ns: int = DUE_NS) -> bool:
        return held.hold(key, "JPN", decision, due_ns=due_ns, event_key=EVENT)

    assert [may_hold(KEY), may_hold(OTHER_KEY), may_hold(b"x" * 32)] == [True, True, False]
    assert may_hold(KEY, DUE_NS + 1), "it stands already"
    held.keep()
    held.drop(KEY, "JPN")
    assert may_hold(b"x" * 32), "room was made in this batch"
    held.undo()
    assert not may_hold(b"x" * 32)
