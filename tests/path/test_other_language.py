"""A client in another language: Node, the .proto files and a certificate. tests/path/node/client.mjs is all of it.

Its packages are installed once, by the committed lock, into /.cache/node.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from google.protobuf import json_format

from vedette.v1 import content_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType

    from broker.demo.world import World
    from tests.path.conftest import OpenWorld

REPOSITORY: Final = Path(__file__).parents[2]
SOURCE: Final = Path(__file__).with_name("node")
INSTALL_S: Final = 90.0
RUN_S: Final = 40.0
# What npm says when it cannot get at the registry; anything else that goes wrong is a fault of ours.
NO_REGISTRY: Final = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET")
EXERCISE: Final = "other-language"
AT: Final = "2026-01-31T12:00:00.123456789Z"


class Ran(NamedTuple):
    status: int
    lines: list[dict[str, Any]]
    errors: str


@pytest.fixture(scope="session")
def client() -> Iterator[Path]:
    """Give client.mjs beside its packages."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    lock = (SOURCE / "package-lock.json").read_bytes()
    folder = REPOSITORY / ".cache" / "node" / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        install(folder)
    # Run from a copy, because a module finds its packages beside itself.
    copy = folder / f"client-{os.getpid()}.mjs"
    shutil.copyfile(SOURCE / "client.mjs", copy)
    try:
        yield copy
    finally:
        copy.unlink()


def install(folder: Path) -> None:
    """Install what the lock names. Whole or not at all: another worker may be doing the same."""
    new = folder.with_name(f"new-{os.getpid()}")
    new.mkdir(parents=True)
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(SOURCE / name, new / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        try:
            done = subprocess.run(command, cwd=new, capture_output=True, text=True, timeout=INSTALL_S, check=False)  # noqa: S603 - our own words
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm ci did not end within {INSTALL_S:.0f} s")
        if done.returncode != 0 and any(word in done.stderr for word in NO_REGISTRY):
            pytest.skip("the npm registry is not reached")
        assert done.returncode == 0, done.stderr
        if not folder.exists():
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


class Node:
    """client.mjs as KOR's system or as a watch floor of USA."""

    def __init__(self, client: Path, world: World, exercise: Path) -> None:
        self._client = client
        self._world = world
        self._exercise = exercise

    def report(self, *words: str, role: str = "systems", name: str = "operator") -> list[str]:
        given = ["--exercise", str(self._exercise), "--to", "USA"]
        return self._command("report", "KOR", role, name, *given, *words)

    def watch(self, *words: str) -> list[str]:
        return self._command("watch", "USA", "watch", "floor-1", *words)

    def _command(self, verb: str, nation: str, role: str, name: str, *words: str) -> list[str]:
        home = self._world.authority.home(nation)
        return [
            *("node", str(self._client), verb, "--gateway", self._world.address(nation)),
            *("--cert", str(home / role / "exercise" / name), "--root", str(home / "root.pem")),
            *("--protos", str(REPOSITORY / "protos"), *words),
        ]


async def run(command: list[str]) -> Ran:
    """Run it to its end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    try:
        out, errors = await asyncio.wait_for(process.communicate(), RUN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, [json.loads(line) for line in out.splitlines()], errors.decode())


@asynccontextmanager
async def following(command: list[str]) -> AsyncIterator[asyncio.StreamReader]:
    """Give what a program that does not end by itself writes."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def next_id(out: asyncio.StreamReader) -> str:
    """Return the id of the next warning."""
    async with asyncio.timeout(RUN_S):
        while not (found := ids_of([json.loads(await out.readline())])):
            pass
    return found[0]


def ids_of(lines: list[dict[str, Any]]) -> list[str]:
    return [line["warning"]["header"]["message_id"] for line in lines if line["event"] == "warning"]


@pytest.fixture(scope="module")
def world(client: Path, open_shared_world: OpenWorld) -> World:
    assert client.exists(), "first, so that nothing is started where Node is missing"
    return open_shared_world(nations=("KOR", "USA"), pictures=False)


@pytest.fixture(scope="module")
def node(client: Path, world: World, reports: ModuleType) -> Node:
    exercise = world.folder / "exercise.json"
    exercise.write_text(json_format.MessageToJson(reports.exercise(EXERCISE)))
    return Node(client, world, exercise)


async def test_a_client_in_javascript_reports_and_another_watches_and_goes_on_where_it_was(
    node: Node, world: World
) -> None:
    # Two on one stream, the third by a call of its own; the very same again counts once.
    streamed = await run(node.report("--lat", "39.5", "--at", AT, "first", "second"))
    once = await run(node.report("--once", "third"))
    again = await run(node.report("--lat", "39.5", "--at", AT, "first"))
    assert [ran.status for ran in (streamed, once, again)] == [0, 0, 0], streamed.errors + once.errors + again.errors
    assert [(line["event"], line["number"]) for line in streamed.lines] == [("first", "1"), ("second", "2")]
    outcomes = [line["outcome"].removeprefix("REPORT_OUTCOME_") for line in streamed.lines + once.lines + again.lines]
    assert outcomes == ["ACCEPTED", "ACCEPTED", "ACCEPTED", "DUPLICATE"]

    watched = await run(node.watch("--count", "3"))
    assert watched.status == 0, watched.errors
    shown = [line["warning"] for line in watched.lines if line["event"] == "warning"]
    assert [(warning["header"]["origin"], warning["header"]["mode"]) for warning in shown] == [
        ("KOR", "MODE_EXERCISE")
    ] * 3
    first = shown[0]["content"]
    assert first["body"] == "launch"
    assert first["launch"]["launch_area"]["ellipse"]["centre"]["lat_deg"] == pytest.approx(39.5, abs=0.01)
    assert first["launch"]["launch_time"]["best"]["nanos"] == 123456789
    assert first["header"]["exercise"]["exercise_id"] == EXERCISE

    # Who dealt with the first goes on after it, and stays when the gateway is killed and comes back.
    position = next(line["position"] for line in watched.lines if line["event"] == "warning")
    async with following(node.watch("--timeout", "30", "--resume-after", position)) as out:
        missed = [await next_id(out) for _ in range(2)]
        await asyncio.to_thread(world.gateways["USA"].kill)
        assert (await run(node.report("fourth"))).status == 0
        world.gateways["USA"].start()
        fourth = await next_id(out)
    assert missed == ids_of(watched.lines)[1:]
    assert fourth not in ids_of(watched.lines), "nothing twice"


async def test_a_client_in_javascript_takes_the_exercise_that_the_readme_shows_in_either_way_of_writing(
    client: Path, world: World
) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    of_proto = json_format.MessageToJson(
        json_format.Parse(shown, content_pb2.Exercise()), preserving_proto_field_name=True
    )
    assert "wall_zero" in of_proto
    for name, text in (("camel", shown), ("snake", of_proto)):
        file = world.folder / f"{name}.json"
        file.write_text(text)
        ran = await run(Node(client, world, file).report(name))
        assert [line["outcome"] for line in ran.lines] == ["REPORT_OUTCOME_ACCEPTED"], ran.errors


async def test_a_client_in_javascript_tells_a_refusal_from_a_gateway_that_is_away(node: Node) -> None:
    # One report is refused, and the stream lives on.
    some = await run(node.report("--to", "", "x" * 65, "after-it"))
    assert some.status == 4
    assert [line["outcome"] for line in some.lines] == ["REPORT_OUTCOME_REFUSED", "REPORT_OUTCOME_ACCEPTED"]
    assert some.lines[0]["refusal"]["reason"] == "REASON_TOO_LARGE"
    # The call is refused: trying again would be of no use.
    wrong_role = await run(node.report("event", role="watch", name="floor-1"))
    assert (wrong_role.status, "ROLE_NOT_ALLOWED" in wrong_role.errors) == (4, True)
    away = await run(node.watch("--gateway", "localhost:1", "--timeout", "0.5"))
    assert (away.status, "no gateway for 0.5 s" in away.errors) == (3, True)
    assert (await run(node.report("--seal", "yes", "event"))).status == 2
