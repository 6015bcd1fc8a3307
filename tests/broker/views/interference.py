"""What of others' data could show through a recipient's pictures, looked for by all means that we know.

JPN's log is fixed: what random policies release to it of a story. Its pictures are drawn alone; then again while other
recipients' pictures are drawn in the same process from everything, exact or perturbed, with ghosts, with records that
make a View fail, under other clocks, with restarts from checkpoints. Whatever differs in what stands in JPN's log then,
bytes, numbers, order or existence, is a leak. So is a name that two recipients of the same log have in common.

    interference.py            exit code 1 and the first leak; else the digest of what JPN was sent
    interference.py --digest   the digest alone, for another hash seed
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import logging
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker.views.checkpoint import load, save
from vedette.v1 import content_pb2, envelope_pb2, exchange_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

HERE: Final = Path(__file__).parent
SEEDS: Final = (2, 6, 3)  # several nations, predicted impacts, origins that contradict each other
OTHERS: Final = ("KOR", "USA", "AUS")
CLOCKS: Final = ("time", "monotonic", "perf_counter", "process_time", "thread_time")


def _module(name: str, path: Path) -> Any:
    """Return a module of the tests: there are no packages in import mode importlib."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _world() -> Any:
    return _module("fusion_world", HERE.parent / "fusion" / "conftest.py").World


def _hub() -> Any:
    return _module("views_world", HERE / "conftest.py").Hub


def _stories() -> ModuleType:
    found: ModuleType = _module("random_logs", HERE.parent / "fusion" / "random_logs.py")
    return found


def story(seed: int) -> Any:
    """Return a story that is told late."""
    return _stories().Story(_world(), seed, length_s=14.0)


def released(seed: int, arrivals: Any) -> Any:
    """Return what random policies leave of a log: each origin withholds, coarsens or shows."""
    draw = random.Random(seed)  # noqa: S311 - a test's policies
    withheld = {origin: draw.choice((0.0, 0.2, 0.6)) for origin in ("KOR", "USA", "JPN")}
    cells = {origin: draw.choice((0.0, 0.0, 1_000.0, 10_000.0)) for origin in withheld}
    found = []
    for arrival_s, content in arrivals:
        origin = content.header.origin
        if draw.random() < withheld[origin]:
            continue
        is_exact = content.HasField("track") and not content.track.state.HasField("cell")
        shown = _world().coarse(content, cells[origin]) if is_exact and cells[origin] else content
        found.append((arrival_s, shown))
    return found


def secrets(seed: int, arrivals: Any, *, is_perturbed: bool) -> Any:
    """Return what another recipient has: everything, and ghosts; or with every number changed."""
    draw = random.Random(seed)  # noqa: S311 - a test's secrets
    found = []
    for arrival_s, content in arrivals:
        if is_perturbed and draw.random() < 0.2:
            continue
        other = content_pb2.Content()
        other.CopyFrom(content)
        if is_perturbed and other.HasField("track"):
            other.track.state.position_m[0] += draw.uniform(-1e5, 1e5)
        found.append((arrival_s, other))
        if draw.random() < 0.1:
            ghost = content_pb2.Content()
            ghost.CopyFrom(other)
            ghost.header.message_id = hashlib.sha256(b"%d" % len(found)).digest()[:16]
            if ghost.HasField("track"):
                ghost.track.event_id = ghost.track.event_id[::-1]
            found.append((arrival_s, ghost))
    return found


def poison(hub: Any) -> exchange_pb2.Delivery:
    """Return a record that makes a View fail, as no guard would let it pass."""
    content = _world().nation("USA").content(1.0, ("poison", len(hub.log)))
    content.launch.event_id = bytes(16)
    delivery: exchange_pb2.Delivery = hub.sealed("USA", content)
    envelope = envelope_pb2.Envelope.FromString(delivery.envelope)
    content.header.mode = content_pb2.MODE_REAL_WORLD
    envelope.body = content.SerializeToString()
    return exchange_pb2.Delivery(envelope=envelope.SerializeToString())


def drawn_alone(seed: int, recipient: str = "JPN") -> list[bytes]:
    """Return what a recipient's log has when nothing else goes on."""
    _, late = story(seed).orders()
    return _log(_hub()(recipient).feed(released(seed, late)))


def drawn_beside(seed: int, *, is_perturbed: bool, folder: Path | None) -> list[bytes]:
    """Return the same while others' pictures are drawn; with a folder, with restarts from checkpoints."""
    draw = random.Random(seed + (7 if is_perturbed else 0))  # noqa: S311 - who is when
    in_order, late = story(seed).orders()
    ours, others = _hub()("JPN"), [_hub()(code) for code in OTHERS]
    running: list[Iterator[None]] = [
        one.steps(secrets(seed + index, (in_order, late)[index % 2], is_perturbed=is_perturbed))
        for index, one in enumerate(others)
    ]
    for _ in ours.steps(released(seed, late)):
        for other, steps in zip(others, running, strict=True):
            for _ in itertools.islice(steps, draw.randrange(4)):
                if draw.random() < 0.05:
                    other.write(poison(other))
        if folder is not None and draw.random() < 0.1:
            save(folder, ours.picture)
            ours.picture = load(folder, "JPN")
            assert ours.picture.cursor == len(ours.log)
    return _log(ours)


def _log(hub: Any) -> list[bytes]:
    return [delivery.SerializeToString(deterministic=True) for _, delivery in hub.log]


def names(log: list[bytes]) -> set[bytes]:
    """Return every name of our making in a log: of events, of objects, of messages."""
    found: set[bytes] = set()
    for data in log:
        envelope = envelope_pb2.Envelope.FromString(exchange_pb2.Delivery.FromString(data).envelope)
        content = content_pb2.Content.FromString(envelope.body)
        if content.HasField("fused"):
            found |= {content.header.message_id, content.fused.event_id}
            found |= {track.object_id for track in content.fused.tracks}
    return found


class Clocks:
    """Replaces the clocks of the process by ones that begin somewhere and jump at every look."""

    def __init__(self, begins_s: float, jumps_s: float) -> None:
        self._now_s, self._jumps_s = begins_s, jumps_s

    def _look(self) -> float:
        self._now_s += self._jumps_s
        return self._now_s

    def __enter__(self) -> None:
        names_ns = [f"{name}_ns" for name in CLOCKS]
        self._kept = {name: getattr(time, name) for name in (*CLOCKS, *names_ns)}
        for name in CLOCKS:
            setattr(time, name, self._look)
            setattr(time, f"{name}_ns", lambda: round(self._look() * 1e9))

    def __exit__(self, *_: object) -> None:
        for name, clock in self._kept.items():
            setattr(time, name, clock)


def leaks(seed: int, folder: Path) -> Iterator[str]:
    """Yield what shows through in a story; nothing if all is as it should be."""
    zero_s = _world().ZERO_NS / 1e9
    with Clocks(zero_s + 20.0, 0.001):
        alone = drawn_alone(seed)
    if not names(alone):
        yield f"seed {seed}: nothing was drawn"
    later = Clocks(zero_s + 90_000.0, 3.0)
    with later:
        again = drawn_alone(seed)
    if again != alone:
        yield f"seed {seed}: another time, or what was drawn before, shows"
    if names(alone) & names(drawn_alone(seed, "AUS")):
        yield f"seed {seed}: two recipients have a name in common"
    for is_perturbed, where in ((False, None), (True, folder)):
        with later:
            beside = drawn_beside(seed, is_perturbed=is_perturbed, folder=where)
        if beside != alone:
            yield f"seed {seed}: others' data, failures{' or a restart' if where else ''} show"


def digest(seeds: tuple[int, ...] = SEEDS) -> str:
    """Return a digest of all that JPN is sent, for a process with another hash seed."""
    found = hashlib.sha256()
    for seed in seeds:
        for data in drawn_alone(seed):
            found.update(len(data).to_bytes(4, "big") + data)
    return found.hexdigest()


def main() -> None:
    """Look for leaks in the stories of SEEDS."""
    import tempfile  # noqa: PLC0415 - only here

    logging.disable()
    if "--digest" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            found = next((leak for seed in SEEDS for leak in leaks(seed, Path(folder))), None)
        if found is not None:
            print(found)  # noqa: T201 - it is a program
            sys.exit(1)
    print(digest())  # noqa: T201 - as above


if __name__ == "__main__":
    main()
