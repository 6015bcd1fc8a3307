"""T16: a release policy is changed, or its signature stripped, by somebody who can write the files and has no key."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from broker.demo.world import OFFICER, shipped_policy
from broker.gateway.policy import PAYLOAD_TYPE, PolicyRefused, signature_path
from certs.keyring import load_signer
from certs.signature import Ed25519Signer, sign_document
from tests.path import reports
from tests.threats.parties import gateway, lying_hub, origin_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.demo.world import World
    from tests.threats.parties import Origin

GENEROUS = shipped_policy("KOR").replace("version: 1 ", "version: 2 ").replace("\nversion: 1\n", "\nversion: 2\n")
GENEROUS = GENEROUS.replace("cap: {sensor: withheld, workings: withheld}", "cap: {workings: withheld}")


def write(world: World, text: str, signature: bytes | None) -> None:
    path = world.policy_path("KOR")
    path.write_text(text, encoding="utf-8")
    if signature is None:
        signature_path(path).unlink()
    else:
        signature_path(path).write_bytes(signature)


def officer_of(world: World, nation: str) -> Ed25519Signer:
    return load_signer(world.authority.home(nation) / "officers" / f"{OFFICER}.key")


def changed_after_signing(world: World) -> None:
    write(world, GENEROUS, signature_path(world.policy_path("KOR")).read_bytes())


def signature_stripped(world: World) -> None:
    write(world, GENEROUS, None)


def signed_by_a_stranger(world: World) -> None:
    stranger = Ed25519Signer.of_seed(secrets.token_bytes(32))
    write(world, GENEROUS, sign_document(PAYLOAD_TYPE, GENEROUS.encode(), stranger))


def signed_by_another_nations_officer(world: World) -> None:
    write(world, GENEROUS, sign_document(PAYLOAD_TYPE, GENEROUS.encode(), officer_of(world, "USA")))


def signed_with_the_gateways_own_seal_key(world: World) -> None:
    signer = load_signer(world.authority.home("KOR") / "keys" / "seal-test.key")
    write(world, GENEROUS, sign_document(PAYLOAD_TYPE, GENEROUS.encode(), signer))


def signed_as_something_else(world: World) -> None:
    signature = sign_document("application/vnd.vedette.members+json", GENEROUS.encode(), officer_of(world, "KOR"))
    write(world, GENEROUS, signature)


TRICKS = [
    changed_after_signing,
    signature_stripped,
    signed_by_a_stranger,
    signed_by_another_nations_officer,
    signed_with_the_gateways_own_seal_key,
    signed_as_something_else,
]


async def test_a_policy_that_an_officer_signed_is_taken_over(world: World) -> None:
    """The control of everything below."""
    assert shipped_policy("KOR") != GENEROUS
    async with origin_side(world, "KOR") as origin:
        world.set_policy("KOR", GENEROUS)
        origin.policy.reload()
        assert origin.policy.current.version == 2


@pytest.mark.parametrize("trick", TRICKS)
async def test_the_last_good_policy_stays(world: World, trick: Callable[[World], None]) -> None:
    async with origin_side(world, "KOR") as origin:
        before = origin.policy.current
        trick(world)
        origin.policy.reload()
        assert origin.policy.current is before
        assert origin.policy.metrics.registry.get_sample_value("vedette_policy_rejected_total") == 1.0


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_gateway_does_not_start_with_it(world: World, trick: Callable[[World], None]) -> None:
    trick(world)
    with pytest.raises(PolicyRefused):
        async with origin_side(world, "KOR"):
            pass


async def test_an_older_signed_policy_does_not_come_back(world: World) -> None:
    async with origin_side(world, "KOR") as origin:
        world.set_policy("KOR", GENEROUS)
        origin.policy.reload()
        world.set_policy("KOR", shipped_policy("KOR"))
        origin.policy.reload()
        assert origin.policy.current.version == 2


async def test_nor_does_it_after_a_restart(world: World) -> None:
    """Whoever can write the files can also wait until the gateway starts again."""
    world.set_policy("KOR", GENEROUS)
    async with lying_hub(world), gateway(world, "KOR") as kor:
        await kor.audits("policy-in-force")
        await kor.remembers()
    world.set_policy("KOR", shipped_policy("KOR"))
    with pytest.raises(PolicyRefused, match="older"):
        async with lying_hub(world), gateway(world, "KOR"):
            pass


async def test_past_its_expiry_nothing_is_released(world: World, origin: Origin) -> None:
    await origin.report(reports.launch(b"m-1", b"e-1", base=None))
    assert len(await origin.sealed_to("USA")) == 1, "the control"
    origin.clock.now_ns = int(datetime(2028, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    launch = reports.launch(b"m-2", b"e-2", base=None, at_ns=origin.clock.now_ns)
    await origin.report(launch)
    for recipient in ("USA", "JPN", "KOR"):
        assert len(await origin.sealed_to(recipient)) == 1
    await origin.policy.audit.flush()
    assert "policy-expired" in (world.folder / "data" / "KOR.jsonl").read_text()
