"""What a nation's generic sensor sees of a flight.

A sensor looks at an object once in every period. It sees it if nothing stands between (the Earth, its range, its least
elevation), if the look does not drop out, and, for space infrared, while the motor burns. What it sees is the truth
with normal errors along and across the line of sight, and the covariance it claims is exactly the one they were drawn
with. Looks are independent of each other. Nothing here describes a real sensor: `broker.plugin.Sensor` holds a few
invented figures, and no sensor is given a skill of its own.

What it says: a LAUNCH after its second look, if that is within three minutes of the launch; a TRACK at the first look
after every 4 s; an IMPACT every 15 s once it has followed the fall for a while, if it can predict; LOST after five
looks in vain, and a new track number if it sees the object again. Space infrared says nothing at burnout: that it sees
no motor is no lost track.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from broker import geodesy
from broker.exercise.coverage import line_of_sight_covariance, sees
from broker.exercise.prediction import Predictor
from broker.limits import SECOND_NS
from broker.plugin import Observation, Sensor, Sight
from vedette.v1.measures_pb2 import MissileClass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from numpy.typing import NDArray

    from broker.exercise.motion import State
    from broker.exercise.trajectory import Trajectory

LOOKS_TO_LAUNCH: Final = 2  # a direction needs two
LAUNCH_WITHIN_S: Final = 180.0  # later, the launch point is anybody's guess
TRACK_PERIOD_S: Final = 4.0  # keeps an exercise at sixty times life's pace below 150 lines a second
LOOKS_TO_LOSE: Final = 5
LOOKS_TO_PREDICT: Final = 3
PREDICTION_PERIOD_S: Final = 15.0
ROUNDING_S: Final = 1e-3
PREDICTION_WORTH_M: Final = 500_000.0  # an area longer than this to each side helps nobody
VELOCITY_BASE_S: Final = 10.0  # one look's velocity is as good as two positions so far apart
# What the motor did before the first look is a guess, the worse the longer it was: m for each second.
UNSEEN_MPS: Final = 40.0
UNSEEN_TIME_SHARE: Final = 0.1
LAUNCH_TIME_FLOOR_S: Final = 1.0
AZIMUTH_SIGMA_DEG: Final = (1.0, 60.0)  # at best and at worst
RADIUS_95: Final = math.sqrt(-2 * math.log(0.05))  # of a circular normal distribution, in standard deviations
INFRARED_CONFIDENCE: Final = 0.8  # in the class that a plume looks like


@dataclass(frozen=True)
class Launched:
    """A flight that began at a time of the exercise."""

    flight: Trajectory
    time_ns: int
    missile_class: MissileClass.ValueType

    @cached_property
    def predictor(self) -> Predictor:
        """Return what predicts its impact; made when first needed."""
        return Predictor(self.flight)

    def ns(self, elapsed_s: float) -> int:
        """Return the exercise's time at a time since launch."""
        return self.time_ns + round(elapsed_s * SECOND_NS)


def sightings(sensor: Sensor, launched: Launched, random: Random) -> Iterator[Observation]:
    """Yield what the sensor sees of a flight, in order of time, with track numbers from 1."""
    watch = _Watch(sensor, launched, random)
    # Sensors do not look in step with launches, nor with each other.
    elapsed_s = random.random() * sensor.period_s
    while elapsed_s <= launched.flight.impact_s + LOOKS_TO_LOSE * sensor.period_s:
        if elapsed_s >= sensor.first_look_s:
            yield from watch.look(elapsed_s)
        elapsed_s += sensor.period_s


class _Watch:
    """One sensor following one object."""

    def __init__(self, sensor: Sensor, launched: Launched, random: Random) -> None:
        self._sensor = sensor
        self._launched = launched
        self._random = random
        self._number = 0
        self._following = False
        self._in_vain = 0
        self._looks_s: list[float] = []  # of this track
        self._falling_s: list[float] = []  # those after burnout
        self._tracked_s = -math.inf
        self._predicted_s = -math.inf
        self._estimate: tuple[float, float] | None = None  # apogee, range

    def look(self, elapsed_s: float) -> Iterator[Observation]:
        flight = self._launched.flight
        state, burning = flight.at(elapsed_s), flight.burning(elapsed_s)
        dropped = self._random.random() < self._sensor.dropout
        if dropped or elapsed_s >= flight.impact_s or not sees(self._sensor, state, burning=burning):
            yield from self._seen_nothing(elapsed_s)
            return
        if not self._following:
            self._begin()
        self._in_vain = 0
        self._looks_s.append(elapsed_s)
        if not burning:
            self._falling_s.append(elapsed_s)
        if self._number == 1 and len(self._looks_s) == LOOKS_TO_LAUNCH and elapsed_s <= LAUNCH_WITHIN_S:
            yield self._launch(elapsed_s, state, burning=burning)
        if elapsed_s - self._tracked_s > TRACK_PERIOD_S - ROUNDING_S:
            self._tracked_s = elapsed_s
            yield self._track(elapsed_s, state, burning=burning)
        due = elapsed_s >= self._predicted_s + PREDICTION_PERIOD_S and len(self._falling_s) >= LOOKS_TO_PREDICT
        if self._sensor.predicts_impact and due:
            yield from self._impact(elapsed_s, state)

    def _begin(self) -> None:
        self._number += 1
        self._following = True
        self._looks_s.clear()
        self._falling_s.clear()
        self._tracked_s = -math.inf
        self._predicted_s = -math.inf
        self._estimate = None

    def _seen_nothing(self, elapsed_s: float) -> Iterator[Observation]:
        self._in_vain += 1
        if self._following and self._in_vain == LOOKS_TO_LOSE:
            self._following = False
            if not self._sensor.boost_only:
                yield Observation(Sight.LOST, self._sensor.name, self._number, self._launched.ns(elapsed_s))

    def _launch(self, elapsed_s: float, state: State, *, burning: bool) -> Observation:
        flight = self._launched.flight
        site_lat_deg, site_lon_deg, _ = geodesy.geodetic(*flight.states[0][:3])
        across_m = math.sqrt(float(np.trace(line_of_sight_covariance(self._sensor, state))) / 3)
        sigma_m = math.hypot(across_m, UNSEEN_MPS * self._looks_s[0])
        sigma_s = LAUNCH_TIME_FLOOR_S + UNSEEN_TIME_SHARE * self._looks_s[0]
        lat_deg, lon_deg, _ = geodesy.geodetic(*state[:3])
        flown_m, _ = geodesy.distance_azimuth(site_lat_deg, site_lon_deg, lat_deg, lon_deg)
        least, most = AZIMUTH_SIGMA_DEG
        azimuth_sigma_deg = min(most, max(least, math.degrees(math.atan2(math.sqrt(2) * sigma_m, flown_m))))
        _, azimuth_deg = geodesy.distance_azimuth(
            site_lat_deg, site_lon_deg, flight.impact_lat_deg, flight.impact_lon_deg
        )
        gauss = self._random.gauss
        east_m, north_m = gauss(0, sigma_m), gauss(0, sigma_m)
        lat_deg, lon_deg = geodesy.destination(
            site_lat_deg, site_lon_deg, math.degrees(math.atan2(east_m, north_m)), math.hypot(east_m, north_m)
        )
        infrared = self._sensor.boost_only
        return Observation(
            Sight.LAUNCH,
            self._sensor.name,
            self._number,
            self._launched.ns(elapsed_s),
            burning=burning,
            lat_deg=lat_deg,
            lon_deg=lon_deg,
            area_semi_major_m=RADIUS_95 * sigma_m,
            area_semi_minor_m=RADIUS_95 * sigma_m,
            azimuth_deg=(azimuth_deg + gauss(0, azimuth_sigma_deg)) % 360,
            azimuth_sigma_deg=azimuth_sigma_deg,
            launch_time_ns=self._launched.ns(gauss(0, sigma_s)),
            launch_time_sigma_s=sigma_s,
            missile_class=self._launched.missile_class if infrared else MissileClass.MISSILE_CLASS_UNSPECIFIED,
            confidence=INFRARED_CONFIDENCE if infrared else None,
        )

    def _track(self, elapsed_s: float, state: State, *, burning: bool) -> Observation:
        covariance = line_of_sight_covariance(self._sensor, state)
        factor = np.linalg.cholesky(covariance)
        position = np.array(state[:3]) + factor @ self._draws(3)
        velocity = np.array(state[3:]) + factor @ self._draws(3) / VELOCITY_BASE_S
        both = np.zeros((6, 6))
        both[:3, :3] = covariance
        both[3:, 3:] = covariance / VELOCITY_BASE_S**2
        apogee_m, range_m = self._estimate or (None, None)
        return Observation(
            Sight.TRACK,
            self._sensor.name,
            self._number,
            self._launched.ns(elapsed_s),
            position_m=_three(position),
            velocity_mps=_three(velocity),
            covariance=tuple(float(both[row, column]) for row in range(6) for column in range(row, 6)),
            burning=burning,
            apogee_m=apogee_m,
            ground_range_m=range_m,
        )

    def _impact(self, elapsed_s: float, state: State) -> Iterator[Observation]:
        """Yield a prediction from all looks since burnout: a straight line's fit has errors that shrink like this."""
        one_look = line_of_sight_covariance(self._sensor, state)
        count, span_s = len(self._falling_s), self._falling_s[-1] - self._falling_s[0]
        covariance = np.zeros((6, 6))
        covariance[:3, :3] = one_look * 4 / count
        covariance[3:, 3:] = one_look / (count * (VELOCITY_BASE_S**2 + span_s**2 / 12))
        predicted = self._launched.predictor.predict(elapsed_s, covariance, self._draws(9))
        if predicted is None or predicted.semi_major_m > PREDICTION_WORTH_M:
            return
        self._predicted_s = elapsed_s
        self._estimate = (predicted.apogee_m, predicted.range_m)
        yield Observation(
            Sight.IMPACT,
            self._sensor.name,
            self._number,
            self._launched.ns(elapsed_s),
            lat_deg=predicted.lat_deg,
            lon_deg=predicted.lon_deg,
            area_semi_major_m=predicted.semi_major_m,
            area_semi_minor_m=predicted.semi_minor_m,
            area_orientation_deg=predicted.orientation_deg,
            impact_time_ns=self._launched.ns(predicted.after_s),
            impact_time_sigma_s=predicted.after_sigma_s,
            apogee_m=predicted.apogee_m,
            ground_range_m=predicted.range_m,
        )

    def _draws(self, count: int) -> NDArray[np.float64]:
        return np.array([self._random.gauss(0, 1) for _ in range(count)])


def _three(values: NDArray[np.float64]) -> geodesy.Vector:
    return float(values[0]), float(values[1]), float(values[2])
