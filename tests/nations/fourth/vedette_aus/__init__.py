"""Australia: one ground radar, one simple feed, one short policy. All invented."""

from __future__ import annotations

from importlib.resources import files

from broker.plugin import Nation, NativeFormat, Sensor
from vedette.v1 import measures_pb2

from .adapter import open_session, write

__all__ = ["NATION"]

FORMAT = "words"

NATION = Nation(
    code="AUS",
    name="Australia",
    formats={FORMAT: NativeFormat(FORMAT, open_session, write)},
    sensors=(
        Sensor(
            name="coast-1",
            kind=measures_pb2.SENSOR_KIND_GROUND_RADAR,
            format=FORMAT,
            lat_deg=-17.0,
            lon_deg=123.0,
            height_m=50.0,
            range_max_m=2_000_000.0,
            elevation_min_deg=1.0,
            period_s=5.0,
            range_sigma_m=200.0,
            angle_sigma_deg=0.2,
            latency_s=1.0,
            dropout=0.1,
            predicts_impact=True,
        ),
    ),
    home=files("vedette_aus"),
)
