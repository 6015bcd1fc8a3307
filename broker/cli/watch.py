"""`vedette watch`: see what the nation receives."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import click

from broker.cli.connection import certificates, connection_options, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@connection_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "jsonl"]),
    default="table",
    show_default=True,
    help="Each event as a line for people, or as a WatchResponse in protojson with its position.",
)
@click.option("--resume-after", default="", help="A position that -o jsonl printed: go on after it.")
@click.option("--live-only", is_flag=True, help="Nothing from before now.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many lines.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds without a gateway after which to give up.",
)
def watch(
    *,
    gateway: str,
    cert: Path,
    roots: Path | None,
    output: str,
    resume_after: str,
    live_only: bool,
    count: int | None,
    timeout_s: float,
) -> None:
    """Print everything that the nation received, then what comes, until interrupted.

    Exit: 0 interrupted or --count reached, 2 wrong usage, 3 the gateway is not there, 4 the gateway refused.
    """
    try:
        position = base64.b64decode(resume_after.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError as error:
        raise click.UsageError("--resume-after: not a position that -o jsonl printed") from error
    run(_watch(gateway, cert, roots, output, position, live_only, count, timeout_s))


async def _watch(
    gateway: str,
    cert: Path,
    roots: Path | None,
    output: str,
    position: bytes,
    live_only: bool,  # noqa: FBT001 - as above
    count: int | None,
    timeout_s: float,
) -> None:
    from google.protobuf import json_format

    from broker.cli.line import line
    from broker.client import Client

    printed = 0
    async with Client.open(gateway, certificates(cert, roots)) as client:
        async for response in client.watch(resume_after=position, live_only=live_only, patience_s=timeout_s):
            if output == "jsonl":
                click.echo(json_format.MessageToJson(response, indent=None, preserving_proto_field_name=True))
            else:
                click.echo(line(response))
            printed += 1
            if count is not None and printed >= count:
                return
