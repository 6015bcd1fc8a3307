"""What the documents point to is there: links, decisions, tests, modules, commands with their options."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from broker.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "protos/*.md", "broker/**/*.md", "nations/**/*.md", "docs/**/*.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def headings(path: Path) -> set[str]:
    """Return the anchors of a page, as browsers of Markdown make them."""
    lines = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (path.parent / file) if file else path
        assert there.exists(), f"{target} is not there"
        if anchor:
            assert anchor in headings(there), f"{target}: no such heading"


def test_every_decision_is_in_the_list_and_the_other_way_round() -> None:
    folder = ROOT / "docs" / "adr"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in folder.glob("0*.md"))


def test_every_threat_names_a_test_that_exists_and_every_such_test_is_named() -> None:
    named = re.findall(r"^\| T(\d+) \|.*\| `(test_t(\d+)_\w+\.py)` \|$", security(), re.MULTILINE)
    assert [int(number) for number, _, _ in named] == list(range(1, len(named) + 1))
    assert all(int(number) == int(in_name) for number, _, in_name in named)
    present = {path.name for path in (ROOT / "tests" / "threats").glob("test_t*.py")}
    assert {name for _, name, _ in named} == present


def test_every_module_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "broker" / "README.md").read_text(encoding="utf-8")
    modules = {path.stem for path in (ROOT / "broker").rglob("*.py")} | {
        path.name for path in (ROOT / "broker").rglob("*") if path.is_dir()
    }
    section = text.split("## Folder by folder")[1].split("## Where to start")[0]
    for name in re.findall(r"`([a-z_]+)`", section):
        assert name in modules | {"certs"}, f"{name} is no module of ours"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_shows_exists_with_its_options(path: Path) -> None:
    for line in re.findall(r"(?:^|`)vedette ([a-z][^`#\n]*)", path.read_text(encoding="utf-8"), re.MULTILINE):
        command: click.Command = main
        for word in line.split():
            if isinstance(command, click.Group) and not word.startswith("-"):
                found = command.get_command(click.Context(command), word.rstrip(",.;"))
                assert found is not None, f"vedette {line}: no command {word}"
                command = found
            elif word.startswith("--"):
                known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
                assert word.partition("=")[0] in known, f"vedette {line}: no option {word}"


def test_the_command_of_the_other_language_that_the_readme_shows_is_one_that_it_takes() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^    node (\S+) (\w+) (.*)$", readme, re.MULTILINE)
    assert {verb for _, verb, _ in commands} == {"report", "watch"}
    for script, _, rest in commands:
        source = (ROOT / script).read_text(encoding="utf-8")
        known = set(re.findall(r"^  '?([a-z-]+)'?: \{ type:", source, re.MULTILINE))
        assert set(re.findall(r"--([a-z-]+)", rest)) <= known


def security() -> str:
    return (ROOT / "SECURITY.md").read_text(encoding="utf-8")
