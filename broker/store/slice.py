"""What one turn of reading gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.store import Record


@dataclass(frozen=True, slots=True)
class Slice:
    """Some records in order, and the position up to which there is nothing else to be read."""

    records: list[Record]
    through: int
