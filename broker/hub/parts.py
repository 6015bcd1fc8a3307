"""What every stream of the hub works with, put together once by `broker.hub.server`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.clock import Clock
    from broker.hub.commit import Committer, Recorded
    from broker.hub.drain import Drain
    from broker.hub.metrics import HubMetrics
    from broker.hub.refusals import Refusals
    from broker.hub.registry import Registry
    from broker.hub.route import Router
    from broker.hub.runs import Runs
    from broker.rpc import Door
    from broker.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one hub."""

    door: Door
    store: Store
    recorded: Recorded
    registry: Registry
    runs: Runs
    committer: Committer
    router: Router
    drain: Drain
    metrics: HubMetrics
    refusals: Refusals
    clock: Clock
