"""`vedette policy lint`: what is wrong with a policy file, in the form that its reader wants."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import click

from broker.cli import Exit
from broker.cli.policy import formats
from broker.cli.policy.group import FILE, policy, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.gateway.release import Finding


# Where lint says that a rule does nothing, and by which other one, the solver need not say it again.
TOLD: Final = frozenset({"never-matches", "duplicate-rule", "given-already", "denied-already"})


@policy.command()
@click.argument("file", type=FILE)
@click.option("--nation", help="Whose policy it must be.")
@click.option("--member", "members", multiple=True, help="A member that may be a recipient; all, if none is named.")
@click.option("--strict", is_flag=True, help="Warnings fail as errors do.")
@click.option("--format", "form", type=click.Choice(formats.FORMATS), default="pretty", help="How to say it.")
@click.option("--no-solver", is_flag=True, help="Leave out what only the solver finds.")
def lint(
    file: Path,
    nation: str | None,
    members: tuple[str, ...],
    strict: bool,  # noqa: FBT001 - click
    form: str,
    no_solver: bool,  # noqa: FBT001 - click
) -> None:
    """Say what is wrong with FILE, with line and column, and what to do about it.

    With the extra `prove`, a solver also looks for rules that no message can ever make a difference by.
    """
    from broker.clock import SystemClock
    from broker.gateway.release import Severity
    from broker.gateway.release import lint as findings_of

    text = text_of(file)
    findings = findings_of(text, nation=nation, members=members or None, now_ns=SystemClock().wall_ns())
    if not no_solver and not any(finding.code == "unreadable" for finding in findings):
        told = {(each.line, each.column) for each in findings if each.code in TOLD}
        deep = [each for each in _deep(text) if (each.line, each.column) not in told]
        findings = sorted([*findings, *deep], key=lambda each: (each.line, each.column, each.code))
    if said := _said(findings, form, file, text, strict=strict):
        click.echo(said)
    if any(strict or finding.severity is Severity.ERROR for finding in findings):
        sys.exit(Exit.CHECK_FAILED)


def _deep(text: str) -> Sequence[Finding]:
    """Return what the solver finds in a policy that can be read; nothing, and a word about it, where there is none."""
    from broker.gateway.release import Policy

    try:
        proof = importlib.import_module("broker.gateway.proof")
    except ImportError:
        click.echo("without the extra `prove` no solver looks for rules that never make a difference", err=True)
        return ()
    found: Sequence[Finding] = tuple(proof.ineffective(Policy.parse(text)))
    return found


def _said(findings: Sequence[Finding], form: str, file: Path, text: str, *, strict: bool) -> str:
    from broker.gateway.release import Severity
    from broker.gateway.release.finding import MEANINGS

    notes = [
        formats.Note(each.severity is Severity.ERROR, each.code, each.line, each.column, each.message)
        for each in findings
    ]
    match form:
        case "json":
            return formats.as_json(file, _record(notes))
        case "sarif":
            return formats.sarif(notes, file, tool="vedette policy lint", version=version("vedette"), meanings=MEANINGS)
        case "github":
            return formats.github(notes, file)
        case "junit":
            return formats.junit("vedette policy lint", file, [_case(note, strict=strict) for note in notes])
        case _:
            return formats.pretty(notes, file, text, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)


def _record(notes: Sequence[formats.Note]) -> dict[str, object]:
    errors = sum(note.is_error for note in notes)
    found = [
        {"severity": note.level, "code": note.code, "line": note.line, "column": note.column, "message": note.message}
        for note in notes
    ]
    return {"errors": errors, "warnings": len(notes) - errors, "findings": found}


def _case(note: formats.Note, *, strict: bool) -> formats.Case:
    """Return the note as a test case: it fails where the command would."""
    told = f"{note.code}: {note.message}"
    return formats.Case(
        f"{note.line}:{note.column} {told}", note.code, note.line, (told,) if strict or note.is_error else ()
    )
