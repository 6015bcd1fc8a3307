"""Steps 2 to 4 as one transaction: what was not stored has not happened, and what was answered is stored."""

from __future__ import annotations

import asyncio
import json
import logging
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.audit import AuditTrail
from broker.clock import ManualClock, timestamp
from broker.envelope import identity
from broker.gateway import pipeline as pipeline_module
from broker.gateway.canary import canary
from broker.gateway.ids import Ids, Kind
from broker.gateway.ledger import INTAKE, OUTBOX
from broker.refusal import Reason, Refused
from broker.store import Full, NewRecord, NotDurable, StoreError, Unavailable
from broker.store.memory import Kept, MemoryStore
from vedette.v1 import content_pb2, envelope_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from broker.gateway.release import Policy
    from broker.store import Written
    from certs.keyring import Signer
    from tests.broker.gateway.conftest import Origin

    Make = Callable[..., content_pb2.Content]

NOW_NS = 1_780_000_000 * limits.SECOND_NS  # as the clock stands

RULES = """
- id: ALL
  effect: release
  to: [USA, JPN]
  when: 'body == "track"'
  give: {when_observed: exact, track_time: exact, track_place: exact}
  reason: r
- {id: LATE, effect: limit, to: [JPN], when: '"LATER" in label.caveats', delay_s: 10, reason: r}
"""


class FailingStore(MemoryStore):
    """Refuses the next batches as a disk would; `is_stored`: having stored them all the same."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept)
        self.faults: list[StoreError] = []
        self.is_stored = False

    async def append(self, batch: Sequence[NewRecord], *, state: Mapping[str, bytes] | None = None) -> list[Written]:
        if self.faults:
            if self.is_stored:
                await super().append(batch, state=state)
            raise self.faults.pop(0)
        return await super().append(batch, state=state)


@pytest.fixture
async def store() -> FailingStore:
    return FailingStore(Kept())


@pytest.fixture
async def kor(origin: Callable[..., Origin], policy_of: Callable[[str], Policy], store: FailingStore) -> Origin:
    made = origin(policy_of(RULES), kept=store._kept)
    return await made.start(store)


@pytest.fixture(scope="session")
def track(reports: ModuleType) -> Callable[[str], content_pb2.Content]:
    base = reports.exercise("test-1")
    base.wall_zero.CopyFrom(timestamp(NOW_NS))  # so that no instant is rounded on its way through exercise time
    base.exercise_zero.CopyFrom(base.wall_zero)

    def make(name: str) -> content_pb2.Content:
        made: content_pb2.Content = reports.track(name.encode(), b"e-1", base=base)
        return made

    return make


async def numbers(kor: Origin, recipient: str = "JPN") -> list[int]:
    return [item.header.sequence for item in await kor.outbox(recipient)]


async def test_a_report_is_accepted_once_and_then_it_is_a_duplicate(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    content = track("a")
    assert await kor.report(content, reports.label())
    assert not await kor.report(content, reports.label())
    await kor.restart()
    assert not await kor.report(content, reports.label()), "also after a restart"
    assert await numbers(kor) == [1]


async def test_another_report_under_a_used_id_is_a_conflict_and_the_first_stands(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    with pytest.raises(Refused) as refused:
        await kor.report(track("a"), reports.label(caveats=("LATER",)))
    assert refused.value.reason == Reason.REASON_CONFLICT
    assert await numbers(kor) == [1]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Full("no room"), Reason.REASON_STORE_FULL),
        (Unavailable("closed"), Reason.REASON_UNAVAILABLE),
        (NotDurable("perhaps", maybe=False), Reason.REASON_UNAVAILABLE),
    ],
)
async def test_what_was_not_stored_leaves_no_gap_and_no_memory_and_is_taken_when_it_comes_again(
    fault: StoreError, expected: int, kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    await kor.report(track("a"), reports.label())
    again = track("b")
    store.faults = [fault]
    with pytest.raises(Refused) as refused:
        await kor.report(again, reports.label())
    assert refused.value.reason == expected
    assert await kor.report(again, reports.label())
    await kor.report(track("c"), reports.label())
    assert await numbers(kor) == [1, 2, 3]


async def test_a_report_whose_sender_went_away_before_the_disk_failed_is_new_when_it_comes_again(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    content = track("a")
    done = await kor.pipeline.offer(kor.taken(content, reports.label()))
    done.cancel()
    store.faults = [Full("no room")]
    await kor.pipeline.step()
    assert await kor.report(content, reports.label()), "a DUPLICATE would be a promise that nobody kept"
    assert await numbers(kor) == [1]


async def test_a_duplicate_in_a_batch_that_failed_is_not_sealed_anew(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    content = track("a")
    await kor.report(content, reports.label())
    copy = await kor.pipeline.offer(kor.taken(content, reports.label()))
    other = await kor.pipeline.offer(kor.taken(track("b"), reports.label()))
    store.faults = [Full("no room")]
    await kor.pipeline.step()
    for refused in (copy, other):
        with pytest.raises(Refused):
            refused.result()
    assert not await kor.report(content, reports.label())
    await kor.report(track("b"), reports.label())
    assert await numbers(kor) == [1, 2]


async def test_a_batch_that_was_stored_after_all_is_sealed_once(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    content = track("a")
    store.faults, store.is_stored = [NotDurable("perhaps", maybe=True)], True
    with pytest.raises(Refused):
        await kor.report(content, reports.label())
    await kor.restart()
    assert not await kor.report(content, reports.label())
    await kor.report(track("b"), reports.label())
    first, second = await kor.outbox("JPN")
    assert second.header.epoch > first.header.epoch, "a process numbers in an epoch of its own"


async def test_a_copy_in_the_same_batch_is_answered_when_the_first_is_durable(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    taken = kor.taken(track("a"), reports.label())
    store.faults = [Full("no room")]
    first, copy = await kor.pipeline.offer(taken), await kor.pipeline.offer(taken)
    await kor.pipeline.step()
    for done in (first, copy):
        with pytest.raises(Refused):
            done.result()
    first, copy = await kor.pipeline.offer(taken), await kor.pipeline.offer(taken)
    await kor.pipeline.step()
    assert (first.result(), copy.result()) == (True, False)


async def test_a_held_message_that_could_not_be_stored_goes_later_under_the_same_number(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    await kor.report(track("a"), reports.label(caveats=("LATER",)))
    store.faults = [Full("no room")]
    await kor.wait(10)
    assert (await numbers(kor), len(kor.pipeline.held)) == ([], 1)
    await kor.pipeline.step()
    assert (await numbers(kor), len(kor.pipeline.held)) == ([1], 0)


async def test_intake_and_envelopes_are_stored_together(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    await kor.report(track("a"), reports.label())
    assert ((await store.bounds(INTAKE)).last, (await store.bounds(OUTBOX)).last) == (1, 2)


async def test_keys_that_left_the_memory_are_asked_of_the_store(
    kor: Origin, track: Make, reports: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "SEEN_MAX", 2)
    contents = [track(name) for name in "abcd"]
    for content in contents:
        await kor.report(content, reports.label())
    for content in contents:
        assert not await kor.report(content, reports.label())
    assert await numbers(kor) == [1, 2, 3, 4]


async def test_the_greatest_precedence_has_its_own_numbers_and_lane(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label(), envelope_pb2.PRECEDENCE_ROUTINE)
    await kor.report(track("b"), reports.label(), envelope_pb2.PRECEDENCE_FLASH_OVERRIDE)
    assert [(item.header.lane, item.header.sequence) for item in await kor.outbox("JPN")] == [
        (envelope_pb2.LANE_NORMAL, 1),
        (envelope_pb2.LANE_URGENT, 1),
    ]


async def test_a_canary_goes_the_same_way_in_the_real_worlds_mode(kor: Origin) -> None:
    await kor.pipeline.send(canary("KOR", "JPN", 1, "s", Ids(bytes(32)), kor.clock.wall_ns()))
    await kor.pipeline.step()
    (sent,) = await kor.outbox("JPN")
    assert (sent.header.mode, sent.header.sequence) == (content_pb2.MODE_REAL_WORLD, 1)
    assert sent.content.canary.number == 1


async def test_a_gateway_that_stops_tells_who_waits_and_remembers_nothing(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore
) -> None:
    running = asyncio.create_task(kor.pipeline.run())
    content = track("a")
    assert await kor.pipeline.take(kor.taken(content, reports.label()))
    other = kor.taken(track("b"), reports.label())
    waiting = await kor.pipeline.offer(other)
    await asyncio.sleep(0)  # it has begun with the batch
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(Refused) as refused:
        waiting.result()
    assert refused.value.reason == Reason.REASON_INTERNAL
    assert (await store.bounds(INTAKE)).last == 1
    await kor.report(track("b"), reports.label())
    assert await numbers(kor) == [1, 2]


async def test_who_we_do_not_exchange_with_any_more_gets_nothing_of_what_was_held_for_it(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label(caveats=("LATER",)))
    kor.recipients = ("KOR", "USA")
    await kor.wait(10)
    assert await numbers(kor) == []


async def test_a_restored_outbox_seals_what_is_new_under_numbers_that_were_never_used(
    kor: Origin, track: Make, reports: ModuleType, store: FailingStore, origin: Callable[..., Origin]
) -> None:
    await kor.report(track("a"), reports.label())
    backup = deepcopy(store._kept)
    await kor.report(track("b"), reports.label())
    used = {(item.header.epoch, item.header.sequence) for item in await kor.outbox("JPN")}
    restored = await origin(kor.policy, kept=backup).start()
    await restored.report(track("c"), reports.label())
    newest = (await restored.outbox("JPN"))[-1]
    assert (newest.header.epoch, newest.header.sequence) not in used


async def test_one_report_that_cannot_be_sealed_is_answered_and_ends_nothing(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    def signer_of(mode: int) -> Signer:
        if any(name in kor.pipeline.ledger._pending_sealed for name in poisoned):
            raise ValueError("a fault of ours")
        return signer(mode)

    signer, kor.pipeline.signer_of = kor.pipeline.signer_of, signer_of
    bad = kor.taken(track("bad"), reports.label())
    ids = kor.pipeline.ledger.ids
    poisoned = [identity("KOR", "JPN", bad.scope.mode, ids.of(Kind.MESSAGE, bad.scope, recipient="JPN", local=b"bad"))]
    first = await kor.pipeline.offer(kor.taken(track("a"), reports.label()))
    middle = await kor.pipeline.offer(bad)
    last = await kor.pipeline.offer(kor.taken(track("b"), reports.label()))
    await kor.pipeline.step()
    assert (first.result(), last.result()) == (True, True)
    with pytest.raises(Refused) as refused:
        middle.result()
    assert refused.value.reason == Reason.REASON_INTERNAL
    assert await numbers(kor) == [1, 2]


async def test_a_held_message_that_cannot_be_sealed_is_withheld_for_good_and_holds_up_nobody(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    def signer_of(mode: int) -> Signer:
        if kor.pipeline.ledger._pending_sealed:
            raise ValueError("a fault of ours")
        return signer(mode)

    await kor.report(track("a"), reports.label(caveats=("LATER",)))
    signer, kor.pipeline.signer_of = kor.pipeline.signer_of, signer_of
    await kor.wait(10)
    kor.pipeline.signer_of = signer
    assert (await numbers(kor), len(kor.pipeline.held), kor.pipeline.held.next_due_ns()) == ([], 0, None)
    await kor.restart()
    assert len(kor.pipeline.held) == 0
    await kor.report(track("b"), reports.label())
    assert await numbers(kor) == [1]


async def test_a_held_message_whose_decision_cannot_be_read_is_withheld(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label(caveats=("LATER",)))
    for record in kor.pipeline.held._kept.values():
        record.decision = "{"
    await kor.wait(10)
    assert (await numbers(kor), len(kor.pipeline.held)) == ([], 0)


async def test_what_there_is_no_room_to_hold_is_denied_and_counted(
    kor: Origin, track: Make, reports: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HELD_MAX", 1)
    for name in "ab":
        assert await kor.report(track(name), reports.label(caveats=("LATER",)))
    value = kor.pipeline.metrics.decisions.labels("JPN", "held-full")._value.get()
    assert (len(kor.pipeline.held), value) == (1, 1)
    await kor.wait(10)
    assert await numbers(kor) == [1]


async def test_where_two_engines_disagree_nothing_goes_to_that_recipient_and_an_alarm_is_raised(
    origin: Callable[..., Origin],
    policy_of: Callable[[str], Policy],
    track: Make,
    reports: ModuleType,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = policy_of(RULES)
    late = next(rule for rule in whole.rules if rule.rule_id == "LATE")
    # One engine has the tree, the other the text: two conditions in one rule, as a bug of either would make them.
    torn = replace(whole, rules=(*(each for each in whole.rules if each != late), replace(late, when="true")))
    trail = AuditTrail.open(tmp_path / "audit.jsonl", ManualClock(NOW_NS))
    kor = await origin(torn, audit=trail).start()
    assert await kor.report(track("a"), reports.label())
    assert [item.header.recipient for item in await kor.outbox()] == ["USA"]
    registry = kor.pipeline.metrics.registry
    for name in ("vedette_release_engine_disagreements_total", "vedette_release_faults_total"):
        assert registry.get_sample_value(name, {"recipient": "JPN"}) == 1
        assert registry.get_sample_value(name, {"recipient": "USA"}) is None
    (alarm,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert alarm.getMessage() == "deciding for JPN failed, policy version=1: EnginesDisagree: LATE"
    await trail.close()
    entries = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    (noted,) = [entry["fields"] for entry in entries if entry["event"] == "engines-disagree"]
    assert (noted["recipient"], noted["fault"], noted["digest"]) == ("JPN", "EnginesDisagree: LATE", whole.digest)
    (decided,) = [
        entry["fields"] for entry in entries if entry["event"] == "decided" and entry["fields"]["recipient"] == "JPN"
    ]
    assert decided["rules"] == ["VEDETTE-ENGINES-DISAGREE"]
