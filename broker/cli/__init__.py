"""The command line: `vedette …`.

Data goes to standard output, messages for people to standard error. A command's module is imported when the command is
called, and what a command needs inside the command, so that `vedette --help` does not pay for gRPC.

Exit codes, everywhere: 0 ok, 1 a check failed, 2 wrong usage, 3 unreachable, 4 denied, 5 verification failed.
"""

from __future__ import annotations

import importlib
from enum import IntEnum
from typing import Final

import click


class Exit(IntEnum):
    """What a command says to the shell."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    DENIED = 4
    UNVERIFIED = 5


# Name -> (module, attribute, what it does).
COMMANDS: Final = {
    "certs": ("broker.cli.certs", "certs", "Certificates, keys and the members document."),
    "demo": ("broker.cli.demo", "demo", "Three nations, one hub, a launch over Japan, live."),
    "doctor": ("broker.cli.doctor", "doctor", "Look for what is wrong with a gateway, and say what to mend."),
    "exercise": ("broker.cli.exercise", "exercise", "Simulated launches, always marked as an exercise."),
    "fusion": ("broker.cli.fusion", "fusion", "Fused pictures: verify, export, replay; what sharing buys."),
    "gateway": ("broker.cli.gateway", "gateway", "Run the gateway of one nation."),
    "hub": ("broker.cli.hub", "hub", "Run the hub."),
    "policy": ("broker.cli.policy", "policy", "Release policies: try, prove, approve, put in force, undo."),
    "report": ("broker.cli.report", "report", "Report to the nation's own gateway."),
    "watch": ("broker.cli.watch", "watch", "See what the nation receives."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in sorted(COMMANDS.items())])


EXIT_CODES: Final = {
    Exit.OK: "ok",
    Exit.CHECK_FAILED: "a check failed",
    Exit.USAGE: "wrong usage",
    Exit.UNREACHABLE: "unreachable",
    Exit.DENIED: "denied",
    Exit.UNVERIFIED: "verification failed",
}
_EPILOG: Final = "Exit codes: " + ", ".join(f"{code:d} {meaning}" for code, meaning in EXIT_CODES.items()) + "."


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(package_name="vedette", prog_name="vedette")
def main() -> None:
    """Vedette shares warnings of missile launches between nations, each under its own release policy."""
