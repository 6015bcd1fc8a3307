"""The three nations, one at a time."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from broker.plugin import Nation


@pytest.fixture(params=["kor", "usa", "jpn"])
def nation(request: pytest.FixtureRequest) -> Nation:
    found: Nation = import_module(f"nations.{request.param}").NATION
    return found
