"""Strict reading of a scenario file: what is not understood is refused, with the file, the place and the reason.

YAML is read as structure and text only, so that nothing is guessed (`NO` stays a word, `22:23` stays a time); a key
that appears twice is an error. A `Section` hands out the values of one mapping, checked, and `finish` refuses whatever
nobody asked for: an unknown key is a misspelt one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import yaml

from broker import limits

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class BadScenario(ValueError):  # noqa: N818 - says what to change, for whoever writes scenarios
    """A scenario file cannot be used; the text names file, place and reason."""


@dataclass(slots=True)
class Section:
    """One mapping of the file. Every reader raises BadScenario; a key must be there unless `has` was asked first."""

    file: str
    place: str  # `launches[0]`, empty at the top
    values: Mapping[str, object]
    asked: set[str] = field(default_factory=set)

    def refused(self, key: str, reason: str) -> BadScenario:
        """Return the error to raise about a key."""
        place = f"{self.place}.{key}" if self.place and key else self.place or key
        return BadScenario(f"{self.file}: {place}: {reason}" if place else f"{self.file}: {reason}")

    def has(self, key: str) -> bool:
        """Return whether a key is there, and count it as known."""
        self.asked.add(key)
        return key in self.values

    def text(self, key: str, pattern: str = r"[^\n]{1,500}") -> str:
        """Return a text that fully matches a pattern."""
        value = self._value(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise self.refused(key, f"must be text like {pattern}")
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """Return one of some words."""
        value = self._value(key)
        if not isinstance(value, str) or value not in allowed:
            raise self.refused(key, f"must be one of {', '.join(sorted(allowed))}")
        return value

    def number(self, key: str, least: float, most: float) -> float:
        """Return a finite number within bounds."""
        value = self._value(key)
        try:
            number = float(value) if isinstance(value, str) else math.nan
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise self.refused(key, f"must be a number from {least:g} to {most:g}")
        return number

    def time_ns(self, key: str) -> int:
        """Return a time in UTC, such as 2022-10-03T22:22:30Z, as nanoseconds since 1970."""
        value = self.text(key, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
        try:
            moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise self.refused(key, "no such time") from None
        return int(moment.timestamp()) * limits.SECOND_NS

    def words(self, key: str, allowed: str) -> tuple[str, ...]:
        """Return a list, not empty, of different words that fully match a pattern."""
        value = self._value(key)
        words = value if isinstance(value, list) else []
        fitting = {word for word in words if isinstance(word, str) and re.fullmatch(allowed, word)}
        if not words or len(fitting) != len(words):
            raise self.refused(key, f"must be a list of different words like {allowed}")
        return tuple(words)

    def section(self, key: str) -> Section:
        """Return a mapping inside."""
        return self._section(key, self._value(key))

    def sections(self, key: str) -> list[Section]:
        """Return a list of mappings inside."""
        value = self._value(key)
        if not isinstance(value, list) or len(value) > limits.SCENARIO_ITEMS_MAX:
            raise self.refused(key, f"must be a list of at most {limits.SCENARIO_ITEMS_MAX}")
        return [self._section(f"{key}[{index}]", item) for index, item in enumerate(value)]

    def maybe_sections(self, key: str) -> list[Section]:
        """Return a list of mappings inside; none if the key is missing."""
        return self.sections(key) if self.has(key) else []

    def finish(self) -> None:
        """Refuse every key that nobody asked for."""
        unknown = sorted(set(self.values) - self.asked)
        if unknown:
            raise self.refused("", f"unknown key {', '.join(unknown)}; known here: {', '.join(sorted(self.asked))}")

    def _value(self, key: str) -> object:
        if not self.has(key):
            raise self.refused(key, "is missing")
        return self.values[key]

    def _section(self, key: str, value: object) -> Section:
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise self.refused(key, "must be a mapping")
        return Section(self.file, f"{self.place}.{key}" if self.place else key, value)


def read_document(text: str, file: str) -> Section:
    """Return the top mapping of a YAML text. Raises BadScenario."""
    if len(text) > limits.SCENARIO_CHARS_MAX:
        raise BadScenario(f"{file}: more than {limits.SCENARIO_CHARS_MAX} characters")
    try:
        values = yaml.load(text, Loader=_TextLoader)  # noqa: S506 - a BaseLoader makes texts, lists and mappings only
    except (yaml.YAMLError, RecursionError) as problem:
        raise BadScenario(f"{file}: not YAML: {problem}") from None
    return Section(file, "", {})._section("", values)  # noqa: SLF001 - the same check as for every mapping inside


class _TextLoader(yaml.BaseLoader):
    """Texts, lists and mappings; neither repeated keys nor aliases, which could make a small file huge."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not used here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - theirs
        values = super().construct_mapping(node, deep=deep)
        if len(values) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key appears twice", node.start_mark)
        return values
