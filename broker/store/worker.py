"""The thread of a SQLite store: takes what waits, commits it as one group, reads in between, checkpoints when idle.

Each round: all appends that wait, up to APPEND_BATCH_MAX records, in one commit; then one call (a turn of reading, a
trim). So reads delay an append by one turn at most, and appends starve no reader. Everything a round has answered goes
back to the event loop in one call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from broker import limits
from broker.store import Corrupt, Fenced, StoreError, Unavailable
from broker.store.opening import connect, make_private, store_error, sync_log, take_lock
from broker.store.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.store import Record, Written
    from broker.store.plan import Batch

log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
PAGE_BYTES = 4096
PAGES_PER_COMMIT = 4  # about what a commit adds to the log: the head and the ends of the tables
PAGES_PER_RECORD = 1  # and a record: keys are spread over their index


@dataclass(frozen=True, slots=True)
class Append:
    """A batch that waits for its commit."""

    batch: Batch
    answer: asyncio.Future[list[Written]]


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """Something else to be done in the thread."""

    run: Callable[[Tables], T_co]
    answer: asyncio.Future[T_co]


class Worker:
    """The thread and its queue. `submit` and `close` are for the event loop, all else runs in the thread."""

    def __init__(self, path: Path, publish: Callable[[list[Record]], None]) -> None:
        """Start the thread, which opens the file; `publish` gets new records on the loop before they are answered."""
        self._path = path
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._jobs: queue.SimpleQueue[Append | Call[object] | None] = queue.SimpleQueue()  # None: close
        self._records_waiting = 0
        self._calls_waiting = 0
        self._closing = False
        # The thread's own: what it has taken from the queue, and about how much stands in SQLite's log.
        self._appends: deque[Append] = deque()
        self._calls: deque[Call[object]] = deque()
        self._last_job_taken = False
        self._log_bytes = 0
        self._identity: tuple[int, int] | None = None  # of the file that is open
        # A daemon: a process that forgets to close its store ends all the same, and loses nothing.
        threading.Thread(target=self._work, name=f"store-{path.name}", daemon=True).start()

    # --- on the event loop --------------------------------------------------------------------------------------------

    def submit(self, job: Append | Call[object]) -> None:
        """Queue a job. Raises Unavailable when closed or when too much is waiting."""
        if self._closing:
            raise Unavailable(f"{self._path} is closed")
        match job:
            case Append(batch=batch):
                if self._records_waiting + len(batch.records) > limits.APPEND_QUEUE_MAX and self._records_waiting:
                    raise Unavailable(f"{self._records_waiting} records wait for the disk; come back later")
                self._records_waiting += len(batch.records)
            case Call():
                if self._calls_waiting >= limits.APPEND_QUEUE_MAX:
                    raise Unavailable(f"{self._calls_waiting} calls wait for the disk; come back later")
                self._calls_waiting += 1
        self._jobs.put(job)

    def close(self) -> None:
        """Take no more jobs; what is queued is done first. `closed` tells when."""
        if not self._closing:
            self._closing = True
            self._jobs.put(None)

    def _settle(self, records: list[Record], answers: list[Callable[[], None]], appended: int, called: int) -> None:
        self._records_waiting -= appended
        self._calls_waiting -= called
        self._publish(records)
        for answer in answers:
            answer()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Be the thread: open, round after round until closed, close."""
        opened = _outcome(self._open)
        if isinstance(opened, Exception):
            self._tell([_answer(self.opened, opened)])
            return
        lock, tables = opened
        self._tell([_answer(self.opened, None)])
        while self._appends or self._calls or not self._last_job_taken:
            self._round(tables)
        tables.close()
        os.close(lock)
        self._tell([_answer(self.closed, None)])

    def _open(self) -> tuple[int, Tables]:
        """Return the lock that is held, and the tables. Raises StoreError."""
        try:
            lock = take_lock(self._path)
        except OSError as error:
            raise store_error(error) from error
        try:
            make_private(self._path)
            self._log_bytes = sync_log(self._path)
            self._identity = _identity(self._path)
            return lock, Tables(connect(self._path))
        except (OSError, sqlite3.Error) as error:
            os.close(lock)
            raise store_error(error) from error
        except BaseException:
            os.close(lock)
            raise

    def _round(self, tables: Tables) -> None:
        """Take what waits; one commit; one call."""
        self._take(tables)
        if self._appends:
            self._commit(tables)
        if self._calls:
            call = self._calls.popleft()
            self._tell([_answer(call.answer, _outcome(partial(call.run, tables)))], called=1)
        if self._log_bytes > limits.WAL_BYTES_MAX:
            self._checkpoint(tables)

    def _take(self, tables: Tables) -> None:
        """Sort everything that waits in the queue. With nothing to do, wait; idle for a while, checkpoint."""
        if not self._appends and not self._calls:
            worth_it = self._log_bytes > limits.WAL_IDLE_BYTES
            try:
                self._sort(self._jobs.get(timeout=limits.STORE_IDLE_S if worth_it else None))
            except queue.Empty:
                self._checkpoint(tables)
        try:
            while True:
                self._sort(self._jobs.get_nowait())
        except queue.Empty:
            return

    def _sort(self, job: Append | Call[object] | None) -> None:
        match job:
            case Append():
                self._appends.append(job)
            case Call():
                self._calls.append(job)
            case None:
                self._last_job_taken = True

    def _commit(self, tables: Tables) -> None:
        """Commit the appends that fit into one group, at least one."""
        group = [self._appends.popleft()]
        count = len(group[0].batch.records)
        while self._appends and count + len(self._appends[0].batch.records) <= limits.APPEND_BATCH_MAX:
            group.append(self._appends.popleft())
            count += len(group[-1].batch.records)
        self._commit_group(tables, group, count)

    def _commit_group(self, tables: Tables, group: list[Append], count: int) -> None:
        """Commit a group and answer each append."""
        outcome = _outcome(lambda: tables.commit([append.batch for append in group]))
        if isinstance(outcome, Corrupt) and len(group) > 1:
            for append in group:  # one stream is damaged: the others are not to suffer from it
                self._commit_group(tables, [append], len(append.batch.records))
            return
        if isinstance(outcome, Exception):
            self._tell([_answer(append.answer, outcome) for append in group], appended=count)
            return
        answers, records = outcome
        self._log_bytes += PAGE_BYTES * (PAGES_PER_COMMIT + PAGES_PER_RECORD * len(records))
        self._log_bytes += sum(len(record.data) for record in records)
        self._log_bytes += sum(len(value) for append in group for value in append.batch.state.values())
        if _identity(self._path) != self._identity:
            # A restore under a running process: what was just written is in a file that nobody will ever open again.
            fenced = Fenced(f"another file was put in the place of {self._path}; restart")
            self._tell([_answer(append.answer, fenced) for append in group], appended=count)
            return
        settled = [_answer(append.answer, answer) for append, answer in zip(group, answers, strict=True)]
        self._tell(settled, records, appended=count)

    def _checkpoint(self, tables: Tables) -> None:
        self._log_bytes = 0  # also when it fails: on a full disk the next try is after the next megabyte
        try:
            tables.checkpoint()
        except StoreError as error:  # nothing is lost: all of it stands in the log
            log.warning("store.checkpoint_failed store=%s error=%s", self._path.name, error)

    def _tell(
        self,
        answers: list[Callable[[], None]],
        records: list[Record] | None = None,
        *,
        appended: int = 0,
        called: int = 0,
    ) -> None:
        """Give answers back to the event loop."""
        try:
            self._loop.call_soon_threadsafe(self._settle, records or [], answers, appended, called)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("store.loop_closed store=%s", self._path.name)


def _outcome(run: Callable[[], T]) -> T | Exception:
    """Return what a job gave or raised."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - a task boundary: it is raised again where the job was asked for
        return error


def _answer(answer: asyncio.Future[T], outcome: T | Exception) -> Callable[[], None]:
    """Return what settles a future on its loop. Who was cancelled meanwhile is not told."""

    def settle() -> None:
        if answer.done():
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    return settle


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file stands at a path."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
