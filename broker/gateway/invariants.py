"""The nation's invariants at its gateway: read, verified, never without signatures, never an older version.

The file and its signatures (`invariants.sig.json` beside `invariants.yaml`) are looked at again and again. A newer
version takes over only if it parses, is this nation's, is signed by as many of its security officers as the members
document demands, and has a greater number; otherwise the last good one stays. The hub is told of it by `registrar`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker import known, limits
from broker.document import PolicyError
from broker.gateway.policy import LOOK_S, PolicyRefused, signature_path, stamps
from broker.gateway.release.conditions import ConditionError, condition
from broker.invariants import PAYLOAD_TYPE, Invariants
from broker.orders import digest_of
from certs.dsse import DocumentError
from certs.roster import Duty
from certs.signature import verify_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from broker.audit import AuditTrail
    from broker.members import MembersInForce
    from broker.stages import Metrics

log = logging.getLogger(__name__)


class InvariantsRefused(PolicyRefused):
    """Invariants that may not be in force; the text says what to mend."""


@dataclass(frozen=True, slots=True)
class SignedInvariants:
    """A document and its signatures, as their files have them, and what it says."""

    document: bytes
    signatures: bytes
    invariants: Invariants


@dataclass(slots=True)
class InvariantsInForce:
    """The invariants of this nation."""

    path: Path
    nation: str
    members: MembersInForce
    metrics: Metrics
    audit: AuditTrail
    current: SignedInvariants
    _seen: tuple[tuple[int, int], ...] = ()  # the files as they were looked at last, good or not
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def start(
        cls,
        path: Path,
        *,
        nation: str,
        members: MembersInForce,
        metrics: Metrics,
        audit: AuditTrail,
        known_digest: str = "",
    ) -> InvariantsInForce:
        """Begin with the invariants in a file. Raises InvariantsRefused: who names a file means it.

        `known_digest` is of what was in force here before: that begins again though its signers left since.
        """
        read = read_invariants(path, nation=nation, members=members, known_digest=known_digest)
        made = cls(path, nation, members, metrics, audit, read)
        made._seen = stamps(path)
        made._announce()
        return made

    async def watch(self) -> None:
        """Take over newer versions until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            seen = stamps(self.path)
            if seen == self._seen:
                continue
            self._seen = seen
            try:
                newest = await asyncio.to_thread(self._newer)
            except InvariantsRefused as error:
                self._reject(error)
            else:
                self._take(newest)

    async def newer_than(self, signed: SignedInvariants) -> None:
        """Return once others are in force."""
        while self.current is signed:
            self._changed.clear()
            await self._changed.wait()

    def _newer(self) -> SignedInvariants:
        newest = read_invariants(self.path, nation=self.nation, members=self.members)
        new, old = newest.invariants, self.current.invariants
        if new.version <= old.version and new.digest != old.digest:
            raise InvariantsRefused(f"version {new.version} is not greater than {old.version}, in force")
        return newest

    def _take(self, newest: SignedInvariants) -> None:
        if newest.invariants.digest != self.current.invariants.digest:
            self.current = newest
            self._changed.set()
            self._announce()

    def _reject(self, error: InvariantsRefused) -> None:
        log.error("invariants not taken over: %s", error)
        self.metrics.policy_rejected.inc()
        self.audit.note("invariants-rejected", reason=str(error)[: limits.DETAIL_CHARS_MAX])

    def _announce(self) -> None:
        invariants = self.current.invariants
        log.warning("invariants version=%d digest=%s in force", invariants.version, invariants.digest)
        self.audit.note("invariants-in-force", version=invariants.version, digest=invariants.digest)


def promised(invariants: InvariantsInForce | None, state: Mapping[str, bytes]) -> Callable[[], str | None]:
    """Return what gives the text that drafts are proved against; None where this gateway never had any.

    Where it had, and the settings name none any more, it raises PolicyRefused: whoever writes the settings is no
    officer. The officers sign an empty list if they promise nothing any more.
    """

    def text() -> str | None:
        if invariants is not None:
            return invariants.current.document.decode()
        if version := known.version_of(state, known.INVARIANTS):
            raise PolicyRefused(
                f"invariants version {version} were in force here, and the gateway's settings name none"
            )
        return None

    return text


def read_invariants(path: Path, *, nation: str, members: MembersInForce, known_digest: str = "") -> SignedInvariants:
    """Return the invariants in a file, if enough security officers signed these bytes. Raises InvariantsRefused.

    Those of `known_digest` were in force here, and so were signed by enough who were officers then.
    """
    document, signatures = _read(path)
    member = members.current.members.get(nation)  # type: ignore[call-overload] # a MemberId
    if member is None:
        raise InvariantsRefused(f"{nation} is not in the members document")
    keys, needed = member.officer_keys(Duty.SECURITY), member.approvals[Duty.SECURITY]
    try:
        if digest_of(document) != known_digest:
            verify_document(PAYLOAD_TYPE, document, signatures, keys, needed)
        invariants = Invariants.parse(document.decode(), nation=nation)
        for each in invariants.invariants:
            _check_condition(each.invariant_id, each.when)
    except UnicodeDecodeError as error:
        raise InvariantsRefused(f"{path.name}: is not UTF-8") from error
    except DocumentError as error:
        raise InvariantsRefused(f"{path.name}: by its security officers: {error}") from error
    except PolicyError as error:
        raise InvariantsRefused(f"{path.name}: {error}") from error
    return SignedInvariants(document, signatures, invariants)


def _check_condition(invariant_id: str, when: str) -> None:
    try:
        condition(when)
    except ConditionError as error:
        raise InvariantsRefused(f"{invariant_id}: when: {error}") from error


def _read(path: Path) -> tuple[bytes, bytes]:
    try:
        with path.open("rb") as document, signature_path(path).open("rb") as signatures:
            # One more than allowed: too long is refused, not cut.
            return document.read(limits.POLICY_BYTES_MAX + 1), signatures.read(limits.SIGNATURE_BYTES_MAX + 1)
    except OSError as error:
        raise InvariantsRefused(
            f"{error.filename}: {error.strerror}; invariants and their signatures are both needed"
        ) from error
