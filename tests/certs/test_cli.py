from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from broker.cli.certs import certs

if TYPE_CHECKING:
    from pathlib import Path

    from certs.issue import Authority


def run(*arguments: object) -> Result:
    return CliRunner().invoke(certs, [str(argument) for argument in arguments])


def test_init_makes_a_world_once(tmp_path: Path) -> None:
    done = run("init", tmp_path / "w", "--nations", "KOR, JPN", "--hours", "2", "--system", "aegis-1")
    assert done.exit_code == 0, done.output
    digest = (tmp_path / "w/members.digest").read_text().strip()
    assert digest in done.output
    assert (tmp_path / "w/jpn/systems/exercise/aegis-1.pem").exists()
    again = run("init", tmp_path / "w")
    assert (again.exit_code, "would be lost" in again.output) == (2, True)
    assert run("init", tmp_path / "w", "--force").exit_code == 0
    assert run("init", tmp_path / "v", "--nations", "KOR,HUB").exit_code == 2
    assert run("init", tmp_path / "v", "--hours", "0").exit_code == 2


def test_inspect_says_who_and_how_long(world: Authority) -> None:
    done = run("inspect", world.home("KOR") / "systems/exercise/system-1.pem")
    assert done.exit_code == 0
    said = dict(line.split(maxsplit=1) for line in done.output.splitlines())
    assert said["uri"] == "spiffe://kor.vedette/system/exercise/system-1"
    assert (said["member"], said["role"], said["mode"], said["name"]) == ("KOR", "system", "exercise", "system-1")
    assert said["days"] == "left   1.0"
    root = run("inspect", world.home("KOR") / "root.pem")
    assert (root.exit_code, "for KOR only" in root.output) == (0, True)


def test_inspect_fails_on_what_is_not_ours_or_soon_over(world: Authority, tmp_path: Path) -> None:
    path = world.home("KOR") / "gateway.pem"
    assert run("inspect", path, "--days", "0.5").exit_code == 0
    assert run("inspect", path, "--days", "3").exit_code == 1
    old = world.leaf("spiffe://kor.vedette/gateway", hours=0.01, now_ns=10**18)
    old.write(tmp_path / "old")
    gone = run("inspect", tmp_path / "old.pem")
    assert (gone.exit_code, "out of date" in gone.output) == (1, True)
    assert run("inspect", world.home("KOR") / "gateway.key").exit_code == 1
    assert run("inspect", tmp_path / "missing.pem").exit_code == 2


def test_members_are_shown_unproven_and_verified_by_a_digest(world: Authority) -> None:
    path = world.directory / "members.json"
    shown = run("members", "show", path)
    assert (shown.exit_code, "not verified" in shown.output) == (0, True)
    verified = run("members", "verify", path, "--digest", world.digest())
    assert (verified.exit_code, "verified    yes" in verified.output) == (0, True)
    assert run("members", "verify", path).exit_code == 2


@pytest.mark.parametrize("digest", ["", "sha256:00", "junk"])
def test_a_wrong_digest_is_a_failed_verification(world: Authority, digest: str) -> None:
    refused = run("members", "verify", world.directory / "members.json", "--digest", digest)
    assert (refused.exit_code, "yes" in refused.output) == (5, False)


def test_what_is_no_members_document_is_a_failed_verification(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert run("members", "show", tmp_path / "x.json").exit_code == 5
    assert run("members", "verify", tmp_path / "x.json", "--digest", "x").exit_code == 5
