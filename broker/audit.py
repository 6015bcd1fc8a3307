"""The audit trail: what was decided, refused, sent and changed. Each line vouches for the one before it.

A line is JSON: `{"seq":…,"at":…,"event":…,"fields":{…},"prev":"<hash of the line before>","hash":"<of this one>"}`.
The hash is SHA-256 over the bytes of the line as written, without its `hash` member: it is checked on bytes and never
on something that was parsed and written again. So no line can be changed, dropped or moved without breaking the chain.
Whoever can write the whole file can write another chain; and cutting off the newest lines leaves a shorter, whole
chain. Against both, `Verified.seq` and `.hash` are compared with what was noted elsewhere.

* `note` never blocks and never fails: it puts an entry into a bounded queue. What does not fit is counted, and the
  count is itself an entry: `audit.overflow`.
* One thread writes, with one fsync for all that gathered in AUDIT_SYNC_S. A full disk is tried again and again; until
  then entries wait in the queue.
* A line torn by a crash stays where it is; the next one is `audit.torn` and names its length and hash. Such a line
  is accepted by `verify`, any other that does not parse is not.
* With `rotate_bytes` the file is put aside as `<name>.<seq of its last entry>`; the chain goes on in the next.
* Fields hold no content of messages, no positions and no keys: ids, reasons, versions, counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import logging
import math
import os
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from broker import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from broker.clock import Clock

log = logging.getLogger(__name__)

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

HASH_CHARS = 64
NO_HASH = "0" * HASH_CHARS
SUFFIX_BYTES = len(b',"hash":""}\n') + HASH_CHARS
RETRY_S = 1.0
TORN = "audit.torn"
OVERFLOW = "audit.overflow"


@dataclass(frozen=True, slots=True)
class Verified:
    """The chain is whole from `first` to `seq`. A trail whose older files were archived begins later than 1."""

    first: int
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The chain breaks at a line, counted from 1 over all files of the trail, the oldest first."""

    line: int
    why: str


class AuditTrail:
    """One trail, open for writing by this process alone."""

    def __init__(
        self, path: Path, clock: Clock, rotate_bytes: int | None = None, on_lost: Callable[[], None] | None = None
    ) -> None:
        """See `open`."""
        self._on_lost = on_lost
        self._path = path
        self._clock = clock
        self._rotate_bytes = rotate_bytes
        self._queue: queue.SimpleQueue[_Entry | threading.Event | None] = queue.SimpleQueue()  # None: close
        self._lost = 0
        self._lost_lock = threading.Lock()
        self._hurry = threading.Event()  # somebody waits: do not gather
        self._closed = False
        self._file = _open_file(path)
        try:
            end = _end_of(path)
            if not end.line_ended:
                os.write(self._file, b"\n")
        except OSError:
            os.close(self._file)
            raise
        self._size, self._seq, self._hash = path.stat().st_size, end.seq, end.hash
        if end.torn:
            self.note(TORN, bytes=len(end.torn), sha256=hashlib.sha256(end.torn).hexdigest())
        self._thread = threading.Thread(target=self._work, name=f"audit-{path.name}", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        path: Path,
        clock: Clock,
        *,
        rotate_bytes: int | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> AuditTrail:
        """Continue the trail at a path, or begin one. Raises OSError; BlockingIOError when another process has it.

        `on_lost` is told of every entry that found no room, at once: the trail itself can say so only when its disk
        takes something again.
        """
        return cls(path, clock, rotate_bytes, on_lost)

    def note(self, event: str, **fields: JsonValue) -> None:
        """Put an entry into the trail, soon. Takes about a microsecond. What is in `fields` must not change later."""
        if self._closed:
            log.error("audit.note_after_close event=%s", event)
        elif self._queue.qsize() >= limits.AUDIT_QUEUE_MAX:
            with self._lost_lock:
                self._lost += 1
            if self._on_lost is not None:
                self._on_lost()
        else:
            self._queue.put(_Entry(self._clock.wall_ns(), event, fields))

    async def flush(self) -> None:
        """Wait until everything noted so far is durable: for what must not happen before it is on record."""
        reached = threading.Event()
        self._queue.put(reached)
        self._hurry.set()
        await asyncio.to_thread(reached.wait, limits.DRAIN_S)

    async def close(self) -> None:
        """Write what waits, for at most DRAIN_S if the disk refuses it, and close."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._hurry.set()
        await asyncio.to_thread(self._thread.join)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        last = False
        while not last:
            entries, waiting, last = self._gather()
            written = self._write(entries)
            if written and self._rotate_bytes is not None and self._size >= self._rotate_bytes:
                self._rotate()
            for reached in waiting:
                reached.set()
        os.close(self._file)

    def _gather(self) -> tuple[list[_Entry], list[threading.Event], bool]:
        """Return what waits: entries, who wants to know when they are durable, and whether it is the end."""
        entries: list[_Entry] = []
        waiting: list[threading.Event] = []
        job = self._queue.get()
        self._hurry.wait(limits.AUDIT_SYNC_S)
        self._hurry.clear()
        while job is not None:
            if isinstance(job, _Entry):
                entries.append(job)
            else:
                waiting.append(job)
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
        with self._lost_lock:
            lost, self._lost = self._lost, 0
        if lost:
            entries.append(_Entry(self._clock.wall_ns(), OVERFLOW, {"lost": lost}))
        return entries, waiting, job is None

    def _write(self, entries: Sequence[_Entry]) -> bool:
        """Append entries and sync. Tries until the disk takes them; gives up only some time after being closed."""
        seq, previous, lines = self._seq, self._hash, []
        for entry in entries:
            seq += 1
            line, previous = _line(seq, entry, previous)
            lines.append(line + b"\n")
        data = b"".join(lines)
        give_up = math.inf
        while data:
            try:
                _write_all(self._file, data)
                os.fsync(self._file)
                break
            except OSError as error:
                log.warning("audit.write_failed path=%s error=%s", self._path.name, error.strerror)
                if self._closed:
                    give_up = min(give_up, time.monotonic() + limits.DRAIN_S)
                if time.monotonic() > give_up:
                    return False
                # What was written of it is taken back, so that it can be written whole.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                time.sleep(RETRY_S)
        self._seq, self._hash, self._size = seq, previous, self._size + len(data)
        return True

    def _rotate(self) -> None:
        """Put the file aside under the number of its last entry, and go on in a new one."""
        try:
            self._path.rename(self._path.with_name(f"{self._path.name}.{self._seq:012}"))
            fresh = _open_file(self._path)
        except OSError as error:  # go on in the file that is open
            log.warning("audit.rotate_failed path=%s error=%s", self._path.name, error.strerror)
            return
        os.close(self._file)
        self._file, self._size = fresh, 0


def verify(path: Path) -> Verified | Broken:
    """Check a trail, with the files that were put aside, from its first line to its last. Raises OSError.

    Says Broken at the first line that was changed, dropped, moved or torn without a mark.
    """
    first = seq = number = 0
    previous: str | None = None
    torn: list[bytes] = []
    for line in _lines([*_put_aside(path), path]):
        number += 1
        parsed = _parse(line)
        if parsed is None:
            torn.append(line)
            continue
        if torn and not _names(parsed, b"".join(torn)):
            return Broken(number - len(torn), "not a whole entry, and the next one does not say that it was torn")
        torn.clear()
        if previous is None:
            first, seq, previous = parsed.seq, parsed.seq - 1, parsed.previous
            if first == 1 and previous != NO_HASH:
                return Broken(number, "the first entry names one before it")
        if parsed.previous != previous or parsed.seq != seq + 1:
            return Broken(number, f"entry {parsed.seq} does not follow entry {seq}")
        seq, previous = parsed.seq, parsed.hash
    if torn:
        return Broken(number - len(torn) + 1, "not a whole entry; torn by a crash if it is the last, or changed")
    return Verified(first, seq, previous or NO_HASH)


# --- lines ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was noted and waits to be written."""

    at_ns: int
    event: str
    fields: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A line whose own hash is right."""

    seq: int
    event: str
    fields: dict[str, JsonValue]
    previous: str
    hash: str


def _line(seq: int, entry: _Entry, previous: str) -> tuple[bytes, str]:
    """Return the line of an entry, without its end, and its hash."""
    seconds, rest_ns = divmod(entry.at_ns, limits.SECOND_NS)
    at = f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09}Z"
    body = {"seq": seq, "at": at, "event": entry.event, "fields": entry.fields, "prev": previous}
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:  # an entry is never lost because of what somebody put into it
        text = json.dumps(body | {"fields": {"unwritable": str(error)}}, separators=(",", ":"))
    if len(text) > limits.AUDIT_LINE_BYTES_MAX:
        short = {"event": entry.event[: limits.DETAIL_CHARS_MAX], "fields": {"too_long_bytes": len(text)}}
        text = json.dumps(body | short, separators=(",", ":"))
    hashed = text.encode()[:-1]
    made = hashlib.sha256(hashed).hexdigest()
    return hashed + f',"hash":"{made}"}}'.encode(), made


def _parse(line: bytes) -> _Parsed | None:
    """Return what stands in a line, or None if it is not one of ours, whole."""
    hashed, suffix = line[:-SUFFIX_BYTES], line[-SUFFIX_BYTES:].rstrip(b"\n")
    made = hashlib.sha256(hashed).hexdigest()
    if suffix != f',"hash":"{made}"}}'.encode():
        return None
    body = json.loads(hashed + b"}")
    return _Parsed(body["seq"], body["event"], body["fields"], body["prev"], made)


def _names(parsed: _Parsed, torn: bytes) -> bool:
    """Say whether an entry is the mark of these torn bytes. The line end behind them was written with the mark."""
    torn = torn.removesuffix(b"\n")
    said = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
    return parsed.event == TORN and parsed.fields == said


# --- files ------------------------------------------------------------------------------------------------------------


def _open_file(path: Path) -> int:
    """Return a descriptor that appends to the file, readable by its owner only and locked against other processes."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        os.close(file)
        raise
    return file


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _put_aside(path: Path) -> list[Path]:
    """Return the files of a trail that were put aside, the oldest first."""
    found = [other for other in path.parent.glob(f"{path.name}.*") if other.suffix[1:].isdigit()]
    return sorted(found, key=lambda other: int(other.suffix[1:]))


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        with file.open("rb") as lines:
            yield from lines


@dataclass(frozen=True, slots=True)
class _End:
    """Where a file ends: its newest whole entry, what is torn behind it, and whether its last line has an end."""

    seq: int
    hash: str
    torn: bytes = b""
    line_ended: bool = True


def _end_of(path: Path) -> _End:
    """Read the end of a file: twice as much each time until a whole entry is in it."""
    size = path.stat().st_size
    window = 4 * limits.AUDIT_LINE_BYTES_MAX
    while size:
        with path.open("rb") as file:
            file.seek(max(0, size - window))
            lines = file.readlines()
        line_ended = lines[-1].endswith(b"\n")
        for number in range(len(lines) - 1, -1, -1):
            parsed = _parse(lines[number].removesuffix(b"\n") + b"\n")
            if parsed is not None:
                torn = b"".join(lines[number + 1 :]).removesuffix(b"\n")
                return _End(parsed.seq, parsed.hash, torn, line_ended)
        if window >= size:  # nothing in it is whole: it was torn at its first line
            older = _end_of_put_aside(path)
            return _End(older.seq, older.hash, b"".join(lines).removesuffix(b"\n"), line_ended)
        window *= 2
    return _end_of_put_aside(path)


def _end_of_put_aside(path: Path) -> _End:
    older = _put_aside(path)
    if not older:
        return _End(0, NO_HASH)
    end = _end_of(older[-1])
    return _End(end.seq, end.hash)
