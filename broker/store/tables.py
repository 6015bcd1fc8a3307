"""What stands in the database, and every statement that touches it. Knows no thread and no event loop.

* `records`: one row each; `place` = stream number * 2^40 + position, so that a stream lies together and is read in
  order. `before` is the position of the record before it in its lane: a reader sees by it that none is missing, even
  when an index has lost one. Without a lane the positions themselves have no gap.
* `streams`: the head of each: first and last position, and the last of each lane. Heads are kept in memory; opening a
  store with a million records reads nothing else.
* `state`: the named values. `store`: the schema's version, and how many streams and values there are, so that a row
  which the disk has lost is missed when the store is opened.

A group of batches is planned first, by reading only, then written in one transaction. A write that fails is rolled
back; heads in memory change after the commit and never before.

What is not found: a lost entry of the index of keys. Then a record sent again is stored again and `find` finds nothing.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from broker import limits
from broker.store import Bounds, Compacted, Corrupt, Full, NotDurable, Record, StoreError, Written
from broker.store.checks import checked_record, checked_value, named_hash, record_hash
from broker.store.heads import Head
from broker.store.opening import store_error
from broker.store.plan import Batch, Plan
from broker.store.slice import Slice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# The index is named: SQLite's planner would sometimes walk the whole stream.
READ = """SELECT place, lane, before, hash, key, digest, data FROM records
    WHERE place > ? AND place <= ? ORDER BY place LIMIT ?"""
READ_LANE = """SELECT place, lane, before, hash, key, digest, data FROM records INDEXED BY by_lane
    WHERE stream = ? AND lane = ? AND place > ? AND place <= ? ORDER BY place LIMIT ?"""
FIND = """SELECT place, lane, before, hash, key, digest, data FROM records INDEXED BY by_key
    WHERE stream = ? AND key = ? AND place >= ?"""
INSERT = """INSERT INTO records (place, stream, lane, before, hash, key, digest, data)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


class Tables:
    """One connection and the heads. To be used by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the heads, and check that no stream and no named value is missing. Raises StoreError.

        The connection is the tables' from here on: when they cannot be read it is closed.
        """
        self._connection = connection
        try:
            with _meaning("the whole store"):
                self._heads = {head.name: head for head in self._read_heads()}
                self._names = set(self.state(""))
                with closing(connection.execute("SELECT CAST('totals' AS BLOB), totals, hash FROM store")) as found:
                    _, totals = checked_value("the whole store", found.fetchone() or ())
            if totals != _totals(len(self._heads), len(self._names)):
                raise Corrupt("the whole store", 0)
        except StoreError:
            connection.close()
            raise

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, stream: str, after: int, limit: int, lane: int | None) -> Slice:
        """Return records past a position, at most `limit` and about READ_BYTES. Raises Compacted, Corrupt.

        What stands before a corrupt record is returned; who asks again, from there, is told.
        """
        head = self._heads.get(stream)
        if head is None:
            return Slice([], after, at_end=True)
        if after + 1 < head.first:
            raise Compacted(stream, head.first)
        if limit < 1:
            return Slice([], after, at_end=False)
        records: list[Record] = []
        volume = 0
        try:
            for record in self._rows(head, after, limit, lane):
                records.append(record)
                volume += len(record.data)
                if len(records) == limit or volume >= limits.READ_BYTES:
                    return Slice(records, record.position, at_end=False)
        except Corrupt:
            if not records:
                raise
            return Slice(records, records[-1].position, at_end=False)
        return Slice(records, max(after, head.last), at_end=True)

    def _rows(self, head: Head, after: int, limit: int, lane: int | None) -> Iterator[Record]:
        """Yield the records past a position, each checked; raises Corrupt where one is missing."""
        end = head.last if lane is None else head.lanes.get(lane, 0)
        span = (head.place(after), head.place(max(end, after)), limit)
        query, values = (READ, span) if lane is None else (READ_LANE, (head.number, lane, *span))
        previous = after
        with _meaning(head.name, after + 1), closing(self._connection.execute(query, values)) as rows:
            for row in rows:
                position = row[0] - head.place(0)
                record, before = checked_record(head.name, position, row[1:])
                # Also never back: a damaged index may lead in a circle.
                follows = position == previous + 1 if lane is None else before <= previous < position
                if not follows:
                    raise Corrupt(head.name, previous + 1)
                previous = position
                yield record
        if previous < end:  # fewer than there should be: `limit` was not the reason, the reader stops asking there
            raise Corrupt(head.name, end)

    def find(self, stream: str, key: bytes) -> Record | None:
        """Return the record of that key."""
        head = self._heads.get(stream)
        if head is None:
            return None
        # Rows before the first position are forgotten, though they may not be deleted yet.
        values = (head.number, key, head.place(head.first))
        with _meaning(stream), closing(self._connection.execute(FIND, values)) as rows:
            row = rows.fetchone()
        return None if row is None else checked_record(stream, row[0] - head.place(0), row[1:])[0]

    def bounds(self, stream: str) -> Bounds:
        """Return where the stream begins and ends."""
        head = self._heads.get(stream)
        return Bounds() if head is None else Bounds(head.first, head.last, head.last - head.first + 1)

    def streams(self, prefix: str) -> list[str]:
        """Return the names that begin so, sorted."""
        return sorted(name for name in self._heads if name.startswith(prefix))

    def state(self, prefix: str) -> dict[str, bytes]:
        """Return the named values whose name begins so."""
        found: dict[str, bytes] = {}
        query = "SELECT name, value, hash FROM state WHERE name >= ? ORDER BY name"
        with _meaning("the state"), closing(self._connection.execute(query, (prefix,))) as rows:
            for row in rows:
                name, value = checked_value("the state", row)
                if not name.startswith(prefix):
                    break
                found[name] = value
        return found

    def _read_heads(self) -> Iterator[Head]:
        with closing(self._connection.execute("SELECT name, head, hash FROM streams")) as rows:
            for row in rows:
                yield Head.unpack(*checked_value("the list of streams", row))

    # --- writing ------------------------------------------------------------------------------------------------------

    def commit(self, group: Sequence[Batch]) -> tuple[list[list[Written] | StoreError], list[Record]]:
        """Make a group of batches durable. Return the answer to each, and the new records in order.

        Raises StoreError when the write failed; then nothing of the group was stored, or nobody knows: NotDurable.
        """
        plan = Plan(self._heads, self.find)
        answers: list[list[Written] | StoreError] = []
        for batch in group:
            try:
                answers.append(plan.add(batch))
            except StoreError as error:  # of this batch alone
                answers.append(error)
        if plan.records or plan.state:
            self._write(plan)
        return answers, [record for record, _ in plan.records]

    def _write(self, plan: Plan) -> None:
        streams = plan.heads.keys() - self._heads.keys()
        gone = {name for name, value in plan.state.items() if not value} & self._names
        names = {name for name, value in plan.state.items() if value} - self._names
        rows = [_row(plan.heads[record.stream], record, before) for record, before in plan.records]
        values = [(name, named_hash(name, value), value) for name, value in plan.state.items() if value]
        with self._transaction():
            self._connection.executemany(INSERT, rows)
            self._connection.executemany("INSERT OR REPLACE INTO state (name, hash, value) VALUES (?, ?, ?)", values)
            self._connection.executemany("DELETE FROM state WHERE name = ?", [(name,) for name in gone])
            self._put_heads(plan.heads.values())
            if streams or names or gone:
                totals = _totals(len(self._heads) + len(streams), len(self._names) + len(names) - len(gone))
                made = named_hash("totals", totals)
                self._connection.execute("UPDATE store SET totals = ?, hash = ?", (totals, made))
        self._heads |= plan.heads
        self._names |= names
        self._names -= gone

    def trim(self, stream: str, before: int) -> bool:
        """Forget records before a position, at most TRIM_BATCH of them. Return whether it must be called again.

        The head moves in the first commit, so that all are forgotten at once; their rows follow. A process that dies
        in between leaves rows that no reader sees; the next trim takes them too.
        """
        known = self._heads.get(stream)
        if known is None:
            return False
        head = known.copy()
        head.first = max(head.first, min(before, head.last + 1))
        query = "SELECT place FROM records WHERE place > ? AND place < ? ORDER BY place LIMIT ?"
        values = (head.place(0), head.place(head.first), limits.TRIM_BATCH)
        with _meaning(stream):
            places = self._connection.execute(query, values).fetchall()
        if not places and head == known:
            return False
        with self._transaction():
            self._connection.executemany("DELETE FROM records WHERE place = ?", places)
            self._put_heads([head])
        self._heads[stream] = head
        return len(places) == limits.TRIM_BATCH

    def checkpoint(self) -> None:
        """Move the log into the database and sync both; the next commit begins the log anew. Raises StoreError."""
        with _meaning("the whole store"):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close the connection; SQLite checkpoints and removes its log."""
        self._connection.close()

    def _put_heads(self, heads: Iterable[Head]) -> None:
        rows = [(head.number, head.name, packed := head.pack(), named_hash(head.name, packed)) for head in heads]
        self._connection.executemany("INSERT OR REPLACE INTO streams (id, name, head, hash) VALUES (?, ?, ?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done inside, or roll it back and raise what that means."""
        committing = False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            committing = True
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                self._connection.execute("ROLLBACK")
            meaning = store_error(error)
            if committing and not isinstance(meaning, Full):
                # The last write or the sync failed. The next commit overwrites it in the log; a crash before may not.
                raise NotDurable(str(error), maybe=True) from error
            raise meaning from error


@contextmanager
def _meaning(stream: str, position: int = 0) -> Iterator[None]:
    """Turn SQLite's errors into the store's, when nothing is being written."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, stream, position) from error


def _row(head: Head, record: Record, before: int) -> tuple[int | bytes, ...]:
    made = record_hash(record, before)
    place = head.place(record.position)
    return place, head.number, record.lane, before, made, record.key, record.digest, record.data


def _totals(streams: int, states: int) -> bytes:
    return struct.pack(">2q", streams, states)
