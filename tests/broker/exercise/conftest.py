from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from broker.exercise.announcements import read_launches
from broker.exercise.fit import Announcement, fit
from broker.exercise.sensors import Launched
from broker.plugin import Memory, Nation, NativeFormat, Observation, Sensor
from vedette.v1.measures_pb2 import MissileClass, SensorKind

if TYPE_CHECKING:
    from broker.exercise.announcements import AnnouncedLaunch
    from broker.exercise.trajectory import Trajectory

LAUNCH_NS = 1_664_835_760 * 10**9
RADAR = Sensor(
    name="radar-1",
    kind=SensorKind.SENSOR_KIND_GROUND_RADAR,
    format="plain",
    lat_deg=40.8,
    lon_deg=140.3,
    height_m=100.0,
    range_max_m=2_500_000.0,
    elevation_min_deg=1.0,
    period_s=3.0,
    range_sigma_m=80.0,
    angle_sigma_deg=0.06,
    latency_s=0.5,
    dropout=0.0,
    predicts_impact=True,
)
INFRARED = Sensor(
    name="infrared-1",
    kind=SensorKind.SENSOR_KIND_SPACE_INFRARED,
    format="plain",
    lat_deg=0.0,
    lon_deg=150.0,
    height_m=35_786_000.0,
    range_max_m=42_000_000.0,
    elevation_min_deg=-90.0,
    period_s=5.0,
    range_sigma_m=20_000.0,
    angle_sigma_deg=0.003,
    latency_s=2.0,
    dropout=0.0,
    first_look_s=30.0,
    boost_only=True,
)


@pytest.fixture(scope="session")
def table() -> dict[str, AnnouncedLaunch]:
    return read_launches()


@pytest.fixture(scope="session")
def overflight(table: dict[str, AnnouncedLaunch]) -> Trajectory:
    """The launch over Japan, 4500 km at 970 km."""
    row = table["L17"]
    return fit(Announcement(row.lat_deg, row.lon_deg, row.azimuth_deg, 4.5e6, 9.7e5, row.missile_class))


@pytest.fixture(scope="session")
def launched(overflight: Trajectory) -> Launched:
    return Launched(overflight, LAUNCH_NS, MissileClass.MISSILE_CLASS_IRBM)


@pytest.fixture(scope="session")
def radar() -> Sensor:
    """A radar in the north of Japan that never misses a look."""
    return RADAR


@pytest.fixture(scope="session")
def infrared() -> Sensor:
    """A camera high above the ocean that sees burning motors."""
    return INFRARED


@pytest.fixture(scope="session")
def nations() -> dict[str, Nation]:
    """Three nations with the same two sensors and a plain format: what is tested here is not theirs."""
    plain = NativeFormat("plain", _no_adapter, _plain_line)
    radars = (RADAR, replace(RADAR, name="radar-2", lat_deg=37.0, lon_deg=128.0, range_max_m=1_500_000.0))
    return {
        code: Nation(code, code, {"plain": plain}, (*radars, INFRARED) if code == "USA" else radars)
        for code in ("KOR", "USA", "JPN")
    }


def _plain_line(observation: Observation, sensor: Sensor) -> bytes:
    return f"{sensor.name} {observation.track_number} {observation.sight.value} {observation.time_ns}".encode()


def _no_adapter(_memory: Memory) -> NoReturn:
    pytest.fail("an exercise writes lines and reads none")
