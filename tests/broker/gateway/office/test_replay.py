"""`vedette policy impact` over what the real pipeline recorded, in a real store, also while somebody writes to it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from broker import known, limits
from broker.cli.policy import policy as policy_group
from broker.clock import timestamp
from broker.gateway.ids import Scope, intake_key
from broker.gateway.ledger import INTAKE
from broker.gateway.office.replay import replay
from broker.gateway.release import Policy
from broker.gateway.release.change import Change
from broker.gateway.release.impact import Impact, Window
from broker.store import NewRecord
from broker.store.beside import Beside
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from tests.broker.gateway.conftest import Origin
    from vedette.v1 import content_pb2

NOW_NS = 1_780_000_000 * limits.SECOND_NS  # as the clock stands when the first report comes
APART_S = 900.0  # more than what the search for a window spares
TRACKS = 8
RULES = """
- id: TRACKS
  effect: release
  to: [USA, JPN]
  when: 'body == "track"'
  give: {when_observed: exact, clock: exact, stamps: exact, track_time: exact, track_place: 10km}
  reason: r
- id: NEVER
  effect: limit
  to: [USA, JPN]
  when: '"KOR-ONLY" in label.caveats'
  delay_s: 10
  reason: r
"""
WIDER = """
- id: MOTION
  effect: release
  to: [JPN]
  when: 'body == "track" && precedence >= Precedence.PRECEDENCE_FLASH'
  give: {motion: 1km}
  reason: r
"""
EVER = Window(NOW_NS - limits.SECOND_NS, NOW_NS + 10_000 * limits.SECOND_NS)


@pytest.fixture(scope="module")
def old(policy_of: Callable[[str], Policy]) -> Policy:
    return policy_of(RULES)


@pytest.fixture(scope="module")
def wider(policy_of: Callable[[str], Policy]) -> Policy:
    return policy_of(RULES + WIDER)


@pytest.fixture
async def recorded(origin: Callable[..., Origin], old: Policy, reports: ModuleType, tmp_path: Path) -> Path:
    """Give the data folder of a gateway that took TRACKS tracks, APART_S from each other, every second one a flash."""
    base = reports.exercise("test-1")
    base.wall_zero.CopyFrom(timestamp(NOW_NS))
    base.exercise_zero.CopyFrom(base.wall_zero)
    kor = await origin(old).start(await open_sqlite(tmp_path / "gateway.sqlite"))
    for number in range(TRACKS):
        content: content_pb2.Content = reports.track(b"t%d" % number, b"e-1", base=base, at_ns=kor.clock.wall_ns())
        assert await kor.report(content, reports.label(), precedence=5 if number % 2 else 3)
        kor.clock.advance(round(APART_S * limits.SECOND_NS))
    assert {item.header.recipient for item in await kor.outbox()} == {"USA", "JPN"}, "the control: it is a pipeline"
    await kor.store.close()
    return tmp_path


def impact_of(data: Path, old: Policy, new: Policy, window: Window = EVER) -> Impact:
    with Beside(data / "gateway.sqlite") as store:
        return replay(store, old, new, window)


async def test_the_policy_in_force_as_a_draft_changes_nothing_of_all_that_was_recorded(
    recorded: Path, old: Policy
) -> None:
    impact = impact_of(recorded, old, old)
    assert (impact.coverage.messages, impact.coverage.unreadable) == (TRACKS, 0)
    assert (impact.coverage.bodies, impact.coverage.modes) == ({"track": TRACKS}, {"exercise": TRACKS})
    assert impact.coverage.systems == {"aegis-1": TRACKS}
    assert impact.coverage.unmatched == ("NEVER",)
    assert (impact.fields, impact.groups, impact.terms) == ((), (), ())
    assert {row.recipient: row.released_after for row in impact.recipients}["JPN"] == TRACKS


async def test_a_wider_rule_releases_exactly_its_fields_to_its_recipient_in_the_messages_that_it_matches(
    recorded: Path, old: Policy, wider: Policy
) -> None:
    impact = impact_of(recorded, old, wider)
    assert {row.path for row in impact.fields if row.with_value} == {"track.state.velocity_mps"}
    assert {(row.recipient, row.group, row.change) for row in impact.fields} == {
        ("JPN", "motion", Change.NEWLY_RELEASED)
    }
    assert {row.decisions for row in impact.fields} == {TRACKS // 2}
    scope = Scope(2, "test-1", "aegis-1", "s")
    names = {intake_key(scope, b"t%d" % number).hex()[:16] for number in range(1, TRACKS, 2)}
    for row in impact.fields:
        assert {each.message for each in row.examples} <= names, "by the name that the audit trail has"


async def test_a_window_begins_where_it_says(recorded: Path, old: Policy, wider: Policy) -> None:
    since_ns = NOW_NS + round(3 * APART_S * limits.SECOND_NS)
    for later_ns, count in ((0, TRACKS - 3), (1, TRACKS - 4)):
        impact = impact_of(recorded, old, wider, Window(since_ns + later_ns, EVER.until_ns))
        assert impact.coverage.messages == count
    until_ns = since_ns
    assert impact_of(recorded, old, wider, Window(NOW_NS, until_ns)).coverage.messages == 3


async def test_records_that_cannot_be_read_are_counted_and_the_others_are_replayed(
    recorded: Path, old: Policy, wider: Policy
) -> None:
    store = await open_sqlite(recorded / "gateway.sqlite")
    await store.append([NewRecord(INTAKE, b"no message", bytes(32), b"\xff")])
    await store.close()
    with sqlite3.connect(recorded / "gateway.sqlite") as plain:
        (number,) = plain.execute("SELECT id FROM streams WHERE name = ?", (INTAKE,)).fetchone()
        for position in (1, 4):
            place = number * 2**40 + position
            assert plain.execute("UPDATE records SET lane = 7 WHERE place = ?", (place,)).rowcount == 1
    plain.close()
    impact = impact_of(recorded, old, wider)
    assert (impact.coverage.messages, impact.coverage.unreadable) == (TRACKS - 2, 3)
    assert {row.decisions for row in impact.fields} == {TRACKS // 2 - 1}, "the fourth was one that it matches"


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from broker.gateway.ledger import INTAKE
    from broker.store import NewRecord
    from broker.store.sqlite import open_sqlite

    async def main():
        store = await open_sqlite(Path(sys.argv[1]))
        data = (await store.read(INTAKE, after=0, limit=1))[0].data
        number = 0
        print("open", flush=True)
        asked = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        while not asked.done():
            number += 1
            await store.append([NewRecord(INTAKE, b"%d" % number, bytes(32), data)])
        await store.close()
        print(number, flush=True)

    asyncio.run(main())
"""


@pytest.mark.timeout(120)
async def test_a_gateway_that_goes_on_writing_is_not_disturbed_and_the_replay_ends(
    recorded: Path, old: Policy, wider: Policy
) -> None:
    path = recorded / "gateway.sqlite"
    program = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:  # noqa: ASYNC220, S603
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        counts = [impact_of(recorded, old, wider).coverage.messages]
        while counts[-1] < counts[0] + 100:
            assert writer.poll() is None
            counts.append(impact_of(recorded, old, wider).coverage.messages)
        written = int(writer.communicate("stop\n")[0])
    assert writer.returncode == 0, "no append failed, and it closed in order"
    assert TRACKS < counts[-1] <= TRACKS + written, "the control: what it wrote meanwhile was seen"
    impact = impact_of(recorded, old, wider)
    assert (impact.coverage.messages, impact.coverage.unreadable) == (TRACKS + written, 0)


@pytest.fixture
def files(tmp_path: Path, kor_policy: str) -> tuple[Path, Path]:
    """Give the files of the policy in force and of a draft that is wider."""
    groups = kor_policy.partition("\nrules:\n")[0]
    paths = tmp_path / "release.yaml", tmp_path / "draft.yaml"
    for path, rules in zip(paths, (RULES, RULES + WIDER), strict=True):
        path.write_text(f"{groups}\nrules:\n{rules}")
    return paths


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(policy_group, ["impact", *(str(each) for each in args)])
    return result.exit_code, result.stdout, result.stderr


async def test_the_command_says_coverage_first_and_ends_with_1_where_more_is_released(
    recorded: Path, files: tuple[Path, Path]
) -> None:
    active, draft = files
    where = ("--data", recorded, "--since", "3650d")
    code, output, noted = run(draft, "--against", active, *where)
    assert code == 1
    assert output.splitlines()[1].startswith(f"recorded: {TRACKS} messages, 2026-")
    assert output.index("rules of the draft that nothing matched: NEVER") < output.index("JPN: ")
    assert "track.state.velocity_mps: withheld -> 1km/1s, 4, 4 with a value; e.g. " in output
    assert "It does not see" in output
    assert noted.startswith(f"note: {active} (version "), "the store names none"
    code, output, _ = run(active, "--against", active, *where)
    assert (code, "releases nothing new of these messages" in output) == (0, True)
    code, output, _ = run(draft, "--against", active, *where, "--json")
    told = json.loads(output)
    assert (code, told["releases_more"], told["coverage"]["messages"]) == (1, True, TRACKS)
    assert told["coverage"]["rules_unmatched"] == ["NEVER"]
    assert {row["recipient"] for row in told["fields"]} == {"JPN"}


async def test_the_gateways_settings_name_its_data_and_the_policy_that_its_store_knows_to_be_in_force(
    recorded: Path, files: tuple[Path, Path]
) -> None:
    active, draft = files
    names = ("nation", "listen", "hub", "certs_dir", "members", "members_digest")
    settings = recorded / "gateway.toml"
    lines = [f'{name} = "{"KOR" if name == "nation" else "localhost:1"}"' for name in names]
    settings.write_text("\n".join([*lines, 'data_dir = "."', f'policy = "{active.name}"']) + "\n")
    store = await open_sqlite(recorded / "gateway.sqlite")
    in_force = Policy.parse(active.read_text())
    keeping = asyncio.create_task(known.keep_known(store, lambda: {known.POLICY: in_force}))
    while not await store.state(known.PREFIX):  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await store.close()
    code, output, noted = run(draft, "--settings", settings, "--since", "3650d")
    assert (code, noted) == (1, "")
    assert in_force.digest in output
    _, _, noted = run(active, "--settings", settings, "--against", draft, "--since", "3650d")
    assert noted.startswith(f"note: {draft} (version ")
    settings.write_text(settings.read_text() + 'store = "memory"\n')
    assert run(draft, "--settings", settings)[0] == 2


async def test_nothing_that_a_message_said_is_told(recorded: Path, files: tuple[Path, Path]) -> None:
    active, draft = files
    for form in ([], ["--json"]):
        _, output, _ = run(draft, "--against", active, "--data", recorded, "--since", "3650d", *form)
        for said in ("-1200", "60000", "128.0", "e-1"):
            assert said not in output


async def test_a_window_without_messages_is_said_aloud_and_wrong_usage_is_2(
    recorded: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    active, draft = files
    code, output, _ = run(draft, "--against", active, "--data", recorded, "--since", "1s")
    assert (code, "NO message in this window: nothing was tried" in output) == (0, True)
    bad = tmp_path / "bad.yaml"
    bad.write_text("nonsense")
    empty = tmp_path / "empty"
    empty.mkdir()
    for args, why in (
        ((draft, "--data", recorded), "--against"),
        ((draft, "--against", active), "--data"),
        ((bad, "--against", active, "--data", recorded), "is not a policy"),
        ((draft, "--against", active, "--data", empty), "no store"),
        ((draft, "--against", active, "--data", recorded, "--since", "1 week"), "24h"),
        ((draft, "--against", active, "--data", recorded, "--since", "99999d"), "ten years"),
    ):
        code, _, said = run(*args)
        assert (code, why in said) == (2, True), said
