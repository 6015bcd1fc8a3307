from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.document import PolicyError, Section, Text, read, section_of, text_of, texts_of

REFUSED = {
    "a doubled key": ("a: x\nb: x\na: z\n", 3, 1, "twice"),
    "a doubled key inside": ("a: {b: x, b: y}\n", 1, 11, "twice"),
    "an anchor": ("a: &x [b]\n", 1, 4, "anchors"),
    "an alias": ("a: &x b\nc: *x\n", 1, 4, "anchors"),
    "a tag": ("a: !!python/object:os.system b\n", 1, 4, "tags"),
    "a harmless tag": ("a: !!str b\n", 1, 4, "tags"),
    "a merge key": ("a: {<<: {b: c}}\n", 1, 5, "merge"),
    "an implicit NO": ("to: [USA, NO]\n", 1, 11, "means yes, no or nothing"),
    "an implicit yes": ("a: yes\n", 1, 4, "means yes, no or nothing"),
    "an implicit On": ("a: On\n", 1, 4, "means yes, no or nothing"),
    "an implicit true": ("a: true\n", 1, 4, "means yes, no or nothing"),
    "a null": ("a: ~\n", 1, 4, "means yes, no or nothing"),
    "nothing": ("a:\n", 1, 3, "empty"),
    "an implicit key": ("y: a\n", 1, 1, "means yes, no or nothing"),
    "a sequence": ("- a\n", 1, 1, "mapping"),
    "two documents": ("a: b\n---\nc: d\n", 2, 1, "not YAML"),
    "an empty file": ("", 1, 1, "mapping"),
    "bad syntax": ("a: [b\n", 2, 1, "not YAML"),
    "a key that is a list": ("[a, b]: c\n", 1, 1, "a key must be text"),
    "a character that turns text around": ("a: 'x\u202ey'\n", 1, 6, "invisible"),
    "a control character": ("a: x\x07\n", 1, 5, "invisible"),
    "a line that ends a comment unseen": ("a: b # why\u2028c: d\n", 1, 11, "invisible"),
    "an old line end in a comment": ("# one\na: b # why\x85c: d\n", 2, 11, "invisible"),
    "a lone carriage return in a comment": ("a: b # why\rc: d\n", 1, 11, "invisible"),
    "a comment that is turned around": ("a: b\n# \u202e x\n", 2, 3, "invisible"),
    "a soft hyphen": ("a: x\u00ady\n", 1, 5, "invisible"),
    "a tag character": ("a: x\U000e0041y\n", 1, 5, "invisible"),
    "a letter that is blank": ("a: x\u3164y\n", 1, 5, "invisible"),
    "a mark that chooses a form": ("a: x\ufe0fy\n", 1, 5, "invisible"),
    "a joiner of graphemes": ("a: b\n# x\u034fy\n", 2, 4, "invisible"),
    "a blank of Braille": ("a: x\u2800y\n", 1, 5, "invisible"),
    "a byte order mark": ("\ufeffa: b\n", 1, 1, "invisible"),
    "a line end, escaped": ('a: "x\\Ly"\n', 1, 4, "invisible"),
    "a null byte, escaped": ('a: "x\\0y"\n', 1, 4, "invisible"),
    "half of a character": ("a: \ud800\n", 1, 1, "half of a character"),
    "deep nesting": ("a: " + "[" * 50 + "]" * 50, 1, 4 + limits.POLICY_DEPTH_MAX - 1, "deeper"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_line_and_column(name: str) -> None:
    text, line, column, reason = REFUSED[name]
    with pytest.raises(PolicyError) as error:
        read(text)
    assert (error.value.line, error.value.column) == (line, column)
    assert reason in str(error.value)


def test_an_over_long_document_is_not_even_parsed() -> None:
    with pytest.raises(PolicyError, match="longer than"):
        read("a: " + "b" * limits.POLICY_BYTES_MAX)


def test_other_scripts_tabs_and_lines_of_windows_are_read() -> None:
    section = read("a: 대한민국 日本\r\n# é\r\nb:\tc\r\n")
    assert {key: text_of(part) for key, part in section.entries.items()} == {"a": "대한민국 日本", "b": "c"}
    assert section.keys["b"].line == 3


def test_every_scalar_stays_text() -> None:
    section = read("a: 1\nb: 'NO'\nc: 0x10\nd: 2026-01-01\ne: 1_000\nf: \"yes\"\n")
    assert {key: text_of(part) for key, part in section.entries.items()} == {
        "a": "1",
        "b": "NO",
        "c": "0x10",
        "d": "2026-01-01",
        "e": "1_000",
        "f": "yes",
    }


def test_everything_knows_its_place() -> None:
    section = read("a: b\nc:\n  d: [e, f]\n")
    inner = section_of(section.entries["c"])
    items = texts_of(inner.entries["d"])
    assert [(item.value, item.line, item.column) for item in items] == [("e", 3, 7), ("f", 3, 10)]
    assert isinstance(section, Section)
    assert isinstance(items[0], Text)


@pytest.mark.parametrize(
    ("text", "reason"), [("a: [x, x]", "twice"), ("a: [[x]]", "must be text"), ("a: x", "must be a list")]
)
def test_a_list_of_texts_is_nothing_else(text: str, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        texts_of(read(text).entries["a"])


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        assert isinstance(read(text), Section)
    except PolicyError as error:
        assert error.line >= 1  # noqa: PT017 - either outcome is right
        assert error.column >= 1  # noqa: PT017


@given(st.lists(st.sampled_from(list("ab:-[]{},'\"&*!|>#%@`\n ")), max_size=60).map("".join))
def test_any_yaml_like_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except PolicyError as error:
        assert error.reason  # noqa: PT017 - either outcome is right
