"""What the fusion core reaches: accuracy against the bound, salvos, lies, speed. A module per part, each with `rows()`.

`make bench BENCH=fusion` runs every part; `BENCH="fusion salvo"` the one of that name. Tuned on some seeds, reported on
others: `docs/fusion.md` says which.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.figures import Row


class Part(Protocol):
    """A part of the report. It prints what it is doing; a row comes as soon as it is measured."""

    def rows(self) -> Iterator[Row]: ...


def parts() -> list[str]:
    """Return the names of all parts."""
    return sorted(found.name for found in iter_modules(__path__))


def rows(name: str) -> Iterator[Row]:
    """Measure one part."""
    part: Part = import_module(f"{__name__}.{name}")
    return part.rows()
