"""A policy is swapped while messages are decided: no message is lost, and none is decided by two policies."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.audit import AuditTrail
from broker.clock import ManualClock, timestamp
from broker.gateway.release import Policy, decider_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from broker.gateway.policy import PolicyInForce
    from tests.broker.gateway.conftest import Origin

NOW_NS = 1_780_000_000 * limits.SECOND_NS  # as the clock stands
MESSAGES = 300
GIVE = "give: {when_observed: exact, track_time: exact, track_place: exact}"
RULES = f"""
- {{id: OPEN, effect: release, to: [USA, JPN], when: 'body == "track"', {GIVE}, reason: r}}
- {{id: SHUT, effect: deny, to: [USA, JPN], when: '%s', reason: r}}
"""


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let another thread in between any two recipients of a message, and not only after 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def versions(kor_policy: str) -> list[Policy]:
    """Return policies that release a track to both, and to nobody, in turn."""
    head = kor_policy.partition("\nrules:\n")[0]
    return [
        Policy.parse(
            head.replace("\nversion: 1\n", f"\nversion: {number}\n")
            + "\nrules:\n"
            + RULES % ("true" if number % 2 else "false")
        )
        for number in range(1, limits.POLICIES_COMPILED_MAX + 1)
    ]


def swapping(in_force: PolicyInForce, policies: list[Policy], is_over: threading.Event) -> int:
    """Take one policy over after another, as the task that watches the file does; return how often."""
    count = 0
    while not is_over.is_set():
        in_force._take(policies[count % len(policies)])
        count += 1
        time.sleep(0.0005)
    return count


@pytest.mark.usefixtures("eager_threads")
async def test_no_message_is_decided_by_two_policies_and_none_is_lost(
    origin: Callable[..., Origin], kor_policy: str, reports: ModuleType, tmp_path: Path
) -> None:
    policies = versions(kor_policy)
    for policy in policies:
        decider_of(policy).warm()
    trail = AuditTrail.open(tmp_path / "audit.jsonl", ManualClock(NOW_NS))
    kor = await origin(policies[0], audit=trail).start()
    base = reports.exercise("test-1")
    base.wall_zero.CopyFrom(timestamp(NOW_NS))
    base.exercise_zero.CopyFrom(base.wall_zero)
    is_over, swaps = threading.Event(), list[int]()
    swapper = threading.Thread(target=lambda: swaps.append(swapping(kor.pipeline.policy, policies, is_over)))
    swapper.start()
    try:
        for number in range(MESSAGES):
            assert await kor.report(reports.track(f"m-{number}".encode(), b"e-1", base=base), reports.label())
    finally:
        is_over.set()
        swapper.join()
    await trail.close()

    by_message: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for line in (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["event"] == "decided":
            fields = entry["fields"]
            by_message[fields["message"]].append((fields["policy"], fields["digest"], fields["recipient"]))
    assert len(by_message) == MESSAGES
    assert all(len(decided) == 3 for decided in by_message.values()), "for each recipient, once"
    mixed = [decided for decided in by_message.values() if len({each[:2] for each in decided}) != 1]
    assert mixed == []
    assert len({decided[0][0] for decided in by_message.values()}) == len(policies), "all of them were in force"
    assert swaps[0] > MESSAGES / 10
    usa, jpn = await kor.outbox("USA"), await kor.outbox("JPN")
    opened = sum(decided[0][0] % 2 == 0 for decided in by_message.values())
    assert 0 < opened < MESSAGES
    assert [item.header.sequence for item in usa] == list(range(1, opened + 1)), "without a gap"
    assert [item.header.sequence for item in jpn] == list(range(1, opened + 1))


async def test_what_was_overtaken_while_it_waited_never_comes_into_force(
    origin: Callable[..., Origin], kor_policy: str
) -> None:
    first, second, third = versions(kor_policy)[:3]
    kor = await origin(first).start()
    in_force, clock = kor.pipeline.policy, kor.clock
    later = replace(second, effective_ns=clock.wall_ns() + limits.SECOND_NS)
    await in_force.take(later)
    assert in_force.current is first
    await in_force.take(third)
    clock.advance(2 * limits.SECOND_NS)
    await in_force.take(later)
    assert in_force.current is third


async def test_a_later_version_that_waits_longer_does_not_push_out_one_that_waits(
    origin: Callable[..., Origin], kor_policy: str, tmp_path: Path
) -> None:
    first, second, third = versions(kor_policy)[:3]
    kor = await origin(first).start()
    in_force, clock = kor.pipeline.policy, kor.clock
    in_force.path = tmp_path / "release.yaml"  # nothing lies there
    sooner = replace(second, effective_ns=clock.wall_ns() + limits.SECOND_NS)
    later = replace(third, effective_ns=clock.wall_ns() + 60 * limits.SECOND_NS)
    await in_force.take(sooner)
    await in_force.take(later)
    watching = asyncio.create_task(in_force.watch())
    for due, seconds in ((sooner, 2), (later, 60)):
        clock.advance(seconds * limits.SECOND_NS)
        async with asyncio.timeout(30):
            while in_force.current is not due:
                assert not watching.done(), watching.exception()
                await asyncio.sleep(0.01)
    watching.cancel()


async def test_an_older_version_that_is_still_being_compiled_does_not_take_the_place_of_a_newer_one(
    origin: Callable[..., Origin], kor_policy: str
) -> None:
    first, second, third = versions(kor_policy)[:3]
    kor = await origin(first).start()
    in_force = kor.pipeline.policy
    taking = asyncio.create_task(in_force.take(second))
    await asyncio.sleep(0)  # it compiles now, in a thread
    in_force._take(third)
    await taking
    assert in_force.current is third
