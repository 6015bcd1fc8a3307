"""The tree of one flush, as in RFC 6962, section 2.1: one signature covers many envelopes, each carries its own path.

A leaf and a node are hashed with different first bytes, so that neither can be passed off as the other. The lengths of
header and body stand before them, so that no byte can wander from one to the other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HASH_BYTES: Final = 32  # SHA-256
PATH_MAX: Final = 10
TREE_SIZE_MAX: Final = 1 << PATH_MAX

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_hash(header: bytes, body: bytes) -> bytes:
    """Return the leaf of one envelope: SHA-256(0x00 || u32 length || header || u32 length || body), big-endian."""
    head_length, body_length = len(header).to_bytes(4, "big"), len(body).to_bytes(4, "big")
    return hashlib.sha256(b"".join((_LEAF, head_length, header, body_length, body))).digest()


def root_and_paths(leaves: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Return the root and, for each leaf, its path from its sibling upwards.

    Level by level, a node without a sibling moves up unchanged; that gives the tree of RFC 6962, which splits at the
    largest power of two below its size. Raises ValueError for no leaves, or more than TREE_SIZE_MAX.
    """
    if not 1 <= len(leaves) <= TREE_SIZE_MAX:
        raise ValueError(f"a tree has 1 to {TREE_SIZE_MAX} leaves, not {len(leaves)}")
    paths: list[list[bytes]] = [[] for _ in leaves]
    level, height = list(leaves), 0
    while len(level) > 1:
        for index, path in enumerate(paths):
            sibling = (index >> height) ^ 1
            if sibling < len(level):
                path.append(level[sibling])
        above = [_node(level[left], level[left + 1]) for left in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level, height = above, height + 1
    return level[0], paths


def root_of_path(leaf: bytes, *, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that a path leads to, or None if a tree of that size has no such path (RFC 9162, 2.1.3.2)."""
    if not (0 <= index < size <= TREE_SIZE_MAX) or len(path) > PATH_MAX or len(leaf) != HASH_BYTES:
        return None
    node, last = leaf, size - 1
    for sibling in path:
        if last == 0 or len(sibling) != HASH_BYTES:
            return None
        if index & 1 or index == last:
            node = _node(sibling, node)
            while index and not index & 1:  # moved up unchanged, for want of a sibling
                index, last = index >> 1, last >> 1
        else:
            node = _node(node, sibling)
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"".join((_NODE, left, right))).digest()
