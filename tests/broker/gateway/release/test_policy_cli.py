from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from broker.cli.policy import policy
from broker.cli.policy.group import read_policy
from broker.demo.world import shipped_policy
from broker.gateway.release.finding import MEANINGS
from certs.approval import Signed
from certs.dsse import decode
from certs.keyring import load_signer, signing_key_pem


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


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Return a policy of which lint has nothing to say."""
    file = tmp_path / "clean.yaml"
    file.write_text(shipped_policy("KOR").replace("expires: 2028", "expires: 2099"))
    return file


def lint(file: Path, *args: str) -> tuple[int, str]:
    return run("lint", "--no-solver", *args, file)


def test_lint_says_0_for_a_clean_policy_and_1_with_place_for_a_finding(clean: Path) -> None:
    assert lint(clean) == (0, "0 errors, 0 warnings\n")
    clean.write_text(clean.read_text().replace("nation: KOR", "nation: NO"))
    code, output = lint(clean)
    assert code == 1
    assert f"{clean}:6:9: error unreadable" in output
    assert "     6 | nation: NO\n       |         ^\n" in output


def test_a_file_is_read_to_the_byte_as_a_gateway_reads_it(clean: Path) -> None:
    text = clean.read_text()
    clean.write_bytes(text.replace("\n", "\r\n").encode())
    assert lint(clean) == (0, "0 errors, 0 warnings\n")
    assert read_policy(clean).digest == "sha256:" + hashlib.sha256(clean.read_bytes()).hexdigest()
    clean.write_bytes(text.replace("nation: KOR", "nation: NO").replace("\n", "\r\n").encode())
    assert "     6 | nation: NO\n" in lint(clean)[1]
    clean.write_bytes(text.replace("nation: KOR", "nation: KOR # why\rversion: 9").encode())
    code, output = lint(clean)
    assert code == 1
    assert "an invisible character" in output


def test_lint_fails_on_warnings_only_when_asked(clean: Path) -> None:
    clean.write_text(clean.read_text().replace("reason: for Korean eyes", "reason: secret"))
    code, output = lint(clean)
    assert (code, "warning empty-reason" in output) == (0, True)
    assert lint(clean, "--strict")[0] == 1


def test_lint_knows_what_day_it_is(clean: Path) -> None:
    clean.write_text(clean.read_text().replace("expires: 2099", "expires: 2026-01-02T00:00:00Z # "))
    code, output = lint(clean)
    assert (code, "error expired" in output) == (1, True)


@pytest.mark.parametrize("form", ["json", "sarif", "github", "junit"])
def test_lint_says_the_same_in_every_form_and_ends_alike(clean: Path, form: str) -> None:
    assert lint(clean, "--format", form)[0] == 0
    clean.write_text(clean.read_text().replace("status.state]", "status.state, status.stat]"))
    code, output = lint(clean, "--format", form)
    assert code == 1
    assert "no such leaf: status.stat" in output
    assert str(clean) in output
    match form:
        case "json":
            said = json.loads(output)
            assert (said["errors"], said["warnings"]) == (1, 0)
            assert said["findings"][0]["code"] == "unreadable"
        case "sarif":
            driver = json.loads(output)["runs"][0]["tool"]["driver"]
            assert {rule["id"]: rule["help"]["text"] for rule in driver["rules"]} == MEANINGS
        case "github":
            assert output.startswith(f"::error file={clean},line=")
        case _:
            assert ET.fromstring(output).get("failures") == "1"  # noqa: S314 - our own


def test_a_warning_is_a_failed_case_only_where_it_fails_the_command(clean: Path) -> None:
    clean.write_text(clean.read_text().replace("reason: for Korean eyes", "reason: secret"))
    for strict, failures in (((), "0"), (("--strict",), "1")):
        root = ET.fromstring(lint(clean, "--format", "junit", *strict)[1])  # noqa: S314 - our own
        assert (root.get("tests"), root.get("failures")) == ("1", failures)


def test_what_the_solver_finds_stands_among_the_findings(clean: Path) -> None:
    pytest.importorskip("z3")
    denied = '- {id: DEAD, effect: release, to: [JPN], when: \'body == "track" && "KOR-ONLY" in label.caveats\','
    clean.write_text(clean.read_text() + f"{denied} give: {{flight: exact}}, reason: denied by KOR-D1}}\n")
    assert lint(clean) == (0, "0 errors, 0 warnings\n")
    code, output = run("lint", "--strict", clean)
    assert code == 1
    assert "DEAD: " in output
    assert output.endswith("0 errors, 1 warnings\n")
    again = clean.read_text().replace("id: DEAD", "id: AGAIN").splitlines()[-1]
    clean.write_text(clean.read_text() + again + "\n")
    _, output = run("lint", clean)
    assert [line.split()[2] for line in output.splitlines() if ": warning " in line] == [
        "always-overridden:",
        "duplicate-rule:",
    ]


def test_without_a_solver_lint_says_so_and_ends_as_ever(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "broker.gateway.proof", None)
    result = CliRunner().invoke(policy, ["lint", str(clean)])
    assert (result.exit_code, result.stdout) == (0, "0 errors, 0 warnings\n")
    assert "the extra `prove`" in result.stderr
    clean.write_text("nonsense")
    assert CliRunner().invoke(policy, ["lint", str(clean)]).stderr == ""


def test_schema_prints_what_editors_are_given() -> None:
    for args, name in (((), "release-policy"), (("--tests",), "release-test")):
        code, output = run("schema", *args)
        assert code == 0
        assert output == (Path(__file__).parents[4] / f"docs/schemas/{name}.schema.json").read_text("utf-8")


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


def test_group_coverage_can_be_asked_for_and_what_is_missing_is_named(release: Path) -> None:
    tests = release.with_suffix(".test.yaml")
    code, output = run("test", release)
    assert (code, "groups never shown: group_0, group_1" in output) == (0, True)
    assert run("test", "--group-coverage", release)[0] == 1
    tests.write_text(tests.read_text().replace("{JPN: {decision: deny}}", "{self: {decision: release}}"))
    _, output = run("test", release)
    assert "groups never shown: group_2" in output


@pytest.mark.parametrize("form", ["json", "github", "junit"])
def test_tests_are_told_in_every_form(release: Path, form: str) -> None:
    assert run("test", release, "--format", form)[0] == 0
    tests = release.with_suffix(".test.yaml")
    tests.write_text(tests.read_text().replace("decision: deny", "decision: release"))
    code, output = run("test", release, "--coverage", "--format", form)
    assert code == 1
    assert "decision: expected release, got deny" in output
    match form:
        case "json":
            said = json.loads(output)
            assert said["passed"] is False
            assert said["rules"]["untried"] == ["KNOWN", "KNOWN-2", "S"]
            assert said["results"][0]["to"] == "JPN"
        case "github":
            assert output.splitlines()[0].startswith(
                f"::error file={tests},line=3,col=1,title=policy-test::own picture"
            )
            assert "title=coverage::rule S matched in no test" in output
        case _:
            root = ET.fromstring(output)  # noqa: S314 - our own
            assert (root.get("tests"), root.get("failures")) == ("4", "4")


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
