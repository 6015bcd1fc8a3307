"""`vedette fusion …`: the picture of a recipient, computed again from its log."""

from __future__ import annotations

from typing import TextIO

import click

from broker.cli import Exit

__all__ = ["fusion"]


@click.group()
def fusion() -> None:
    """Recompute fused pictures."""


@fusion.command()
@click.argument("log", type=click.File("r", encoding="utf-8"))
@click.option("--recipient", required=True, metavar="CODE", help="Whose log it is: JPN.")
def replay(log: TextIO, recipient: str) -> None:
    """Print every revision that a LOG leads to.

    LOG has one record per line, in log order: {"arrival_ns": …, "content": {Content as protojson}}. "-" reads standard
    input. Printed is {"after": line, "fused": {FusedEvent as protojson}}; the same log gives the same bytes.
    Exit code 1 and the line's number if a line is no record, 2 if CODE is no member's code.
    """
    from broker.fusion.replay import BadLine
    from broker.fusion.replay import replay as revisions
    from certs.identity import IdentityError, member_id

    try:
        member_id(recipient)
    except IdentityError as error:
        raise click.BadParameter(str(error), param_hint="--recipient") from error
    try:
        for line in revisions(log, recipient=recipient):
            click.echo(line)
    except (BadLine, UnicodeDecodeError) as error:
        click.echo(f"{log.name}: {error}", err=True)
        raise SystemExit(Exit.CHECK_FAILED) from error
