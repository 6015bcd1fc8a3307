"""What a check of a policy found, as people, editors and build systems read it. Pure functions of what was found.

    pretty   for people: each note with its line and a caret under the place
    json     for scripts: one object
    sarif    for code scanning: SARIF 2.1.0 (docs.oasis-open.org/sarif), with the meaning of each code
    github   for GitHub's workflows: one command per note, shown beside the line
    junit    for build servers: one test case per note or test

Text from a policy goes into all of them, so each escapes what its reader would take for more than text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["FORMATS", "Case", "Note", "as_json", "github", "junit", "pretty", "sarif"]

FORMATS: Final = ("pretty", "json", "sarif", "github", "junit")
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
WIDTH_MAX: Final = 120  # of a shown line; of a longer one, what is around the place
NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to be told, and where. Lines and columns count from 1."""

    is_error: bool
    code: str
    line: int
    column: int
    message: str

    @property
    def level(self) -> str:
        """How bad it is: the word is the same in all formats."""
        return "error" if self.is_error else "warning"


@dataclass(frozen=True, slots=True)
class Case:
    """One test case, and why it failed; it passed where there is no reason."""

    name: str
    group: str
    line: int
    failures: tuple[str, ...]


# --- for people -------------------------------------------------------------------------------------------------------

_RED, _YELLOW, _BOLD, _OFF = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"


def pretty(notes: Iterable[Note], file: Path, text: str, *, colour: bool) -> str:
    """Return the notes, each with its source line and a caret, and their numbers. `text` is what stands in the file."""
    lines = text.replace("\r\n", "\n").split("\n")
    told = list(notes)
    shown = [part for note in told for part in _note(note, file, lines, colour=colour)]
    errors = sum(note.is_error for note in told)
    return "\n".join([*shown, f"{errors} errors, {len(told) - errors} warnings"])


def _note(note: Note, file: Path, lines: Sequence[str], *, colour: bool) -> Iterator[str]:
    level, bold, off = (_RED if note.is_error else _YELLOW, _BOLD, _OFF) if colour else ("", "", "")
    place = f"{bold}{file}:{note.line}:{note.column}:{off}"
    yield f"{place} {level}{note.level} {note.code}:{off} {_printable(note.message)}"
    if note.line <= len(lines):
        before, after = lines[note.line - 1][: note.column - 1], lines[note.line - 1][note.column - 1 :]
        if len(before) + len(after) > WIDTH_MAX:
            before = "…" + before[-WIDTH_MAX // 2 :] if len(before) > WIDTH_MAX // 2 else before
            rest = WIDTH_MAX - len(before)
            after = after[:rest] + "…" if len(after) > rest else after
        yield f"{note.line:>6} | {_printable(before + after)}"
        yield f"{'':>6} | {' ' * _width(before)}{level}^{off}"


def _printable(text: str) -> str:
    """Return the text without what would move a terminal's cursor or change its colours."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _width(text: str) -> int:
    return sum(
        2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text if not unicodedata.combining(each)
    )


# --- for programs -----------------------------------------------------------------------------------------------------


def as_json(file: Path, record: Mapping[str, object]) -> str:
    """Return one JSON object: the file, and what was found in it."""
    return json.dumps({"file": file.as_posix(), **record}, ensure_ascii=False, indent=2)


def sarif(notes: Iterable[Note], file: Path, *, tool: str, version: str, meanings: Mapping[str, str]) -> str:
    """Return a SARIF log of one run. `meanings` says what each code is about; all of them are rules of the tool."""
    told = list(notes)
    codes = list(dict.fromkeys([*meanings, *(note.code for note in told)]))
    driver = {
        "name": tool,
        "version": version,
        "rules": [
            {
                "id": code,
                "shortDescription": {"text": meanings.get(code, code)},
                "help": {"text": meanings.get(code, code)},
            }
            for code in codes
        ],
    }
    results = [
        {
            "ruleId": note.code,
            "ruleIndex": codes.index(note.code),
            "level": note.level,
            "message": {"text": note.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(file)},
                        "region": {"startLine": note.line, "startColumn": note.column},
                    }
                }
            ],
        }
        for note in told
    ]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2)


def _uri(file: Path) -> str:
    return file.as_uri() if file.is_absolute() else quote(file.as_posix())


def github(notes: Iterable[Note], file: Path) -> str:
    """Return one workflow command per note (docs.github.com: workflow commands); nothing where there are none."""
    return "\n".join(
        f"::{note.level} file={_property(file.as_posix())},line={note.line},col={note.column},"
        f"title={_property(note.code)}::{_data(note.message)}"
        for note in notes
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def junit(suite: str, file: Path, cases: Iterable[Case]) -> str:
    """Return a JUnit report of one suite. A suite of no cases has one that passed: servers take none for a fault."""
    told = list(cases) or [Case(suite, suite, 1, ())]
    counts = {"tests": str(len(told)), "failures": str(sum(bool(case.failures) for case in told)), "errors": "0"}
    root = ET.Element("testsuites", counts)
    inside = ET.SubElement(root, "testsuite", {"name": suite, **counts, "skipped": "0", "file": _xml(file.as_posix())})
    for case in told:
        place = {"file": _xml(file.as_posix()), "line": str(case.line)}
        one = ET.SubElement(inside, "testcase", {"name": _xml(case.name), "classname": _xml(case.group), **place})
        if case.failures:
            failure = ET.SubElement(one, "failure", {"message": _xml(case.failures[0])})
            failure.text = _xml("\n".join(f"{file}:{case.line}: {each}" for each in case.failures))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _xml(text: str) -> str:
    """Return the text without the characters that no XML may hold, escaped or not."""
    return NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
