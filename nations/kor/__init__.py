"""The Republic of Korea: an Aegis destroyer, airborne early warning and a ground radar, all invented."""

from __future__ import annotations

from importlib.resources import files

from broker.plugin import Nation, NativeFormat, Sensor
from nations.kor.adapter import open_session
from nations.kor.writer import write
from vedette.v1 import measures_pb2

__all__ = ["NATION"]

FORMAT = "radar-json"

NATION = Nation(
    code="KOR",
    name="Republic of Korea",
    formats={FORMAT: NativeFormat(FORMAT, open_session, write)},
    # Invented figures and places: a ship in the East Sea, an aircraft over the peninsula, a radar on it.
    sensors=(
        Sensor(
            name="aegis-1",
            kind=measures_pb2.SENSOR_KIND_SEA_RADAR,
            format=FORMAT,
            lat_deg=38.2,
            lon_deg=130.4,
            height_m=20.0,
            range_max_m=1_600_000.0,
            elevation_min_deg=1.0,
            period_s=2.0,
            range_sigma_m=60.0,
            angle_sigma_deg=0.08,
            latency_s=0.4,
            dropout=0.03,
            first_look_s=20.0,
            predicts_impact=True,
        ),
        Sensor(
            name="aew-1",
            kind=measures_pb2.SENSOR_KIND_AIRBORNE_RADAR,
            format=FORMAT,
            lat_deg=37.4,
            lon_deg=127.8,
            height_m=9_000.0,
            range_max_m=900_000.0,
            elevation_min_deg=-2.0,
            period_s=5.0,
            range_sigma_m=250.0,
            angle_sigma_deg=0.25,
            latency_s=0.8,
            dropout=0.08,
            first_look_s=15.0,
        ),
        Sensor(
            name="ground-1",
            kind=measures_pb2.SENSOR_KIND_GROUND_RADAR,
            format=FORMAT,
            lat_deg=36.6,
            lon_deg=127.4,
            height_m=600.0,
            range_max_m=1_200_000.0,
            elevation_min_deg=1.0,
            period_s=3.0,
            range_sigma_m=90.0,
            angle_sigma_deg=0.10,
            latency_s=0.5,
            dropout=0.03,
            first_look_s=20.0,
        ),
    ),
    home=files("nations.kor"),
)
