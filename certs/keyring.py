"""What this process signs with: one key per mode, each in a file of its own.

A folder holds `keys/seal-<mode>.key` (a nation) or `keys/picture-<mode>.key` (a hub), Ed25519 as PKCS#8 in PEM, and at
a gateway `gateway-secret`, 32 random bytes from which ids are made. There is no default key and no way from one mode to
another: a process without the key of a mode cannot sign in it. The ids depend on the secret, so it lies with the keys
and is backed up with them, not with the outbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from certs.identity import MODE_NAMES, MODES
from certs.private import PrivateFileError, read_private
from certs.roster import Purpose
from certs.signature import Ed25519Signer, Signer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from certs.roster import Members

__all__ = ["Keyring", "KeyringError", "Signer", "load_signer", "signing_key_pem"]

SECRET_BYTES: Final = 32
SECRET_NAME: Final = "gateway-secret"  # noqa: S105 - a file's name


class KeyringError(Exception):
    """The keys cannot be used; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The private keys of one process, by mode."""

    purpose: Purpose
    _signers: Mapping[int, Ed25519Signer]
    _secret: bytes

    @classmethod
    def load(cls, directory: Path) -> Keyring:
        """Read the keys of a member's folder. Raises KeyringError, also when anybody else could have read them."""
        found: dict[tuple[Purpose, int], Ed25519Signer] = {}
        for purpose in Purpose:
            for name, mode in MODES.items():
                path = directory / "keys" / f"{purpose.value}-{name}.key"
                if path.exists():
                    found[purpose, mode] = load_signer(path)
        purposes = {purpose for purpose, _ in found}
        if len(purposes) != 1:
            raise KeyringError(f"{directory}/keys: must hold seal keys or picture keys, one per mode, and not both")
        signers = {mode: signer for (_, mode), signer in found.items()}
        if len({signer.key_id for signer in signers.values()}) != len(signers):
            raise KeyringError(f"{directory}/keys: one key serves two modes; make a new one for each")
        return cls(purposes.pop(), signers, _read_secret(directory))

    @property
    def modes(self) -> frozenset[int]:
        """Return the modes that can be signed in."""
        return frozenset(self._signers)

    @property
    def secret(self) -> bytes:
        """Return the 32 bytes from which a gateway makes ids. Raises KeyringError where there are none: at a hub."""
        if not self._secret:
            raise KeyringError(f"there is no {SECRET_NAME}: only a gateway has one")
        return self._secret

    def signer(self, mode: int) -> Signer:
        """Return the one signer of a mode. Raises KeyringError: no key of another mode stands in for it."""
        signer = self._signers.get(mode)
        if signer is None:
            raise KeyringError(f"no key for mode {MODE_NAMES.get(mode, mode)}")
        return signer

    def check(self, members: Members, member: str, now_ns: int) -> None:
        """Return if the members document knows every key here, for its mode, and lets it still sign.

        Raises KeyringError. Asked at start: otherwise each envelope would be sealed and then refused everywhere.
        """
        for mode, signer in self._signers.items():
            key = members.seal_keys(member, mode, now_ns, released_ns=now_ns).get(signer.key_id)
            if key is None or key.purpose is not self.purpose:
                raise KeyringError(
                    f"the {self.purpose.value} key of mode {MODE_NAMES[mode]} is not one that {member} may use now "
                    f"(members document {members.version})"
                )

    def __repr__(self) -> str:
        return f"Keyring({self.purpose.value}: {', '.join(sorted(MODE_NAMES[mode] for mode in self._signers))})"


def load_signer(path: Path) -> Ed25519Signer:
    """Return the signer of one key file. Raises KeyringError."""
    try:
        key = load_pem_private_key(read_private(path), None)
    except PrivateFileError as error:
        raise KeyringError(str(error)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyringError(f"{path}: is not a private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyringError(f"{path}: is not an Ed25519 key")
    return Ed25519Signer.of_seed(key.private_bytes_raw())


def signing_key_pem(seed: bytes) -> bytes:
    """Return a 32-byte seed as it stands in a key file."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_secret(directory: Path) -> bytes:
    path = directory / SECRET_NAME
    if not path.exists():
        return b""
    try:
        secret = read_private(path)
    except PrivateFileError as error:
        raise KeyringError(str(error)) from error
    if len(secret) != SECRET_BYTES:
        raise KeyringError(f"{path}: must hold exactly {SECRET_BYTES} bytes")
    return secret
