"""`vedette certs`: a development authority for a laptop, and looking into certificates and members documents.

Exit codes: 0 ok · 1 a certificate is not ours, or is out of date · 2 usage · 5 a members document does not verify.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker.cli import Exit

if TYPE_CHECKING:
    from certs.members import Members

_DAY_NS: Final = 24 * 3600 * 1_000_000_000
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def certs() -> None:
    """Make and inspect certificates, keys and the members document."""


@certs.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--nations", default="KOR,USA,JPN", show_default=True, help="Codes of the nations, with commas.")
@click.option("--exchange", type=click.Choice(["all", "bilateral"]), default="all", show_default=True,
              help="Who exchanges with whom; bilateral: each nation with the USA only.")  # fmt: skip
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=24.0, show_default=True,
              help="How long the certificates last.")  # fmt: skip
@click.option("--system", "systems", multiple=True, default=["system-1"], show_default=True,
              help="A system that each nation has; may be given again.")  # fmt: skip
@click.option("--watch", "watches", multiple=True, default=["floor-1"], show_default=True,
              help="A watch floor that each nation has; may be given again.")  # fmt: skip
@click.option("--host", "hosts", multiple=True, default=["localhost", "127.0.0.1"], show_default=True,
              help="A name or address of the servers; may be given again.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an older development authority, with all its keys.")
def init(
    directory: Path,
    *,
    nations: str,
    exchange: str,
    hours: float,
    systems: tuple[str, ...],
    watches: tuple[str, ...],
    hosts: tuple[str, ...],
    force: bool,
) -> None:
    """Make a development authority in DIRECTORY: for a laptop, never for real warnings."""
    from certs import issue
    from certs.identity import IdentityError

    try:
        made = issue.authority(
            directory,
            nations=[code.strip() for code in nations.split(",")],
            exchange=exchange,
            hours=hours,
            systems=systems,
            watches=watches,
            hosts=hosts,
            overwrite=force,
        )
    except (issue.NotOurs, IdentityError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    members = made.members()
    click.echo(f"made       {directory}: {', '.join(sorted(members.members))}; certificates last {hours:g} hours")
    click.echo(f"pin        {made.digest()}")
    click.echo("not for    real warnings: one folder holds every private key")


@certs.command()
@click.argument("file", type=_FILE)
@click.option("--days", type=click.FloatRange(min=0), default=0.0, help="Fail if fewer days than this are left.")
def inspect(file: Path, *, days: float) -> None:
    """Say who the certificate in FILE names, in which role, and for how long. It proves nothing: no root is asked."""
    from certs import certificate
    from certs.identity import IdentityError, read_leaf

    try:
        pem = file.read_bytes()
        left = (certificate.not_after_ns(pem) - time.time_ns()) / _DAY_NS
        root_of = certificate.root_member(pem)
        if root_of is None:
            leaf = read_leaf(pem)
            _describe(uri=leaf.identity.uri, member=leaf.identity.member, role=leaf.identity.role.value)
            _describe(mode=_mode_name(leaf.identity.mode), name=leaf.identity.name or "-")
            _describe(fingerprint=leaf.fingerprint)
        else:
            _describe(member=root_of, role="root", vouches=f"for {root_of} only")
    except (IdentityError, certificate.CertificateError) as error:
        click.echo(f"{file}: not a certificate of ours: {error}", err=True)
        sys.exit(Exit.CHECK_FAILED)
    _describe(**{"days left": f"{left:.1f}"})
    if left < days or left <= 0:
        click.echo(f"{file}: {'out of date' if left <= 0 else f'fewer than {days:g} days left'}", err=True)
        sys.exit(Exit.CHECK_FAILED)


@certs.group()
def members() -> None:
    """Look into the members document."""


@members.command()
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """Show what stands in FILE. It proves nothing: see `verify`."""
    from certs.members import MembersError, read_members

    try:
        unproven = read_members(file)
    except MembersError as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.UNVERIFIED)
    _describe_members(unproven.members)
    _describe(signatures=f"{len(unproven.signatures)}, not verified")


@members.command()
@click.argument("file", type=_FILE)
@click.option("--digest", required=True, help="The digest to pin, got from a person and not from where FILE is from.")
def verify(file: Path, *, digest: str) -> None:
    """Verify FILE, and the versions beside it, from the pinned digest on."""
    from certs.members import MembersError, load_members

    try:
        document = load_members(file, pinned_digest=digest.strip(), now_ns=time.time_ns())
    except MembersError as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.UNVERIFIED)
    _describe_members(document)
    _describe(verified="yes")


def _describe_members(document: Members) -> None:
    left = (document.expires_ns - time.time_ns()) / _DAY_NS
    _describe(version=str(document.version), digest=document.digest, previous=document.previous or "-")
    _describe(**{"days left": f"{left:.1f}"}, threshold=f"{document.threshold} of {len(document.nations())} nations")
    for code, member in sorted(document.members.items()):
        modes = ", ".join(sorted({_mode_name(key.mode) for key in member.keys}))
        kind = "hub" if member.is_hub else f"nation, officers: {', '.join(sorted(member.officers)) or 'none'}"
        _describe(**{code: f"{member.name} ({kind}; keys: {modes or 'none'})"})
    for (origin, recipient), pair in sorted(document.pairs.items()):
        leaves = "all leaves" if pair.leaves is None else f"{len(pair.leaves)} leaves"
        _describe(exchange=f"{origin} -> {recipient} ({leaves}{', third party' if pair.third_party else ''})")
    _describe(revoked=str(len(document.revoked)))


def _mode_name(mode: int) -> str:
    from certs.identity import MODE_NAMES

    return MODE_NAMES.get(mode, "-")


def _describe(**facts: str) -> None:
    for name, value in facts.items():
        click.echo(f"{name:<11} {value}")
