"""A watch floor: everything that one nation was shown, counted and measured as it came."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from broker.clock import nanoseconds
from broker.leaves import set_leaves
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, national_pb2

if TYPE_CHECKING:
    from broker.client import Client

HUB = "HUB"
LEGS = ("to-hub", "at-hub", "down", "at-gateway", "whole-way")


class MessageKey(NamedTuple):
    """One message as this nation knows it."""

    origin: str
    message_id: bytes


@dataclass(slots=True)
class Picture:
    """One revision of a fused event, and when it was shown."""

    at_ns: int  # wall
    event: content_pb2.FusedEvent


@dataclass(slots=True)
class Floor:
    """What stands on the wall of one nation's watch floor."""

    nation: str
    shown: Counter[MessageKey] = field(default_factory=Counter)
    caught_up: Counter[str] = field(default_factory=Counter)  # shown as CATCHING_UP, by origin
    bodies: Counter[tuple[str, str]] = field(default_factory=Counter)  # origin, body
    launches: dict[str, list[content_pb2.Content]] = field(default_factory=lambda: defaultdict(list))  # by origin
    newest: dict[str, content_pb2.Content] = field(default_factory=dict)  # the newest track or launch by origin
    newest_ns: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    pictures: dict[bytes, list[Picture]] = field(default_factory=lambda: defaultdict(list))
    first_report_ns: int = 0
    alarms: list[national_pb2.AlarmChange] = field(default_factory=list)
    raised: set[bytes] = field(default_factory=set)  # event ids whose alarm stands
    cancelled: set[bytes] = field(default_factory=set)  # message ids that a cancellation named
    events: dict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))  # event id -> message ids
    leaks: list[str] = field(default_factory=list)
    hub_connected: bool = False
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    gaps: int = 0
    absent: dict[str, tuple[int, float]] = field(default_factory=dict)  # whose gateway was killed, from when to when
    waited: int = 0  # messages that lay in the outbox of such a gateway

    async def watch(self, client: Client) -> None:
        """Take what the gateway shows, until cancelled."""
        async for response in client.watch():
            match response.WhichOneof("event"):
                case "warning":
                    self._warning(response.warning)
                case "alarm":
                    self._alarm(response.alarm)
                case "gap":
                    self.gaps += response.gap.last_missing - response.gap.first_missing + 1
                case _:
                    self.hub_connected = response.link.hub_connected

    def _alarm(self, change: national_pb2.AlarmChange) -> None:
        if change.alarm == national_pb2.ALARM_RAISE:
            if change.event_id not in self.raised:
                self.alarms.append(change)
            self.raised.add(change.event_id)
        else:
            if change.event_id in self.raised:
                self.alarms.append(change)
            self.raised.discard(change.event_id)

    def _warning(self, warning: national_pb2.Warning) -> None:
        header, content = warning.header, warning.content
        body = content.WhichOneof("body") or "cancellation"
        self.shown[MessageKey(header.origin, header.message_id)] += 1
        self.bodies[header.origin, body] += 1
        catching_up = national_pb2.MARK_CATCHING_UP in warning.marks
        if catching_up:
            self.caught_up[header.origin] += 1
        else:
            self._measure(warning)
        self.cancelled.update(
            reference.message_id
            for reference in content.header.references
            if reference.relation == content_pb2.RELATION_CANCELS
        )
        delivered_ns = nanoseconds(warning.stamps.delivered_at)
        if header.origin == HUB:
            for merged in content.fused.merged_event_ids:
                self.pictures.pop(merged, None)  # it was found to be this same event
            self.pictures[content.fused.event_id].append(Picture(delivered_ns, content.fused))
            return
        self._check(content)
        if body in {"launch", "track", "impact"}:
            self.events[getattr(content, body).event_id].add(header.message_id)
            self.first_report_ns = self.first_report_ns or delivered_ns
            if body == "launch":
                self.launches[header.origin].append(content)
            self.newest[header.origin] = content
            self.newest_ns[header.origin] = delivered_ns
        self.withheld[header.origin].update(f"{body}.{path}" for path in content.header.disclosure.withheld)

    def _check(self, content: content_pb2.Content) -> None:
        """Note a leaf that stands in a message which says that it is withheld."""
        body = content.WhichOneof("body") or ""
        withheld = [f"{body}.{path}" for path in content.header.disclosure.withheld]
        for leaf in set_leaves(content):
            if any(leaf == path or leaf.startswith(path + ".") for path in withheld):
                self.leaks.append(f"{content.header.origin} -> {self.nation}: {leaf}")

    def _measure(self, warning: national_pb2.Warning) -> None:
        """Note the legs. All processes of this world have one clock, so that a difference is a duration."""
        if is_coarse(warning.content):
            return  # its release was rounded on purpose
        stamps = warning.stamps
        times_ns = [
            nanoseconds(stamp)
            for stamp in (
                warning.header.released_at,
                stamps.hub_received_at,
                stamps.hub_sent_at,
                stamps.received_at,
                stamps.delivered_at,
            )
        ]
        from_ns, to_ns = self.absent.get(warning.header.origin, (inf, 0.0))
        if times_ns[0] < to_ns and times_ns[1] > from_ns:
            self.waited += 1  # for its gateway to be there again: that is no latency of the way
            return
        durations = [later - earlier for earlier, later in pairwise(times_ns)]
        durations.append(times_ns[-1] - times_ns[0])
        for leg, duration_ns in zip(LEGS, durations, strict=True):
            self.latencies_s[leg].append(duration_ns / SECOND_NS)


def is_coarse(content: content_pb2.Content) -> bool:
    """Return whether a time in the content was made coarse."""
    cells = [content.header.observed_cell]
    match content.WhichOneof("body"):
        case "track":
            cells.append(content.track.state.cell)
        case "launch":
            cells.append(content.launch.launch_time.cell)
        case "impact":
            cells.append(content.impact.time.cell)
        case _:
            pass
    return any(cell.time.ToNanoseconds() for cell in cells)
