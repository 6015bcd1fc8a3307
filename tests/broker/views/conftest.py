"""A hub without a network: a recipient's log as the hub would write it, with the pictures that it draws in it."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.envelope import lane_of
from broker.fusion.view import fused_content
from broker.instant import timestamp
from broker.limits import SECOND_NS
from broker.views.picture import PUBLISHER, Picture
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from broker.views.picture import Revision

IMMEDIATE, FLASH = envelope_pb2.PRECEDENCE_IMMEDIATE, envelope_pb2.PRECEDENCE_FLASH


def _fusion_conftest() -> Any:
    """Return the world of the fusion tests: there are no packages in import mode importlib."""
    name = "fusion_world"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "fusion" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def world() -> Any:
    return _fusion_conftest().World


@dataclass
class Hub:
    """One recipient's log. `log` has position and delivery of every record."""

    recipient: str = "JPN"
    mode: int = content_pb2.MODE_TEST
    first: int = 1  # position of the first record
    log: list[tuple[int, exchange_pb2.Delivery]] = field(default_factory=list)
    picture: Picture = field(init=False)
    numbers: dict[tuple[str, int], int] = field(default_factory=dict)
    publishes: Callable[[Revision], bool] = lambda _revision: True

    def __post_init__(self) -> None:
        self.picture = Picture(self.recipient)

    def write(self, delivery: exchange_pb2.Delivery) -> None:
        """Write a record, and the pictures that it leads to behind it."""
        position = self.first + len(self.log)
        delivery.position = position.to_bytes(8, "big")
        self.log.append((position, delivery))
        self.picture.take(position, delivery)

    def publish(self, most: int = 1_000) -> None:
        """Write what is pending."""
        for revision in list(self.picture.pending.values())[:most]:
            if not self.publishes(revision):
                self.picture.settled(revision.key)
                continue
            content = fused_content(
                revision.event, recipient=self.recipient, mode=revision.key.view.mode, exercise=revision.exercise
            )
            self.write(self.sealed(PUBLISHER, content, label=revision.label))

    def sealed(
        self,
        origin: str,
        content: content_pb2.Content,
        precedence: int = IMMEDIATE,
        label: envelope_pb2.SecurityLabel | None = None,
    ) -> exchange_pb2.Delivery:
        """Return a content in an envelope; nobody here looks at seals."""
        lane = lane_of(envelope_pb2.Precedence.ValueType(precedence))
        number = self.numbers[origin, lane] = self.numbers.get((origin, lane), 0) + 1
        header = envelope_pb2.RoutingHeader(
            origin=origin,
            recipient=self.recipient,
            mode=content.header.mode,
            exercise=content.header.exercise if content.header.HasField("exercise") else None,
            lane=lane,
            epoch=1,
            sequence=number,
            message_id=content.header.message_id,
            precedence=envelope_pb2.Precedence.ValueType(precedence),
            label=label
            or envelope_pb2.SecurityLabel(
                policy=origin,
                classification=envelope_pb2.CLASSIFICATION_RESTRICTED,
                releasable_to=[self.recipient],
            ),
        )
        envelope = envelope_pb2.Envelope(header=header.SerializeToString(), body=content.SerializeToString())
        return exchange_pb2.Delivery(envelope=envelope.SerializeToString())

    def tick(self, time_ns: int, mode: int | None = None, exercise_id: str = "") -> None:
        tick = exchange_pb2.HubTick(mode=self.mode if mode is None else mode, exercise_id=exercise_id)  # type: ignore[arg-type]
        tick.tick.time.CopyFrom(timestamp(time_ns))
        self.write(exchange_pb2.Delivery(tick=tick))

    def feed(self, arrivals: Iterable[tuple[float, content_pb2.Content]], *, publish: bool = True) -> Hub:
        """Write contents in the order of their arrival, Ticks between; publish what each leads to."""
        for _ in self.steps(arrivals, publish=publish):
            pass
        return self

    def steps(self, arrivals: Iterable[tuple[float, content_pb2.Content]], *, publish: bool = True) -> Iterator[None]:
        """Do the same, and stop after each record."""
        second: int | None = None
        for arrival_s, content in sorted(arrivals, key=lambda one: one[0]):
            whole = math.floor(arrival_s)
            for due in range(second + 1 if second is not None else whole, whole + 1):
                second = due
                self.tick(_ns(due))
                if publish:
                    self.publish()
                yield
            precedence = FLASH if content.WhichOneof("body") == "launch" else IMMEDIATE
            self.write(self.sealed(content.header.origin, content, precedence))
            if publish:
                self.publish()
            yield


def _ns(second: int) -> int:
    return int(_fusion_conftest().ZERO_NS) + second * SECOND_NS


@pytest.fixture(scope="session")
def hub() -> type[Hub]:
    return Hub


def launch_of_two(world: Any) -> list[tuple[float, content_pb2.Content]]:
    """Return a launch as KOR and USA see it, with a word taken back."""
    flight = world.fly()
    kor, usa = world.nation("KOR"), world.nation("USA")
    slip = kor.launch("slip", 13.0, launched_s=0.0, place=(44.0, 129.0), name="slip")
    cancel = kor.content(28.0, "cancel")
    cancel.header.references.add(message_id=slip.header.message_id, relation=content_pb2.RELATION_CANCELS)
    return [
        (12.0, usa.launch("sat", 11.0, launched_s=0.0, place=(40.0, 126.0))),
        (13.2, slip),
        *kor.radar(flight, "k", seed=1, first_s=26.0, last_s=38.0, every_s=2.0),
        *usa.radar(flight, "u", seed=2, first_s=31.0, last_s=39.0, every_s=2.0, sigma_m=500.0, latency_s=0.7),
        (28.5, cancel),
    ]


@pytest.fixture(scope="session")
def arrivals(world: Any) -> list[tuple[float, content_pb2.Content]]:
    return launch_of_two(world)
