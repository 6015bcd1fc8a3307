"""How the file of a store is opened: fenced, private, and with nothing in it that is not durable.

* A lock file beside the database is held with `flock` for as long as the store is open; the second process is Fenced.
  The kernel lets go of it when the holder dies, however it dies. The file itself is never removed: whoever removed it
  would let two in.
* `locking_mode=EXCLUSIVE`: no other connection, not even an operator's shell, can checkpoint under us. SQLite before
  3.51.3 can corrupt a file when two do. It also keeps the index of the log in memory of our own: no shared memory, and
  no SIGBUS on a full disk.
* `synchronous=FULL`: one fdatasync in each commit. NORMAL loses acknowledged records at power loss.
* What a killed process wrote but did not sync is in the page cache and would be recovered as committed, although the
  disk may not have it yet. So the log is synced before it is recovered; else a DUPLICATE could be a lie.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from broker import limits
from broker.store import Corrupt, Fenced, Full, StoreError, Unavailable
from broker.store.checks import named_hash

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"SQLite format 3\0"
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL, totals BLOB NOT NULL,
    hash BLOB NOT NULL);
CREATE TABLE streams (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, head BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE records (place INTEGER PRIMARY KEY, stream INTEGER NOT NULL, lane INTEGER NOT NULL,
    before INTEGER NOT NULL, hash BLOB NOT NULL, key BLOB NOT NULL, digest BLOB NOT NULL, data BLOB NOT NULL);
CREATE INDEX by_key ON records (stream, key);
CREATE INDEX by_lane ON records (stream, lane);
CREATE TABLE state (name TEXT PRIMARY KEY, hash BLOB NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
"""
NO_TOTALS = bytes(16)  # no stream, no named value
PAGE_BYTES = 4096
CACHE_KIB = 32 * 1024


def take_lock(path: Path) -> int:
    """Return the descriptor that holds the store's lock. Raises Fenced when another holds it."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Fenced(f"{path} is open in another process; stop that one first") from None
    return lock


def make_private(path: Path) -> None:
    """Make the database file exist, durably, readable by its owner only. SQLite gives its log the same mode."""
    made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(made, 0o600)  # one that a restore has left open to others
        begins = os.pread(made, len(MAGIC), 0)
        if begins and begins != MAGIC:  # SQLite would take a short one for an empty one
            raise Unavailable(f"{path} is not a store")
    finally:
        os.close(made)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # SQLite syncs the folder for its log but not for the database
    finally:
        os.close(folder)


def sync_log(path: Path) -> int:
    """Make durable what a killed process left in the log, and return its bytes.

    Works on a full disk, where a checkpoint would not.
    """
    try:
        log = os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0  # closed in order: all of it stands in the database
    try:
        os.fsync(log)
        return os.fstat(log).st_size
    finally:
        os.close(log)


def connect(path: Path) -> sqlite3.Connection:
    """Return the store's one connection, its schema in place."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        connection.text_factory = bytes  # a flipped bit may leave text that is none; we decode and check ourselves
        for setting in (
            f"page_size={PAGE_BYTES}",
            "locking_mode=EXCLUSIVE",
            "journal_mode=WAL",
            "synchronous=FULL",
            "wal_autocheckpoint=0",
            "cell_size_check=ON",
            "temp_store=MEMORY",
            f"cache_size=-{CACHE_KIB}",
            f"max_page_count={limits.STORE_BYTES_MAX // PAGE_BYTES}",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
        _schema(connection)
    except UnicodeDecodeError as error:  # the text of SQLite's error quotes what the disk has changed
        connection.close()
        raise Corrupt("the whole store", 0) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _schema(connection: sqlite3.Connection) -> None:
    """Create the tables, or check that they are ours."""
    with closing(connection.execute("SELECT name FROM sqlite_schema WHERE name = 'store'")) as found:
        fresh = found.fetchone() is None
    if fresh:
        totals = NO_TOTALS
        # One transaction: a process killed here leaves an empty file or a whole store.
        connection.executescript(f"BEGIN EXCLUSIVE; {SCHEMA}")
        values = (SCHEMA_VERSION, totals, named_hash("totals", totals))
        connection.execute("INSERT INTO store (one, schema, totals, hash) VALUES (1, ?, ?, ?)", values)
        connection.execute("COMMIT")
    with closing(connection.execute("SELECT schema FROM store")) as found:
        row = found.fetchone()
    if row is None or row[0] != SCHEMA_VERSION:
        written = "none" if row is None else row[0]
        raise Unavailable(
            f"the store has schema {written}, this program needs {SCHEMA_VERSION}; use the one that wrote it"
        )
    with closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript(SCHEMA)
        ours.text_factory = bytes
        if _tables_of(ours) != _tables_of(connection):
            raise Corrupt("the whole store", 0)


def _tables_of(connection: sqlite3.Connection) -> list[tuple[bytes, ...]]:
    """Return what tables and indices there are, as they were made."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    with closing(connection.execute(query)) as rows:
        return rows.fetchall()


def store_error(error: sqlite3.Error | OSError, stream: str = "the whole store", position: int = 0) -> StoreError:
    """Return what an error of SQLite or of the system means, when nothing was stored."""
    if isinstance(error, OSError):
        return Full(str(error)) if error.errno in {errno.ENOSPC, errno.EDQUOT} else Unavailable(str(error))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without the extension
    match code:
        case sqlite3.SQLITE_FULL:
            return Full(str(error))
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CONSTRAINT:
            return Corrupt(stream, position)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Fenced(f"another connection uses the database: {error}")
        case _:
            return Unavailable(str(error))
