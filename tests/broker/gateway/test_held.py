from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
    assert (len(held), held.next_due_ns(), held.due(DUE_NS)) == (0, None, [])
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
    assert [record.intake_key for record in held.due(DUE_NS + 5)] == [OTHER_KEY, KEY]
    assert held.due(DUE_NS - 1) == []


def test_what_was_held_survives_a_restart_with_its_decision(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    state = held.pending_state()
    again = Held()
    again.load(state)
    (record,) = again.due(DUE_NS)
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
    assert len(held.due(DUE_NS)) == 1


def test_of_one_event_all_is_dropped_for_one_recipient_and_nothing_else(decision: Decision) -> None:
    held = Held()
    hold(held, decision)
    hold(held, decision, OTHER_KEY)
    hold(held, decision, to="USA")
    held.hold(b"x" * 32, "JPN", decision, due_ns=DUE_NS, event_key=b"another")
    held.drop_event(EVENT, "JPN")
    held.keep()
    assert {(record.intake_key, record.recipient) for record in held.due(DUE_NS)} == {(KEY, "USA"), (b"x" * 32, "JPN")}
