"""`vedette policy sign`: propose and approve a policy file where no gateway is at hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from broker.cli import Exit
from broker.cli.policy.group import FILE, policy, read_policy

if TYPE_CHECKING:
    from pathlib import Path


@policy.command()
@click.argument("file", type=FILE)
@click.option("--key", required=True, type=FILE, help="The officer's own key.")
@click.option(
    "--as",
    "role",
    required=True,
    type=click.Choice(["proposer", "approver"]),
    help="Whoever proposes begins anew; others approve, at least one of each duty.",
)
def sign(file: Path, key: Path, role: str) -> None:
    """Sign FILE, once it can be read as a policy; signatures go beside it as FILE's name with .sig.json.

    This is how the first policy comes to a gateway. Later ones go by `propose`, `approve` and `activate`, which prove
    and try them too.
    """
    from certs.approval import PAYLOAD_TYPE, PROPOSAL_TYPE, ApprovalRefused, Signed, Why, added
    from certs.dsse import DocumentError, decode
    from certs.keyring import KeyringError, load_signer
    from certs.signature import sign_document

    read_policy(file)
    document, beside = file.read_bytes(), file.with_suffix(".sig.json")
    try:
        signer = load_signer(key)
        if role == "proposer":
            signed = Signed(document, sign_document(PROPOSAL_TYPE, document, signer), b"")
        else:
            signed = Signed.of_file(document, beside.read_bytes()) if beside.exists() else Signed(document, b"", b"")
            if not signed.proposal:
                raise click.UsageError(f"{beside}: nobody has proposed it; sign it --as proposer first")
            if signer.key_id.hex() in decode(signed.proposal).signatures:
                raise ApprovalRefused(Why.PROPOSER_APPROVES, "whoever proposed it does not approve it")
            signed = added(signed, sign_document(PAYLOAD_TYPE, document, signer))
            decode(signed.approvals)  # nobody signs twice
    except (KeyringError, DocumentError) as error:
        click.echo(f"{beside}: {error}" if isinstance(error, DocumentError) else f"{key}: {error}", err=True)
        sys.exit(Exit.UNVERIFIED)
    beside.write_bytes(signed.to_file())
    click.echo(f"signed as {role}: {beside}")
