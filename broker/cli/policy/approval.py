"""`vedette policy propose|show|approve|activate|withdraw|history|rollback|stop|resume|shadow`: at the gateway."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from broker.cli import Exit
from broker.cli.connection import certificates, connection_options, fail, run
from broker.cli.policy.group import FILE, policy, text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from broker.officer import Officer
    from vedette.v1 import admin_pb2

F = TypeVar("F", bound="Callable[..., Any]")

_VERSION_LINE: Final = re.compile(r"^version:[ \t]*[0-9]+", re.MULTILINE)
_INSTANT_LINE: Final = r"^{name}:[ \t]*[0-9TZ:-]+"


def signing(command: F) -> F:
    """Add --key to a command."""
    key = click.option("--key", required=True, type=FILE, envvar="VEDETTE_KEY", help="The officer's own signing key.")
    return key(command)


def at_gateway(
    gateway: str, cert: Path, roots: Path | None, key: Path | None, work: Callable[[Officer], Awaitable[None]]
) -> None:
    """Do a command's work as an officer; end with the documented exit code if it fails."""
    from broker.officer import NotWhatItSays, Officer
    from certs.identity import IdentityError
    from certs.keyring import KeyringError, load_signer

    async def connected() -> None:
        async with Officer.open(gateway, certificates(cert, roots), load_signer(key) if key else None) as officer:
            await work(officer)

    try:
        run(connected())
    except (KeyringError, IdentityError, NotWhatItSays) as error:
        fail(str(error), Exit.UNVERIFIED)


@policy.command()
@connection_options
@signing
@click.argument("file", type=FILE)
@click.option("--tests", type=FILE, help="The tests; FILE's name with .test.yaml, if not named.")
def propose(*, gateway: str, cert: Path, roots: Path | None, key: Path, file: Path, tests: Path | None) -> None:
    """Sign FILE as its proposer and put it up for approval; print its digest and what the checks found.

    Nothing is released by a draft. Exit: 1 when a check failed; the draft stands, and cannot be activated as it is.
    """
    beside = tests or file.with_suffix(".test.yaml")
    if not beside.exists():
        raise click.UsageError(f"no tests at {beside}; name them with --tests")
    text_of(file)
    at_gateway(gateway, cert, roots, key, _proposing(file.read_bytes(), beside.read_bytes()))


def _proposing(document: bytes, tests: bytes) -> Callable[[Officer], Awaitable[None]]:
    async def work(officer: Officer) -> None:
        response = await officer.propose(document, tests)
        click.echo(f"proposed: {response.summary.digest}")
        _print_summary(response.summary)
        _print_report(response.report)
        _exit_by(response.report)

    return work


@policy.command()
@connection_options
@click.argument("which", required=False)
@click.option("--document", "only_document", is_flag=True, help="The document alone, exactly as it was signed.")
def show(*, gateway: str, cert: Path, roots: Path | None, which: str | None, only_document: bool) -> None:
    """Show a draft or version, by digest or number; without WHICH, what is in force."""

    async def work(officer: Officer) -> None:
        shown = await _shown(officer, which or "")
        if only_document:
            sys.stdout.buffer.write(shown.document)
            return
        _print_summary(shown.summary)
        _print_report(shown.report)
        click.echo()
        click.echo(shown.document.decode())

    at_gateway(gateway, cert, roots, None, work)


@policy.command()
@connection_options
@signing
@click.argument("digest")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
def approve(*, gateway: str, cert: Path, roots: Path | None, key: Path, digest: str, yes: bool) -> None:
    """Show what DIGEST would newly release or withhold, ask, and sign exactly that document."""

    async def work(officer: Officer) -> None:
        shown = await _shown(officer, digest)
        _print_summary(shown.summary)
        _print_report(shown.report)
        if not yes and not click.confirm(f"approve version {shown.summary.version} as {officer.identity.name}?"):
            click.echo("nothing was signed")
            return
        _print_summary((await officer.approve(shown)).summary)

    at_gateway(gateway, cert, roots, key, work)


@policy.command()
@connection_options
@click.argument("digest")
def activate(*, gateway: str, cert: Path, roots: Path | None, digest: str) -> None:
    """Have DIGEST checked once more and bring it into force, or have it wait until it is effective."""

    async def work(officer: Officer) -> None:
        response = await officer.activate(await _digest_of(officer, digest))
        _print_report(response.report)
        _print_summary(response.summary)

    at_gateway(gateway, cert, roots, None, work)


@policy.command()
@connection_options
@click.argument("digest")
def withdraw(*, gateway: str, cert: Path, roots: Path | None, digest: str) -> None:
    """Take DIGEST back, which was proposed and not activated."""

    async def work(officer: Officer) -> None:
        full = await _digest_of(officer, digest)
        await officer.withdraw(full)
        click.echo(f"withdrawn: {full}")

    at_gateway(gateway, cert, roots, None, work)


@policy.command()
@connection_options
def history(*, gateway: str, cert: Path, roots: Path | None) -> None:
    """List drafts, then versions, the newest first; and to whom releasing is stopped."""

    async def work(officer: Officer) -> None:
        listed = await officer.history()
        for summary in listed.releases:
            approvers = ", ".join(each.name for each in summary.approvers) or "nobody yet"
            click.echo(
                f"{summary.version:>6}  {_state(summary):<10}  {summary.digest[:19]}  "
                f"proposed by {summary.proposer}, approved by {approvers}"
            )
        for stop in listed.stops:
            _print_stop(stop)

    at_gateway(gateway, cert, roots, None, work)


@policy.command()
@connection_options
@signing
@click.argument("version", type=click.IntRange(min=1))
@click.option("--as-version", type=click.IntRange(min=1), help="Its new number; the next one, if not given.")
@click.option("--expires", help="A new expiry (2027-07-10T00:00:00Z); needed where the old one has passed.")
@click.option("--tests", type=FILE, help="Tests for it; those of VERSION, if not named.")
def rollback(
    *,
    gateway: str,
    cert: Path,
    roots: Path | None,
    key: Path,
    version: int,
    as_version: int | None,
    expires: str | None,
    tests: Path | None,
) -> None:
    """Propose the rules of VERSION under a new number. It needs the same approvals; the checks say what it releases."""
    beside = tests.read_bytes() if tests else None

    async def work(officer: Officer) -> None:
        old = await officer.show(version=version)
        given = old.tests if beside is None else beside
        newest = max((each.version for each in (await officer.history()).releases), default=0)
        text = renumbered(old.document.decode(), as_version or newest + 1, expires)
        await _proposing(text.encode(), given)(officer)

    at_gateway(gateway, cert, roots, key, work)


def renumbered(document: str, version: int, expires: str | None) -> str:
    """Return a policy's document under another number, and with another expiry where one is given."""
    text, count = _VERSION_LINE.subn(f"version: {version}", document, count=1)
    if expires is not None:
        text, changed = re.subn(
            _INSTANT_LINE.format(name="expires"), f"expires: {expires}", text, count=1, flags=re.MULTILINE
        )
        count = min(count, changed)
    if not count:
        fail("the old document's version or expiry is not written as this command can change it", Exit.USAGE)
    return text


@policy.command()
@connection_options
@signing
@click.argument("recipient")
@click.option("--reason", required=True, help="Why; it stands in the audit trail and in the history.")
def stop(*, gateway: str, cert: Path, roots: Path | None, key: Path, recipient: str, reason: str) -> None:
    """Release nothing more to RECIPIENT (a nation, self or all), at once, messages that wait for a delay included.

    One officer suffices: it can only tighten. Cancellations still go to whoever was shown what they take back.
    """
    import time

    from broker.orders import OrderError

    async def work(officer: Officer) -> None:
        try:
            _print_stop(await officer.stop(recipient, reason, now_ns=time.time_ns()))
        except OrderError as error:
            raise click.UsageError(str(error)) from None

    at_gateway(gateway, cert, roots, key, work)


@policy.command()
@connection_options
@signing
@click.argument("recipient")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
def resume(*, gateway: str, cert: Path, roots: Path | None, key: Path, recipient: str, yes: bool) -> None:
    """Approve that releasing to RECIPIENT is no longer stopped. Lifted when as many approved as a policy needs."""

    async def work(officer: Officer) -> None:
        stops = {each.recipient: each for each in (await officer.history()).stops}
        if recipient not in stops:
            fail(f"releasing to {recipient} is not stopped", Exit.DENIED)
        _print_stop(stops[recipient])
        if not yes and not click.confirm(f"approve as {officer.identity.name} that it is lifted?"):
            click.echo("nothing was signed")
            return
        response = await officer.resume(stops[recipient])
        click.echo("lifted" if response.lifted else f"approved; not lifted yet: {response.stop.missing}")

    at_gateway(gateway, cert, roots, key, work)


@policy.command()
@connection_options
@click.argument("digest", required=False)
@click.option("--stop", "is_to_end", is_flag=True, help="End it.")
def shadow(*, gateway: str, cert: Path, roots: Path | None, digest: str | None, is_to_end: bool) -> None:
    """Run the draft DIGEST beside what is in force, on live messages; without it, say what it would have changed.

    It changes nothing that goes out. What is told is one JSON object.
    """

    async def work(officer: Officer) -> None:
        if digest is not None:
            await officer.start_shadow(await _digest_of(officer, digest))
            click.echo("in the shadow")
            return
        if is_to_end:
            await officer.stop_shadow()
        click.echo(await officer.shadow_report())

    at_gateway(gateway, cert, roots, None, work)


def explain_recorded(
    gateway: str | None, cert: Path | None, roots: Path | None, *, message: str, recipient: str, as_json: bool
) -> None:
    """Say why the gateway shows a recipient what it shows of a message that it recorded."""
    if gateway is None or cert is None:
        raise click.UsageError("name a policy and a message, or a recorded message with --gateway and --cert")

    async def work(officer: Officer) -> None:
        click.echo(await officer.explain(message, recipient, as_json=as_json))

    at_gateway(gateway, cert, roots, None, work)


async def _shown(officer: Officer, which: str) -> admin_pb2.ShowResponse:
    if which.isdigit():
        return await officer.show(version=int(which))
    return await officer.show(digest=await _digest_of(officer, which) if which else "")


async def _digest_of(officer: Officer, which: str) -> str:
    """Return the whole digest of which the beginning was given, with or without `sha256:`."""
    start = which if which.startswith("sha256:") else f"sha256:{which}"
    found = [each.digest for each in (await officer.history()).releases if each.digest.startswith(start)]
    return found[0] if len(found) == 1 else start


def _state(summary: admin_pb2.ReleaseSummary) -> str:
    from vedette.v1 import admin_pb2

    name: str = admin_pb2.ReleaseState.Name(summary.state)
    return name.removeprefix("RELEASE_STATE_").lower().replace("_", " ")


def _print_summary(summary: admin_pb2.ReleaseSummary) -> None:
    click.echo(f"version {summary.version}: {_state(summary)}, {summary.digest}")
    approvers = ", ".join(f"{each.name} ({each.duty})" for each in summary.approvers) or "nobody yet"
    click.echo(f"  proposed by {summary.proposer}, approved by {approvers}")
    if summary.missing:
        click.echo(f"  still missing: {summary.missing}")
    times = f"{summary.effective_at.ToJsonString()} until {summary.expires_at.ToJsonString()}"
    click.echo(f"  effective {times}")


def _print_report(report: admin_pb2.ReleaseReport) -> None:
    for check in report.checks:
        first, *more = check.text.splitlines() or [""]
        click.echo(f"  {'ok  ' if check.passed else 'FAIL'} {check.name}: {first}")
        for line in more:
            click.echo(f"       {line}")
    if report.diff:
        click.echo(f"  against version {report.against_version}, of which it would take the place:")
        for line in report.diff.splitlines():
            click.echo(f"    {line}")


def _print_stop(stop: admin_pb2.ReleaseStop) -> None:
    at = stop.stopped_at.ToJsonString()
    click.echo(f"STOPPED {stop.recipient}: by {stop.officer} at {at}: {stop.reason}")
    lifting = ", ".join(each.name for each in stop.lifting)
    click.echo(f"  to lift it: {stop.missing}" + (f" (so far {lifting})" if lifting else ""))


def _exit_by(report: admin_pb2.ReleaseReport) -> None:
    if not all(check.passed for check in report.checks):
        raise SystemExit(Exit.CHECK_FAILED)
