"""A rule is changed by three people, undone by three, and stopped by one: the command line at a real gateway."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from click.testing import CliRunner

from broker.cli import Exit, main
from broker.demo.world import shipped
from tests.path.small_policy import TESTS, small_policy
from vedette.v1 import envelope_pb2

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from broker.client import Reporter
    from broker.demo.world import World
    from tests.path.conftest import Floor, OpenWorld, Reporting, Watching
    from vedette.v1 import content_pb2


class Ended(NamedTuple):
    code: int
    out: str
    errors: str


class Desk:
    """The officers of KOR, at their command line."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.officers = world.authority.home("KOR") / "officers"

    async def __call__(self, officer: str, *words: object, signs: bool = True) -> Ended:
        options = ["--gateway", self.world.address("KOR"), "--cert", str(self.officers / f"{officer}-tls")]
        if signs:
            options += ["--key", str(self.officers / f"{officer}.key")]
        line = ["policy", *map(str, words), *options]
        done = await asyncio.to_thread(CliRunner().invoke, main, line, prog_name="vedette")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return Ended(done.exit_code, done.stdout, done.stderr)

    async def approve(self, digest: str) -> None:
        for officer in ("officer-2", "security-1"):
            done = await self(officer, "approve", digest, "--yes")
            assert done.code == Exit.OK, done
        done = await self("security-1", "activate", digest, signs=False)
        assert done.code == Exit.OK, done


class Radar:
    """A system of KOR that reports the same object again and again."""

    def __init__(self, reports: ModuleType, exercise: content_pb2.Exercise, reporter: Reporter) -> None:
        self.reports, self.exercise, self.reporter = reports, exercise, reporter
        self.count = 0

    async def says(self, floor: Floor, *, caveats: tuple[str, ...] = ()) -> float:
        """Report, wait until JPN is shown it, and return how coarse it is."""
        before = len(floor.of("track"))
        await self.reports_only(caveats=caveats)
        await floor.until(lambda: len(floor.of("track")) > before)
        return floor.of("track")[-1].content.track.state.cell.space_m

    async def reports_only(self, *, caveats: tuple[str, ...] = ()) -> None:
        self.count += 1
        content = self.reports.track(b"t-%d" % self.count, b"e-1", base=self.exercise)
        await self.reporter.report(
            content, precedence=envelope_pb2.PRECEDENCE_FLASH, label=self.reports.label(caveats=caveats)
        )


@pytest.fixture(scope="module")
def world(open_shared_world: OpenWorld) -> World:
    policies = {"KOR": small_policy(1)}
    promises = {"KOR": shipped("KOR", "invariants.yaml")}
    return open_shared_world(
        start=("KOR", "JPN"), policies=policies, tests={"KOR": TESTS}, invariants=promises, pictures=False
    )


def digest_in(out: str) -> str:
    match = re.search(r"sha256:[0-9a-f]{64}", out)
    assert match is not None, out
    return match[0]


async def test_three_people_change_a_rule_and_undo_it_and_one_stops(  # noqa: PLR0915 - one story
    world: World,
    reports: ModuleType,
    watching: Watching,
    reporting: Reporting,
    tmp_path: Path,
) -> None:
    desk = Desk(world)
    file = tmp_path / "release.yaml"
    file.write_text(small_policy(2, "10km"))
    file.with_suffix(".test.yaml").write_text(TESTS)
    exercise = reports.exercise("approval")
    async with (
        watching(world, "JPN", exercise_id="approval") as floor,
        reporting(world, "KOR") as reporter,
    ):
        radar = Radar(reports, exercise, reporter)
        assert await radar.says(floor) == 1_000

        # A draft changes nothing, and one person alone cannot bring it into force.
        proposed = await desk("officer-1", "propose", file)
        assert proposed.code == Exit.OK, proposed
        digest = digest_in(proposed.out)
        assert "coarser" in proposed.out
        assert await radar.says(floor) == 1_000
        refused = await desk("officer-1", "approve", digest, "--yes")
        assert (refused.code, "POLICY_PROPOSER" in refused.errors) == (Exit.DENIED, True)
        refused = await desk("officer-1", "activate", digest, signs=False)
        assert (refused.code, "POLICY_UNSIGNED" in refused.errors) == (Exit.DENIED, True)
        assert (await desk("officer-2", "approve", digest, "--yes")).code == Exit.OK
        refused = await desk("officer-2", "activate", digest, signs=False)
        assert (refused.code, "POLICY_APPROVALS" in refused.errors) == (Exit.DENIED, True)
        assert await radar.says(floor) == 1_000

        # The second duty approves: from the answer on, it is in force.
        shown = await desk("security-1", "show", digest, signs=False)
        assert "still missing" in shown.out
        assert (await desk("security-1", "approve", digest, "--yes")).code == Exit.OK
        assert (await desk("officer-2", "activate", digest, signs=False)).code == Exit.OK
        assert await radar.says(floor) == 10_000

        # Back to the old rules, under a new number and with the same approvals.
        back = await desk("officer-1", "rollback", 1)
        assert (back.code, "version 3" in back.out, "finer" in back.out) == (Exit.OK, True, True), back
        await desk.approve(digest_in(back.out))
        assert await radar.says(floor) == 1_000

        # One person stops; what waits for its delay is caught, and it outlives the process.
        await radar.reports_only(caveats=("LATER",))
        stopped = await desk("security-2", "stop", "JPN", "--reason", "passed on")
        assert stopped.code == Exit.OK, stopped
        shown_so_far = len(floor.of("track"))
        world.gateways["KOR"].kill()
        world.gateways["KOR"].start()
        world.gateways["KOR"].wait()
        await radar.reports_only()
        assert "STOPPED JPN: by security-2" in (await desk("officer-1", "history", signs=False)).out
        lifting = await desk("officer-1", "resume", "JPN", "--yes")
        assert (lifting.code, "not lifted yet" in lifting.out) == (Exit.OK, True)
        await asyncio.sleep(4.5)  # past the delay of the message that was held
        assert len(floor.of("track")) == shown_so_far
        assert (await desk("security-1", "resume", "JPN", "--yes")).out.endswith("lifted\n")
        assert await radar.says(floor) == 1_000
        assert len(floor.of("track")) == shown_so_far + 1, "what was stopped does not come later"

        # And the gateway says why, of a message that it recorded, by its id.
        why = await desk("officer-1", "explain", "t-1", "--to", "JPN", signs=False)
        assert (why.code, "RELEASED to JPN: track" in why.out, "TRACKS (release) matches" in why.out) == (0, True, True)
        unknown = await desk("officer-1", "explain", "t-999", "--to", "JPN", signs=False)
        assert (unknown.code, "POLICY_UNKNOWN" in unknown.errors) == (Exit.DENIED, True)
        listed = await desk("officer-1", "history", signs=False)
        assert [line.split()[:2] for line in listed.out.splitlines()][:3] == [
            ["3", "in"],
            ["2", "superseded"],
            ["1", "superseded"],
        ]
