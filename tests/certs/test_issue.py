from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING

import pytest

from certs import issue
from certs.identity import Role, identity_of_certificate, identity_of_uri
from certs.keyring import load_signer
from certs.members import Pair
from certs.signature import sign_document, verify_document
from vedette.v1.content_pb2 import Mode

if TYPE_CHECKING:
    from pathlib import Path

    from certs.issue import Authority
    from certs.members import Members


def test_every_certificate_of_a_new_world_is_believed(world: Authority, members: Members, now_ns: int) -> None:
    leaves = [path for path in world.directory.rglob("*.pem") if path.with_suffix(".key").exists()]
    leaves = [path for path in leaves if path.name != "root.pem"]
    identities = {identity_of_certificate(path.read_bytes(), members, now_ns) for path in leaves}
    assert len(identities) == len(leaves)
    assert {identity.role for identity in identities} == set(Role)
    assert {identity.member for identity in identities} == set(members.members)
    for path in leaves:
        identity = identity_of_certificate(path.read_bytes(), members, now_ns)
        assert path.is_relative_to(world.home(identity.member))
        if identity.role in (Role.SYSTEM, Role.WATCH):
            word = {Mode.MODE_REAL_WORLD: "real-world", Mode.MODE_EXERCISE: "exercise", Mode.MODE_TEST: "test"}
            assert path.parent.name == word[identity.mode]
            assert path.stem == identity.name


def test_nothing_private_can_be_read_by_others(world: Authority) -> None:
    private = [*world.directory.rglob("*.key"), *world.directory.rglob("gateway-secret")]
    assert len(private) == 4 + 4 + 4 + 1 + 3 * 3 + 3 + 3 * 4 * 2 + 3 * 2 * 3 + 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    folders = [world.directory, *(path for path in world.directory.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    public = [path for path in world.directory.rglob("*") if path.suffix in (".pem", ".json", ".digest")]
    assert not any(b"PRIVATE" in path.read_bytes() for path in public)


def test_no_key_is_made_twice(world: Authority) -> None:
    keys = [path.read_bytes() for path in world.directory.rglob("*.key")]
    assert len(set(keys)) == len(keys)


def test_an_officer_of_the_document_signs_a_policy(world: Authority, members: Members) -> None:
    officer = load_signer(world.home("JPN") / "officers/officer-1.key")
    signed = sign_document("application/vnd.vedette.release+yaml", b"policy", officer)
    by_code = {str(code): member for code, member in members.members.items()}
    assert verify_document(
        "application/vnd.vedette.release+yaml", b"policy", signed, by_code["JPN"].officer_keys()
    ) == {officer.key_id}
    with pytest.raises(Exception, match="0 of the keys"):
        verify_document("application/vnd.vedette.release+yaml", b"policy", signed, by_code["KOR"].officer_keys())


def test_an_existing_folder_is_never_overwritten_unasked(tmp_path: Path) -> None:
    first = issue.authority(tmp_path / "w", systems=(), watches=())
    digest = first.digest()
    with pytest.raises(issue.NotOurs, match="would be lost"):
        issue.authority(tmp_path / "w")
    assert first.digest() == digest
    issue.authority(tmp_path / "w", systems=(), watches=(), overwrite=True)
    assert first.digest() != digest
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_not_even_when_asked_if_it_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(issue.NotOurs):
            issue.authority(tmp_path / "home", overwrite=overwrite)
    with pytest.raises(issue.NotOurs):
        issue.authority(tmp_path / "home" / "thesis.txt", overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    assert issue.authority(tmp_path, nations=["KOR"], systems=(), watches=()).members().nations() == ("KOR",)


@pytest.mark.parametrize(
    ("nations", "exchange"),
    [(["KOR", "KOR"], "all"), (["HUB"], "all"), ([], "all"), (["kor"], "all"), (["../x"], "all"),
     (["KOR", "JPN"], "bilateral"), (["KOR", "USA"], "some")],
)  # fmt: skip
def test_what_cannot_be_made_leaves_nothing_behind(tmp_path: Path, nations: list[str], exchange: str) -> None:
    with pytest.raises(Exception, match=r"nation|code|exchange|be a nation"):
        issue.authority(tmp_path / "w", nations=nations, exchange=exchange)
    assert not list(tmp_path.iterdir())


def test_a_world_is_made_in_under_two_seconds(tmp_path: Path) -> None:
    began = time.process_time()
    issue.authority(tmp_path / "w")
    assert time.process_time() - began < 2.0


def test_pairs_and_systems_may_be_told_one_by_one(tmp_path: Path) -> None:
    pair = Pair(frozenset({"launch"}), third_party=False)
    made = issue.authority(
        tmp_path / "w",
        nations=["KOR", "USA", "AUS"],
        exchange={("KOR", "AUS"): pair},
        systems={"KOR": ["aegis-1"], "AUS": ["radar-1", "radar-2"]},
    )
    members = made.members()
    assert members.may_exchange("KOR", "AUS") == pair
    assert members.may_exchange("AUS", "KOR") is None
    assert sorted(path.stem for path in (made.home("AUS") / "systems/test").glob("*.pem")) == ["radar-1", "radar-2"]
    assert not (made.home("USA") / "systems").exists()


def test_further_systems_and_watches_are_issued_later(own_world: Authority, now_ns: int) -> None:
    members = own_world.members()
    system = own_world.system("KOR", Mode.MODE_EXERCISE, "late-1")
    watch = own_world.watch("KOR", Mode.MODE_TEST, "floor-9")
    assert identity_of_certificate(system.certificate_pem, members, now_ns).name == "late-1"
    assert (own_world.home("KOR") / "watch/test/floor-9.pem").read_bytes() == watch.certificate_pem
    with pytest.raises(FileExistsError):
        own_world.system("KOR", Mode.MODE_EXERCISE, "late-1")


def test_a_next_version_withdraws_a_certificate(own_world: Authority) -> None:
    first = own_world.members()
    pem = (own_world.home("KOR") / "gateway.pem").read_bytes()
    second = own_world.revoke(pem)
    assert (second.version, second.previous, len(second.revoked)) == (2, first.digest, 1)
    assert own_world.revoke((own_world.home("USA") / "gateway.pem").read_bytes()).revoked > second.revoked


def test_a_world_may_be_made_for_another_time(tmp_path: Path) -> None:
    then_ns = 1_600_000_000 * 1_000_000_000
    made = issue.authority(tmp_path / "w", systems=(), watches=(), now_ns=then_ns, hours=1)
    members = made.members(now_ns=then_ns)
    pem = (made.home("KOR") / "gateway.pem").read_bytes()
    assert identity_of_certificate(pem, members, then_ns) == identity_of_uri("spiffe://kor.vedette/gateway")
    assert members.seal_keys("KOR", Mode.MODE_TEST, then_ns, released_ns=then_ns)
