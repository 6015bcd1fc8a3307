"""A real world on this machine: a hub and gateways as processes of their own, real TLS, real stores."""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from broker.client import Client
from broker.demo.world import OPERATOR, World, make_world, running, shipped_policy
from vedette.v1 import national_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType

    from broker.client import Reporter
    from vedette.v1.national_pb2 import Warning as WarningMessage

WAIT_S = 50.0  # this machine may be busy
HUB = "HUB"


class OpenWorld(Protocol):
    def __call__(self, *, start: Sequence[str] | None = None, **options: object) -> World: ...


@pytest.fixture
def open_world(tmp_path: Path) -> Iterator[OpenWorld]:
    """Give a function that makes a world and runs it until the test ends."""
    with ExitStack() as stack:

        def opened(*, start: Sequence[str] | None = None, **options: object) -> World:
            return stack.enter_context(running(make_world(tmp_path, **options), start))  # type: ignore[arg-type]

        yield opened


@pytest.fixture(scope="module")
def open_shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWorld]:
    """Give the same for all tests of a file: starting processes costs seconds."""
    with ExitStack() as stack:

        def opened(*, start: Sequence[str] | None = None, **options: object) -> World:
            folder = tmp_path_factory.mktemp("world")
            return stack.enter_context(running(make_world(folder, **options), start))  # type: ignore[arg-type]

        yield opened


@pytest.fixture(scope="session")
def policy_with() -> Callable[..., str]:
    """Return what makes a nation's policy from rules alone: the groups are those that it ships."""

    def make(nation: str, rules: str, *, version: int = 1) -> str:
        head = shipped_policy(nation).partition("\nrules:\n")[0]
        return f"{head.replace('version: 1', f'version: {version}')}\nrules:\n{rules}"

    return make


@pytest.fixture(scope="session")
def reports() -> ModuleType:
    """Give `reports.py` beside this file: there are no packages in import mode importlib."""
    spec = importlib.util.spec_from_file_location("path_reports", Path(__file__).with_name("reports.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Floor:
    """A watch floor that writes down all it is shown."""

    exercise_id: str = ""  # whose warnings count; empty: all
    writing: asyncio.Task[None] | None = None  # it never ends by itself
    responses: list[national_pb2.WatchResponse] = field(default_factory=list)

    @property
    def warnings(self) -> list[WarningMessage]:
        """Return what other nations sent."""
        return [warning for warning in self._warnings() if warning.header.origin != HUB]

    @property
    def pictures(self) -> list[WarningMessage]:
        """Return what the hub's fusion process sent."""
        return [warning for warning in self._warnings() if warning.header.origin == HUB]

    @property
    def alarms(self) -> list[tuple[str, bytes]]:
        """Return `RAISE` or `LOWER` and the event, in order."""
        return [
            (national_pb2.Alarm.Name(response.alarm.alarm).removeprefix("ALARM_"), response.alarm.event_id)
            for response in self.responses
            if response.HasField("alarm")
        ]

    @property
    def links(self) -> list[bool]:
        return [response.link.hub_connected for response in self.responses if response.HasField("link")]

    @property
    def position(self) -> bytes:
        return self.responses[-1].position if self.responses else b""

    def of(self, body: str, origin: str = "") -> list[WarningMessage]:
        """Return the warnings with that body (an empty name: bare references), of one origin or of all."""
        return [
            warning
            for warning in self.warnings
            if (warning.content.WhichOneof("body") or "") == body and origin in ("", warning.header.origin)
        ]

    async def until(self, holds: Callable[[], object], *, wait_s: float = WAIT_S) -> None:
        """Return once it holds."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while not holds():
            if self.writing is not None and self.writing.done():
                self.writing.result()  # what ended the watch says more than that nothing came
            assert asyncio.get_running_loop().time() < deadline, f"in vain after {len(self.responses)} events"
            await asyncio.sleep(0.02)

    async def until_linked(self, is_linked: bool) -> None:  # noqa: FBT001 - one of two
        """Return once the gateway has said that the hub is there, or is not."""
        await self.until(lambda: self.links and self.links[-1] == is_linked)

    async def until_count(self, body: str, count: int) -> None:
        """Return once so many warnings with that body were shown."""
        await self.until(lambda: len(self.of(body)) >= count)

    def _warnings(self) -> list[WarningMessage]:
        return [
            response.warning
            for response in self.responses
            if response.HasField("warning")
            and self.exercise_id in ("", response.warning.content.header.exercise.exercise_id)
        ]


class Watching(Protocol):
    def __call__(
        self, world: World, nation: str, *, after: bytes = b"", mode: str = "exercise", exercise_id: str = ""
    ) -> AbstractAsyncContextManager[Floor]: ...


@pytest.fixture(scope="session")
def watching() -> Watching:
    """Return what opens a watch floor: it writes down all that it is shown until the block ends."""

    @asynccontextmanager
    async def open_floor(
        world: World, nation: str, *, after: bytes = b"", mode: str = "exercise", exercise_id: str = ""
    ) -> AsyncIterator[Floor]:
        floor = Floor(exercise_id)

        async def write_down(client: Client) -> None:
            async for response in client.watch(resume_after=after):
                floor.responses.append(response)

        async with Client.open(world.address(nation), world.watch(nation, mode)) as client:
            floor.writing = asyncio.create_task(write_down(client))
            try:
                yield floor
            finally:
                floor.writing.cancel()
                await asyncio.gather(floor.writing, return_exceptions=True)

    return open_floor


class Reporting(Protocol):
    def __call__(
        self, world: World, nation: str, *, mode: str = "exercise", session: str = ""
    ) -> AbstractAsyncContextManager[Reporter]: ...


@pytest.fixture(scope="session")
def reporting() -> Reporting:
    """Return what opens a national system: its stream of reports until the block ends."""

    @asynccontextmanager
    async def open_system(
        world: World, nation: str, *, mode: str = "exercise", session: str = ""
    ) -> AsyncIterator[Reporter]:
        async with (
            Client.open(world.address(nation), world.system(nation, OPERATOR, mode)) as client,
            client.reporter(session=session, deadline_s=WAIT_S) as reporter,
        ):
            yield reporter

    return open_system
