"""The hub's own metrics, beside those that `broker.stages` names for every process. For the hub's operator alone.

Labels come from the members document (origin, recipient), from enums (mode, precedence, lane, reason) and from nowhere
else, so the number of series is bounded by the number of members: per ordered pair and leg at most 15 (modes times
precedences). What a stranger says never becomes a label: an origin is the member whose certificate is on the line.
Observing never waits and never fails.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from broker import limits
from broker.hub.promises import BrokenPromiseError
from broker.limits import SECOND_NS
from broker.refusal import reason_name
from broker.stages import Leg, Metrics, labels_of, lane_label, mode_label
from certs.identity import IdentityError, read_leaf

if TYPE_CHECKING:
    from pathlib import Path

    from broker.hub.admit import Admitted
    from broker.hub.parts import Parts
    from broker.hub.route import Follower, Routed
    from broker.hub.settings import HubSettings
    from broker.hub.ticks import TickKey
    from broker.refusal import Refused
    from broker.stages import Labels

_DAY_S: Final = 24 * 3600

STEP_SUBMIT: Final = "4-submit"  # the stream itself: hello, frames, credits
STEP_ADMIT: Final = "5-admit"
STEP_GUARD: Final = "5b-guard"
STEP_REGISTER: Final = "register"  # of a nation's invariants, before its envelopes
STEP_STORE: Final = "6-store"
STEP_ROUTE: Final = "7-route"


class HubMetrics(Metrics):
    """All metrics of a hub."""

    def __init__(self) -> None:
        super().__init__()
        self._stored_at: dict[str, dict[int, int]] = {}  # the newest records of each log: when a picture's basis came
        reg = self.registry
        self.spills = Counter(
            "vedette_spills_total",
            "Queues that were full and read on from the store.",
            ["recipient", "lane"],
            registry=reg,
        )
        self.follow_lag = Gauge(
            "vedette_follow_lag_records", "In the log and not yet held by its follower.", ["recipient"], registry=reg
        )
        self.followers = Gauge("vedette_followers", "Open Follow streams.", ["recipient"], registry=reg)
        self.log_ticks = Counter(
            "vedette_log_ticks_total", "Ticks written into a log.", ["recipient", "mode"], registry=reg
        )
        self.log_records = Gauge("vedette_log_records", "The newest position of a log.", ["recipient"], registry=reg)
        self.store_bytes = Gauge("vedette_store_bytes", "Size of the store on disk.", registry=reg)
        self.views_starts = Counter("vedette_views_starts_total", "Starts of the fusion process.", registry=reg)
        self.guard_refused = Counter(
            "vedette_guard_refused_total",
            "Envelopes that an invariant of their own origin stopped; fault: the guard itself is broken.",
            ["origin", "promise"],
            registry=reg,
        )
        self.guard_version = Gauge(
            "vedette_guard_invariants_version",
            "Version of the origin's invariants that the guard holds it to; 0: registered, and unreadable to this hub.",
            ["origin"],
            registry=reg,
        )
        self.ready = Gauge("vedette_ready", "1 while ready.", ["service"], registry=reg)

    def refused(self, step: str, origin: str, refused: Refused) -> None:
        """Count a refusal."""
        self.refusals.labels(step, origin, reason_name(refused.reason)).inc()
        if isinstance(refused, BrokenPromiseError):
            self.guard_refused.labels(origin, refused.promise.value).inc()

    def stored(self, admitted: Admitted, position: int, stored_ns: int) -> Labels:
        """Observe an envelope that has become durable at a position. Returns its labels, for `sent`."""
        header = admitted.header
        labels = labels_of(header)
        self.passed(STEP_STORE, labels)
        self.took(Leg.ADMIT, labels, admitted.admitted_ns - admitted.received_ns)
        self.took(Leg.STORE, labels, stored_ns - admitted.admitted_ns)
        if admitted.content.HasField("fused"):
            basis = int.from_bytes(admitted.content.fused.basis.position, "big")
            began_ns = self._stored_at.get(header.recipient, {}).get(basis)
            if began_ns is not None:
                self.took(Leg.FUSE, labels, admitted.received_ns - began_ns)
        self._remember(header.recipient, position, stored_ns)
        return labels

    def sent(self, record: Routed, sent_ns: int) -> None:
        """Observe a record that was handed to the transport while it was fresh."""
        if record.labels is not None and record.stored_ns is not None:
            self.took(Leg.ROUTE, record.labels, sent_ns - record.stored_ns)

    def ticked(self, key: TickKey, position: int, stored_ns: int) -> None:
        """Count a Tick."""
        self.log_ticks.labels(key.recipient, mode_label(key.mode)).inc()
        self._remember(key.recipient, position, stored_ns)

    def show(self, parts: Parts, settings: HubSettings) -> None:
        """Set the gauges, and count what was counted elsewhere: called every second."""
        for recipient in parts.door.members.nations():
            followers = [one for one in parts.router.followers(recipient) if one.national]
            self.followers.labels(recipient).set(len(followers))
            head = parts.router.heads.get(recipient)
            if head is not None:
                self.log_records.labels(recipient).set(head)
            for follower in followers:
                self._show_follower(follower, follower.head if head is None else head)
        now_ns = parts.clock.wall_ns()
        for name in ("hub", "views") if settings.pictures else ("hub",):
            path = settings.certs_dir / f"{name}.pem"
            self.certificate_days.labels(name).set(_seconds_left(path, now_ns) / _DAY_S)
        self.store_bytes.set(sum(_size(path) for path in settings.data_dir.glob("hub.db*")))

    def _show_follower(self, follower: Follower, head: int) -> None:
        for lane in follower.lanes:
            if lane.lane is not None:
                self.queue.labels(follower.recipient, lane_label(lane.lane)).set(len(lane))
                self.spills.labels(follower.recipient, lane_label(lane.lane)).inc(lane.spilled_count)
                lane.spilled_count = 0
        self.follow_lag.labels(follower.recipient).set(max(0, head - follower.delivered))

    def _remember(self, recipient: str, position: int, stored_ns: int) -> None:
        stored_at = self._stored_at.setdefault(recipient, {})
        stored_at[position] = stored_ns
        if len(stored_at) > limits.QUEUE_RECORDS_MAX:
            del stored_at[next(iter(stored_at))]


def _seconds_left(certificate: Path, now_ns: int) -> float:
    """Return how long a certificate is good for; not a number while it is being replaced, or if it is none."""
    try:
        return read_leaf(certificate.read_bytes()).not_after.timestamp() - now_ns / SECOND_NS
    except (OSError, IdentityError, ValueError):
        return math.nan


def _size(path: Path) -> int:
    """Return the size of a file; none if it went meanwhile, as SQLite's do."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
