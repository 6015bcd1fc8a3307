"""The legs of a message's way, and the metrics that speak of them. Every metric and label name stands here.

A leg on one clock is exact. A leg between two clocks is corrected by their estimated offset, whose error bound is
published beside it; a result below zero is counted as unusable, never clamped; a message with a coarse time gives no
latency at all, because its stamps were rounded on purpose. A policy delay is a leg of its own.

Labels come from closed sets only: member codes, modes, precedences, legs, reasons, lanes. Never an id, never a person.
The hub's metrics are for the hub's operator; each nation scrapes its own gateway.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from broker.limits import SECOND_NS
from vedette.v1.content_pb2 import Mode
from vedette.v1.envelope_pb2 import Lane, Precedence

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from certs.members import Members
    from vedette.v1.envelope_pb2 import RoutingHeader

Labels: TypeAlias = tuple[str, str, str, str]  # origin, recipient, precedence, mode

# Around the marks that people ask about: 20 ms at the 99th percentile, half a second for the whole way.
BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LEG_BUCKETS_S: Final = (*BUCKETS_S, 60.0, 600.0)  # a policy delay is a leg too, and may last up to an hour


class Leg(Enum):
    """Where time goes. The number is the step's in protos/README.md."""

    INTAKE = "1-intake"  # line in hand -> checked
    DECIDE = "2-decide"  # all recipients decided and redacted
    HOLD = "2-hold"  # held by a policy delay
    SEAL = "3-seal"  # signed
    OUTBOX = "4-outbox"  # durable at the origin
    UPLINK = "4-uplink"  # sent -> the hub's receipt, by the origin's clock
    ADMIT = "5-admit"  # verified and guarded
    STORE = "6-store"  # durable at the hub
    ROUTE = "7-route"  # durable -> on the wire to the recipient
    FUSE = "7-fuse"  # record in -> revision submitted
    DOWNLINK = "7-downlink"  # hub sent -> recipient received, across two clocks
    UNSEAL = "8-unseal"  # verified
    INBOX = "8-inbox"  # durable at the recipient
    DELIVER = "9-deliver"  # handed to the first watcher


class Metrics:
    """All metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        """Register everything; a process that never observes a metric shows it without samples."""
        self.registry = CollectorRegistry()
        # Looking a series up costs as much as observing: these remember. Bounded as the labels are, by closed sets.
        self._legs: dict[tuple[Leg, Labels], Histogram] = {}
        self._steps: dict[tuple[str, Labels], Counter] = {}
        reg = self.registry
        pair = ["origin", "recipient", "precedence", "mode"]
        self.leg = Histogram(
            "vedette_leg_seconds", "Time of one leg.", ["leg", *pair], registry=reg, buckets=LEG_BUCKETS_S
        )
        self.end_to_end = Histogram(
            "vedette_end_to_end_seconds",
            "Released by the origin -> durable in the recipient's inbox, clocks corrected.",
            pair,
            registry=reg,
            buckets=BUCKETS_S,
        )
        self.unusable = Counter(
            "vedette_latency_unusable_total", "Latencies that could not be given.", ["reason"], registry=reg
        )
        self.clock_offset = Gauge(
            "vedette_clock_offset_seconds", "The peer's clock minus ours.", ["peer"], registry=reg
        )
        self.clock_error = Gauge(
            "vedette_clock_offset_error_seconds",
            "Bound of the offset's error: half the least round trip.",
            ["peer"],
            registry=reg,
        )
        self.refusals = Counter(
            "vedette_refusals_total", "What was refused, and at which step.", ["step", "origin", "reason"], registry=reg
        )
        self.messages = Counter("vedette_messages_total", "Messages that passed a step.", ["step", *pair], registry=reg)
        self.queue = Gauge(
            "vedette_queue_records", "Waiting for a recipient or watcher.", ["recipient", "lane"], registry=reg
        )
        self.outbox = Gauge("vedette_outbox_records", "Sealed and not yet stored by the hub.", registry=reg)
        self.held = Gauge("vedette_held_records", "Held by a policy delay.", registry=reg)
        self.gaps = Counter("vedette_gap_messages_total", "Sequence numbers that never came.", ["origin"], registry=reg)
        self.hub_connected = Gauge(
            "vedette_hub_connected", "1 while the gateway's links to the hub live.", registry=reg
        )
        self.watchers = Gauge("vedette_watchers", "Open watches.", registry=reg)
        self.decisions = Counter(
            "vedette_release_decisions_total", "Release decisions.", ["recipient", "outcome"], registry=reg
        )
        self.decision_faults = Counter(
            "vedette_release_faults_total", "Errors while deciding: each was a deny.", ["recipient"], registry=reg
        )
        self.engine_disagreements = Counter(
            "vedette_release_engine_disagreements_total",
            "Conditions that two engines read differently: each was a deny, and a fault.",
            ["recipient"],
            registry=reg,
        )
        self.policy_info = Gauge(
            "vedette_policy_info", "The release policy in force.", ["version", "digest"], registry=reg
        )
        self.policy_expiry = Gauge(
            "vedette_policy_expiry_timestamp_seconds",
            "When the policy in force expires: from then on, deny.",
            registry=reg,
        )
        self.invariants_unregistered = Gauge(
            "vedette_invariants_unregistered",
            "1 while the hub has not said that it holds us to the invariants that we have.",
            registry=reg,
        )
        self.policy_rejected = Counter(
            "vedette_policy_rejected_total", "Policy files that were not taken over.", registry=reg
        )
        # Of a draft in the shadow: recipients are members, changes a closed set, rules those of one document.
        self.shadow_info = Gauge(
            "vedette_shadow_info", "The draft that runs in the shadow.", ["version", "digest"], registry=reg
        )
        self.shadow_decisions = Counter(
            "vedette_shadow_decisions_total",
            "What a draft in the shadow would have changed; never what was done.",
            ["recipient", "change"],
            registry=reg,
        )
        self.shadow_rule_matches = Counter(
            "vedette_shadow_rule_matches_total",
            "Decisions in which a rule of the draft matched.",
            ["rule"],
            registry=reg,
        )
        self.shadow_skipped = Counter(
            "vedette_shadow_skipped_total", "Messages that the shadow had no time for.", registry=reg
        )
        self.policy_stopped = Gauge(
            "vedette_policy_stopped", "1 where an officer stopped releasing: to whom.", ["recipient"], registry=reg
        )
        self.policy_drafts = Gauge(
            "vedette_policy_drafts", "Release policies that were proposed and not activated.", registry=reg
        )
        self.members_expiry = Gauge(
            "vedette_members_expiry_timestamp_seconds",
            "When the members document in force expires: from then on, no process starts with it.",
            registry=reg,
        )
        self.certificate_days = Gauge(
            "vedette_certificate_days_left", "Days until a certificate expires.", ["certificate"], registry=reg
        )
        self.canary = Gauge(
            "vedette_canary_received_timestamp_seconds",
            "When the last canary of an origin came.",
            ["origin", "mode"],
            registry=reg,
        )
        self.canary_trip = Histogram(
            "vedette_canary_seconds",
            "A canary's way, clocks corrected.",
            ["origin", "mode"],
            registry=reg,
            buckets=BUCKETS_S,
        )
        self.audit_dropped = Counter(
            "vedette_audit_dropped_total", "Audit entries that found no room; itself audited.", registry=reg
        )

    def show_stopped(self, recipients: Collection[str]) -> None:
        """Show to whom releasing is stopped."""
        self.policy_stopped.clear()
        for recipient in recipients:
            self.policy_stopped.labels(recipient).set(1)

    def show_members(self, members: Members) -> None:
        """Show when the members document in force expires; made to listen to `MembersInForce`."""
        self.members_expiry.set(members.expires_ns / SECOND_NS)

    def took(self, leg: Leg, labels: Labels, duration_ns: int) -> None:
        """Observe one leg of one message. A negative time is counted as unusable: a clock was set back in between."""
        if duration_ns < 0:
            self.unusable.labels("negative").inc()
            return
        series = self._legs.get((leg, labels))
        if series is None:
            series = self._legs[leg, labels] = self.leg.labels(leg.value, *labels)
        series.observe(duration_ns / SECOND_NS)

    def passed(self, step: str, labels: Labels) -> None:
        """Count one message that passed a step."""
        series = self._steps.get((step, labels))
        if series is None:
            series = self._steps[step, labels] = self.messages.labels(step, *labels)
        series.inc()


def labels_of(header: RoutingHeader) -> Labels:
    """Return how a message is labelled in metrics."""
    return header.origin, header.recipient, precedence_label(header.precedence), mode_label(header.mode)


def serve_metrics(
    metrics: Metrics, *, host: str, port: int, certificate: Path | None, key: Path | None, clients: Path | None
) -> tuple[WSGIServer, Thread]:
    """Serve /metrics, with TLS and a client certificate where one is configured. Returns what must be shut down."""
    if clients is None:
        return start_http_server(port, host, metrics.registry)
    return start_http_server(
        port,
        host,
        metrics.registry,
        certfile=str(certificate),
        keyfile=str(key),
        client_cafile=str(clients),
        client_auth_required=True,
    )


def mode_label(mode: int) -> str:
    """Return `real-world`, `exercise`, `test` or `unknown`."""
    return _MODES.get(mode, "unknown")


def precedence_label(precedence: int) -> str:
    """Return `flash`, `routine`, … or `unknown`."""
    return _PRECEDENCES.get(precedence, "unknown")


def lane_label(lane: int) -> str:
    """Return `urgent`, `normal` or `unknown`."""
    return _LANES.get(lane, "unknown")


_MODES: Final[dict[int, str]] = {
    value: name.removeprefix("MODE_").lower().replace("_", "-") for name, value in Mode.items()
}
_PRECEDENCES: Final[dict[int, str]] = {
    value: name.removeprefix("PRECEDENCE_").lower().replace("_", "-") for name, value in Precedence.items()
}
_LANES: Final[dict[int, str]] = {value: name.removeprefix("LANE_").lower() for name, value in Lane.items()}
