"""Every reason for which something can be refused is given by somebody: one that nobody gives misleads its readers."""

from __future__ import annotations

from pathlib import Path

from certs.identity import Kind
from vedette.v1.refusal_pb2 import Reason

ROOT = Path(__file__).resolve().parents[2]
NO_REASON = {"REASON_UNSPECIFIED"}


def test_every_reason_is_given_by_somebody() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8") for folder in ("broker", "certs") for path in (ROOT / folder).rglob("*.py")
    )
    by_identity = {f"REASON_{kind}" for kind in Kind}  # broker.rpc makes these from the kind
    unused = [name for name in Reason.keys() if f"Reason.{name}" not in code]  # noqa: SIM118 - an enum wrapper
    assert set(unused) - by_identity <= NO_REASON


def test_every_kind_of_wrong_identity_is_a_reason() -> None:
    assert {f"REASON_{kind}" for kind in Kind} <= set(Reason.keys())
