"""A development authority, made anew where a test changes it and once where tests only read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from certs import issue

if TYPE_CHECKING:
    from pathlib import Path

    from certs.issue import Authority
    from certs.members import Members


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return issue.authority(tmp_path_factory.mktemp("certs") / "world")


@pytest.fixture(scope="session")
def members(world: Authority) -> Members:
    return world.members()


@pytest.fixture
def own_world(tmp_path: Path) -> Authority:
    return issue.authority(tmp_path / "world", systems=(), watches=())


@pytest.fixture(scope="session")
def now_ns() -> int:
    return time.time_ns()
