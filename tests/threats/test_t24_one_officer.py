"""T24: one officer, or somebody with one officer's certificate and key, tries to release more through the service."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from broker.demo.world import shipped_policy, shipped_tests
from broker.officer import Certificates, Officer
from broker.orders import StopOrder
from broker.refusal import Reason, Refused
from certs.approval import PAYLOAD_TYPE, PROPOSAL_TYPE
from certs.keyring import load_signer
from certs.signature import sign_document
from tests.threats.parties import gateway, lying_hub
from vedette.v1 import admin_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.demo.world import World

GENEROUS = shipped_policy("KOR").replace("\nversion: 1\n", "\nversion: 2\n")
GENEROUS = GENEROUS.replace("give: {launch_place: exact", "give: {launch_place: 1km", 1)


@asynccontextmanager
async def one_officer(world: World) -> AsyncIterator[Officer]:
    folder = world.authority.home("KOR") / "officers"
    certificates, signer = Certificates.of(folder / "officer-1-tls"), load_signer(folder / "officer-1.key")
    async with (
        lying_hub(world),
        gateway(world, "KOR"),
        Officer.open(world.address("KOR"), certificates, signer) as officer,
    ):
        yield officer


async def refused(work: object) -> str:
    with pytest.raises(Refused) as caught:
        await work  # type: ignore[misc] # a coroutine
    return Reason.Name(caught.value.reason).removeprefix("REASON_")


async def test_one_person_alone_releases_nothing_more(world: World) -> None:
    async with one_officer(world) as officer:
        proposed = await officer.propose(GENEROUS.encode(), shipped_tests("KOR").encode())
        digest = proposed.summary.digest
        shown = await officer.show(digest=digest)
        assert await refused(officer.approve(shown)) == "POLICY_PROPOSER"
        assert await refused(officer.activate(digest)) == "POLICY_UNSIGNED"
        key = load_signer(world.authority.home("KOR") / "officers" / "officer-1.key")
        for kind, expected in ((PROPOSAL_TYPE, "MALFORMED"), (PAYLOAD_TYPE, "POLICY_PROPOSER")):
            request = admin_pb2.ApproveRequest(digest=digest, approval=sign_document(kind, GENEROUS.encode(), key))
            answer = officer._stub.Approve(request)
            with pytest.raises(Exception, match=expected):
                await answer
        assert (await officer.show()).summary.version == 1


async def test_stripped_signatures_come_to_nothing(world: World) -> None:
    """GHSA-g2pf-6v5v-qcc8 of another policy engine: a bundle without its signature was taken."""
    async with one_officer(world) as officer:
        bare = admin_pb2.ProposeRequest(document=GENEROUS.encode(), tests=shipped_tests("KOR").encode())
        with pytest.raises(Exception, match="POLICY_UNSIGNED"):
            await officer._stub.Propose(bare)
        order = StopOrder("KOR", "all", 1, time.time_ns(), "officer-1", "r")
        with pytest.raises(Exception, match="POLICY_UNSIGNED"):
            await officer._stub.Stop(admin_pb2.StopRequest(order=order.to_bytes()))
        assert len((await officer.history()).releases) == 1


async def test_one_person_stops_and_cannot_lift_it_alone(world: World) -> None:
    async with one_officer(world) as officer:
        stopped = await officer.stop("all", "in doubt", now_ns=time.time_ns())
        assert not (await officer.resume(stopped)).lifted
        assert await refused(officer.resume(stopped)) == "POLICY_SIGNED_TWICE"
        assert [each.recipient for each in (await officer.history()).stops] == ["all"]
