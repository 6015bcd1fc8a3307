"""What an operator tells a hub. Every option is documented in deploy/settings/hub.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from broker.settings import PLUGIN_NAME, setting

_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class HubSettings:
    """One hub."""

    listen: str = setting("host:port for the nations' gateways; port 0: any that is free, which is printed")
    certs_dir: Path = setting("the folder with hub.pem, hub.key, trust.pem, root.pem, views.pem, views.key and keys/")
    members: Path = setting("the members document")
    members_digest: str = setting("sha256:… of the first members document: where all trust begins")
    data_dir: Path = setting("where the logs and the checkpoints of the pictures are kept")
    store: str = setting("the plugin that keeps the logs, an entry point in vedette.stores", default="sqlite")
    pictures: bool = setting("run the fusion process", default=True)
    pictures_target: str = setting(
        "host:port under which the fusion process reaches this hub; empty: loopback and the port of listen", default=""
    )
    metrics_listen: str = setting("host:port of /metrics; empty: none", default="")
    metrics_clients: Path = setting(
        "file of roots whose certificates may scrape; absent: anybody on that address", default=Path()
    )
    log_level: str = setting("debug, info, warning or error", default="info")

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without a disk or a network."""
        for name in ("listen", "metrics_listen", "pictures_target"):
            given = getattr(self, name)
            port = given.rpartition(":")[2]
            if given and not (port.isdecimal() and int(port) <= _PORT_MAX):
                raise ValueError(f"{name} must be host:port, not {given!r}")
        if not self.listen:
            raise ValueError("listen must be host:port")
        if not PLUGIN_NAME.fullmatch(self.store):
            raise ValueError(f"store must be the name of a plugin such as sqlite, not {self.store!r}")
        if not self.members_digest.startswith("sha256:"):
            raise ValueError("members_digest must be sha256: and 64 hexadecimal digits")
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise ValueError(f"log_level must be debug, info, warning or error, not {self.log_level!r}")
