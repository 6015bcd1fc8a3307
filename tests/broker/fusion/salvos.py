"""Invented salvos: ten launches from one area, as three nations' sensors follow them.

Truth is integrated with the fourth order of Runge and Kutta, half a second a step, under the same forces as everywhere
here; the missiles are of one kind, a per cent apart, and fly in nearly one direction, which is what makes it hard.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from broker import geodesy
from broker.instant import timestamp
from broker.limits import SECOND_NS
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ZERO_NS: Final = 1_700_000_000 * SECOND_NS
STEP_S: Final = 0.5
LAUNCHES: Final = 10
FLOWN_S: Final = 150.0
DETECTED: Final = 0.95  # of all looks
DIRECTION_SIGMA_DEG: Final = 2.0
BURN_S, BURN_SIGMA_S = 80.0, 1.0
PUSH_MPS2, PUSH_SIGMA_MPS2 = 60.0, 0.6


@dataclass(frozen=True)
class Sensor:
    """A nation's sensor: standard deviation of a position, time between looks, and from when on it sees a missile."""

    nation: str
    sigma_m: float
    every_s: float
    from_s: float


SENSORS: Final = (
    Sensor("USA", 1_500.0, 2.0, 22.0),
    Sensor("KOR", 400.0, 1.0, 30.0),
    Sensor("JPN", 250.0, 1.0, 60.0),
)


@dataclass(frozen=True)
class Look:
    """One report: when, by whom, of which missile (from 0), where."""

    time_s: float
    sensor: Sensor
    missile: int
    position_m: NDArray[np.float64]


@dataclass(frozen=True)
class Missile:
    """A true flight: states (6) every STEP_S from its launch on."""

    launched_s: float
    states: NDArray[np.float64]

    def at(self, time_s: float) -> NDArray[np.float64] | None:
        """Return the true state at a time of the salvo; None before the launch or after all that was computed."""
        step = (time_s - self.launched_s) / STEP_S
        if not 0.0 <= step <= len(self.states) - 1:
            return None
        index = min(int(step), len(self.states) - 2)
        rest_s = (step - index) * STEP_S
        before, after = self.states[index], self.states[index + 1]
        push = (after[3:] - before[3:]) / STEP_S
        return np.concatenate(
            [before[:3] + before[3:] * rest_s + 0.5 * push * rest_s * rest_s, before[3:] + push * rest_s]
        )


def missiles(seed: int, *, box_m: float, within_s: float, count: int = LAUNCHES) -> list[Missile]:
    """Return a salvo from a square of that side, launched within that time."""
    chance = np.random.default_rng([seed, 1])
    base = np.array(geodesy.ecef(40.0, 126.0, 100.0))
    east, north, _ = (np.array(axis) for axis in geodesy.enu_axes(40.0, 126.0))
    found = []
    for _ in range(count):
        offset = chance.uniform(-0.5 * box_m, 0.5 * box_m, 2)
        found.append(
            Missile(
                float(chance.uniform(0.0, within_s)),
                _flown(
                    base + offset[0] * east + offset[1] * north,
                    azimuth_deg=80.0 + chance.normal(0.0, DIRECTION_SIGMA_DEG),
                    burn_s=BURN_S + chance.normal(0.0, BURN_SIGMA_S),
                    push_mps2=PUSH_MPS2 + chance.normal(0.0, PUSH_SIGMA_MPS2),
                ),
            )
        )
    return found


def looks(seed: int, salvo: list[Missile], *, at_once: bool = False) -> list[Look]:
    """Return what the sensors report, in order of time: each at its own moment of a scan, with noise, some missed.

    `at_once`: a sensor looks at all missiles at the same time, as trackers without names need it.
    """
    chance = np.random.default_rng([seed, 2])
    found = []
    for sensor in SENSORS:
        for index, missile in enumerate(salvo):
            time_s = missile.launched_s + sensor.from_s + float(chance.uniform(0.0, sensor.every_s))
            if at_once:
                time_s = math.ceil(time_s / sensor.every_s) * sensor.every_s
            while (state := missile.at(time_s)) is not None:
                noise = chance.normal(0.0, sensor.sigma_m, 3)
                if chance.random() < DETECTED:
                    found.append(Look(time_s, sensor, index, state[:3] + noise))
                time_s += sensor.every_s
    return sorted(found, key=lambda look: look.time_s)


def contents(reported: list[Look]) -> Iterator[content_pb2.Content]:
    """Return the reports as the recipient gets them. Ids say nothing of the missile to whoever does not know them."""
    for number, look in enumerate(reported):
        content = content_pb2.Content()
        content.header.message_id = hashlib.sha256(number.to_bytes(4, "big")).digest()[:16]
        content.header.origin = look.sensor.nation
        content.header.mode = content_pb2.MODE_TEST
        content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        at = timestamp(ZERO_NS + round(look.time_s * SECOND_NS))
        content.header.observed_at.CopyFrom(at)
        track = content.track
        track.event_id = track.object_id = name(look.sensor.nation, look.missile)
        track.state.frame = measures_pb2.FRAME_ECEF_WGS84
        track.state.valid_at.CopyFrom(at)
        track.state.position_m.extend(look.position_m.tolist())
        variance = look.sensor.sigma_m**2
        track.state.covariance.extend([variance, 0.0, 0.0, variance, 0.0, variance])
        yield content


def name(nation: str, missile: int) -> bytes:
    """Return what a nation calls a missile."""
    return hashlib.sha256(f"{nation} {missile}".encode()).digest()[:16]


def _flown(start: NDArray[np.float64], *, azimuth_deg: float, burn_s: float, push_mps2: float) -> NDArray[np.float64]:
    """Integrate a flight from the ground."""
    lat_deg, lon_deg, _ = geodesy.geodetic(*start)
    east, north, up = (np.array(axis) for axis in geodesy.enu_axes(lat_deg, lon_deg))
    azimuth = math.radians(azimuth_deg)
    along = math.sin(azimuth) * east + math.cos(azimuth) * north

    def moved(time_s: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        pull = np.array(geodesy.ballistic_acceleration(tuple(state[:3]), tuple(state[3:])))
        if time_s < burn_s:
            pitch = math.radians(90.0 - 45.0 * min(time_s / 50.0, 1.0))
            push = 20.0 + (push_mps2 - 20.0) * time_s / burn_s
            pull = pull + push * (math.sin(pitch) * up + math.cos(pitch) * along)
        return np.concatenate([state[3:], pull])

    states = [np.concatenate([start, np.zeros(3)])]
    for step in range(round(FLOWN_S / STEP_S)):
        time_s, state, half = step * STEP_S, states[-1], 0.5 * STEP_S
        one = moved(time_s, state)
        two = moved(time_s + half, state + half * one)
        three = moved(time_s + half, state + half * two)
        four = moved(time_s + STEP_S, state + STEP_S * three)
        states.append(state + STEP_S / 6.0 * (one + 2.0 * two + 2.0 * three + four))
    return np.array(states)
