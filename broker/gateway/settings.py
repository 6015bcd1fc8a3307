"""What an operator tells a gateway. Every option is documented in deploy/settings/gateway.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from broker import limits
from broker.settings import PLUGIN_NAME, setting

PORTS = 65_536
DAY_S = 24 * 3600.0
RETENTION_DAYS_MAX = 3_650


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway, of one nation."""

    nation: str = setting("the member code, and the name of the plugin: KOR")
    listen: str = setting("host:port for the nation's own systems and watches")
    hub: str = setting("host:port of the hub")
    certs_dir: Path = setting("the folder with gateway.pem, gateway.key, trust.pem, keys/ and gateway-secret")
    members: Path = setting("the members document")
    members_digest: str = setting("sha256:… of the first members document: where all trust begins")
    data_dir: Path = setting("where the outbox, the inbox and the audit trail are kept")
    policy: Path = setting("the release policy; its signature lies beside it with the ending .sig.json")
    invariants: Path = setting(
        "what the security officers promise of every release; its signatures lie beside it; left out: nothing",
        default=Path(),
    )
    metrics_listen: str = setting("host:port of /metrics; empty: none", default="")
    metrics_clients: Path = setting(
        "file of roots whose certificates may scrape; left out: anybody on that address", default=Path()
    )
    canary_s: float = setting("seconds between two canaries to each nation; 0: none", default=limits.CANARY_S)
    store: str = setting("the plugin that keeps data_dir, an entry point in vedette.stores", default="sqlite")
    full_picture: bool = setting(
        "whether the nation's full picture is drawn here, from its own exact reports too", default=False
    )
    retention_days: float = setting(
        "how many days what was reported, sent and received is kept; at least 1", default=limits.RETENTION_S / DAY_S
    )
    log_level: str = setting("debug, info, warning or error", default="info")

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without a disk or a network."""
        if not (self.nation.isalpha() and self.nation.isupper()):
            raise ValueError(f"nation must be a member code such as KOR, not {self.nation!r}")
        for name in ("listen", "hub", "metrics_listen"):
            given = getattr(self, name)
            port = given.rpartition(":")[2]
            if given and not (port.isdigit() and int(port) < PORTS):
                raise ValueError(f"{name} must be host:port, not {given!r}")
        if not PLUGIN_NAME.fullmatch(self.store):
            raise ValueError(f"store must be the name of a plugin such as sqlite, not {self.store!r}")
        if not 1.0 <= self.retention_days <= RETENTION_DAYS_MAX:
            raise ValueError(f"retention_days must be 1 to {RETENTION_DAYS_MAX}, not {self.retention_days!r}")
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise ValueError(f"log_level must be debug, info, warning or error, not {self.log_level!r}")
        if self.canary_s < 0:
            raise ValueError("canary_s must not be negative")
