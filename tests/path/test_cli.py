"""Every command ends with the exit code that is documented: 0 ok, 1 check failed, 2 usage, 3 unreachable, 4 denied,
5 verification failed. What serves runs as a process of its own; the rest is called as click calls it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from click.testing import CliRunner
from google.protobuf import json_format

from broker.cli import COMMANDS, EXIT_CODES, Exit, main
from broker.clock import timestamp
from broker.demo.process import free_port
from broker.demo.world import FLOOR, OPERATOR, make_world
from broker.gateway.load import load_nation
from broker.gateway.policy import signature_path
from vedette.v1 import national_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import OpenWorld

PROCESS_S: Final = 40.0


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    errors: str


def call(*words: object, given: str = "") -> Ended:
    """Run a command here."""
    done = CliRunner().invoke(main, [str(word) for word in words], input=given, prog_name="vedette")
    return Ended(done.exit_code, done.stdout, done.stderr)


def execute(*words: object, given: str = "") -> Ended:
    """Run a command as a process of its own, as the shell does."""
    command = [sys.executable, "-m", "broker", *map(str, words)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=PROCESS_S, check=False)  # noqa: S603 - ours
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def world(open_shared_world: OpenWorld) -> World:
    return open_shared_world(nations=("KOR", "USA"), pictures=False)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give a world in which nothing runs."""
    return make_world(tmp_path_factory.mktemp("still"), nations=("KOR", "USA"))


@pytest.fixture
def tampered(still: World) -> Iterator[World]:
    """Give it with a members document in which one letter of the signed payload was changed."""
    path = still.authority.directory / "members.json"
    good = path.read_bytes()
    document = json.loads(good)
    payload = document["payload"]
    document["payload"] = payload[:100] + ("A" if payload[100] != "A" else "B") + payload[101:]
    path.write_text(json.dumps(document))
    yield still
    path.write_bytes(good)


@pytest.fixture
def unsigned(still: World) -> Iterator[World]:
    """Give it with a policy of KOR that says one word more than its officer signed."""
    path = still.policy_path("KOR")
    good = path.read_bytes()
    path.write_bytes(good + b"# and one word more\n")
    yield still
    path.write_bytes(good)


def system(world: World, nation: str = "KOR", *, at: str = "") -> list[str]:
    stem = world.authority.home(nation) / "systems" / "exercise" / OPERATOR
    return ["--gateway", at or world.address(nation), "--cert", str(stem)]


def floor(world: World, nation: str = "USA", *, at: str = "") -> list[str]:
    stem = world.authority.home(nation) / "watch" / "exercise" / FLOOR
    return ["--gateway", at or world.address(nation), "--cert", str(stem)]


@pytest.fixture(scope="module")
def exercise_file(world: World, reports: ModuleType) -> Path:
    path = world.folder / "exercise.json"
    path.write_text(json_format.MessageToJson(reports.exercise("shell")))
    return path


@pytest.fixture(scope="module")
def lines(exercise_file: Path, reports: ModuleType) -> str:
    """Give two reports as protojson, one a line."""
    base = json_format.Parse(exercise_file.read_bytes(), reports.exercise())
    requests = [
        national_pb2.ReportRequest(content=content, precedence=reports.FLASH, label=reports.label())
        for content in (reports.launch(b"m-1", b"e-1", base=base), reports.track(b"m-2", b"e-1", base=base))
    ]
    return "".join(json_format.MessageToJson(request, indent=None) + "\n" for request in requests)


def native_lines(nation: str) -> str:
    """Return the first lines of the nation's own samples."""
    home = load_nation(nation).home
    assert home is not None
    text = home.joinpath("samples", "radar-json", "launch_over_japan.txt").read_text(encoding="utf-8")
    return "".join(f"{line}\n" for line in text.splitlines() if line.startswith("{"))


# --- 0 ----------------------------------------------------------------------------------------------------------------


def test_help_tells_every_command_and_what_each_is_for() -> None:
    told = call("--help")
    assert told.code == Exit.OK
    for name, (_, _, text) in COMMANDS.items():
        assert f"{name} " in told.out
        assert text in told.out
        assert call(name, "--help").code == Exit.OK
    assert call("--version").out.startswith("vedette, version ")


def test_help_and_the_readme_tell_every_exit_code() -> None:
    codes = ", ".join(f"{code:d} {EXIT_CODES[code]}" for code in Exit)
    assert f"Exit codes: {codes}." in " ".join(call("--help").out.split())
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"Exit codes of every command: {codes}." in readme


def test_what_is_reported_in_the_shell_is_watched_in_the_shell(
    world: World, lines: str, exercise_file: Path, tmp_path: Path
) -> None:
    # protojson from standard input; the same again is a duplicate.
    reported = execute("report", *system(world), given=lines)
    assert reported == (Exit.OK, "1: accepted\n2: accepted\n", "")
    again = call("report", *system(world), given=lines)
    assert again.out.splitlines() == [f"{number}: duplicate: it was here already" for number in (1, 2)]
    # Lines as the sensor writes them, from a file.
    native = tmp_path / "radar.txt"
    native.write_text(native_lines("KOR"), encoding="utf-8")
    options = ["--format", "radar-json", "--exercise", exercise_file, "--session", "a"]
    of_sensor = call("report", *system(world), *options, native)
    assert of_sensor.code == Exit.OK, of_sensor
    assert {line.partition(": ")[2] for line in of_sensor.out.splitlines()} == {"accepted"}

    watched = execute("watch", *floor(world), "-o", "jsonl", "--count", 4)
    assert (watched.code, watched.errors) == (Exit.OK, "")
    events = [json_format.Parse(line, national_pb2.WatchResponse()) for line in watched.out.splitlines()]
    assert [event.WhichOneof("event") for event in events] == ["link", "warning", "warning", "warning"]
    assert [event.warning.content.WhichOneof("body") for event in events[1:3]] == ["launch", "track"]
    # What was printed says where to go on.
    position = json.loads(watched.out.splitlines()[1])["position"]
    rest = call("watch", *floor(world), "-o", "jsonl", "--count", 3, "--resume-after", position)
    assert [message_id(line) for line in rest.out.splitlines()[1:]] == [
        message_id(line) for line in watched.out.splitlines()[2:]
    ]
    # For people.
    table = call("watch", *floor(world), "--count", 3).out.splitlines()
    assert table[0].startswith("hub connected, since ")
    assert "EXERCISE  FLASH      KOR  launch" in table[1]
    assert "40.61" in table[1]


def message_id(line: str) -> str:
    return str(json.loads(line)["warning"]["header"]["message_id"])


def test_what_serves_ends_with_0_when_it_is_told_to(open_world: OpenWorld) -> None:
    world = open_world(nations=("KOR",))
    assert world.gateways["KOR"].stop() == Exit.OK, world.gateways["KOR"].tail()
    assert world.hub.stop() == Exit.OK, world.hub.tail()


def test_a_policy_is_linted_tested_explained_and_signed(still: World, tmp_path: Path, reports: ModuleType) -> None:
    home = load_nation("KOR").home
    assert home is not None
    policy = tmp_path / "release.yaml"
    for name in ("release.yaml", "release.test.yaml"):
        (tmp_path / name).write_bytes(home.joinpath(name).read_bytes())
    assert call("policy", "lint", policy).code == Exit.OK
    assert call("policy", "test", policy, "--coverage").code == Exit.OK
    message = tmp_path / "message.json"
    request = national_pb2.ReportRequest(
        content=reports.launch(b"m", b"e", base=None), precedence=reports.FLASH, label=reports.label()
    )
    message.write_text(json_format.MessageToJson(request))
    explained = call("policy", "explain", policy, message, "--to", "USA", "--json")
    assert (explained.code, "KOR-R1" in explained.out) == (Exit.OK, True)
    assert json.loads(explained.out)
    officers = still.authority.home("KOR") / "officers"
    roles = {"officer-1": "proposer", "officer-2": "approver", "security-1": "approver"}

    def sign(path: Path) -> list[int]:
        return [
            call("policy", "sign", path, "--key", officers / f"{name}.key", "--as", role).code
            for name, role in roles.items()
        ]

    assert sign(policy) == [Exit.OK] * 3
    assert signature_path(policy).exists()
    # A gateway takes what was signed: the doctor looks at it as the gateway does.
    kept = [(path, path.read_bytes()) for path in (still.policy_path("KOR"), signature_path(still.policy_path("KOR")))]
    try:
        still.policy_path("KOR").write_bytes(policy.read_bytes())
        signature_path(still.policy_path("KOR")).write_bytes(signature_path(policy).read_bytes())
        assert "ok   D05" in call("doctor", "--settings", settings(still), "--offline").out
        day = (datetime.now(UTC) + timedelta(days=20)).strftime("%Y-%m-%dT00:00:00Z")  # and then nothing is released
        still.policy_path("KOR").write_text(
            policy.read_text().replace("expires: 2028-01-01T00:00:00Z", f"expires: {day}")
        )
        assert sign(still.policy_path("KOR")) == [Exit.OK] * 3
        assert "lint has something to say, 1 times" in call("doctor", "--settings", settings(still), "--offline").out
        late = policy.read_text().replace("    when_observed: exact\n", "")  # nothing goes at once any more
        still.policy_path("KOR").write_text(late)
        assert sign(still.policy_path("KOR")) == [Exit.OK] * 3
        assert "lint has something to say" in call("doctor", "--settings", settings(still), "--offline").out
    finally:
        for path, data in kept:
            path.write_bytes(data)


def test_exercises_are_listed_and_shown() -> None:
    listed = call("exercise", "list")
    assert (listed.code, "false-alarm" in listed.out) == (Exit.OK, True)
    shown = call("exercise", "show", "false-alarm")
    assert (shown.code, "JPN ground-1 says: not a launch (ghost)" in shown.out) == (Exit.OK, True)


def test_a_picture_is_computed_again_from_a_log_byte_for_byte(tmp_path: Path, reports: ModuleType) -> None:
    log = tmp_path / "log.jsonl"
    begin_ns = 1_800_000_000_000_000_000
    records = []
    for number in range(3):
        at_ns = begin_ns + number * 2_000_000_000
        content = reports.launch(bytes(15) + bytes([number]), bytes(16), base=None, at_ns=at_ns)
        content.header.origin, content.header.mode = "KOR", 3
        content.header.observed_at.CopyFrom(timestamp(at_ns))
        records.append({"arrival_ns": at_ns + 100_000_000, "content": json_format.MessageToDict(content)})
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    first, second = (call("fusion", "replay", log, "--recipient", "JPN") for _ in range(2))
    assert first.code == Exit.OK, first.errors
    assert first.out == second.out
    assert json.loads(first.out.splitlines()[0])["after"] == 1
    log.write_text("{}\n")
    assert call("fusion", "replay", log, "--recipient", "JPN").code == Exit.CHECK_FAILED
    assert call("fusion", "replay", "--recipient", "JPN").code == Exit.USAGE


def test_a_development_authority_is_made_and_looked_into(tmp_path: Path) -> None:
    made = call("certs", "init", tmp_path / "certs", "--nations", "KOR,JPN")
    assert (made.code, "sha256:" in made.out) == (Exit.OK, True)
    members = tmp_path / "certs" / "members.json"
    digest = (tmp_path / "certs" / "members.digest").read_text().strip()
    assert call("certs", "members", "verify", members, "--digest", digest).code == Exit.OK
    assert call("certs", "inspect", tmp_path / "certs" / "kor" / "gateway.pem").code == Exit.OK
    assert call("certs", "inspect", members).code == Exit.CHECK_FAILED
    assert call("certs", "init", tmp_path / "certs").code == Exit.USAGE
    assert call("certs", "members", "verify", members, "--digest", f"sha256:{0:064}").code == Exit.UNVERIFIED


# --- 1 and 2 ----------------------------------------------------------------------------------------------------------


def test_a_gateway_that_cannot_start_ends_with_1(world: World) -> None:
    taken = execute("gateway", "--settings", settings(world, "USA"), "--listen", f"127.0.0.1:{world.hub.port}")
    assert taken.code == Exit.CHECK_FAILED, taken
    assert taken.errors.strip().splitlines()[-1].startswith("vedette gateway: "), taken.errors
    hub_taken = execute("hub", "--settings", world.folder / "hub" / "hub.toml", "--listen", world.address("KOR"))
    assert hub_taken.code == Exit.CHECK_FAILED, hub_taken


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("watch",),
        ("watch", "--gateway", "localhost:1", "--cert", "no/such/certificate"),
        ("report", "--gateway", "localhost:1", "--cert", "no/such/certificate", "no-such-file"),
        ("gateway", "--settings", "no-such-file"),
        ("policy", "lint", "no-such-file"),
        ("exercise", "show", "no-such-scenario"),
        ("demo", "--rate", "0"),
    ],
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...]) -> None:
    ended = call(*words)
    assert (ended.code, ended.out) == (Exit.USAGE, "")
    assert ended.errors


def test_a_line_or_a_position_that_cannot_be_read_ends_with_2(world: World, still: World, tmp_path: Path) -> None:
    unread = call("report", *system(world), given='{"content": {"lunch": {}}}\n')
    assert (unread.code, "line 1" in unread.errors) == (Exit.USAGE, True)
    for position in ("!!!!", "AAA"):
        assert call("watch", *floor(world), "--resume-after", position, "--count", 1).code == Exit.USAGE
    changed = tmp_path / "gateway.toml"
    changed.write_text(settings(still).read_text() + 'unknown = "setting"\n')
    for words in (("gateway",), ("doctor", "--offline")):
        ended = call(*words, "--settings", changed)
        assert (ended.code, "unknown setting 'unknown'" in ended.errors) == (Exit.USAGE, True)


# --- 3 and 4 ----------------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_not_there_ends_with_3(world: World, lines: str) -> None:
    nowhere = f"localhost:{free_port()}"
    reported = call("report", *system(world, at=nowhere), "--timeout", 0.5, given=lines)
    assert (reported.code, reported.out, "address" in reported.errors) == (Exit.UNREACHABLE, "", True)
    watched = call("watch", *floor(world, at=nowhere), "--timeout", 0.5)
    assert (watched.code, watched.out, "address" in watched.errors) == (Exit.UNREACHABLE, "", True)


def test_a_gateway_of_another_nation_is_not_believed(world: World) -> None:
    ended = execute("watch", *floor(world, "KOR", at=world.address("USA")), "--timeout", 0.5)
    assert (ended.code, ended.out) == (Exit.UNREACHABLE, "")


def test_an_exercise_without_its_gateways_ends_with_3(still: World) -> None:
    gateways = [f"--gateway={nation}=localhost:{free_port()}" for nation in ("KOR", "USA", "JPN")]
    certs = still.folder / "three"
    assert call("certs", "init", certs).code == Exit.OK
    ended = call("exercise", "run", "false-alarm", *gateways, "--certs", certs, "--rate", 100)
    assert ended.code == Exit.UNREACHABLE, ended


def test_whoever_may_not_do_it_is_denied_with_4(world: World, lines: str) -> None:
    reported = call("report", *floor(world, "KOR"), given=lines)
    assert (reported.code, "ROLE_NOT_ALLOWED" in reported.out) == (Exit.DENIED, True)
    watched = call("watch", *system(world, "USA"))
    assert (watched.code, watched.out, "ROLE_NOT_ALLOWED" in watched.errors) == (Exit.DENIED, "", True)


def test_a_refused_report_ends_with_4_and_those_after_it_are_taken(
    world: World, lines: str, exercise_file: Path, reports: ModuleType
) -> None:
    launch, _ = lines.splitlines(keepends=True)
    base = json_format.Parse(exercise_file.read_bytes(), reports.exercise())
    unlabelled = national_pb2.ReportRequest(content=reports.launch(b"m-9", b"e-9", base=base), precedence=reports.FLASH)
    given = json_format.MessageToJson(unlabelled, indent=None) + "\n\n" + launch
    ended = call("report", *system(world), given=given)
    assert ended.code == Exit.DENIED
    refused, taken = ended.out.splitlines()
    assert refused.startswith("1: refused: UNLABELLED: ")
    assert taken.startswith(("3: accepted", "3: duplicate")), "an empty line counts and is no report"
    assert ended.errors == "vedette: 1 report was refused\n"
    native = call("report", *system(world), "--format", "radar-json", "--exercise", exercise_file, given='{"no": 7}\n')
    assert (native.code, "UNREADABLE_LINE" in native.out) == (Exit.DENIED, True)


# --- 5 ----------------------------------------------------------------------------------------------------------------


def test_a_gateway_and_a_hub_do_not_start_on_a_members_document_that_was_tampered_with(tampered: World) -> None:
    for words in (
        ("gateway", "--settings", settings(tampered)),
        ("hub", "--settings", tampered.folder / "hub/hub.toml"),
    ):
        ended = execute(*words)
        assert ended.code == Exit.UNVERIFIED, ended
        assert ended.errors.strip().splitlines()[-1].startswith(f"vedette {words[0]}: ")
    doctor = call("doctor", "--settings", settings(tampered), "--offline")
    assert (doctor.code, "MEND D02 members" in doctor.out) == (Exit.UNVERIFIED, True)


def test_a_gateway_does_not_start_on_a_policy_that_nobody_signed(unsigned: World) -> None:
    ended = execute("gateway", "--settings", settings(unsigned))
    assert ended.code == Exit.UNVERIFIED, ended
    doctor = call("doctor", "--settings", settings(unsigned), "--offline")
    assert (doctor.code, "MEND D05 policy" in doctor.out) == (Exit.UNVERIFIED, True)


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_wrong_with_a_gateway_that_runs(world: World) -> None:
    found = call("doctor", "--settings", settings(world))
    assert found.code == Exit.OK, found.out
    findings = [line.split()[:2] for line in found.out.splitlines()]
    assert sorted(findings) == [["ok", f"D0{number}"] for number in range(1, 10)]


def test_the_doctor_says_what_to_mend(still: World, tmp_path: Path) -> None:
    away = call("doctor", "--settings", settings(still))
    assert away.code == Exit.UNREACHABLE
    assert [line[:8] for line in away.out.splitlines()[-2:]] == ["MEND D07", "MEND D08"]
    # A nation whose plugin is not installed is something to mend; keys that are not there do not hold.
    folder = still.folder / "kor"
    strange = folder / "strange.toml"
    strange.write_text(settings(still).read_text().replace('nation = "KOR"', 'nation = "NZL"'))
    assert "MEND D01 plugin: no plugin for NZL" in call("doctor", "--settings", strange, "--offline").out
    keyless = folder / "keyless.toml"
    keyless.write_text(settings(still).read_text().replace('"../certs/kor"', f'"{tmp_path}"'))
    beside = signature_path(still.invariants_path("KOR"))
    signatures = beside.read_bytes()
    beside.unlink()
    assert "MEND D09 invariants" in call("doctor", "--settings", settings(still), "--offline").out
    beside.write_bytes(signatures)
    ended = call("doctor", "--settings", keyless, "--offline")
    assert (ended.code, "MEND D03 keys" in ended.out, "MEND D04" in ended.out) == (Exit.UNVERIFIED, True, True)


def settings(world: World, nation: str = "KOR") -> Path:
    return world.folder / nation.lower() / "gateway.toml"
