"""A document as a person wrote it, with the line and column of everything, or a PolicyError that says where.

YAML means more than people expect of it, and each surprise would be a hole in a release policy. So this reader takes
the part of YAML in which a document says what it seems to say:

* mappings, sequences and strings, and nothing else: every plain scalar stays text (`NO` is Norway, `1` is "1"), and
  whoever needs a number or an instant reads it from the text by a strict rule. Words that YAML 1.1 would turn into a
  boolean or null are refused unless quoted, because other tools that open the file would read them so;
* no key twice, no anchor or alias, no tag, no merge key, one document;
* bounded length and depth, and no invisible character anywhere, comments included.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import yaml

from broker import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Listing", "Part", "PolicyError", "Section", "Text", "read", "section_of", "text_of", "texts_of"]

# libyaml reads the same language ten times faster; PyYAML's own reader stands in where a build has none.
LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
# YAML 1.1's implicit booleans and null (yaml.org/type/bool.html), as PyYAML and others resolve them.
IMPLICIT: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"})
BLOCK: Final = frozenset({"|", ">"})
# Controls, formats (what turns text around, joins or hides it), halves of characters, and line ends of other alphabets.
INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that nothing is drawn for, nor meant to be (Unicode's Default_Ignorable_Code_Point), and the blank
# pattern of Braille; with the categories above, all of them.
BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
UNCOMMON: Final = re.compile(r"[^\n\t\x20-\x7e]")


class PolicyError(ValueError):
    """A policy document that is refused: where, why, and what to write instead. Lines and columns count from 1."""

    def __init__(self, line: int, column: int, reason: str, hint: str = "") -> None:
        """Say where and why."""
        super().__init__(f"line {line}, column {column}: {reason}" + (f" ({hint})" if hint else ""))
        self.line = line
        self.column = column
        self.reason = reason
        self.hint = hint
        self.more: tuple[PolicyError, ...] = ()  # what else is wrong, where that could be told apart


@dataclass(frozen=True, slots=True)
class Part:
    """Anything in a document, and where it stands."""

    line: int
    column: int

    def refuse(self, reason: str, hint: str = "") -> PolicyError:
        """Return the error that names this place."""
        return PolicyError(self.line, self.column, reason, hint)


@dataclass(frozen=True, slots=True)
class Text(Part):
    """A scalar, as text. `literal` where it was quoted or written as a block."""

    value: str
    literal: bool
    raw: str = ""  # as it stands in the document, quotes and all

    def place(self, index: int) -> tuple[int, int]:
        """Return line and column of a character of the value, counted from 0.

        YAML folds lines and takes indentation away, and adds nothing but spaces: the characters that are no spaces
        stand in the document in the same order. Where escapes are folded too, it is the place of the whole text.
        """
        is_block = self.raw[:1] in BLOCK
        start = len(self.raw.partition("\n")[0]) if is_block else int(self.literal)
        if "\n" not in self.raw:
            return self.line, self.column + start + index
        solid = [at for at in range(start, len(self.raw)) if not self.raw[at].isspace()]
        before = sum(not each.isspace() for each in self.value[:index])
        if (self.literal and not is_block and ("\\" in self.raw or "''" in self.raw)) or before >= len(solid):
            return self.line, self.column
        above = self.raw[: solid[before]]
        is_first = "\n" not in above
        return self.line + above.count("\n"), len(above.rpartition("\n")[2]) + (self.column if is_first else 1)


@dataclass(frozen=True, slots=True)
class Listing(Part):
    """A sequence."""

    items: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Section(Part):
    """A mapping; keys in the order written, each with its place."""

    entries: Mapping[str, Part]
    keys: Mapping[str, Text]

    def expect(self, needed: frozenset[str], optional: frozenset[str] = frozenset()) -> None:
        """Refuse any key that is neither needed nor optional, and the lack of a needed one."""
        for key, place in self.keys.items():
            if key not in needed and key not in optional:
                raise place.refuse(f"unknown key {key!r}", "known here: " + ", ".join(sorted(needed | optional)))
        for key in sorted(needed):
            if key not in self.entries:
                raise self.refuse(f"{key!r} is missing")


def read(text: str) -> Section:
    """Return the document. Raises PolicyError."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise PolicyError(1, 1, "not Unicode: half of a character stands in it") from None
    if length > limits.POLICY_BYTES_MAX:
        raise PolicyError(1, 1, f"longer than {limits.POLICY_BYTES_MAX} bytes")
    # YAML ends a line, and with it a comment, at characters that editors show as nothing: rules could hide behind them.
    if (at := _invisible(text.replace("\r\n", " \n"))) is not None:
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise PolicyError(
            line, column, "an invisible character", "delete it, and what stands behind it, and type it again"
        )
    try:
        # Anchors, tags and depth are refused on the stream of events, before anything is built from it.
        for event in _guarded(yaml.parse(text, Loader=LOADER)):
            del event
        node = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        raise PolicyError(
            *_place(error.problem_mark or error.context_mark), f"not YAML: {error.problem or error.context}"
        ) from None
    except yaml.YAMLError:
        raise PolicyError(1, 1, "not YAML: a character that may not stand in it") from None
    part = _part(node, text) if node is not None else Text(1, 1, "", literal=False)
    if not isinstance(part, Section):
        raise part.refuse("a policy document is a mapping", "begin with `format: …`")
    return part


def _invisible(text: str) -> int | None:
    """Return the place of the first character that people do not see, tabs and line ends aside."""
    found = (each.start() for each in UNCOMMON.finditer(text) if _is_unseen(each[0]))
    return next(found, None)


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE or BLANK.match(character) is not None


def _guarded(events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    depth = 0
    for event in events:
        line, column = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise PolicyError(line, column, "anchors and aliases are not allowed", "write the value out")
        if getattr(event, "tag", None) is not None:
            raise PolicyError(line, column, "tags are not allowed", "write plain text")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > limits.POLICY_DEPTH_MAX:
                raise PolicyError(line, column, f"nested deeper than {limits.POLICY_DEPTH_MAX}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        yield event


def _part(node: yaml.Node, text: str) -> Part:
    line, column = _place(node.start_mark)
    match node:
        case yaml.MappingNode():
            return _section(node, line, column, text)
        case yaml.SequenceNode():
            return Listing(line, column, tuple(_part(each, text) for each in node.value))
        case yaml.ScalarNode():
            return _text(node, line, column, text)
        case _:
            raise PolicyError(line, column, "not a mapping, a sequence or text")


class _Mark(Protocol):
    line: int
    column: int


def _place(mark: _Mark | None) -> tuple[int, int]:
    """Return where a mark stands, counted from 1."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _section(node: yaml.MappingNode, line: int, column: int, text: str) -> Section:
    entries: dict[str, Part] = {}
    keys: dict[str, Text] = {}
    for key_node, value_node in node.value:
        key = _part(key_node, text)
        if not isinstance(key, Text):
            raise key.refuse("a key must be text")
        if key.value == "<<":
            raise key.refuse("merge keys are not allowed", "write the entries out")
        if key.value in entries:
            raise key.refuse(f"{key.value!r} stands here twice", f"first in line {keys[key.value].line}")
        keys[key.value] = key
        entries[key.value] = _part(value_node, text)
    return Section(line, column, entries, keys)


def _text(node: yaml.ScalarNode, line: int, column: int, text: str) -> Text:
    value: str = node.value
    is_plain = not node.style  # None by PyYAML's own reader, empty by libyaml
    if is_plain and value.lower() in IMPLICIT:
        raise PolicyError(line, column, f"{value!r} means yes, no or nothing to YAML", f"quote it: '{value}'")
    if is_plain and not value:
        raise PolicyError(line, column, "empty", "write a value, or '' for none")
    if _invisible(value) is not None:
        raise PolicyError(line, column, "an invisible character", "write the value without escapes")
    raw = text[node.start_mark.index : node.end_mark.index]
    return Text(line, column, value, literal=not is_plain, raw=raw)


def text_of(part: Part) -> str:
    """Return a scalar's text. Raises PolicyError for anything else."""
    if not isinstance(part, Text):
        raise part.refuse("must be text")
    return part.value


def texts_of(part: Part) -> tuple[Text, ...]:
    """Return the scalars of a sequence, none of them twice. Raises PolicyError for anything else."""
    if not isinstance(part, Listing):
        raise part.refuse("must be a list", "write [A, B]")
    seen: dict[str, Text] = {}
    for item in part.items:
        if not isinstance(item, Text):
            raise item.refuse("must be text")
        if item.value in seen:
            raise item.refuse(f"{item.value!r} stands here twice")
        seen[item.value] = item
    return tuple(seen.values())


def section_of(part: Part) -> Section:
    """Return a mapping. Raises PolicyError for anything else."""
    if not isinstance(part, Section):
        raise part.refuse("must be a mapping", "write key: value")
    return part
