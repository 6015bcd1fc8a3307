"""A store is a plugin: a hub or a gateway opens the one that its settings name, if exactly one package claims it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.claim import LoadError
from broker.conformance import check_store
from broker.demo.world import make_world
from broker.gateway import server as gateway
from broker.gateway.settings import GatewaySettings
from broker.hub.server import CannotStart, serving
from broker.hub.settings import HubSettings
from broker.settings import SettingsError, read_settings
from broker.store.load import DEFAULT, load_store
from broker.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.demo.world import World

    Install = Callable[..., None]

# What somebody else's wheel would bring: here a store that says in a file of its own that it was opened.
MODULE = """
from broker.store.sqlite import open_sqlite

async def open_shelf(path):
    path.with_name(path.name + ".opened").touch()
    return await open_sqlite(path)

NOTHING = None
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what installs a distribution with entry points beside us, as pip does."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(distribution: str, *entries: str) -> None:
        (site / "vedette_shelf.py").write_text(MODULE)
        folder = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text("\n".join(("[vedette.stores]", *entries)))

    return install


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "world", nations=("KOR", "JPN"), pictures=False)


def test_the_store_that_is_shipped_is_the_default() -> None:
    assert load_store(DEFAULT) is open_sqlite
    assert {HubSettings.__dataclass_fields__["store"].default, DEFAULT} == {DEFAULT}
    assert GatewaySettings.__dataclass_fields__["store"].default == DEFAULT


async def test_a_store_of_another_distribution_keeps_every_promise(install: Install, tmp_path: Path) -> None:
    install("vedette-shelf", "shelf = vedette_shelf:open_shelf")
    await check_store(load_store("shelf"), tmp_path / "stores")
    assert list((tmp_path / "stores").glob("*/store.opened"))


async def test_a_hub_and_a_gateway_open_the_store_that_their_settings_name(install: Install, world: World) -> None:
    install("vedette-shelf", "shelf = vedette_shelf:open_shelf")
    hub = read_settings(world.folder / "hub" / "hub.toml", HubSettings, {"store": "shelf"})
    async with serving(hub):
        assert (hub.data_dir / "hub.db.opened").exists()
    kor = read_settings(world.folder / "kor" / "gateway.toml", GatewaySettings, {"store": "shelf"})
    async with AsyncExitStack() as stack:
        await gateway._foundation(replace(kor, metrics_listen=""), stack)
        assert (kor.data_dir / "gateway.shelf.opened").exists()


async def test_a_hub_whose_store_nobody_has_installed_says_which_there_are(world: World) -> None:
    hub = read_settings(world.folder / "hub" / "hub.toml", HubSettings, {"store": "shelf"})
    with pytest.raises(CannotStart, match=r"no plugin for shelf is installed \(vedette.stores\); there are: sqlite"):
        async with serving(hub):
            pytest.fail("it must not start")


def test_a_gateway_whose_store_nobody_has_installed_does_not_start(world: World) -> None:
    settings = world.folder / "kor" / "gateway.toml"
    settings.write_text(f'{settings.read_text()}\nstore = "shelf"\n')
    command = [sys.executable, "-m", "broker", "gateway", "--settings", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)  # noqa: S603 - our own
    assert (done.returncode, "no plugin for shelf" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["shelf", DEFAULT])
def test_a_second_claimant_of_a_store_is_refused(name: str, install: Install) -> None:
    install("vedette-shelf", f"{name} = vedette_shelf:open_shelf")
    install("vedette-rival", f"{name} = vedette_rival:open_rival")
    with pytest.raises(LoadError, match=rf"several plugins claim {name} \(vedette.stores\): .*vedette-rival"):
        load_store(name)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("vedette_nowhere:open", "cannot be imported"),
        ("vedette_shelf:gone", "cannot be imported"),
        ("vedette_shelf:NOTHING", "is not a function"),
    ],
)
def test_what_cannot_be_loaded_is_said(value: str, cause: str, install: Install) -> None:
    install("vedette-shelf", f"shelf = {value}")
    with pytest.raises(LoadError, match=cause):
        load_store("shelf")


def test_only_the_store_that_is_named_is_imported(install: Install) -> None:
    install("vedette-shelf", "shelf = vedette_shelf:open_shelf")
    sys.modules.pop("vedette_shelf", None)
    load_store(DEFAULT)
    assert "vedette_shelf" not in sys.modules


@pytest.mark.parametrize("name", ["", "../store", "Sqlite", "a" * 33])
def test_a_name_that_no_store_can_have_is_refused_with_the_settings(name: str, world: World) -> None:
    with pytest.raises(SettingsError, match="store must be the name of a plugin"):
        read_settings(world.folder / "hub" / "hub.toml", HubSettings, {"store": name})
    with pytest.raises(SettingsError, match="store must be the name of a plugin"):
        read_settings(world.folder / "kor" / "gateway.toml", GatewaySettings, {"store": name})
