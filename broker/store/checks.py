"""The hash that stands beside everything stored. SQLite's pages have none: of 500 flipped bits 355 came back as data.

It finds what a disk did, not what an intruder did: it has no key. It covers where a thing stands as well as what it
is, so that a good record in the wrong place is as wrong as a bad one.
"""

from __future__ import annotations

import hashlib
import struct

from broker.store import Corrupt, Record

HASH_BYTES = 16


def record_hash(record: Record, before: int) -> bytes:
    """Return the hash of a record and of the position of the one before it in its lane (0: none)."""
    stream = record.stream.encode()
    lengths = (len(stream), len(record.key), len(record.digest), len(record.data))
    made = hashlib.blake2b(digest_size=HASH_BYTES, person=b"vedette-record")
    made.update(struct.pack(">3q4I", record.position, record.lane, before, *lengths))
    made.update(stream)
    made.update(record.key)
    made.update(record.digest)
    made.update(record.data)
    return made.digest()


def named_hash(name: str, value: bytes) -> bytes:
    """Return the hash of a named value: a state, the head of a stream, the totals of a store."""
    text = name.encode()
    made = hashlib.blake2b(digest_size=HASH_BYTES, person=b"vedette-named")
    made.update(struct.pack(">I", len(text)))
    made.update(text)
    made.update(value)
    return made.digest()


def checked_record(stream: str, position: int, row: tuple[int, int, bytes, bytes, bytes, bytes]) -> tuple[Record, int]:
    """Return the record of a row (lane, before, hash, key, digest, data), and `before`. Raises Corrupt.

    A flipped bit may have changed the type of a value as well; then there is no hash of it.
    """
    lane, before, made, key, digest, data = row
    record = Record(stream, position, key, digest, data, lane)
    try:
        whole = made == record_hash(record, before)
    except (TypeError, struct.error):
        whole = False
    if not whole:
        raise Corrupt(stream, position)
    return record, before


def checked_value(what: str, row: tuple[object, ...]) -> tuple[str, bytes]:
    """Return the name and the value of a row (name, value, hash). Raises Corrupt, naming `what` it is part of."""
    match row:
        case (bytes(name), bytes(value), bytes(made)):
            text = name.decode(errors="replace")
            if made == named_hash(text, value):
                return text, value
        case _:
            pass
    raise Corrupt(what, 0)
