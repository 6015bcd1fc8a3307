"""Step 7': the fusion process. `python -m broker.hub.views`, started by the hub by exec, a member like any other.

It takes input from the hub's durable logs and from nothing else: it follows the log of every nation, folds it into that
nation's `Picture`, and submits what was drawn under the hub's picture key. It may be slow, stop or die; warnings do not
notice. Each nation's log is a task of its own, and a fault in one picture stays in it.

After a start it folds from the newest checkpoint to the head of the log before it publishes anything: by then it has
seen in the log what was published before. Before it follows any log it has its kernels ready (`broker.jit`), and until
it follows them all no picture is ready: nobody waits for a compiler in the middle of a launch. With `--until-eof` it
ends when its standard input does, as it does when the hub that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker import jit, limits
from broker.clock import SystemClock
from broker.hub.publish import Publisher
from broker.members import MembersInForce
from broker.refusal import Reason
from broker.rpc import CHANNEL_OPTIONS, refusal_of
from broker.views import checkpoint
from broker.views.picture import Picture
from certs import tls
from certs.keyring import Keyring
from vedette.v1.exchange_pb2 import Delivery, FollowHello, FollowRequest, FollowResponse
from vedette.v1.exchange_pb2_grpc import ExchangeStub

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.views.picture import RevisionKey
    from vedette.v1.exchange_pb2_grpc import ExchangeAsyncStub

log = logging.getLogger(__name__)

_CREDITS = limits.READ_BATCH


@dataclass(slots=True)
class Views:
    """The fusion process: a picture per nation, and one publisher."""

    stub: ExchangeAsyncStub
    keyring: Keyring
    members: MembersInForce
    directory: Path
    pictures: dict[str, Picture] = field(default_factory=dict)
    publisher: Publisher = field(init=False)

    def __post_init__(self) -> None:
        """Make the publisher."""
        self.publisher = Publisher(self.keyring, SystemClock(), self._settled)

    async def run(self) -> None:
        """Follow, fold and publish until cancelled; then write checkpoints."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_keep_trying(partial(self.publisher.run, self.stub)))
                group.create_task(self._keep_checkpoints())
                group.create_task(self.members.watch())
                await self._follow_all(group)
        finally:
            self._save()

    async def _follow_all(self, group: asyncio.TaskGroup) -> None:
        """Follow the log of every nation, of those that join later too."""
        while True:
            for code in self.members.current.nations():
                if code not in self.pictures:
                    self.pictures[code] = checkpoint.load(self.directory, code)
                    group.create_task(_keep_trying(partial(self._follow, code)))
            await asyncio.sleep(limits.PICTURE_CHECKPOINT_S)

    async def _follow(self, recipient: str) -> None:
        """Follow one log on one connection until it ends. Raises AioRpcError."""
        picture = self.pictures[recipient]
        call = self.stub.Follow()
        try:
            await call.write(FollowRequest(hello=_hello(picture)))
            welcome = await call.read()
            if not isinstance(welcome, FollowResponse) or not welcome.HasField("welcome"):
                return
            head = int.from_bytes(welcome.welcome.head, "big")
            log.info("following recipient=%s from=%d head=%d", recipient, picture.cursor, head)
            await call.write(FollowRequest(delivered=picture.resume))
            self._offer(picture, head)
            while True:
                response = await call.read()
                if not isinstance(response, FollowResponse) or response.HasField("goodbye"):
                    return
                for data in response.deliveries:
                    delivery = Delivery.FromString(data)
                    picture.take(int.from_bytes(delivery.position, "big"), delivery)
                    self._offer(picture, head)
                    await asyncio.sleep(0)  # the other pictures' turn: folding takes milliseconds
                await call.write(FollowRequest(delivered=picture.resume, credits=len(response.deliveries)))
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            if refusal is not None and refusal.reason == Reason.REASON_BAD_POSITION:
                log.warning("the log of %s is another one: folding it from its beginning", recipient)
                self.pictures[recipient] = Picture(recipient)
            raise
        finally:
            call.cancel()

    def _offer(self, picture: Picture, head: int) -> None:
        """Publish what is pending, once the log has told what was published before."""
        if picture.cursor >= head and picture.pending:
            self.publisher.offer(list(picture.pending.values()))

    def _settled(self, recipient: str, key: RevisionKey) -> None:
        self.pictures[recipient].settled(key)

    async def _keep_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(limits.PICTURE_CHECKPOINT_S)
            self._save()

    def _save(self) -> None:
        for picture in self.pictures.values():
            if picture.cursor != picture.saved:
                try:
                    checkpoint.save(self.directory, picture)
                except OSError as error:  # a full disk: pictures go on, and a restart folds more of the log again
                    log.error("no checkpoint of %s: %s", picture.recipient, error.strerror)  # noqa: TRY400 - says all
                else:
                    picture.saved = picture.cursor


def _hello(picture: Picture) -> FollowHello:
    return FollowHello(
        schema_version_least=limits.SCHEMA_VERSION_LEAST,
        schema_version_most=limits.SCHEMA_VERSION,
        resume_after=picture.resume,
        recipient=picture.recipient,
        credits=_CREDITS,
    )


async def _keep_trying(attempt: Callable[[], Awaitable[None]]) -> None:
    """Connect again and again until cancelled, with a pause that grows while it fails at once."""
    pause_s = limits.RECONNECT_FIRST_S
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await attempt()
        except grpc.aio.AioRpcError as error:
            log.info("the hub ended a stream: %s", error.code().name)
        if loop.time() - began > limits.RECONNECT_MAX_S:
            pause_s = limits.RECONNECT_FIRST_S
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, limits.RECONNECT_MAX_S)


# --- the process ------------------------------------------------------------------------------------------------------


# Fusion is what computes, and it never delays a warning: where processors are short, those who carry warnings go first.
NICE: Final = 10


def main() -> None:
    """Run the fusion process."""
    options = _options()
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    os.nice(NICE)
    log.info("kernels compiled=%s", jit.install())
    asyncio.run(_main(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="broker.hub.views", description="The fusion process of a hub.")
    parser.add_argument("--target", required=True, help="host:port of the hub")
    parser.add_argument("--certs-dir", type=Path, required=True, help="with views.pem, views.key, root.pem and keys/")
    parser.add_argument("--data-dir", type=Path, required=True, help="where checkpoints are kept")
    parser.add_argument("--members", type=Path, required=True, help="the members document")
    parser.add_argument("--members-digest", required=True, help="sha256:… of the first members document")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--until-eof", action="store_true", help="end with standard input")
    return parser.parse_args()


async def _main(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_eof:
        await _end_with_input(stop)
    directory = options.data_dir / "views"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    certs_dir: Path = options.certs_dir
    clock = SystemClock()
    members = MembersInForce.start(options.members, options.members_digest, clock)
    keyring = Keyring.load(certs_dir)
    certificate, key = tls.read_pair(certs_dir / "views.pem", certs_dir / "views.key")
    credentials = tls.channel_credentials(certificate, key, (certs_dir / "root.pem").read_bytes())
    async with grpc.aio.secure_channel(options.target, credentials, options=CHANNEL_OPTIONS) as channel:
        views = asyncio.create_task(Views(ExchangeStub(channel), keyring, members, directory).run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({views, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        views.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await views


async def _end_with_input(stop: asyncio.Event) -> None:
    """Have the process stop when standard input ends."""

    class Ending(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Ending, sys.stdin)


if __name__ == "__main__":
    main()
