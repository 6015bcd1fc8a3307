"""T16: a release policy is changed, or its signatures stripped, by somebody who can write files or has one key."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from broker.demo.world import shipped_policy, signed_release
from broker.gateway.policy import PolicyRefused, signature_path
from certs.approval import PAYLOAD_TYPE, Signed
from certs.keyring import load_signer
from certs.signature import Ed25519Signer, sign_document
from tests.path import reports
from tests.threats.parties import gateway, lying_hub, origin_side, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.demo.world import World
    from tests.threats.parties import Origin

GENEROUS = shipped_policy("KOR").replace("version: 1 ", "version: 2 ").replace("\nversion: 1\n", "\nversion: 2\n")
GENEROUS = GENEROUS.replace("cap: {sensor: withheld, workings: withheld}", "cap: {workings: withheld}")


def write(world: World, signed: Signed | None) -> None:
    path = world.policy_path("KOR")
    path.write_text(GENEROUS, encoding="utf-8")
    if signed is None:
        signature_path(path).unlink()
    else:
        signature_path(path).write_bytes(signed.to_file())


def good(world: World, **how: Any) -> Signed:
    return signed_release(world.authority, "KOR", GENEROUS, **how)


def by(signer: Ed25519Signer, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return sign_document(payload_type, GENEROUS.encode(), signer)


def changed_after_signing(world: World) -> None:
    world.policy_path("KOR").write_text(GENEROUS, encoding="utf-8")


def signatures_stripped(world: World) -> None:
    write(world, None)


def approvals_stripped(world: World) -> None:
    write(world, replace(good(world), approvals=b""))


def proposal_stripped(world: World) -> None:
    write(world, replace(good(world), proposal=b""))


def approved_by_a_stranger(world: World) -> None:
    write(world, replace(good(world), approvals=by(Ed25519Signer.of_seed(secrets.token_bytes(32)))))


def approved_by_another_nations_officers(world: World) -> None:
    write(world, signed_release(world.authority, "USA", GENEROUS))


def approved_by_one(world: World) -> None:
    write(world, good(world, approvers=("officer-2",)))


def approved_in_one_duty_only(world: World) -> None:
    write(world, good(world, approvers=("security-1", "security-2")))


def approved_by_its_proposer(world: World) -> None:
    write(world, good(world, approvers=("officer-1", "security-1")))


def approved_by_one_person_twice(world: World) -> None:
    table = json.loads(good(world, approvers=("officer-2",)).to_file())
    table["approvals"]["signatures"] *= 2
    write(world, Signed.of_file(GENEROUS.encode(), json.dumps(table).encode()))


def signed_with_the_gateways_own_seal_key(world: World) -> None:
    seal_key = load_signer(world.authority.home("KOR") / "keys" / "seal-test.key")
    write(world, replace(good(world), approvals=by(seal_key)))


def a_proposal_passed_off_as_an_approval(world: World) -> None:
    signed = good(world)
    write(world, replace(signed, approvals=signed.proposal))


TRICKS = [
    changed_after_signing,
    signatures_stripped,
    approvals_stripped,
    proposal_stripped,
    approved_by_a_stranger,
    approved_by_another_nations_officers,
    approved_by_one,
    approved_in_one_duty_only,
    approved_by_its_proposer,
    approved_by_one_person_twice,
    signed_with_the_gateways_own_seal_key,
    a_proposal_passed_off_as_an_approval,
]


async def test_a_policy_that_officers_approved_is_taken_over(world: World) -> None:
    """The control of everything below."""
    assert shipped_policy("KOR") != GENEROUS
    async with origin_side(world, "KOR") as origin:
        world.set_policy("KOR", GENEROUS)
        await origin.policy.refresh()
        assert origin.policy.current.version == 2


@pytest.mark.parametrize("trick", TRICKS)
async def test_the_last_good_policy_stays(world: World, trick: Callable[[World], None]) -> None:
    async with origin_side(world, "KOR") as origin:
        before = origin.policy.current
        trick(world)
        await origin.policy.refresh()
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
        await origin.policy.refresh()
        world.set_policy("KOR", shipped_policy("KOR"))
        await origin.policy.refresh()
        assert origin.policy.current.version == 2


async def test_nor_does_it_after_a_restart(world: World) -> None:
    """Whoever can write the files can also wait until the gateway starts again."""
    world.set_policy("KOR", GENEROUS)
    async with lying_hub(world), gateway(world, "KOR") as kor:
        await kor.audits("policy-in-force")
        await kor.remembers()
    world.set_policy("KOR", shipped_policy("KOR"))
    async with lying_hub(world), gateway(world, "KOR") as kor:
        await until(lambda: len(kor.audited("policy-in-force")) == 2, "the second start is in the trail")
        assert [each["version"] for each in kor.audited("policy-in-force")] == [2, 2], "it goes on with the newest"


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
