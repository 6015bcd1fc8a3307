"""docs/policy-tutorial.md is typed as it stands there, against a real gateway: only the port is another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from broker.demo.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parents[2]
TUTORIAL: Final = REPOSITORY / "docs" / "policy-tutorial.md"
GATEWAY: Final = "7441"
WAIT_S: Final = 280.0  # it takes twenty seconds where nothing else runs
MARK: Final = "=== line"


class Step(NamedTuple):
    """Lines that are typed, with how each ends, and what is to be seen of what they write."""

    lines: list[str]
    seen: list[str]


def steps(text: str) -> Iterator[Step]:
    """Yield the indented lines that stand together, each with the boxes that follow before the next."""
    step = Step([], [])
    inside = False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside:
            step.seen.append(line)
        elif line.startswith("    "):
            if step.seen:
                yield step
                step = Step([], [])
            step.lines.append(line.strip())
    yield step


def expected(line: str) -> int:
    """Return how a line says that it ends."""
    found = re.search(r"# ends with (\d)$", line)
    return int(found[1]) if found else 0


def pattern(line: str) -> str:
    """Return what matches a line of a box, in which … stands for anything."""
    return ".*".join(re.escape(part) for part in line.strip().split("…"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder like the repository, in which things may be made."""
    port = free_port()
    (tmp_path / "nations").symlink_to(REPOSITORY / "nations")
    (tmp_path / "deploy" / "settings").mkdir(parents=True)
    text = (REPOSITORY / "deploy" / "settings" / "gateway.toml").read_text(encoding="utf-8")
    (tmp_path / "deploy" / "settings" / "gateway.toml").write_text(
        text.replace(f":{GATEWAY}", f":{port}").replace(":7440", f":{free_port()}"), encoding="utf-8"
    )
    (tmp_path / "port").write_text(str(port), encoding="ascii")
    return tmp_path


def typed(folder: Path, lines: list[str]) -> list[tuple[int, str]]:
    """Type lines into one shell; return how each ended, and what it wrote."""
    port = (folder / "port").read_text(encoding="ascii")
    script = ["set +e", "trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for number, line in enumerate(lines):
        script += [f"echo '{MARK} {number}'", line.replace(f":{GATEWAY}", f":{port}"), 'echo "=== ended $?"']
    (folder / "typed.sh").write_text("\n".join(script), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (folder / "written").open("w", encoding="utf-8") as out:
        subprocess.run(  # noqa: S603 - what our own tutorial says
            ["/bin/bash", str(folder / "typed.sh")],
            cwd=folder,
            env=os.environ | {"PATH": path},
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=WAIT_S,
            check=False,
        )
    parts = (folder / "written").read_text(encoding="utf-8").split(MARK)[1:]
    found = [re.fullmatch(r" \d+\n(.*)=== ended (\d+)\n.*", part, re.DOTALL) for part in parts]
    return [(int(each[2]), each[1]) for each in found if each is not None]


@pytest.mark.timeout(300)
def test_what_the_tutorial_says_to_type_does_what_it_says(folder: Path) -> None:
    script = list(steps(TUTORIAL.read_text(encoding="utf-8")))
    lines = [line for step in script for line in step.lines]
    ended = typed(folder, lines)
    for line, (code, written) in zip(lines, ended, strict=False):
        assert code == expected(line), f"{line}\nended with {code}:\n{written}"
    assert len(ended) == len(lines)
    at = 0
    for step in script:
        written = "".join(text for _, text in ended[at : at + len(step.lines)])
        at += len(step.lines)
        for seen in step.seen:
            assert re.search(pattern(seen), written), f"not seen after {step.lines[-1]!r}: {seen}\n{written}"
    assert at == len(lines)
    assert sum(len(step.seen) for step in script) > len(script), "the boxes are not empty"
