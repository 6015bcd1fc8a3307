"""`vedette policy test|explain|leaves`: what can be said of a policy file by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from broker.cli import Exit
from broker.cli.connection import connection_options_if_any
from broker.cli.policy import formats
from broker.cli.policy.group import FILE, policy, read_policy, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from broker.gateway.release import Policy, TestResult, TestRun

TEST_FORMATS: Final = ("pretty", "json", "github", "junit")


@policy.command()
@click.argument("file", type=FILE)
@click.option("--tests", type=FILE, help="The tests; FILE's name with .test.yaml, if not named.")
@click.option("--coverage", is_flag=True, help="Fail unless every rule matched in some test.")
@click.option("--group-coverage", is_flag=True, help="Fail unless every group was shown in some test.")
@click.option("--format", "form", type=click.Choice(TEST_FORMATS), default="pretty", help="How to say it.")
def test(
    file: Path,
    tests: Path | None,
    coverage: bool,  # noqa: FBT001 - click
    group_coverage: bool,  # noqa: FBT001 - click
    form: str,
) -> None:
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
    untried = [f"rule {rule_id} matched in no test" for rule_id in run.rules_untried if coverage]
    untried += [f"group {group} was shown in no test" for group in run.groups_untried if group_coverage]
    if said := _said(run, beside, release, form, untried):
        click.echo(said)
    if not run.passed or untried:
        sys.exit(Exit.CHECK_FAILED)


def _said(run: TestRun, beside: Path, release: Policy, form: str, untried: list[str]) -> str:
    match form:
        case "json":
            return formats.as_json(beside, _record(run, release))
        case "github":
            failed = [each for each in run.results if not each.passed]
            notes = [
                formats.Note(
                    is_error=True, code="policy-test", line=each.line, column=1, message=f"{_name(each)}: {text}"
                )
                for each in failed
                for text in each.differences
            ]
            notes += [formats.Note(is_error=True, code="coverage", line=1, column=1, message=text) for text in untried]
            return formats.github(notes, beside)
        case "junit":
            cases = [formats.Case(_name(each), "tests", each.line, each.differences) for each in run.results]
            cases += [formats.Case(text, "coverage", 1, (text,)) for text in untried]
            return formats.junit("vedette policy test", beside, cases)
        case _:
            return "\n".join(_lines(run, beside, release))


def _name(result: TestResult) -> str:
    return f"{result.name}, {result.recipient}"


def _record(run: TestRun, release: Policy) -> dict[str, object]:
    tried = {"all": len(release.rules), "tried": run.rules_tried, "untried": run.rules_untried}
    shown = {"all": len(release.groups), "shown": run.groups_tried, "untried": run.groups_untried}
    results = [
        {
            "name": each.name,
            "to": each.recipient,
            "passed": each.passed,
            "line": each.line,
            "differences": each.differences,
        }
        for each in run.results
    ]
    return {"passed": run.passed, "results": results, "rules": tried, "groups": shown}


def _lines(run: TestRun, beside: Path, release: Policy) -> Iterator[str]:
    for result in run.results:
        yield f"{'ok  ' if result.passed else 'FAIL'} {result.recipient:>4}  {result.name}"
        for difference in result.differences:
            yield f"           {beside}:{result.line}: {difference}"
    failed = sum(not result.passed for result in run.results)
    yield f"{len(run.results) - failed} passed, {failed} failed"
    yield f"rules tried {run.rules_tried}/{len(release.rules)}, groups shown {run.groups_tried}/{len(release.groups)}"
    if run.rules_untried:
        yield "untried rules: " + ", ".join(run.rules_untried)
    if run.groups_untried:
        yield "groups never shown: " + ", ".join(run.groups_untried)


@policy.command()
@click.argument("file", metavar="[FILE]")
@click.argument("message", required=False)
@click.option("--to", "recipient", required=True, help='A member\'s code, or "self".')
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@connection_options_if_any
def explain(
    *,
    file: str,
    message: str | None,
    recipient: str,
    as_json: bool,
    gateway: str | None,
    cert: Path | None,
    roots: Path | None,
) -> None:
    """Say what FILE shows of MESSAGE to a recipient, and why; or what the gateway does, of a message that it recorded.

    With FILE, MESSAGE is a JSON file: {"content": {…}, "label": {…}, "precedence": "PRECEDENCE_…"} in protobuf's JSON.
    Without it, MESSAGE is the id under which a system reported it, or its name in the audit trail; an officer's --cert
    and --gateway are needed.
    """
    if message is None:
        from broker.cli.policy.approval import explain_recorded

        explain_recorded(gateway, cert, roots, message=file, recipient=recipient, as_json=as_json)
    else:
        _explain_file(_existing(file), _existing(message), recipient, as_json=as_json)


def _existing(name: str) -> Path:
    path: Path = FILE.convert(name, None, None)
    return path


def _explain_file(file: Path, message: Path, recipient: str, *, as_json: bool) -> None:
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
