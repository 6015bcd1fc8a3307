"""A small world for fusion: true trajectories by scipy, radars with honest noise, and logs of their words."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from broker import geodesy
from broker.fusion.view import View
from broker.instant import timestamp
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from google.protobuf.timestamp_pb2 import Timestamp
    from numpy.typing import NDArray

ZERO_NS = 1_700_000_000 * SECOND_NS


@dataclass(frozen=True)
class Flight:
    """A true trajectory: times in seconds after launch."""

    at: Callable[[float], NDArray[np.float64]]
    lat_deg: float
    lon_deg: float
    azimuth_deg: float
    burn_s: float
    end_s: float
    impact: tuple[float, float]


@cache
def fly(
    lat_deg: float = 40.0,
    lon_deg: float = 126.0,
    azimuth_deg: float = 80.0,
    burn_s: float = 80.0,
    push_mps2: float = 60.0,
    coefficient_kgpm2: float = geodesy.BALLISTIC_COEFFICIENT_KGPM2,
) -> Flight:
    """Integrate a launch: an invented motor, the Earth with J2, rotation and air."""
    east, north, up = (np.array(axis) for axis in geodesy.enu_axes(lat_deg, lon_deg))
    azimuth = math.radians(azimuth_deg)
    along = math.sin(azimuth) * east + math.cos(azimuth) * north

    def move(time_s: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        position, velocity = (state[0], state[1], state[2]), (state[3], state[4], state[5])
        pull = np.array(geodesy.ballistic_acceleration(position, velocity, coefficient_kgpm2))
        if time_s < burn_s:
            pitch = math.radians(90.0 - 45.0 * min(time_s / 50.0, 1.0))
            push = 20.0 + (push_mps2 - 20.0) * time_s / burn_s
            pull += push * (math.sin(pitch) * up + math.cos(pitch) * along)
        return np.concatenate([state[3:], pull])

    def ground(_time_s: float, state: NDArray[np.float64]) -> float:
        return geodesy.height_m(state[0], state[1], state[2])

    ground.terminal, ground.direction = True, -1.0  # type: ignore[attr-defined]
    start = np.array([*geodesy.ecef(lat_deg, lon_deg, 100.0), 0.0, 0.0, 0.0])
    settings = {"method": "DOP853", "rtol": 1e-9, "atol": 1e-4, "dense_output": True}
    rising = solve_ivp(move, (0.0, burn_s), start, **settings)
    falling = solve_ivp(move, (burn_s, 6000.0), rising.y[:, -1], events=ground, **settings)
    impact = geodesy.geodetic(*falling.y[:3, -1])
    return Flight(
        at=lambda time_s: rising.sol(time_s) if time_s < burn_s else falling.sol(time_s),
        lat_deg=lat_deg,
        lon_deg=lon_deg,
        azimuth_deg=azimuth_deg,
        burn_s=burn_s,
        end_s=float(falling.t[-1]),
        impact=impact[:2],
    )


def identity(*parts: object) -> bytes:
    """Return an id of 16 bytes."""
    return hashlib.sha256(repr(parts).encode()).digest()[:16]


@dataclass
class Nation:
    """One nation's systems: makes contents as its gateway would release them."""

    code: str
    mode: int = content_pb2.MODE_TEST
    exercise_id: str = ""
    numbers: int = 0

    def content(self, time_s: float | None, name: object = None) -> content_pb2.Content:
        """Return a content without a body."""
        self.numbers += 1
        content = content_pb2.Content()
        content.header.message_id = identity(self.code, name if name is not None else self.numbers)
        content.header.origin = self.code
        content.header.mode = self.mode  # type: ignore[assignment]
        if self.exercise_id:
            content.header.exercise.exercise_id = self.exercise_id
        content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        if time_s is not None:
            content.header.observed_at.CopyFrom(stamp(time_s))
        return content

    def track(
        self,
        event: str,
        time_s: float,
        state: NDArray[np.float64],
        *,
        sigma_m: float,
        sigma_mps: float | None = None,
        burning: bool | None = None,
        name: object = None,
    ) -> content_pb2.Content:
        """Return a track update with this state."""
        content = self.content(time_s, name)
        track = content.track
        track.event_id, track.object_id = identity(self.code, event), identity(self.code, event, "object")
        track.state.frame = measures_pb2.FRAME_ECEF_WGS84
        track.state.valid_at.CopyFrom(stamp(time_s))
        track.state.position_m.extend(state[:3].tolist())
        size = 3
        if sigma_mps is not None:
            track.state.velocity_mps.extend(state[3:].tolist())
            size = 6
        sigmas = [sigma_m] * 3 + [sigma_mps or 0.0] * 3
        track.state.covariance.extend(
            sigmas[row] ** 2 if row == column else 0.0 for row in range(size) for column in range(row, size)
        )
        if burning is not None:
            track.phase = content_pb2.PHASE_BOOST if burning else content_pb2.PHASE_COAST
        return content

    def launch(
        self,
        event: str,
        time_s: float,
        *,
        launched_s: float,
        place: tuple[float, float],
        axis_m: float = 5000.0,
        count: tuple[int, int] | None = None,
        name: object = None,
    ) -> content_pb2.Content:
        """Return a launch detection."""
        content = self.content(time_s, name)
        launch = content.launch
        launch.event_id = identity(self.code, event)
        launch.launch_time.earliest.CopyFrom(stamp(launched_s - 5.0))
        launch.launch_time.best.CopyFrom(stamp(launched_s))
        launch.launch_time.latest.CopyFrom(stamp(launched_s + 5.0))
        ellipse = launch.launch_area.ellipse
        ellipse.centre.lat_deg, ellipse.centre.lon_deg = place
        ellipse.semi_major_m = ellipse.semi_minor_m = axis_m
        ellipse.probability = 0.95
        if count is not None:
            launch.count.least, launch.count.most = count
        return content

    def status(self, event: str, time_s: float, state: int, name: object = None) -> content_pb2.Content:
        """Return a word on the event as a whole."""
        content = self.content(time_s, name)
        content.status.event_id = identity(self.code, event)
        content.status.state = state  # type: ignore[assignment]
        return content

    def impact(
        self, event: str, time_s: float, *, at_s: float, place: tuple[float, float], axis_m: float = 10_000.0
    ) -> content_pb2.Content:
        """Return an impact prediction."""
        content = self.content(time_s)
        content.impact.event_id = identity(self.code, event)
        ellipse = content.impact.area.ellipse
        ellipse.centre.lat_deg, ellipse.centre.lon_deg = place
        ellipse.semi_major_m = ellipse.semi_minor_m = axis_m
        ellipse.probability = 0.95
        content.impact.time.best.CopyFrom(stamp(at_s))
        content.impact.time.latest.CopyFrom(stamp(at_s + 20.0))
        return content

    def radar(  # noqa: PLR0913 - a sensor has that many figures
        self,
        flight: Flight,
        event: str,
        *,
        seed: int,
        first_s: float,
        last_s: float,
        every_s: float = 1.0,
        sigma_m: float = 300.0,
        sigma_mps: float | None = None,
        launched_s: float = 0.0,
        latency_s: float = 0.3,
    ) -> list[tuple[float, content_pb2.Content]]:
        """Return noisy reports of a flight, each with the time of its arrival."""
        noise = np.random.default_rng([seed, *self.code.encode()])
        found = []
        time_s = first_s
        while time_s < min(last_s, flight.end_s - 1.0):
            state = flight.at(time_s).copy()
            state[:3] += noise.normal(0.0, sigma_m, 3)
            state[3:] += noise.normal(0.0, sigma_mps or 0.0, 3)
            at_s = launched_s + time_s
            content = self.track(event, at_s, state, sigma_m=sigma_m, sigma_mps=sigma_mps, name=(event, time_s))
            found.append((at_s + latency_s, content))
            time_s += every_s
        return found


def coarse(content: content_pb2.Content, cell_m: float, cell_s: float = 0.0) -> content_pb2.Content:
    """Return a track as a policy would show it: cell centres, rounded time, the full cell as covariance."""
    found = content_pb2.Content()
    found.CopyFrom(content)
    state = found.track.state
    position = [(math.floor(value / cell_m) + 0.5) * cell_m for value in state.position_m]
    del state.position_m[:], state.covariance[:]
    state.position_m.extend(position)
    speed_mps = math.hypot(*state.velocity_mps) if state.velocity_mps else 7500.0
    del state.velocity_mps[:]
    variance = cell_m**2 + (speed_mps * cell_s) ** 2
    state.covariance.extend(variance if row == column else 0.0 for row in range(3) for column in range(row, 3))
    state.cell.space_m = cell_m
    if cell_s:
        cell_ns = round(cell_s * SECOND_NS)
        valid_ns = (state.valid_at.seconds * SECOND_NS + state.valid_at.nanos) // cell_ns * cell_ns
        state.valid_at.CopyFrom(timestamp(valid_ns))
        state.cell.time.FromNanoseconds(cell_ns)
    return found


def stamp(time_s: float) -> Timestamp:
    """Return seconds of the test's time as the wire has them."""
    return timestamp(ns(time_s))


def ns(time_s: float) -> int:
    """Return seconds of the test's time as nanoseconds since 1970."""
    return ZERO_NS + round(time_s * SECOND_NS)


@dataclass
class Log:
    """A recipient's log and its View. Ticks pass on whole seconds of arrival."""

    view: View
    now_s: int | None = None
    records: int = 0
    revisions: list[content_pb2.FusedEvent] = field(default_factory=list)

    def feed(self, arrivals: Iterable[tuple[float, content_pb2.Content]], *, until_s: float | None = None) -> Log:
        """Take in contents in the order of their arrival, with the Ticks between."""
        for arrival_s, content in sorted(arrivals, key=lambda one: one[0]):
            self.wait(arrival_s)
            self.take(content)
        if until_s is not None:
            self.wait(until_s)
        return self

    def take(self, content: content_pb2.Content) -> list[content_pb2.FusedEvent]:
        """Take in one content."""
        self.records += 1
        fused = self.view.fold(position=self.records.to_bytes(8, "big"), content=content)
        self.revisions += fused
        return fused

    def wait(self, until_s: float) -> None:
        """Let whole seconds pass."""
        start_s = math.floor(until_s) - 1 if self.now_s is None else self.now_s
        for second in range(start_s + 1, math.floor(until_s) + 1):
            self.tick(second)

    def tick(self, second: int) -> list[content_pb2.FusedEvent]:
        """Let the time be this."""
        self.records += 1
        fused = self.view.tick(position=self.records.to_bytes(8, "big"), time_ns=ns(second))
        self.revisions += fused
        self.now_s = second
        return fused

    def events(self) -> dict[bytes, content_pb2.FusedEvent]:
        """Return the newest revision of every event, without those that became part of another."""
        newest = {event.event_id: event for event in self.revisions}
        merged = {number for event in newest.values() for number in event.merged_event_ids}
        return {number: event for number, event in newest.items() if number not in merged}

    def only(self) -> content_pb2.FusedEvent:
        """Return the one event that there is."""
        (event,) = self.events().values()
        return event


class World:
    """What the tests take from here."""

    ZERO_NS = ZERO_NS
    fly = staticmethod(fly)
    nation = staticmethod(Nation)
    coarse = staticmethod(coarse)
    identity = staticmethod(identity)
    ns = staticmethod(ns)
    stamp = staticmethod(stamp)

    @staticmethod
    def log(recipient: str = "JPN", mode: int = content_pb2.MODE_TEST, exercise_id: str = "") -> Log:
        """Return an empty log."""
        return Log(View(recipient, mode, exercise_id))


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def released() -> ModuleType:
    """Give released.py beside this file: what each nation is shown of the exercises that are shipped."""
    spec = importlib.util.spec_from_file_location("fusion_released", Path(__file__).with_name("released.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
