"""What a gateway stands on, put together as a running one does it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from broker import limits
from broker.gateway.server import _foundation
from broker.gateway.settings import GatewaySettings
from certs.issue import authority

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_gateway_counts_what_its_audit_trail_loses(tmp_path: Path) -> None:
    world = authority(tmp_path / "certs", nations=["KOR", "USA"])
    settings = GatewaySettings(
        nation="KOR",
        listen="localhost:0",
        hub="localhost:0",
        certs_dir=world.home("KOR"),
        members=world.directory / "members.json",
        members_digest=world.digest(),
        data_dir=tmp_path / "data",
        policy=tmp_path / "release.yaml",
    )
    async with AsyncExitStack() as stack:
        base = await _foundation(settings, stack)
        for number in range(3 * limits.AUDIT_QUEUE_MAX):  # faster than the thread takes them
            base.audit.note("flood", number=number)
        lost = base.metrics.registry.get_sample_value("vedette_audit_dropped_total")
    assert lost is not None
    assert lost > 0
