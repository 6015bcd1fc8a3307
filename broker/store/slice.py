"""What one turn of reading gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.store import Record


@dataclass(frozen=True, slots=True)
class Slice:
    """Some records in order, and the position up to which there is nothing else to be read.

    `at_end`: it was the stream's last position at that moment.
    """

    records: list[Record]
    through: int
    at_end: bool
