"""The release policy in force: read, verified, swapped in whole, never without a signature.

The file and its signatures (`release.sig.json` beside `release.yaml`) are looked at again and again. A new version
takes over only if it parses, is this nation's, was proposed and approved by as many of its officers as the members
document demands (`certs.approval`), and has a greater number. Otherwise the last good one stays in force until it
expires; from then on everything is denied, and an alarm says so. A message is decided from beginning to end by the one
snapshot that it was given.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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
SIGNATURE_BYTES_MAX: Final = 64 * 1024


class PolicyRefused(Exception):  # noqa: N818 - what happened to it
    """A policy that may not be in force; the text says what to mend."""


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
    _seen: tuple[tuple[int, int], ...] = ()
    _expired: bool = False
    _groups: tuple[str, dict[str, frozenset[str]]] = ("", {})  # of which digest, by body
    _not_before_ns: int = 0  # a newer policy waits for this instant; 0: none does

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
    ) -> PolicyInForce:
        """Begin with the policy in a file. Raises PolicyRefused: a gateway without a policy does not start."""
        policy = read_policy(path, nation=nation, members=members)
        made = cls(path, nation, clock, members, metrics, audit, policy)
        made._seen = made._look()
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
            seen = self._look()
            if seen == self._seen and not 0 < self._not_before_ns <= self.clock.wall_ns():
                continue
            self._seen = seen
            try:
                newest = await asyncio.to_thread(
                    self._newer
                )  # to read and compile one takes longer than a warning may wait
            except PolicyRefused as error:
                self._reject(error)
            else:
                self._take(newest)

    def reload(self) -> None:
        """Look at the files now; take them over or keep what is in force."""
        try:
            newest = self._newer()
        except PolicyRefused as error:
            self._reject(error)
        else:
            self._take(newest)

    def _take(self, newest: Policy) -> None:
        self._not_before_ns = 0
        if newest.effective_ns > self.clock.wall_ns():
            log.info("policy version=%d waits until it is effective", newest.version)
            self._not_before_ns = newest.effective_ns
        elif newest.digest != self.current.digest:
            self.current = newest
            self._expired = False
            self._announce()

    def _reject(self, error: PolicyRefused) -> None:
        self._not_before_ns = 0
        log.error("policy not taken over: %s", error)
        self.metrics.policy_rejected.inc()
        self.audit.note("policy-rejected", reason=str(error)[: limits.DETAIL_CHARS_MAX])

    def _newer(self) -> Policy:
        newest = read_policy(self.path, nation=self.nation, members=self.members)
        if newest.version <= self.current.version and newest.digest != self.current.digest:
            raise PolicyRefused(f"version {newest.version} is not greater than {self.current.version}, in force")
        return newest

    def _announce(self) -> None:
        policy = self.current
        log.warning("policy version=%d digest=%s in force", policy.version, policy.digest)
        self.metrics.policy_info.clear()
        self.metrics.policy_info.labels(str(policy.version), policy.digest).set(1)
        self.metrics.policy_expiry.set(policy.expires_ns / limits.SECOND_NS)
        self.audit.note("policy-in-force", version=policy.version, digest=policy.digest)

    def _look(self) -> tuple[tuple[int, int], ...]:
        seen: list[tuple[int, int]] = []
        for path in (self.path, signature_path(self.path)):
            try:
                facts = path.stat()
            except OSError:
                seen.append((0, 0))
            else:
                seen.append((facts.st_mtime_ns, facts.st_size))
        return tuple(seen)


def signature_path(path: Path) -> Path:
    """Return where the signatures of a policy lie: `release.sig.json` beside `release.yaml`."""
    return path.with_suffix(".sig.json")


def read_policy(path: Path, *, nation: str, members: MembersInForce) -> Policy:
    """Return the policy in a file, if officers of the nation approved exactly these bytes. Raises PolicyRefused."""
    try:
        with path.open("rb") as file:
            payload = file.read(limits.POLICY_BYTES_MAX + 1)  # one more than allowed: too long is refused, not cut
        signatures = signature_path(path).read_bytes()[: SIGNATURE_BYTES_MAX + 1]
    except OSError as error:
        raise PolicyRefused(
            f"{error.filename}: {error.strerror}; a policy and its signatures are both needed"
        ) from error
    member = members.current.members.get(nation)  # type: ignore[call-overload] # a MemberId
    if member is None:
        raise PolicyRefused(f"{nation} is not in the members document")
    try:
        check_approved(Signed.of_file(payload, signatures), member)
    except DocumentError as error:
        raise PolicyRefused(f"{path.name}: {error}") from error
    try:
        policy = Policy.parse(payload.decode(), nation=nation)
    except UnicodeDecodeError as error:
        raise PolicyRefused(f"{path.name}: is not UTF-8") from error
    except PolicyError as error:
        raise PolicyRefused(f"{path.name}: {error}") from error
    try:
        decider_of(policy).warm()  # compiled now, so that the first warning does not pay for it
    except Exception as error:  # whatever goes wrong in an engine: what it cannot read may not be in force
        log.exception("an engine cannot read %s", path.name)
        raise PolicyRefused(f"{path.name}: an engine cannot read it: {type(error).__name__}") from error
    return policy
