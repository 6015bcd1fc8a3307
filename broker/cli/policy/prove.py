"""`vedette policy prove|diff|can-release`: what is true of a policy for all messages. Needs the extra `prove`."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

import click

from broker.cli import Exit
from broker.cli.policy.group import FILE, policy, read_policy, text_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from types import ModuleType

    from broker.gateway.proof import Change, Changes, Proof, Verdict, Witness
    from broker.gateway.release import Level
    from broker.gateway.release.conditions import Predicate
    from broker.invariants import Invariants

QUIET_S: Final = 2.0  # a proof that takes longer says how far it is, wherever its messages go


@policy.command()
@click.argument("file", type=FILE)
@click.option("--invariants", type=FILE, help="The nation's invariants; invariants.yaml beside FILE, if not named.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def prove(file: Path, invariants: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click
    """Prove that FILE keeps the nation's invariants, for every possible message.

    Exit status: 0 all are proved; 1 one is refuted, by a message that is printed, or could not be decided.
    """
    from broker.gateway.release import PolicyError

    proof = _proof()
    beside = invariants or file.with_name("invariants.yaml")
    if not beside.exists():
        raise click.UsageError(f"no invariants at {beside}; name them with --invariants")
    release = read_policy(file)
    promised = _invariants(beside)
    try:
        with _Progress() as progress:
            found = proof.prove(release, promised, progress=progress)
    except PolicyError as error:
        click.echo(f"{beside}:{error.line}:{error.column}: {error.reason}", err=True)
        sys.exit(Exit.CHECK_FAILED)
    if as_json:
        click.echo(json.dumps({"policy": release.digest, "invariants": promised.digest, "proofs": _json_of(found)}))
    else:
        _print_proofs(found, proof, release.recipients)
    sys.exit(Exit.OK if all(each.holds for each in found) else Exit.CHECK_FAILED)


@policy.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("--except", "exception", metavar="CEL", help="Leave out the messages that match this condition.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def diff(old: Path, new: Path, exception: str | None, as_json: bool) -> None:  # noqa: FBT001 - click
    """Say what NEW releases that OLD does not, and what it takes away, for every possible message.

    Each change comes with a message on which both policies were tried.

    Exit status: 0 it is proved that NEW releases nothing new: nothing that OLD withholds, nothing finer, sooner,
    oftener or without a caveat, as long as both are in force; 1 it does, or it could not be decided.
    """
    proof = _proof()
    from broker.gateway.proof.telling import outlasts

    before, after = read_policy(old), read_policy(new)
    try:
        with _Progress() as progress:
            found = proof.changes(before, after, exception=_condition(exception), progress=progress)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        record = {
            "old": before.digest,
            "new": after.digest,
            "releases_nothing_new": found.releases_nothing_new,
            "outlasts": outlasts(before, after),
            "unknown": list(found.unknown),
            "changes": [_change_json(change) for change in found.found],
        }
        click.echo(json.dumps(record))
    else:
        if longer := outlasts(before, after):
            click.echo(longer)
        _print_changes(found, "" if exception is None else " but where --except holds")
    sys.exit(Exit.OK if found.releases_nothing_new else Exit.CHECK_FAILED)


@policy.command("can-release")
@click.argument("field")
@click.argument("file", type=FILE)
@click.option("--to", "recipient", required=True, help='A member\'s code, or "self".')
@click.option("--at-least", metavar="LEVEL", help="Ask for this level or finer: 50km, 10km, 1km, exact.")
@click.option("--finer-than", metavar="LEVEL", help="Ask for a finer level than this: 50km, 10km, 1km.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def can_release(
    field: str,
    file: Path,
    recipient: str,
    at_least: str | None,
    finer_than: str | None,
    as_json: bool,  # noqa: FBT001 - click
) -> None:
    """Say whether FILE can ever show FIELD (a leaf, a subtree or a group) to a recipient.

    Exit status: 0 it is proved that no message makes it; 1 the message that is printed does, or it could not be
    decided.
    """
    proof = _proof()
    release = read_policy(file)
    if recipient not in release.recipients:
        raise click.UsageError(f"{recipient} is no recipient of {file}: {', '.join(release.recipients)}")
    try:
        verdict = proof.can_release(release, field, recipient, _level(at_least, finer_than))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps(_verdict_json(verdict)))
    elif isinstance(verdict, proof.Proved):
        click.echo(f"proved: no message makes {file} show {field} to {recipient}")
    elif isinstance(verdict, proof.Refuted):
        click.echo(f"yes: {verdict.text}")
        _print_message(verdict.witness)
        click.echo(f"    rules: {', '.join(verdict.witness.rule_ids)}")
    else:
        click.echo(f"unknown: {verdict.reason}")
    sys.exit(Exit.OK if isinstance(verdict, proof.Proved) else Exit.CHECK_FAILED)


# --- what is asked ----------------------------------------------------------------------------------------------------


def _proof() -> ModuleType:
    try:
        import broker.gateway.proof
    except ImportError as error:
        raise click.UsageError(str(error)) from None
    return broker.gateway.proof


def _invariants(file: Path) -> Invariants:
    from broker.document import PolicyError
    from broker.invariants import Invariants

    try:
        return Invariants.parse(text_of(file))
    except PolicyError as error:
        click.echo(f"{file}:{error.line}:{error.column}: {error.reason}" + (f" ({error.hint})" if error.hint else ""))
        sys.exit(Exit.CHECK_FAILED)


def _condition(text: str | None) -> Predicate | None:
    from broker.gateway.release.conditions import ConditionError, condition

    try:
        return None if text is None else condition(text)
    except ConditionError as error:
        raise click.UsageError(f"--except: {error}") from None


def _level(at_least: str | None, finer_than: str | None) -> Level:
    from broker.gateway.release import Level
    from broker.gateway.release.lattice import level_of

    if at_least is not None and finer_than is not None:
        raise click.UsageError("--at-least or --finer-than, not both")
    text = at_least or finer_than
    level = level_of(text) if text is not None else Level.CELL_50KM
    if level is None or level is Level.WITHHELD or (finer_than is not None and level is Level.EXACT):
        raise click.UsageError(f"{text} is no level to ask for: 50km, 10km, 1km (or 60s, 10s, 1s), exact")
    return level if finer_than is None else Level(level + 1)


class _Progress:
    """One line on standard error that says how far it is: on a terminal at once, elsewhere once it takes long."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()
        self._has_said = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty() or time.monotonic() - self._since_s > QUIET_S:
            click.echo(f"\rproving: {done} of {total}", err=True, nl=False)
            self._has_said = True

    def __exit__(self, *_error: object) -> None:
        if self._has_said:
            click.echo(err=True)


# --- how it is told ---------------------------------------------------------------------------------------------------


def _print_proofs(found: list[Proof], proof: ModuleType, recipients: Collection[str]) -> None:
    counts = {"proved": 0, "refuted": 0, "unknown": 0}
    for each in found:
        name = _name_of(each.verdict)
        counts[name] += 1
        told = {proof.Refuted: "text", proof.Unknown: "reason"}.get(type(each.verdict))
        more = f": {getattr(each.verdict, told)}" if told is not None else ""
        if each.recipient not in recipients:
            more = f": the policy does not name {each.recipient}, nothing goes there"
        word = name if name == "proved" else name.upper()
        click.echo(f"{word:8} {each.invariant.invariant_id} {each.recipient}{more}")
        if isinstance(each.verdict, proof.Refuted):
            _print_message(each.verdict.witness)
            click.echo(f"    rules: {', '.join(each.verdict.witness.rule_ids)}")
            click.echo(f"    promised: {each.invariant.reason}")
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))


def _print_changes(found: Changes, limited: str) -> None:
    from broker.gateway.proof.telling import briefly

    for change in found.found:
        click.echo(f"{change.recipient}, {change.body}: {change.kind.value}: {briefly(change.what)}")
        click.echo(f"    {change.old} -> {change.new}")
        _print_message(change.after)
        click.echo(f"    rules: {', '.join(change.before.rule_ids)} -> {', '.join(change.after.rule_ids)}")
    for reason in found.unknown:
        click.echo(f"unknown: {reason}")
    looser = sum(change.kind.is_looser for change in found.found)
    click.echo(f"{looser} looser, {len(found.found) - looser} tighter, {len(found.unknown)} unknown")
    if found.releases_nothing_new:
        click.echo(f"proved: releases nothing new{limited}")


def _print_message(witness: Witness) -> None:
    from broker.gateway.proof.telling import brief_message

    click.echo(f"    message: {brief_message(witness.subject)}")


def _name_of(verdict: Verdict) -> str:
    return type(verdict).__name__.lower()


def _json_of(found: list[Proof]) -> list[dict[str, Any]]:
    return [
        {"invariant": each.invariant.invariant_id, "recipient": each.recipient, **_verdict_json(each.verdict)}
        for each in found
    ]


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    from broker.gateway.proof import Refuted, Unknown

    record: dict[str, Any] = {"verdict": _name_of(verdict)}
    if isinstance(verdict, Refuted):
        record |= {"text": verdict.text, **_witness_json(verdict.witness)}
    elif isinstance(verdict, Unknown):
        record["reason"] = verdict.reason
    return record


def _witness_json(witness: Witness) -> dict[str, Any]:
    from broker.gateway.proof.telling import message_tree

    return {"message": message_tree(witness.subject), "decision": json.loads(witness.decision.to_json())}


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "looser": change.kind.is_looser,
        "recipient": change.recipient,
        "body": change.body,
        "what": list(change.what),
        "old": change.old,
        "new": change.new,
        **_witness_json(change.after),
        "old_decision": json.loads(change.before.decision.to_json()),
    }
