"""A real world on this machine: a hub and gateways as processes of their own, real TLS, real stores."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from broker.demo.world import World, make_world, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType


class OpenWorld(Protocol):
    def __call__(self, *, start: Sequence[str] | None = None, **options: object) -> World: ...


@pytest.fixture
def open_world(tmp_path: Path) -> Iterator[OpenWorld]:
    """Give a function that makes a world and runs it until the test ends."""
    with ExitStack() as stack:

        def opened(*, start: Sequence[str] | None = None, **options: object) -> World:
            return stack.enter_context(running(make_world(tmp_path, **options), start))  # type: ignore[arg-type]

        yield opened


@pytest.fixture(scope="session")
def reports() -> ModuleType:
    """Give `reports.py` beside this file: there are no packages in import mode importlib."""
    spec = importlib.util.spec_from_file_location("path_reports", Path(__file__).with_name("reports.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
