"""A draft in the shadow of the real pipeline: it counts what it would change, and changes nothing, whatever it does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker import limits
from broker.clock import timestamp
from broker.gateway.office.replay import replay
from broker.gateway.office.shadow import Shadow
from broker.gateway.release.change import Change
from broker.gateway.release.impact import Window
from broker.store.beside import Beside
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from types import ModuleType

    from broker.gateway.release import Policy
    from tests.broker.gateway.conftest import Origin
    from vedette.v1 import content_pb2

NOW_NS = 1_780_000_000 * limits.SECOND_NS
RULES = """
- id: TRACKS
  effect: release
  to: [USA, JPN]
  when: 'body == "track"'
  give: {when_observed: exact, clock: exact, stamps: exact, track_time: exact, track_place: 10km}
  reason: r
- {id: LATE, effect: limit, to: [JPN], when: '"LATER" in label.caveats', delay_s: 10, reason: r}
"""
WIDER = """
- id: MOTION
  effect: release
  to: [JPN]
  when: 'body == "track" && precedence >= Precedence.PRECEDENCE_FLASH'
  give: {motion: 1km}
  reason: r
- {id: NEVER, effect: deny, to: [USA], when: '"KOR-ONLY" in label.caveats', reason: r}
"""


@pytest.fixture
def active(policy_of: Callable[[str], Policy]) -> Policy:
    return policy_of(RULES)


@pytest.fixture
def draft(policy_of: Callable[[str], Policy]) -> Policy:
    return policy_of(RULES + WIDER)


@pytest.fixture
def broken(draft: Policy) -> Policy:
    """Give a policy with a rule that no engine can decide: parsing makes none, so nothing less would do."""
    rule: Any = replace(draft.rules[0], predicate=None)  # type: ignore[arg-type]
    return replace(draft, rules=(rule, *draft.rules[1:]))


class Shadowed:
    """A gateway's sending side with a shadow, of which the task runs only while `settle` waits for it."""

    def __init__(self, kor: Origin, policy: Callable[[], Policy]) -> None:
        self.kor = kor
        self.metrics = kor.pipeline.metrics
        self.shadow = Shadow("KOR", policy, self.metrics, kor.clock)
        kor.pipeline.on_disclosed = self.shadow.note

    async def settle(self) -> None:
        """Wait until the shadow has looked at all that it was told of."""
        task = asyncio.create_task(self.shadow.run())
        await asyncio.wait_for(self.shadow._queue.join(), 30)
        task.cancel()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
async def kor(origin: Callable[..., Origin], active: Policy, tmp_path: Path) -> AsyncIterator[Shadowed]:
    made = await origin(active).start(await open_sqlite(tmp_path / "gateway.sqlite"))
    yield Shadowed(made, lambda: active)
    await made.store.close()


@pytest.fixture
def track(reports: ModuleType) -> Callable[..., content_pb2.Content]:
    base = reports.exercise("test-1")
    base.wall_zero.CopyFrom(timestamp(NOW_NS))
    base.exercise_zero.CopyFrom(base.wall_zero)

    def make(name: str) -> content_pb2.Content:
        made: content_pb2.Content = reports.track(name.encode(), b"e-1", base=base, at_ns=NOW_NS)
        return made

    return make


async def report_some(kor: Origin, track: Callable[..., content_pb2.Content], reports: ModuleType) -> list[bool]:
    """Bring some reports through, two in a batch, one of them with a delay; return whether each was accepted."""
    accepted = []
    for number in range(3):
        done = [
            await kor.pipeline.offer(
                kor.taken(track(f"{number}{name}"), reports.label(caveats=caveats), precedence=precedence)
            )
            for name, caveats, precedence in (("a", (), 5), ("b", ("LATER",), 3))
        ]
        await kor.pipeline.step()
        accepted += [each.result() for each in done]
    await kor.wait(11)
    return accepted


@pytest.mark.parametrize("kind", ["counts", "cannot decide", "has no policy beside it", "is full"])
async def test_what_goes_out_is_the_same_bytes_in_the_same_order_whatever_the_shadow_does(
    kind: str,
    origin: Callable[..., Origin],
    active: Policy,
    draft: Policy,
    broken: Policy,
    track: Callable[..., content_pb2.Content],
    reports: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = await origin(active).start()
    accepted = await report_some(alone, track, reports)
    expected = [item.data for item in await alone.outbox()]
    assert len(expected) == 2 * len(accepted), "the control: everything went to both, some of it late"

    def none() -> Policy:
        raise LookupError("no policy")

    if kind == "is full":
        monkeypatch.setattr(limits, "SHADOW_QUEUE_MAX", 1)
    kor = await origin(active).start()
    shadowed = Shadowed(kor, none if kind == "has no policy beside it" else lambda: active)
    shadowed.shadow.start(broken if kind == "cannot decide" else draft)
    running = asyncio.create_task(shadowed.shadow.run())
    assert await report_some(kor, track, reports) == accepted
    assert [item.data for item in await kor.outbox()] == expected
    assert not running.done(), "a fault does not end the task either"
    await asyncio.wait_for(shadowed.shadow._queue.join(), 30)
    running.cancel()
    seen = shadowed.shadow.report()
    assert seen is not None
    assert (seen.messages > 0, seen.faults > 0, seen.skipped > 0) == {
        "counts": (True, False, False),
        "cannot decide": (True, True, False),
        "has no policy beside it": (False, True, False),
        "is full": (True, False, True),
    }[kind]


async def test_a_report_is_answered_and_durable_before_the_shadow_hears_of_it(
    kor: Shadowed, draft: Policy, track: Callable[..., content_pb2.Content], reports: ModuleType
) -> None:
    heard: list[bool] = []
    kor.shadow.start(draft)
    done = await kor.kor.pipeline.offer(kor.kor.taken(track("a"), reports.label()))

    def hear(disclosed: Any) -> None:
        heard.append(done.done())
        kor.shadow.note(disclosed)

    kor.kor.pipeline.on_disclosed = hear
    await kor.kor.pipeline.step()
    assert heard == [True]
    told = kor.shadow.report()
    assert told is not None
    assert told.messages == 0, "and what it decides, it decides later"


async def test_the_shadow_counts_what_impact_says_of_the_same_messages(
    kor: Shadowed,
    active: Policy,
    draft: Policy,
    track: Callable[..., content_pb2.Content],
    reports: ModuleType,
    tmp_path: Path,
) -> None:
    kor.shadow.start(draft)
    await report_some(kor.kor, track, reports)
    await kor.settle()
    told = kor.shadow.report()
    assert told is not None
    await kor.kor.store.close()
    with Beside(tmp_path / "gateway.sqlite") as store:
        impact = replay(store, active, draft, Window(NOW_NS, NOW_NS + limits.SECOND_NS))
    assert told.messages == impact.coverage.messages == 6, "what came out of its delay is not counted again"
    assert (told.bodies, told.against, told.ended) == ({"track": 6}, (active.digest,), "")
    for row in impact.recipients:
        member = "KOR" if row.recipient == "self" else row.recipient
        assert told.changes[member] == {change: count for change, count in row.changes.items() if count}
    assert told.changes["JPN"] == {Change.NEWLY_RELEASED: 3, Change.SAME: 3}
    assert told.rule_matches == impact.coverage.rule_matches == {"TRACKS": 12, "LATE": 3, "MOTION": 3, "NEVER": 0}
    assert kor.value("vedette_shadow_decisions_total", recipient="JPN", change="newly-released") == 3
    assert kor.value("vedette_shadow_rule_matches_total", rule="MOTION") == 3
    assert kor.value("vedette_shadow_rule_matches_total", rule="NEVER") == 0, "a rule that never matched is seen too"


async def test_the_series_of_a_draft_end_with_it_and_its_report_stays(
    kor: Shadowed, draft: Policy, track: Callable[..., content_pb2.Content], reports: ModuleType
) -> None:
    assert kor.shadow.report() is None
    kor.shadow.start(draft)
    labels = {"version": str(draft.version), "digest": draft.digest}
    assert kor.value("vedette_shadow_info", **labels) == 1
    await kor.kor.report(track("a"), reports.label(), precedence=5)
    await kor.settle()
    told = kor.shadow.stop()
    assert told is not None
    assert (told.ended, told.messages, told.rule_matches["MOTION"]) == ("stopped", 1, 1)
    assert kor.value("vedette_shadow_info", **labels) is None
    assert kor.value("vedette_shadow_rule_matches_total", rule="MOTION") is None
    await kor.kor.report(track("b"), reports.label())
    await kor.settle()
    assert kor.shadow.report() == told


async def test_to_whom_releasing_is_stopped_a_draft_releases_nothing_new(
    origin: Callable[..., Origin],
    active: Policy,
    draft: Policy,
    track: Callable[..., content_pb2.Content],
    reports: ModuleType,
) -> None:
    """A stop outlives every version: in force, the draft would be under it as well."""
    stopped = active.stopping({"JPN"})
    kor = Shadowed(await origin(stopped).start(), lambda: stopped)
    kor.shadow.start(draft)
    await kor.kor.report(track("a"), reports.label(), precedence=5)
    await kor.settle()
    told = kor.shadow.report()
    assert told is not None
    assert (told.changes["JPN"], told.rule_matches["MOTION"]) == ({Change.SAME: 1}, 1)


async def test_another_draft_begins_anew_and_what_waited_for_the_first_is_not_counted_for_it(
    kor: Shadowed, active: Policy, draft: Policy, track: Callable[..., content_pb2.Content], reports: ModuleType
) -> None:
    kor.shadow.start(draft)
    await kor.kor.report(track("a"), reports.label(), precedence=5)
    kor.shadow.start(active)
    await kor.kor.report(track("b"), reports.label())
    await kor.settle()
    told = kor.shadow.report()
    assert told is not None
    assert (told.messages, told.changes["USA"]) == (1, {Change.SAME: 1})
    assert kor.value("vedette_shadow_rule_matches_total", rule="MOTION") is None


async def test_what_finds_no_room_is_skipped_and_counted(
    origin: Callable[..., Origin],
    active: Policy,
    draft: Policy,
    track: Callable[..., content_pb2.Content],
    reports: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SHADOW_QUEUE_MAX", 2)
    kor = Shadowed(await origin(active).start(), lambda: active)
    kor.shadow.start(draft)
    for name in "abcde":
        assert await kor.kor.report(track(name), reports.label())
    await kor.settle()
    told = kor.shadow.report()
    assert told is not None
    assert (told.messages, told.skipped) == (2, 3)
    assert kor.value("vedette_shadow_skipped_total") == 3


async def test_a_draft_that_faults_ends_by_itself_and_is_logged_once(
    kor: Shadowed,
    broken: Policy,
    track: Callable[..., content_pb2.Content],
    reports: ModuleType,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kor.shadow.start(broken)
    with caplog.at_level(logging.ERROR):
        for number in range(limits.SHADOW_FAULTS_MAX):
            await kor.kor.report(track(f"t{number}"), reports.label())
        await kor.settle()
    told = kor.shadow.report()
    assert told is not None
    assert (told.ended, told.faults) == ("faults", limits.SHADOW_FAULTS_MAX)
    assert len(caplog.records) == 1
    faults = [kor.value("vedette_shadow_decisions_total", recipient=to, change="fault") for to in ("USA", "JPN")]
    assert faults == [limits.SHADOW_FAULTS_MAX / 2] * 2
    assert kor.value("vedette_release_faults_total", recipient="JPN") is None, (
        "no alarm: nothing that is in force failed"
    )
