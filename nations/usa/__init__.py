"""The United States of America: space infrared and two ship radars, all invented."""

from __future__ import annotations

from importlib.resources import files

from broker.plugin import Nation, NativeFormat, Sensor
from nations.usa.adapter import open_session
from nations.usa.writer import write
from vedette.v1 import measures_pb2

__all__ = ["NATION"]

FORMAT = "event-xml"

NATION = Nation(
    code="USA",
    name="United States of America",
    formats={FORMAT: NativeFormat(FORMAT, open_session, write)},
    # Invented figures and places: somewhere high above the ocean, a ship in the East Sea, one in the open Pacific.
    sensors=(
        Sensor(
            name="infrared-1",
            kind=measures_pb2.SENSOR_KIND_SPACE_INFRARED,
            format=FORMAT,
            lat_deg=0.0,
            lon_deg=155.0,
            height_m=35_786_000.0,
            range_max_m=42_000_000.0,
            elevation_min_deg=-90.0,
            period_s=5.0,
            range_sigma_m=20_000.0,
            angle_sigma_deg=0.003,
            latency_s=2.0,
            dropout=0.05,
            first_look_s=30.0,
            boost_only=True,
        ),
        Sensor(
            name="ship-1",
            kind=measures_pb2.SENSOR_KIND_SEA_RADAR,
            format=FORMAT,
            lat_deg=39.3,
            lon_deg=134.6,
            height_m=25.0,
            range_max_m=2_000_000.0,
            elevation_min_deg=0.5,
            period_s=2.0,
            range_sigma_m=40.0,
            angle_sigma_deg=0.05,
            latency_s=0.3,
            dropout=0.02,
            first_look_s=25.0,
            predicts_impact=True,
        ),
        Sensor(
            name="ship-2",
            kind=measures_pb2.SENSOR_KIND_SEA_RADAR,
            format=FORMAT,
            lat_deg=38.5,
            lon_deg=152.0,
            height_m=25.0,
            range_max_m=2_500_000.0,
            elevation_min_deg=0.5,
            period_s=3.0,
            range_sigma_m=50.0,
            angle_sigma_deg=0.05,
            latency_s=0.4,
            dropout=0.02,
            predicts_impact=True,
        ),
    ),
    home=files("nations.usa"),
)
