"""One of our programs as a process of its own: started, killed, started again with the same arguments."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker import jit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START_S: Final = 30.0
STOP_S: Final = 15.0
LOOK_S: Final = 0.02
PORT_TRIES: Final = 16
HELD_MAX: Final = 128  # sockets that hold ports: those of several worlds

_held: deque[socket.socket] = deque()


class DidNotStart(Exception):  # noqa: N818 - it says what happened
    """A process ended, or did not listen in time; the text has the end of its log."""


@dataclass(slots=True)
class Process:
    """`vedette ARGUMENTS`, which listens on a port of this machine and writes to a log."""

    name: str
    arguments: Sequence[str]
    log: Path
    port: int
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `wait` says when it listens."""
        command = [sys.executable, "-m", "broker", *self.arguments]
        environment = {jit.VARIABLE: "off", **os.environ}  # a demo is over before a compiler pays
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(  # noqa: S603 - ours
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def wait(self) -> None:
        """Return when it listens. Raises DidNotStart."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            if self.running is None or self.running.poll() is not None:
                raise DidNotStart(f"{self.name} ended:\n{self.tail()}")
            if self._listens():
                return
            time.sleep(LOOK_S)
        raise DidNotStart(f"{self.name} does not listen after {START_S} s:\n{self.tail()}")

    def kill(self) -> None:
        """End it at once, as a power cut would, but for the disk."""
        if self.running is not None and self.running.poll() is None:
            self.running.kill()
            self.running.wait(STOP_S)

    def stop(self) -> int:
        """End it as an operator would. Return its exit status, negative if it had to be killed."""
        if self.running is None:
            return 0
        if self.running.poll() is None:
            self.running.terminate()
        try:
            return self.running.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _listens(self) -> bool:
        with closing(socket.socket()) as probe:
            probe.settimeout(LOOK_S * 10)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port() -> int:
    """Return a loopback port on which nobody listens, and that nobody else is given by chance for a good while.

    It stays bound here, without listening, so that the system hands it out no more: neither to whoever asks for any
    port, nor for a connection. Who names it can listen there all the same, since both let the address be used again.
    Otherwise two worlds that start at the same time could get one port, and the clients of one reach the other.
    """
    for _ in range(PORT_TRIES):
        held = [_bound(socket.AF_INET, "127.0.0.1", 0)]
        port = int(held[0].getsockname()[1])
        try:
            held.append(_bound(socket.AF_INET6, "::1", port))  # localhost is both
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                held[0].close()
                continue
        _held.extend(held)
        while len(_held) > HELD_MAX:
            _held.popleft().close()
        return port
    raise OSError("no port is free on both loopback addresses")


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made
