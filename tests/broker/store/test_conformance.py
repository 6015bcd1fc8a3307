"""Every store keeps every promise; and the suite notices when one does not."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from broker.conformance.store import check_store
from broker.store.memory import Kept, open_memory
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path

    from broker.store import Store


async def test_the_sqlite_store_passes_the_conformance_suite(tmp_path: Path) -> None:
    await check_store(open_sqlite, tmp_path)


async def test_the_memory_store_passes_the_conformance_suite(tmp_path: Path) -> None:
    disks: dict[Path, Kept] = defaultdict(Kept)

    async def open_kept(path: Path) -> Store:
        return await open_memory(disks[path])

    await check_store(open_kept, tmp_path)
