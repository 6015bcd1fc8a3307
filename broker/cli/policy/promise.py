"""`vedette policy sign-invariants`: what a nation promises of its releases, signed by its security officers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from broker.cli import Exit
from broker.cli.policy.group import FILE, policy, text_of

if TYPE_CHECKING:
    from pathlib import Path


@policy.command("sign-invariants")
@click.argument("file", type=FILE)
@click.option("--key", required=True, type=FILE, help="The security officer's own key.")
@click.option("--anew", is_flag=True, help="Drop the signatures that are there: of an earlier text.")
def sign_invariants(file: Path, key: Path, anew: bool) -> None:  # noqa: FBT001 - click's interface
    """Sign FILE, once it can be read as invariants; the signature joins those beside it, in FILE's name with .sig.json.

    A gateway whose settings name FILE registers it with the hub, which then stops whatever of the nation's own breaks
    it. Whoever signs a changed text first does so with --anew: what was signed before it would not hold.
    """
    from broker.document import PolicyError
    from broker.gateway.release.conditions import ConditionError, condition
    from broker.hub.when import Condition, NotPlainError
    from broker.invariants import PAYLOAD_TYPE, Invariants
    from certs.dsse import DocumentError, decode, encode
    from certs.keyring import KeyringError, load_signer
    from certs.signature import sign_document

    text = text_of(file)
    try:
        for each in Invariants.parse(text).invariants:
            condition(each.when)
            Condition.parse(each.when)  # what the hub would not take, it would hold us to the version before
    except (PolicyError, ConditionError, NotPlainError) as error:
        click.echo(f"{file}: {error}")
        sys.exit(Exit.CHECK_FAILED)
    beside, document = file.with_suffix(".sig.json"), file.read_bytes()
    try:
        signer = load_signer(key)
        new = sign_document(PAYLOAD_TYPE, document, signer)
        old = decode(beside.read_bytes()).signatures if beside.exists() and not anew else {}
        both = {**old, **decode(new).signatures}
    except (KeyringError, DocumentError) as error:
        click.echo(f"{beside if isinstance(error, DocumentError) else key}: {error}", err=True)
        sys.exit(Exit.UNVERIFIED)
    beside.write_bytes(encode(PAYLOAD_TYPE, None, list(both.items())))
    click.echo(f"signed: {beside}")
