"""The release policy in force: read, verified, swapped in whole, never without a signature.

The file and its signatures (`release.sig.json` beside `release.yaml`) are looked at again and again. A new version
takes over only if it parses, is this nation's, was proposed and approved by as many of its officers as the members
document demands (`certs.approval`), and has a greater number. Otherwise the last good one stays in force until it
expires; from then on everything is denied, and an alarm says so. A message is decided from beginning to end by the one
snapshot that it was given.

The file is how a gateway begins. From then on it goes on with what was activated last, which its store keeps
(`office`), and a newer file must pass the same checks as a draft does: the `gate`. To whom officers stopped releasing
lies over whatever is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from broker import limits
from broker.gateway.release import Policy, PolicyError, decider_of
from certs.approval import Signed, check_approved
from certs.dsse import DocumentError

if TYPE_CHECKING:
    from pathlib import Path

    from broker.audit import AuditTrail
    from broker.clock import Clock
    from broker.members import MembersInForce
    from broker.stages import Metrics

log = logging.getLogger(__name__)

LOOK_S: Final = 0.2


class PolicyRefused(Exception):  # noqa: N818 - what happened to it
    """A policy that may not be in force; the text says what to mend."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy as it lay there, approved by officers of the nation."""

    policy: Policy
    signed: Signed
    tests: bytes  # what lies beside it as release.test.yaml; empty: nothing


class Gate(Protocol):
    """What a newer file must pass, beside its signatures."""

    def knows(self, digest: str) -> bool:
        """Say whether a document was proposed or in force here before: then a file of it is nothing new."""

    async def admit(self, file: PolicyFile) -> None:
        """Return once a file passed every check and is kept as activated. Raises PolicyRefused."""


@dataclass(slots=True)
class PolicyInForce:
    """The policy that this gateway obeys."""

    path: Path
    nation: str
    clock: Clock
    members: MembersInForce
    metrics: Metrics
    audit: AuditTrail
    current: Policy
    gate: Gate | None = None  # None: signatures suffice
    stopped: frozenset[str] = frozenset()
    _seen: tuple[tuple[int, int], ...] = ()
    _expired: bool = False
    _groups: tuple[str, dict[str, frozenset[str]]] = ("", {})  # of which digest, by body
    _waiting: list[Policy] = field(default_factory=list)  # until each is effective
    _plain: Policy = field(init=False)  # `current` without what was stopped

    def __post_init__(self) -> None:
        """Begin with nobody stopped."""
        self._plain = self.current

    @classmethod
    def start(
        cls,
        path: Path,
        *,
        nation: str,
        clock: Clock,
        members: MembersInForce,
        metrics: Metrics,
        audit: AuditTrail,
        kept: Policy | None = None,
    ) -> PolicyInForce:
        """Begin with what was in force here (`kept`), or with the policy in a file, which is then looked at at once.

        Raises PolicyRefused: a gateway without a policy does not start.
        """
        policy = kept or read_policy(path, nation=nation, members=members)
        made = cls(path, nation, clock, members, metrics, audit, policy)
        compile_policy(policy, path.name)
        made._seen = stamps(path) if kept is None else ()
        made._announce()
        return made

    def snapshot(self, now_ns: int) -> Policy:
        """Return the policy for one message. Past its expiry it denies everything; this notes that once."""
        if now_ns >= self.current.expires_ns and not self._expired:
            self._expired = True
            log.critical("policy version=%d has expired: everything is denied", self.current.version)
            self.audit.note("policy-expired", version=self.current.version, digest=self.current.digest)
        return self.current

    def groups_of(self, body: str) -> frozenset[str]:
        """Return the groups that have a leaf in this kind of body: the others cannot be shown or withheld in it."""
        if self._groups[0] != self.current.digest:
            bodies: dict[str, set[str]] = {}
            for group, paths in self.current.groups.items():
                for path in paths:
                    bodies.setdefault(path.partition(".")[0], set()).add(group)
            self._groups = (self.current.digest, {name: frozenset(groups) for name, groups in bodies.items()})
        return self._groups[1].get(body, frozenset())

    async def watch(self) -> None:
        """Take over newer versions until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            for due in [each for each in self._waiting if each.effective_ns <= self.clock.wall_ns()]:
                await self.take(due)
            seen = stamps(self.path)
            if seen == self._seen:
                continue
            self._seen = seen
            await self.refresh()

    async def refresh(self) -> None:
        """Read the files now; take them over or keep what is in force."""
        try:
            # To read and compile one takes longer than a warning may wait.
            newest = await asyncio.to_thread(self._newer)
            if newest is not None and self.gate is not None:
                await self.gate.admit(newest)  # which has it taken
            elif newest is not None:
                await self.take(newest.policy)
        except PolicyRefused as error:
            self._reject(error)

    async def take(self, newest: Policy) -> None:
        """Put an approved policy in force, or have it wait until it is effective. Raises PolicyRefused.

        One that was overtaken, while it waited or while it was compiled, is forgotten: versions only go forward.
        """
        made = self._under_stops(newest)
        if newest.version > self.current.version:
            await asyncio.to_thread(compile_policy, made, self.path.name)
        if newest.version > self.current.version:
            self._take(newest, made if made.stopped == self.stopped else self._under_stops(newest))
        self._waiting = [each for each in self._waiting if each.version > self.current.version]

    async def obey(self, stopped: frozenset[str]) -> None:
        """Release nothing to these from the return on, under this policy and every later one; to others as it says."""
        self.stopped = stopped
        self.metrics.show_stopped(stopped)
        made = self._under_stops(self._plain)
        with contextlib.suppress(PolicyRefused):  # it was logged; what an engine cannot read is denied to everybody
            await asyncio.to_thread(compile_policy, made, self.path.name)
        if made.digest != self._plain.digest:  # another came into force while this one was compiled
            made = self._under_stops(self._plain)
        self.current = made

    def _take(self, newest: Policy, made: Policy | None = None) -> None:
        if newest.effective_ns > self.clock.wall_ns():  # others that are effective earlier wait beside it
            log.info("policy version=%d waits until it is effective", newest.version)
            self._waiting.append(newest)
        elif newest.digest != self.current.digest:
            self._plain, self.current = newest, made or self._under_stops(newest)
            self._expired = False
            self._announce()

    def _under_stops(self, plain: Policy) -> Policy:
        return plain.stopping(self.stopped) if self.stopped else plain

    def _reject(self, error: PolicyRefused) -> None:
        log.error("policy not taken over: %s", error)
        self.metrics.policy_rejected.inc()
        self.audit.note("policy-rejected", reason=str(error)[: limits.DETAIL_CHARS_MAX])

    def _newer(self) -> PolicyFile | None:
        """Return what lies there; None where it is what is in force, or was known here before."""
        newest = read_file(self.path, nation=self.nation, members=self.members)
        digest, version = newest.policy.digest, newest.policy.version
        if digest == self.current.digest or (self.gate is not None and self.gate.knows(digest)):
            return None
        if version <= self.current.version:
            raise PolicyRefused(f"version {version} is not greater than {self.current.version}, in force")
        return newest

    def _announce(self) -> None:
        policy = self.current
        log.warning("policy version=%d digest=%s in force", policy.version, policy.digest)
        self.metrics.policy_info.clear()
        self.metrics.policy_info.labels(str(policy.version), policy.digest).set(1)
        self.metrics.policy_expiry.set(policy.expires_ns / limits.SECOND_NS)
        self.audit.note("policy-in-force", version=policy.version, digest=policy.digest)


def stamps(path: Path) -> tuple[tuple[int, int], ...]:
    """Return by what a document and its signatures are seen to be other ones: times and sizes; zeros for no file."""
    seen: list[tuple[int, int]] = []
    for each in (path, signature_path(path)):
        try:
            facts = each.stat()
        except OSError:
            seen.append((0, 0))
        else:
            seen.append((facts.st_mtime_ns, facts.st_size))
    return tuple(seen)


def signature_path(path: Path) -> Path:
    """Return where the signatures of a policy lie: `release.sig.json` beside `release.yaml`."""
    return path.with_suffix(".sig.json")


def path_of_tests(path: Path) -> Path:
    """Return where the tests of a policy lie: `release.test.yaml` beside `release.yaml`."""
    return path.with_suffix(".test.yaml")


def read_policy(path: Path, *, nation: str, members: MembersInForce) -> Policy:
    """Return the policy in a file, if officers of the nation approved exactly these bytes. Raises PolicyRefused."""
    return read_file(path, nation=nation, members=members).policy


def read_file(path: Path, *, nation: str, members: MembersInForce) -> PolicyFile:
    """Return the same with its signatures, and its tests where they lie beside it. Raises PolicyRefused."""
    try:
        payload = _read(path, limits.POLICY_BYTES_MAX)
        signatures = _read(signature_path(path), limits.RELEASE_SIGNATURES_BYTES_MAX)
        tests = _read(path_of_tests(path), limits.RELEASE_TESTS_BYTES_MAX) if path_of_tests(path).exists() else b""
    except OSError as error:
        raise PolicyRefused(
            f"{error.filename}: {error.strerror}; a policy and its signatures are both needed"
        ) from error
    member = members.current.members.get(nation)  # type: ignore[call-overload] # a MemberId
    if member is None:
        raise PolicyRefused(f"{nation} is not in the members document")
    try:
        signed = Signed.of_file(payload, signatures)
        check_approved(signed, member)
    except DocumentError as error:
        raise PolicyRefused(f"{path.name}: {error}") from error
    try:
        policy = Policy.parse(payload.decode(), nation=nation)
    except UnicodeDecodeError as error:
        raise PolicyRefused(f"{path.name}: is not UTF-8") from error
    except PolicyError as error:
        raise PolicyRefused(f"{path.name}: {error}") from error
    compile_policy(policy, path.name)
    return PolicyFile(policy, signed, tests)


def compile_policy(policy: Policy, name: str) -> None:
    """Have both engines read a policy now, so that the first warning does not pay for it. Raises PolicyRefused."""
    try:
        decider_of(policy).warm()
    except Exception as error:  # whatever goes wrong in an engine: what it cannot read may not be in force
        log.exception("an engine cannot read %s", name)
        raise PolicyRefused(f"{name}: an engine cannot read it: {type(error).__name__}") from error


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most + 1)  # one more than allowed: too long is refused, not cut
