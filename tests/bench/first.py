"""How long a process takes from exec to its first durable acknowledgement."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from broker import limits
from broker.demo.world import OPERATOR, make_world, running
from broker.gateway import canary
from broker.gateway.ids import Ids
from broker.rpc import CHANNEL_OPTIONS
from certs import tls
from certs.keyring import Keyring
from certs.signature import leaf_hash, seal_batch
from tests.bench.systems import exercise_of_now, label, track
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2, national_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeStub
from vedette.v1.national_pb2_grpc import NationalStub

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from pathlib import Path

    from broker.demo.world import World


def first_acknowledgement_s(folder: Path, what: str) -> float:
    """Return the seconds from starting the hub, or KOR's gateway, to the first durable acknowledgement by it.

    The gateway is one that was killed: what counts is how long a nation's systems are without it.
    """
    world = make_world(folder, nations=("KOR", "USA"), systems=(OPERATOR,), pictures=False)
    if what == "hub":
        try:
            begin = time.monotonic()
            world.hub.start()
            asyncio.run(_submit(world))
            return time.monotonic() - begin
        finally:
            world.close()
    with running(world, nations=("KOR",)):
        exercise = exercise_of_now()
        asyncio.run(_report(world, 0, exercise))
        world.gateways["KOR"].kill()
        begin = time.monotonic()
        world.gateways["KOR"].start()
        asyncio.run(_report(world, 1, exercise))
        return time.monotonic() - begin


async def _report(world: World, number: int, exercise: content_pb2.Exercise) -> None:
    """Report as soon as the gateway takes it; the pauses of `broker.client` would be measured instead."""
    certificates = world.system("KOR", OPERATOR)
    content = track(number, time.time_ns(), exercise)
    request = national_pb2.ReportRequest(content=content, precedence=envelope_pb2.PRECEDENCE_FLASH, label=label())
    while True:
        credentials = tls.channel_credentials(certificates.certificate, certificates.key, certificates.roots)
        async with grpc.aio.secure_channel(world.address("KOR"), credentials, options=CHANNEL_OPTIONS) as channel:
            try:
                response = await NationalStub(channel).ReportOnce(request)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
            else:
                assert response.outcome == national_pb2.REPORT_OUTCOME_ACCEPTED, response.refusal
                return


async def _submit(world: World) -> None:
    """Submit one canary, sealed as the gateway would, as soon as the hub takes it."""
    home = world.authority.home("KOR")
    keyring = Keyring.load(home)
    certificate, key = tls.read_pair(home / "gateway.pem", home / "gateway.key")
    roots = (world.authority.home("HUB") / "root.pem").read_bytes()
    envelope = _canary(keyring).SerializeToString()
    hello = exchange_pb2.SubmitHello(
        schema_version_least=limits.SCHEMA_VERSION_LEAST, schema_version_most=limits.SCHEMA_VERSION
    )
    while True:
        credentials = tls.channel_credentials(certificate, key, roots)
        async with grpc.aio.secure_channel(world.hub_address, credentials, options=CHANNEL_OPTIONS) as channel:
            call = ExchangeStub(channel).Submit()
            try:
                await call.write(exchange_pb2.SubmitRequest(hello=hello))
                await call.write(exchange_pb2.SubmitRequest(envelopes=[envelope]))
                async for response in call:
                    if response.receipts:
                        assert response.receipts[0].outcome == exchange_pb2.SUBMIT_OUTCOME_STORED
                        return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)


def _canary(keyring: Keyring) -> envelope_pb2.Envelope:
    outgoing = canary.canary("KOR", "USA", 1, "bench", Ids(keyring.secret), time.time_ns())
    header = envelope_pb2.RoutingHeader(
        origin="KOR",
        recipient="USA",
        mode=canary.MODE,
        lane=envelope_pb2.LANE_URGENT,
        epoch=time.time_ns() // limits.MILLISECOND_NS,
        sequence=1,
        message_id=outgoing.content.header.message_id,
        precedence=outgoing.precedence,
        label=outgoing.label,
        schema_version=limits.SCHEMA_VERSION,
        body_form=envelope_pb2.BODY_FORM_CLEAR,
    )
    header.released_at.FromNanoseconds(outgoing.released_ns)
    header.stale_after.FromNanoseconds(outgoing.released_ns + 30 * limits.SECOND_NS)
    data, body = header.SerializeToString(), outgoing.content.SerializeToString()
    signers = [keyring.signer(canary.MODE)]
    seals = seal_batch([leaf_hash(data, body)], origin="KOR", recipient="USA", mode=canary.MODE, signers=signers)
    return envelope_pb2.Envelope(header=data, body=body, seal=seals[0])
