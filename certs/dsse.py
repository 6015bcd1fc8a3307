"""The envelope of a signed document: DSSE, version 1 (github.com/secure-systems-lab/dsse).

What is signed is the type and the bytes, each behind its length, so that a policy can never be passed off as a members
document. Two forms: with the payload inside (the members document), or without it, beside the file that it signs (a
release policy stays a file that people read and compare).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOCUMENT_BYTES_MAX: Final = 1024 * 1024  # a members document of a hundred members is under 300 KiB
SIGNATURES_MAX: Final = 64  # one per member or officer


class DocumentError(Exception):
    """A signed document does not hold; the text says why, and never which key would have."""


class SignedTwice(DocumentError):  # noqa: N818 - what happened
    """One key stands under a document twice, so that one person would count as two."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A document with its signatures, none of them checked. `payload` is None where it is kept beside."""

    payload_type: str
    payload: bytes | None
    signatures: Mapping[str, bytes]  # by key id as it stands in the document, hexadecimal


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def encode(payload_type: str, payload: bytes | None, signatures: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the JSON of a signed document. Without payload: the detached form."""
    document: dict[str, object] = {"payloadType": payload_type}
    if payload is not None:
        document["payload"] = base64.b64encode(payload).decode()
    document["signatures"] = [{"keyid": key, "sig": base64.b64encode(value).decode()} for key, value in signatures]
    return dump_json(document)


def decode(data: bytes) -> Signed:
    """Return what stands in the JSON, strictly: a key that is unknown, missing or there twice is an error."""
    document = load_json(data)
    names = {"payloadType", "signatures"}
    if not isinstance(document, dict) or set(document) not in (names, names | {"payload"}):
        raise DocumentError("must be a DSSE envelope: payloadType, payload (unless detached) and signatures")
    kind, listed = document["payloadType"], document["signatures"]
    if not isinstance(kind, str) or not isinstance(listed, list) or not 1 <= len(listed) <= SIGNATURES_MAX:
        raise DocumentError(f"payloadType must be text, signatures a list of 1 to {SIGNATURES_MAX}")
    signatures: dict[str, bytes] = {}
    for entry in listed:
        if not isinstance(entry, dict) or set(entry) != {"keyid", "sig"} or not isinstance(entry["keyid"], str):
            raise DocumentError("each signature must have keyid and sig")
        if entry["keyid"] in signatures:
            raise SignedTwice("two signatures by one key")
        signatures[entry["keyid"]] = _base64(entry["sig"])
    payload = _base64(document["payload"]) if "payload" in document else None
    return Signed(kind, payload, signatures)


def dump_json(document: object) -> bytes:
    """Return JSON as our files have it."""
    return json.dumps(document, indent=1).encode() + b"\n"


def load_json(data: bytes) -> object:
    """Parse JSON, strictly: bounded, UTF-8, no key twice, no NaN, no half of a letter. Raises DocumentError."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise DocumentError(f"larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        document: object = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_never)
        json.dumps(document, ensure_ascii=False).encode()  # an escaped surrogate alone is text that nothing can write
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not JSON: {error}") from error
    return document


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):  # two readers would take different ones
        raise ValueError("a key stands twice in one object")
    return table


def _never(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise DocumentError("must be text in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError("not base64") from error
