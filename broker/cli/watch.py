"""`vedette watch`: see what the nation receives."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import click

from broker.cli.connection import certificates, connection_options, run

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.v1.national_pb2 import Warning as WarningMessage
    from vedette.v1.national_pb2 import WatchResponse


@click.command()
@connection_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "jsonl"]),
    default="table",
    show_default=True,
    help="One line for people, or one WatchResponse as protojson.",
)
@click.option("--resume-after", default="", help="A position from an earlier run: go on after it.")
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
        position = base64.urlsafe_b64decode(resume_after)
    except ValueError as error:
        raise click.UsageError("--resume-after: not a position that was printed here") from error
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

    from broker.client import Client

    printed = 0
    async with Client.open(gateway, certificates(cert, roots)) as client:
        async for response in client.watch(resume_after=position, live_only=live_only, patience_s=timeout_s):
            if output == "jsonl":
                click.echo(json_format.MessageToJson(response, indent=None, preserving_proto_field_name=True))
            else:
                click.echo(_line(response))
            printed += 1
            if count is not None and printed >= count:
                return


def _line(response: WatchResponse) -> str:
    position = base64.urlsafe_b64encode(response.position).decode()
    match response.WhichOneof("event"):
        case "warning":
            return f"{position}  {describe(response.warning)}"
        case "alarm":
            from vedette.v1.national_pb2 import ALARM_RAISE

            what = "ALARM" if response.alarm.alarm == ALARM_RAISE else "alarm over"
            return f"{position}  {what}  {response.alarm.origin} event {response.alarm.event_id.hex()[:8]}"
        case "gap":
            gap = response.gap
            return f"{position}  MISSING from {gap.origin}: numbers {gap.first_missing} to {gap.last_missing}"
        case _:
            state = "connected" if response.link.hub_connected else "NOT CONNECTED"
            return f"{position}  hub {state}"


def describe(warning: WarningMessage) -> str:
    """Return one line for a person: who, what, how, and how old it was."""
    from broker.clock import nanoseconds
    from broker.limits import SECOND_NS
    from broker.stages import mode_label, precedence_label
    from vedette.v1 import content_pb2, national_pb2

    header, content = warning.header, warning.content
    body = content.WhichOneof("body") or "cancellation"
    age_s = (nanoseconds(warning.stamps.delivered_at) - nanoseconds(header.released_at)) / SECOND_NS
    parts = [
        mode_label(header.mode).upper(),
        header.origin,
        precedence_label(header.precedence),
        body,
        f"event {_event_id(content).hex()[:8]}" if _event_id(content) else "",
        content_pb2.EventState.Name(content.status.state).removeprefix("EVENT_STATE_") if body == "status" else "",
        f"{age_s:.3f} s old",
        *(national_pb2.Mark.Name(mark).removeprefix("MARK_") for mark in warning.marks),
    ]
    if content.header.disclosure.withheld:
        parts.append("withheld: " + ", ".join(content.header.disclosure.withheld))
    return "  ".join(part for part in parts if part)


def _event_id(content: object) -> bytes:
    body = content.WhichOneof("body")  # type: ignore[attr-defined] # a Content, imported late
    found = getattr(getattr(content, body), "event_id", b"") if body else b""
    return bytes(found)
