"""protos/README.md says what the code does: every reason, the numbers of the limits, the example byte for byte."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import pytest
from nacl.signing import SigningKey

from broker import limits
from broker.stages import Leg
from certs.signature import leaf_hash, seal_batch, verify_seal
from vedette.v1 import content_pb2, envelope_pb2
from vedette.v1.envelope_pb2 import SignatureAlgorithm
from vedette.v1.refusal_pb2 import Reason

if TYPE_CHECKING:
    from pathlib import Path

UNITS: Final = {"": 1, "bytes": 1, "KiB": 1024, "MiB": 1024**2, "s": 1}
PER_SECOND: Final = {"_NS": 1_000_000_000, "_MS": 1_000}


def test_every_reason_stands_in_the_table_with_its_number(readme: str) -> None:
    table = {name: int(number) for number, name in re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", readme, re.MULTILINE)}
    defined = {name.removeprefix("REASON_"): value for name, value in Reason.items() if value}
    assert table == defined


def test_every_limit_in_the_table_has_the_value_that_the_code_has(readme: str) -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) ?(\w*) \|", readme, re.MULTILINE)
    assert len(rows) > 20
    for name, number, unit in rows:
        scale = PER_SECOND.get(name[-3:], 1) if unit == "s" else 1
        assert getattr(limits, name) == int(number) * UNITS[unit] * scale, name


def test_a_limit_that_is_named_with_a_reason_names_a_real_one(readme: str) -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| [^|]+ \| ([A-Z_]{4,})", readme, re.MULTILINE)
    for _name, reason in rows:
        assert f"REASON_{reason}" in Reason.keys()  # noqa: SIM118 - an enum wrapper is no mapping


def test_every_leg_of_the_metrics_is_a_step_of_the_page(readme: str) -> None:
    steps = set(re.findall(r"^\*\*(\d)b? ", readme, re.MULTILINE))
    assert {leg.value.split("-")[0] for leg in Leg} <= steps
    assert steps == set("123456789")


@pytest.mark.parametrize(
    ("step", "module"),
    [
        ("1 Intake", "gateway/intake.py"),
        ("5 Admit", "hub/admit.py"),
        ("5b Guard", "hub/guard.py"),
        ("8 Unseal", "gateway/unseal.py"),
    ],
)
def test_the_checks_of_a_step_are_numbered_as_in_the_code(readme: str, protos: Path, step: str, module: str) -> None:
    text = readme.split(f"**{step}**")[1].split("\n**", maxsplit=1)[0]
    on_the_page = [int(number) for number in re.findall(r"(?:^|[.:] |\n)(\d+)\. ", text)]
    code = (protos.parent / "broker" / module).read_text(encoding="utf-8")
    in_the_code = {int(number) for number in re.findall(rf"# {step.split(maxsplit=1)[0]}\.(\d+)", code)}
    assert on_the_page == list(range(1, len(on_the_page) + 1))
    assert in_the_code == set(on_the_page)


def test_the_link_list_names_real_headings(readme: str) -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^## (.+)$", readme, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", readme)) == headings


class TestTheWorkedExample:
    """The seal of the page, by the code and without it."""

    @pytest.fixture
    def example(self, readme: str) -> dict[str, bytes]:
        rows = re.findall(r"^(header|body|leaf|signed|public|key_id|signature) +([0-9a-f]+)$", readme, re.MULTILINE)
        return {name: bytes.fromhex(text) for name, text in rows}

    def test_header_and_body_are_what_the_text_says(self, example: dict[str, bytes]) -> None:
        header = envelope_pb2.RoutingHeader.FromString(example["header"])
        content = content_pb2.Content.FromString(example["body"])
        assert (header.origin, header.recipient, header.mode) == ("KOR", "JPN", content_pb2.MODE_TEST)
        assert content.WhichOneof("body") == "canary"
        assert content.header.message_id == header.message_id

    def test_the_bytes_lead_to_the_signature_by_what_the_page_says_alone(self, example: dict[str, bytes]) -> None:
        statement = b"".join(_string(text) for text in ("vedette/v1/seal", "KOR", "JPN"))
        statement += (3).to_bytes(4, "big") + (1).to_bytes(8, "big") + example["leaf"]
        assert statement == example["signed"]
        key = SigningKey(bytes(range(32)))
        assert bytes(key.verify_key) == example["public"]
        assert hashlib.sha256(example["public"]).digest()[:16] == example["key_id"]
        assert key.sign(statement).signature == example["signature"]

    def test_the_code_makes_and_accepts_the_same_seal(self, example: dict[str, bytes]) -> None:
        leaf = leaf_hash(example["header"], example["body"])
        assert leaf == example["leaf"]
        (seal,) = seal_batch([leaf], origin="KOR", recipient="JPN", mode=3, signers=[ExampleKey(example)])
        (signature,) = seal.signatures
        assert (seal.tree_size, seal.leaf_index, list(seal.path)) == (1, 0, [])
        assert signature.value == example["signature"]
        keys = {example["key_id"]: ExampleKey(example)}
        verify_seal(seal, leaf, origin="KOR", recipient="JPN", mode=3, keys=keys)


class ExampleKey:
    """The key of the page, as a signer and as a verifier."""

    algorithm = SignatureAlgorithm.SIGNATURE_ALGORITHM_ED25519

    def __init__(self, example: dict[str, bytes]) -> None:
        self.key_id, self.public = example["key_id"], example["public"]

    def sign(self, statement: bytes) -> bytes:
        return SigningKey(bytes(range(32))).sign(statement).signature


def _string(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "big") + text.encode()
