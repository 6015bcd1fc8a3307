"""What is installed is what is in the tree, under names that nobody else claims: see broker.gateway.load."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Final

import pytest

from broker.gateway.load import NAMES, LoadError, check_names, load_nation

REPOSITORY: Final = Path(__file__).parents[1]
RUN_S: Final = 100.0

# Imports every module of the wheel, and says from where; a gateway's plugin is then found by its entry point.
IMPORT_ALL: Final = """
import importlib, pkgutil, sys
import certs  # before grpc: it forbids TLS 1.2
from broker.gateway.load import NAMES, load_nation
for name in NAMES:
    package = importlib.import_module(name)
    (folder,) = package.__path__
    assert folder.startswith(sys.argv[1]), folder
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
nation = load_nation("JPN")
print(len(nation.home.joinpath("release.yaml").read_text()) > 0, nation.home.joinpath("samples").is_dir())
"""


def run(*words: str, folder: Path, beside: Path | None = None) -> str:
    """Run Python in a folder, with another one first on its path; return what it prints."""
    environment = os.environ | ({"PYTHONPATH": str(beside)} if beside else {})
    done = subprocess.run(  # noqa: S603 - our own interpreter and words
        [sys.executable, *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY), folder=folder)
    (found,) = folder.glob("vedette-*.whl")
    return found


def test_nobody_else_claims_our_import_names() -> None:
    check_names()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("file", "claim"), [("top_level.txt", "{}\n"), ("RECORD", "a.py,,\n{}/plugin.py,sha256=x,1\n")]
)
def test_another_distribution_that_claims_one_of_our_names_is_refused(
    name: str, file: str, claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "squatter-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: squatter\nVersion: 1.0\n")
    (information / file).write_text(claim.format(name))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match=f"squatter also installs '{name}'"):
        check_names()
    with pytest.raises(LoadError, match="squatter"):
        load_nation("KOR")


def test_every_folder_of_a_nation_is_an_entry_point_and_the_other_way_round() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = project["entry-points"]["vedette.nations"]
    folders = {path.parent.name for path in (REPOSITORY / "nations").glob("*/__init__.py")}
    assert claimed == {folder.upper(): f"nations.{folder}:NATION" for folder in folders}
    for code in claimed:
        assert load_nation(code).code == code


def test_the_wheel_has_all_that_the_tree_has_and_no_tests_and_no_keys(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {".py", ".pyi", ".proto", ".yaml", ".txt", ".csv", ".md", ".typed"}
    expected = {
        path.relative_to(root).as_posix()
        for root, package in ((REPOSITORY, "broker"), (REPOSITORY, "certs"), (REPOSITORY, "nations"))
        for path in (root / package).rglob("*")
        if path.suffix in kept or path.name == "py.typed"
    }
    protos = REPOSITORY / "protos"
    expected |= {
        path.relative_to(protos).as_posix()
        for path in (protos / "vedette").rglob("*")
        if path.suffix in kept or path.name == "py.typed"
    }
    assert names == expected
    # And what nobody may lose by moving a folder.
    assert {f"{name}/py.typed" for name in NAMES} <= names
    assert {"vedette/v1/national.proto", "vedette/v1/national_pb2.pyi"} <= names
    assert {
        f"nations/{code}/{file}" for code in ("kor", "usa", "jpn") for file in ("release.yaml", "release.test.yaml")
    } <= names
    assert any(name.startswith("nations/kor/samples/") for name in names)
    assert {"broker/exercise/data/launches.csv", "broker/exercise/scenarios/over-japan-2022-10-04.yaml"} <= names
    assert not {name for name in names if "test" in Path(name).parts[0] or name.endswith((".pem", ".key"))}


def test_the_wheel_works_in_a_bare_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    words = ("install", "--no-index", "--no-deps", "--no-compile", "--quiet", "--target", str(site), str(wheel))
    run("-m", "pip", *words, folder=tmp_path)
    assert run("-c", IMPORT_ALL, str(site), folder=tmp_path, beside=site) == "True True"
    assert "over-japan-2022-10-04" in run("-m", "broker", "exercise", "list", folder=tmp_path, beside=site)
