"""Worlds for adversaries: real keys, certificates, documents and stores under a temporary folder."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.demo.world import World, make_world
from certs.issue import Authority, authority
from tests.threats.parties import captive, honest_hub, origin_side

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from certs.members import Members
    from tests.threats.parties import Captive, HonestHub, Origin


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose keys are made once; nothing ever runs in it."""
    return make_world(tmp_path_factory.mktemp("template") / "world", pictures=False)


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """A world of its own for each test, with the template's keys and ports: nothing runs yet."""
    folder = tmp_path / "world"
    shutil.copytree(template.folder, folder)
    return replace(template, folder=folder, authority=Authority(folder / "certs"))


@pytest.fixture
async def origin(world: World) -> AsyncIterator[Origin]:
    """KOR's steps 1 to 4; its clock stands still."""
    async with origin_side(world, "KOR") as side:
        yield side


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Keys and certificates for tests that run nothing."""
    return authority(tmp_path_factory.mktemp("threats") / "certs")


@pytest.fixture(scope="session")
def members(keys: Authority) -> Members:
    return keys.members()


@pytest.fixture(scope="session")
def now_ns() -> int:
    return time.time_ns()


@pytest.fixture
async def hub(world: World) -> AsyncIterator[HonestHub]:
    async with honest_hub(world) as running:
        yield running


@pytest.fixture
async def jpn(world: World) -> AsyncIterator[Captive]:
    """JPN's gateway at a hub that lies."""
    async with captive(world) as running:
        yield running
