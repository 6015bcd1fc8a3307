"""The members document as JSON: strict both ways. A key that is unknown or missing, or a wrong type, is an error.

Bytes stand in base64, certificates as PEM, times as `2026-11-22T10:00:00Z`, modes and purposes by name. What is wrong
in itself is refused here, whoever signed it: roots that could vouch for others, a key that serves twice, pairs of
strangers, a threshold that two halves could reach apart. Whether the signatures suffice is asked in `certs.members`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from certs import certificate, dsse
from certs.identity import MODE_NAMES, MODES, IdentityError, MemberId, member_id
from certs.roster import ONE_EACH, Duty, Member, MemberKey, Members, Officer, Pair, PublicKey, Purpose, key_id_of
from vedette.v1.envelope_pb2 import SignatureAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "vedette-members/v1"
MEMBERS_MAX: Final = 100
KEYS_MAX: Final = 32  # of one member: modes x (current, next, some that only verify)
OFFICERS_MAX: Final = 32
REVOKED_MAX: Final = 4096
LEAVES_MAX: Final = 1024
ED25519_BYTES: Final = 32
SCHEMA_VERSION_MAX: Final = 1_000_000

_ALGORITHMS: Final = {"ED25519": SignatureAlgorithm.SIGNATURE_ALGORITHM_ED25519}
_ALGORITHM_NAMES: Final = {number: name for name, number in _ALGORITHMS.items()}
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_LEAF: Final = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+){0,15}")
_OFFICER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")


def digest_of(payload: bytes) -> str:
    """Return the digest by which a version is pinned and named by the next."""
    return "sha256:" + hashlib.sha256(payload).hexdigest()


def encode(members: Members) -> bytes:
    """Return the bytes to be signed. `members.digest` is not among them: it is theirs."""
    document = {
        "format": FORMAT,
        "version": members.version,
        "previous": members.previous,
        "expires": _time_text(members.expires_ns),
        "threshold": members.threshold,
        "members": [_member_table(member) for _, member in sorted(members.members.items())],
        "pairs": [_pair_table(pair, ends) for ends, pair in sorted(members.pairs.items(), key=lambda item: item[0])],
        "revoked": sorted(members.revoked),
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def decode(payload: bytes) -> Members:
    """Return what the document says. Raises DocumentError."""
    table = _table(
        dsse.load_json(payload),
        "the document",
        {"format", "version", "previous", "expires", "threshold", "members", "pairs", "revoked"},
    )
    if table["format"] != FORMAT:
        raise dsse.DocumentError(f"format is not {FORMAT}")
    version = _number(table["version"], "version", least=1, most=2**31)
    previous = _text(table["previous"], "previous")
    if bool(_DIGEST.fullmatch(previous)) != (version > 1) or (version == 1 and previous):
        raise dsse.DocumentError("previous must be the digest of the version before, and empty in version 1 only")
    listed = [_member(entry) for entry in _list(table["members"], "members", MEMBERS_MAX)]
    members = {member.code: member for member in listed}
    if len(members) != len(listed):
        raise dsse.DocumentError("a member stands twice in members")
    _check_members(members)
    nations = sum(1 for member in listed if not member.is_hub)
    revoked = [_match(entry, "revoked", _FINGERPRINT) for entry in _list(table["revoked"], "revoked", REVOKED_MAX)]
    return Members(
        version=version,
        digest=digest_of(payload),
        previous=previous,
        expires_ns=_time(table["expires"], "expires"),
        # More than half: otherwise two groups could each sign a version of their own.
        threshold=_number(table["threshold"], "threshold", least=nations // 2 + 1, most=nations),
        members=members,
        pairs=_pairs(table["pairs"], members),
        revoked=frozenset(revoked),
    )


def _check_members(members: Mapping[MemberId, Member]) -> None:
    if all(member.is_hub for member in members.values()) or not any(member.is_hub for member in members.values()):
        raise dsse.DocumentError("there must be a nation and a hub")
    roots = {certificate.key_id(member.root_pem) for member in members.values()}
    if len(roots) != len(members):
        raise dsse.DocumentError("two members have the same root")
    keys = [key.key_id for member in members.values() for key in member.keys]
    keys += [officer.key.key_id for member in members.values() for officer in member.officers.values()]
    if len(set(keys)) != len(keys):
        raise dsse.DocumentError("one key stands twice: each serves one member, one mode and one purpose")


def _member(value: object) -> Member:
    names = {"code", "name", "hub", "joined", "root", "schema_versions", "keys", "officers"}
    table = _table(value, "a member", names, optional={"approvals"})
    try:
        code = member_id(_text(table["code"], "code"))
        root_pem = _text(table["root"], f"{code}: root").encode()
        certificate.check_root(root_pem, code)
    except (IdentityError, certificate.CertificateError) as error:
        raise dsse.DocumentError(str(error)) from error
    is_hub = table["hub"]
    if not isinstance(is_hub, bool):
        raise dsse.DocumentError(f"{code}: hub must be true or false")
    spoken = _table(table["schema_versions"], f"{code}: schema_versions", {"least", "most"})
    least = _number(spoken["least"], f"{code}: least", least=1, most=SCHEMA_VERSION_MAX)
    officers = [_officer(entry, code) for entry in _list(table["officers"], f"{code}: officers", OFFICERS_MAX)]
    if len(dict(officers)) != len(officers) or (is_hub and officers):
        raise dsse.DocumentError(f"{code}: each officer once, and none at a hub: it releases nothing")
    keys = tuple(_key(entry, code) for entry in _list(table["keys"], f"{code}: keys", KEYS_MAX))
    if any((key.purpose is Purpose.PICTURE) != is_hub for key in keys):
        raise dsse.DocumentError(f"{code}: picture keys are a hub's, seal keys a nation's")
    return Member(
        code=code,
        name=_text(table["name"], f"{code}: name"),
        root_pem=root_pem,
        keys=keys,
        officers=dict(officers),
        schema_versions=(least, _number(spoken["most"], f"{code}: most", least=least, most=SCHEMA_VERSION_MAX)),
        is_hub=is_hub,
        joined_ns=_time(table["joined"], f"{code}: joined"),
        approvals=_approvals(table["approvals"], code) if "approvals" in table else ONE_EACH,
    )


def _key(value: object, code: MemberId) -> MemberKey:
    where = f"{code}: a key"
    table = _table(value, where, {"algorithm", "public", "mode", "purpose", "sign_until", "verify_until"})
    mode = _text(table["mode"], where)
    purpose = _text(table["purpose"], where)
    if mode not in MODES or purpose not in set(Purpose):
        raise dsse.DocumentError(f"{where}: unknown mode or purpose")
    algorithm, public = _public(table, where)
    sign_until_ns = _time(table["sign_until"], where)
    verify_until_ns = _time(table["verify_until"], where)
    if sign_until_ns >= verify_until_ns:
        raise dsse.DocumentError(f"{where}: sign_until must lie before verify_until")
    return MemberKey(
        key_id_of(public), algorithm, public, MODES[mode], Purpose(purpose), sign_until_ns, verify_until_ns
    )


def _officer(value: object, code: MemberId) -> tuple[str, Officer]:
    """Return an officer by name. One without a duty is from a document of before there were two, when all had this."""
    where = f"{code}: an officer"
    table = _table(value, where, {"name", "algorithm", "public"}, optional={"duty"})
    duty = _text(table.get("duty", Duty.POLICY.value), where)
    if duty not in set(Duty):
        raise dsse.DocumentError(f"{where}: duty must be one of {', '.join(Duty)}")
    algorithm, public = _public(table, where)
    name = _match(table["name"], where, _OFFICER)
    return name, Officer(name, Duty(duty), PublicKey(key_id_of(public), algorithm, public))


def _approvals(value: object, code: MemberId) -> dict[Duty, int]:
    where = f"{code}: approvals"
    table = _table(value, where, {duty.value for duty in Duty})
    return {duty: _number(table[duty.value], f"{where}: {duty}", least=1, most=OFFICERS_MAX) for duty in Duty}


def _public(table: Mapping[str, object], where: str) -> tuple[SignatureAlgorithm.ValueType, bytes]:
    algorithm = _ALGORITHMS.get(_text(table["algorithm"], where))
    if algorithm is None:
        raise dsse.DocumentError(f"{where}: algorithm must be one of {', '.join(_ALGORITHMS)}")
    try:
        public = base64.b64decode(_text(table["public"], where), validate=True)
    except binascii.Error as error:
        raise dsse.DocumentError(f"{where}: public is not base64") from error
    if len(public) != ED25519_BYTES:
        raise dsse.DocumentError(f"{where}: public must be {ED25519_BYTES} bytes")
    return algorithm, public


def _pairs(value: object, members: Mapping[MemberId, Member]) -> dict[tuple[MemberId, MemberId], Pair]:
    pairs: dict[tuple[MemberId, MemberId], Pair] = {}
    for entry in _list(value, "pairs", MEMBERS_MAX * MEMBERS_MAX):
        table = _table(entry, "a pair", {"origin", "recipient", "leaves", "third_party"})
        ends = (MemberId(_text(table["origin"], "origin")), MemberId(_text(table["recipient"], "recipient")))
        if ends in pairs or ends[0] == ends[1] or any(end not in members or members[end].is_hub for end in ends):
            raise dsse.DocumentError(f"pair {ends[0]}-{ends[1]}: two different nations of the document, once")
        third_party, leaves = table["third_party"], table["leaves"]
        if not isinstance(third_party, bool):
            raise dsse.DocumentError("third_party must be true or false")
        allowed = None
        if leaves != "all":
            allowed = frozenset(_match(leaf, "leaves", _LEAF) for leaf in _list(leaves, "leaves", LEAVES_MAX))
        pairs[ends] = Pair(allowed, third_party)
    return pairs


def _member_table(member: Member) -> dict[str, object]:
    least, most = member.schema_versions
    return {
        "code": member.code,
        "name": member.name,
        "hub": member.is_hub,
        "joined": _time_text(member.joined_ns),
        "root": member.root_pem.decode(),
        "schema_versions": {"least": least, "most": most},
        "keys": [
            {
                **_public_table(key),
                "mode": MODE_NAMES[key.mode],
                "purpose": key.purpose.value,
                "sign_until": _time_text(key.sign_until_ns),
                "verify_until": _time_text(key.verify_until_ns),
            }
            for key in member.keys
        ],
        "officers": [
            {"name": name, "duty": officer.duty.value, **_public_table(officer.key)}
            for name, officer in sorted(member.officers.items())
        ],
        "approvals": {duty.value: member.approvals[duty] for duty in Duty},
    }


def _public_table(key: MemberKey | PublicKey) -> dict[str, object]:
    return {"algorithm": _ALGORITHM_NAMES[key.algorithm], "public": base64.b64encode(key.public).decode()}


def _pair_table(pair: Pair, ends: tuple[MemberId, MemberId]) -> dict[str, object]:
    leaves = "all" if pair.leaves is None else sorted(pair.leaves)
    return {"origin": ends[0], "recipient": ends[1], "leaves": leaves, "third_party": pair.third_party}


def _table(
    value: object, where: str, names: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, object]:
    if not isinstance(value, dict):
        raise dsse.DocumentError(f"{where} must be an object")
    if set(value) - optional != names:
        wrong = ", ".join(sorted((set(value) - optional) ^ names))
        raise dsse.DocumentError(f"{where} must have exactly {', '.join(sorted(names))}; unknown or missing: {wrong}")
    return value


def _list(value: object, where: str, most: int) -> list[object]:
    if not isinstance(value, list) or len(value) > most:
        raise dsse.DocumentError(f"{where} must be a list of at most {most}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise dsse.DocumentError(f"{where} must be text")
    return value


def _match(value: object, where: str, pattern: re.Pattern[str]) -> str:
    text = _text(value, where)
    if not pattern.fullmatch(text):
        raise dsse.DocumentError(f"{where}: not of the form {pattern.pattern}")
    return text


def _number(value: object, where: str, *, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise dsse.DocumentError(f"{where} must be a whole number from {least} to {most}")
    return value


def _time(value: object, where: str) -> int:
    text = _match(value, where, _TIME)
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000
    except ValueError as error:
        raise dsse.DocumentError(f"{where}: {text} is no time") from error


def _time_text(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
