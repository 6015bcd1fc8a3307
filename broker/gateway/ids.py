"""Ids that are made anew for each recipient, so that no id tells one nation what another was shown.

An id is the first 16 bytes of HMAC-SHA-256(gateway secret, kind, mode, exercise, recipient, system, local id, session),
each part with its length before it. The same message to the same recipient always gets the same id, also after a
restart; the secret is kept with the keys and not in the outbox, so that a lost disk does not change it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from broker import limits
from broker.envelope import length_prefixed


class Kind(Enum):
    """What an id names; ids of different kinds never meet."""

    MESSAGE = b"message"
    EVENT = b"event"
    OBJECT = b"object"
    NOTICE = b"notice"
    CANARY = b"canary"


@dataclass(frozen=True, slots=True)
class Scope:
    """Within what a system's own ids are unique."""

    mode: int
    exercise_id: str
    system: str
    session: str


@dataclass(frozen=True, slots=True)
class Ids:
    """Makes ids. `salt` is empty but for an outbox that began without knowing what an earlier one had sealed."""

    secret: bytes
    salt: bytes = b""

    def of(self, kind: Kind, scope: Scope, *, recipient: str, local: bytes) -> bytes:
        """Return the 16-byte id under which `recipient` knows what the system calls `local`."""
        if kind in _LASTING:
            return _remembered(self, kind, scope, recipient, local)
        return self._make(kind, scope, recipient, local)

    def _make(self, kind: Kind, scope: Scope, recipient: str, local: bytes) -> bytes:
        before, after = _around(kind, scope, recipient)
        parts = before + length_prefixed(local) + after + length_prefixed(self.salt)
        made = _keyed(self.secret).copy()  # one call of hmac.digest lets go of the interpreter's lock, which costs more
        made.update(parts)
        return made.digest()[: limits.ID_BYTES]


SCOPES_REMEMBERED: Final = 4096  # sessions times recipients that speak at the same time; more only cost time
# An event or an object is named again in every report about it; a message only once.
_LASTING: Final = frozenset({Kind.EVENT, Kind.OBJECT})


@lru_cache(maxsize=8)
def _keyed(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod=hashlib.sha256)


@lru_cache(maxsize=SCOPES_REMEMBERED)
def _around(kind: Kind, scope: Scope, recipient: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the local id: the same for all messages of one session to one recipient."""
    before = length_prefixed(
        b"vedette/v1/id",
        kind.value,
        scope.mode.to_bytes(4, "big"),
        scope.exercise_id.encode(),
        recipient.encode(),
        scope.system.encode(),
    )
    return before, length_prefixed(scope.session.encode())


@lru_cache(maxsize=limits.OBJECTS_MAX * 4)
def _remembered(ids: Ids, kind: Kind, scope: Scope, recipient: str, local: bytes) -> bytes:
    return ids._make(kind, scope, recipient, local)


def intake_key(scope: Scope, local: bytes) -> bytes:
    """Return the 32-byte key under which this gateway itself keeps a system's message."""
    return hashlib.sha256(_of_session(scope) + length_prefixed(local)).digest()


@lru_cache(maxsize=SCOPES_REMEMBERED)
def _of_session(scope: Scope) -> bytes:
    return length_prefixed(
        b"vedette/v1/intake",
        scope.mode.to_bytes(4, "big"),
        scope.exercise_id.encode(),
        scope.system.encode(),
        scope.session.encode(),
    )


@lru_cache(maxsize=limits.OBJECTS_MAX * 4)
def lasting_key(scope: Scope, kind: bytes, local: bytes) -> bytes:
    """Return the key of what is named again in every report about it: an event, an object."""
    return intake_key(scope, kind + b":" + local)
