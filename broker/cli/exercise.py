"""`vedette exercise`: list, show and run simulated launches. Everything that they send is marked EXERCISE.

Exit codes: 0 ok · 1 some lines were not accepted · 2 usage, or a scenario that cannot be played · 3 a gateway was
not reached · 4 a gateway lets the system report nothing.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from broker import limits
from broker.cli import Exit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from broker.client import Reporter as ClientReporter
    from broker.exercise.player import OpenReporter, Played, Reporter
    from broker.exercise.scenario import Scenario
    from broker.plugin import Nation, Sensor
    from vedette.v1.content_pb2 import Exercise

_SCENARIOS = click.option(
    "--scenarios",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder with further scenarios, one file each.",
)
_SEED = click.option("--seed", type=click.IntRange(min=0), help="Other errors of the sensors than the scenario's.")


@click.group()
def exercise() -> None:
    """Play simulated launches, always marked as an exercise."""


@exercise.command("list")
@_SCENARIOS
def list_(scenarios: Path | None) -> None:
    """List the scenarios: name, date, what they show."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "DATE", "SHOWS"):
        table.add_column(heading)
    for scenario in _read(scenarios).values():
        table.add_row(scenario.name, scenario.date, scenario.shows)
    Console().print(table)


@exercise.command()
@click.argument("name")
@_SCENARIOS
@_SEED
def show(name: str, scenarios: Path | None, seed: int | None) -> None:
    """Show what happens when in a scenario, as text. Sends nothing."""
    from broker.exercise.describe import describe
    from broker.exercise.document import BadScenario
    from broker.exercise.timeline import make_timeline
    from broker.gateway.load import LoadError, load_nation

    try:
        scenario = _chosen(name, scenarios).at(seed=seed)
        for line in describe(make_timeline(scenario, {code: load_nation(code) for code in scenario.nations})):
            click.echo(line)
    except (BadScenario, LoadError) as problem:
        _fail(str(problem), Exit.USAGE)


@exercise.command()
@click.argument("name")
@click.option("--gateway", "gateways", multiple=True, required=True, metavar="CODE=HOST:PORT",
              help="Where a nation's gateway listens; once for each nation of the scenario.")  # fmt: skip
@click.option("--certs", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="The folder that `vedette certs init` made.")  # fmt: skip
@click.option("--rate", type=float, help="How many times faster than life, instead of the scenario's rate.")
@_SEED
@_SCENARIOS
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=limits.CALL_DEADLINE_S,
              show_default=True, help="Seconds to wait for each answer of a gateway.")  # fmt: skip
def run(
    name: str,
    *,
    gateways: tuple[str, ...],
    certs: Path,
    rate: float | None,
    seed: int | None,
    scenarios: Path | None,
    timeout_s: float,
) -> None:
    """Play a scenario: every sensor reports its lines to its nation's gateway, at the exercise's pace."""
    import asyncio

    from broker.clock import SystemClock
    from broker.exercise.document import BadScenario
    from broker.exercise.player import Ended, play
    from broker.exercise.timeline import make_timeline
    from broker.gateway.load import LoadError, load_nation
    from certs.tls import TlsError

    try:
        scenario = _chosen(name, scenarios).at(rate=rate, seed=seed)
        addresses = _addresses(gateways, scenario)
        nations = {code: load_nation(code) for code in scenario.nations}
        timeline = make_timeline(scenario, nations)
        open_reporter = reporters(addresses, certs, nations, deadline_s=timeout_s)
    except (BadScenario, LoadError, OSError, TlsError) as problem:
        _fail(str(problem), Exit.USAGE)
    click.echo(f"EXERCISE {name}: {len(timeline.reports)} lines at {scenario.rate:g} times life's pace", err=True)
    try:
        played = asyncio.run(play(timeline, nations, open_reporter, clock=SystemClock()))
    except Ended as ended:
        _fail(str(ended), Exit.DENIED if ended.denied else Exit.UNREACHABLE)
    _told(played)


def reporters(
    addresses: Mapping[str, str],
    certs: Path,
    nations: Mapping[str, Nation],
    *,
    deadline_s: float = limits.CALL_DEADLINE_S,
) -> OpenReporter:
    """Return what opens a sensor's stream to its nation's gateway, with the certificates of `vedette certs init`.

    A sensor reports under a system certificate of its own name, or else under the nation's first one. A gateway that
    does not answer the first line within the deadline ends the exercise; later, it costs that line. Raises OSError or
    TlsError if a certificate cannot be read.
    """
    from broker.client import Certificates, Client, Unreachable
    from broker.exercise.player import Ended, Unreported
    from broker.refusal import Reason, Refused

    denied = {
        Reason.REASON_WRONG_ROOT,
        Reason.REASON_NOT_A_MEMBER,
        Reason.REASON_REVOKED,
        Reason.REASON_ROLE_NOT_ALLOWED,
        Reason.REASON_MODE_NOT_ALLOWED,
    }

    certificates = {
        (code, sensor.name): Certificates.of(_system(certs / code.lower(), sensor.name))
        for code, nation in nations.items()
        for sensor in nation.sensors
    }

    class Lines:
        """A client's stream, with the player's two answers: not this line, or none ever."""

        def __init__(self, nation: str, stream: ClientReporter) -> None:
            self._nation = nation
            self._stream = stream
            self._reached = False

        async def report(self, line: bytes, *, format: str, exercise: Exercise) -> None:  # noqa: A002 - the wire's word
            try:
                await self._stream.report_line(line, format=format, exercise=exercise)
            except Refused as refused:
                text = f"{self._nation}: {refused}"
                raise (Ended(text, denied=True) if refused.reason in denied else Unreported(text)) from refused
            except Unreachable as away:
                text = f"{self._nation}: {away}"
                raise (Unreported(text) if self._reached else Ended(text, denied=False)) from away
            self._reached = True

    @asynccontextmanager
    async def open_reporter(nation: str, sensor: Sensor, *, session: str) -> AsyncIterator[Reporter]:
        async with (
            Client.open(addresses[nation], certificates[nation, sensor.name]) as client,
            client.reporter(session=session, deadline_s=deadline_s) as stream,
        ):
            yield Lines(nation, stream)

    return open_reporter


def _system(home: Path, name: str) -> Path:
    """Return the stem of a system's certificate for exercises. Raises FileNotFoundError if the nation has none."""
    folder = home / "systems" / "exercise"
    if (folder / f"{name}.pem").exists():
        return folder / name
    for first in sorted(folder.glob("*.pem")):
        return first.with_suffix("")
    raise FileNotFoundError(f"{folder} holds no certificate of a system")


def _addresses(gateways: tuple[str, ...], scenario: Scenario) -> dict[str, str]:
    addresses = {}
    for gateway in gateways:
        code, equals, address = gateway.partition("=")
        if not equals or code not in scenario.nations or code in addresses:
            raise click.BadParameter(f"{gateway!r}: say CODE=HOST:PORT once for each of {', '.join(scenario.nations)}")
        addresses[code] = address
    missing = [code for code in scenario.nations if code not in addresses]
    if missing:
        raise click.BadParameter(f"no --gateway for {', '.join(missing)}")
    return addresses


def _told(played: Played) -> None:
    """Print what came of it, and exit accordingly."""
    for code, count in sorted(played.unreported.items()):
        click.echo(f"{code}: {count} lines were not accepted", err=True)
    for reason in sorted(played.reasons):
        click.echo(f"  {reason}", err=True)
    click.echo(f"{len(played.sent)} lines reported in {played.exercise.exercise_id}")
    if played.unreported:
        sys.exit(Exit.CHECK_FAILED if played.sent else Exit.UNREACHABLE)


def _chosen(name: str, folder: Path | None) -> Scenario:
    scenarios = _read(folder)
    if name not in scenarios:
        raise click.BadParameter(f"no scenario {name!r}; there are {', '.join(scenarios)}", param_hint="NAME")
    return scenarios[name]


def _read(folder: Path | None) -> dict[str, Scenario]:
    from broker.exercise.document import BadScenario
    from broker.exercise.scenario import read_scenarios

    try:
        return read_scenarios(folder)
    except BadScenario as problem:
        _fail(str(problem), Exit.USAGE)


def _fail(text: str, code: Exit) -> NoReturn:
    click.echo(f"vedette exercise: {text}", err=True)
    sys.exit(code)
