"""The set of messages of one View, and which of them stand.

A message stands if it is here, was not cancelled, and no standing chain of corrections took its place. All of this is a
function of the set: what comes first does not matter.

* A duplicate (origin, message_id) changes nothing.
* CORRECTS takes the named message's place. If the correction is cancelled, the message it corrected stands again, for
  then the correction was never there.
* CANCELS removes the named message and everything that corrects it, for ever, whatever becomes of the message that
  carries it; a cancellation that comes before its target waits as a tombstone.

References count only within one origin: nobody takes back another's word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from broker.fusion.contribution import Contribution, MessageKey, NodeKey

__all__ = ["TOMBSTONES_MAX", "Change", "Ledger"]

# Of one origin, so that a flood by one makes nobody else's be forgotten. The oldest is forgotten beyond it: 180 s of
# cancellations at the 200 messages a second that a gateway is made for, at which nothing else is said.
TOMBSTONES_MAX: Final = 36_000

Change = tuple[list["Contribution"], list["Contribution"]]  # what stands now, and what no longer does


class Ledger:
    """Messages by identity, with their corrections and cancellations."""

    def __init__(self) -> None:
        """Start empty."""
        self.messages: dict[MessageKey, Contribution] = {}
        self.tombstones: dict[str, dict[bytes, None]] = {}  # by origin, oldest first
        self._correctors: dict[MessageKey, set[MessageKey]] = {}

    def add(self, contribution: Contribution) -> Change:
        """Take a message in; say what stands now that did not, and the other way round."""
        key = contribution.message_key
        if key in self.messages:
            return [], []
        if not contribution.corrects and not contribution.cancels and key not in self._correctors:
            # What nearly always comes: it speaks of no other, and no other has spoken of it but to cancel it.
            self.messages[key] = contribution
            return ([], []) if self.is_cancelled(key) else ([contribution], [])
        touched = self._touched_by(contribution)
        before = {other for other in touched if self.stands(other)}
        self.messages[key] = contribution
        for target in contribution.corrects:
            self._correctors.setdefault((contribution.origin, target), set()).add(key)
        if contribution.cancels:
            own = self.tombstones.setdefault(contribution.origin, {})
            own.update(dict.fromkeys(contribution.cancels))
            while len(own) > TOMBSTONES_MAX:
                del own[next(iter(own))]
        after = {other for other in touched if self.stands(other)}
        return self._contributions(after - before), self._contributions(before - after)

    def retract(self, key: MessageKey, tombstones: Iterable[MessageKey]) -> None:
        """Undo `add`, when what followed it failed: the message and the tombstones that only it set."""
        self.forget([key])
        for origin, target in tombstones:
            self.tombstones.get(origin, {}).pop(target, None)

    def is_cancelled(self, key: MessageKey) -> bool:
        """Say whether a cancellation named this very message."""
        return key[1] in self.tombstones.get(key[0], ())

    def standing(self) -> list[Contribution]:
        """Return every message that stands, in fold order."""
        return self._contributions({key for key in self.messages if self.stands(key)})

    def of_nodes(self, nodes: Container[NodeKey]) -> list[Contribution]:
        """Return every message about these events, standing or not, in fold order."""
        return self._contributions({key for key, one in self.messages.items() if one.node_key in nodes})

    def tied(self, contributions: Iterable[Contribution]) -> list[Contribution]:
        """Return messages with those that corrections tie to them and that do not stand, whatever event they name.

        They are put away together: one without the other would stand again.
        """
        found = {contribution.message_key for contribution in contributions}
        waiting = list(found)
        while waiting:
            one = waiting.pop()
            known = self.messages.get(one)
            near = list(self._correctors.get(one, ()))
            near += [(one[0], target) for target in known.corrects] if known else []
            for other in near:
                if other not in found and other in self.messages and not self.stands(other):
                    found.add(other)
                    waiting.append(other)
        return self._contributions(found)

    def forget(self, keys: Iterable[MessageKey]) -> None:
        """Let messages go whose effect is no longer needed. Their tombstones stay."""
        for key in keys:
            contribution = self.messages.pop(key, None)
            if contribution is None:
                continue
            for target in contribution.corrects:
                correctors = self._correctors.get((contribution.origin, target))
                if correctors is not None:
                    correctors.discard(key)
                    if not correctors:
                        del self._correctors[contribution.origin, target]

    def stands(self, key: MessageKey) -> bool:
        """Say whether a message is here, not cancelled and not corrected."""
        if key not in self.messages or self._is_cancelled(key):
            return False
        return all(self._is_cancelled(corrector) for corrector in self._correctors.get(key, ()))

    def _is_cancelled(self, key: MessageKey) -> bool:
        """Say whether a message, or one that it corrects in however many steps, was cancelled."""
        seen, waiting = {key}, [key]
        while waiting:
            one = waiting.pop()
            if self.is_cancelled(one):
                return True
            contribution = self.messages.get(one)
            for target in contribution.corrects if contribution else ():
                above = (one[0], target)
                if above not in seen:
                    seen.add(above)
                    waiting.append(above)
        return False

    def _touched_by(self, contribution: Contribution) -> set[MessageKey]:
        """Return every message whose standing the new one may change: chains of corrections, up and down."""
        origin = contribution.origin
        waiting = [contribution.message_key]
        waiting += [(origin, target) for target in (*contribution.corrects, *contribution.cancels)]
        touched: set[MessageKey] = set()
        while waiting:
            one = waiting.pop()
            if one in touched:
                continue
            touched.add(one)
            waiting += self._correctors.get(one, ())
            known = self.messages.get(one)
            waiting += [(origin, target) for target in known.corrects] if known else []
        return touched

    def _contributions(self, keys: set[MessageKey]) -> list[Contribution]:
        """Return messages in fold order."""
        return sorted((self.messages[key] for key in keys), key=lambda contribution: contribution.key)
