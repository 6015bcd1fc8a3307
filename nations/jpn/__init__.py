"""Japan: two Aegis ships and two ground radars, all invented."""

from __future__ import annotations

from importlib.resources import files

from broker.plugin import Nation, NativeFormat, Sensor
from nations.jpn.adapter import open_session
from nations.jpn.writer import write
from vedette.v1 import measures_pb2

__all__ = ["NATION"]

FORMAT = "radar-csv"

NATION = Nation(
    code="JPN",
    name="Japan",
    formats={FORMAT: NativeFormat(FORMAT, open_session, write)},
    # Invented figures and places: ships in the Sea of Japan and in the Pacific, radars on the north and west coasts.
    sensors=(
        Sensor(
            name="aegis-1",
            kind=measures_pb2.SENSOR_KIND_SEA_RADAR,
            format=FORMAT,
            lat_deg=40.1,
            lon_deg=137.2,
            height_m=20.0,
            range_max_m=1_800_000.0,
            elevation_min_deg=1.0,
            period_s=2.0,
            range_sigma_m=50.0,
            angle_sigma_deg=0.07,
            latency_s=0.4,
            dropout=0.03,
            first_look_s=20.0,
            predicts_impact=True,
        ),
        Sensor(
            name="aegis-2",
            kind=measures_pb2.SENSOR_KIND_SEA_RADAR,
            format=FORMAT,
            lat_deg=39.8,
            lon_deg=145.5,
            height_m=20.0,
            range_max_m=1_800_000.0,
            elevation_min_deg=1.0,
            period_s=2.0,
            range_sigma_m=50.0,
            angle_sigma_deg=0.07,
            latency_s=0.4,
            dropout=0.03,
            first_look_s=20.0,
            predicts_impact=True,
        ),
        Sensor(
            name="ground-1",
            kind=measures_pb2.SENSOR_KIND_GROUND_RADAR,
            format=FORMAT,
            lat_deg=40.6,
            lon_deg=140.4,
            height_m=300.0,
            range_max_m=1_900_000.0,
            elevation_min_deg=0.5,
            period_s=3.0,
            range_sigma_m=80.0,
            angle_sigma_deg=0.06,
            latency_s=0.5,
            dropout=0.02,
            predicts_impact=True,
        ),
        Sensor(
            name="ground-2",
            kind=measures_pb2.SENSOR_KIND_GROUND_RADAR,
            format=FORMAT,
            lat_deg=35.3,
            lon_deg=133.2,
            height_m=400.0,
            range_max_m=1_500_000.0,
            elevation_min_deg=0.5,
            period_s=3.0,
            range_sigma_m=80.0,
            angle_sigma_deg=0.06,
            latency_s=0.5,
            dropout=0.02,
        ),
    ),
    home=files("nations.jpn"),
)
