"""`vedette policy lint|test|explain|leaves`: what can be said of a policy file by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from broker.cli import Exit
from broker.cli.policy.group import FILE, policy, read_policy, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from broker.gateway.release import TestRun


@policy.command()
@click.argument("file", type=FILE)
@click.option("--nation", help="Whose policy it must be.")
@click.option("--member", "members", multiple=True, help="A member that may be a recipient; all, if none is named.")
@click.option("--strict", is_flag=True, help="Warnings fail as errors do.")
def lint(file: Path, nation: str | None, members: tuple[str, ...], strict: bool) -> None:  # noqa: FBT001 - click
    """Say what is wrong with FILE, with line and column."""
    from broker.gateway.release import Severity
    from broker.gateway.release import lint as findings_of

    findings = findings_of(text_of(file), nation=nation, members=members or None)
    for finding in findings:
        click.echo(f"{file}:{finding}")
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    click.echo(f"{errors} errors, {len(findings) - errors} warnings")
    if errors or (strict and findings):
        sys.exit(Exit.CHECK_FAILED)


@policy.command()
@click.argument("file", type=FILE)
@click.option("--tests", type=FILE, help="The tests; FILE's name with .test.yaml, if not named.")
@click.option("--coverage", is_flag=True, help="Fail unless every rule matched in some test.")
def test(file: Path, tests: Path | None, coverage: bool) -> None:  # noqa: FBT001 - click
    """Run the tests beside FILE."""
    from broker.gateway.release import PolicyError, run_tests

    beside = tests or file.with_suffix(".test.yaml")
    if not beside.exists():
        raise click.UsageError(f"no tests at {beside}; name them with --tests")
    release = read_policy(file)
    try:
        run = run_tests(release, text_of(beside))
    except PolicyError as error:
        click.echo(f"{beside}: {error}", err=True)
        sys.exit(Exit.CHECK_FAILED)
    _print_run(run, beside, len(release.rules), len(release.groups))
    if not run.passed or (coverage and run.rules_untried):
        sys.exit(Exit.CHECK_FAILED)


def _print_run(run: TestRun, beside: Path, rules: int, groups: int) -> None:
    for result in run.results:
        click.echo(f"{'ok  ' if result.passed else 'FAIL'} {result.recipient:>4}  {result.name}")
        for difference in result.differences:
            click.echo(f"           {beside}:{result.line}: {difference}")
    failed = sum(not result.passed for result in run.results)
    click.echo(f"{len(run.results) - failed} passed, {failed} failed")
    click.echo(f"rules tried {run.rules_tried}/{rules}, groups shown {run.groups_tried}/{groups}")
    if run.rules_untried:
        click.echo("untried rules: " + ", ".join(run.rules_untried))


@policy.command()
@click.argument("file", type=FILE)
@click.argument("message", type=FILE)
@click.option("--to", "recipient", required=True, help='A member\'s code, or "self".')
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def explain(file: Path, message: Path, recipient: str, as_json: bool) -> None:  # noqa: FBT001 - click
    """Say what FILE shows of MESSAGE to a recipient, and why.

    MESSAGE is a JSON file: {"content": {…}, "label": {…}, "precedence": "PRECEDENCE_…"} in protobuf's JSON.
    """
    from broker.gateway.release import explain as explanation_of
    from broker.gateway.release import subject_of
    from broker.refusal import Refused

    release = read_policy(file)
    try:
        subject = subject_of(text_of(message))
    except (ValueError, Refused) as error:
        raise click.UsageError(f"{message}: {error}") from None
    story = explanation_of(release, subject, recipient)
    click.echo(story.to_json() if as_json else str(story))


@policy.command()
def leaves() -> None:
    """List every leaf that a policy must place, and the digest of the messages they belong to."""
    from broker.content import LEAVES, SCHEMA_DIGEST
    from vedette.v1.options_pb2 import Coarsening

    click.echo(f"# schema: {SCHEMA_DIGEST}")
    for path, leaf in LEAVES.items():
        form = Coarsening.Name(leaf.coarsening).removeprefix("COARSENING_").lower().replace("_", " ")
        click.echo(f"{path}  # {'exact or withheld' if form == 'unspecified' else form}")
