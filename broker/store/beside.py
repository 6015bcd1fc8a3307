"""Reading a SQLite store beside the process that owns it: without its lock, and without touching anything of it.

The owner keeps every other connection out (`opening`), and nobody may write its files or sync its log. So this reads a
*view* of its own: a second name for the database, which is opened for reading only and without SQLite's locks, and a
copy of the log, at most WAL_BYTES_MAX and a commit. Both names lie in a folder of their own beside the store and are
removed as soon as they are open. What a reader left that was killed in between, the next one removes.

A view is whole as long as the database's file does not change, and that changes only when the owner moves its log into
it. So the file's time is looked at before a view is made and after each turn of reading. A turn in which it changed is
forgotten and read again with a new view; as nobody can tell whether a file changed twice within one tick of its clock,
a view is made only when it has been still for SETTLED_S. What was appended after a view was made is seen by the next.

Every record is checked by its hash as the owner does. The owner's commits wait for nothing here.

Not to be used in the owner's own process: the system forgets all locks that a process holds on a file when the process
closes it under any name. There, read the Store.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from broker import limits
from broker.store import Corrupt, StoreError, Unavailable
from broker.store.opening import SCHEMA_VERSION, store_error
from broker.store.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from broker.store import Bounds
    from broker.store.slice import Slice

__all__ = ["Beside"]

T = TypeVar("T")

SETTLED_S: Final = 0.05  # several ticks of the clock by which file systems write times (4 ms, at most 10)
TRIES_MAX: Final = 200  # of one turn: the owner moves its log every few seconds at most, each try takes some 50 ms
LOG_HEADER_BYTES: Final = 32  # its salt is another each time that the log is begun anew (sqlite.org/fileformat.html)
COPY_BYTES: Final = 1024 * 1024
READING: Final = ".reading-"
LEFT_S: Final = 600.0  # a folder that old is nobody's any more: a view is open within seconds


class Beside:
    """See the module. For one thread; `with Beside(path) as store:`."""

    def __init__(self, path: Path) -> None:
        """Open a first view. Raises Unavailable where there is no store, Corrupt where it is damaged as a whole."""
        if not path.exists():
            raise Unavailable(f"there is no store at {path}")
        self._path = path.resolve()  # SQLite keeps the log beside the file itself, not beside a link to it
        _remove_left(self._path.parent)
        self._stamp: tuple[int, ...] = ()
        self._tables: Tables | None = None
        self.bounds("")  # whatever prevents reading is said now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def read(self, stream: str, *, after: int, limit: int) -> Slice:
        """Return one turn of records past a position. Raises Compacted, Corrupt, Unavailable."""
        count = min(limit, limits.READ_BATCH)
        return self._turn(lambda tables: tables.read(stream, after, count, None))

    def bounds(self, stream: str) -> Bounds:
        """Return where the stream begins and ends in the present view."""
        return self._turn(lambda tables: tables.bounds(stream))

    def state(self, prefix: str) -> dict[str, bytes]:
        """Return the named values whose name begins so."""
        return self._turn(lambda tables: tables.state(prefix))

    def refresh(self) -> None:
        """Have the next turn see what was appended meanwhile."""
        self.close()

    def close(self) -> None:
        """Let go of the view; reading again opens another."""
        if self._tables is not None:
            self._tables.close()
            self._tables = None

    def _turn(self, run: Callable[[Tables], T]) -> T:
        """Return what a turn of reading gave or raised while the file did not change."""
        for _ in range(TRIES_MAX):
            if self._tables is None and not self._open():
                time.sleep(SETTLED_S)
                continue
            assert self._tables is not None  # noqa: S101 - for the type: just opened
            try:
                found = run(self._tables)
            except StoreError:
                if self._is_unchanged():
                    raise
            else:
                if self._is_unchanged():
                    return found
            self.close()
        raise Unavailable(f"{self._path} changes too fast to be read beside its owner; read it when that is idle")

    def _open(self) -> bool:
        """Make a view; False if the owner is at work on the file, so that another moment must be waited for."""
        try:
            self._stamp = _stamp(self._path)
            if abs(time.time_ns() - self._stamp[-1]) < SETTLED_S * limits.SECOND_NS:
                return False
            folder = Path(tempfile.mkdtemp(prefix=READING, dir=self._path.parent))
            try:
                return self._open_in(folder)
            finally:
                shutil.rmtree(folder)
        except OSError as error:
            raise store_error(error) from error

    def _open_in(self, folder: Path) -> bool:
        database, log = folder / "view", folder / "view-wal"
        os.link(self._path, database)
        if not _copy_log(Path(f"{self._path}-wal"), log) or not self._is_unchanged():
            return False
        try:
            self._tables = Tables(_connect(database))
        except sqlite3.Error as error:
            if not self._is_unchanged():
                return False
            raise store_error(error) from error
        except StoreError:
            if not self._is_unchanged():
                return False
            raise
        return True

    def _is_unchanged(self) -> bool:
        try:
            return _stamp(self._path) == self._stamp
        except OSError:
            return False  # another file is being put in its place


def _remove_left(parent: Path) -> None:
    """Remove the folders of readers that were killed: a second name of the database, and a copy of its log."""
    for folder in parent.glob(f"{READING}*"):
        with contextlib.suppress(OSError):  # another's, or another reader was quicker
            if time.time() - folder.lstat().st_mtime > LEFT_S:
                shutil.rmtree(folder)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when the file is written to or replaced; its time last."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _copy_log(log: Path, copy: Path) -> bool:
    """Copy the log, if there is one; return whether it was the same one from beginning to end.

    A commit under way leaves a last part of the copy that does not hold: SQLite stops before it. But a log that was
    begun anew while it was copied would leave early parts of the old one, older than what the database has.
    """
    try:
        with log.open("rb") as source, copy.open("xb") as target:
            begins = source.read(LOG_HEADER_BYTES)
            target.write(begins)
            shutil.copyfileobj(source, target, COPY_BYTES)
            return begins == os.pread(source.fileno(), LOG_HEADER_BYTES, 0)
    except FileNotFoundError:
        return True


def _connect(database: Path) -> sqlite3.Connection:
    """Open a view. The database cannot be written through it, by nobody: its file is open for reading only."""
    connection = sqlite3.connect(
        f"{database.as_uri()}?mode=ro&vfs=unix-none", uri=True, isolation_level=None, timeout=0
    )
    try:
        connection.text_factory = bytes  # as the owner: a flipped bit may leave text that is none
        for setting in ("locking_mode=EXCLUSIVE", "cell_size_check=ON", "temp_store=MEMORY", "query_only=ON"):
            connection.execute(f"PRAGMA {setting}").fetchall()
        found = connection.execute("SELECT schema FROM store").fetchall()
    except UnicodeDecodeError as error:
        connection.close()
        raise Corrupt("the whole store", 0) from error
    except BaseException:
        connection.close()
        raise
    if found != [(SCHEMA_VERSION,)]:
        connection.close()
        raise Unavailable("the store was written by another version of this program")
    return connection
