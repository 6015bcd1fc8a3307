"""`vedette gateway`: run the gateway of one nation."""

from __future__ import annotations

from pathlib import Path

import click

from broker.cli import Exit


@click.command()
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    required=True,
    help="The settings, in TOML; every option is documented in deploy/settings/gateway.toml.",
)
@click.option("--listen", help="host:port for the nation's own systems, instead of the file's.")
@click.option("--hub", help="host:port of the hub, instead of the file's.")
@click.option("--metrics-listen", help="host:port of /metrics, instead of the file's.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much is logged.")
def gateway(settings_file: Path, **overrides: str | None) -> None:
    """Run until SIGTERM: take in, decide, seal, send; receive, verify, deliver.

    Exit: 0 stopped when told to, 1 it cannot start or its store was taken over, 2 the settings are wrong, 5 a
    signature, key or document does not hold.
    """
    import asyncio
    import logging

    from broker.gateway import server
    from broker.gateway.load import LoadError
    from broker.gateway.policy import PolicyRefused
    from broker.gateway.settings import GatewaySettings
    from broker.settings import SettingsError, read_settings
    from broker.store import StoreError
    from certs.keyring import KeyringError
    from certs.members import MembersError
    from certs.tls import TlsError

    try:
        settings = read_settings(settings_file, GatewaySettings, overrides)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(server.run(settings))
    except (KeyringError, MembersError, PolicyRefused, TlsError) as error:
        click.echo(f"vedette gateway: {error}", err=True)
        raise SystemExit(Exit.UNVERIFIED) from error
    except (LoadError, OSError, StoreError) as error:
        click.echo(f"vedette gateway: {error}", err=True)
        raise SystemExit(Exit.CHECK_FAILED) from error
