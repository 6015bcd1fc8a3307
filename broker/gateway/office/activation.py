"""The checks of a draft, asked of a process of their own, one draft at a time and for a bounded time.

Nothing of it runs in the gateway: the solver is never loaded there, and a warning never waits for a proof. Whatever is
not a whole, good answer (a process that was killed, that took too long, that said something else) is a check that
failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from broker import limits
from broker.clock import timestamp
from broker.refusal import Reason, Refused
from vedette.v1 import admin_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.gateway.office.trial import Question

log = logging.getLogger(__name__)

# -P: no code is looked for in the folder that the gateway happens to stand in.
COMMAND: Final = (sys.executable, "-P", "-m", "broker.gateway.office.trial")


@dataclass(slots=True)
class Activation:
    """Asks for trials. `command` is what answers a question on its standard input."""

    command: Sequence[str] = COMMAND
    patience_s: float = limits.RELEASE_CHECKS_S
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: int = 0
    _askers: Counter[str] = field(default_factory=Counter)

    async def report(self, question: Question, caller: str, *, now_ns: int) -> admin_pb2.ReleaseReport:
        """Return what the checks found. Raises Refused where too many wait, or too many of the caller's."""
        if self._waiting >= limits.RELEASE_WAITING_MAX or self._askers[caller] >= limits.RELEASE_WAITING_EACH_MAX:
            raise Refused(Reason.REASON_UNAVAILABLE, "too many drafts are being checked; try again in a minute")
        self._waiting += 1
        self._askers[caller] += 1
        try:
            async with self._turn:
                answer = await self._ask(json.dumps(asdict(question)).encode())
        finally:
            self._waiting -= 1
            self._askers[caller] -= 1
        report = _report_of(answer)
        report.made_at.CopyFrom(timestamp(now_ns))
        return report

    async def _ask(self, question: bytes) -> bytes | str:
        """Return what the process said, or why it said nothing that counts."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=limits.RELEASE_CHECKS_BYTES_MAX,
        )
        try:
            async with asyncio.timeout(self.patience_s):
                answer, _ = await process.communicate(question)
        except TimeoutError:
            return f"the checks were not done after {self.patience_s:g} s"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            return f"the checks ended with status {process.returncode}; the gateway's log says more"
        return answer if len(answer) <= limits.RELEASE_CHECKS_BYTES_MAX else "the checks found too much to tell"


def _report_of(answer: bytes | str) -> admin_pb2.ReleaseReport:
    report = admin_pb2.ReleaseReport()
    if isinstance(answer, bytes):
        try:
            table = json.loads(answer)
            for check in table["checks"]:
                report.checks.add(name=check["name"], passed=check["passed"], text=check["text"])
            report.diff = table["diff"]
            report.releases_nothing_new = table["releases_nothing_new"]
        except (ValueError, KeyError, TypeError) as error:
            answer = f"the checks answered what cannot be read: {type(error).__name__}"
            report = admin_pb2.ReleaseReport()
    if isinstance(answer, str):
        report.checks.add(name="checks", passed=False, text=answer)
    return report


def check_passed(report: admin_pb2.ReleaseReport) -> None:
    """Return if every check passed. Raises Refused."""
    failed = [check for check in report.checks if not check.passed]
    if failed or not report.checks:
        first = failed[0].text.partition("\n")[0] if failed else "there was no check"
        names = ", ".join(check.name for check in failed)
        raise Refused(Reason.REASON_POLICY_CHECKS, f"{names}: {first}")
