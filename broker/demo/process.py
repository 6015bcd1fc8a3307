"""One of our programs as a process of its own: started, killed, started again with the same arguments."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START_S: Final = 30.0
STOP_S: Final = 15.0
LOOK_S: Final = 0.02


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
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - ours

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
    """Return a loopback port on which nobody listens now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
