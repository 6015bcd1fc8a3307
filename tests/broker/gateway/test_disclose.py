"""Step 2 over messages that speak of each other: what each recipient is owed, and what it must never notice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.clock import nanoseconds, timestamp
from broker.envelope import identity_of
from broker.gateway.ledger import OUTBOX
from broker.gateway.recover import Recovered
from broker.limits import CORRECTIONS_MAX, SECOND_NS
from broker.refusal import Reason, Refused
from broker.store import NewRecord
from broker.store.memory import open_memory
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from broker.gateway.release import Policy
    from broker.store import Record, Store
    from tests.broker.gateway.conftest import Origin, Sent

    Make = Callable[..., content_pb2.Content]

NOW_NS = 1_780_000_000 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS
NOT_A_LAUNCH = content_pb2.EVENT_STATE_NOT_A_LAUNCH
CANCELS, CORRECTS = content_pb2.RELATION_CANCELS, content_pb2.RELATION_CORRECTS

# JPN sees tracks ten seconds late and statuses at once; the USA sees both at once, unless a caveat denies it.
RULES = """
- id: LATE
  effect: release
  to: [JPN]
  when: 'body == "track"'
  give: {when_observed: exact, track_time: exact, track_place: exact, motion: exact, flight: exact}
  delay_s: 10
  reason: r
- id: AT-ONCE
  effect: release
  to: [USA]
  when: 'body == "track"'
  give: {when_observed: exact, track_time: exact, track_place: exact, motion: exact, flight: exact}
  reason: r
- id: STATUS
  effect: release
  to: [USA, JPN]
  when: 'body == "status"'
  give: {when_observed: exact, status: exact}
  reason: r
- {id: OURS, effect: deny, to: [self, USA, JPN], when: '"KOR-ONLY" in label.caveats', reason: r}
"""
AT_ONCE = RULES.replace("  delay_s: 10\n", "")  # to both


@pytest.fixture(scope="session")
def rules(policy_of: Callable[[str], Policy]) -> Policy:
    return policy_of(RULES)


@pytest.fixture
async def kor(origin: Callable[..., Origin], rules: Policy) -> Origin:
    return await origin(rules).start()


@pytest.fixture(scope="session")
def base(reports: ModuleType) -> content_pb2.Exercise:
    """One exercise for all: its time is the wall's."""
    made: content_pb2.Exercise = reports.exercise("test-1")
    made.wall_zero.CopyFrom(timestamp(NOW_NS - 60 * SECOND_NS))
    made.exercise_zero.CopyFrom(made.wall_zero)
    return made


@pytest.fixture(scope="session")
def track(reports: ModuleType, base: content_pb2.Exercise) -> Callable[..., content_pb2.Content]:
    def make(local: str, *, lat_deg: float = 40.0, corrects: str = "", at_ns: int = NOW_NS) -> content_pb2.Content:
        made: content_pb2.Content = reports.track(local.encode(), b"e-1", base=base, lat_deg=lat_deg, at_ns=at_ns)
        if corrects:
            made.header.references.add(message_id=corrects.encode(), relation=CORRECTS)
        return made

    return make


@pytest.fixture(scope="session")
def cancel(reports: ModuleType, base: content_pb2.Exercise) -> Callable[..., content_pb2.Content]:
    def make(local: str, *targets: str) -> content_pb2.Content:
        made: content_pb2.Content = reports.cancel(local.encode(), targets[0].encode(), base=base)
        for target in targets[1:]:
            made.header.references.add(message_id=target.encode(), relation=CANCELS)
        return made

    return make


def lat_of(item: Sent) -> int:
    """Which of the test's places it shows, told by its height above the equator."""
    return round(item.content.track.state.position_m[2] / 1000)


def relations(item: Sent) -> list[tuple[int, bytes]]:
    return [(reference.relation, reference.message_id) for reference in item.content.header.references]


# -- delays ------------------------------------------------------------------------------------------------------------


async def test_a_delayed_message_goes_when_it_is_due_and_under_a_number_given_then(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    assert (len(await kor.outbox("USA")), len(await kor.outbox("JPN"))) == (1, 0)
    await kor.wait(9.9)
    assert await kor.outbox("JPN") == []
    await kor.wait(0.1)
    (sent,) = await kor.outbox("JPN")
    assert sent.header.sequence == 1
    assert nanoseconds(sent.header.released_at) == NOW_NS + 10 * SECOND_NS


async def test_what_is_not_delayed_goes_at_once_whatever_the_pace_of_the_exercise(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    for number in range(20):
        content = track(f"t{number}")
        content.header.exercise.exercise_id = f"ex-{number}"
        content.header.exercise.wall_zero.seconds -= 300 * 24 * 3600  # so long that a float's 53 bits do not do
        content.header.exercise.rate = 45.0 + number / 7
        kor.clock.advance(1_000_000_007)
        await kor.report(content, reports.label())
        assert len(await kor.outbox("USA")) == number + 1, "held for a nanosecond is held"


async def test_a_held_message_survives_a_restart(kor: Origin, track: Make, reports: ModuleType) -> None:
    await kor.report(track("a"), reports.label())
    await kor.restart()
    await kor.wait(10)
    assert len(await kor.outbox("JPN")) == 1


async def test_a_held_message_is_decided_again_and_only_gets_tighter(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(track("b"), reports.label())
    without_motion = RULES.replace("motion: exact, ", "").replace("delay_s: 10", "delay_s: 0")
    kor.pipeline.policy.current = policy_of(without_motion)
    await kor.wait(10)
    for sent in await kor.outbox("JPN"):
        assert not sent.content.track.state.velocity_mps
    kor.pipeline.policy.current = policy_of(RULES.replace("delay_s: 10", "delay_s: 0"))
    await kor.report(track("c"), reports.label())
    kor.pipeline.policy.current = policy_of("- {id: NONE, effect: deny, to: [USA, JPN, self], when: 'true', reason: r}")
    await kor.report(track("d"), reports.label())
    assert len(await kor.outbox("JPN")) == 3


async def test_a_policy_that_denies_meanwhile_keeps_a_held_message_back(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    await kor.report(track("a"), reports.label())
    kor.pipeline.policy.current = policy_of("- {id: NONE, effect: deny, to: [USA, JPN, self], when: 'true', reason: r}")
    await kor.wait(10)
    assert (await kor.outbox("JPN"), len(kor.pipeline.held)) == ([], 0)


async def test_a_policy_delay_is_a_leg_of_its_own(kor: Origin, track: Make, reports: ModuleType) -> None:
    await kor.report(track("a"), reports.label())
    assert held_s(kor, "JPN") == (None, None), "it is not over yet"
    await kor.wait(10.5)
    assert held_s(kor, "JPN") == (1, 10.5)
    assert held_s(kor, "USA") == (None, None), "what goes at once was never held"


async def test_a_held_message_that_never_goes_is_no_delay(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    await kor.report(track("a"), reports.label())
    kor.pipeline.policy.current = policy_of("- {id: NONE, effect: deny, to: [USA, JPN, self], when: 'true', reason: r}")
    await kor.wait(10)
    assert held_s(kor, "JPN") == (None, None)


def held_s(kor: Origin, recipient: str) -> tuple[float | None, float | None]:
    """How often something was held for a recipient, and how long in all."""
    labels = {"origin": "KOR", "recipient": recipient, "precedence": "immediate", "mode": "exercise"}
    registry = kor.pipeline.metrics.registry
    count, total = (
        registry.get_sample_value(f"vedette_leg_seconds_{name}", labels | {"leg": "2-hold"})
        for name in ("count", "sum")
    )
    return count, total


@pytest.mark.parametrize("inside_ns", [0, 1, 17_123_456_789, 59_999_999_999])
async def test_a_withheld_time_is_not_told_by_the_moment_of_sending(
    inside_ns: int, origin: Callable[..., Origin], policy_of: Callable[[str], Policy], track: Make, reports: ModuleType
) -> None:
    """Sent at once, `released_at`, `stale_after` and the stamps would tell it: so it waits as for the coarsest cell."""
    hidden = """
- id: HIDDEN
  effect: release
  to: [JPN]
  when: 'body == "track"'
  give: {stamps: exact, track_time: exact, track_place: exact}
  reason: when it was observed is not said
"""
    kor = await origin(policy_of(hidden)).start()
    begin_ns = NOW_NS // MINUTE_NS * MINUTE_NS + MINUTE_NS
    kor.clock.now_ns = begin_ns + inside_ns
    content = track("a", at_ns=begin_ns - 30 * SECOND_NS)
    content.header.observed_at.CopyFrom(timestamp(kor.clock.now_ns))
    await kor.report(content, reports.label())
    assert await kor.outbox("JPN") == []
    await kor.wait(60)
    (sent,) = await kor.outbox("JPN")
    stamps = sent.content.header.stamps
    assert not sent.content.header.HasField("observed_at")
    told_ns = {nanoseconds(each) for each in (stamps.received_at, stamps.decided_at, stamps.sealed_at)}
    assert told_ns == {nanoseconds(sent.header.released_at)} == {begin_ns + MINUTE_NS}
    assert nanoseconds(sent.header.stale_after) == begin_ns + MINUTE_NS + 30 * SECOND_NS


async def test_what_takes_back_goes_at_once_also_where_its_time_is_withheld(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    await kor.report(track("a"), reports.label())
    kor.pipeline.policy.current = policy_of(RULES.replace("when_observed: exact, ", ""))
    await kor.report(cancel("x", "a"), reports.label())
    assert relations((await kor.outbox("USA"))[-1])[0][0] == CANCELS


# -- corrections -------------------------------------------------------------------------------------------------------


async def test_a_correction_of_a_sent_message_names_it_by_the_recipients_own_id(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(track("b", lat_deg=41.0, corrects="a"), reports.label())
    first, second = await kor.outbox("USA")
    assert relations(second) == [(CORRECTS, first.header.message_id)]
    assert lat_of(first) != lat_of(second)


async def test_a_correction_of_a_held_message_replaces_it_and_goes_no_earlier(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.wait(4)
    await kor.report(track("b", lat_deg=41.0, corrects="a"), reports.label())
    await kor.wait(9)
    assert await kor.outbox("JPN") == [], "the later of the two times"
    await kor.wait(1)
    (sent,) = await kor.outbox("JPN")
    assert relations(sent) == [], "what was never sent is never spoken of"
    assert sent.header.sequence == 1
    assert lat_of(sent) == lat_of((await kor.outbox("USA"))[-1])


async def test_a_correction_that_changes_nothing_for_a_recipient_is_not_owed_to_it(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    changed = track("b", corrects="a")
    changed.track.source.name = "aegis-9"  # shown to nobody
    await kor.report(changed, reports.label())
    assert len(await kor.outbox("USA")) == 1


async def test_a_correction_of_which_a_recipient_may_see_nothing_goes_as_a_bare_cancel(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(track("b", lat_deg=41.0, corrects="a"), reports.label(caveats=("KOR-ONLY",)))
    first, second = await kor.outbox("USA")
    assert relations(second) == [(CANCELS, first.header.message_id)]
    assert second.content.WhichOneof("body") is None


async def test_a_correction_of_what_a_recipient_never_had_is_new_to_it(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label(caveats=("KOR-ONLY",)))
    await kor.report(track("b", corrects="a"), reports.label())
    (sent,) = await kor.outbox("USA")
    assert relations(sent) == []


async def test_a_second_correction_of_one_message_replaces_the_first(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a", lat_deg=40.0), reports.label())
    await kor.report(track("b", lat_deg=41.0, corrects="a"), reports.label())
    await kor.report(track("c", lat_deg=40.0, corrects="a"), reports.label())
    first, second, third = await kor.outbox("USA")
    assert relations(third) == [(CORRECTS, second.header.message_id)], "back to the first value, and it must hear of it"
    assert lat_of(third) == lat_of(first)


async def test_two_corrections_of_what_a_recipient_never_had_are_one_thing_to_it(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label(caveats=("KOR-ONLY",)))
    await kor.report(track("b", lat_deg=41.0, corrects="a"), reports.label())
    await kor.report(track("c", lat_deg=42.0, corrects="a"), reports.label())
    second, third = await kor.outbox("USA")
    assert relations(third) == [(CORRECTS, second.header.message_id)]


async def test_a_correction_of_what_was_cancelled_is_told_to_nobody(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(cancel("x", "a"), reports.label())
    await kor.report(track("b", lat_deg=41.0, corrects="a"), reports.label())
    assert len(await kor.outbox("USA")) == 2
    await kor.wait(10)
    assert await kor.outbox("JPN") == []


# -- many corrections --------------------------------------------------------------------------------------------------


async def test_cancelling_the_first_of_a_long_row_of_corrections_leaves_nothing_that_goes(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    await kor.report(track("c0"), reports.label())
    refused = []
    for number in range(1, 80):
        try:
            await kor.report(track(f"c{number}", corrects=f"c{number - 1}", lat_deg=40 + number / 100), reports.label())
        except Refused as error:
            refused.append((number, error.reason))
    assert refused == [(number, Reason.REASON_OUT_OF_RANGE) for number in range(CORRECTIONS_MAX + 1, 80)]
    await kor.report(cancel("x", "c0"), reports.label())
    for _ in range(15):
        await kor.wait(1)
    assert await kor.outbox("JPN") == []
    usa = await kor.outbox("USA")
    assert len(usa) == CORRECTIONS_MAX + 2
    assert relations(usa[-1]) == [(CANCELS, usa[0].header.message_id)]


async def test_a_correction_that_was_refused_can_be_sent_again_as_one_of_the_first_message(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("c0"), reports.label())
    for number in range(1, CORRECTIONS_MAX + 1):
        await kor.report(track(f"c{number}", corrects=f"c{number - 1}"), reports.label())
    for _ in range(2):
        with pytest.raises(Refused, match="correct the first one, or report anew"):
            await kor.report(track("d", corrects=f"c{CORRECTIONS_MAX}"), reports.label())
    await kor.restart()
    assert await kor.report(track("d", lat_deg=41.0, corrects="c0"), reports.label())
    assert await kor.report(track("e", lat_deg=42.0, corrects="d"), reports.label())
    first, second, third = await kor.outbox("USA")
    assert relations(second) == [(CORRECTS, first.header.message_id)]
    assert relations(third) == [(CORRECTS, second.header.message_id)]


async def test_cancelling_a_message_of_many_corrections_takes_all_back_from_whoever_never_held_the_first(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    many = 2 * CORRECTIONS_MAX
    await kor.report(track("a"), reports.label(caveats=("KOR-ONLY",)))
    for number in range(many):
        await kor.report(track(f"b{number}", lat_deg=40 + number / 100, corrects="a"), reports.label())
    await kor.report(cancel("x", "a"), reports.label())
    await kor.report(track("late", corrects="b0"), reports.label())
    for _ in range(15):
        await kor.wait(1)
    usa = await kor.outbox("USA")
    assert len(usa) == many + 1
    assert relations(usa[-1]) == [(CANCELS, usa[0].header.message_id)], "though nobody remembers that one's version"
    assert await kor.outbox("JPN") == []


async def test_what_was_taken_back_before_a_first_correction_stays_so_when_there_are_many(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(track("secret", corrects="a"), reports.label(caveats=("KOR-ONLY",)))
    for number in range(2 * CORRECTIONS_MAX):
        await kor.report(track(f"b{number}", lat_deg=40 + number / 100, corrects="a"), reports.label())
    await kor.report(cancel("x", "a"), reports.label())
    usa = await kor.outbox("USA")
    assert relations(usa[1]) == [(CANCELS, usa[0].header.message_id)]
    assert relations(usa[2]) == [], "new to the USA"
    assert relations(usa[-1]) == [(CANCELS, usa[2].header.message_id)]


class Counted:
    """A store that counts how often something is looked up in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.finds = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def find(self, stream: str, key: bytes) -> Record | None:
        self.finds += 1
        return await self.store.find(stream, key)


@pytest.mark.parametrize("in_a_row", [False, True])
async def test_a_correction_after_many_costs_no_more_than_one_after_as_many_as_are_remembered(
    in_a_row: bool,  # noqa: FBT001 - a case
    origin: Callable[..., Origin],
    rules: Policy,
    track: Make,
    reports: ModuleType,
) -> None:
    store = Counted(await open_memory())
    kor = await origin(rules).start(cast("Store", store))
    await kor.report(track("b0"), reports.label())
    costs = [0]
    for number in range(1, CORRECTIONS_MAX + 1 if in_a_row else 4 * CORRECTIONS_MAX):
        before = store.finds
        corrects = f"b{number - 1}" if in_a_row else "b0"
        await kor.report(track(f"b{number}", corrects=corrects, lat_deg=40 + number / 1000), reports.label())
        costs.append(store.finds - before)
    recipients = 3
    assert max(costs) <= (recipients + 2) * (CORRECTIONS_MAX + 1), "each version once for all, and once for each"
    if not in_a_row:
        assert max(costs[CORRECTIONS_MAX + 2 :]) == min(costs[CORRECTIONS_MAX + 2 :])


# -- cancellations -----------------------------------------------------------------------------------------------------


async def test_cancelling_a_held_message_drops_both(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(cancel("x", "a"), reports.label())
    assert len(kor.pipeline.held) == 0
    await kor.wait(10)
    assert await kor.outbox("JPN") == []
    first, second = await kor.outbox("USA")
    assert relations(second) == [(CANCELS, first.header.message_id)]


async def test_a_cancellation_is_owed_to_everyone_who_got_any_version_also_if_policy_now_denies(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    await kor.report(track("a"), reports.label(caveats=("KOR-ONLY",)))
    await kor.report(track("b", corrects="a"), reports.label())
    kor.pipeline.policy.current = policy_of("- {id: NONE, effect: deny, to: [USA, JPN, self], when: 'true', reason: r}")
    await kor.report(cancel("x", "a"), reports.label())
    first, second = await kor.outbox("USA")
    assert relations(second) == [(CANCELS, first.header.message_id)]
    assert "USA" in second.header.label.releasable_to


async def test_a_cancellation_goes_at_once_to_whom_the_message_came_late(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.wait(10)
    await kor.report(cancel("x", "a"), reports.label())
    first, second = await kor.outbox("JPN")
    assert relations(second) == [(CANCELS, first.header.message_id)]


async def test_all_that_one_cancellation_names_is_taken_back(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    for name in "abc":
        await kor.report(track(name), reports.label(caveats=("KOR-ONLY",) if name == "b" else ()))
    await kor.report(cancel("x", "a", "b", "c"), reports.label())
    first, third, last = await kor.outbox("USA")
    assert relations(last) == [(CANCELS, first.header.message_id), (CANCELS, third.header.message_id)]
    await kor.wait(10)
    assert await kor.outbox("JPN") == []


async def test_a_cancellation_that_comes_before_its_target_waits_for_it(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    await kor.report(cancel("x", "a"), reports.label())
    await kor.restart()
    await kor.report(track("a"), reports.label())
    await kor.wait(10)
    assert await kor.outbox() == []


async def test_not_a_launch_takes_back_all_of_the_event_from_everyone_who_got_anything(
    kor: Origin, track: Make, reports: ModuleType, base: content_pb2.Exercise, policy_of: Callable[[str], Policy]
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.wait(10)
    await kor.report(track("b"), reports.label())  # held for JPN
    only_tracks = RULES.replace('body == "status"', "false")
    kor.pipeline.policy.current = policy_of(only_tracks)
    taken_back = reports.status(b"s", b"e-1", content_pb2.EVENT_STATE_NOT_A_LAUNCH, base=base)
    taken_back.status.reason = content_pb2.STATUS_REASON_OPERATOR_ERROR
    await kor.report(taken_back, reports.label())
    await kor.report(track("late"), reports.label())
    await kor.wait(30)
    for recipient, tracks in (("JPN", 1), ("USA", 2)):
        sent = await kor.outbox(recipient)
        assert [item.content.WhichOneof("body") for item in sent] == ["track"] * tracks + ["status"]
        bare = sent[-1].content.status
        assert bare.event_id == sent[0].content.track.event_id
        assert (bare.state, bare.reason) == (content_pb2.EVENT_STATE_NOT_A_LAUNCH, 0)
    assert await kor.outbox("KOR") == [], "who never got anything of it hears nothing"


@pytest.mark.parametrize("relation", [CANCELS, CORRECTS])
async def test_an_event_lives_again_when_the_status_that_took_it_back_is_itself_taken_back(
    relation: content_pb2.Relation.ValueType,
    kor: Origin,
    track: Make,
    cancel: Make,
    reports: ModuleType,
    base: content_pb2.Exercise,
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base), reports.label())
    await kor.report(track("withheld"), reports.label())
    if relation == CANCELS:
        undone = cancel("x", "s")
    else:
        undone = reports.status(b"x", b"e-1", content_pb2.EVENT_STATE_DETECTED, base=base)
        undone.header.references.add(message_id=b"s", relation=CORRECTS)
    await kor.report(undone, reports.label())
    await kor.restart()
    await kor.report(track("b"), reports.label())
    _, status, taken_back, live, released_anew = await kor.outbox("USA")
    assert relations(taken_back) == [(relation, status.header.message_id)]
    for item in (live, released_anew):
        assert item.content.WhichOneof("body") == "track"


@pytest.mark.parametrize("cancelled_after_s", [3, 30])
async def test_what_was_held_when_its_event_was_taken_back_is_sent_once_that_is_taken_back(
    cancelled_after_s: float,
    kor: Origin,
    track: Make,
    cancel: Make,
    reports: ModuleType,
    base: content_pb2.Exercise,
) -> None:
    await kor.report(track("held"), reports.label())
    await kor.report(reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base), reports.label())
    await kor.report(track("said meanwhile"), reports.label())
    await kor.wait(cancelled_after_s)
    await kor.restart()
    assert await kor.outbox("JPN") == [], "who never heard of the event hears nothing"
    await kor.report(cancel("x", "s"), reports.label())
    await kor.wait(10)
    sent = await kor.outbox("JPN")
    assert [item.content.WhichOneof("body") for item in sent] == ["track", "track"]
    assert [item.header.sequence for item in sent] == [1, 2]
    assert {nanoseconds(item.header.released_at) for item in sent} == {NOW_NS + 10 * SECOND_NS}, (
        "a function of its time"
    )
    await kor.wait(60)
    assert len(await kor.outbox("JPN")) == 2


async def test_what_was_set_aside_with_its_event_only_gets_tighter(
    kor: Origin,
    track: Make,
    cancel: Make,
    reports: ModuleType,
    base: content_pb2.Exercise,
    policy_of: Callable[[str], Policy],
) -> None:
    await kor.report(track("held"), reports.label())
    await kor.report(reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base), reports.label())
    coarse = RULES.replace("motion: exact, flight: exact}\n  delay_s", "flight: exact}\n  delay_s")
    assert coarse != RULES
    kor.pipeline.policy.current = policy_of(coarse)
    await kor.wait(30)
    kor.pipeline.policy.current = policy_of(RULES)
    await kor.report(cancel("x", "s"), reports.label())
    await kor.wait(10)
    (sent,) = await kor.outbox("JPN")
    assert sent.content.track.state.position_m
    assert not sent.content.track.state.velocity_mps


async def test_what_was_cancelled_or_corrected_while_set_aside_does_not_come_back(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType, base: content_pb2.Exercise
) -> None:
    for name in ("cancelled", "wrong", "good"):
        await kor.report(track(name), reports.label())
    await kor.report(reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base), reports.label())
    await kor.wait(30)
    await kor.report(cancel("x-1", "cancelled"), reports.label())
    await kor.report(track("right", corrects="wrong", lat_deg=41.0), reports.label())
    await kor.wait(30)
    assert await kor.outbox("JPN") == []
    await kor.report(cancel("x-2", "s"), reports.label())
    await kor.wait(10)
    places = sorted(lat_of(item) for item in await kor.outbox("JPN"))
    assert places == sorted({lat_of(item) for item in await kor.outbox("USA") if item.content.HasField("track")})
    assert len(places) == 2, "the good one and the right one"


async def test_a_status_that_was_cancelled_before_it_came_takes_nothing_back(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType, base: content_pb2.Exercise
) -> None:
    await kor.report(cancel("x", "s"), reports.label())
    await kor.report(track("a"), reports.label())
    await kor.report(reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base), reports.label())
    await kor.report(track("b"), reports.label())
    assert [item.content.WhichOneof("body") for item in await kor.outbox("USA")] == ["track", "track"]


async def test_not_a_launch_said_anew_replaces_itself_so_that_one_correction_takes_it_back(
    kor: Origin, track: Make, reports: ModuleType, base: content_pb2.Exercise
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(reports.status(b"s1", b"e-1", NOT_A_LAUNCH, base=base), reports.label())
    again = reports.status(b"s2", b"e-1", NOT_A_LAUNCH, base=base)
    again.header.references.add(message_id=b"s1", relation=CORRECTS)
    await kor.report(again, reports.label())
    _, first, second = await kor.outbox("USA")
    assert relations(second) == [(CORRECTS, first.header.message_id)]


@pytest.mark.parametrize("given", ["when_observed: 10km, ", ""], ids=["coarse", "withheld"])
async def test_not_a_launch_that_would_have_to_wait_goes_bare_at_once(
    given: str,
    origin: Callable[..., Origin],
    policy_of: Callable[[str], Policy],
    track: Make,
    reports: ModuleType,
    base: content_pb2.Exercise,
) -> None:
    coarse = RULES.replace("give: {when_observed: exact, status: exact}", f"give: {{{given}status: exact}}")
    kor = await origin(policy_of(coarse)).start()
    await kor.report(track("a"), reports.label())
    taken_back = reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base)
    taken_back.header.observed_at.CopyFrom(timestamp(NOW_NS))
    taken_back.status.reason = content_pb2.STATUS_REASON_OPERATOR_ERROR
    await kor.report(taken_back, reports.label())
    sent = (await kor.outbox("USA"))[-1]
    assert (sent.content.status.state, sent.content.status.reason) == (NOT_A_LAUNCH, 0)
    assert not sent.content.header.HasField("observed_at")
    assert nanoseconds(sent.header.released_at) == NOW_NS


async def test_what_only_takes_back_says_of_its_report_no_more_than_the_recipient_knew(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType, base: content_pb2.Exercise
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(track("b"), reports.label())
    secret = reports.label(caveats=("KOR-ONLY",))
    secret.classification = envelope_pb2.CLASSIFICATION_TOP_SECRET
    await kor.report(track("c", corrects="a"), secret)
    await kor.report(cancel("x", "b"), secret)
    await kor.report(reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base), secret)
    expected = envelope_pb2.SecurityLabel(
        policy="KOR", classification=envelope_pb2.CLASSIFICATION_SECRET, releasable_to=["USA"]
    )
    assert [item.header.label for item in (await kor.outbox("USA"))[2:]] == [expected] * 3


# -- after a bare cancel, and after a lost outbox ----------------------------------------------------------------------


async def test_a_bare_cancel_names_the_oldest_version_that_the_recipient_holds(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(track("b", lat_deg=41.0, corrects="a"), reports.label())
    await kor.report(track("c", lat_deg=42.0, corrects="b"), reports.label(caveats=("KOR-ONLY",)))
    first, _, bare = await kor.outbox("USA")
    assert relations(bare) == [(CANCELS, first.header.message_id)]


async def test_a_bare_cancel_is_neither_corrected_nor_cancelled_and_what_comes_after_it_is_new(
    kor: Origin, track: Make, cancel: Make, reports: ModuleType
) -> None:
    secret = reports.label(caveats=("KOR-ONLY",))
    await kor.report(track("a"), reports.label())
    await kor.report(track("b", lat_deg=41.0, corrects="a"), secret)
    await kor.report(track("c", lat_deg=42.0, corrects="b"), secret)
    await kor.report(track("d", lat_deg=43.0, corrects="c"), reports.label())
    await kor.report(cancel("x", "a"), reports.label())
    first, bare, new, last = await kor.outbox("USA")
    assert relations(bare) == [(CANCELS, first.header.message_id)]
    assert relations(new) == [], "what it would correct is gone there"
    assert relations(last) == [(CANCELS, new.header.message_id)]


async def test_what_was_read_back_after_a_lost_outbox_can_be_corrected_cancelled_and_taken_back(
    kor: Origin,
    origin: Callable[..., Origin],
    track: Make,
    cancel: Make,
    reports: ModuleType,
    base: content_pb2.Exercise,
) -> None:
    for name in "abc":
        await kor.report(track(name), reports.label())
    lost = await kor.outbox("USA")
    again = await origin(kor.policy).start()
    await again.store.append(
        [NewRecord(OUTBOX, identity_of(item.header), bytes(32), item.data, lane=item.header.lane) for item in lost]
    )
    events = {("USA", item.content.track.event_id): item.header.label for item in lost}
    again.pipeline.learn(Recovered([], events))
    await again.report(track("c"), reports.label())
    await again.report(track("d", lat_deg=41.0, corrects="a"), reports.label())
    await again.report(cancel("x", "b"), reports.label())
    await again.report(reports.status(b"s", b"e-1", NOT_A_LAUNCH, base=base), reports.label())
    corrected, cancelled, status = (await again.outbox("USA"))[3:]
    assert relations(corrected) == [(CORRECTS, lost[0].header.message_id)]
    assert relations(cancelled) == [(CANCELS, lost[1].header.message_id)]
    assert status.content.status.event_id == lost[0].content.track.event_id
    assert [item.header.sequence for item in (corrected, cancelled, status)] == [1, 2, 3], (
        "what was sealed is not again"
    )


# -- the rest ----------------------------------------------------------------------------------------------------------


async def test_an_object_is_shown_no_more_often_than_policy_says(
    origin: Callable[..., Origin], policy_of: Callable[[str], Policy], track: Make, reports: ModuleType
) -> None:
    rules = RULES.replace("delay_s: 10", "minimum_interval_s: 10")
    kor = await origin(policy_of(rules)).start()
    for second in range(0, 31, 3):
        content = track(f"t{second}", at_ns=NOW_NS + second * SECOND_NS)
        if second == 12:
            await kor.restart()
        await kor.report(content, reports.label())
    shown = [nanoseconds(item.content.track.state.valid_at) for item in await kor.outbox("JPN")]
    assert [(at_ns - NOW_NS) // SECOND_NS for at_ns in shown] == [0, 12, 24]
    assert len(await kor.outbox("USA")) == 11


@pytest.mark.parametrize("body", ["launch", "impact"])
async def test_a_launch_and_an_impact_are_shown_no_more_often_either(
    body: str,
    origin: Callable[..., Origin],
    policy_of: Callable[[str], Policy],
    reports: ModuleType,
    base: content_pb2.Exercise,
) -> None:
    rule = f"""
- id: R
  effect: release
  to: [JPN]
  when: 'body == "{body}"'
  give: {{when_observed: exact, confidence: exact}}
  minimum_interval_s: 10
  reason: r
"""
    kor = await origin(policy_of(rule)).start()
    for second in range(0, 31, 3):
        content = reports.report(f"m{second}".encode(), base=base, at_ns=NOW_NS + second * SECOND_NS)
        getattr(content, body).event_id = b"e-1"
        getattr(content, body).confidence = 0.5
        await kor.report(content, reports.label())
    shown = [nanoseconds(item.content.header.observed_at) for item in await kor.outbox("JPN")]
    assert [(at_ns - NOW_NS) // SECOND_NS for at_ns in shown] == [0, 12, 24]


async def test_what_an_operator_holds_for_the_same_is_named_as_the_own_picture_knows_it(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    own = """
- id: SELF
  effect: release
  to: [self]
  when: 'true'
  give: {when_observed: exact, track_time: exact, track_place: exact}
  reason: r
- {id: NOT-SELF, effect: deny, to: [self], when: '"X" in label.caveats', reason: r}
"""
    kor.pipeline.policy.current = policy_of(own)
    await kor.report(track("a"), reports.label())
    await kor.report(track("sixteen-bytes-id"), reports.label(caveats=("X",)))
    said = track("b")
    for target in (b"a", b"f" * 16, b"no such", b"sixteen-bytes-id"):
        said.header.references.add(message_id=target, relation=content_pb2.RELATION_SAME_EVENT_AS)
    await kor.report(said, reports.label())
    first, last = await kor.outbox("KOR")
    same = content_pb2.RELATION_SAME_EVENT_AS
    assert relations(last) == [(same, first.header.message_id), (same, b"f" * 16)]


async def test_references_and_lineage_name_only_what_the_recipient_holds(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    await kor.report(track("a"), reports.label())
    await kor.report(track("b"), reports.label(caveats=("KOR-ONLY",)))
    derived = track("c")
    derived.header.lineage.kind = content_pb2.LINEAGE_KIND_COMPLETE
    derived.header.lineage.message_ids.extend([b"a", b"b"])
    for target in (b"a", b"b"):
        derived.header.references.add(message_id=target, relation=content_pb2.RELATION_DERIVED_FROM)
    derived.header.references.add(message_id=b"a", relation=content_pb2.RELATION_SAME_EVENT_AS)
    await kor.report(derived, reports.label())
    first, last = await kor.outbox("USA")
    assert relations(last) == [(content_pb2.RELATION_DERIVED_FROM, first.header.message_id)]
    lineage = last.content.header.lineage
    assert (lineage.kind, list(lineage.message_ids)) == (
        content_pb2.LINEAGE_KIND_PARTIAL,
        [first.header.message_id],
    )


async def test_the_label_names_the_recipient_and_to_whom_it_may_pass_this_on_and_never_the_whole_list(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    kor.pipeline.discloser.may_pass_on = lambda origin, _recipient: origin == "JPN"
    await kor.report(track("a"), reports.label(to=("JPN", "KOR", "USA")))
    await kor.wait(10)
    ((usa,), (jpn,)) = await kor.outbox("USA"), await kor.outbox("JPN")
    assert list(usa.header.label.releasable_to) == ["USA"]
    assert list(jpn.header.label.releasable_to) == ["JPN", "USA"]


async def test_what_may_not_go_on_is_labelled_for_its_recipient_alone(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    limit = """
- {id: STOP, effect: limit, to: [USA], when: '"KEPT" in label.caveats', caveats: [NO-ONWARD], reason: r}
"""
    kor.pipeline.policy.current = policy_of(AT_ONCE + limit)
    await kor.report(track("a"), reports.label())
    await kor.report(track("b"), reports.label(caveats=("KEPT",)))
    await kor.report(track("c"), reports.label(caveats=("NO-ONWARD",)))  # by the report's own label
    await kor.report(track("d"), reports.label())
    usa = await kor.outbox("USA")
    assert [list(item.header.label.releasable_to) for item in usa] == [["JPN", "USA"], ["USA"], ["USA"], ["JPN", "USA"]]
    jpn = [list(item.header.label.releasable_to) for item in await kor.outbox("JPN")]
    assert jpn == [["JPN", "USA"], ["JPN", "USA"], ["JPN"], ["JPN", "USA"]], "c alone"
    assert list(usa[1].header.label.caveats) == ["KEPT", "NO-ONWARD"]


async def test_nobody_may_be_passed_what_our_own_policy_denies_it(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    deny = """
- {id: NOT-JPN, effect: deny, to: [JPN], when: '"SEA" in label.caveats', reason: r}
"""
    kor.pipeline.policy.current = policy_of(AT_ONCE + deny)
    await kor.report(track("a"), reports.label(caveats=("SEA",)))
    await kor.report(track("b"), reports.label())
    assert [list(item.header.label.releasable_to) for item in await kor.outbox("USA")] == [["USA"], ["JPN", "USA"]]


@pytest.mark.parametrize(
    "less",
    ["cap: {track_place: 10km}", "cap: {motion: withheld}", "delay_s: 1", "minimum_interval_s: 1"],
    ids=["coarse", "withheld", "late", "seldom"],
)
async def test_nobody_may_be_passed_more_than_our_own_policy_shows_it(
    less: str, kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    limit = f"""
- {{id: LESS, effect: limit, to: [JPN], when: '"SEA" in label.caveats', {less}, reason: r}}
"""
    kor.pipeline.policy.current = policy_of(AT_ONCE + limit)
    await kor.report(track("a"), reports.label(caveats=("SEA",)))
    await kor.report(track("b", at_ns=NOW_NS + 2 * SECOND_NS), reports.label())
    assert [list(item.header.label.releasable_to) for item in await kor.outbox("USA")] == [["USA"], ["JPN", "USA"]]
    await kor.wait(20)
    jpn = [list(item.header.label.releasable_to) for item in await kor.outbox("JPN")]
    assert jpn == [["JPN", "USA"]] * 2, "the USA is shown all that, and sooner"


async def test_the_shipped_policy_lets_nobody_pass_on_exactly_what_it_shows_in_coarse_cells(
    origin: Callable[..., Origin], base: content_pb2.Exercise, reports: ModuleType
) -> None:
    kor = await origin().start()
    content = reports.track(b"a", b"e-1", base=base, at_ns=NOW_NS)
    content.track.source.kind = measures_pb2.SENSOR_KIND_AIRBORNE_RADAR
    await kor.report(content, reports.label())
    confirmed = content_pb2.EVENT_STATE_CONFIRMED
    await kor.report(reports.status(b"s", b"e-1", confirmed, base=base), reports.label())
    seen, status = await kor.outbox("USA")
    assert list(seen.header.label.releasable_to) == ["USA"], "JPN sees it in cells of 10 km, and late"
    assert list(status.header.label.releasable_to) == ["JPN", "USA"], "both see all of it at once"


async def test_a_held_message_is_labelled_by_the_tighter_of_the_policies_that_it_met(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    """Whether the first or the second one keeps it from the USA: JPN may pass it on under neither."""
    not_for_the_usa = "- {id: NOT-USA, effect: deny, to: [USA], when: 'true', reason: r}\n"
    for number, (first, second) in enumerate([("", ""), ("", not_for_the_usa), (not_for_the_usa, "")]):
        kor.pipeline.policy.current = policy_of(RULES + first)
        await kor.report(track(f"t{number}"), reports.label())
        await kor.restart()
        kor.pipeline.policy.current = policy_of(RULES + second)
        await kor.wait(10)
    jpn = [list(item.header.label.releasable_to) for item in await kor.outbox("JPN")]
    assert jpn == [["JPN", "USA"], ["JPN"], ["JPN"]]


async def test_what_the_originator_controls_is_passed_on_by_nobody(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    label = reports.label()
    label.originator_controlled = True
    await kor.report(track("a"), label)
    (usa,) = await kor.outbox("USA")
    assert (list(usa.header.label.releasable_to), usa.header.label.originator_controlled) == (["USA"], True)


@pytest.mark.parametrize(
    ("kept", "taken", "numbers"), [("", True, 1), ("ORIGINATOR", True, 0), ("NO-ONWARD", True, 0), ("", False, 0)]
)
async def test_what_belongs_to_another_is_passed_on_with_its_consent_only_and_uses_up_no_number(
    kept: str,
    taken: bool,  # noqa: FBT001 - a case
    numbers: int,
    kor: Origin,
    track: Make,
    reports: ModuleType,
    policy_of: Callable[[str], Policy],
) -> None:
    kor.pipeline.discloser.may_pass_on = lambda _origin, _recipient: taken
    label = reports.label("JPN", caveats=(kept,) if kept == "NO-ONWARD" else ())
    label.originator_controlled = kept == "ORIGINATOR"
    knows = "- {id: KNOWS, effect: limit, to: [USA, JPN], when: 'true', caveats: [NO-ONWARD], reason: r}\n"
    kor.pipeline.policy.current = policy_of(RULES + knows)
    await kor.report(track("a"), label)
    await kor.wait(10)
    assert (len(await kor.outbox("USA")), len(await kor.outbox("JPN"))) == (numbers, 1), "its own comes home freely"


async def test_who_is_not_on_the_label_gets_nothing(kor: Origin, track: Make, reports: ModuleType) -> None:
    await kor.report(track("a"), reports.label(to=("KOR", "USA")))
    await kor.wait(10)
    assert (len(await kor.outbox("USA")), await kor.outbox("JPN")) == (1, [])


async def test_a_fault_in_disclosing_to_one_is_a_denial_for_it_and_nobody_else(
    kor: Origin, track: Make, reports: ModuleType
) -> None:
    of = kor.pipeline.ledger.ids

    class Broken(type(of)):  # type: ignore[misc]
        def of(self, *args: Any, recipient: str, **options: Any) -> bytes:
            if recipient == "USA":
                raise ValueError("poison")
            found: bytes = super().of(*args, recipient=recipient, **options)
            return found

    kor.pipeline.ledger.ids = Broken(of.secret)
    assert await kor.report(track("a"), reports.label())
    await kor.wait(10)
    assert (await kor.outbox("USA"), len(await kor.outbox("JPN"))) == ([], 1)


# -- non-interference --------------------------------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("track"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("correct"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.just(False)),
        st.tuples(st.just("wait"), st.integers(1, 12), st.just(False)),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=100, deadline=None)
@given(steps=steps, noise=st.integers(1, 1000))
def test_what_is_not_released_to_a_nation_changes_no_byte_of_what_it_gets(
    steps: list[tuple[str, int, bool]],
    noise: int,
    origin: Callable[..., Origin],
    rules: Policy,
    track: Make,
    cancel: Make,
    reports: ModuleType,
) -> None:
    """The same day twice. In one, KOR also has secret tracks, corrects and cancels them, and its sensors differ."""

    async def day(*, with_secrets: bool) -> list[bytes]:
        kor = await origin(rules).start()
        names: list[str] = []
        for number, (what, value, is_secret) in enumerate(steps):
            if what == "wait":
                await kor.wait(value)
                continue
            if is_secret and not with_secrets:
                continue  # nobody is to notice the difference
            label = reports.label(caveats=("KOR-ONLY",) if is_secret else ())
            name, target = f"m{number}", names[value % len(names)] if names else "none"
            if what == "cancel":
                content = cancel(name, target)
            else:
                content = track(name, lat_deg=40.0 + value, corrects="" if what == "track" else target)
                if with_secrets:
                    content.track.source.name = f"aegis-{noise}"
                    content.track.source.kind = measures_pb2.SENSOR_KIND_SEA_RADAR
                if not is_secret:
                    names.append(name)
            if is_secret:
                content.header.ClearField("references")
                content.track.event_id = b"secret"
            await kor.report(content, label)
            if with_secrets:
                await kor.report(track(f"extra-{number}", lat_deg=10.0 + noise / 1000), reports.label(to=("KOR",)))
        await kor.wait(20)
        return [item.data for item in await kor.outbox() if item.header.recipient != "KOR"]

    assert asyncio.run(day(with_secrets=True)) == asyncio.run(day(with_secrets=False))


async def test_the_hubs_share_for_the_own_picture_is_a_release_like_any_other(
    kor: Origin, track: Make, reports: ModuleType, policy_of: Callable[[str], Policy]
) -> None:
    await kor.report(track("a"), reports.label())
    assert await kor.outbox("KOR") == []
    own = """
- id: SELF
  effect: release
  to: [self]
  when: 'body == "track"'
  give: {when_observed: exact, track_time: exact, track_place: exact}
  reason: r
"""
    kor.pipeline.policy.current = policy_of(RULES + own)
    await kor.report(track("b"), reports.label(to=("JPN",)))
    (sent,) = await kor.outbox("KOR")
    assert sent.header.label.releasable_to == ["KOR"]
    assert sent.header.precedence == envelope_pb2.PRECEDENCE_IMMEDIATE


@pytest.mark.parametrize("is_late", [False, True])
async def test_no_status_of_an_event_goes_out_behind_its_end(
    kor: Origin, reports: ModuleType, policy_of: Callable[..., Policy], base: content_pb2.Exercise, *, is_late: bool
) -> None:
    delayed = "  give: {when_observed: exact, status: exact}\n  delay_s: 10\n"
    rules = RULES.replace("  give: {when_observed: exact, status: exact}\n", delayed)
    assert rules != RULES
    kor.pipeline.policy.current = policy_of(RULES if is_late else rules)
    confirmed = reports.status(b"s", b"e-1", content_pb2.EVENT_STATE_CONFIRMED, base=base)
    taken_back = reports.status(b"n", b"e-1", NOT_A_LAUNCH, base=base)
    for status in (taken_back, confirmed) if is_late else (confirmed, taken_back):
        await kor.report(status, reports.label())
    for _ in range(15):
        await kor.wait(1)
    states = [issued.content.status.state for issued in await kor.outbox("JPN")]
    assert states == [] or states[-1] == NOT_A_LAUNCH
