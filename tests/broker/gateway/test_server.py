"""What a gateway stands on, put together as a running one does it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.gateway.server import _foundation
from broker.gateway.settings import GatewaySettings
from certs.issue import Authority, authority

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Authority:
    return authority(tmp_path / "certs", nations=["KOR", "USA"])


@pytest.fixture
def settings(world: Authority, tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(
        nation="KOR",
        listen="localhost:0",
        hub="localhost:0",
        certs_dir=world.home("KOR"),
        members=world.directory / "members.json",
        members_digest=world.digest(),
        data_dir=tmp_path / "data",
        policy=tmp_path / "release.yaml",
    )


async def test_a_gateway_counts_what_its_audit_trail_loses(settings: GatewaySettings) -> None:
    async with AsyncExitStack() as stack:
        base = await _foundation(settings, stack)
        for number in range(3 * limits.AUDIT_QUEUE_MAX):  # faster than the thread takes them
            base.audit.note("flood", number=number)
        lost = base.metrics.registry.get_sample_value("vedette_audit_dropped_total")
    assert lost is not None
    assert lost > 0


async def test_a_gateway_shows_when_its_members_document_expires_and_the_next_ones_end(
    settings: GatewaySettings, world: Authority
) -> None:
    async with AsyncExitStack() as stack:
        base = await _foundation(settings, stack)

        def shown_ns() -> int:
            seconds = base.metrics.registry.get_sample_value("vedette_members_expiry_timestamp_seconds")
            return round((seconds or 0.0) * limits.SECOND_NS)

        first_ns = base.members.current.expires_ns
        assert shown_ns() == pytest.approx(first_ns, abs=limits.SECOND_NS)
        world.revise(lambda members: replace(members, expires_ns=members.expires_ns + 3600 * limits.SECOND_NS))
        base.members.look()
        assert base.members.current.expires_ns > first_ns
        assert shown_ns() == pytest.approx(base.members.current.expires_ns, abs=limits.SECOND_NS)
