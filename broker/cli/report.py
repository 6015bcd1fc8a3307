"""`vedette report`: report to the nation's own gateway, from a file or standard input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli import Exit
from broker.cli.connection import certificates, connection_options, fail, run

if TYPE_CHECKING:
    from typing import BinaryIO

    from broker.client import Reporter
    from vedette.v1.national_pb2 import ReportRequest


@click.command()
@connection_options
@click.option("--format", "format_name", help="A native format of the nation; each line is one report.")
@click.option("--session", default="", help="A new one where the sensor uses its numbers again.")
@click.option(
    "--exercise",
    "exercise_file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="The exercise's time base, as protojson: needed with --format and an exercise certificate.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds to wait for each answer.",
)
@click.argument("file", type=click.File("rb"), default="-")
def report(
    *,
    gateway: str,
    cert: Path,
    roots: Path | None,
    format_name: str | None,
    session: str,
    exercise_file: Path | None,
    timeout_s: float,
    file: BinaryIO,
) -> None:
    """Report each line of FILE (standard input without one), and print what became of it.

    Without --format a line is a ReportRequest as protojson:
    {"content": {…}, "precedence": "PRECEDENCE_FLASH", "label": {…}}.

    Exit: 0 all accepted, 2 a line cannot be read, 3 the gateway is not there, 4 the gateway refused a report.
    """
    run(_report_all(gateway, cert, roots, format_name, session, exercise_file, timeout_s, file))


async def _report_all(
    gateway: str,
    cert: Path,
    roots: Path | None,
    format_name: str | None,
    session: str,
    exercise_file: Path | None,
    timeout_s: float,
    file: BinaryIO,
) -> None:
    from broker.client import Client
    from broker.refusal import Refused

    refused_count = 0
    async with (
        Client.open(gateway, certificates(cert, roots)) as client,
        client.reporter(session=session, deadline_s=timeout_s) as reporter,
    ):
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                await _report(reporter, number, _request(line, number, format_name, session, exercise_file))
            except Refused as refused:
                refused_count += 1
                click.echo(f"{number}: refused: {refused}")
    if refused_count:
        fail("1 report was refused" if refused_count == 1 else f"{refused_count} reports were refused", Exit.DENIED)


async def _report(reporter: Reporter, number: int, request: ReportRequest) -> None:
    receipt = await reporter.send(request)
    what = "duplicate: it was here already" if receipt.duplicate else "accepted"
    many = "" if receipt.content_count == 1 else f", {receipt.content_count} messages"
    where = "" if receipt.hub_connected else ", kept here: the hub is not connected, other nations do not have it yet"
    click.echo(f"{number}: {what}{many}{where}")


def _request(
    line: bytes, number: int, format_name: str | None, session: str, exercise_file: Path | None
) -> ReportRequest:
    from google.protobuf import json_format

    from vedette.v1 import content_pb2, national_pb2

    request = national_pb2.ReportRequest()
    try:
        if format_name is None:
            json_format.Parse(line, request)
        else:
            request.native.format = format_name
            request.native.line = line.rstrip(b"\r\n")
        if exercise_file is not None:
            json_format.Parse(exercise_file.read_bytes(), exercise := content_pb2.Exercise())
            request.exercise.CopyFrom(exercise)
    except json_format.ParseError as error:
        raise click.UsageError(f"line {number}: {error}") from error
    request.session = request.session or session
    return request
