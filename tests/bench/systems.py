"""The two ends of every measurement, each a process of its own: a system that reports, and one that watches.

    python -m tests.bench.systems report ADDRESS CERT RATE COUNT     national system -> gateway
    python -m tests.bench.systems watch ADDRESS CERT COUNT           gateway -> national system
    python -m tests.bench.systems push ADDRESS FOLDER RATE COUNT     the same end for the bare relay
    python -m tests.bench.systems pull ADDRESS FOLDER COUNT

The watching end prints `ready` when it is connected, and at last one line of JSON: each latency in seconds. The time of
sending travels in the message (observed_at; the relay's messages have the same content and size), and both ends read
the same clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from broker.client import Certificates, Client
from broker.clock import nanoseconds, timestamp
from broker.geodesy import ecef
from broker.limits import SECOND_NS
from tests.bench.relay import open_end
from vedette.v1 import content_pb2, envelope_pb2, measures_pb2

QUIET_S = 15.0  # without a message for so long, what is missing will not come
STARTED_NS = time.time_ns()


def track(number: int, now_ns: int, exercise: content_pb2.Exercise) -> content_pb2.Content:
    """Return a real track update: a state vector with its covariance, from a ship's radar."""
    content = content_pb2.Content()
    content.header.message_id = f"{STARTED_NS}-{number}".encode()
    content.header.observed_at.CopyFrom(timestamp(now_ns))
    content.header.lineage.kind = content_pb2.LINEAGE_KIND_RAW
    content.header.exercise.CopyFrom(exercise)
    body = content.track
    body.event_id = b"bench"
    body.object_id = b"bench/1"
    state = body.state
    state.frame = measures_pb2.FRAME_ECEF_WGS84
    state.valid_at.CopyFrom(timestamp(now_ns))
    seconds = number / 200.0
    state.position_m[:] = ecef(40.0, 128.0 + seconds * 1e-3, 150_000.0 + seconds)
    state.velocity_mps[:] = (-60.0, -60.0, 1.0)
    state.covariance[:] = [
        (200.0**2 if row < 3 else 20.0**2) if row == column else 0.0 for row in range(6) for column in range(row, 6)
    ]
    body.phase = content_pb2.PHASE_COAST
    body.source.kind = measures_pb2.SENSOR_KIND_SEA_RADAR
    body.source.name = "aegis-1"
    return content


def label() -> envelope_pb2.SecurityLabel:
    """Return a label that lets the USA have it."""
    return envelope_pb2.SecurityLabel(
        policy="KOR", classification=envelope_pb2.CLASSIFICATION_SECRET, releasable_to=["JPN", "KOR", "USA"]
    )


def exercise_of_now() -> content_pb2.Exercise:
    """Return an exercise at life's own pace."""
    zero = timestamp(time.time_ns())
    return content_pb2.Exercise(
        exercise_id=f"bench.{STARTED_NS // 1_000_000}", wall_zero=zero, exercise_zero=zero, rate=1.0
    )


async def report(address: str, cert: str, rate: float, count: int) -> None:
    """Report tracks at a steady rate; a report does not wait for the answer to the one before it."""
    exercise = exercise_of_now()
    async with Client.open(address, Certificates.of(cert)) as client, client.reporter(deadline_s=QUIET_S) as reporter:
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                content = track(number, time.time_ns(), exercise)
                group.create_task(reporter.report(content, precedence=envelope_pb2.PRECEDENCE_IMMEDIATE, label=label()))


async def watch(address: str, cert: str, count: int) -> None:
    """Watch until all has come, and print the latencies."""
    latencies_s: list[float] = []
    seen: set[bytes] = set()
    try:
        async with Client.open(address, Certificates.of(cert)) as client:
            watching = aiter(client.watch(live_only=True))
            while len(seen) < count:
                response = await asyncio.wait_for(anext(watching), QUIET_S * 2)
                now_ns = time.time_ns()
                if response.WhichOneof("event") == "link" and response.link.hub_connected:
                    print("ready", flush=True)
                elif response.WhichOneof("event") == "warning" and response.warning.header.origin == "KOR":
                    content = response.warning.content
                    seen.add(content.header.message_id)
                    latencies_s.append((now_ns - nanoseconds(content.header.observed_at)) / SECOND_NS)
    except TimeoutError:
        pass  # what is missing is counted as lost
    print(json.dumps(latencies_s), flush=True)


async def push(address: str, folder: str, rate: float, count: int) -> None:
    """Send the same contents into the relay."""
    exercise = exercise_of_now()
    async with open_end(address, Path(folder)) as (call, read):
        begin = time.monotonic()
        answers = asyncio.create_task(drain(read, count))
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            await call.write(track(number, time.time_ns(), exercise).SerializeToString())
        await asyncio.wait_for(answers, QUIET_S)


async def drain(read: object, count: int) -> None:
    """Take the relay's acknowledgements."""
    for _ in range(count):
        await read()  # type: ignore[operator] # a bound method of the call


async def pull(address: str, folder: str, count: int) -> None:
    """Take what the relay gives, and print the latencies."""
    latencies_s: list[float] = []
    try:
        async with open_end(address, Path(folder), pulls=True) as (_, read):
            print("ready", flush=True)
            while len(latencies_s) < count:
                data = await asyncio.wait_for(read(), QUIET_S * 2)
                content = content_pb2.Content.FromString(data)
                latencies_s.append((time.time_ns() - nanoseconds(content.header.observed_at)) / SECOND_NS)
    except TimeoutError:
        pass  # as above
    print(json.dumps(latencies_s), flush=True)


def main(arguments: list[str]) -> None:
    """Be one of the four ends."""
    kind, address, place, *numbers = arguments
    match kind:
        case "report":
            asyncio.run(report(address, place, float(numbers[0]), int(numbers[1])))
        case "watch":
            asyncio.run(watch(address, place, int(numbers[0])))
        case "push":
            asyncio.run(push(address, place, float(numbers[0]), int(numbers[1])))
        case "pull":
            asyncio.run(pull(address, place, int(numbers[0])))
        case _:
            raise SystemExit(f"no such end: {kind}")


if __name__ == "__main__":
    main(sys.argv[1:])
