"""The group `vedette policy`, and how its commands read files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker.cli import Exit

if TYPE_CHECKING:
    from broker.gateway.release import Policy

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """Try, prove, sign and approve a nation's release policy."""


def read_policy(file: Path) -> Policy:
    """Return the policy in a file, or end with what is wrong with it."""
    from broker.gateway.release import Policy, PolicyError

    try:
        return Policy.parse(text_of(file))
    except PolicyError as error:
        click.echo(f"{file}:{error.line}:{error.column}: {error.reason}" + (f" ({error.hint})" if error.hint else ""))
        sys.exit(Exit.CHECK_FAILED)


def text_of(file: Path) -> str:
    """Return what stands in a file, to the byte as a gateway reads it, or end as with a wrong argument."""
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file}: {type(error).__name__}") from None
