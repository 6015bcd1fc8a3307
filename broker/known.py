"""Which documents were in force here: an older one that is put back is not taken up when the process starts again.

While it runs, a process goes from one version of its policy and of the members document to the next and never back.
Whoever can write those files could wait until it starts again, though: the older one bears good signatures, and the
pinned digest is that of the first. So the newest version of each is kept in the store, beside what was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from broker.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.store import Store

PREFIX: Final = "known/"
MEMBERS: Final = "members"
POLICY: Final = "policy"
INVARIANTS: Final = "invariants"
LOOK_S: Final = 0.2
_VERSION_BYTES: Final = 8


class Document(Protocol):
    """A signed document with a number that only grows."""

    @property
    def version(self) -> int:
        """Return its number."""

    @property
    def digest(self) -> str:
        """Return `sha256:…` of what was signed."""


def against(state: Mapping[str, bytes], name: str, document: Document) -> str:
    """Return why a document must not be taken up, from what `Store.state(PREFIX)` returned; "" where it may be."""
    version, digest = version_of(state, name), digest_of(state, name)
    if document.version < version:
        return f"version {document.version} is older than {version}, which was in force here"
    if document.version == version and document.digest != digest:
        return f"another version {version} was in force here"
    return ""


def version_of(state: Mapping[str, bytes], name: str) -> int:
    """Return the greatest version that was in force here; 0 for none."""
    return int.from_bytes(state.get(PREFIX + name, b"")[:_VERSION_BYTES], "big")


def digest_of(state: Mapping[str, bytes], name: str) -> str:
    """Return the digest of the newest that was in force here; "" for none."""
    return state.get(PREFIX + name, b"")[_VERSION_BYTES:].decode()


def entry(name: str, document: Document) -> dict[str, bytes]:
    """Return what `against` must find in the store once the document is in force."""
    return {PREFIX + name: document.version.to_bytes(_VERSION_BYTES, "big") + document.digest.encode()}


def is_newest(state: Mapping[str, bytes], name: str, document: Document) -> bool:
    """Return whether a document is the newest that was in force, from what `Store.state(PREFIX)` returned."""
    return entry(name, document).items() <= state.items()


async def keep_known(store: Store, documents: Callable[[], Mapping[str, Document]]) -> None:
    """Keep which documents are in force, until cancelled."""
    written: dict[str, bytes] = {}
    while True:
        state: dict[str, bytes] = {}
        for name, document in documents().items():
            state |= entry(name, document)
        if state != written:
            with contextlib.suppress(StoreError):  # a full disk: again in a moment
                await store.append([], state=state)
                written = state
        await asyncio.sleep(LOOK_S)
