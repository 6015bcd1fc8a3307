"""`vedette hub`: run the hub of an exchange."""

from __future__ import annotations

from pathlib import Path

import click

from broker.cli import Exit

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--settings",
    "settings_file",
    type=_FILE,
    required=True,
    help="The settings, in TOML; every option is documented in deploy/settings/hub.toml.",
)
@click.option("--listen", help="host:port for the nations' gateways, instead of the file's.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Where the logs are kept, instead.")
@click.option("--metrics-listen", help="host:port of /metrics, instead of the file's.")
@click.option("--pictures/--no-pictures", default=None, help="Run the fusion process, or not.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged.")
def hub(settings_file: Path, *, data_dir: Path | None, **overrides: str | bool | None) -> None:
    """Run until SIGTERM: verify, store and route what the gateways submit, and have the pictures made.

    Prints "listening on HOST:PORT" once it serves; says goodbye to everybody before it ends.
    Exit: 0 stopped when told to, 1 it cannot start, 2 the settings are wrong, 5 a key or document does not hold.
    """
    import asyncio
    import logging

    from broker.hub.server import CannotStart, run
    from broker.hub.settings import HubSettings
    from broker.settings import SettingsError, read_settings
    from broker.store import StoreError
    from certs.keyring import KeyringError
    from certs.members import MembersError
    from certs.tls import TlsError

    try:
        given = overrides | {"data_dir": data_dir.absolute() if data_dir is not None else None}
        settings = read_settings(settings_file, HubSettings, given)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(run(settings, started=lambda address: click.echo(f"listening on {address}")))
    except (KeyringError, MembersError, TlsError) as error:
        click.echo(f"vedette hub: {error}", err=True)
        raise SystemExit(Exit.UNVERIFIED) from error
    except (CannotStart, StoreError) as error:
        click.echo(f"vedette hub: {error}", err=True)
        raise SystemExit(Exit.CHECK_FAILED) from error
