"""A hub and a gateway for each nation, with fresh keys and the policies that the nations ship, under one folder.

FOLDER/certs/…            a development authority (certs.issue)
FOLDER/hub/               hub.toml  hub.log  data/
FOLDER/kor/               gateway.toml  gateway.log  release.yaml  release.sig.json  data/
                          invariants.yaml  invariants.sig.json
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.client import Certificates
from broker.demo.process import Process, free_port
from broker.gateway.load import load_nation
from broker.gateway.policy import path_of_tests, signature_path
from broker.invariants import PAYLOAD_TYPE as INVARIANTS_TYPE
from certs import issue
from certs.approval import PAYLOAD_TYPE, PROPOSAL_TYPE, Signed
from certs.keyring import load_signer
from certs.signature import sign_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

NATIONS: Final = ("KOR", "USA", "JPN")
PROPOSER: Final = "officer-1"
APPROVERS: Final = ("officer-2", "security-1")
GUARDIANS: Final = ("security-1",)  # who sign the invariants
FLOOR: Final = "floor-1"
OPERATOR: Final = "operator"


@dataclass(slots=True)
class World:
    """What runs, and how to reach it."""

    folder: Path
    authority: issue.Authority
    hub: Process
    gateways: dict[str, Process] = field(default_factory=dict)
    metrics_ports: dict[str, int] = field(default_factory=dict)

    @property
    def hub_address(self) -> str:
        """Return where the hub listens."""
        return f"localhost:{self.hub.port}"

    def address(self, nation: str) -> str:
        """Return where a nation's gateway listens."""
        return f"localhost:{self.gateways[nation].port}"

    def system(self, nation: str, name: str, mode: str = "exercise") -> Certificates:
        """Return the certificates of a national system."""
        return Certificates.of(self.authority.home(nation) / "systems" / mode / name)

    def watch(self, nation: str, mode: str = "exercise", name: str = FLOOR) -> Certificates:
        """Return the certificates of a watch floor."""
        return Certificates.of(self.authority.home(nation) / "watch" / mode / name)

    def policy_path(self, nation: str) -> Path:
        """Return the file of a nation's policy."""
        return self.folder / nation.lower() / "release.yaml"

    def set_policy(self, nation: str, text: str, tests: str = "") -> None:
        """Put a policy, approved by the nation's officers, where its gateway looks, and its tests beside it."""
        path = self.policy_path(nation)
        if tests:
            path_of_tests(path).write_text(tests, encoding="utf-8")
        else:
            path_of_tests(path).unlink(missing_ok=True)
        signature_path(path).write_bytes(signed_release(self.authority, nation, text).to_file())
        path.write_text(text, encoding="utf-8")

    def invariants_path(self, nation: str) -> Path:
        """Return the file of a nation's invariants."""
        return self.folder / nation.lower() / "invariants.yaml"

    def set_invariants(self, nation: str, text: str, signers: Sequence[str] = GUARDIANS) -> None:
        """Put invariants, signed by the nation's security officers, where its gateway looks."""
        path, officers = self.invariants_path(nation), self.authority.home(nation) / "officers"
        keys = [load_signer(officers / f"{name}.key") for name in signers]
        signature_path(path).write_bytes(sign_document(INVARIANTS_TYPE, text.encode(), *keys))
        path.write_text(text, encoding="utf-8")

    def start(self, nations: Sequence[str] | None = None) -> None:
        """Start the hub and the gateways, all at once, and wait until each listens. Raises DidNotStart."""
        chosen = [self.hub, *(self.gateways[nation] for nation in (self.gateways if nations is None else nations))]
        for process in chosen:
            process.start()
        for process in chosen:
            process.wait()

    def close(self) -> None:
        """End everything that runs."""
        for process in (*self.gateways.values(), self.hub):
            process.kill()


def signed_release(
    authority: issue.Authority, nation: str, text: str, approvers: Sequence[str] = APPROVERS, proposer: str = PROPOSER
) -> Signed:
    """Return a policy as officers of a nation sign it, whose keys an authority keeps."""
    officers = authority.home(nation) / "officers"
    document = text.encode()
    proposal = sign_document(PROPOSAL_TYPE, document, load_signer(officers / f"{proposer}.key"))
    signers = [load_signer(officers / f"{name}.key") for name in approvers]
    return Signed(document, proposal, sign_document(PAYLOAD_TYPE, document, *signers))


def make_world(  # noqa: PLR0913 - each names one way in which such a world may differ
    folder: Path,
    *,
    nations: Sequence[str] = NATIONS,
    policies: Mapping[str, str] | None = None,
    tests: Mapping[str, str] | None = None,
    invariants: Mapping[str, str] | None = None,
    systems: Mapping[str, Sequence[str]] | Sequence[str] = (OPERATOR,),
    exchange: str = "all",
    pictures: bool = True,
    canary_s: float = 0.0,
    full_pictures: Sequence[str] = (),
) -> World:
    """Write keys, settings and policies for a world. Nothing runs yet."""
    folder.mkdir(parents=True, exist_ok=True)
    watches = (FLOOR,)
    authority = issue.authority(
        folder / "certs", nations=list(nations), systems=systems, watches=watches, exchange=exchange
    )
    hub = Process(
        "hub", ("hub", "--settings", str(folder / "hub" / "hub.toml")), folder / "hub" / "hub.log", free_port()
    )
    world = World(folder, authority, hub)
    (folder / "hub").mkdir(parents=True)
    world.metrics_ports["HUB"] = free_port()
    _write_settings(
        folder / "hub" / "hub.toml",
        listen=f"127.0.0.1:{hub.port}",
        certs_dir="../certs/hub",
        pictures=pictures,
        metrics_listen=f"127.0.0.1:{world.metrics_ports['HUB']}",
        members_digest=authority.digest(),
    )
    for nation in nations:
        home = folder / nation.lower()
        home.mkdir()
        port = free_port()
        world.metrics_ports[nation] = free_port()
        world.gateways[nation] = Process(
            f"gateway {nation}", ("gateway", "--settings", str(home / "gateway.toml")), home / "gateway.log", port
        )
        given = (policies or {}).get(nation)
        # What is shipped belongs together: the invariants were proved of that policy, and of no other.
        promises = (invariants or {}).get(nation) or (None if given else shipped(nation, "invariants.yaml"))
        _write_settings(
            home / "gateway.toml",
            nation=nation,
            listen=f"127.0.0.1:{port}",
            hub=world.hub_address,
            certs_dir=f"../certs/{nation.lower()}",
            policy="release.yaml",
            **({"invariants": "invariants.yaml"} if promises else {}),
            canary_s=float(canary_s),
            full_picture=nation in full_pictures,
            metrics_listen=f"127.0.0.1:{world.metrics_ports[nation]}",
            members_digest=authority.digest(),
        )
        beside = (tests or {}).get(nation, "")
        world.set_policy(nation, given or shipped_policy(nation), beside if given else shipped_tests(nation))
        if promises:
            world.set_invariants(nation, promises)
    return world


@contextmanager
def running(world: World, nations: Sequence[str] | None = None) -> Iterator[World]:
    """Run a world for as long as the block lasts. Raises DidNotStart."""
    try:
        world.start(nations)
        yield world
    finally:
        world.close()


def shipped_policy(nation: str) -> str:
    """Return the release policy that a nation's plugin ships as its example."""
    return _needed(nation, "release.yaml")


def shipped_tests(nation: str) -> str:
    """Return the tests of that policy."""
    return _needed(nation, "release.test.yaml")


def shipped(nation: str, name: str) -> str | None:
    """Return a file that a nation's plugin ships as an example, if it does."""
    home = load_nation(nation).home
    file = home.joinpath(name) if home is not None else None
    return file.read_text(encoding="utf-8") if file is not None and file.is_file() else None


def _needed(nation: str, name: str) -> str:
    text = shipped(nation, name)
    if text is None:
        raise FileNotFoundError(f"the plugin of {nation} ships no {name}")
    return text


def _write_settings(path: Path, **settings: str | bool | float) -> None:
    settings = {"data_dir": "data", "members": "../certs/members.json", **settings}
    lines = [f"{name} = {_toml(value)}" for name, value in settings.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: str | bool | float) -> str:  # noqa: FBT001 - one of three kinds of value
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
