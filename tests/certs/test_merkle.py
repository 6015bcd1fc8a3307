from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.merkle import PATH_MAX, TREE_SIZE_MAX, leaf_hash, root_and_paths, root_of_path


def by_the_definition(leaves: list[bytes]) -> bytes:
    """The hash of a tree as RFC 6962, section 2.1, defines it."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = by_the_definition(leaves[:split]), by_the_definition(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(b"header", index.to_bytes(4, "big")) for index in range(size)]


@pytest.mark.parametrize("size", [*range(1, 71), 1023, 1024])
def test_roots_and_paths_are_those_of_the_definition(size: int) -> None:
    leaves = leaves_of(size)
    root, paths = root_and_paths(leaves)
    assert root == by_the_definition(leaves)
    for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        assert root_of_path(leaves[index], index=index, size=size, path=paths[index]) == root
        assert len(paths[index]) <= PATH_MAX


def test_a_tree_of_one_has_an_empty_path() -> None:
    leaf = leaf_hash(b"h", b"b")
    assert root_and_paths([leaf]) == (leaf, [[]])


@given(st.integers(1, 40), st.data())
def test_no_other_place_in_the_tree_leads_to_the_same_root(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    root, paths = root_and_paths(leaves)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size + 3).filter(lambda number: number != index))
    assert root_of_path(leaves[index], index=other, size=size, path=paths[index]) != root


@given(st.integers(2, 40), st.data())
def test_a_path_that_is_longer_shorter_or_odd_is_no_path(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    path = root_and_paths(leaves)[1][index]
    for wrong in ([*path, path[0]], path[:-1], [*path[:-1], path[-1][:-1]], [*path[:-1], path[-1] + b"\0"], path * 11):
        assert root_of_path(leaves[index], index=index, size=size, path=wrong) is None


def test_a_tree_is_bounded() -> None:
    for leaves in ([], [b"\0" * 32] * (TREE_SIZE_MAX + 1)):
        with pytest.raises(ValueError, match="leaves"):
            root_and_paths(leaves)
    assert root_of_path(b"\0" * 32, index=0, size=TREE_SIZE_MAX + 1, path=[]) is None
    assert root_of_path(b"\0" * 31, index=0, size=1, path=[]) is None


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 40))
def test_no_byte_wanders_from_the_header_to_the_body(header: bytes, body: bytes, count: int) -> None:
    moved_header, moved_body = header + body[:count], body[count:]
    if (moved_header, moved_body) != (header, body):
        assert leaf_hash(moved_header, moved_body) != leaf_hash(header, body)


def test_a_leaf_is_as_the_protocol_says() -> None:
    expected = hashlib.sha256(b"\x00" + b"\x00\x00\x00\x02hh" + b"\x00\x00\x00\x01b").digest()
    assert leaf_hash(b"hh", b"b") == expected
