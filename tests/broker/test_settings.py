from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - the settings classes are read at run time

import pytest

from broker.settings import SettingsError, read_settings, setting


@dataclass(frozen=True, slots=True)
class Inner:
    depth: int = setting("how deep")


@dataclass(frozen=True, slots=True)
class Example:
    name: str = setting("what it is called")
    home: Path = setting("where it lives")
    inner: Inner = setting("what is inside")
    ratio: float = setting("how much", default=0.5)
    is_on: bool = setting("whether it works", default=True)
    members: tuple[str, ...] = setting("who belongs to it", default=())
    count: int = field(default=3)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")


GOOD = 'name = "a"\nhome = "x/y"\ninner = {depth = 2}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "example.toml"


def test_a_file_becomes_the_dataclass_and_paths_are_relative_to_it(path: Path) -> None:
    path.write_text(GOOD + 'ratio = 2\nis_on = false\nmembers = ["KOR", "JPN"]\n')
    assert read_settings(path, Example) == Example(
        "a", path.parent / "x" / "y", Inner(2), ratio=2.0, is_on=False, members=("KOR", "JPN")
    )


def test_what_is_left_out_has_its_default_and_an_override_replaces(path: Path) -> None:
    path.write_text(GOOD)
    made = read_settings(path, Example, {"name": "b", "count": None})
    assert (made.name, made.count, made.ratio) == ("b", 3, 0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nmae = 'a'\n" + GOOD, "unknown setting 'nmae'"),
        ("name = 'a'\n", "home is missing: where it lives"),
        (GOOD.replace('"a"', "7"), "name must be str, not int"),
        (GOOD.replace('"x/y"', "7"), "home must be a path, not int"),
        (GOOD + "ratio = true\n", "ratio must be float, not bool"),
        (GOOD + "count = true\n", "count must be int, not bool"),
        (GOOD + "is_on = 1\n", "is_on must be bool, not int"),
        (GOOD + 'members = "KOR"\n', "members must be a list of strings"),
        (GOOD + "members = [1]\n", "members must be a list of strings"),
        (GOOD.replace("depth = 2", "depht = 2"), "unknown setting 'depht'"),
        (GOOD.replace("{depth = 2}", "2"), "inner must be"),
        (GOOD + "count = -1\n", "count must not be negative"),
        ("name = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(path: Path, text: str, says: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        read_settings(path, Example)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there_are_said_so(path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(path, Example)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(SettingsError, match="is not TOML"):
        read_settings(path, Example)
