from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.envelope import identity
from broker.gateway.ids import Ids, Kind, Scope
from broker.gateway.ledger import INTAKE, OUTBOX, PREFIX, Issued, Ledger
from broker.limits import CORRECTIONS_MAX
from broker.store import NewRecord
from broker.store.memory import open_memory
from vedette.v1 import content_pb2, envelope_pb2, journal_pb2

if TYPE_CHECKING:
    from broker.store import Store

IDS = Ids(bytes(32))
SCOPE = Scope(content_pb2.MODE_EXERCISE, "ex-1", "aegis-1", "s")
LABEL = envelope_pb2.SecurityLabel(policy="KOR", classification=envelope_pb2.CLASSIFICATION_SECRET)
A, B, C, D = (name * 32 for name in (b"a", b"b", b"c", b"d"))


@pytest.fixture
async def store() -> Store:
    return await open_memory()


async def ledger_of(store: Store) -> Ledger:
    return Ledger(store, "KOR", IDS, await store.state(PREFIX))


async def durable(store: Store, ledger: Ledger) -> None:
    await store.append([], state=ledger.pending_state())
    ledger.keep()


def sealed_content(local: bytes, recipient: str) -> content_pb2.Content:
    content = content_pb2.Content()
    content.header.message_id = IDS.of(Kind.MESSAGE, SCOPE, recipient=recipient, local=local)
    content.header.mode = SCOPE.mode  # type: ignore[assignment]
    content.launch.event_id = b"e" * 16
    return content


async def test_small_values_stand_once_the_batch_is_durable_and_after_a_restart(store: Store) -> None:
    ledger = await ledger_of(store)
    ledger.note_event("JPN", b"event", LABEL)
    ledger.note_shown("JPN", b"object", 5)
    ledger.note_taken_back(b"key", by=A)
    assert ledger.event_label("JPN", b"event") is not None, "the rest of the batch sees it"
    await durable(store, ledger)
    again = await ledger_of(store)
    assert again.event_label("JPN", b"event") == LABEL
    assert again.event_label("USA", b"event") is None
    assert again.shown_at_ns("JPN", b"object") == 5
    assert again.is_taken_back(b"key")
    assert not again.is_taken_back(b"other")


async def test_a_batch_that_was_not_stored_leaves_no_memory(store: Store) -> None:
    ledger = await ledger_of(store)
    ledger.note_event("JPN", b"event", LABEL)
    ledger.note_taken_back(b"key", by=A)
    ledger.note_correction(of=b"a" * 32, by=b"b" * 32)
    ledger.note_intake(b"i", journal_pb2.IntakeRecord(system="aegis-1"))
    ledger.note_sealed("JPN", sealed_content(b"m", "JPN"), LABEL)
    ledger.drop()
    assert ledger.event_label("JPN", b"event") is None
    assert not ledger.is_taken_back(b"key")
    assert ledger.corrections_of(b"a" * 32) == []
    assert await ledger.intake(b"i") is None
    assert await ledger.sealed("JPN", SCOPE, b"m") is None
    assert ledger.pending_state() == {}


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def test_corrections_of_corrections_are_found_and_nothing_corrects_itself(store: Store) -> None:
    ledger = await ledger_of(store)
    ledger.note_correction(of=A, by=B)
    ledger.note_correction(of=B, by=C)
    await durable(store, ledger)
    ledger.note_correction(of=A, by=D)
    assert ledger.corrections_of(A) == [B, C, D], "as they came"
    assert ledger.corrections_of(B) == [C]
    assert not any(ledger.may_correct(of=of, by=A) for of in (A, B, C))
    assert not ledger.stands(A)


async def test_of_any_number_of_corrections_the_newest_are_remembered_and_a_cancellation_reaches_all(
    store: Store,
) -> None:
    ledger = await ledger_of(store)
    for number in range(200):
        assert ledger.may_correct(of=A, by=key_of(number))
        ledger.note_correction(of=A, by=key_of(number))
        await durable(store, ledger)
    ledger.note_correction(of=key_of(199), by=B)
    newest = [key_of(number) for number in range(200 - CORRECTIONS_MAX + 1, 200)]
    assert ledger.corrections_of(A) == [*newest, B]
    state = ledger.pending_state().values()
    assert max(map(len, state)) < 32 * (CORRECTIONS_MAX + 1)
    ledger.note_cancelled(A)
    ledger.note_correction(of=key_of(0), by=C)
    assert all(ledger.is_cancelled(key) for key in (A, B, C, *map(key_of, range(200))))


async def test_a_row_of_corrections_has_an_end_in_whatever_order_it_came(store: Store) -> None:
    for backwards in (False, True):
        ledger = await ledger_of(store)
        row = range(1, CORRECTIONS_MAX + 1)  # each corrects the one before; the first of all is 0
        for number in reversed(row) if backwards else row:
            assert ledger.may_correct(of=key_of(number - 1), by=key_of(number)), number
            ledger.note_correction(of=key_of(number - 1), by=key_of(number))
        assert len(ledger.corrections_of(key_of(0))) == CORRECTIONS_MAX
        assert ledger.root_of(key_of(CORRECTIONS_MAX)) == key_of(0)
        assert not ledger.may_correct(of=key_of(CORRECTIONS_MAX), by=A)
        assert not ledger.may_correct(of=A, by=key_of(0)), "it would be one more from below"
        assert ledger.may_correct(of=key_of(CORRECTIONS_MAX - 1), by=A)
        ledger.note_cancelled(key_of(0))
        assert ledger.is_cancelled(key_of(CORRECTIONS_MAX))


async def test_what_corrects_a_refused_correction_is_refused_until_something_else_comes_under_its_id(
    store: Store,
) -> None:
    ledger = await ledger_of(store)
    ledger.note_refused(A)
    await durable(store, ledger)
    again = await ledger_of(store)
    assert not again.may_correct(of=A, by=B)
    again.note_intake(A, journal_pb2.IntakeRecord())
    assert again.may_correct(of=A, by=B)


async def test_an_event_is_taken_back_as_long_as_a_status_that_said_so_stands(store: Store) -> None:
    ledger = await ledger_of(store)
    for by in (A, D):
        ledger.note_taken_back(b"event", by=by)
    ledger.note_correction(of=A, by=B)
    assert ledger.is_taken_back(b"event"), "another says so too"
    ledger.note_cancelled(D)
    assert not ledger.is_taken_back(b"event")
    await durable(store, ledger)
    ledger.note_cancelled(B)
    assert ledger.is_taken_back(b"event"), "its correction is gone: it stands again"
    ledger.note_cancelled(A)
    assert not ledger.is_taken_back(b"event")
    assert not (await ledger_of(store)).is_taken_back(b"event"), "the batch was not stored"


async def test_what_corrects_a_cancelled_message_is_cancelled_whichever_came_first(store: Store) -> None:
    ledger = await ledger_of(store)
    ledger.note_correction(of=A, by=B)
    ledger.note_cancelled(A)
    ledger.note_correction(of=B, by=C)
    assert [ledger.is_cancelled(key) for key in (A, B, C, D)] == [True, True, True, False]


async def test_of_an_event_the_most_secret_label_is_remembered_and_nobody_it_names(store: Store) -> None:
    ledger = await ledger_of(store)
    top = envelope_pb2.SecurityLabel(
        policy="KOR", classification=envelope_pb2.CLASSIFICATION_TOP_SECRET, releasable_to=["JPN"], caveats=["X"]
    )
    for label in (LABEL, top, LABEL):
        ledger.note_event("JPN", b"event", label)
    found = ledger.event_label("JPN", b"event")
    assert found == envelope_pb2.SecurityLabel(policy="KOR", classification=envelope_pb2.CLASSIFICATION_TOP_SECRET)


async def test_what_was_sealed_to_a_recipient_is_found_in_the_batch_and_in_the_outbox(store: Store) -> None:
    ledger = await ledger_of(store)
    content = sealed_content(b"m", "JPN")
    ledger.note_sealed("JPN", content, LABEL)
    assert await ledger.sealed("JPN", SCOPE, b"m") == Issued(content, LABEL)
    ledger.keep()
    key = identity("KOR", "JPN", SCOPE.mode, content.header.message_id)
    header = envelope_pb2.RoutingHeader(label=LABEL).SerializeToString()
    envelope = envelope_pb2.Envelope(header=header, body=content.SerializeToString())
    await store.append([NewRecord(OUTBOX, key, bytes(32), envelope.SerializeToString())])
    again = await ledger_of(store)
    assert await again.sealed("JPN", SCOPE, b"m") == Issued(content, LABEL)
    assert await again.sealed("USA", SCOPE, b"m") is None
    assert await again.sealed("JPN", SCOPE, b"other") is None


async def test_a_report_is_found_in_the_batch_and_in_the_store(store: Store) -> None:
    ledger = await ledger_of(store)
    record = journal_pb2.IntakeRecord(system="aegis-1")
    ledger.note_intake(b"i", record)
    assert await ledger.intake(b"i") == record
    ledger.keep()
    assert await ledger.intake(b"i") is None, "what is durable is read from the store"
    await store.append([NewRecord(INTAKE, b"i", bytes(32), record.SerializeToString())])
    assert await ledger.intake(b"i") == record


async def test_what_is_old_is_forgotten_a_batch_at_a_time_and_what_is_needed_lives_on(store: Store) -> None:
    ledger = await ledger_of(store)
    for event in (b"old", b"older", b"oldest", b"needed"):
        ledger.note_event("JPN", event, LABEL)
    ledger.note_taken_back(b"key", by=A)
    await durable(store, ledger)
    ledger.age = 1
    ledger.note_event("JPN", b"needed", LABEL)
    ledger.renew_taken_back(b"key")
    await durable(store, ledger)
    again = await ledger_of(store)
    assert again.forget(through=0, most=2)
    again.drop()  # that batch was not stored
    assert again.forget(through=0, most=2)
    await durable(store, again)
    assert not again.forget(through=0, most=2)
    await durable(store, again)
    for each in (again, await ledger_of(store)):
        known = [event for event in (b"old", b"older", b"oldest", b"needed") if each.event_label("JPN", event)]
        assert known == [b"needed"]
        assert each.is_taken_back(b"key")


async def test_what_is_needed_in_the_batch_that_would_forget_it_stays(store: Store) -> None:
    ledger = await ledger_of(store)
    ledger.note_event("JPN", b"event", LABEL)
    await durable(store, ledger)
    ledger.age = 1
    ledger.forget(through=0, most=9)
    assert ledger.event_label("JPN", b"event") is None
    ledger.note_event("JPN", b"event", LABEL)
    await durable(store, ledger)
    assert (await ledger_of(store)).event_label("JPN", b"event") is not None
