"""`vedette policy schema`: the JSON Schemas by which editors complete and check policies while they are written."""

from __future__ import annotations

import json

import click

from broker.cli.policy.group import policy


@policy.command()
@click.option("--tests", is_flag=True, help="The schema of release.test.yaml instead.")
def schema(tests: bool) -> None:  # noqa: FBT001 - click
    """Print the JSON Schema of release policies.

    An editor that knows it completes keys, leaves and levels, and marks slips. It knows nothing of conditions:
    `vedette policy lint` has the last word. The files in docs/schemas are what this prints.
    """
    from broker.gateway.release.schema import schema_of_policies, schema_of_tests

    click.echo(json.dumps(schema_of_tests() if tests else schema_of_policies(), ensure_ascii=False, indent=2))
