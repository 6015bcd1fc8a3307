"""A draft in the shadow: what it would decide on live traffic, counted beside what the policy in force decides.

It changes no output and delays none. The pipeline tells of a batch when that is durable, answered and noted, and
telling is putting into a queue; where the queue is full the message is skipped, and counted. A task of its own takes
from it one message at a time, with a pause after each, so that at most a small part of the loop's time is spent here.
It decides under both policies itself, as if both were in force, by one engine: what stands in the outbox also depends
on members, intervals and what a recipient holds, and would say less about the draft.

Whatever goes wrong here stays here: it is counted as `fault`, logged once, and after SHADOW_FAULTS_MAX the shadow ends.
Only reports are looked at, not what comes out of a delay a second time: each message once. What it cannot see is what
`release.impact` cannot see, but for what a draft makes of messages to come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.gateway.disclose import SELF
from broker.gateway.release import Subject
from broker.gateway.release.change import Change, delta_of
from broker.gateway.release.comparison import one_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.clock import Clock
    from broker.gateway.disclose import Disclosed
    from broker.gateway.intake import Taken
    from broker.gateway.release import Policy
    from broker.gateway.release.decide import Decider
    from broker.stages import Metrics

__all__ = ["Shadow", "ShadowReport"]

log = logging.getLogger(__name__)

# After each message, which takes some 150 us for three recipients: so the shadow follows over 400 messages a second,
# and takes no more than a fourteenth of the loop's time.
PAUSE_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a draft would have changed so far. `ended`: "" while it runs, else why it does not any more."""

    version: int
    digest: str
    since_ns: int
    ended: str  # "" | stopped | replaced | faults
    messages: int
    skipped: int
    faults: int
    bodies: Mapping[str, int]  # messages by kind of body; "" for a bare reference
    changes: Mapping[str, Mapping[Change, int]]  # decisions, by recipient
    rule_matches: Mapping[str, int]  # of every rule of the draft: in how many decisions it matched
    against: tuple[str, ...]  # digests of the policies in force meanwhile


class Shadow:
    """At most one draft at a time. `note` is for the pipeline, `run` is its task, all else for an administrator."""

    def __init__(self, us: str, policy: Callable[[], Policy], metrics: Metrics, clock: Clock) -> None:
        """Begin without a draft; `policy` gives the one in force."""
        self._us = us
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._queue: asyncio.Queue[tuple[_Running, Taken, tuple[str, ...]]] = asyncio.Queue(limits.SHADOW_QUEUE_MAX)
        self._running: _Running | None = None
        self._ended: ShadowReport | None = None
        self._compiled: dict[Policy, Decider] = {}

    # -- for administrators -------------------------------------------------------------------------------------------
    def start(self, draft: Policy) -> None:
        """Begin to decide new reports under a draft as well, in the place of any other."""
        self._end("replaced")
        self._running = _Running(draft, self._clock.wall_ns())
        self._metrics.shadow_decisions.clear()
        self._metrics.shadow_info.labels(str(draft.version), draft.digest).set(1)
        for rule in draft.rules:
            self._metrics.shadow_rule_matches.labels(rule.rule_id)  # nothing, until it matches
        log.info("shadow version=%d digest=%s begins", draft.version, draft.digest)

    def stop(self) -> ShadowReport | None:
        """End the shadow; return what there is to tell of it, None if there never was one."""
        self._end("stopped")
        return self.report()

    def report(self) -> ShadowReport | None:
        """Return what the draft would have changed so far, or the last one's report once it has ended."""
        return self._ended if self._running is None else self._running.report()

    # -- for the pipeline ---------------------------------------------------------------------------------------------
    def note(self, disclosed: Sequence[tuple[Taken, Disclosed]]) -> None:
        """Take notice of what was decided in a batch. Never raises, never waits."""
        running = self._running
        if running is None:
            return
        try:
            for taken, recipients in _reports(disclosed):
                if self._queue.full():
                    running.skipped += 1
                    self._metrics.shadow_skipped.inc()
                else:
                    self._queue.put_nowait((running, taken, recipients))
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the shadow may reach the pipeline
            self._fault(running, error)

    async def run(self) -> None:
        """Decide what waits, until cancelled."""
        while True:
            running, taken, recipients = await self._queue.get()
            if running is self._running:  # it may have ended since
                await self._try(running, taken, recipients)
                await asyncio.sleep(PAUSE_S)
            self._queue.task_done()

    # -- inside -------------------------------------------------------------------------------------------------------
    async def _try(self, running: _Running, taken: Taken, recipients: tuple[str, ...]) -> None:
        try:
            draft, in_force = await self._deciders(running.policy, self._policy())
            if running is self._running:
                self._decide(running, draft, in_force, taken, recipients)
        except Exception as error:  # noqa: BLE001 - the boundary: a draft must not end the gateway
            self._fault(running, error)

    async def _deciders(self, *policies: Policy) -> list[Decider]:
        """Return policies compiled, each once, and off the loop: that takes longer than a warning may wait."""
        found: dict[Policy, Decider] = {}
        for policy in policies:
            known = self._compiled.get(policy)
            found[policy] = await asyncio.to_thread(_compiled, policy) if known is None else known
        self._compiled = found
        return [found[policy] for policy in policies]

    def _decide(
        self, running: _Running, draft: Decider, in_force: Decider, taken: Taken, recipients: tuple[str, ...]
    ) -> None:
        subject = Subject(taken.content, taken.label, taken.precedence)
        running.against[in_force.policy.digest] = None
        running.messages += 1
        running.bodies[taken.body] += 1
        faults: list[str] = []
        for recipient in recipients:
            to = SELF if recipient == self._us else recipient
            new = draft.decide(subject, to)
            change = delta_of(in_force.decide(subject, to), new).change
            if in_force.policy.stops(to) and change is not Change.FAULT:
                change = Change.SAME  # a stop lies over every version: in force, the draft would be under it as well
            running.changes.setdefault(recipient, Counter())[change] += 1
            self._metrics.shadow_decisions.labels(recipient, change.value).inc()
            for rule_id in new.rule_ids:
                if rule_id in running.rules:  # and not a built-in cause
                    running.rules[rule_id] += 1
                    self._metrics.shadow_rule_matches.labels(rule_id).inc()
            faults += [new.fault] if new.fault else []
        for fault in faults:  # at the end: the last that it may have ends it, with its series
            self._note_fault(running, fault)

    def _fault(self, running: _Running, error: Exception) -> None:
        self._metrics.shadow_decisions.labels(self._us, Change.FAULT.value).inc()
        self._note_fault(running, type(error).__name__)

    def _note_fault(self, running: _Running, cause: str) -> None:
        if running is not self._running:  # it ended while its policy was compiled
            return
        running.faults += 1
        if running.faults == 1:
            log.error("the draft in the shadow fails: %s; nothing else does", cause)
        if running.faults == limits.SHADOW_FAULTS_MAX:
            self._end("faults")

    def _end(self, why: str) -> None:
        if self._running is None:
            return
        self._ended = self._running.report(ended=why)
        self._running = None
        self._metrics.shadow_info.clear()
        self._metrics.shadow_rule_matches.clear()
        log.info("shadow version=%d ended: %s", self._ended.version, why)


class _Running:
    """One draft, and what was counted of it."""

    def __init__(self, draft: Policy, since_ns: int) -> None:
        self.policy = draft
        self.since_ns = since_ns
        self.messages = self.skipped = self.faults = 0
        self.bodies: Counter[str] = Counter()
        self.changes: dict[str, Counter[Change]] = {}
        self.rules = {rule.rule_id: 0 for rule in draft.rules}
        self.against: dict[str, None] = {}

    def report(self, *, ended: str = "") -> ShadowReport:
        policy = self.policy
        return ShadowReport(
            policy.version,
            policy.digest,
            self.since_ns,
            ended,
            self.messages,
            self.skipped,
            self.faults,
            dict(self.bodies),
            {recipient: dict(changes) for recipient, changes in self.changes.items()},
            dict(self.rules),
            tuple(self.against),
        )


def _compiled(policy: Policy) -> Decider:
    decider = one_engine(policy)
    with contextlib.suppress(Exception):  # deciding says it, message by message, as a fault
        decider.warm()
    return decider


def _reports(disclosed: Sequence[tuple[Taken, Disclosed]]) -> list[tuple[Taken, tuple[str, ...]]]:
    """Return the new reports of a batch, each with those for whom it was decided."""
    found: dict[int, tuple[Taken, list[str]]] = {}
    for taken, each in disclosed:
        if each.held_ns is None:  # else it was decided when it came
            found.setdefault(id(taken), (taken, []))[1].append(each.recipient)
    return [(taken, tuple(recipients)) for taken, recipients in found.values()]
