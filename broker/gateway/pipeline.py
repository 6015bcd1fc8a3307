"""Steps 2 to 4 in one task: decide, redact, number, seal, and make it all durable in one transaction.

Reports from all systems queue up here. What is waiting is taken as one batch: every message is disclosed to every
recipient under one snapshot of the policy, what goes out is numbered and sealed, and the recorded intake, the
envelopes, the held messages, the numbers and the ledger are stored together. Only then is a report accepted. If the
store fails, nothing of the batch has happened: no number is used up, nothing is remembered, and the systems are told.

Messages held by a delay come back into the same task when they are due.

What goes wrong with one message by a fault of ours ends nothing: the batch is undone and its messages are tried one by
one. The one at fault is answered INTERNAL, or withheld if it was held; all others go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from broker import limits
from broker.clock import nanoseconds, timestamp
from broker.gateway.about import event_key_of, takes_back_event, target_of
from broker.gateway.ids import Scope, intake_key
from broker.gateway.intake import Taken
from broker.gateway.ledger import INTAKE, OUTBOX
from broker.gateway.notes import SESSIONS, Notes
from broker.gateway.release.decision import ENGINES_DISAGREE
from broker.gateway.seal import Outgoing, Sealed, seal_all
from broker.refusal import Reason, Refused
from broker.stages import Leg, mode_label, precedence_label
from broker.store import Corrupt, Fenced, Full, NewRecord, StoreError
from vedette.v1 import content_pb2, journal_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.audit import AuditTrail
    from broker.clock import Clock
    from broker.gateway.disclose import Disclosed, Discloser
    from broker.gateway.held import Held
    from broker.gateway.ledger import Ledger
    from broker.gateway.policy import PolicyInForce
    from broker.gateway.recover import Recovered
    from broker.gateway.release import Decision
    from broker.gateway.streams import Streams
    from broker.stages import Labels, Metrics
    from broker.store import Store
    from certs.keyring import Signer

log = logging.getLogger(__name__)

SEEN_MAX: Final = 200_000  # keys kept in memory; older ones are asked of the store
TOO_DEEP: Final = (
    f"header.references: at most {limits.CORRECTIONS_MAX} corrections in a row: correct the first one, or report anew"
)
BATCH_MAX: Final = 32  # reports decided in one go: more would make the first of them wait


@dataclass(slots=True)
class Waiting:
    """A report on its way through."""

    taken: Taken
    done: asyncio.Future[bool]  # True: accepted; False: was here before


@dataclass(slots=True)
class Forgetting:
    """Small values of some age and older are to be forgotten, a batch of them at a time."""

    through: int
    done: asyncio.Future[bool]  # whether there may be more


Item: TypeAlias = Waiting | journal_pb2.HeldRecord | Outgoing | Forgetting


class _Done(NamedTuple):
    """What became of a batch."""

    disclosed: list[tuple[Taken, Disclosed]]
    sealed: list[Sealed]
    times_ns: tuple[int, int, int, int]


@dataclass(slots=True)
class Pipeline:
    """See the module."""

    us: str
    store: Store
    clock: Clock
    metrics: Metrics
    audit: AuditTrail
    policy: PolicyInForce
    recipients: Callable[[], list[str]]  # with whom we may exchange now, ourselves included
    discloser: Discloser
    ledger: Ledger
    held: Held
    streams: Streams
    notes: Notes
    signer_of: Callable[[int], Signer]
    schema_version_of: Callable[[str], int]
    # Told of each batch when all is done: for a draft in the shadow. It neither raises nor waits.
    on_disclosed: Callable[[Sequence[tuple[Taken, Disclosed]]], None] = lambda _disclosed: None
    _queue: asyncio.Queue[Waiting | Outgoing | Forgetting] = field(
        default_factory=lambda: asyncio.Queue(maxsize=limits.QUEUE_RECORDS_MAX)
    )
    _recovered: list[Recovered] = field(default_factory=list)  # to be remembered with the next batch
    _seen: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)
    _noted: list[bytes] = field(default_factory=list)  # keys that the batch under way brought into `_seen`
    _has_forgotten: bool = False  # whether keys left `_seen`: from then on the store is asked
    _old_sessions: set[str] = field(default_factory=set)  # of which the store may hold more than we remember

    async def take(self, taken: Taken) -> bool:
        """Bring one report to durability. True: accepted; False: the same was here before. Raises Refused."""
        return await (await self.offer(taken))

    async def offer(self, taken: Taken) -> asyncio.Future[bool]:
        """Queue one report, behind those queued before; return what will hold the answer of `take`."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._queue.put(Waiting(taken, done))
        return done

    async def send(self, outgoing: Outgoing) -> None:
        """Bring something of our own, outside policy (a canary), into the outbox."""
        await self._queue.put(outgoing)

    async def forget(self, *, through: int) -> bool:
        """Forget small values of that age and older; return whether there may be more."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._queue.put(Forgetting(through, done))
        return await done

    def learn(self, recovered: Recovered) -> None:
        """Remember what was read back of an earlier outbox, from the next batch on."""
        self._recovered.append(recovered)

    async def load(self) -> None:
        """Take over what an earlier process left."""
        self.held.load(await self.store.state("held/"))
        self._old_sessions = set(self.notes.of(SESSIONS))

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self.step()

    async def step(self) -> None:
        """Work on one batch: what waits, or what comes or is due next."""
        await self._attempt(await self._next_batch())

    async def _attempt(self, items: Sequence[Item]) -> None:
        """Bring a batch through: together, or each by itself if one of them is at fault."""
        try:
            done = await self._process(items)
        except StoreError as error:
            self._undo()
            reason = Reason.REASON_STORE_FULL if isinstance(error, Full) else Reason.REASON_UNAVAILABLE
            log.error("batch not stored: %s", type(error).__name__)  # noqa: TRY400 - expected, no trace
            self._refuse(items, Refused(reason, "nothing was stored; send it again"))
            if isinstance(error, Fenced):
                raise  # another's store: nothing will ever be stored again
            await asyncio.sleep(limits.RECONNECT_FIRST_S)
        except Exception:  # one message must not end the gateway: it would come again and end the next one too
            self._undo()
            if len(items) > 1:
                for item in items:
                    await self._attempt([item])
            else:
                log.exception("a message could not be brought through")
                self._refuse(items, Refused(Reason.REASON_INTERNAL, "this report cannot be sealed; the log says why"))
                await self._forget_held(items)
        except BaseException:
            self._undo()
            self._refuse(items, Refused(Reason.REASON_INTERNAL, "the gateway is stopping; send it again"))
            raise
        else:
            self._note(*done)
            self.on_disclosed(done.disclosed)

    async def _forget_held(self, items: Sequence[Item]) -> None:
        """Withhold a held message for good."""
        for item in items:
            if isinstance(item, journal_pb2.HeldRecord):
                self.held.drop(item.intake_key, item.recipient)
                self.metrics.decision_faults.labels(item.recipient).inc()
        try:
            if state := self.held.pending_state():
                await self.store.append([], state=state)
        except StoreError as error:
            log.error("not stored: %s", type(error).__name__)  # noqa: TRY400 - expected, no trace
            self.held.undo()
            await asyncio.sleep(limits.RECONNECT_FIRST_S)
        else:
            self.held.keep()

    async def _next_batch(self) -> list[Item]:
        """Return what is to be done now: reports first, since they may take back what is due."""
        reports: list[Item] = []
        ours: list[Item] = []
        due_ns = self.held.next_due_ns()
        wait_s = None if due_ns is None else max(0.0, (due_ns - self.clock.wall_ns()) / limits.SECOND_NS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                item = await self._queue.get()
                (reports if isinstance(item, Waiting) else ours).append(item)
        while len(reports) + len(ours) < BATCH_MAX and not self._queue.empty():
            item = self._queue.get_nowait()
            (reports if isinstance(item, Waiting) else ours).append(item)
        return [*reports, *self.held.call_due(self.clock.wall_ns(), most=BATCH_MAX), *ours]

    async def _process(self, items: Sequence[Item]) -> _Done:
        now_ns = self.clock.wall_ns()
        recovered = len(self._recovered)
        for each in self._recovered:
            self._learn(each)
        records: list[NewRecord] = []
        disclosed: list[tuple[Taken, Disclosed]] = []
        answers: list[tuple[Waiting | Forgetting, bool]] = []
        began_ns = self.clock.monotonic_ns()
        for item in items:
            if isinstance(item, journal_pb2.HeldRecord):
                disclosed += await self._due(item, now_ns)
            elif isinstance(item, Forgetting):
                answers.append((item, self._forget(item)))
            elif isinstance(item, Waiting):
                known = await self._known(item.taken)
                refused = self._refusal(item.taken, known)
                if refused is not None:
                    self._answer(item, refused)
                elif known is None:
                    records.append(self._intake_record(item.taken))
                    disclosed += [(item.taken, found) for found in await self._disclose(item.taken, now_ns)]
                    answers.append((item, True))
                else:
                    answers.append((item, False))  # once the batch is durable: its first copy may stand in it too
        decided_ns = self.clock.monotonic_ns()
        outgoings = [found.outgoing for _, found in disclosed if found.outgoing is not None]
        outgoings += [item for item in items if isinstance(item, Outgoing)]
        sealed = seal_all(
            outgoings, streams=self.streams, signer_of=self.signer_of, schema_version_of=self.schema_version_of
        )
        sealed_ns = self.clock.monotonic_ns()
        records += [_outbox_record(each) for each in sealed]
        state = self.streams.pending_state() | self.ledger.pending_state() | self.held.pending_state()
        state |= self.notes.pending_state()
        if records or state:
            await self.store.append(records, state=state)
        del self._recovered[:recovered]
        self._keep()
        for waiting, is_new in answers:
            self._answer(waiting, is_new)
        return _Done(disclosed, sealed, (began_ns, decided_ns, sealed_ns, self.clock.monotonic_ns()))

    def _learn(self, recovered: Recovered) -> None:
        for line, number in recovered.heads:
            self.streams.learn(line, number)
        for (recipient, event_id), label in recovered.events.items():
            self.ledger.note_event(recipient, event_id, label)
        self.ledger.note_read_back()

    # -- reports --------------------------------------------------------------------------------------------------
    def may_hold(self, scope: Scope) -> bool:
        """Return whether the store may hold reports of a system's session that this process does not remember."""
        return self._has_forgotten or _session_name(scope) in self._old_sessions

    async def recall(self, key: bytes) -> content_pb2.Content | None:
        """Return what was reported under an intake key. Raises Refused where that cannot be known now."""
        try:
            record = await self.ledger.intake(key)
        except Corrupt:  # what refers to it must not be lost as well
            return None
        except StoreError as error:
            raise Refused(Reason.REASON_UNAVAILABLE, "nothing was taken; send it again") from error
        return None if record is None else record.content

    async def _known(self, taken: Taken) -> bytes | None:
        """Return the digest that stands under the report's id; None for a new one, which is noted."""
        known = self._seen.get(taken.key)
        if known is None and self.may_hold(taken.scope):
            found = await self.store.find(INTAKE, taken.key)
            known = None if found is None else found.digest
        if known is None:
            self._seen[taken.key] = taken.digest
            self._noted.append(taken.key)
            while len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)
                self._has_forgotten = True
        return known

    def _refusal(self, taken: Taken, known: bytes | None) -> Refused | None:
        """Return why a report cannot be taken; None if it can, or was. `known`: the digest that stands under its id."""
        if known is not None:
            is_another = known != taken.digest
            return Refused(Reason.REASON_CONFLICT, "this id was used for another report") if is_another else None
        corrected = target_of(taken.content.header.references, content_pb2.RELATION_CORRECTS)
        if corrected is None or self.ledger.may_correct(of=intake_key(taken.scope, corrected), by=taken.key):
            return None
        self.ledger.note_refused(taken.key)  # a cancellation of the first would not find it
        self._seen.pop(taken.key, None)  # under its id something else may come
        return Refused(Reason.REASON_OUT_OF_RANGE, TOO_DEEP)

    @staticmethod
    def _answer(item: Waiting | Forgetting, answer: bool | Refused) -> None:  # noqa: FBT001 - what the future holds
        if item.done.done():
            return  # whoever reported went away
        if isinstance(answer, Refused):
            item.done.set_exception(answer)
        else:
            item.done.set_result(answer)

    def _intake_record(self, taken: Taken) -> NewRecord:
        record = journal_pb2.IntakeRecord(
            content=taken.content,
            precedence=taken.precedence,
            label=taken.label,
            system=taken.scope.system,
            session=taken.scope.session,
            received_at=timestamp(taken.received_ns),
        )
        self.notes.use(SESSIONS, _session_name(taken.scope))
        self.ledger.note_intake(taken.key, record)
        self._note_references(taken)
        return NewRecord(INTAKE, taken.key, taken.digest, record.SerializeToString(), lane=taken.scope.mode)

    def _note_references(self, taken: Taken) -> None:
        for reference in taken.content.header.references:
            target = intake_key(taken.scope, reference.message_id)
            if reference.relation == content_pb2.RELATION_CORRECTS:
                self.ledger.note_correction(of=target, by=taken.key)
            elif reference.relation == content_pb2.RELATION_CANCELS:
                self.ledger.note_cancelled(target)
        event_key = event_key_of(taken.content, taken.scope)
        if takes_back_event(taken.content) and event_key is not None:
            self.ledger.note_taken_back(event_key, by=taken.key)
        if taken.content.header.references:  # it may take back what took an event back
            self.held.bring_back(self.ledger.is_taken_back, now_ns=self.clock.wall_ns())

    async def _disclose(self, taken: Taken, now_ns: int, only: journal_pb2.HeldRecord | None = None) -> list[Disclosed]:
        policy = self.policy.snapshot(now_ns)
        recipients = self.recipients() if only is None else [only.recipient]
        return [
            await self.discloser.disclose(taken, policy, recipient, now_ns=now_ns, held=only)
            for recipient in recipients
        ]

    async def _due(self, record: journal_pb2.HeldRecord, now_ns: int) -> list[tuple[Taken, Disclosed]]:
        if self.held.drop(record.intake_key, record.recipient) is None:
            return []  # a report of this very batch took it back
        intake = await self.ledger.intake(record.intake_key)
        if intake is None or record.recipient not in self.recipients():
            return []
        taken = taken_again(intake, record.intake_key)
        held_ns = now_ns - taken.received_ns
        return [(taken, replace(found, held_ns=held_ns)) for found in await self._disclose(taken, now_ns, record)]

    def _forget(self, item: Forgetting) -> bool:
        self._old_sessions.difference_update(self.notes.forget_unused(SESSIONS, through=item.through))
        has_more = self.ledger.forget(through=item.through, most=limits.TRIM_BATCH)
        self.held.give_up(self.ledger.is_taken_back)
        return has_more

    # -- afterwards -----------------------------------------------------------------------------------------------
    def _keep(self) -> None:
        self.streams.keep()
        self.ledger.keep()
        self.held.keep()
        self.notes.keep()
        self._noted.clear()
        self.metrics.held.set(len(self.held))

    def _undo(self) -> None:
        self.streams.drop()
        self.ledger.drop()
        self.held.undo()
        for key in self._noted:  # also of reports whose sender has gone: sent again, they are new
            self._seen.pop(key, None)
        self._noted.clear()

    def _refuse(self, items: Sequence[Item], refused: Refused) -> None:
        for item in items:
            if isinstance(item, Waiting | Forgetting):
                self._answer(item, refused)

    def _groups_of(self, body: str, decision: Decision) -> list[str]:
        return sorted(self.policy.groups_of(body) & decision.levels.keys())

    def _note(
        self, disclosed: list[tuple[Taken, Disclosed]], sealed: list[Sealed], times_ns: tuple[int, int, int, int]
    ) -> None:
        began_ns, decided_ns, sealed_ns, stored_ns = times_ns
        for taken, found in disclosed:
            decision = found.decision
            self.metrics.decisions.labels(found.recipient, found.outcome).inc()
            if found.held_ns is not None and found.outgoing is not None:
                self._note_hold(found.outgoing, found.held_ns)
            if decision.fault:
                self._note_fault(taken, found.recipient, decision)
            self.audit.note(
                "decided",
                message=taken.key.hex()[:32],
                recipient=found.recipient,
                outcome=found.outcome,
                rules=list(decision.rule_ids),
                body=taken.body,
                levels={group: decision.levels[group].label for group in self._groups_of(taken.body, decision)},
                policy=decision.policy_version,
                digest=decision.policy_digest,
                fault=decision.fault or "",
            )
        for item in sealed:
            labels = self._labels(item.outgoing)
            self.metrics.passed("3-seal", labels)
            self.metrics.took(Leg.DECIDE, labels, decided_ns - began_ns)
            self.metrics.took(Leg.SEAL, labels, sealed_ns - decided_ns)
            self.metrics.took(Leg.OUTBOX, labels, stored_ns - sealed_ns)

    def _note_fault(self, taken: Taken, recipient: str, decision: Decision) -> None:
        """Raise the alarm over a denial that no rule asked for."""
        self.metrics.decision_faults.labels(recipient).inc()
        log.critical(
            "deciding for %s failed, policy version=%d: %s", recipient, decision.policy_version, decision.fault
        )
        if ENGINES_DISAGREE in decision.rule_ids:
            self.metrics.engine_disagreements.labels(recipient).inc()
            self.audit.note(
                "engines-disagree",
                message=taken.key.hex()[:32],
                recipient=recipient,
                policy=decision.policy_version,
                digest=decision.policy_digest,
                fault=decision.fault,
            )

    def _note_hold(self, outgoing: Outgoing, held_ns: int) -> None:
        """Note a policy delay, in wall time: a leg of its own. Never below zero, for it was due after it came."""
        self.metrics.took(Leg.HOLD, self._labels(outgoing), held_ns)

    def _labels(self, outgoing: Outgoing) -> Labels:
        mode, precedence = mode_label(outgoing.content.header.mode), precedence_label(outgoing.precedence)
        return self.us, outgoing.recipient, precedence, mode


def _session_name(scope: Scope) -> str:
    return f"{scope.mode}/{scope.exercise_id}/{scope.system}/{scope.session}"


def scope_of(record: journal_pb2.IntakeRecord) -> Scope:
    """Return within what the recorded message's ids are unique."""
    header = record.content.header
    return Scope(header.mode, header.exercise.exercise_id, record.system, record.session)


def taken_again(record: journal_pb2.IntakeRecord, key: bytes) -> Taken:
    """Return the recorded message as intake accepted it."""
    return Taken(
        content=record.content,
        precedence=record.precedence,
        label=record.label,
        scope=scope_of(record),
        received_ns=nanoseconds(record.received_at),
        key=key,
        digest=b"",
    )


def _outbox_record(sealed: Sealed) -> NewRecord:
    return NewRecord(OUTBOX, sealed.identity, sealed.digest, sealed.envelope, lane=sealed.outgoing.line.lane)
