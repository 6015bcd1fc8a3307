"""A bare grpc.aio relay with the same processes, streams and framing as the way of a message, and nothing else.

    end -> gateway -> hub -> gateway -> end, each arrow one bidirectional stream over mutual TLS, one message a frame.

No signatures, policies, checks or fusion; with `fsync`, each of the three processes appends the message to a file and
waits for fdatasync before it passes it on, as the gateway's outbox, the hub's log and the recipient's inbox do. It is
the floor under which nothing of this shape can come in Python: what Vedette adds is measured against it.

    python -m tests.bench.relay NAME LISTEN FOLDER fsync|ram [NEXT]     one process of the relay
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.client import Certificates
from broker.rpc import CHANNEL_OPTIONS, SERVER_OPTIONS
from certs import tls

import grpc  # isort: skip
import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SERVICE = "bench.Relay"
ACK = b"ok"


class Relay:
    """One process: takes messages from below, makes them durable if it must, and passes them on."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._file = os.open(folder / "relay.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if durable else None
        self._pullers: set[asyncio.Queue[bytes]] = set()
        self.upward: Callable[[bytes], Awaitable[None]] | None = None

    async def take(self, data: bytes) -> None:
        """Store a message, if we must, and give it to whoever pulls or to the next process."""
        if self._file is not None:
            await asyncio.to_thread(self._store, data)
        if self.upward is not None:
            await self.upward(data)
        for puller in self._pullers:
            puller.put_nowait(data)

    def _store(self, data: bytes) -> None:
        assert self._file is not None
        os.write(self._file, data)
        os.fdatasync(self._file)

    async def push(self, requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        """Take messages; acknowledge each when it is stored."""
        async for data in requests:
            await self.take(data)
            yield ACK

    async def pull(self, _requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        """Give messages as they come."""
        puller: asyncio.Queue[bytes] = asyncio.Queue()
        self._pullers.add(puller)
        try:
            while True:
                yield await puller.get()
        finally:
            self._pullers.discard(puller)


@asynccontextmanager
async def open_end(
    address: str, folder: Path, *, pulls: bool = False, name: str = "gateway"
) -> AsyncIterator[tuple[Any, Callable[[], Awaitable[bytes]]]]:
    """Give an open stream to a relay process: the call, and its read."""
    certificates = Certificates.of(folder / name, roots=folder / "root.pem")
    credentials = tls.channel_credentials(certificates.certificate, certificates.key, certificates.roots)
    async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
        method: Any = channel.stream_stream(f"/{SERVICE}/{'pull' if pulls else 'push'}")
        call = method()
        if pulls:
            await call.write(b"")
        yield call, call.read
        call.cancel()


async def serve(listen: str, folder: Path, mode: str, following: str | None) -> None:
    """Be one process of the relay. `following`: the process below whose messages we pull; None: they are pushed."""
    relay = Relay(folder / "data", durable=mode == "fsync")
    server = grpc.aio.server(options=SERVER_OPTIONS)
    handlers: dict[str, Any] = {
        "push": grpc.stream_stream_rpc_method_handler(relay.push),
        "pull": grpc.stream_stream_rpc_method_handler(relay.pull),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    certificate, key = tls.read_pair(folder / "gateway.pem", folder / "gateway.key")
    credentials = tls.server_credentials(certificate, key, (folder / "root.pem").read_bytes())
    server.add_secure_port(listen, credentials)
    if following is not None and following.startswith("up:"):
        async with open_end(following.removeprefix("up:"), folder) as (call, read):
            relay.upward = call.write
            await server.start()
            while True:
                await read()
    await server.start()
    if following is not None:
        async with open_end(following, folder, pulls=True) as (_, read):
            while True:
                await relay.take(await read())
    await server.wait_for_termination()


def main(arguments: list[str]) -> None:
    """Start one process of the relay."""
    _name, listen, folder, mode, *rest = arguments
    asyncio.run(serve(listen, Path(folder), mode, rest[0] if rest else None))


if __name__ == "__main__":
    main(sys.argv[1:])
