from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.keyring import Keyring, KeyringError, load_signer, signing_key_pem
from certs.private import PRIVATE_BYTES_MAX, PrivateFileError, read_private, write_private
from certs.roster import Purpose
from certs.signature import SealError, leaf_hash, seal_batch, verify_seal
from vedette.v1.content_pb2 import Mode

if TYPE_CHECKING:
    from pathlib import Path

    from certs.issue import Authority
    from certs.members import Members

MODES = (Mode.MODE_REAL_WORLD, Mode.MODE_EXERCISE, Mode.MODE_TEST)


@pytest.fixture
def home(world: Authority, tmp_path: Path) -> Path:
    """A copy of a gateway's folder, to be spoiled."""
    return shutil.copytree(world.home("KOR"), tmp_path / "kor")


def test_a_gateway_has_one_key_for_each_mode_and_a_secret(world: Authority, members: Members) -> None:
    keyring = Keyring.load(world.home("KOR"))
    assert keyring.modes == set(MODES)
    assert keyring.purpose is Purpose.SEAL
    assert len({keyring.signer(mode).key_id for mode in MODES}) == 3
    assert len(keyring.secret) == 32
    keyring.check(members, "KOR", time.time_ns())


def test_a_hub_has_picture_keys_and_no_secret(world: Authority, members: Members) -> None:
    keyring = Keyring.load(world.home("HUB"))
    assert keyring.purpose is Purpose.PICTURE
    keyring.check(members, "HUB", time.time_ns())
    with pytest.raises(KeyringError, match="only a gateway"):
        _ = keyring.secret


@pytest.mark.parametrize("sealed_in", MODES)
@pytest.mark.parametrize("sealed_by", MODES)
def test_no_key_seals_in_another_mode(world: Authority, members: Members, sealed_in: int, sealed_by: int) -> None:
    signer = Keyring.load(world.home("KOR")).signer(sealed_by)
    leaf = leaf_hash(b"header", b"body")
    (seal,) = seal_batch([leaf], origin="KOR", recipient="JPN", mode=sealed_in, signers=[signer])
    keys = members.seal_keys("KOR", sealed_in, time.time_ns())
    if sealed_in == sealed_by:
        verify_seal(seal, leaf, origin="KOR", recipient="JPN", mode=sealed_in, keys=keys)
        return
    with pytest.raises(SealError):
        verify_seal(seal, leaf, origin="KOR", recipient="JPN", mode=sealed_in, keys=keys)


def test_without_the_key_of_a_mode_nothing_is_signed_in_it(home: Path) -> None:
    (home / "keys/seal-real-world.key").unlink()
    keyring = Keyring.load(home)
    assert keyring.modes == {Mode.MODE_EXERCISE, Mode.MODE_TEST}
    for mode in (Mode.MODE_REAL_WORLD, Mode.MODE_UNSPECIFIED):
        with pytest.raises(KeyringError, match="no key"):
            keyring.signer(mode)


def test_one_key_for_two_modes_is_refused(home: Path) -> None:
    (home / "keys/seal-real-world.key").unlink()
    shutil.copy(home / "keys/seal-exercise.key", home / "keys/seal-real-world.key")
    with pytest.raises(KeyringError, match="two modes"):
        Keyring.load(home)


def test_seal_keys_and_picture_keys_do_not_lie_together(world: Authority, home: Path) -> None:
    shutil.copy(world.home("HUB") / "keys/picture-test.key", home / "keys/picture-test.key")
    with pytest.raises(KeyringError, match="not both"):
        Keyring.load(home)
    shutil.rmtree(home / "keys")
    with pytest.raises(KeyringError, match="must hold"):
        Keyring.load(home)


@pytest.mark.parametrize("name", ["keys/seal-exercise.key", "gateway-secret"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o777])
def test_a_private_file_that_others_may_use_is_refused(home: Path, name: str, mode: int) -> None:
    (home / name).chmod(mode)
    with pytest.raises(KeyringError, match="others may use it"):
        Keyring.load(home)


def test_a_file_that_is_no_key_is_refused(home: Path) -> None:
    path = home / "keys/seal-exercise.key"
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data, said in ((b"junk", "not a private key"), ((home / "gateway.key").read_bytes(), "not an Ed25519")):
        path.write_bytes(data)
        with pytest.raises(KeyringError, match=said):
            load_signer(path)
    path.write_bytes(other)
    assert len(load_signer(path).key_id) == 16
    (home / "gateway-secret").write_bytes(bytes(31))
    with pytest.raises(KeyringError, match="32 bytes"):
        Keyring.load(home)


def test_a_key_that_the_members_document_does_not_know_is_found_at_start(home: Path, members: Members) -> None:
    keyring = Keyring.load(home)
    now_ns = time.time_ns()
    with pytest.raises(KeyringError, match="may use"):
        keyring.check(members, "USA", now_ns)
    kor = members.members[members.nations()[1]]
    assert kor.code == "KOR"
    with pytest.raises(KeyringError, match="may use"):
        keyring.check(members, "KOR", max(key.sign_until_ns for key in kor.keys))
    other_mode = tuple(replace(key, mode=MODES[key.mode % 3]) for key in kor.keys)
    other_purpose = tuple(replace(key, purpose=Purpose.PICTURE) for key in kor.keys)
    for keys in (other_mode, other_purpose):
        wrong = replace(members, members={**members.members, kor.code: replace(kor, keys=keys)})
        with pytest.raises(KeyringError, match="may use"):
            keyring.check(wrong, "KOR", now_ns)


def test_a_keyring_does_not_print_its_keys(home: Path) -> None:
    shown = repr(Keyring.load(home)) + str(Keyring.load(home))
    assert (home / "gateway-secret").read_bytes().hex() not in shown
    assert "SigningKey" not in shown


def test_a_private_file_is_written_for_its_owner_only_and_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.key"
    write_private(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_private(path) == b"secret"
    with pytest.raises(FileExistsError):
        write_private(path, b"other")
    assert read_private(path) == b"secret"


def test_what_is_no_private_file_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "large", bytes(PRIVATE_BYTES_MAX + 1))
    for name, said in (("large", "larger"), ("missing", "cannot be read"), (".", "not a file")):
        with pytest.raises(PrivateFileError, match=said):
            read_private(tmp_path / name)


def test_a_key_file_holds_the_seed(tmp_path: Path) -> None:
    write_private(tmp_path / "x.key", signing_key_pem(bytes(range(32))))
    again = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    assert load_signer(tmp_path / "x.key").public == again
