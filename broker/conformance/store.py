"""What every store must keep: the promises of `broker.store`, each tried on the implementation that is handed in.

Authors of a store run `await check_store(open_my_store, folder)` in their own tests. Each promise gets a folder and a
store of its own; the path handed to `open_store` is a file that does not exist yet, or that the same promise has
closed before. Power loss, kill -9 and a disk that lies cannot be tried from inside the process: those suites are in
tests/broker/store.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.conformance.error import ConformanceError
from broker.conformance.store_keeping import KEEPING
from broker.conformance.store_reading import READING
from broker.conformance.store_writing import WRITING
from broker.conformance.trying import Broken

if TYPE_CHECKING:
    from pathlib import Path

    from broker.store.load import OpenStore

PATIENCE_S = 60.0  # for one promise: on a slow disk a commit takes 10 ms

PROMISES = (*WRITING, *READING, *KEEPING)


async def check_store(open_store: OpenStore, folder: Path, *, patience_s: float = PATIENCE_S) -> None:
    """Try every promise. Raises ConformanceError, which names the first that is broken and says what was seen.

    A promise that takes longer than `patience_s` is broken: most often a record that never came.
    """
    for number, promise in enumerate(PROMISES):
        name = promise.__name__.replace("_", " ")
        home = folder / f"{number:02}"
        home.mkdir(parents=True)
        try:
            async with asyncio.timeout(patience_s):
                await promise(open_store, home / "store")
        except TimeoutError:
            raise ConformanceError(f"{name}: nothing happened for {patience_s:.0f} s") from None
        except Broken as broken:
            raise ConformanceError(f"{name}: {broken}") from broken
