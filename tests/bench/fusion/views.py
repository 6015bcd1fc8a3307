"""How a View begins again: a checkpoint after a long log, against folding that log.

20,000 contributions of five launches by three nations each, four a second and track, in one process and the same run.
In processor time: what a checkpoint costs to write and to take up again, and as a part of what folding the log costs.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from broker import geodesy
from broker.fusion.view import View
from broker.instant import timestamp
from broker.limits import SECOND_NS
from tests.bench.figures import Row
from vedette.v1 import content_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTRIBUTIONS: Final = 20_000
LAUNCHES: Final = 5
CODES: Final = ("KOR", "USA", "JPN")
BEGAN_NS: Final = 1_700_000_000 * SECOND_NS
REPORTS_PS: Final = 4
RESTORE_S_MOST: Final = 10.0  # seconds, and not a replay of the log
RESTORE_SHARE_MOST: Final = 0.25
SAVE_S_MOST: Final = 1.0  # it is written every ten seconds


def rows() -> Iterator[Row]:
    """Measure."""
    view = View("JPN", content_pb2.MODE_TEST)
    print(f"folding {CONTRIBUTIONS} contributions", flush=True)
    began_s = time.process_time()
    second = 0
    for number, content in enumerate(_log(), start=1):
        view.fold(position=number.to_bytes(8, "big"), content=content)
        passed = number // (LAUNCHES * len(CODES) * REPORTS_PS)
        if passed > second:
            second = passed
            view.tick(position=number.to_bytes(8, "big"), time_ns=BEGAN_NS + second * SECOND_NS)
    fold_s = time.process_time() - began_s
    began_s = time.process_time()
    data = view.checkpoint()
    save_s = time.process_time() - began_s
    began_s = time.process_time()
    again = View.restore(data)
    restore_s = time.process_time() - began_s
    if again.checkpoint() != data:
        raise AssertionError("the View that was restored is another one")
    yield Row("views: restoring 20,000 contributions", restore_s, "s CPU", RESTORE_S_MOST)
    yield Row("views: restoring / folding", restore_s / fold_s, "", RESTORE_SHARE_MOST)
    yield Row("views: writing their checkpoint", save_s, "s CPU", SAVE_S_MOST)
    yield Row("views: size of it", len(data) / 1e6, "MB", 16.0)


def _log() -> Iterator[content_pb2.Content]:
    """Yield reports of objects that fall, a little off their places."""
    for step in range(CONTRIBUTIONS // (LAUNCHES * len(CODES))):
        time_s = step / REPORTS_PS
        for launch in range(LAUNCHES):
            for index, code in enumerate(CODES):
                yield _report(code, launch, step, time_s, 50.0 * math.sin(step + index))


def _report(code: str, launch: int, step: int, time_s: float, error_m: float) -> content_pb2.Content:
    start = geodesy.ecef(35.0 + 2.0 * launch, 127.0, 300_000.0)
    east, north, up = geodesy.enu_axes(35.0 + 2.0 * launch, 127.0)
    velocity = [2_500.0 * e + 500.0 * n + 2_000.0 * u for e, n, u in zip(east, north, up, strict=True)]
    pull = geodesy.ballistic_acceleration(start, (velocity[0], velocity[1], velocity[2]), 8_000.0)
    position = [p + v * time_s + 0.5 * a * time_s**2 + error_m for p, v, a in zip(start, velocity, pull, strict=True)]
    content = content_pb2.Content()
    content.header.origin, content.header.mode = code, content_pb2.MODE_TEST
    content.header.message_id = f"{code}{launch:03}{step:010}".encode()
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    track = content.track
    track.event_id = track.object_id = f"{code}-launch-{launch:05}".encode()
    track.state.frame = measures_pb2.FRAME_ECEF_WGS84
    track.state.valid_at.CopyFrom(timestamp(BEGAN_NS + round(time_s * SECOND_NS)))
    track.state.position_m.extend(position)
    track.state.covariance.extend([1e6, 0.0, 0.0, 1e6, 0.0, 1e6])
    track.phase = content_pb2.PHASE_COAST
    return content
