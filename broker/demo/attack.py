"""What an adversary would try at the hub, and what the hub says to it.

The adversary of these attempts is strong: it is a member with a good certificate, and it has captured envelopes of
others. Each attempt goes over the wire as any gateway's would; the answer is the hub's own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

from broker import limits
from broker.refusal import Reason, reason_name
from broker.rpc import CHANNEL_OPTIONS
from certs import tls
from certs.keyring import Keyring
from certs.signature import Ed25519Signer, leaf_hash, seal_batch
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2
from vedette.v1.exchange_pb2_grpc import ExchangeStub

import grpc.aio  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.demo.world import World
    from certs.signature import Signer

WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, and how it ended."""

    what: str
    expected: str
    answer: str  # the reason, or STORED

    @property
    def held(self) -> bool:
        """Return whether the hub did what it must."""
        return self.answer == self.expected


async def captured(world: World, origin: str) -> list[bytes]:
    """Return the envelopes of a nation as the hub holds them: what somebody on the way could have captured."""
    async with _channel(world, origin) as channel:
        call = ExchangeStub(channel).ReadBack(exchange_pb2.ReadBackRequest(), timeout=WAIT_S * 3)
        return [bytes(envelope) async for response in call for envelope in response.envelopes]


async def attack(world: World, *, victim: str, attacker: str) -> list[Attempt]:
    """Try a forged, a replayed, a changed, a misaddressed and a confused message; return what the hub said."""
    envelopes = [envelope_pb2.Envelope.FromString(data) for data in await captured(world, victim)]
    captive = next(envelope for envelope in envelopes if _is_exercise_for(envelope, attacker))
    header = _header(captive)
    changed = _copy(captive)
    changed.body = captive.body[:-1] + bytes([captive.body[-1] ^ 1])
    readdressed = _copy(captive)
    moved = _header(captive)
    moved.recipient = victim
    readdressed.header = moved.SerializeToString()
    stranger = Ed25519Signer.of_seed(bytes(SigningKey.generate()))
    forged = _resealed(captive, header, [stranger])
    to_hub = _header(captive)
    to_hub.recipient, to_hub.message_id = "HUB", bytes(limits.ID_BYTES)
    keyring = Keyring.load(world.authority.home(victim))
    misaddressed = _resealed(captive, to_hub, [keyring.signer(header.mode)])
    real = _header(captive)
    real.mode = content_pb2.MODE_REAL_WORLD
    real.ClearField("exercise")
    real.message_id = bytes([1]) * limits.ID_BYTES
    confused = _resealed(captive, real, [keyring.signer(header.mode)])
    tries = [
        (victim, f"{victim}'s message forged with a stranger's key", forged, Reason.REASON_UNKNOWN_KEY),
        (victim, "one bit of a sealed message changed", changed, Reason.REASON_BAD_SEAL),
        (victim, f"a message to {attacker} addressed anew", readdressed, Reason.REASON_BAD_SEAL),
        (attacker, f"{victim}'s captured message sent again by {attacker}", captive, Reason.REASON_WRONG_ORIGIN),
        (victim, "a message addressed to the hub", misaddressed, Reason.REASON_MISADDRESSED),
        (victim, "an exercise key used for a real warning", confused, Reason.REASON_UNKNOWN_KEY),
    ]
    return [
        Attempt(what, reason_name(expected), await _submit(world, member, envelope))
        for member, what, envelope, expected in tries
    ]


def _is_exercise_for(envelope: envelope_pb2.Envelope, recipient: str) -> bool:
    header = _header(envelope)
    return header.recipient == recipient and header.mode == content_pb2.MODE_EXERCISE


async def _submit(world: World, member: str, envelope: envelope_pb2.Envelope) -> str:
    hello = exchange_pb2.SubmitHello(
        schema_version_least=limits.SCHEMA_VERSION_LEAST, schema_version_most=limits.SCHEMA_VERSION
    )
    async with asyncio.timeout(WAIT_S), _channel(world, member) as channel:
        call = ExchangeStub(channel).Submit()
        await call.write(exchange_pb2.SubmitRequest(hello=hello))
        await call.write(exchange_pb2.SubmitRequest(envelopes=[envelope.SerializeToString()]))
        async for response in call:
            for receipt in response.receipts:
                call.cancel()
                if receipt.outcome == exchange_pb2.SUBMIT_OUTCOME_REFUSED:
                    return reason_name(receipt.refusal.reason)
                return exchange_pb2.SubmitOutcome.Name(receipt.outcome).removeprefix("SUBMIT_OUTCOME_")
    return "NO ANSWER"


def _channel(world: World, member: str) -> grpc.aio.Channel:
    home = world.authority.home(member)
    certificate, key = tls.read_pair(home / "gateway.pem", home / "gateway.key")
    roots = (world.authority.home("HUB") / "root.pem").read_bytes()
    credentials = tls.channel_credentials(certificate, key, roots)
    return grpc.aio.secure_channel(world.hub_address, credentials, options=CHANNEL_OPTIONS)


def _header(envelope: envelope_pb2.Envelope) -> envelope_pb2.RoutingHeader:
    return envelope_pb2.RoutingHeader.FromString(envelope.header)


def _copy(envelope: envelope_pb2.Envelope) -> envelope_pb2.Envelope:
    copy = envelope_pb2.Envelope()
    copy.CopyFrom(envelope)
    return copy


def _resealed(
    envelope: envelope_pb2.Envelope, header: envelope_pb2.RoutingHeader, signers: Sequence[Signer]
) -> envelope_pb2.Envelope:
    """Return the envelope with another header, sealed by somebody."""
    made = _copy(envelope)
    made.header = header.SerializeToString()
    leaf = leaf_hash(made.header, made.body)
    seals = seal_batch([leaf], origin=header.origin, recipient=header.recipient, mode=header.mode, signers=signers)
    made.seal.CopyFrom(seals[0])
    return made
