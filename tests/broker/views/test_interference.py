"""What was not released to a nation changes no byte, number, order or existence of what it is sent; planted leaks show.

A leak is planted in a copy of the package by replacing texts, each of which must stand there exactly once, so that none
can rot; `interference.py` then runs against the copy in a process of its own, as it does against a copy without leak.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT: Final = Path(__file__).parents[3]
SUITE: Final = Path(__file__).with_name("interference.py")
WAIT_S: Final = 600
FOUND: Final = 1  # the suite's exit code where something shows; a copy that does not run has others

Texts = tuple[tuple[str, str, str], ...]  # file under broker/, what stands there, what is planted

COUNTER: Final = "\nimport itertools as _itertools\n\n_COUNTER = _itertools.count(1)\n"
LEAKS: Final[dict[str, Texts]] = {
    "a counter over all Views": (
        ("fusion/register.py", '__all__ = ["Published",', f'{COUNTER}__all__ = ["Published",'),
        ("fusion/register.py", "fused.revision = known.revision + 1", "fused.revision = next(_COUNTER)"),
    ),
    "track numbers shared among Views": (
        ("fusion/register.py", '__all__ = ["Published",', '_SHARED: dict = {}\n\n__all__ = ["Published",'),
        ("fusion/register.py", "self.entries: dict[bytes, Published] = {}", "self.entries = _SHARED"),
    ),
    "track numbers without the recipient": (
        ("fusion/register.py", "(NUMBER_CONTEXT, recipient.encode(), bytes([mode])", "(NUMBER_CONTEXT, bytes([mode])"),
    ),
    "comparisons cached for all Views": (
        ("fusion/associate.py", "class Matcher:", "_TRACKS: dict = {}\n\n\nclass Matcher:"),
        (
            "fusion/associate.py",
            "self._tracks: dict[tuple[TrackKey, TrackKey], _Comparison] = {}",
            "self._tracks = _TRACKS",
        ),
    ),
    "a cache with too short a key": (
        ("fusion/picture.py", "def fused_event(", "_NAMES: dict = {}\n\n\ndef fused_event("),
        (
            "fusion/picture.py",
            "    return digest.digest()[: limits.ID_BYTES]",
            "    return _NAMES.setdefault(key, digest.digest()[: limits.ID_BYTES])",
        ),
    ),
    "the wall clock": (
        (
            "fusion/view.py",
            "        if self.now_ns is not None:\n            return self.now_ns\n        return max(",
            "        import time\n\n        return time.time_ns()\n        return max(",
        ),
    ),
    "the trust of other Views": (
        ("fusion/picture.py", "def fused_event(", "_TRUST: dict = {}\n\n\ndef fused_event("),
        ("fusion/picture.py", "    found: dict[str, bool] = {}\n", "    found = _TRUST\n"),
    ),
    "an order that a set has": (
        ("fusion/picture.py", "in sorted(by_origin.items()):", "in {(o, tuple(n)) for o, n in by_origin.items()}:"),
    ),
    "an address in memory": (
        ("fusion/register.py", "        named = [part for", "        named = [str(id(first)).encode()] + [part for"),
    ),
    "failures of other Views": (
        ("views/picture.py", "class ViewKey(NamedTuple):", "_FAILED: list = []\n\n\nclass ViewKey(NamedTuple):"),
        (
            "views/picture.py",
            "            self.faults += 1\n",
            "            self.faults += 1\n            _FAILED.append(1)\n",
        ),
        (
            "views/picture.py",
            "            drawn = step()\n",
            "            drawn = step()[: 0 if len(_FAILED) > 2 else None]\n",
        ),
    ),
    "revisions merged when much is going on": (
        ("views/picture.py", "class ViewKey(NamedTuple):", f"{COUNTER}\n\nclass ViewKey(NamedTuple):"),
        (
            "views/picture.py",
            "            drawn = step()\n",
            "            drawn = step()[: 0 if next(_COUNTER) % 50 == 0 else None]\n",
        ),
    ),
    "how long it took": (
        (
            "fusion/view.py",
            "            self._predict(touched, again=bool(falls))\n",
            (
                "            import time\n\n            began_s = time.perf_counter()\n"
                "            if time.perf_counter() - began_s < 1.0:\n"
                "                self._predict(touched, again=bool(falls))\n"
                "            else:\n                raise RuntimeError('too slow')\n"
            ),
        ),
    ),
    "the hash seed": (
        (
            "fusion/register.py",
            "return digest_of(*self._parts, *named)",
            'return digest_of(str(hash("leak")).encode(), *named)',
        ),
    ),
    "a checkpoint that forgets": (
        ("fusion/archive.py", '        view.board.set_forecasts(_forecasts(document["objects"]))\n', ""),
    ),
    "labels of what others were sent": (
        ("views/picture.py", "class ViewKey(NamedTuple):", "_LABELS: list = []\n\n\nclass ViewKey(NamedTuple):"),
        (
            "views/picture.py",
            "        drawing.label = join([drawing.label, Label.of(header.label)])\n",
            "        _LABELS.append(Label.of(header.label))\n        drawing.label = join([drawing.label, *_LABELS])\n",
        ),
    ),
}
SHORT: Final = ("a counter over all Views",)


@pytest.fixture(scope="module")
def interference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interference", SUITE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [2])
def test_nothing_shows_of_what_was_not_released(interference: ModuleType, seed: int, tmp_path: Path) -> None:
    assert list(interference.leaks(seed, tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 200, 10))
def test_nothing_shows_in_a_hundred_stories(interference: ModuleType, first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 10):
        found = [leak for leak in interference.leaks(seed, tmp_path) if not leak.endswith("nothing was drawn")]
        assert found == []


def planted(folder: Path, texts: Texts) -> None:
    """Copy the package, with the leak in it."""
    shutil.copytree(ROOT / "broker", folder / "broker", ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in texts:
        path = folder / "broker" / file
        source = path.read_text(encoding="utf-8")
        assert source.count(old) == 1, f"{file} no longer says {old!r}, or says it twice"
        path.write_text(source.replace(old, new), encoding="utf-8")


def run(folder: Path, hash_seed: int, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": str(hash_seed),
    }
    command = [sys.executable, str(SUITE), *words]
    return subprocess.run(  # noqa: S603 - our own suite
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S
    )


def shows(folder: Path) -> str:
    """Return what the suite finds in a copy of the package; nothing if nothing."""
    first = run(folder, 1)
    if first.returncode == FOUND and first.stdout.startswith("seed "):
        return first.stdout
    assert first.returncode == 0, first.stderr
    return "" if run(folder, 2, "--digest").stdout == first.stdout else "another hash seed shows"


@pytest.mark.timeout(WAIT_S)  # a process of its own, on whatever else a machine does
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.slow) for name in LEAKS]
)
def test_a_planted_leak_is_found(name: str, tmp_path: Path) -> None:
    planted(tmp_path, LEAKS[name])
    assert shows(tmp_path), f"nobody noticed: {name}"


@pytest.mark.slow
@pytest.mark.timeout(WAIT_S)
def test_without_a_leak_a_copy_shows_nothing(tmp_path: Path) -> None:
    """The control: the copy is what runs, and nothing but the leaks is found."""
    planted(tmp_path, ())
    command = [sys.executable, "-c", "import broker.fusion.view as view; print(view.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    where = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - as above
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
    assert shows(tmp_path) == ""
    assert len(LEAKS) >= 12
