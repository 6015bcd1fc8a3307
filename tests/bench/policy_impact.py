"""How long `policy impact` takes: a store of recorded intake is made, then replayed under two policies, in CPU time."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.clock import timestamp
from broker.demo.world import shipped_policy
from broker.gateway.ids import Scope, intake_key
from broker.gateway.ledger import INTAKE
from broker.gateway.office.replay import replay
from broker.gateway.release import Policy
from broker.gateway.release.impact import Window
from broker.limits import MILLISECOND_NS, SECOND_NS
from broker.store import NewRecord
from broker.store.beside import Beside
from broker.store.sqlite import open_sqlite
from tests.bench.figures import Row
from vedette.v1 import content_pb2, envelope_pb2, journal_pb2, measures_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN_NS: Final = 1_780_000_000 * SECOND_NS  # in the shipped policies' time
BATCH: Final = 512
TARGET_S: Final = 60.0  # for a million decisions


def intake_records(count: int, *, seed: int = 1) -> Iterator[journal_pb2.IntakeRecord]:
    """Yield reports as a busy radar makes them, ten a second: mostly tracks, in several forms."""
    chance = random.Random(seed)  # noqa: S311 - for a test
    for number in range(count):
        at_ns = BEGIN_NS + number * 100 * MILLISECOND_NS
        record = journal_pb2.IntakeRecord(
            precedence=envelope_pb2.PRECEDENCE_IMMEDIATE, system="aegis-1", session="s", received_at=timestamp(at_ns)
        )
        record.label.policy = "KOR"
        record.label.classification = chance.choice(
            [envelope_pb2.CLASSIFICATION_SECRET, envelope_pb2.CLASSIFICATION_RESTRICTED]
        )
        record.label.releasable_to.extend(["JPN", "KOR", "USA"] if chance.random() < 0.9 else ["USA"])
        header = record.content.header
        header.message_id, header.origin, header.mode = b"%d" % number, "KOR", content_pb2.MODE_REAL_WORLD
        header.observed_at.CopyFrom(timestamp(at_ns))
        header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
        _launch(record.content, at_ns) if chance.random() < 0.02 else _track(record.content, at_ns, chance)
        yield record


def _launch(content: content_pb2.Content, at_ns: int) -> None:
    body = content.launch
    body.event_id = b"e"
    body.launch_time.best.CopyFrom(timestamp(at_ns))
    ellipse = body.launch_area.ellipse
    ellipse.centre.lat_deg, ellipse.centre.lon_deg = 40.61, 126.43
    ellipse.semi_major_m = ellipse.semi_minor_m = 3_000.0
    ellipse.probability = 0.95
    body.source.kind = measures_pb2.SENSOR_KIND_SEA_RADAR


def _track(content: content_pb2.Content, at_ns: int, chance: random.Random) -> None:
    body = content.track
    body.event_id, body.object_id = b"e", b"e/1"
    body.state.frame = measures_pb2.FRAME_ECEF_WGS84
    body.state.valid_at.CopyFrom(timestamp(at_ns))
    body.state.position_m[:] = (-2_900_000.0 + chance.random(), 3_700_000.0, 4_200_000.0)
    body.state.velocity_mps[:] = (-1200.0, -900.0, 1500.0)
    if chance.random() < 0.7:
        body.state.covariance[:] = [1.0] * 21
    body.phase = content_pb2.PHASE_BOOST
    body.source.kind = chance.choice(list(measures_pb2.SensorKind.values())[1:])
    body.source.name = "aegis-1"


def write_intake(path: Path, count: int) -> None:
    """Make a gateway's store with so many recorded reports, and close it."""
    asyncio.run(_write(path, count))


async def _write(path: Path, count: int) -> None:
    store = await open_sqlite(path)
    batch: list[NewRecord] = []
    for record in intake_records(count):
        header = record.content.header
        scope = Scope(header.mode, "", record.system, record.session)
        key = intake_key(scope, header.message_id)
        batch.append(NewRecord(INTAKE, key, bytes(32), record.SerializeToString(), lane=header.mode))
        if len(batch) == BATCH:
            await store.append(batch)
            batch.clear()
    await store.append(batch)
    await store.close()


def rows(decisions: int = 300_000) -> list[Row]:
    """Return the CPU seconds that a million decisions take; a decision is one message for one recipient."""
    old = Policy.parse(shipped_policy("KOR"), nation="KOR")
    new = Policy.parse(
        shipped_policy("KOR").replace("10km", "1km").replace("\nversion: ", "\nversion: 9"), nation="KOR"
    )
    messages = -(-decisions // len(old.recipients))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.sqlite"
        write_intake(path, messages)
        window = Window(BEGIN_NS, BEGIN_NS + messages * SECOND_NS)
        with Beside(path) as store:
            before = time.process_time()
            impact = replay(store, old, new, window)
            cpu_s = time.process_time() - before
    made = sum(row.decisions for row in impact.recipients)
    if made < decisions or impact.coverage.unreadable or not impact.fields:
        raise ValueError("not everything was replayed")
    return [Row(f"impact of a draft, a million recorded decisions (of {made})", cpu_s * 1e6 / made, "s", TARGET_S)]
