"""What each nation is shown of an exercise that is shipped: the scenario, the sensors' lines, the shipped policies.

The nations' own adapters, intake checks and disclosure, over stores in memory and a clock that jumps from line to line;
nothing is sealed and nothing travels. What comes out is a recipient's log as `vedette fusion replay` reads it.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from google.protobuf import json_format

from broker.clock import wall_of_exercise_ns
from broker.demo.world import shipped_policy
from broker.exercise.player import make_exercise
from broker.exercise.scenario import read_scenarios
from broker.exercise.timeline import make_timeline
from broker.gateway.disclose import Discloser
from broker.gateway.held import Held
from broker.gateway.ids import Ids
from broker.gateway.intake import Intake
from broker.gateway.ledger import Ledger
from broker.gateway.load import load_nation
from broker.gateway.pipeline import taken_again
from broker.gateway.release import Policy
from broker.limits import SECOND_NS
from broker.store.memory import Kept, open_memory
from certs.identity import Identity, MemberId, Role
from vedette.v1 import content_pb2, journal_pb2, national_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.exercise.timeline import Reported, Timeline
    from broker.gateway.intake import Taken

CODES = ("KOR", "USA", "JPN")
WALL_NS = 1_780_000_000 * SECOND_NS  # in the shipped policies' time
NATIONS = {code: load_nation(code) for code in CODES}


@dataclass(frozen=True)
class Arrival:
    """One record of a recipient's log."""

    arrival_ns: int
    content: content_pb2.Content

    @property
    def line(self) -> str:
        """Return the record as `vedette fusion replay` reads it."""
        document = {"arrival_ns": self.arrival_ns, "content": json_format.MessageToDict(self.content)}
        return json.dumps(document, sort_keys=True)


@dataclass(frozen=True)
class Shown:
    """An exercise as it happened, and what every nation was shown of it."""

    timeline: Timeline
    exercise: content_pb2.Exercise
    logs: dict[str, list[Arrival]]


@dataclass
class Origin:
    """One nation's gateway, as far as it decides."""

    code: str
    discloser: Discloser
    policy: Policy
    intake: Intake
    kept: dict[bytes, journal_pb2.IntakeRecord] = field(default_factory=dict)

    def taken(self, report: Reported, exercise: content_pb2.Exercise, now_ns: int) -> list[Taken]:
        """Return what a sensor's line says."""
        native = NATIONS[self.code].formats[report.sensor.format]
        request = national_pb2.ReportRequest(session=exercise.exercise_id, exercise=exercise)
        request.native.format = report.sensor.format
        request.native.line = native.write(report.observation, report.sensor)
        name = f"spiffe://{self.code.lower()}.vedette/system/exercise/{report.sensor.name}"
        sender = Identity(MemberId(self.code), Role.SYSTEM, content_pb2.MODE_EXERCISE, report.sensor.name, name)
        return self.intake.take(request, sender, now_ns=now_ns)

    async def show(
        self, taken: Taken, recipient: str, now_ns: int, held: journal_pb2.HeldRecord | None = None
    ) -> content_pb2.Content | None:
        """Return what a recipient gets of a report now."""
        found = await self.discloser.disclose(taken, self.policy, recipient, now_ns=now_ns, held=held)
        self.discloser.ledger.keep()
        self.discloser.held.keep()
        assert not found.decision.fault
        return found.outgoing.content if found.outgoing else None


@cache
def shown(scenario: str) -> Shown:
    """Play a shipped scenario."""
    timeline = make_timeline(read_scenarios()[scenario], NATIONS)
    exercise = make_exercise(timeline.scenario, WALL_NS)
    return Shown(timeline, exercise, asyncio.run(_play(timeline.reports, exercise)))


async def _play(reports: Sequence[Reported], exercise: content_pb2.Exercise) -> dict[str, list[Arrival]]:
    origins = {code: await _origin(code) for code in CODES}
    logs: dict[str, list[Arrival]] = {code: [] for code in CODES}
    order = count()
    due = [(wall_of_exercise_ns(exercise, report.due_ns), next(order), report) for report in reports]
    heapq.heapify(due)
    while due:
        now_ns, _, report = heapq.heappop(due)
        for origin in origins.values():
            await _call_due(origin, now_ns, logs)
        origin = origins[report.nation]
        for taken in origin.taken(report, exercise, now_ns):
            _note(origin, taken)
            for recipient in CODES:
                _log(logs, recipient, now_ns, await origin.show(taken, recipient, now_ns))
    for origin in origins.values():
        await _call_due(origin, None, logs)
    for log in logs.values():
        log.sort(key=lambda arrival: arrival.arrival_ns)
    return logs


async def _call_due(origin: Origin, now_ns: int | None, logs: dict[str, list[Arrival]]) -> None:
    """Let what was held and is due by now go; all of it if no time is given."""
    held = origin.discloser.held
    while (due_ns := held.next_due_ns()) is not None and (now_ns is None or due_ns <= now_ns):
        (record,) = held.call_due(due_ns, most=1)
        held.drop(record.intake_key, record.recipient)
        taken = taken_again(origin.kept[record.intake_key], record.intake_key)
        _log(logs, record.recipient, due_ns, await origin.show(taken, record.recipient, due_ns, record))


def _note(origin: Origin, taken: Taken) -> None:
    """Keep a report as the gateway's recorded intake does."""
    record = journal_pb2.IntakeRecord(
        content=taken.content,
        precedence=taken.precedence,
        label=taken.label,
        system=taken.scope.system,
        session=taken.scope.session,
    )
    record.received_at.FromNanoseconds(taken.received_ns)
    origin.kept[taken.key] = record
    origin.discloser.ledger.note_intake(taken.key, record)


def _log(logs: dict[str, list[Arrival]], recipient: str, at_ns: int, content: content_pb2.Content | None) -> None:
    if content is not None:
        logs[recipient].append(Arrival(at_ns, content))


async def _origin(code: str) -> Origin:
    ledger = Ledger(await open_memory(Kept()), code, Ids(code.encode()), {})
    discloser = Discloser(code, ledger, Held(), lambda _origin, _recipient: True)
    return Origin(code, discloser, Policy.parse(shipped_policy(code), nation=code), Intake(NATIONS[code]))
