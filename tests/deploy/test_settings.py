"""The shipped settings name every option, with its default or left out, a comment above each, and nothing else."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from broker.gateway.settings import GatewaySettings
from broker.hub.settings import HubSettings
from broker.settings import SettingsError, read_settings

if TYPE_CHECKING:
    from pathlib import Path

OPTION = re.compile(r"#?([a-z_]+) = ")  # "#" at once before the name: left out
SHIPPED = [("gateway.toml", GatewaySettings), ("hub.toml", HubSettings)]


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_the_file_is_read_without_a_complaint(deploy: Path, name: str, kind: type[Any]) -> None:
    assert isinstance(read_settings(deploy / "settings" / name, kind), kind)


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_every_option_is_named_and_has_a_comment_above_it(deploy: Path, name: str, kind: type[Any]) -> None:
    lines = (deploy / "settings" / name).read_text(encoding="utf-8").splitlines()
    found = [(at, match[1]) for at, line in enumerate(lines) if (match := OPTION.match(line))]
    assert [option for _, option in found] == [field.name for field in dataclasses.fields(kind)], "in their order"
    assert [option for at, option in found if not lines[at - 1].startswith("# ")] == []


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_an_option_with_a_default_shows_it_or_is_left_out(deploy: Path, name: str, kind: type[Any]) -> None:
    path = deploy / "settings" / name
    read = read_settings(path, kind)
    set_here = tomllib.loads(path.read_text(encoding="utf-8"))
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING:
            assert field.name in set_here
        else:
            assert getattr(read, field.name) == field.default, field.name


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_an_option_that_is_left_out_is_shown_as_it_would_be_given(
    deploy: Path, tmp_path: Path, name: str, kind: type[Any]
) -> None:
    text = (deploy / "settings" / name).read_text(encoding="utf-8")
    given = tmp_path / name
    given.write_text(re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.MULTILINE), encoding="utf-8")
    read_settings(given, kind)
    assert set(tomllib.loads(given.read_text(encoding="utf-8"))) == {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_an_option_that_nobody_knows_is_an_error(deploy: Path, tmp_path: Path, name: str, kind: type[Any]) -> None:
    """The control: a reader that skipped unknown keys would pass the tests above with any file."""
    spoilt = tmp_path / name
    spoilt.write_text('spelt_wrong = "x"\n' + (deploy / "settings" / name).read_text(encoding="utf-8"), "utf-8")
    with pytest.raises(SettingsError, match="spelt_wrong"):
        read_settings(spoilt, kind)
