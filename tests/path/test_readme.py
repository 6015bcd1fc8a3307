"""What the README says to type works as it stands there: only the ports are others, for tests side by side."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from broker.demo.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

REPOSITORY: Final = Path(__file__).parents[2]
README: Final = (REPOSITORY / "README.md").read_text(encoding="utf-8")
HUB: Final = "7440"
GATEWAY: Final = "7441"
WAIT_S: Final = 60.0


def commands() -> list[str]:
    """Return what stands under "Run it"."""
    section = README.partition("\n## Run it\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (.+)$", section, re.MULTILINE)


def snippet() -> str:
    """Return the program in Python."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {HUB: free_port(), GATEWAY: free_port()}


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Path]:
    """Give a folder like the repository in which everything but the doctor was typed, and runs."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "nations").symlink_to(REPOSITORY / "nations")
    (folder / "deploy" / "settings").mkdir(parents=True)
    for file in (REPOSITORY / "deploy" / "settings").iterdir():
        text = file.read_text(encoding="utf-8")
        for shown, port in ports.items():
            text = text.replace(f":{shown}", f":{port}")
        (folder / "deploy" / "settings" / file.name).write_text(text, encoding="utf-8")
    serving = [line.removesuffix(" &") for line in commands() if line.endswith(" &")]
    assert [shlex.split(line)[1] for line in serving] == ["hub", "gateway"]
    shell(folder, *(line for line in commands() if not line.endswith(" &") and "doctor" not in line))
    processes = [
        Process(name, (name, option, str(folder / settings)), folder / f"{name}.log", port)
        for (_, name, option, settings), port in zip(map(shlex.split, serving), ports.values(), strict=True)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait()
        yield folder
    finally:
        for process in processes:
            process.kill()


def shell(folder: Path, *lines: str) -> str:
    """Type lines into a shell; each must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "\n".join(("set -e", *lines))
    done = subprocess.run(  # noqa: S603 - what our own README says
        ["/bin/sh", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@asynccontextmanager
async def program(folder: Path, source: str) -> AsyncIterator[asyncio.StreamReader]:
    """Give what a program in Python writes that does not end by itself."""
    file = folder / "program.py"
    file.write_text(source, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(file), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def test_run_it_as_the_readme_says_and_the_doctor_finds_nothing_wrong(typed: Path) -> None:
    (doctor,) = [line for line in commands() if "doctor" in line]
    assert "MEND" not in shell(typed, doctor)


async def test_the_program_that_the_readme_shows_reports_and_watches(typed: Path, ports: dict[str, int]) -> None:
    source = snippet()
    assert f"localhost:{GATEWAY}" in source
    source = source.replace(f"localhost:{GATEWAY}", f"localhost:{ports[GATEWAY]}")
    async with program(typed, source) as out, asyncio.timeout(WAIT_S):
        assert (await out.readline()).startswith(b"durable at the gateway")
        assert (await out.readline()).split() == [b"link"]
        while line := (await out.readline()).split():
            if line == [b"warning", b"HUB"]:  # the picture, made from what the program reported
                return
        pytest.fail("it ended by itself")
