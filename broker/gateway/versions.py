"""A message and its corrections: which there are, and which of them a recipient holds.

What a recipient holds is asked by the ids that reports name: that answer is there also after a lost outbox was read
back, when the reports themselves are gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker import limits
from broker.clock import nanoseconds
from broker.gateway.about import target_of
from broker.gateway.ids import intake_key
from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.gateway.ids import Scope
    from broker.gateway.intake import Taken
    from broker.gateway.ledger import Issued, Ledger


@dataclass(frozen=True, slots=True)
class Versions:
    """Asks the ledger, for one report: what is the same for all its recipients once. All methods raise StoreError."""

    ledger: Ledger
    _found: dict[tuple[bytes, ...], list[bytes]] = field(default_factory=dict)  # by the ancestors
    _ancestors: dict[bytes, list[bytes]] = field(default_factory=dict)

    async def of(self, scope: Scope, ancestors: Sequence[bytes]) -> list[bytes]:
        """Return the system's ids of a message, all that it corrects and all that corrects any of them, oldest first.

        `ancestors` are the message's own id and what it corrects, newest first. What nobody remembers is the oldest.
        """
        if (known := self._found.get(tuple(ancestors))) is not None:
            return known
        received_ns = dict.fromkeys(reversed(ancestors), 0)
        first = intake_key(scope, ancestors[-1])
        for key in (first, *self.ledger.corrections_of(first)):
            record = await self.ledger.intake(key)
            if record is not None:
                received_ns[record.content.header.message_id] = nanoseconds(record.received_at)
        found = self._found[tuple(ancestors)] = sorted(received_ns, key=received_ns.__getitem__)
        return found

    async def replaced(self, taken: Taken, target: bytes) -> list[bytes]:
        """Return the system's ids of what a correction of the target replaces, oldest first."""
        versions = await self.of(taken.scope, await self.ancestors(taken.scope, target))
        keys = {local: intake_key(taken.scope, local) for local in versions}
        return [local for local, key in keys.items() if key != taken.key and not self.ledger.is_cancelled(key)]

    async def holds(self, scope: Scope, recipient: str, versions: Sequence[bytes]) -> list[Issued]:
        """Return what the recipient holds of a message's versions, oldest first.

        A bare CANCELS under the id of a correction took back all that came before it. Where there were more versions
        than are remembered, the first one that the recipient holds is among them all the same.
        """
        found: list[Issued] = []
        first = self._first(scope, recipient, versions)
        if first is not None and first not in versions:
            versions = [versions[0], first, *versions[1:]]
        for local in versions:
            if local == first:
                found.clear()  # it went as new
            issued = await self.ledger.sealed(recipient, scope, local)
            if issued is not None and issued.content.WhichOneof("body"):
                found.append(issued)
            elif issued is not None:
                found.clear()
        return found

    def _first(self, scope: Scope, recipient: str, versions: Sequence[bytes]) -> bytes | None:
        """Return the correction that the recipient was sent as a new message, if that corrects the oldest of these."""
        if not versions:
            return None
        oldest = intake_key(scope, versions[0])
        first = self.ledger.first_of(recipient, self.ledger.root_of(oldest))
        if first is None or not self.ledger.is_correction_of(intake_key(scope, first), oldest):
            return None
        return first

    async def ancestors(self, scope: Scope, local: bytes) -> list[bytes]:
        """Return the system's ids of a message and of what it corrects, newest first."""
        if (known := self._ancestors.get(local)) is not None:
            return known
        chain = self._ancestors[local] = [local]
        while len(chain) <= limits.CORRECTIONS_MAX:
            record = await self.ledger.intake(intake_key(scope, chain[-1]))
            if record is None:
                break
            older = target_of(record.content.header.references, content_pb2.RELATION_CORRECTS)
            if older is None or older in chain:
                break
            chain.append(older)
        return chain

    async def newest_sealed(self, scope: Scope, recipient: str, local: bytes) -> content_pb2.Content | None:
        """Return the newest of a message and of what it corrects that was sealed to the recipient, if that shows it."""
        for candidate in await self.ancestors(scope, local):
            issued = await self.ledger.sealed(recipient, scope, candidate)
            if issued is not None:
                return issued.content if issued.content.WhichOneof("body") else None
        return None
