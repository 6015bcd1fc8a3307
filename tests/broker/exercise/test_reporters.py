"""The last step of an exercise: real lines over real TLS, to a gateway that only keeps them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from broker.cli.exercise import _system, reporters
from broker.clock import ManualClock
from broker.exercise.player import Ended, play
from broker.exercise.scenario import read_scenario
from broker.exercise.timeline import Timeline, make_timeline
from broker.refusal import Reason, Refused
from broker.rpc import SERVER_OPTIONS, abort_refused
from certs import issue, tls
from vedette.v1 import national_pb2
from vedette.v1.national_pb2_grpc import NationalServicer, add_NationalServicer_to_server

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.exercise.announcements import AnnouncedLaunch
    from broker.plugin import Nation

TEXT = """\
format: vedette-scenario/v1
name: small
date: 2022-10-04
shows: one short launch
start: 2022-10-03T22:22:00Z
rate: 100
seed: 7
nations: [KOR]
launches:
  - name: one
    site: {lat_deg: 39.2, lon_deg: 125.7}
    time: 2022-10-03T22:22:30Z
    azimuth_deg: 70
    range_km: 400
    apogee_km: 90
    class: SRBM
"""


@dataclass
class Keeping(NationalServicer):
    """Accepts every line, refuses every second one, or denies the whole call."""

    denies: bool = False
    refuses_some: bool = False
    requests: list[national_pb2.ReportRequest] = field(default_factory=list)

    async def Report(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[national_pb2.ReportRequest],
        context: grpc.aio.ServicerContext[national_pb2.ReportRequest, national_pb2.ReportResponse],
    ) -> AsyncIterator[national_pb2.ReportResponse]:
        if self.denies:
            await abort_refused(context, Refused(Reason.REASON_ROLE_NOT_ALLOWED, "systems only"))
        number = 0
        async for request in request_iterator:
            number += 1
            self.requests.append(request)
            if self.refuses_some and number % 2 == 0:
                refusal = Refused(Reason.REASON_UNREADABLE_LINE, "an even one").on_wire()
                outcome = national_pb2.REPORT_OUTCOME_REFUSED
                yield national_pb2.ReportResponse(number=number, outcome=outcome, refusal=refusal)
            else:
                outcome = national_pb2.REPORT_OUTCOME_ACCEPTED
                yield national_pb2.ReportResponse(number=number, outcome=outcome, content_count=1)

    async def ReportOnce(self, request: object, context: object) -> NoReturn:  # noqa: N802 - not called
        raise NotImplementedError

    def Watch(self, request: object, context: object) -> NoReturn:  # noqa: N802 - not called
        raise NotImplementedError

    async def Acknowledge(self, request: object, context: object) -> NoReturn:  # noqa: N802 - not called
        raise NotImplementedError


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority") / "certs"
    issue.authority(folder, nations=("KOR", "USA"), systems=("radar-1", "shared"))
    return folder


@pytest.fixture(scope="module")
def timeline(nations: dict[str, Nation], table: dict[str, AnnouncedLaunch]) -> Timeline:
    return make_timeline(read_scenario(TEXT, "small.yaml", table), nations)


@asynccontextmanager
async def serving(keeping: Keeping, certs: Path) -> AsyncIterator[str]:
    home = certs / "kor"
    pair = tls.read_pair(home / "gateway.pem", home / "gateway.key")
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_NationalServicer_to_server(keeping, server)
    port = server.add_secure_port("127.0.0.1:0", tls.server_credentials(*pair, (home / "root.pem").read_bytes()))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def hurried(seconds: float) -> None:
    """Sleep no time at all: the clock of these tests stands still, and `advance` moves it."""
    CLOCK.advance(round(seconds * 1e9) + 1)


CLOCK = ManualClock()


async def test_lines_arrive_as_the_nation_writes_them_marked_as_an_exercise(
    timeline: Timeline, nations: dict[str, Nation], certs: Path
) -> None:
    keeping = Keeping()
    async with serving(keeping, certs) as address:
        opened = reporters({"KOR": address}, certs, {"KOR": nations["KOR"]})
        played = await play(timeline, nations, opened, clock=CLOCK, sleep=hurried)
    write = nations["KOR"].formats["plain"].write
    assert len(played.sent) == len(timeline.reports) == len(keeping.requests)
    assert sorted(request.native.line for request in keeping.requests) == sorted(
        write(report.observation, report.sensor) for report in timeline.reports
    )
    assert {request.native.format for request in keeping.requests} == {"plain"}
    assert all(request.exercise == played.exercise for request in keeping.requests)
    assert {request.session for request in keeping.requests} == {played.exercise.exercise_id}


async def test_lines_that_are_refused_are_counted_and_the_others_arrive(
    timeline: Timeline, nations: dict[str, Nation], certs: Path
) -> None:
    keeping = Keeping(refuses_some=True)
    async with serving(keeping, certs) as address:
        opened = reporters({"KOR": address}, certs, {"KOR": nations["KOR"]})
        played = await play(timeline, nations, opened, clock=CLOCK, sleep=hurried)
    assert played.unreported["KOR"] + len(played.sent) == len(timeline.reports)
    assert played.unreported["KOR"] > 10
    assert played.reasons == {"KOR: UNREADABLE_LINE: an even one"}


async def test_a_system_that_is_denied_ends_the_exercise(
    timeline: Timeline, nations: dict[str, Nation], certs: Path
) -> None:
    async with serving(Keeping(denies=True), certs) as address:
        opened = reporters({"KOR": address}, certs, {"KOR": nations["KOR"]})
        with pytest.raises(Ended, match="KOR: ROLE_NOT_ALLOWED") as ended:
            await play(timeline, nations, opened, clock=CLOCK, sleep=hurried)
    assert ended.value.denied


async def test_a_gateway_that_goes_away_costs_lines_and_not_the_exercise(
    timeline: Timeline, nations: dict[str, Nation], certs: Path
) -> None:
    keeping = Keeping()
    of_one = [report for report in timeline.reports if report.sensor.name == "radar-2"]
    one_sensor = replace(timeline, reports=tuple(of_one[:6]))
    async with AsyncExitStack() as gateway:
        address = await gateway.enter_async_context(serving(keeping, certs))

        async def until_the_third(seconds: float) -> None:
            await hurried(seconds)
            if len(keeping.requests) >= 3:
                await gateway.aclose()

        opened = reporters({"KOR": address}, certs, {"KOR": nations["KOR"]}, deadline_s=0.3)
        played = await play(one_sensor, nations, opened, clock=CLOCK, sleep=until_the_third)
    assert len(played.sent) == 3
    assert played.unreported == {"KOR": 3}


async def test_a_gateway_that_is_not_there_ends_the_exercise(
    timeline: Timeline, nations: dict[str, Nation], certs: Path
) -> None:
    opened = reporters({"KOR": "127.0.0.1:1"}, certs, {"KOR": nations["KOR"]}, deadline_s=0.3)
    with pytest.raises(Ended, match="KOR: no answer") as ended:
        await play(timeline, nations, opened, clock=CLOCK, sleep=hurried)
    assert not ended.value.denied


def test_a_sensor_without_a_certificate_of_its_own_uses_the_nation_s_first(certs: Path, tmp_path: Path) -> None:
    assert _system(certs / "kor", "shared").name == "shared"
    assert _system(certs / "kor", "infrared-1").name == "radar-1"
    with pytest.raises(FileNotFoundError, match="no certificate of a system"):
        _system(tmp_path, "radar-1")
