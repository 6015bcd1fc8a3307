from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from broker.cli.policy import policy
from certs.approval import Signed
from certs.dsse import decode
from certs.keyring import load_signer, signing_key_pem

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def release(tmp_path: Path, maker: Any) -> Path:
    file = tmp_path / "release.yaml"
    give = "give: {group_0: exact, group_1: exact}"
    rule = f"- {{id: S, effect: release, to: [self], when: 'body == \"status\"', {give}, reason: r}}\n"
    file.write_text(maker(7).policy_text(rules=0).replace("'false'", "'true'") + rule)
    (tmp_path / "release.test.yaml").write_text(
        "policy: release.yaml\n"
        "base: {label: {classification: CLASSIFICATION_SECRET}, content: {status: {state: EVENT_STATE_DETECTED}}}\n"
        "tests: [{name: own picture, expect: {JPN: {decision: deny}}}]\n"
    )
    (tmp_path / "message.json").write_text(json.dumps({"content": {"status": {"state": "EVENT_STATE_DETECTED"}}}))
    return file


def run(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(policy, [str(each) for each in args])
    return result.exit_code, result.output


def test_lint_says_0_for_a_clean_policy_and_1_with_place_for_a_finding(release: Path) -> None:
    assert run("lint", release) == (0, "0 errors, 0 warnings\n")
    release.write_text(release.read_text().replace("nation: KOR", "nation: NO"))
    code, output = run("lint", release)
    assert code == 1
    assert f"{release}:2:9: error unreadable" in output


def test_lint_fails_on_warnings_only_when_asked(release: Path) -> None:
    release.write_text(release.read_text().replace("to: [self], when: 'body", "to: [USA], when: 'body"))
    assert run("lint", release)[0] == 0
    assert run("lint", "--strict", release)[0] == 1


def test_test_runs_the_file_beside_and_fails_on_a_difference_or_missing_coverage(release: Path) -> None:
    code, output = run("test", release)
    assert (code, "1 passed, 0 failed" in output, "untried rules" in output) == (0, True, True)
    assert run("test", "--coverage", release)[0] == 1
    tests = release.with_suffix(".test.yaml")
    tests.write_text(tests.read_text().replace("decision: deny", "decision: release"))
    code, output = run("test", release)
    assert (code, "FAIL" in output) == (1, True)
    tests.write_text("nonsense")
    assert run("test", release)[0] == 1
    tests.unlink()
    assert run("test", release)[0] == 2


def test_explain_tells_people_and_programs(release: Path) -> None:
    code, output = run("explain", release, release.parent / "message.json", "--to", "JPN")
    assert code == 0
    assert output.startswith("DENIED to JPN: status")
    code, output = run("explain", release, release.parent / "message.json", "--to", "JPN", "--json")
    assert json.loads(output)["decision"]["released"] is False


def test_explain_refuses_what_is_no_message(release: Path) -> None:
    (release.parent / "message.json").write_text("{}")
    assert run("explain", release, release.parent / "message.json", "--to", "JPN")[0] == 2


def test_leaves_lists_every_leaf_and_the_digest() -> None:
    code, output = run("leaves")
    assert code == 0
    assert "# schema: sha256:" in output
    assert "launch.launch_time.best  # time" in output


def officer_key(folder: Path, name: str) -> Path:
    key = folder / f"{name}.key"
    key.write_bytes(signing_key_pem(hashlib.sha256(name.encode()).digest()))
    key.chmod(0o600)
    return key


def test_sign_gathers_a_proposal_and_approvals_of_others(release: Path) -> None:
    kim, lee = (officer_key(release.parent, name) for name in ("kim", "lee"))
    beside = release.parent / "release.sig.json"
    assert run("sign", release, "--key", lee, "--as", "approver")[0] == 2, "nobody has proposed it"
    assert run("sign", release, "--key", kim, "--as", "proposer")[0] == 0
    assert run("sign", release, "--key", kim, "--as", "approver")[0] == 5, "the proposer does not approve"
    assert run("sign", release, "--key", lee, "--as", "approver")[0] == 0
    before = beside.read_bytes()
    assert run("sign", release, "--key", lee, "--as", "approver")[0] == 5, "nobody approves twice"
    assert beside.read_bytes() == before
    signed = Signed.of_file(release.read_bytes(), before)
    assert [*decode(signed.approvals).signatures] == [load_signer(lee).key_id.hex()]
    kim.chmod(0o644)
    assert run("sign", release, "--key", kim, "--as", "proposer")[0] == 5


def test_a_policy_that_cannot_be_read_is_never_signed(release: Path) -> None:
    key = release.parent / "officer.key"
    key.write_text("never opened")
    release.write_text("nonsense")
    assert run("sign", release, "--key", key, "--as", "proposer")[0] == 1
    assert not (release.parent / "release.sig.json").exists()
