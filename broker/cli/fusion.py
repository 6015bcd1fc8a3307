"""`vedette fusion …`: the picture of a recipient, computed again from its log; and what sharing buys."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import click

from broker.cli import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.gateway.logbook import Logbook

__all__ = ["fusion"]

STORE: Final = "sqlite"  # the one that can be read beside its owner


@click.group()
def fusion() -> None:
    """Recompute fused pictures, compare them with those that the hub sent, and compute what sharing buys."""


@fusion.command()
@click.argument("log", type=click.File("r", encoding="utf-8"))
@click.option("--recipient", required=True, metavar="CODE", help="Whose log it is: JPN.")
def replay(log: TextIO, recipient: str) -> None:
    """Print every revision that a LOG leads to.

    LOG has one record per line, in log order: {"arrival_ns": …, "content": {Content as protojson}}. "-" reads standard
    input. Printed is {"after": line, "fused": {FusedEvent as protojson}}; the same log gives the same bytes.
    Exit code 1 and the line's number if a line is no record, 2 if CODE is no member's code.
    """
    import os

    from broker import jit
    from broker.fusion.replay import BadLine
    from broker.fusion.replay import replay as revisions
    from certs.identity import IdentityError, member_id

    try:
        member_id(recipient)
    except IdentityError as error:
        raise click.BadParameter(str(error), param_hint="--recipient") from error
    if jit.VARIABLE in os.environ:  # for long logs: loading the compiler takes longer than a short one
        jit.install()
    try:
        for line in revisions(log, recipient=recipient):
            click.echo(line)
    except (BadLine, UnicodeDecodeError) as error:
        click.echo(f"{log.name}: {error}", err=True)
        raise SystemExit(Exit.CHECK_FAILED) from error


_DATA: Final = click.option(
    "--data", type=click.Path(file_okay=False, exists=True, path_type=Path), help="The gateway's data_dir, or a copy."
)
_SETTINGS: Final = click.option(
    "--settings", type=click.Path(dir_okay=False, exists=True, path_type=Path), help="The gateway's settings instead."
)


@fusion.command()
@_DATA
@_SETTINGS
@click.option(
    "--keep",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A folder in which the next run finds where this one ended, and goes on there.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def verify(data: Path | None, settings: Path | None, keep: Path | None, *, as_json: bool) -> None:
    """Recompute every picture that the hub sent, from the nation's own log, and compare bytes.

    The log is the inbox of the nation's gateway, which may be running: its store is only read. Nothing is sent. A log
    that is no longer kept from its beginning cannot say what earlier records led to: use --keep before it is that old.

    Exit: 0 all agree, 1 some differ or were left out, 2 wrong usage, or the store cannot be read, 5 none differs, but
    some could not be checked, for part of the log is missing here.
    """
    from broker.cli.fusion_text import json_of, lines_of
    from broker.gateway.verify import verify as verified

    with _logbook(data, settings, "verifying") as log:
        found = verified(log, keep)
    click.echo(json.dumps(json_of(found), sort_keys=True) if as_json else "\n".join(lines_of(found)))
    if found.has_differences:
        sys.exit(Exit.CHECK_FAILED)
    sys.exit(Exit.UNVERIFIED if found.has_unchecked else Exit.OK)


@fusion.command()
@_DATA
@_SETTINGS
def export(data: Path | None, settings: Path | None) -> None:
    """Write the nation's log as `vedette fusion replay` reads it, to standard output.

    What nations sent and the Ticks, in the order of the log at the hub; not the pictures, nor canaries. It has all that
    the nation was released: treat it as the strictest of it. Replaying it gives the same pictures but for their basis,
    since a file has other positions than the hub's log; to compare bytes, use `verify`.
    """
    from broker.gateway.export import lines

    with _logbook(data, settings, "exporting") as log:
        for line in lines(log):
            click.echo(line)


@contextmanager
def _logbook(data: Path | None, settings_file: Path | None, what: str) -> Iterator[Logbook]:
    """Open the nation's log. What prevents reading it is wrong usage here: 1 says that a picture differs."""
    from broker.gateway.logbook import Logbook
    from broker.store import StoreError
    from broker.store.beside import Beside

    try:
        with Beside(_folder(data, settings_file) / f"gateway.{STORE}") as store, _progress(what) as progress:
            yield Logbook(store, progress)
    except StoreError as error:
        raise click.UsageError(str(error)) from error


def _folder(data: Path | None, settings_file: Path | None) -> Path:
    """Return the gateway's data_dir."""
    from broker.gateway.settings import GatewaySettings
    from broker.settings import SettingsError, read_settings

    if data is not None:
        return data
    if settings_file is None:
        raise click.UsageError("name the gateway's --data or its --settings")
    try:
        settings = read_settings(settings_file, GatewaySettings)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    if settings.store != STORE:
        raise click.UsageError(f"the store {settings.store} cannot be read beside the gateway, only {STORE}")
    return settings.data_dir


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, for people; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


VALUE_NATIONS = ("KOR", "USA", "JPN")
VALUE_RUNS, VALUE_SEED = 7, 1  # those of the published table
VALUE_KINDS = ("short", "medium", "lofted", "over Japan")


@fusion.command()
@click.option("--runs", type=click.IntRange(1, 1000), default=VALUE_RUNS, show_default=True,
              help="Runs with other errors of the sensors; figures are their medians.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=VALUE_SEED, show_default=True,
              help="Other errors of the sensors.")  # fmt: skip
@click.option("--kind", "kinds", type=click.Choice(VALUE_KINDS), multiple=True, default=VALUE_KINDS,
              help="Only this kind of launch; may be said several times.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture here, as SVG.")
def value(*, runs: int, seed: int, kinds: tuple[str, ...], as_json: bool, plot: Path | None) -> None:
    """Compute what KOR, USA and JPN know of a launch alone, in twos and all together.

    For four kinds of launch, as the nations' generic sensors see them and the fusion computes them: when the first
    report comes, how much of the flight can be seen, how large the impact area is, and when it is below 1000 km2. Takes
    some seconds a run; says on standard error how far it is. The same runs and seed give the same output.
    """
    from broker.exercise.value import KINDS, measure
    from broker.exercise.value_plot import svg
    from broker.exercise.value_table import document, lines
    from broker.gateway.load import LoadError, load_nation

    try:
        sensors = {code: load_nation(code).sensors for code in VALUE_NATIONS}
    except LoadError as error:
        click.echo(f"vedette fusion value: {error}", err=True)
        raise SystemExit(Exit.USAGE) from error
    asked = [kind for kind in KINDS if kind.name in kinds]
    values = measure(sensors, runs=runs, seed=seed, kinds=asked, told=lambda text: click.echo(text, err=True))
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_text(svg(values), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(document(values, runs=runs, seed=seed), indent=1))
    else:
        click.echo("\n".join(lines(values)))
