"""A development authority: every root, key and certificate of a small world, in one folder, on one laptop.

It is not how members come to trust each other: here one person holds all private keys, roots included, on one disk.
The README's key ceremony says what takes its place. Everything is short-lived, and nothing of it is ever committed.

    DIR/members.json  members.digest             the document, and the digest to pin
    DIR/kor/          root gateway metrics       each <name>.pem and <name>.key
                      trust.pem                  own root and the hub's: for tools that take one file
                      hub-root.pem               what the channel to the hub trusts; the own server trusts root.pem
                      gateway-secret  keys/seal-<mode>.key
                      officers/<name>.key        with which a person signs; <name>-tls.* to speak to the gateway
                      systems/<mode>/<name>  watch/<mode>/<name>
    DIR/hub/          root hub views metrics     trust.pem: the roots of all members
                      keys/picture-<mode>.key
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING, Final

from certs.certificate import HOSTS, Issued, make_leaf, make_root
from certs.identity import MODE_NAMES, MODES, MemberId, Role, identity_of_uri, member_id, read_leaf, uri_of
from certs.keyring import SECRET_BYTES, SECRET_NAME, signing_key_pem
from certs.members import load_members, read_members, sign_members
from certs.private import read_private, write_private
from certs.roster import ANYTHING, Duty, Member, MemberKey, Members, Officer, Pair, PublicKey, Purpose
from certs.signature import Ed25519Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

NATIONS: Final = ("KOR", "USA", "JPN")
HUB: Final = MemberId("HUB")
NAMES: Final = {"KOR": "Republic of Korea", "USA": "United States of America", "JPN": "Japan", "HUB": "Hub"}
SYSTEMS: Final = ("system-1",)
WATCHES: Final = ("floor-1",)
# Who proposes does not approve: the first proposes, the others approve.
OFFICERS: Final[Mapping[str, Duty]] = {
    "officer-1": Duty.POLICY,
    "officer-2": Duty.POLICY,
    "security-1": Duty.SECURITY,
    "security-2": Duty.SECURITY,
}
METRICS: Final = "prometheus"
HOURS: Final = 24.0
HOURS_PAST: Final = 31 * 24.0  # roots, and verification of seals, outlive the leaves by more than the retention

_BILATERAL: Final = (
    "USA"  # before December 2023 each of the others exchanged with the United States, and with nobody else
)
HOUR_NS: Final = 3600 * 1_000_000_000
_SEED_BYTES: Final = 32


class NotOurs(Exception):  # noqa: N818 - it says what the folder is
    """The folder exists already, or holds something else; the text says which."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A development authority on disk. Whoever holds this can be anybody: for development and for tests."""

    directory: Path

    def home(self, code: str) -> Path:
        """Return a member's folder."""
        return self.directory / code.lower()

    def root(self, code: str) -> Issued:
        """Return a member's root with its private key."""
        return Issued((self.home(code) / "root.pem").read_bytes(), read_private(self.home(code) / "root.key"))

    def digest(self) -> str:
        """Return the digest to pin: that of the document as it was at first."""
        return (self.directory / "members.digest").read_text(encoding="ascii").strip()

    def members(self, *, now_ns: int | None = None) -> Members:
        """Return the newest members document, checked as every process checks it."""
        return load_members(self.directory / "members.json", pinned_digest=self.digest(), now_ns=_now(now_ns))

    def system(self, code: str, mode: int, name: str, *, hours: float = HOURS, now_ns: int | None = None) -> Issued:
        """Issue and write the certificate of a further national system: systems/<mode>/<name>."""
        uri = uri_of(member_id(code), Role.SYSTEM, mode=mode, name=name)
        issued = self.leaf(uri, hours=hours, now_ns=now_ns)
        issued.write(self.home(code) / "systems" / MODE_NAMES[mode] / name)
        return issued

    def watch(self, code: str, mode: int, name: str, *, hours: float = HOURS, now_ns: int | None = None) -> Issued:
        """Issue and write the certificate of a further watch floor: watch/<mode>/<name>."""
        uri = uri_of(member_id(code), Role.WATCH, mode=mode, name=name)
        issued = self.leaf(uri, hours=hours, now_ns=now_ns)
        issued.write(self.home(code) / "watch" / MODE_NAMES[mode] / name)
        return issued

    def leaf(
        self, uri: str, *, hours: float = HOURS, hosts: Sequence[str] = HOSTS, now_ns: int | None = None
    ) -> Issued:
        """Issue a certificate by the root of the member that it names, without writing it."""
        root = self.root(identity_of_uri(uri).member)
        return make_leaf(root, uri, now_ns=_now(now_ns), hours=hours, hosts=hosts)

    def forge(self, uri: str, *, by: str, hours: float = HOURS, now_ns: int | None = None) -> Issued:
        """Return a certificate for `uri` under the root of another member, `by`: what a hostile member would try."""
        return make_leaf(self.root(by), uri, now_ns=_now(now_ns), hours=hours)

    def unconstrained_root(self, code: str, *, hours: float = HOURS, now_ns: int | None = None) -> bytes:
        """Return a member's root, same name and key, without its name constraint: for a bundle of a test's server.

        Behind it a forgery passes the handshake, so that the application's own check is what refuses it.
        """
        key_pem = self.root(code).key_pem
        root = make_root(MemberId(code), now_ns=_now(now_ns), hours=hours, key_pem=key_pem, constrained=False)
        return root.certificate_pem

    def revise(self, change: Callable[[Members], Members], *, now_ns: int | None = None) -> Members:
        """Write the next version of the document, signed by all national roots; the old one stays beside it.

        `change` gives what is different; version, digest and predecessor are set here. The pin stays as it is.
        """
        now_ns = _now(now_ns)
        current = self.members(now_ns=now_ns)
        revised = replace(change(current), version=current.version + 1, previous=current.digest)
        path = self.directory / "members.json"
        signed = sign_members(revised, {code: self.root(code).key_pem for code in current.nations()})
        shutil.copyfile(path, path.with_name(f"members-{current.version}.json"))
        fresh = path.with_name("members.json.new")
        fresh.write_bytes(signed)
        fresh.replace(path)  # a process that reads meanwhile sees the one or the other
        return self.members(now_ns=now_ns)

    def revoke(self, *certificates_pem: bytes, now_ns: int | None = None) -> Members:
        """Withdraw certificates by a next version of the document."""
        withdrawn = {read_leaf(pem).fingerprint for pem in certificates_pem}
        return self.revise(lambda members: replace(members, revoked=members.revoked | withdrawn), now_ns=now_ns)


def authority(  # noqa: PLR0913 - each names one way in which such a world may differ
    directory: Path,
    *,
    nations: Sequence[str] = NATIONS,
    exchange: str | Mapping[tuple[str, str], Pair] = "all",
    hours: float = HOURS,
    systems: Sequence[str] | Mapping[str, Sequence[str]] = SYSTEMS,
    watches: Sequence[str] = WATCHES,
    hosts: Sequence[str] = HOSTS,
    now_ns: int | None = None,
    overwrite: bool = False,
) -> Authority:
    """Make a development authority in a new folder. It appears there whole or not at all.

    `exchange`: "all", "bilateral" (each nation with the USA, as before December 2023) or the pairs themselves.
    `systems`: names, the same for each nation or by nation; each gets a certificate per mode.
    `overwrite` replaces an older development authority, and nothing else. Raises NotOurs, IdentityError, ValueError.
    """
    _check_free(directory, overwrite=overwrite)
    now_ns = _now(now_ns)
    codes = [member_id(code) for code in nations]
    if HUB in codes or len(set(codes)) != len(codes):
        raise ValueError(f"each nation once, and none is called {HUB}")
    directory.absolute().parent.mkdir(parents=True, exist_ok=True)
    draft = Authority(directory.absolute().with_name(f".{directory.absolute().name}.{secrets.token_hex(4)}"))
    draft.directory.mkdir(mode=0o700)
    try:
        members = [_member(draft, code, now_ns=now_ns, hours=hours, hosts=hosts) for code in (*codes, HUB)]
        for code in codes:
            names = systems.get(code, ()) if isinstance(systems, Mapping) else systems
            _floor(draft, code, names, watches, now_ns=now_ns, hours=hours)
        _publish(draft, members, _pairs(codes, exchange), now_ns=now_ns, hours=hours)
        _swap(draft.directory, directory)
    finally:
        shutil.rmtree(draft.directory, ignore_errors=True)
    return Authority(directory)


def _now(now_ns: int | None) -> int:
    return time.time_ns() if now_ns is None else now_ns


def _check_free(directory: Path, *, overwrite: bool) -> None:
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not overwrite:
        raise NotOurs(f"{directory} exists; its keys would be lost")
    if not (directory / "members.digest").is_file():
        raise NotOurs(f"{directory} is not a development authority; it is left alone")


def _member(draft: Authority, code: MemberId, *, now_ns: int, hours: float, hosts: Sequence[str]) -> Member:
    """Write a member's root, servers and keys; return its entry in the document."""
    home, is_hub = draft.home(code), code == HUB
    make_root(code, now_ns=now_ns, hours=hours + HOURS_PAST).write(home / "root")
    for role in (Role.HUB, Role.VIEWS) if is_hub else (Role.GATEWAY,):
        draft.leaf(uri_of(code, role), hours=hours, hosts=hosts, now_ns=now_ns).write(home / role.value)
    draft.leaf(uri_of(code, Role.METRICS, name=METRICS), hours=hours, now_ns=now_ns).write(home / "metrics")
    if not is_hub:
        write_private(home / SECRET_NAME, secrets.token_bytes(SECRET_BYTES))
    purpose = Purpose.PICTURE if is_hub else Purpose.SEAL
    keys = []
    for name, mode in MODES.items():
        public = _signing_key(home / "keys" / f"{purpose.value}-{name}.key")
        sign_until_ns = now_ns + int(hours * HOUR_NS)
        verify_until_ns = sign_until_ns + int(HOURS_PAST * HOUR_NS)
        keys.append(
            MemberKey(public.key_id, public.algorithm, public.public, mode, purpose, sign_until_ns, verify_until_ns)
        )
    officers = {} if is_hub else dict(_officers(draft, code, now_ns=now_ns, hours=hours))
    return Member(
        code=code,
        name=NAMES.get(code, code),
        root_pem=draft.root(code).certificate_pem,
        keys=tuple(keys),
        officers=officers,
        schema_versions=(1, 1),
        is_hub=is_hub,
        joined_ns=now_ns,
    )


def _officers(draft: Authority, code: MemberId, *, now_ns: int, hours: float) -> Iterator[tuple[str, Officer]]:
    """Write what each officer signs with, and speaks to the gateway with; yield their entries in the document."""
    folder = draft.home(code) / "officers"
    for name, duty in OFFICERS.items():
        yield name, Officer(name, duty, _signing_key(folder / f"{name}.key"))
        draft.leaf(uri_of(code, Role(duty.value), name=name), hours=hours, now_ns=now_ns).write(folder / f"{name}-tls")


def _signing_key(path: Path) -> PublicKey:
    seed = secrets.token_bytes(_SEED_BYTES)
    write_private(path, signing_key_pem(seed))
    return PublicKey.ed25519(Ed25519Signer.of_seed(seed).public)


def _floor(
    draft: Authority, code: MemberId, systems: Sequence[str], watches: Sequence[str], *, now_ns: int, hours: float
) -> None:
    """Write the certificates of a nation's own systems and watch floors, one for each mode."""
    for mode in MODES.values():
        for name in systems:
            draft.system(code, mode, name, hours=hours, now_ns=now_ns)
        for name in watches:
            draft.watch(code, mode, name, hours=hours, now_ns=now_ns)


def _pairs(
    codes: Sequence[MemberId], exchange: str | Mapping[tuple[str, str], Pair]
) -> dict[tuple[MemberId, MemberId], Pair]:
    if not isinstance(exchange, str):
        return {(member_id(origin), member_id(recipient)): pair for (origin, recipient), pair in exchange.items()}
    ordered = permutations(codes, 2)
    match exchange:
        case "all":
            return dict.fromkeys(ordered, ANYTHING)
        case "bilateral" if _BILATERAL in codes:
            return dict.fromkeys((ends for ends in ordered if _BILATERAL in ends), ANYTHING)
        case _:
            raise ValueError(f"exchange must be all, or bilateral with {_BILATERAL} among the nations")


def _publish(
    draft: Authority,
    listed: Sequence[Member],
    pairs: Mapping[tuple[MemberId, MemberId], Pair],
    *,
    now_ns: int,
    hours: float,
) -> None:
    """Write version 1 of the document, its digest, and what each member trusts."""
    nations = [member.code for member in listed if not member.is_hub]
    members = Members(
        version=1,
        digest="",
        previous="",
        expires_ns=now_ns + int((hours + HOURS_PAST) * HOUR_NS),
        threshold=len(nations) // 2 + 1,
        members={member.code: member for member in listed},
        pairs=pairs,
        revoked=frozenset(),
    )
    path = draft.directory / "members.json"
    path.write_bytes(sign_members(members, {code: draft.root(code).key_pem for code in nations}))
    (draft.directory / "members.digest").write_text(read_members(path).members.digest + "\n", encoding="ascii")
    (draft.home(HUB) / "trust.pem").write_bytes(members.roots())
    for code in nations:
        (draft.home(code) / "trust.pem").write_bytes(members.roots(code, HUB))
        (draft.home(code) / "hub-root.pem").write_bytes(members.roots(HUB))


def _swap(draft: Path, directory: Path) -> None:
    """Put the draft in its place; what was there is deleted only when the new one stands."""
    old = draft.with_name(draft.name + ".old")
    if directory.exists():
        directory.rename(old)
    draft.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
