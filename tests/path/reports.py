"""Reports as national systems make them: plain contents for tests."""

from __future__ import annotations

import time

from broker.clock import timestamp
from broker.geodesy import ecef
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

FLASH = envelope_pb2.PRECEDENCE_FLASH
IMMEDIATE = envelope_pb2.PRECEDENCE_IMMEDIATE
ALL = ("JPN", "KOR", "USA")


def label(
    policy: str = "KOR", *, to: tuple[str, ...] = ALL, caveats: tuple[str, ...] = ()
) -> envelope_pb2.SecurityLabel:
    return envelope_pb2.SecurityLabel(
        policy=policy,
        classification=envelope_pb2.CLASSIFICATION_SECRET,
        releasable_to=sorted(to),
        caveats=sorted(caveats),
    )


def exercise(name: str = "test-1", *, rate: float = 1.0) -> content_pb2.Exercise:
    zero = timestamp(time.time_ns() - 60 * 1_000_000_000)
    return content_pb2.Exercise(exercise_id=name, wall_zero=zero, exercise_zero=zero, rate=rate)


def report(local: bytes, *, base: content_pb2.Exercise | None, at_ns: int | None = None) -> content_pb2.Content:
    content = content_pb2.Content()
    content.header.message_id = local
    content.header.observed_at.CopyFrom(timestamp(at_ns or time.time_ns()))
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    if base is not None:
        content.header.exercise.CopyFrom(base)
    return content


def launch(
    local: bytes, event: bytes, *, base: content_pb2.Exercise | None, at_ns: int | None = None
) -> content_pb2.Content:
    content = report(local, base=base, at_ns=at_ns)
    body = content.launch
    body.event_id = event
    body.launch_time.best.CopyFrom(content.header.observed_at)
    ellipse = body.launch_area.ellipse
    ellipse.centre.lat_deg, ellipse.centre.lon_deg = 40.61, 126.43
    ellipse.semi_major_m = ellipse.semi_minor_m = 3_000.0
    ellipse.probability = 0.95
    body.azimuth_deg = 80.0
    body.classes.add(missile_class=measures_pb2.MISSILE_CLASS_IRBM, probability=0.8)
    body.count.least = body.count.most = 1
    body.source.kind = measures_pb2.SENSOR_KIND_SEA_RADAR
    body.source.name = "aegis-1"
    return content


def track(
    local: bytes, event: bytes, *, base: content_pb2.Exercise | None, at_ns: int | None = None, lat_deg: float = 40.7
) -> content_pb2.Content:
    content = report(local, base=base, at_ns=at_ns)
    body = content.track
    body.event_id, body.object_id = event, event + b"/1"
    body.state.frame = measures_pb2.FRAME_ECEF_WGS84
    body.state.valid_at.CopyFrom(content.header.observed_at)
    body.state.position_m[:] = ecef(lat_deg, 128.0, 60_000.0)
    body.state.velocity_mps[:] = (-1200.0, -900.0, 1500.0)
    body.state.covariance[:] = [
        250.0**2 if row == column and row < 3 else 20.0**2 if row == column else 0.0
        for row in range(6)
        for column in range(row, 6)
    ]
    body.phase = content_pb2.PHASE_BOOST
    body.source.kind = measures_pb2.SENSOR_KIND_SEA_RADAR
    body.source.name = "aegis-1"
    return content


def status(
    local: bytes, event: bytes, state: content_pb2.EventState.ValueType, *, base: content_pb2.Exercise | None
) -> content_pb2.Content:
    content = report(local, base=base)
    content.status.event_id = event
    content.status.state = state
    return content


def cancel(local: bytes, target: bytes, *, base: content_pb2.Exercise | None) -> content_pb2.Content:
    content = content_pb2.Content()
    content.header.message_id = local
    if base is not None:
        content.header.exercise.CopyFrom(base)
    content.header.references.add(message_id=target, relation=content_pb2.RELATION_CANCELS)
    return content
