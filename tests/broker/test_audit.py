"""The audit trail: nobody waits for it, and nothing in it can be changed unseen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import stat
import time
from typing import TYPE_CHECKING

import pytest

from broker import limits
from broker.audit import NO_HASH, AuditTrail, Broken, Verified, verify
from broker.clock import ManualClock
from broker.stages import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


async def trail_of(path: Path, count: int, *, rotate_bytes: int | None = None, first: int = 0) -> None:
    trail = AuditTrail.open(path, ManualClock(), rotate_bytes=rotate_bytes)
    for number in range(first, first + count):
        trail.note("hub.refused", reason="WRONG_ORIGIN", peer="USA", number=number)
        if rotate_bytes is not None:
            await trail.flush()
    await trail.close()


def entries(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_what_was_noted_is_there_and_the_chain_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await trail_of(path, 100)
    found = entries(path)
    assert [entry["seq"] for entry in found] == list(range(1, 101))
    assert found[0]["at"] == "2023-11-14T22:13:20.000000000Z"
    assert found[0]["fields"] == {"reason": "WRONG_ORIGIN", "peer": "USA", "number": 0}
    assert found[0]["prev"] == NO_HASH
    assert verify(path) == Verified(1, 100, str(found[-1]["hash"]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for run in range(3):
        await trail_of(path, 10, first=10 * run)
    verified = verify(path)
    assert isinstance(verified, Verified)
    assert (verified.first, verified.seq) == (1, 30)


async def test_the_chain_goes_on_over_files_that_were_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await trail_of(path, 10, rotate_bytes=700)
    await trail_of(path, 10, rotate_bytes=700, first=10)
    aside = sorted(tmp_path.glob("audit.jsonl.*"))  # noqa: ASYNC240
    assert len(aside) > 3
    verified = verify(path)
    assert isinstance(verified, Verified)
    assert (verified.first, verified.seq) == (1, 20)
    aside[0].unlink()  # archived elsewhere: it shows
    later = verify(path)
    assert isinstance(later, Verified)
    assert later.first > 1
    aside[2].unlink()
    assert isinstance(verify(path), Broken)


@pytest.mark.parametrize("line", [0, 4, 9])
@pytest.mark.parametrize("how", ["flip", "drop", "swap", "repeat", "rewrite"])
async def test_no_line_can_be_changed_dropped_or_moved(tmp_path: Path, how: str, line: int) -> None:
    path = tmp_path / "audit.jsonl"
    await trail_of(path, 11)
    lines = path.read_bytes().splitlines(keepends=True)
    match how:
        case "flip":
            lines[line] = lines[line].replace(b"WRONG", b"wRONG")
        case "drop":
            del lines[line]
        case "swap":
            lines[line], lines[line + 1] = lines[line + 1], lines[line]
        case "repeat":
            lines.insert(line, lines[line])
        case "rewrite":  # whole in itself, with a hash of its own, and still not what the next line names
            other = tmp_path / "other.jsonl"
            await trail_of(other, 11, first=500)
            lines[line] = other.read_bytes().splitlines(keepends=True)[line]
        case _:
            pytest.fail(how)
    path.write_bytes(b"".join(lines))
    broken = verify(path)
    if how == "drop" and line == 0:
        # A trail may begin later when its older files are archived; that it does is said.
        assert isinstance(broken, Verified)
        assert broken.first == 2
    else:
        assert isinstance(broken, Broken)
        assert line + 1 <= broken.line <= line + 2


async def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await trail_of(path, 4)
    whole = path.read_bytes()
    for bit in range(0, (len(whole) - 1) * 8, 19):  # but for the very last line end
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert isinstance(verify(path), Broken), f"bit {bit}"


@pytest.mark.parametrize("cut", [1, 2, 40, 150, 299])
async def test_a_torn_last_line_is_marked_and_kept(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "audit.jsonl"
    await trail_of(path, 5)
    torn = path.read_bytes()[:-cut]
    path.write_bytes(torn)
    whole = torn.count(b"\n")
    assert isinstance(verify(path), Broken)
    await trail_of(path, 2, first=5)
    assert path.read_bytes().startswith(torn)
    verified = verify(path)
    assert isinstance(verified, Verified)
    marks = [entry for entry in path.read_bytes().splitlines() if b'"event":"audit.torn"' in entry]
    assert len(marks) == (cut != 1)  # only the line end was missing: that entry is whole
    assert verified.seq == 7 if cut == 1 else whole + 3


async def test_a_file_torn_at_its_first_line_is_repaired_too(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"seq":1,"at"')
    await trail_of(path, 1)
    assert verify(path) == Verified(1, 2, str(json.loads(path.read_bytes().splitlines()[-1])["hash"]))


async def test_zeros_left_by_a_power_loss_are_marked_too(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await trail_of(path, 3)
    with path.open("ab") as file:
        file.write(bytes(200_000) + b"\n" + bytes(10) + b"\n")
    await trail_of(path, 1)
    verified = verify(path)
    assert isinstance(verified, Verified)
    assert verified.seq == 5


async def test_what_does_not_fit_is_counted_in_the_trail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AUDIT_SYNC_S", 60.0)  # its thread gathers until somebody is in a hurry: on closing
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail.open(path, ManualClock())
    begun = time.perf_counter()
    for number in range(limits.AUDIT_QUEUE_MAX + 5_000):
        trail.note("flood", number=number)
    took_s = time.perf_counter() - begun
    await trail.close()
    found = entries(path)
    lost = [entry["fields"] for entry in found if entry["event"] == "audit.overflow"]
    kept = sum(entry["event"] == "flood" for entry in found)
    assert lost
    assert kept + sum(fields["lost"] for fields in lost if isinstance(fields, dict)) == limits.AUDIT_QUEUE_MAX + 5_000
    assert isinstance(verify(path), Verified)
    assert took_s < 2


async def test_fields_that_cannot_be_written_do_not_cost_the_entry(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail.open(path, ManualClock())
    trail.note("infinite", value=float("inf"))
    trail.note("a circle", value=(circle := [1]), twice=circle.append(circle))  # type: ignore[arg-type,func-returns-value]
    trail.note("long", value="x" * limits.AUDIT_LINE_BYTES_MAX)
    trail.note("any language", value="경보")
    await trail.close()
    trail.note("too late")
    assert [entry["event"] for entry in entries(path)] == ["infinite", "a circle", "long", "any language"]
    assert entries(path)[3]["fields"] == {"value": "경보"}
    assert isinstance(verify(path), Verified)


async def test_two_processes_cannot_write_one_trail(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail.open(path, ManualClock())
    with pytest.raises(BlockingIOError):
        AuditTrail.open(path, ManualClock())
    await trail.close()
    await trail_of(path, 1)


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let files not grow beyond a little more than this one: the kernel then answers as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))  # what still fits is written
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


async def test_a_disk_that_refuses_is_tried_again_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    monkeypatch.setattr("broker.audit.RETRY_S", 0.01)
    trail = AuditTrail.open(path, ManualClock())
    trail.note("before")
    await trail.flush()
    with full_disk(path):
        for number in range(5):
            trail.note("during", number=number)
        await asyncio.sleep(3 * limits.AUDIT_SYNC_S)
        assert len(entries(path)) == 1
    await trail.close()
    assert [entry["event"] for entry in entries(path)] == ["before", *["during"] * 5]
    assert isinstance(verify(path), Verified)


async def test_what_a_full_disk_costs_the_trail_is_counted_while_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    monkeypatch.setattr("broker.audit.RETRY_S", 0.01)
    metrics = Metrics()
    trail = AuditTrail.open(path, ManualClock(), on_lost=metrics.audit_dropped.inc)
    trail.note("before")
    await trail.flush()
    with full_disk(path):
        trail.note("the thread waits for the disk with this one")
        await asyncio.sleep(3 * limits.AUDIT_SYNC_S)
        for number in range(limits.AUDIT_QUEUE_MAX):
            trail.note("waits", number=number)
        assert dropped(metrics) == 0
        for number in range(7):
            trail.note("finds no room", number=number)
        assert dropped(metrics) == 7, "said at once: the trail itself cannot say it yet"
    await trail.close()
    assert [entry["fields"] for entry in entries(path) if entry["event"] == "audit.overflow"] == [{"lost": 7}]
    assert isinstance(verify(path), Verified)


def dropped(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("vedette_audit_dropped_total")
