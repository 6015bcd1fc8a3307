"""Load the one store that the settings name: an entry point in the group `vedette.stores`.

Its value is called with the path of a file in the data folder, in the event loop in which the store is used, and
returns it opened: `async def open_sqlite(path: Path) -> Store`. The path is the store's own, with all that begins so.
Authors of a store try it with `broker.conformance.check_store`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

from broker.claim import LoadError, claimed
from broker.store import Store

GROUP: Final = "vedette.stores"
DEFAULT: Final = "sqlite"

OpenStore: TypeAlias = Callable[[Path], Awaitable[Store]]


def load_store(name: str) -> OpenStore:
    """Return what opens a store of that kind. Raises LoadError."""
    entry = claimed(GROUP, name)
    try:
        opener: OpenStore = entry.load()
    except (ImportError, AttributeError) as error:
        raise LoadError(f"{entry.value}, the store {name}, cannot be imported: {error}") from error
    if not callable(opener):
        raise LoadError(f"{entry.value} is not a function that opens a store")
    return opener
