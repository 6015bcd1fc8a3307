"""What the tests of the agreement share: its folder, the released descriptors and the `buf` of this environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def protos() -> Path:
    """Return the folder of the agreement."""
    return ROOT / "protos"


@pytest.fixture(scope="session")
def released(protos: Path) -> Path:
    """Return the agreement as it was released: a descriptor set, our options included."""
    return protos / "released" / "v1.binpb"


@pytest.fixture(scope="session")
def buf(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run buf with these arguments. It needs no network and writes nothing outside of the test's folder."""
    beside_python = Path(sys.executable).with_name("buf")
    program = str(beside_python) if beside_python.exists() else shutil.which("buf")
    assert program is not None, "buf comes with the `dev` extra: make test"
    cache = tmp_path_factory.mktemp("buf-cache")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own arguments
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"BUF_CACHE_DIR": str(cache), "HOME": str(cache), "PATH": ""},
        )

    return run


@pytest.fixture
def draft(protos: Path, tmp_path: Path) -> Path:
    """Return a copy of the agreement that a test may spoil."""
    copy = tmp_path / "protos"
    shutil.copytree(protos, copy, ignore=shutil.ignore_patterns("*.py", "*.pyi", "__pycache__", "released"))
    return copy


@pytest.fixture(scope="session")
def readme(protos: Path) -> str:
    """Return the protocol in prose."""
    return (protos / "README.md").read_text(encoding="utf-8")
