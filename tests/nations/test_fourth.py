"""A fourth nation is a wheel of its own: built, installed beside us, found by its entry point, and checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOURTH = Path(__file__).parent / "fourth"
REPOSITORY = Path(__file__).parents[2]

CHECK = """
from importlib.metadata import entry_points
from broker.conformance import check_nation
(found,) = entry_points(group="vedette.nations", name="AUS")
report = check_nation(found.load())
print(report.code, report.policy.rules, sum(feed.round_trips for feed in report.feeds), found.dist.name)
"""
LOAD = """
from broker.gateway.load import LoadError, load_nation
try:
    print(load_nation("AUS").name)
except LoadError as error:
    print(error)
"""


def run(*words: str, beside: Path | None = None) -> str:
    """Run Python with another folder on its path; return what it prints."""
    environment = os.environ | ({"PYTHONPATH": str(beside)} if beside else {})
    done = subprocess.run(  # noqa: S603 - our own interpreter and words
        [sys.executable, *words],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fourth nation's wheel, built from a copy and installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("fourth")
    shutil.copytree(FOURTH, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(folder / "source"))
    (wheel,) = (folder / "dist").glob("vedette_aus-*.whl")
    target = folder / "site"
    run("-m", "pip", "install", "--no-index", "--no-deps", "--quiet", "--target", str(target), str(wheel))
    return target


def test_a_nation_in_a_wheel_keeps_every_promise(installed: Path) -> None:
    assert run("-c", CHECK, beside=installed) == "AUS 2 21 vedette-aus"


def test_the_wheel_brings_policy_tests_samples_and_readme(installed: Path) -> None:
    names = {path.relative_to(installed / "vedette_aus").as_posix() for path in installed.rglob("vedette_aus/**/*.*")}
    assert {"release.yaml", "release.test.yaml", "README.md", "samples/words/session.txt"} <= names


def test_a_gateway_loads_it_by_its_code(installed: Path) -> None:
    assert run("-c", LOAD, beside=installed) == "Australia"
    assert run("-c", LOAD).startswith("no plugin for AUS is installed")


def test_a_second_claimant_of_a_code_is_refused(installed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(installed, site)
    (first,) = site.glob("vedette_aus-*.dist-info")
    other = site / first.name.replace("vedette_aus", "vedette_other")
    shutil.copytree(first, other)
    metadata = (other / "METADATA").read_text().replace("Name: vedette-aus", "Name: vedette-other")
    (other / "METADATA").write_text(metadata)
    (other / "entry_points.txt").write_text("[vedette.nations]\nAUS = vedette_other:NATION\n")
    assert run("-c", LOAD, beside=site).startswith("several plugins claim AUS")
