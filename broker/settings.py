"""Settings: TOML to a frozen dataclass, strictly. An unknown key is an error, a missing one names its meaning.

A settings class is a frozen dataclass whose fields are str, int, float, bool, Path, tuple[str, ...] or a nested
settings class; fields without a default must be given. Paths are relative to the file that names them. Each field's
meaning stands in `metadata={"help": …}` and, with every option, in deploy/settings/*.toml.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

PLUGIN_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")  # of an entry point, and part of a file's name


class SettingsError(ValueError):
    """The settings cannot be used; the text names the file and the key, and what would be right."""


def setting(help_text: str, **kwargs: Any) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Return a dataclass field with its meaning."""
    return dataclasses.field(metadata={"help": help_text}, **kwargs)


def read_settings(path: Path, cls: type[T], overrides: Mapping[str, Any] | None = None) -> T:
    """Read a TOML file into `cls`. Overrides replace top-level keys. Raises SettingsError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from error
    table.update({key: value for key, value in (overrides or {}).items() if value is not None})
    return _build(cls, table, where=str(path), base=path.parent)


def _build(cls: type[T], table: Mapping[str, Any], *, where: str, base: Path) -> T:
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    for key in table:
        if key not in fields:
            raise SettingsError(f"{where}: unknown setting {key!r}; known are {', '.join(sorted(fields))}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], where=f"{where}: {name}", base=base)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError(f"{where}: {name} is missing: {field.metadata.get('help', 'it has no default')}")
    try:
        return cls(**values)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def _value(kind: Any, given: Any, *, where: str, base: Path) -> Any:  # noqa: ANN401 - values of any kind pass here
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(given, dict):
        return _build(kind, given, where=where, base=base)
    if kind is Path and isinstance(given, str | Path):
        return (base / given).resolve()
    if kind == tuple[str, ...] and isinstance(given, list) and all(isinstance(item, str) for item in given):
        return tuple(given)
    if kind is float and type(given) in (int, float):
        return float(given)
    if kind in (str, int, bool) and type(given) is kind:
        return given
    name = (
        "a path"
        if kind is Path
        else "a list of strings"
        if kind == tuple[str, ...]
        else getattr(kind, "__name__", kind)
    )
    raise SettingsError(f"{where} must be {name}, not {type(given).__name__}")
