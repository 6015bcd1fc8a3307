"""`vedette policy impact`: what a draft would have done to the messages that a gateway took in."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker.cli import Exit
from broker.cli.policy.group import FILE, policy, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.gateway.release import Policy
    from broker.store.beside import Beside

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_PERIOD: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_SINCE_S_MAX: Final = 3_653 * 24 * 3600  # as long as a gateway may keep records
STORE: Final = "sqlite"  # the one that can be read beside its owner


class _Period(click.ParamType[int]):
    """`90s`, `45m`, `24h`, `7d`, as seconds."""

    name = "period"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds."""
        match = _PERIOD.fullmatch(str(value))
        seconds = int(match[1]) * _UNITS[match[2]] if match else 0
        if not 0 < seconds <= _SINCE_S_MAX:
            self.fail(f"{value}: write 90s, 45m, 24h or 7d; ten years at most", param, ctx)
        return seconds


@policy.command()
@click.argument("draft", type=FILE)
@click.option("--against", type=FILE, help="The policy in force; the one that the settings name, if left out.")
@click.option("--data", type=click.Path(file_okay=False, exists=True, path_type=Path), help="The gateway's data_dir.")
@click.option("--settings", type=FILE, help="The gateway's settings, instead of --data and --against.")
@click.option("--since", type=_Period(), default="24h", show_default=True, help="How far back: 90s, 45m, 24h, 7d.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def impact(
    draft: Path,
    *,
    against: Path | None,
    data: Path | None,
    settings: Path | None,
    since: int,
    as_json: bool,
) -> None:
    """Say what DRAFT would release that the policy in force does not, by what the gateway took in.

    The gateway may be running: its store is only read. It keeps the number and digest of the policy in force and not
    its text, so name that file by --against or by the gateway's --settings. Nothing that a message said is shown.

    Exit: 0 nothing would be newly released, 1 something would be, or finer, sooner, more often or under fewer caveats,
    2 wrong usage, or the store cannot be read.
    """
    from broker.cli.policy.impact_text import json_of, lines_of
    from broker.clock import SystemClock
    from broker.gateway.office.replay import replay
    from broker.gateway.release.impact import Window
    from broker.limits import SECOND_NS
    from broker.store import StoreError
    from broker.store.beside import Beside

    folder, in_force = _places(data, against, settings)
    new, old = _policy(draft), _policy(in_force)
    if old.nation != new.nation:
        raise click.UsageError(f"{draft} is a policy of {new.nation}, {in_force} of {old.nation}")
    now_ns = SystemClock().wall_ns()
    window = Window(now_ns - since * SECOND_NS, now_ns)
    try:
        with Beside(folder / f"gateway.{STORE}") as store:
            _warn_unless_in_force(store, old, in_force)
            with _progress() as progress:
                found = replay(store, old, new, window, progress)
    except StoreError as error:
        raise click.UsageError(str(error)) from error
    click.echo(json_of(found) if as_json else "\n".join(lines_of(found)))
    sys.exit(Exit.CHECK_FAILED if found.releases_more else Exit.OK)


def _policy(file: Path) -> Policy:
    """Return the policy in a file. One that cannot be read is wrong usage here: 1 says that more would be released."""
    try:
        return read_policy(file)
    except SystemExit:
        raise click.UsageError(f"{file} is not a policy") from None


def _places(data: Path | None, against: Path | None, settings_file: Path | None) -> tuple[Path, Path]:
    """Return the data folder and the file of the policy in force."""
    from broker.gateway.settings import GatewaySettings
    from broker.settings import SettingsError, read_settings

    if settings_file is not None:
        try:
            settings = read_settings(settings_file, GatewaySettings)
        except SettingsError as error:
            raise click.UsageError(str(error)) from error
        if settings.store != STORE:
            raise click.UsageError(f"the store {settings.store} cannot be read beside the gateway, only {STORE}")
        data, against = data or settings.data_dir, against or settings.policy
    if data is None or against is None:
        missing = "--data" if data is None else "--against"
        raise click.UsageError(f"{missing} is missing; or name the gateway's --settings instead of both")
    return data, against


def _warn_unless_in_force(store: Beside, old: Policy, file: Path) -> None:
    from broker import known

    if not known.is_newest(store.state(known.PREFIX), known.POLICY, old):
        click.echo(f"note: {file} (version {old.version}) is not the policy that this gateway had in force", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, for people; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
