"""A server of the nation's service in this process, with real TLS: what it answers is the test's own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from broker.client import Certificates
from broker.clock import SystemClock
from broker.rpc import SERVER_OPTIONS, Door, FaultBarrier
from certs import tls
from certs.issue import Authority, authority
from vedette.v1.national_pb2_grpc import add_NationalServicer_to_server

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from vedette.v1.national_pb2_grpc import NationalServicer


@pytest.fixture(scope="session")
def kor_world(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("kor-world") / "certs")


@dataclass
class Served:
    """Where the service listens, who may come in, and who we are."""

    address: str
    door: Door
    world: Authority

    def system(self, name: str = "system-1") -> Certificates:
        return Certificates.of(self.world.home("KOR") / "systems" / "exercise" / name)

    def watch(self, name: str = "floor-1") -> Certificates:
        return Certificates.of(self.world.home("KOR") / "watch" / "exercise" / name)


class Serve(Protocol):
    def __call__(
        self, make: Callable[[Door], NationalServicer], *, port: int = 0
    ) -> AbstractAsyncContextManager[Served]: ...


@pytest.fixture(scope="session")
def serve(kor_world: Authority) -> Serve:
    """Return what serves the nation's service as KOR's gateway would, until the block ends."""

    @asynccontextmanager
    async def start(make: Callable[[Door], NationalServicer], *, port: int = 0) -> AsyncIterator[Served]:
        home = kor_world.home("KOR")
        door = Door(kor_world.members(), SystemClock())
        server = grpc.aio.server(interceptors=[FaultBarrier()], options=SERVER_OPTIONS)
        add_NationalServicer_to_server(make(door), server)
        credentials = tls.server_credentials(
            *((home / name).read_bytes() for name in ("gateway.pem", "gateway.key", "root.pem"))
        )
        port = server.add_secure_port(f"localhost:{port}", credentials)
        await server.start()
        try:
            yield Served(f"localhost:{port}", door, kor_world)
        finally:
            await server.stop(0)

    return start
