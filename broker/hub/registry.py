"""What nations have registered to be held to: their invariants, signed by their security officers, kept for good.

A nation's gateway registers them when it connects and when they change. The hub believes the gateway nothing: it checks
the signatures against the members document in force, and that no older version comes back. What it has taken is in the
store before the gateway is told so, and is read again at the next start.

A document that this version of the hub cannot read any more, after an upgrade that changed the agreement, is not in
force: nobody could say what it means, and refusing everything would silence the nation. The log and a metric say so,
and its number still counts: only a greater one can follow.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Final

from broker import known, limits
from broker.document import PolicyError
from broker.hub.commit import refusal_of
from broker.hub.promises import Promises
from broker.hub.when import NotPlainError
from broker.invariants import PAYLOAD_TYPE, Invariants
from broker.refusal import Reason, Refused
from broker.store import StoreError
from certs.dsse import DocumentError
from certs.roster import Duty
from certs.signature import verify_document
from vedette.v1.exchange_pb2 import Registered, Registration

if TYPE_CHECKING:
    from broker.audit import AuditTrail
    from broker.hub.metrics import HubMetrics
    from broker.store import Store
    from certs.identity import MemberId
    from certs.roster import Member

log = logging.getLogger(__name__)

STATE_PREFIX: Final = "invariants/"


class Registry:
    """The invariants in force, by nation."""

    def __init__(self, store: Store, metrics: HubMetrics, audit: AuditTrail) -> None:
        """Begin with none; `load` reads what was registered."""
        self._store, self._metrics, self._audit = store, metrics, audit
        self._promises: dict[str, Promises] = {}

    @classmethod
    async def load(cls, store: Store, metrics: HubMetrics, audit: AuditTrail) -> Registry:
        """Return the registry as it was. Raises StoreError."""
        registry = cls(store, metrics, audit)
        for name, data in (await store.state(STATE_PREFIX)).items():
            code = name.removeprefix(STATE_PREFIX)
            try:
                registry._take(code, _read(code, Registration.FromString(data).document))
            except Refused as refused:
                log.critical("the invariants of %s cannot be read by this version: %s", code, refused.detail)
                metrics.guard_version.labels(code).set(0)
                audit.note("invariants-unreadable", origin=code, detail=refused.detail)
        return registry

    def of(self, origin: str) -> Promises | None:
        """Return what a nation promises, if it has registered anything."""
        return self._promises.get(origin)

    async def register(self, member: Member, registration: Registration) -> Registered:
        """Take over a member's invariants, durably. Raises Refused: then what was in force stays."""
        code, payload = member.code, registration.document
        # R.1 not longer than such documents are, before anything is read from them
        if len(payload) > limits.POLICY_BYTES_MAX or len(registration.signatures) > limits.SIGNATURE_BYTES_MAX:
            raise Refused(Reason.REASON_TOO_LARGE, f"at most {limits.POLICY_BYTES_MAX} bytes")
        # R.2 signed by as many of its security officers as must
        _check_signed(member, registration)
        in_force = self._promises.get(code)
        if in_force is None or in_force.document.digest != _digest_of(payload):
            # R.3 it reads, and every condition is one that can be judged here; in a thread: warnings do not wait for it
            promises = await asyncio.to_thread(_read, code, payload)
            # R.4 no older one, and no other of the same number
            await self._check_newer(promises.document)
            # R.5 durable
            await self._keep(code, promises, registration)
            self._take(code, promises)
        document = self._promises[code].document
        return Registered(version=document.version, digest=document.digest)

    async def _check_newer(self, document: Invariants) -> None:
        try:
            state = await self._store.state(known.PREFIX)
        except StoreError as error:
            raise refusal_of(error) from error
        name = _name(document.nation)
        if cause := known.against(state, name, document):
            is_older = document.version < known.version_of(state, name)
            raise Refused(Reason.REASON_REPLAYED if is_older else Reason.REASON_CONFLICT, cause)

    async def _keep(self, code: MemberId, promises: Promises, registration: Registration) -> None:
        state = known.entry(_name(code), promises.document)
        state[STATE_PREFIX + code] = registration.SerializeToString()
        try:
            await self._store.append([], state=state)
        except StoreError as error:
            raise refusal_of(error) from error

    def _take(self, code: str, promises: Promises) -> None:
        self._promises[code] = promises
        document = promises.document
        log.warning("invariants origin=%s version=%d digest=%s in force", code, document.version, document.digest)
        self._metrics.guard_version.labels(code).set(document.version)
        self._audit.note("invariants-in-force", origin=code, version=document.version, digest=document.digest)


def _name(code: str) -> str:
    return f"{known.INVARIANTS}/{code}"


def _digest_of(payload: bytes) -> str:
    return "sha256:" + hashlib.sha256(payload).hexdigest()


def _check_signed(member: Member, registration: Registration) -> None:
    keys, needed = member.officer_keys(Duty.SECURITY), member.approvals[Duty.SECURITY]
    try:
        verify_document(PAYLOAD_TYPE, registration.document, registration.signatures, keys, needed)
    except DocumentError as error:
        raise Refused(Reason.REASON_NOT_SIGNED, f"by your security officers: {error}") from error


def _read(code: str, payload: bytes) -> Promises:
    """Return a nation's invariants, ready to be judged. Raises Refused."""
    try:
        return Promises(Invariants.parse(payload.decode(), nation=code))
    except UnicodeDecodeError as error:
        raise Refused(Reason.REASON_MALFORMED, "not UTF-8") from error
    except (PolicyError, NotPlainError) as error:
        raise Refused(Reason.REASON_MALFORMED, str(error)) from error
