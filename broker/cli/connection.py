"""What every command that talks to a gateway needs: its address, a certificate, and what went wrong as an exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from broker.cli import Exit

if TYPE_CHECKING:
    from collections.abc import Coroutine

F = TypeVar("F", bound=Callable[..., Any])


def connection_options(command: F) -> F:
    """Add --gateway, --cert and --roots to a command."""
    for option in (
        click.option(
            "--roots", type=click.Path(dir_okay=False, exists=True, path_type=Path), help="The nation's root."
        ),
        click.option(
            "--cert",
            type=click.Path(path_type=Path),
            required=True,
            envvar="VEDETTE_CERT",
            help="Certificate and key without their endings: certs/kor/watch/exercise/floor-1.",
        ),
        click.option(
            "--gateway", required=True, envvar="VEDETTE_GATEWAY", help="host:port of the nation's own gateway."
        ),
    ):
        command = option(command)
    return command


def connection_options_if_any(command: F) -> F:
    """Add the same to a command that can do without."""
    for option in (
        click.option(
            "--roots", type=click.Path(dir_okay=False, exists=True, path_type=Path), help="The nation's root."
        ),
        click.option(
            "--cert", type=click.Path(path_type=Path), envvar="VEDETTE_CERT", help="As with `vedette report`."
        ),
        click.option("--gateway", envvar="VEDETTE_GATEWAY", help="host:port of the nation's own gateway."),
    ):
        command = option(command)
    return command


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command's work; end with the documented exit code if it fails."""
    import asyncio

    from broker.client import Unreachable
    from broker.refusal import Refused

    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise SystemExit(Exit.OK) from None
    except Refused as refused:
        fail(str(refused), Exit.DENIED)
    except Unreachable as error:
        fail(str(error), Exit.UNREACHABLE)


def certificates(cert: Path, roots: Path | None) -> Any:  # noqa: ANN401 - imported late
    """Return the client's certificates, or end with an exit code."""
    from broker.client import Certificates
    from certs.tls import TlsError

    try:
        return Certificates.of(cert, roots=roots)
    except (OSError, TlsError) as error:
        fail(str(error), Exit.USAGE)


def fail(text: str, code: Exit) -> NoReturn:
    """Say what is wrong and end."""
    click.echo(f"vedette: {text}", err=True)
    raise SystemExit(code)
